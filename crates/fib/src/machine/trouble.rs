//! What went wrong lately: undone by somebody, or refused by the kernel; and when it is tried again.

use std::time::Instant;

use ipnet::IpNet;

use super::Machine;
use crate::backoff::{Backoff, First};
use crate::objects::Owner;
use crate::route::{Errno, Withheld};

/// What went wrong with one prefix lately.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) backoff: Backoff,
    /// Why nothing is tried, until the alarm.
    pub(super) reason: Option<Withheld>,
    pub(super) due: Instant,
}

/// What is to be looked at again at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alarm {
    Row(IpNet),
    Slot(Owner),
}

impl Machine {
    /// Looks again at what is due.
    pub(super) fn ring(&mut self, now: Instant) {
        while let Some((due, alarm)) = self.alarms.first().copied()
            && due <= now
        {
            self.alarms.pop_first();
            match alarm {
                Alarm::Row(prefix) => self.row_due(prefix, now),
                Alarm::Slot(owner) => {
                    if let Some(slot) = self.wish.slot_mut(owner)
                        && slot.held.is_some_and(|(until, _)| until <= now)
                    {
                        slot.held = None;
                        self.wish.unsettle(owner);
                    }
                }
            }
        }
    }

    pub(super) fn row_due(&mut self, prefix: IpNet, now: Instant) {
        let Some(trouble) = self.troubles.get_mut(&prefix) else {
            return;
        };
        let forgotten = trouble.backoff.forgotten_at();
        if trouble.reason.is_some() && trouble.due <= now {
            trouble.reason = None;
            self.alarms.insert((forgotten, Alarm::Row(prefix)));
            self.enqueue(prefix);
        } else if forgotten <= now && trouble.reason.is_none() {
            self.troubles.remove(&prefix);
        }
    }

    /// Something went wrong with a route. It is looked at again at once, or after a while if this is not the first time.
    pub(super) fn strike_row(
        &mut self,
        prefix: IpNet,
        reason: Withheld,
        first: First,
        now: Instant,
    ) {
        let before = self.troubles.get(&prefix).map(|trouble| trouble.backoff);
        let (backoff, until) = Backoff::strike(before, first, now);
        let due = until.unwrap_or_else(|| backoff.forgotten_at());
        let trouble = Trouble {
            backoff,
            reason: until.map(|_| reason),
            due,
        };
        self.troubles.insert(prefix, trouble);
        self.alarms.insert((due, Alarm::Row(prefix)));
        if until.is_none() {
            self.enqueue(prefix);
        }
    }

    /// Something went wrong with a nexthop object.
    pub(super) fn strike_slot(
        &mut self,
        owner: Owner,
        reason: Withheld,
        first: First,
        now: Instant,
    ) {
        let Some(slot) = self.wish.slot_mut(owner) else {
            return;
        };
        let (backoff, until) = Backoff::strike(slot.backoff, first, now);
        slot.backoff = Some(backoff);
        slot.held = until.map(|until| (until, reason));
        self.alarms
            .extend(until.map(|until| (until, Alarm::Slot(owner))));
        self.wish.unsettle(owner);
    }

    /// What the kernel refused is tried again now: something has changed.
    pub(super) fn forgive_refusals(&mut self) {
        let refused = |reason: Withheld| match reason {
            Withheld::Refused { .. } | Withheld::GatewayUnreachable => true,
            Withheld::GatewayFamily
            | Withheld::LinkDown
            | Withheld::ForeignRoute { .. }
            | Withheld::Contested => false,
        };
        let mut released = false;
        for slot in self.wish.slots_mut() {
            if slot.held.is_some_and(|(_, reason)| refused(reason)) {
                slot.held = None;
                released = true;
            }
        }
        if released {
            self.wish.unsettle_hops();
            self.wish.unsettle_sets();
        }
        for (prefix, trouble) in &mut self.troubles {
            if trouble.reason.is_some_and(refused) {
                trouble.reason = None;
                let forgotten = trouble.backoff.forgotten_at();
                self.alarms.insert((forgotten, Alarm::Row(*prefix)));
                if let Some(row) = self.rows.get_mut(*prefix)
                    && !row.queued
                {
                    row.queued = true;
                    self.backlog.push(*prefix);
                }
            }
        }
    }

    /// What was refused may be tried again at once: it is not the same any more.
    pub(super) fn forgive(&mut self, prefix: IpNet) {
        if !self.troubles.is_empty()
            && let Some(trouble) = self.troubles.get_mut(&prefix)
            && trouble.reason != Some(Withheld::Contested)
        {
            trouble.reason = None;
            let forgotten = trouble.backoff.forgotten_at();
            self.alarms.insert((forgotten, Alarm::Row(prefix)));
        }
    }

    pub(super) fn is_held(&self, prefix: IpNet) -> bool {
        !self.troubles.is_empty()
            && self
                .troubles
                .get(&prefix)
                .is_some_and(|trouble| trouble.reason.is_some())
    }
}

/// What a refusal by the kernel means for a route or a next hop.
pub(super) fn refusal(errno: Errno) -> Withheld {
    match errno.0 {
        nix::libc::ENETUNREACH | nix::libc::EHOSTUNREACH => Withheld::GatewayUnreachable,
        nix::libc::ENETDOWN | nix::libc::ENODEV => Withheld::LinkDown,
        _ => Withheld::Refused { errno },
    }
}
