//! Hops and groups: what stands for the next hops of routes now. First all hops, then all groups, since a group needs its members.

use std::sync::Arc;

use super::Machine;
use crate::difference::RouteOp;
use crate::kernel::{Carried, Hop, Nexthop};
use crate::objects::Owner;
use crate::route::{Errno, Form, NextHop, NextHopSet, Withheld};
use crate::wish::{SetId, Way};

/// The whole range of identifiers is in use.
const NO_IDENTIFIER: Withheld = Withheld::Refused {
    errno: Errno(nix::libc::ENOSPC),
};

impl Machine {
    /// Gives out the steps that make nexthop objects what they shall be; none when they are, and then every set has its target.
    pub(super) fn settle(&mut self) {
        for next_hop in self.wish.take_unsettled_hops() {
            self.settle_hop(next_hop);
        }
        if !self.ops.is_empty() {
            return;
        }
        for id in self.wish.take_unsettled_sets() {
            self.settle_set(id);
        }
        self.queue_routes_of_changed_sets();
        for id in std::mem::take(&mut self.doomed) {
            self.ops.push(RouteOp::DeleteNexthop { id });
            self.lost(id, None);
        }
    }

    fn settle_hop(&mut self, next_hop: NextHop) {
        let resolved = self.links.resolve(next_hop);
        let Some(state) = self.wish.hop_mut(next_hop) else {
            return;
        };
        let held = state.slot.held.map(|(_, reason)| reason);
        let object = state.slot.object;
        let way = match (resolved, held, self.form) {
            (Err(reason), _, Form::Objects | Form::Inline) => {
                self.dismiss(Owner::Hop(next_hop));
                Way::Withheld(reason)
            }
            // What is there serves until its change can be tried again.
            (Ok(_), Some(reason), Form::Objects | Form::Inline) => {
                object.map_or(Way::Withheld(reason), Way::Object)
            }
            (Ok(hop), None, Form::Inline) => Way::Hop(hop),
            (Ok(hop), None, Form::Objects) => self
                .object(Owner::Hop(next_hop), object, Nexthop::Hop(hop))
                .map_or(Way::Withheld(NO_IDENTIFIER), Way::Object),
        };
        let Some(state) = self.wish.hop_mut(next_hop) else {
            return;
        };
        let before = state.way.replace(way);
        // Sets of a hop that is looked at for the first time are unsettled themselves.
        if before.is_some_and(|before| before != way) {
            self.wish.unsettle_sets_with(next_hop);
        }
    }

    fn settle_set(&mut self, id: SetId) {
        let Some(set) = self.wish.set(id) else {
            return;
        };
        let single = set.next_hops.iter().len() == 1;
        let held = set.slot.held.map(|(_, reason)| reason);
        let object = set.slot.object;
        let ways = self.ways(&set.next_hops);
        let target = match self.form {
            Form::Inline => self.inline_target(&ways),
            Form::Objects => match (self.members(&ways), held) {
                (Err(reason), _) => {
                    self.dismiss(Owner::Set(id));
                    Err(reason)
                }
                (Ok(members), _) if single => Ok(Carried::Object(members[0])),
                (Ok(_), Some(reason)) => object.map(Carried::Object).ok_or(reason),
                (Ok(members), None) => self
                    .object(Owner::Set(id), object, Nexthop::Group(members.into()))
                    .map(Carried::Object)
                    .ok_or(NO_IDENTIFIER),
            },
        };
        let Some(set) = self.wish.set_mut(id) else {
            return;
        };
        if set.target.replace(target) != Some(target) && set.used {
            self.changed_sets.insert(id);
        }
    }

    /// The ways of the first rank that has one that can be used; of the first of all where none has (RFC 4271 section 9.1.2.1).
    fn ways(&self, next_hops: &NextHopSet) -> Vec<Way> {
        let can_be_used = |way: &Way| match way {
            Way::Object(id) => self.objects.get(*id).is_some(),
            Way::Hop(_) => true,
            Way::Withheld(_) => false,
        };
        let mut first = None;
        for rank in next_hops.ranks() {
            let ways = rank.filter_map(|next_hop| self.wish.hop(next_hop)?.way);
            let ways: Vec<Way> = ways.collect();
            if ways.iter().any(can_be_used) {
                return ways;
            }
            first.get_or_insert(ways);
        }
        first.unwrap_or_default()
    }

    /// Objects of the hops that can be used, ascending, each hop once; or why none can.
    fn members(&self, ways: &[Way]) -> Result<Vec<u32>, Withheld> {
        let mut members = Vec::with_capacity(ways.len());
        let mut seen: Vec<&Nexthop> = Vec::with_capacity(ways.len());
        for way in ways {
            if let Way::Object(id) = way
                && let Some(nexthop) = self.objects.get(*id)
                && !seen.contains(&nexthop)
            {
                seen.push(nexthop);
                members.push(*id);
            }
        }
        members.sort_unstable();
        (!members.is_empty())
            .then_some(members)
            .ok_or_else(|| obstacle(ways))
    }

    fn inline_target(&mut self, ways: &[Way]) -> Result<Carried, Withheld> {
        let hops = ways.iter().filter_map(|way| match way {
            Way::Hop(hop) => Some(*hop),
            Way::Object(_) | Way::Withheld(_) => None,
        });
        let mut hops: Vec<Hop> = hops.collect();
        hops.sort_unstable();
        hops.dedup();
        if hops.is_empty() {
            return Err(obstacle(ways));
        }
        let hops: Arc<[Hop]> = hops.into();
        Ok(Carried::Inline(self.inlines.number(hops)))
    }

    /// The object that is this, for the owner: the one it has, changed if need be; one that is there for nobody; or a new one.
    fn object(&mut self, owner: Owner, has: Option<u32>, nexthop: Nexthop) -> Option<u32> {
        if let Some(id) = has {
            if self.objects.get(id) != Some(&nexthop) {
                self.objects.change(id, nexthop.clone());
                self.ops.push(RouteOp::ReplaceNexthop { id, nexthop });
            }
            return Some(id);
        }
        let claimed = self.objects.claim(&nexthop, owner);
        let id = match claimed {
            Some(id) => id,
            None => self.objects.allocate()?,
        };
        if let Some(slot) = self.wish.slot_mut(owner) {
            slot.object = Some(id);
        }
        if claimed.is_none() {
            self.objects.put(id, nexthop.clone(), Some(owner));
            self.ops.push(RouteOp::CreateNexthop { id, nexthop });
        }
        Some(id)
    }

    /// Nothing can stand for the owner now: what does is removed, and with it at once all routes that lead to it.
    fn dismiss(&mut self, owner: Owner) {
        if let Some(slot) = self.wish.slot_mut(owner)
            && let Some(id) = slot.object.take()
        {
            self.objects.disown(id);
            self.doomed.push(id);
        }
    }

    fn queue_routes_of_changed_sets(&mut self) {
        let changed = std::mem::take(&mut self.changed_sets);
        if changed.is_empty() {
            return;
        }
        for (prefix, row) in self.rows.iter_mut() {
            if !row.queued && row.wish.is_some_and(|set| changed.contains(&set)) {
                row.queued = true;
                self.backlog.push(prefix);
            }
        }
    }
}

/// Why none of these can be used: what the kernel said before what we found, a link that is down before no link.
fn obstacle(ways: &[Way]) -> Withheld {
    let reasons = ways.iter().filter_map(|way| match way {
        Way::Withheld(reason) => Some(*reason),
        Way::Object(_) | Way::Hop(_) => None,
    });
    reasons.max().unwrap_or(Withheld::GatewayUnreachable)
}
