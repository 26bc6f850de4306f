//! How long to wait before doing again what was undone or refused.

use std::time::{Duration, Instant};

/// The wait after the second strike; it doubles with each further one. A hundred milliseconds keep a single repair far below a second.
const STEP: Duration = Duration::from_millis(100);
/// The longest wait: what somebody else cleared away by hand comes back within this time.
const LONGEST: Duration = Duration::from_secs(30);
/// What has been quiet for so long counts as settled.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// How often something went wrong lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    strikes: u32,
    last: Instant,
}

/// Whether the first repair may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    AtOnce,
    /// The kernel has just refused the very same.
    AfterAStep,
}

impl Backoff {
    /// Counts one more strike, and says until when to wait; `None` when there is no need to.
    pub(crate) fn strike(
        before: Option<Self>,
        first: First,
        now: Instant,
    ) -> (Self, Option<Instant>) {
        let strikes = match before {
            Some(before) if now < before.forgotten_at() => before.strikes.saturating_add(1),
            Some(_) | None => 1,
        };
        let doublings = match first {
            First::AtOnce => strikes.checked_sub(2),
            First::AfterAStep => strikes.checked_sub(1),
        };
        let wait =
            doublings.map(|doublings| LONGEST.min(STEP.saturating_mul(1 << doublings.min(16))));
        (Self { strikes, last: now }, wait.map(|wait| now + wait))
    }

    /// When this no longer counts.
    pub(crate) fn forgotten_at(&self) -> Instant {
        self.last + FORGOTTEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_are_forgotten() {
        let start = Instant::now();
        let mut backoff = None;
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..12 {
            let (next, until) = Backoff::strike(backoff, First::AtOnce, now);
            waits.push(until.map_or(0, |until| (until - now).as_millis()));
            now = until.unwrap_or(now);
            backoff = Some(next);
        }
        assert_eq!(
            waits,
            [
                0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000
            ]
        );
        let (_, until) = Backoff::strike(backoff, First::AtOnce, now + FORGOTTEN);
        assert_eq!(until, None);
        let (_, until) = Backoff::strike(None, First::AfterAStep, now);
        assert_eq!(until, Some(now + STEP));
    }
}
