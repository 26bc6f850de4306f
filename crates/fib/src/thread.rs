//! The thread that does what the core decides.
//!
//! ```text
//!   Fib ──Vec<Command> (8)──► ┌────────┐ ──RouteOps──► Requests ─┐
//!       ──wake──────────────► │ thread │ ◄──failures──           ├─ kernel
//!   Receiver ◄──Report (1)─── └────────┘ ◄──facts───── Monitor ──┘
//! ```
//!
//! # Why
//! A write to the kernel runs in the kernel under its one lock for routes, for as long as it takes: that belongs on a thread of its own.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};
use nix::libc::ENOBUFS;

use crate::error::Error;
use crate::machine::{Machine, Step};
use crate::route::{Command, Form, Identity, Report};
use crate::socket::{Heard, Monitor, Outcome, Question, Requests};

/// Batches that may wait. More would only hide that the sender is faster than the thread, which takes them in between two writes.
const WAITING_BATCHES: usize = 8;
/// Between two reports while there is work, and the least between two at all.
const REPORT_BUSY: Duration = Duration::from_millis(250);
const REPORT_IDLE: Duration = Duration::from_millis(5);
/// How long after the reader took a report the next one may wait, if it was not taken at once.
const REPORT_AGAIN: Duration = Duration::from_millis(50);

const MONITOR: Token = Token(0);
const WAKER: Token = Token(1);

/// Routes of one identity in the network namespace of the thread that started it. Dropping it stops the work; the routes stay.
#[derive(Debug)]
pub struct Fib {
    commands: Option<SyncSender<Vec<Command>>>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Fib {
    /// Starts to take care of the routes of an identity. With [`Form::Objects`], nexthop objects are used if the kernel has them.
    ///
    /// The kernel is read; nothing is removed before [`Command::Complete`]. Reports come when something has changed; who does not read
    /// them misses some, but never the latest. The channel ends when the thread does.
    ///
    /// # Errors
    /// [`Error::Table`] and [`Error::Protocol`] for an identity that cannot be owned, [`Error::NotPermitted`] without `CAP_NET_ADMIN`,
    /// [`Error::Open`] and [`Error::Thread`] when the system refuses.
    pub fn start(identity: Identity, form: Form) -> Result<(Self, Receiver<Report>), Error> {
        let identity = identity.check()?;
        let mut requests = Requests::open()?;
        let form = match (form, requests.probe(&identity)?) {
            (Form::Objects, Form::Objects) => Form::Objects,
            (Form::Objects, Form::Inline) | (Form::Inline, Form::Objects | Form::Inline) => {
                Form::Inline
            }
        };
        let mut monitor = Monitor::open(&requests, form)?;
        let poll = Poll::new().map_err(Error::Wait)?;
        monitor.register(poll.registry(), MONITOR)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(Error::Wait)?);
        let (commands, inbox) = sync_channel(WAITING_BATCHES);
        let (outbox, reports) = sync_channel(1);
        let now = Instant::now();
        let worker = Worker {
            identity,
            form,
            machine: Machine::new(identity, form, now),
            requests,
            monitor,
            poll,
            inbox,
            reporter: Reporter::new(outbox, now),
        };
        let thread = std::thread::Builder::new()
            .name("fib".to_owned())
            .spawn(move || worker.run())
            .map_err(Error::Thread)?;
        let fib = Self {
            commands: Some(commands),
            waker,
            thread: Some(thread),
        };
        Ok((fib, reports))
    }

    /// Hands over a batch of commands, and waits while too many wait already; that takes a few milliseconds at most.
    ///
    /// # Errors
    /// [`Error::Ended`] when the thread is gone.
    pub fn send(&self, batch: Vec<Command>) -> Result<(), Error> {
        let commands = self.commands.as_ref().ok_or(Error::Ended)?;
        commands.send(batch).map_err(|_| Error::Ended)?;
        self.waker.wake().map_err(Error::Wait)
    }

