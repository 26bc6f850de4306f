//! Seeing to it that the latest report gets out.

use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use crate::report::Report;

/// How long after a report was not taken the next attempt comes; then twice as long, up to a second. Sooner is not better: with a
/// millisecond, half of new Services among 2,000 were in the router 20 ms later.
const AGAIN: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// Who does not read reports misses some, but never the latest.
pub(crate) struct Reporter {
    outbox: SyncSender<Report>,
    last: Option<Report>,
    /// What could not be delivered yet.
    waiting: Option<Report>,
    pause: Duration,
}

impl Reporter {
    pub(crate) fn new(outbox: SyncSender<Report>) -> Self {
        Self {
            outbox,
            last: None,
            waiting: None,
            pause: AGAIN,
        }
    }

    /// Reports, unless it says what the last one said.
    pub(crate) fn report(&mut self, report: Report) {
        if self.last.as_ref() != Some(&report) {
            self.last = Some(report.clone());
            self.waiting = Some(report);
            self.pause = AGAIN;
        }
    }

    /// Delivers what waits. Gives the moment at which to call again, if there is one.
    pub(crate) fn deliver(&mut self, now: Instant) -> Option<Instant> {
        let report = self.waiting.take()?;
        match self.outbox.try_send(report) {
            Err(TrySendError::Full(report)) => {
                self.waiting = Some(report);
                let again = now + self.pause;
                self.pause = (self.pause * 2).min(LONGEST);
                Some(again)
            }
            // A reader that is gone does not want to know.
            Ok(()) | Err(TrySendError::Disconnected(_)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn report(backends: usize) -> Report {
        Report {
            backends,
            ..Report::default()
        }
    }

    #[test]
    fn a_slow_reader_misses_reports_but_not_the_latest() {
        let (outbox, reports) = sync_channel(1);
        let mut reporter = Reporter::new(outbox);
        let now = Instant::now();
        let mut again = None;
        for backends in 1..=3 {
            reporter.report(report(backends));
            again = reporter.deliver(now);
        }
        assert_eq!(again, Some(now + AGAIN));
        assert_eq!(reports.try_recv().expect("the first").backends, 1);
        assert_eq!(reporter.deliver(now + AGAIN), None);
        assert_eq!(reports.try_recv().expect("the last").backends, 3);
    }

    #[test]
    fn the_same_is_not_said_twice() {
        let (outbox, reports) = sync_channel(2);
        let mut reporter = Reporter::new(outbox);
        for _ in 0..2 {
            reporter.report(report(1));
            reporter.deliver(Instant::now());
        }
        assert_eq!(reports.try_iter().count(), 1);
    }
}
