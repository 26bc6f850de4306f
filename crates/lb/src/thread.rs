//! The thread that does what the machine decides.
//!
//! ```text
//!   LoadBalancer ──Wish (latest)──► ┌────────┐ ──MapOps──────► maps ┐
//!       ──wake────────────────────► │ thread │ ──attach, detach──►  ├─ kernel
//!   listener ◄──Report───────────── └────────┘ ◄──"changed"──────── ┘
//! ```
//!
//! # Why
//! System calls that load, attach or wait for a grace period take milliseconds: they belong on a thread of their own.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use crate::capacity::capacity;
use crate::error::Error;
use crate::heap;
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::netlink::Monitor;
use crate::op::{Capacity, MapOp};
use crate::options::Options;
use crate::pins::Adoption;
use crate::report::Report;
use crate::reporter::Reporter;
use crate::unwritten::Unwritten;
use crate::wish::Wish;

/// How long changes of interfaces are gathered: a pod's comes in a handful of messages.
const INTERFACES_PAUSE: Duration = Duration::from_millis(10);
/// How long changes of routes are gathered. Packets that leave by a route that has gone wait for this.
const ROUTES_PAUSE: Duration = Duration::from_millis(4);
/// Between two looks at counters and memory.
const MEASURES_PAUSE: Duration = Duration::from_secs(10);
/// Between two attempts at what the kernel refused, when nothing else changes.
const REFUSAL_PAUSE: Duration = Duration::from_secs(5);

/// How often a wish is applied again because the last time made room for what had none. The next wish goes on where this ends.
const ROUNDS: usize = 8;

const INTERFACES: Token = Token(0);
const ROUTES: Token = Token(1);
const WAKER: Token = Token(2);

/// The load balancer of the network namespace of the thread that started it. Dropping it stops the thread; all that is in the kernel stays and
/// goes on balancing.
#[derive(Debug)]
pub struct LoadBalancer {
    mailbox: Arc<Mutex<Mailbox>>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<Result<(), Error>>>,
    adoption: Adoption,
    capacity: Capacity,
}

/// The next wish, and whether there will be one.
#[derive(Debug, Default)]
struct Mailbox {
    wish: Option<Wish>,
    closed: bool,
}

impl LoadBalancer {
    /// Loads the programs and starts a thread that keeps them and their maps as wished.
    ///
    /// What an earlier run left goes on working: its maps are adopted and its programs replaced without a packet lost; nothing is removed before the
    /// first wish. On new maps programs are attached only after the first wish is in them.
    ///
    /// The thread calls `listener` when something has changed, and drops it when it ends. Nothing goes on until the call returns.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] names the capabilities that are missing; [`Error::InUse`] while another process does the same; [`Error::NotBpffs`] and
    /// [`Error::Pin`] when the folder for pins cannot be used;
    /// otherwise what the kernel refuses, by name.
    pub fn start(
        options: Options,
        listener: impl FnMut(Report) + Send + 'static,
    ) -> Result<Self, Error> {
        let capacity = capacity(memory(&options)?);
        let settings = options.settings.clone();
        let (kernel, contents) = Kernel::open(options, &capacity)?;
        let (adoption, capacity) = (kernel.adoption(), kernel.maps().capacity());
        let machine = Machine::new(capacity, &settings, &contents);
        let poll = Poll::new().map_err(Error::Wait)?;
        let mut interfaces = Monitor::of_interfaces()?;
        interfaces.register(poll.registry(), INTERFACES)?;
        let mut routes = Monitor::of_routes()?;
        routes.register(poll.registry(), ROUTES)?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(Error::Wait)?;
        let waker = Arc::new(waker);
        let mailbox = Arc::new(Mutex::new(Mailbox::default()));
        let worker = Worker {
            kernel,
            machine,
            mailbox: Arc::clone(&mailbox),
            poll,
            interfaces,
            routes,
            reporter: Reporter::new(listener),
            wish: None,
            unwritten: Unwritten::default(),
            is_ready: false,
            heard: Instant::now(),
            survey_due: None,
            epoch_due: None,
            refusal_due: None,
            measures: Measures::default(),
        };
        let thread = std::thread::Builder::new()
            .name("lb".to_owned())
            .spawn(move || worker.run())
            .map_err(Error::Thread)?;
        Ok(Self {
            mailbox,
            waker,
            thread: Some(thread),
            adoption,
            capacity,
        })
    }