    /// Hands over a batch of commands, or gives it back when too many wait.
    ///
    /// # Errors
    /// [`Error::Ended`] when the thread is gone.
    pub fn try_send(&self, batch: Vec<Command>) -> Result<Option<Vec<Command>>, Error> {
        let commands = self.commands.as_ref().ok_or(Error::Ended)?;
        let back = match commands.try_send(batch) {
            Ok(()) => None,
            Err(TrySendError::Full(batch)) => Some(batch),
            Err(TrySendError::Disconnected(_)) => return Err(Error::Ended),
        };
        self.waker.wake().map_err(Error::Wait)?;
        Ok(back)
    }

    /// Ends the work and says what ended it before, if something did. The routes stay.
    ///
    /// # Errors
    /// What ended the thread.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        self.commands = None;
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        self.waker.wake().map_err(Error::Wait)?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Fib {
    fn drop(&mut self) {
        // What ended the thread early has already been told by the end of the reports.
        if !std::thread::panicking() {
            let _ = self.end();
        }
    }
}

struct Worker {
    identity: Identity,
    form: Form,
    machine: Machine,
    requests: Requests,
    monitor: Monitor,
    poll: Poll,
    inbox: Receiver<Vec<Command>>,
    reporter: Reporter,
}

/// Whether somebody still wants something.
enum Inbox {
    Open,
    Closed,
}

impl Worker {
    fn run(mut self) -> Result<(), Error> {
        let mut events = Events::with_capacity(4);
        loop {
            if let Inbox::Closed = self.take_commands() {
                return Ok(());
            }
            self.hear()?;
            let step = self.machine.poll(Instant::now());
            match step {
                Step::Read => self.read()?,
                Step::Write => self.write()?,
                Step::Wait(until) => {
                    let until = self.reporter.report(&self.machine, Pace::Idle).min(until);
                    let patience = until.saturating_duration_since(Instant::now());
                    match self.poll.poll(&mut events, Some(patience)) {
                        Err(error) if error.kind() != ErrorKind::Interrupted => {
                            return Err(Error::Wait(error));
                        }
                        Ok(()) | Err(_) => {}
                    }
                    continue;
                }
            }
            self.reporter.changed = true;
            self.reporter.report(&self.machine, Pace::Busy);
        }
    }

    fn take_commands(&mut self) -> Inbox {
        loop {
            match self.inbox.try_recv() {
                Ok(batch) => {
                    self.reporter.changed = true;
                    self.machine.command(batch);
                }
                Err(TryRecvError::Empty) => return Inbox::Open,
                Err(TryRecvError::Disconnected) => return Inbox::Closed,
            }
        }
    }

    fn hear(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let machine = &mut self.machine;
        let heard = self.monitor.drain(|heard| match heard {
            Heard::Fact(fact) => machine.fact(fact, now),
            Heard::Overrun => machine.overrun(now),
        })?;
        self.reporter.changed |= heard;
        Ok(())
    }

    fn write(&mut self) -> Result<(), Error> {
        let outcome = self.requests.write(&self.identity, self.machine.ops())?;
        let now = Instant::now();
        match outcome {
            Outcome::Written(failures) => self.machine.written(&failures, now),
            Outcome::Lost => {
                self.machine.written(&[], now);
                self.machine.write_lost(now);
            }
        }
        Ok(())
    }

