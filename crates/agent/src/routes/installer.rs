//! One target: its thread in the kernel's service, whatever keeps it from running, and what is true there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fib::{Command, Fib, Form, Identity, NextHop, NextHopSet, Report};
use ipnet::IpNet;
use plan::node::observed::RoutesProblem;
use plan::node::{ObservedRoutes, Refusal, Target};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::refused::Refused;
use crate::observe;

/// Pauses before a thread that could not be started, or ended, is started again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// What a target's thread says.
#[derive(Debug)]
pub(super) struct News {
    pub(super) target: Target,
    /// Which start of the thread it is about.
    start: u64,
    /// `None`: it has ended.
    report: Option<Report>,
}

/// One target.
pub(super) struct Installer {
    target: Target,
    /// The handle of its thread; where there is none, `trouble` says why.
    fib: Option<Arc<Fib>>,
    trouble: Option<Trouble>,
    starts: u64,
    pause: Duration,
    report: Report,
    /// Everything that is wished has been said once to this start of the thread.
    complete: bool,
    /// What an earlier run left has been dealt with.
    ready: bool,
    refused: Refused,
    /// Neighbouring routes mostly lead to the same next hops, and are cheaper where they share them.
    latest: Option<(Vec<(u8, NextHop)>, NextHopSet)>,
}

/// Why the thread does not run.
struct Trouble {
    problem: RoutesProblem,
    /// When to try again; `None` where it would be the same.
    again: Option<Instant>,
}

pub(crate) fn identity(target: Target) -> Identity {
    let Target {
        table,
        protocol,
        metric,
    } = target;
    Identity {
        table,
        protocol,
        metric,
    }
}

pub(super) fn target(identity: Identity) -> Target {
    let Identity {
        table,
        protocol,
        metric,
    } = identity;
    Target {
        table,
        protocol,
        metric,
    }
}

impl Installer {
    /// Starts taking care of a target, whose thread was started so often before.
    pub(super) fn start(target: Target, starts: u64, reporter: &mpsc::Sender<News>) -> Self {
        let mut installer = Self {
            target,
            fib: None,
            trouble: None,
            starts,
            pause: FIRST_PAUSE,
            report: Report::default(),
            complete: false,
            ready: false,
            refused: Refused::default(),
            latest: None,
        };
        installer.restart(reporter);
        installer
    }

    /// Ends the thread; its routes stay. How often it was started.
    pub(super) fn stop(self) -> u64 {
        self.starts
    }

    /// Starts the thread; whether it runs.
    pub(super) fn restart(&mut self, reporter: &mpsc::Sender<News>) -> bool {
        self.starts += 1;
        self.complete = false;
        let started = Fib::start(identity(self.target), Form::Objects);
        let (target, start) = (self.target, self.starts);
        let running = started.and_then(|(fib, reports)| {
            forward(target, start, reports, reporter.clone())?;
            Ok(fib)
        });
        match running {
            Ok(fib) => {
                info!(target = %Named(target), "learned routes go into the kernel");
                self.fib = Some(Arc::new(fib));
                self.trouble = None;
            }
            Err(error) => self.failed(&error),
        }
        self.fib.is_some()
    }

    /// Says what is missing once, not at each attempt.
    fn failed(&mut self, error: &fib::Error) {
        let (problem, again) = match error {
            // Nobody gives a running process a capability that it began without.
            fib::Error::NotPermitted => (RoutesProblem::NetAdminMissing, None),
            error => {
                let again = Instant::now() + self.pause;
                self.pause = (self.pause * 2).min(LAST_PAUSE);
                (RoutesProblem::Failed(cluster::causes(error)), Some(again))
            }
        };
        let known = self.trouble.as_ref().map(|trouble| &trouble.problem);
        if known != Some(&problem) {
            warn!(target = %Named(self.target), error = cluster::causes(error), "learned routes cannot be installed");
        }
        self.trouble = Some(Trouble { problem, again });
    }

    /// Whether nothing will ever be installed here by this process.
    pub(super) fn is_hopeless(&self) -> bool {
        self.trouble
            .as_ref()
            .is_some_and(|trouble| trouble.again.is_none())
    }

    /// Whether the routes that are to be here are, for all that can be done.
    pub(super) fn is_at_rest(&self) -> bool {
        self.ready || self.is_hopeless()
    }