    /// What became of the maps of an earlier run.
    #[must_use]
    pub fn adoption(&self) -> Adoption {
        self.adoption
    }

    /// What the maps can hold. Those of an earlier run keep the size they had.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// Says what shall be, wholly. A wish that the thread has not begun with is forgotten for a later one. Never waits; after the end of the thread
    /// nothing happens.
    pub fn wish(&self, wish: Wish) {
        self.lock().wish = Some(wish);
        self.wake();
    }

    /// Ends the thread and says what ended it before, if something did. All that is in the kernel stays.
    ///
    /// # Errors
    /// What ended the thread.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        self.lock().closed = true;
        self.wake();
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // It fails when the counter behind it is full of wakes already.
        let _ = self.waker.wake();
    }
}

impl Drop for LoadBalancer {
    fn drop(&mut self) {
        // What ended the thread early has already been told by the end of its listener.
        if !std::thread::panicking() {
            let _ = self.end();
        }
    }
}

/// Memory of the machine: as it was told, or as the kernel says.
fn memory(options: &Options) -> Result<u64, Error> {
    if let Some(memory) = options.memory {
        return Ok(memory);
    }
    let text = std::fs::read_to_string("/proc/meminfo").map_err(Error::Memory)?;
    let total = text.lines().find_map(|line| {
        let rest = line.strip_prefix("MemTotal:")?;
        let kibibytes: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes << 10)
    });
    total.ok_or_else(|| Error::Memory(ErrorKind::InvalidData.into()))
}

struct Worker {
    kernel: Kernel,
    machine: Machine,
    mailbox: Arc<Mutex<Mailbox>>,
    poll: Poll,
    interfaces: Monitor,
    routes: Monitor,
    reporter: Reporter,
    /// The last wish that was begun with.
    wish: Option<Wish>,
    unwritten: Unwritten,
    /// A first wish was written, and all programs attached that were to be.
    is_ready: bool,
    /// When something of interfaces was last heard.
    heard: Instant,
    /// When to look at the interfaces.
    survey_due: Option<Instant>,
    /// When to raise the epoch.
    epoch_due: Option<Instant>,
    /// When to try again what the kernel refused.
    refusal_due: Option<Instant>,
    measures: Measures,
}

