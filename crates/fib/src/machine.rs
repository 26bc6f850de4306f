//! The core: told what is wished and what the kernel says, it says what to write next. It does nothing itself.
//!
//! ```text
//!   command ──► Wish (sets of next hops) ─┐
//!                                         ├─► settle: hops ─► groups ─► routes ─► leftovers ──► RouteOps
//!   fact ─────► Links, Objects, rows ─────┘                                                        │
//!      ▲                                                                                           │
//!      └────────────────────────── written (what failed) ◄─────────────────────────────────────────┘
//! ```
//!
//! # Why
//! A step is taken for done when it is given out, and only what failed is told back: a million routes need a million steps, and next to
//! none of them fails. What the kernel does without telling (a link that goes down takes its nexthop objects and IPv4 routes with it) is
//! done here to the picture of the kernel in the same way. Where picture and kernel may differ, the kernel is read again as a whole:
//! one way to repair everything, at about a second per million routes.

mod facts;
mod outcome;
mod reading;
mod settle;
mod survey;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use ipnet::IpNet;

pub(crate) use outcome::Failure;
use reading::Before;
use trouble::{Alarm, Trouble};

use crate::backlog::Backlog;
use crate::difference::{Change, Present, RouteOp, Target, difference};
use crate::inline::Inlines;
use crate::kernel::Carried;
use crate::links::Links;
use crate::objects::Objects;
use crate::prefix_map::PrefixMap;
use crate::route::{Command, Counters, Form, Identity};
use crate::wish::{SetId, Wish};

/// Routes per step: so many are written before commands and the kernel are heard again, every millisecond or so.
const ROUTES: usize = 256;
/// How often the kernel is read without a reason, against what nobody foresaw.
const AUDIT: Duration = Duration::from_secs(600);
/// The least pause between two readings, beside twice what a reading takes: whatever others do, at most a third of the time is spent so.
const READ_PAUSE: Duration = Duration::from_millis(100);

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Read the kernel: [`Machine::begin_read`], each fact to [`Machine::learn`], [`Machine::end_read`] or [`Machine::read_failed`].
    Read,
    /// Write [`Machine::ops`] in order, then tell [`Machine::written`] what failed.
    Write,
    /// Nothing, until something is said or this moment comes.
    Wait(Instant),
}

/// One prefix: what it shall be and what it is.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    wish: Option<SetId>,
    carried: Carried,
    /// It stands in the backlog.
    queued: bool,
    /// It was wished for once, or is known to have to go. What nobody asked for is a leftover of an earlier run; it stays until the wish
    /// is complete.
    asked: bool,
    /// The reading under way has come across it.
    seen: bool,
}

/// When the kernel is read.
#[derive(Debug)]
struct Reading {
    /// It has been read once.
    ready: bool,
    due: Instant,
    /// Not before this.
    earliest: Instant,
    certainty: Certainty,
}

/// How far the picture of the kernel can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Certainty {
    Certain,
    /// Something that the kernel said was lost: a route taken for ours may be another one's, so none is written until it has been read.
    Doubtful,
    /// A reading came to nothing: part of the picture is newer than the rest, so nothing is written until one succeeds.
    Patchy,
}

/// The core.
#[derive(Debug)]
pub(crate) struct Machine {
    identity: Identity,
    form: Form,
    rows: PrefixMap<Row>,
    /// Other people's routes that stand where ours would, and their protocol numbers.
    foreign: PrefixMap<u8>,
    wish: Wish,
    objects: Objects,
    inlines: Inlines,
    links: Links,
    before: Before,
    backlog: Backlog,
    troubles: HashMap<IpNet, Trouble, FixedState>,
    alarms: BTreeSet<(Instant, Alarm)>,
    /// Objects to be removed although routes may lead to them.
    doomed: Vec<u32>,
    /// Sets whose routes have to be looked at again.
    changed_sets: BTreeSet<SetId>,
    reading: Reading,
    complete: bool,
    untidy: bool,
    ops: Vec<RouteOp>,
    batches: u64,
    counters: Counters,
}

impl Machine {
    pub(crate) fn new(identity: Identity, form: Form, now: Instant) -> Self {
        Self {
            identity,
            form,
            rows: PrefixMap::default(),
            foreign: PrefixMap::default(),
            wish: Wish::default(),
            objects: Objects::new(identity.nexthop_ids()),
            inlines: Inlines::default(),
            links: Links::default(),
            before: Before::default(),
            backlog: Backlog::default(),
            troubles: HashMap::default(),
            alarms: BTreeSet::new(),
            doomed: Vec::new(),
            changed_sets: BTreeSet::new(),
            reading: Reading {
                ready: false,
                due: now,
                earliest: now,
                certainty: Certainty::Certain,
            },
            complete: false,
            untidy: false,
            ops: Vec::new(),
            batches: 0,
            counters: Counters::default(),
        }
    }

    /// Takes in a batch of commands.
    pub(crate) fn command(&mut self, batch: Vec<Command>) {
        self.batches += 1;
        for command in batch {
            match command {
                Command::Set { prefix, next_hops } => {
                    let set = self.wish.enter(&next_hops);
                    self.wish_for(prefix.trunc(), Some(set));
                }
                Command::Remove { prefix } => self.wish_for(prefix.trunc(), None),
                Command::Complete => self.completed(),
            }
        }
    }

    fn wish_for(&mut self, prefix: IpNet, set: Option<SetId>) {
        if set.is_none() && self.rows.get(prefix).is_none() {
            return;
        }
        let row = self.rows.entry(prefix);
        row.asked |= set.is_some();
        let before = std::mem::replace(&mut row.wish, set);
        if !row.queued && before != set {
            row.queued = true;
            self.backlog.push(prefix);
        }
        if let Some(before) = before {
            self.untidy |= self.wish.leave(before);
        }
        if before != set {
            self.forgive(prefix);
        }
    }