    /// When to call [`Installer::restart`].
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.trouble.as_ref()?.again
    }

    /// Whether everything wished has been said.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Notes whether a learned prefix is refused here.
    pub(super) fn refuse(&mut self, prefix: IpNet, reason: Option<Refusal>) {
        self.refused.set(prefix, reason);
    }

    /// A set of these with their ranks, which are in order; the one before where they are the same.
    pub(super) fn shared(&mut self, next_hops: Vec<(u8, NextHop)>) -> NextHopSet {
        match &self.latest {
            Some((latest, set)) if *latest == next_hops => set.clone(),
            Some(_) | None => {
                let ranks = next_hops.chunk_by(|(one, _), (next, _)| one == next);
                let set = NextHopSet::ranked(ranks.map(|rank| rank.iter().map(|(_, hop)| *hop)))
                    .expect("a route that is installed has a next hop");
                self.latest = Some((next_hops, set.clone()));
                set
            }
        }
    }

    /// Hands over commands; waits, without holding anybody else up, while the kernel is behind.
    pub(super) async fn send(&mut self, commands: Vec<Command>) {
        let Some(fib) = &self.fib else {
            return;
        };
        if commands.is_empty() {
            return;
        }
        self.complete |= commands.last() == Some(&Command::Complete);
        // That the thread has ended is told by the end of its reports, and everything is said anew to the next one.
        if let Ok(Some(commands)) = fib.try_send(commands) {
            let fib = Arc::clone(fib);
            drop(spawn_blocking(move || fib.send(commands)).await);
        }
    }

    /// Takes news of its thread.
    pub(super) fn hear(&mut self, news: News) {
        if news.start != self.starts {
            return;
        }
        if let Some(report) = news.report {
            self.pause = FIRST_PAUSE;
            self.ready |= report.complete && report.is_settled();
            self.report = report;
        } else if let Some(fib) = self.fib.take() {
            let ended = Arc::into_inner(fib).map(Fib::stop);
            self.failed(&ended.and_then(Result::err).unwrap_or(fib::Error::Ended));
        }
    }

    /// What is true.
    pub(super) fn observed(&mut self) -> ObservedRoutes {
        let trouble = self.trouble.as_ref();
        let problem = trouble.map(|trouble| trouble.problem.clone());
        observe::routes(&self.report, self.refused.observed(), self.ready, problem)
    }
}

/// Reports come on a channel that blocks: a thread carries them over. It ends with the routes' thread, or with us.
fn forward(
    target: Target,
    start: u64,
    reports: std::sync::mpsc::Receiver<Report>,
    reporter: mpsc::Sender<News>,
) -> Result<(), fib::Error> {
    let news = move |report| News {
        target,
        start,
        report,
    };
    let carry = move || {
        while let Ok(report) = reports.recv() {
            if reporter.blocking_send(news(Some(report))).is_err() {
                return;
            }
        }
        // Nobody is left to hear that nothing more comes.
        drop(reporter.blocking_send(news(None)));
    };
    let thread = std::thread::Builder::new().name("fib-reports".to_owned());
    thread.spawn(carry).map_err(fib::Error::Thread)?;
    Ok(())
}

/// A target in a log line.
pub(super) struct Named(pub(super) Target);

impl std::fmt::Display for Named {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Target {
            table,
            protocol,
            metric,
        } = self.0;
        write!(
            formatter,
            "table {table} protocol {protocol} metric {metric}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped() -> Installer {
        let target = Target {
            table: 254,
            protocol: 186,
            metric: 30,
        };
        Installer {
            target,
            fib: None,
            trouble: None,
            starts: 1,
            pause: FIRST_PAUSE,
            report: Report::default(),
            complete: false,
            ready: false,
            refused: Refused::default(),
            latest: None,
        }
    }

    #[test]
    fn without_the_capability_it_is_said_and_not_tried_again() {
        let mut installer = stopped();
        installer.failed(&fib::Error::NotPermitted);
        assert_eq!(
            installer.observed().problem,
            Some(RoutesProblem::NetAdminMissing)
        );
        assert_eq!(installer.retry_at(), None);
        assert!(installer.is_hopeless());
    }

    #[test]
    fn what_may_get_better_is_tried_again_at_growing_intervals() {
        let mut installer = stopped();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let begin = Instant::now();
            installer.failed(&fib::Error::Interrupted);
            let at = installer.retry_at().expect("again");
            assert!(!installer.is_hopeless());
            pauses.push((at - begin).as_secs_f64().round());
        }
        assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
        let expected = "the kernel's answer was interrupted again and again";
        let problem = RoutesProblem::Failed(expected.to_owned());
        assert_eq!(installer.observed().problem, Some(problem));
    }

    /// The thread of an earlier start may have said something that was not heard before the next one began.
    #[test]
    fn news_of_an_earlier_thread_is_old() {
        let mut installer = stopped();
        installer.starts = 2;
        let news = |start| News {
            target: installer.target,
            start,
            report: Some(Report {
                installed: 7,
                ..Report::default()
            }),
        };
        let (old, new) = (news(1), news(2));
        installer.hear(old);
        assert_eq!(installer.observed().installed, 0);
        installer.hear(new);
        assert_eq!(installer.observed().installed, 7);
    }
}
