//! An upper limit of writes per second, for those who want one (`operator-k8s-client-qps`).

use std::time::{Duration, Instant};

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
}
