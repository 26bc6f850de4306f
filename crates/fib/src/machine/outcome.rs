//! What the kernel refused of what was written.

use std::time::Instant;

use ipnet::IpNet;
use nix::libc::{EEXIST, EINVAL, ENOENT, ESRCH};

use super::Machine;
use super::trouble::refusal;
use crate::backoff::First;
use crate::difference::RouteOp;
use crate::kernel::Carried;
use crate::route::{Errno, Withheld};

/// A step that the kernel refused: its place among the steps given out, and why.
pub(crate) type Failure = (usize, Errno);

impl Machine {
    /// The steps given out have been written, all but these.
    pub(crate) fn written(&mut self, failures: &[Failure], now: Instant) {
        let ops = std::mem::take(&mut self.ops);
        for op in &ops {
            self.count(op, 1);
        }
        for (index, errno) in failures {
            if let Some(op) = ops.get(*index) {
                self.failed(op, *errno, now);
            }
        }
        self.ops = ops;
    }

    /// It is not known what became of the steps given out.
    pub(crate) fn write_lost(&mut self, now: Instant) {
        self.overrun(now);
    }

    fn count(&mut self, op: &RouteOp, step: i64) {
        let counter = match op {
            RouteOp::CreateNexthop { .. }
            | RouteOp::ReplaceNexthop { .. }
            | RouteOp::DeleteNexthop { .. } => &mut self.counters.nexthop_writes,
            RouteOp::Create { .. } => &mut self.counters.created,
            RouteOp::Replace { .. } => &mut self.counters.replaced,
            RouteOp::Delete { .. } => &mut self.counters.deleted,
        };
        *counter = counter.saturating_add_signed(step);
    }

    fn failed(&mut self, op: &RouteOp, errno: Errno, now: Instant) {
        self.count(op, -1);
        match (op, errno.0) {
            (RouteOp::DeleteNexthop { .. } | RouteOp::Delete { .. }, ENOENT | ESRCH) => return,
            (RouteOp::CreateNexthop { id, .. }, EEXIST) => {
                self.abandon(*id, None, now);
                self.objects.take(*id);
            }
            (RouteOp::CreateNexthop { id, .. }, _) => {
                self.abandon(*id, Some(refusal(errno)), now);
            }
            (RouteOp::ReplaceNexthop { id, .. }, ENOENT) => self.lost(*id, None),
            (RouteOp::ReplaceNexthop { id, .. }, _) => {
                if let Some(owner) = self.objects.owner(*id) {
                    self.strike_slot(owner, refusal(errno), First::AfterAStep, now);
                }
                self.request_read(now);
            }
            (RouteOp::DeleteNexthop { .. }, _) => self.request_read(now),
            (RouteOp::Create { prefix, .. }, _) => {
                self.carry(*prefix, Carried::Nothing);
                self.strike_row(*prefix, refusal(errno), First::AfterAStep, now);
                if matches!(errno.0, EEXIST | EINVAL | ENOENT) {
                    // Somebody is there of whom we do not know, or the object is not.
                    self.request_read(now);
                }
            }
            (RouteOp::Replace { prefix, .. } | RouteOp::Delete { prefix }, _) => {
                self.uncertain(*prefix, refusal(errno), now);
            }
        }
        self.counters.refused += 1;
    }

    /// An object was not made.
    fn abandon(&mut self, id: u32, reason: Option<Withheld>, now: Instant) {
        let owner = self.objects.owner(id);
        self.lost(id, None);
        if let (Some(owner), Some(reason)) = (owner, reason) {
            self.strike_slot(owner, reason, First::AfterAStep, now);
        }
    }

    /// It is not known what the route is now.
    fn uncertain(&mut self, prefix: IpNet, reason: Withheld, now: Instant) {
        self.carry(prefix, Carried::Strange);
        // It was wished for, or was to go.
        self.rows.entry(prefix).asked = true;
        self.strike_row(prefix, reason, First::AfterAStep, now);
        self.request_read(now);
    }
}
