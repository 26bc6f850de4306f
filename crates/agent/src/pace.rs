//! When a changed status may be written.

use std::time::{Duration, Instant};

/// Changes this close together become one write: a session that establishes passes through four states in
/// milliseconds. Well under the second in which the first change must show.
const SETTLE: Duration = Duration::from_millis(250);
/// Least time between two writes, so that a flapping peer costs the API server one write in this time.
const GAP: Duration = Duration::from_secs(5);
/// Least time between two writes while a changed plan is being carried out: somebody is looking.
const GAP_WHILE_FRESH: Duration = Duration::from_millis(500);
/// How long a changed plan counts as being carried out.
const FRESH: Duration = Duration::from_secs(5);

/// Paces writes: the first change shows at once, steady trouble at most once in five seconds.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    pending_since: Option<Instant>,
    last_write: Option<Instant>,
    fresh_until: Option<Instant>,
}

impl Pace {
    /// The plan changed.
    pub(crate) fn planned(&mut self, now: Instant) {
        self.fresh_until = Some(now + FRESH);
    }

    /// Told whether what should be written differs from what is; returns when the write is due, if one is.
    pub(crate) fn due(&mut self, differs: bool, now: Instant) -> Option<Instant> {
        if !differs {
            self.pending_since = None;
            return None;
        }
        let settled = *self.pending_since.get_or_insert(now) + SETTLE;
        let fresh = self.fresh_until.is_some_and(|until| now < until);
        let gap = if fresh { GAP_WHILE_FRESH } else { GAP };
        Some(
            self.last_write
                .map_or(settled, |last| settled.max(last + gap)),
        )
    }

    /// A write was made, or tried.
    pub(crate) fn wrote(&mut self, now: Instant) {
        self.pending_since = None;
        self.last_write = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn first_change_shows_within_a_second() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.due(false, start), None);
        assert!(pace.due(true, at(start, 10)).expect("due") <= at(start, 1_000));
    }

    #[test]
    fn a_flapping_peer_is_written_once_in_five_seconds() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let mut writes = 0;
        for step in 0..600 {
            let now = at(start, step * 100);
            if pace.due(true, now).is_some_and(|due| due <= now) {
                pace.wrote(now);
                writes += 1;
            }
        }
        assert!((11..=13).contains(&writes), "{writes} writes in a minute");
    }

    #[test]
    fn while_a_plan_is_fresh_progress_shows_twice_a_second() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.planned(start);
        assert_eq!(pace.due(true, start), Some(at(start, 250)));
        pace.wrote(at(start, 250));
        assert_eq!(pace.due(true, at(start, 300)), Some(at(start, 750)));
    }

    #[test]
    fn a_change_taken_back_is_never_written() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert!(pace.due(true, start).is_some());
        assert_eq!(pace.due(false, at(start, 100)), None);
        assert_eq!(pace.due(true, at(start, 200)), Some(at(start, 450)));
    }
}