/// What is looked at from time to time.
#[derive(Default)]
struct Measures {
    memory: u64,
    counters: Vec<(&'static str, u64)>,
    due: Option<Instant>,
}

/// Whether somebody still wants something.
enum Inbox {
    Wish(Wish),
    Empty,
    Closed,
}

impl Worker {
    fn run(mut self) -> Result<(), Error> {
        let mut events = Events::with_capacity(4);
        self.kernel.configure();
        self.survey()?;
        if self.kernel.adoption() == Adoption::Adopted {
            self.kernel.attach()?;
        }
        self.kernel.maps().raise_epoch();
        loop {
            match self.take_wish() {
                Inbox::Closed => return Ok(()),
                Inbox::Wish(wish) => self.follow(wish)?,
                Inbox::Empty => {}
            }
            self.hear()?;
            self.catch_up()?;
            self.report()?;
            let until = self.next(Instant::now());
            let patience = until.map(|until| until.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, patience) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return Err(Error::Wait(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
    }

    fn take_wish(&self) -> Inbox {
        let mut mailbox = self.mailbox.lock().unwrap_or_else(PoisonError::into_inner);
        if mailbox.closed {
            return Inbox::Closed;
        }
        mailbox.wish.take().map_or(Inbox::Empty, Inbox::Wish)
    }

    /// Makes the maps what a wish says; at the first one then attaches the programs.
    fn follow(&mut self, wish: Wish) -> Result<(), Error> {
        let other_addresses = self.kernel.set_node_addresses(&wish.node_addresses);
        if other_addresses {
            self.kernel.configure();
        }
        self.write(&wish);
        for _ in 0..ROUNDS {
            if !self.machine.is_unsettled() {
                break;
            }
            self.write(&wish);
        }
        let is_first = self.wish.is_none();
        self.wish = Some(wish);
        if is_first || other_addresses {
            self.survey()?;
            self.kernel.attach()?;
        }
        if is_first {
            self.measures.due = None;
        }
        Ok(())
    }

    /// Asks which interfaces there are, again where they changed while the kernel told of them.
    fn survey(&mut self) -> Result<bool, Error> {
        loop {
            match self.kernel.survey() {
                Err(Error::Interrupted) => {}
                answer => return answer,
            }
        }
    }

    fn write(&mut self, wish: &Wish) {
        let steps = self.machine.apply(wish, Instant::now());
        self.perform(&steps);
    }

    fn perform(&mut self, steps: &[MapOp]) {
        let failures = self.kernel.maps().perform(steps);
        self.unwritten.note(steps, &failures, Instant::now());
    }

    /// Sets when to look at what has changed.
    fn hear(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if self.interfaces.drain()? {
            self.heard = now;
            self.survey_due.get_or_insert(now + INTERFACES_PAUSE);
            self.epoch_due.get_or_insert(now + ROUTES_PAUSE);
        }
        // What is heard while the epoch waits to be raised is heard then.
        if self.epoch_due.is_none() && self.routes.drain()? {
            self.epoch_due = Some(now + ROUTES_PAUSE);
        }
        Ok(())
    }

    /// Does what is due.
    fn catch_up(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let is_due = |due: &Option<Instant>| due.is_some_and(|due| due <= now);
        if is_due(&self.epoch_due) {
            self.epoch_due = None;
            self.routes.drain()?;
            self.kernel.maps().raise_epoch();
        }
        if is_due(&self.survey_due) {
            self.survey_due = None;
            match self.kernel.survey() {
                Ok(true) => self.kernel.settle()?,
                Ok(false) => {}
                Err(Error::Interrupted) => self.survey_due = Some(now + INTERFACES_PAUSE),
                Err(error) => return Err(error),
            }
        }
        if is_due(&self.kernel.links_due(now, self.heard)) {
            self.kernel.proceed(self.heard)?;
        }
        if is_due(&self.refusal_due) {
            self.refusal_due = None;
            self.kernel.settle()?;
        }
        if is_due(&self.unwritten.again()) {
            let steps = self.unwritten.steps();
            self.perform(&steps);
        }
        if self.kernel.has_refusals() {
            self.refusal_due.get_or_insert(now + REFUSAL_PAUSE);
        } else {
            self.refusal_due = None;
        }
        Ok(())
    }

    fn report(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if self.measures.due.is_none_or(|due| due <= now) {
            self.measures = Measures {
                memory: self.kernel.maps().memory()?,
                counters: self.kernel.maps().counters()?,
                due: Some(now + MEASURES_PAUSE),
            };
        }
        if !self.is_ready && self.wish.is_some() && self.kernel.is_attached() {
            self.is_ready = true;
            heap::give_back();
        }
        let mut report = Report {
            ready: self.is_ready,
            wish: self.wish.as_ref().map_or(0, |wish| wish.number),
            interfaces: self.kernel.attachments(),
            sockets: self.kernel.sockets(),
            memory: self.measures.memory,
            counters: self.measures.counters.clone(),
            ..self.machine.report()
        };
        let missing = self.unwritten.addresses();
        if !missing.is_empty() {
            Arc::make_mut(&mut report.programmed).retain(|address| !missing.contains(address));
            report.withheld.extend(self.unwritten.withheld());
        }
        self.reporter.report(report);
        Ok(())
    }

    /// When to look again if nothing happens.
    fn next(&self, now: Instant) -> Option<Instant> {
        let due = [
            self.kernel.links_due(now, self.heard),
            self.survey_due,
            self.epoch_due,
            self.refusal_due,
            self.unwritten.again(),
            self.measures.due,
        ];
        due.into_iter().flatten().min()
    }
}