    /// Reads the kernel as a whole. When something gets in between, again later; until then nothing is written.
    fn read(&mut self) -> Result<(), Error> {
        let begin = Instant::now();
        self.machine.begin_read();
        let result = self.ask_everything();
        let now = Instant::now();
        match result {
            Ok(()) => self.machine.end_read(now - begin, now),
            Err(Error::Interrupted) => self.machine.read_failed(now),
            Err(Error::Receive(error)) if error.raw_os_error() == Some(ENOBUFS) => {
                self.machine.read_failed(now);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn ask_everything(&mut self) -> Result<(), Error> {
        let machine = &mut self.machine;
        let requests = &mut self.requests;
        requests.ask(Question::Links, |fact| machine.learn(fact))?;
        if self.form == Form::Objects {
            requests.ask(Question::Nexthops, |fact| machine.learn(fact))?;
        }
        let mut tables = vec![self.identity.table, Identity::MAIN];
        tables.dedup();
        for table in tables {
            for question in Question::routes(Some(table), None) {
                requests.ask(question, |fact| machine.learn(fact))?;
            }
        }
        Ok(())
    }
}

/// Whether there is more to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Busy,
    Idle,
}

/// Sees to it that the latest report gets out, not too often.
struct Reporter {
    outbox: SyncSender<Report>,
    /// Something may be different from what was last reported.
    changed: bool,
    last: Report,
    /// What could not be delivered yet.
    waiting: Option<Report>,
    again: Duration,
    made: Instant,
    cost: Duration,
}

impl Reporter {
    fn new(outbox: SyncSender<Report>, now: Instant) -> Self {
        Self {
            outbox,
            changed: true,
            last: Report::default(),
            waiting: None,
            again: REPORT_AGAIN,
            made: now,
            cost: Duration::ZERO,
        }
    }

    /// Reports if it is time to. Gives the moment at which to call again.
    fn report(&mut self, machine: &Machine, pace: Pace) -> Instant {
        let now = Instant::now();
        let pause = match pace {
            Pace::Busy => REPORT_BUSY,
            Pace::Idle => REPORT_IDLE,
        };
        // A look at a million rows takes some milliseconds; it may take a tenth of the time.
        let due = self.made + pause.max(self.cost * 10);
        if self.changed && due <= now {
            let report = machine.survey();
            // Between two steps the picture moves on without a word; only at rest it has been told in full.
            self.changed = pace == Pace::Busy;
            self.made = now;
            self.cost = now.elapsed();
            if report != self.last {
                self.last = report.clone();
                self.waiting = Some(report);
                self.again = REPORT_AGAIN;
            }
        }
        self.deliver();
        match (&self.waiting, self.changed) {
            (Some(_), _) => now + self.again,
            (None, true) => due,
            (None, false) => now + Duration::from_secs(3600),
        }
    }

    fn deliver(&mut self) {
        let Some(report) = self.waiting.take() else {
            return;
        };
        // A reader that is gone does not want to know.
        if let Err(TrySendError::Full(report)) = self.outbox.try_send(report) {
            self.waiting = Some(report);
            self.again = (self.again * 2).min(Duration::from_secs(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity {
        table: Identity::MAIN,
        protocol: 215,
        metric: 20,
    };

    #[test]
    fn what_was_reported_in_between_is_reported_again_at_rest() {
        let now = Instant::now();
        let mut machine = Machine::new(IDENTITY, Form::Objects, now);
        let (outbox, reports) = sync_channel(1);
        let mut reporter = Reporter::new(outbox, now - REPORT_BUSY);
        reporter.report(&machine, Pace::Busy);
        assert_eq!(reports.try_iter().count(), 0, "nothing has happened yet");
        machine.begin_read();
        machine.end_read(Duration::ZERO, now);
        reporter.made = now - REPORT_BUSY;
        reporter.report(&machine, Pace::Idle);
        assert!(reports.try_recv().expect("a report").ready);
        assert!(!reporter.changed);
    }

    #[test]
    fn a_slow_reader_misses_reports_but_not_the_latest() {
        let now = Instant::now();
        let mut machine = Machine::new(IDENTITY, Form::Objects, now);
        let (outbox, reports) = sync_channel(1);
        let mut reporter = Reporter::new(outbox, now);
        for _ in 0..3 {
            machine.command(Vec::new());
            reporter.changed = true;
            reporter.made = now - REPORT_BUSY;
            reporter.report(&machine, Pace::Idle);
        }
        assert_eq!(reports.try_recv().expect("a report").batches, 1);
        reporter.report(&machine, Pace::Idle);
        assert_eq!(reports.try_recv().expect("a report").batches, 3);
        assert!(reports.try_recv().is_err());
    }
}
