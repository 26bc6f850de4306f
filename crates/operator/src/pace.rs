//! How fast to write: an upper limit of writes per second, for those who want one (`operator-k8s-client-qps`), and of
//! writes of the same object, where not each of its states is worth one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Least time between the starts of two spaced writes of the same thing.
pub const SPACING: Duration = Duration::from_secs(1);
/// How long a spaced write lets other things go first: what it sums up, and what others do because of that.
pub const SETTLE: Duration = Duration::from_millis(250);

/// So many a second, and so many at once before that applies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Writes per second; more than 0.
    pub per_second: f64,
    /// Writes at once.
    pub burst: f64,
}

/// Says when the next write may start. A token bucket, kept as the time at which it would be full.
#[derive(Debug)]
pub struct Pace {
    rate: Option<Rate>,
    full_at: Option<Instant>,
}

impl Pace {
    /// A full bucket; without a rate one that never empties.
    #[must_use]
    pub fn new(rate: Option<Rate>) -> Self {
        Self {
            rate,
            full_at: None,
        }
    }

    /// Takes a token, or says when there is one.
    ///
    /// # Errors
    ///
    /// The time to ask again.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let Some(Rate { per_second, burst }) = self.rate else {
            return Ok(());
        };
        let token = Duration::from_secs_f64(1.0 / per_second);
        let capacity = token.mul_f64(burst.max(1.0));
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now)) + token;
        if full_at > now + capacity {
            return Err(full_at - capacity);
        }
        self.full_at = Some(full_at);
        Ok(())
    }
}

/// When a thing may be written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Not yet; [`Spacing::deadline`] says when.
    Later,
    /// Now, after everything else.
    Now,
    /// Now, and before everything else: it has been wanted for twice [`SPACING`].
    Overdue,
}

/// Keeps writes of the same thing apart. Each starts [`SETTLE`] after it is first wanted and [`SPACING`] after the one
/// before: a single change is shown soon, a burst by one write a second, and the last state is always shown.
#[derive(Debug)]
pub struct Spacing<K> {
    started: BTreeMap<K, Instant>,
    wanted: BTreeMap<K, Instant>,
    next: Option<Instant>,
}

impl<K> Default for Spacing<K> {
    fn default() -> Self {
        Self {
            started: BTreeMap::new(),
            wanted: BTreeMap::new(),
            next: None,
        }
    }
}

impl<K: Ord + Clone> Spacing<K> {
    /// Takes note of all things that now want to be written, and gives each its turn, in their order.
    pub fn turns(&mut self, things: &[K], now: Instant) -> Vec<Turn> {
        self.started.retain(|_, at| now < *at + SPACING);
        let before = std::mem::take(&mut self.wanted);
        self.next = None;
        let mut turn = |thing: &K| {
            let since = before.get(thing).copied().unwrap_or(now);
            self.wanted.insert(thing.clone(), since);
            let spaced = self.started.get(thing).map(|at| *at + SPACING);
            let due = spaced.max(Some(since + SETTLE)).filter(|due| now < *due);
            if let Some(due) = due {
                self.next = Some(self.next.map_or(due, |next| next.min(due)));
                Turn::Later
            } else if since + SPACING + SPACING <= now {
                Turn::Overdue
            } else {
                Turn::Now
            }
        };
        things.iter().map(&mut turn).collect()
    }

    /// Takes note that a write has started.
    pub fn start(&mut self, thing: K, now: Instant) {
        self.wanted.remove(&thing);
        self.started.insert(thing, now);
    }

    /// When the next of the things that have to wait has its turn.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_rate_every_write_may_start() {
        let mut pace = Pace::new(None);
        let now = Instant::now();
        assert!((0..10_000).all(|_| pace.take(now).is_ok()));
    }

    #[test]
    fn after_the_burst_writes_start_at_the_rate() {
        let mut pace = Pace::new(Some(Rate {
            per_second: 100.0,
            burst: 20.0,
        }));
        let start = Instant::now();
        let mut now = start;
        let mut taken = 0;
        while now < start + Duration::from_millis(995) {
            match pace.take(now) {
                Ok(()) => taken += 1,
                Err(next) => {
                    assert!(next > now);
                    now = next;
                }
            }
        }
        assert_eq!(taken, 20 + 99);
    }

    #[test]
    fn a_first_write_starts_soon_and_the_next_a_second_later() {
        let mut spacing = Spacing::default();
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let turn = |spacing: &mut Spacing<_>, millis| spacing.turns(&["pool"], after(millis))[0];

        for millis in [0, 125, 249] {
            assert_eq!(turn(&mut spacing, millis), Turn::Later);
            assert_eq!(spacing.deadline(), Some(after(250)));
        }
        assert_eq!(turn(&mut spacing, 250), Turn::Now);
        assert_eq!(spacing.deadline(), None, "nothing waits");
        spacing.start("pool", after(250));
        for millis in [251, 500, 1249] {
            assert_eq!(turn(&mut spacing, millis), Turn::Later);
            assert_eq!(spacing.deadline(), Some(after(1250)));
        }
        assert_eq!(turn(&mut spacing, 1250), Turn::Now);
        assert_eq!(spacing.deadline(), None, "nobody has to be told");
    }

    #[test]
    fn what_nobody_wants_any_more_is_not_waited_for() {
        let mut spacing = Spacing::default();
        let now = Instant::now();
        spacing.start("pool", now);
        spacing.turns(&["pool"], now);
        assert_eq!(spacing.deadline(), Some(now + SPACING));
        spacing.turns(&[], now);
        assert_eq!(spacing.deadline(), None);
    }

    #[test]
    fn what_has_waited_behind_others_for_a_second_comes_before_them() {
        let mut spacing = Spacing::default();
        let start = Instant::now();
        let seconds = |seconds| start + Duration::from_secs(seconds);
        spacing.start("a", start);
        assert_eq!(spacing.turns(&["a"], start), [Turn::Later]);
        assert_eq!(
            spacing.turns(&["a", "b"], seconds(1)),
            [Turn::Now, Turn::Later]
        );
        assert_eq!(
            spacing.turns(&["a", "b"], seconds(2)),
            [Turn::Overdue, Turn::Now]
        );
    }
}
