//! Who is told what has changed.

use crate::report::Report;

/// Hands reports on, each that says something new.
pub(crate) struct Reporter {
    listener: Box<dyn FnMut(Report) + Send>,
    last: Option<Report>,
}

impl Reporter {
    pub(crate) fn new(listener: impl FnMut(Report) + Send + 'static) -> Self {
        Self {
            listener: Box::new(listener),
            last: None,
        }
    }

    /// Reports, unless it says what the last one said.
    pub(crate) fn report(&mut self, report: Report) {
        if self.last.as_ref() != Some(&report) {
            self.last = Some(report.clone());
            (self.listener)(report);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn the_same_is_not_said_twice() {
        let (sender, reports) = channel();
        let mut reporter = Reporter::new(move |report: Report| {
            sender.send(report.backends).expect("the test listens");
        });
        for backends in [1, 1, 2, 2, 1] {
            reporter.report(Report {
                backends,
                ..Report::default()
            });
        }
        assert_eq!(reports.try_iter().collect::<Vec<_>>(), [1, 2, 1]);
    }
}