    fn completed(&mut self) {
        self.complete = true;
        self.untidy = true;
        for (prefix, row) in self.rows.iter_mut() {
            if row.wish.is_none() && !row.queued {
                row.queued = true;
                self.backlog.push(prefix);
            }
        }
    }

    /// What to do next.
    pub(crate) fn poll(&mut self, now: Instant) -> Step {
        self.ring(now);
        if self.reading.due <= now {
            return Step::Read;
        }
        self.ops.clear();
        if self.reading.ready && self.reading.certainty < Certainty::Patchy {
            self.settle();
            if self.ops.is_empty() && self.reading.certainty == Certainty::Certain {
                self.write_routes();
            }
            if self.ops.is_empty() {
                self.tidy();
            }
            if !self.ops.is_empty() {
                return Step::Write;
            }
        }
        let alarm = self.alarms.first().map(|(due, _)| *due);
        Step::Wait(alarm.map_or(self.reading.due, |alarm| alarm.min(self.reading.due)))
    }

    /// What is to be written.
    pub(crate) fn ops(&self) -> &[RouteOp] {
        &self.ops
    }

    /// The kernel is to be read again, soon.
    fn request_read(&mut self, now: Instant) {
        let due = self.reading.earliest.max(now);
        self.reading.due = self.reading.due.min(due);
    }

    fn enqueue(&mut self, prefix: IpNet) {
        if let Some(row) = self.rows.get_mut(prefix)
            && !row.queued
        {
            row.queued = true;
            self.backlog.push(prefix);
        }
    }

    fn write_routes(&mut self) {
        while self.ops.len() < ROUTES
            && let Some(prefix) = self.backlog.pop()
        {
            let op = self.route_op(prefix);
            self.ops.extend(op);
        }
    }

    /// The step that makes one route what it shall be, taken for done.
    fn route_op(&mut self, prefix: IpNet) -> Option<RouteOp> {
        let row = self.rows.get_mut(prefix)?;
        row.queued = false;
        let row = *row;
        let present = self.present(row.carried);
        let wanted = self.wanted(prefix, row, present);
        if self.is_held(prefix) && (row.wish.is_some() || present != Present::Nothing) {
            return None;
        }
        let Some(change) = difference(wanted, present) else {
            if present == Present::Nothing {
                self.carry(prefix, Carried::Nothing);
            }
            return None;
        };
        match change {
            Change::Create(carried) => {
                let target = self.target(carried)?;
                self.carry(prefix, carried);
                Some(RouteOp::Create { prefix, target })
            }
            Change::Replace(carried) => {
                let target = self.target(carried)?;
                self.carry(prefix, carried);
                Some(RouteOp::Replace { prefix, target })
            }
            Change::Delete if !row.asked && !self.complete => None,
            Change::Delete => {
                self.carry(prefix, Carried::Nothing);
                Some(RouteOp::Delete { prefix })
            }
        }
    }

    /// What is known of a route that carries this.
    fn present(&self, carried: Carried) -> Present {
        match carried {
            Carried::Nothing => Present::Nothing,
            Carried::Object(id) if self.objects.get(id).is_none() => Present::Nothing,
            Carried::Inline(number) if self.inlines.is_doubtful(number) => Present::Doubtful,
            Carried::Object(_) | Carried::Inline(_) | Carried::Strange => Present::Route(carried),
        }
    }

    /// What the route shall lead to now; `None` when it shall not be there.
    fn wanted(&mut self, prefix: IpNet, row: Row, present: Present) -> Option<Carried> {
        let set = self.wish.set_mut(row.wish?)?;
        set.used = true;
        if set.has_ipv4_gateway && matches!(prefix, IpNet::V6(_)) {
            return None;
        }
        let target = set.target?.ok()?;
        let in_place = present == Present::Route(target);
        (in_place || self.foreign.get(prefix).is_none()).then_some(target)
    }

    fn target(&self, carried: Carried) -> Option<Target> {
        match carried {
            Carried::Object(id) => Some(Target::Object(id)),
            Carried::Inline(number) => self.inlines.hops(number).cloned().map(Target::Hops),
            Carried::Nothing | Carried::Strange => None,
        }
    }

    /// From now on the route is this in the kernel. Forgets rows in which nothing stands.
    fn carry(&mut self, prefix: IpNet, carried: Carried) {
        let row = self.rows.entry(prefix);
        let before = std::mem::replace(&mut row.carried, carried);
        if row.wish.is_none() && carried == Carried::Nothing && !row.queued {
            self.rows.remove(prefix);
        }
        if before == carried {
            return;
        }
        match before {
            Carried::Object(id) => self.untidy |= self.objects.drop_carrier(id),
            Carried::Inline(number) => self.untidy |= self.inlines.drop_carrier(number),
            Carried::Nothing | Carried::Strange => {}
        }
        match carried {
            Carried::Object(id) => self.objects.carry(id),
            Carried::Inline(number) => self.inlines.carry(number),
            Carried::Nothing | Carried::Strange => {}
        }
    }

    /// Forgets what nobody needs, and removes objects that are there for nobody.
    fn tidy(&mut self) {
        if !std::mem::take(&mut self.untidy) {
            return;
        }
        for id in self.wish.tidy() {
            self.objects.disown(id);
        }
        let Self { inlines, wish, .. } = self;
        inlines.tidy(|number| wish.leads_to(Carried::Inline(number)));
        let unused = self.objects.tidy();
        if self.complete && !unused.is_empty() {
            self.untidy = true;
            for id in unused {
                self.ops.push(RouteOp::DeleteNexthop { id });
                self.objects.vanish(id);
            }
        }
    }
}
