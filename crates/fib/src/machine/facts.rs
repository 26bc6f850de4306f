//! What the kernel says by itself.

use std::time::Instant;

use ipnet::IpNet;

use super::{Certainty, Machine};
use crate::backoff::First;
use crate::kernel::{Carried, Exit, Fact, KernelRoute, Nexthop, Via};
use crate::links::{LinkChange, Reach};
use crate::route::{Form, Identity, Withheld};

/// Protocol numbers under which daemons write what they learned by BGP (`linux/rtnetlink.h`): BIRD's, which has no other for it, and FRR's.
const BGP_PROTOCOLS: [u8; 2] = [12, 186];

impl Machine {
    /// Takes in what the kernel says by itself. What we wrote it need not say; it does no harm.
    pub(crate) fn fact(&mut self, fact: Fact, now: Instant) {
        match fact {
            Fact::Link { index, state } => {
                let change = self.links.link(index, state);
                self.link_changed(index, change, now);
            }
            Fact::LinkGone { index } => {
                let change = self.links.link_gone(index);
                self.link_changed(index, change, now);
            }
            Fact::Nexthop {
                id,
                protocol,
                nexthop,
            } if self.objects.is_ours(id) => self.nexthop_said(id, protocol, nexthop, now),
            Fact::Nexthop { id, nexthop, .. } => {
                if self.links.object(id, nexthop) {
                    self.request_read(now);
                }
            }
            Fact::NexthopGone { id } => {
                if self.links.object_gone(id) {
                    self.ways_changed();
                }
                self.doubt_foreign(now);
                self.objects.give_back(id);
                if self.objects.get(id).is_some() {
                    self.counters.disturbed += 1;
                    self.lost(id, Some(now));
                }
            }
            // The kernel drops, without a word, the routes that have it as their source, and with the last address of an interface all
            // that lead over it.
            Fact::AddressGone => self.request_read(now),
            Fact::Route(route) => self.route_said(&route, now),
            Fact::RouteGone(route) => self.route_gone(&route, now),
        }
    }

    /// Some of what the kernel said was lost: nothing is certain any more.
    pub(crate) fn overrun(&mut self, now: Instant) {
        self.reading.certainty = self.reading.certainty.max(Certainty::Doubtful);
        self.request_read(now);
    }

    fn link_changed(&mut self, index: u32, change: LinkChange, now: Instant) {
        match change {
            LinkChange::Unchanged => {}
            LinkChange::Usable => self.ways_changed(),
            LinkChange::StillUnusable => {
                self.doubt_foreign(now);
                self.ways_changed();
            }
            LinkChange::Lost => {
                for id in self.objects.on(index) {
                    self.lost(id, None);
                    // It should be gone already. If it is not, it must go, as it is no longer in the picture.
                    self.doomed.push(id);
                }
                self.doubt(index);
                self.doubt_foreign(now);
                self.ways_changed();
            }
        }
    }

    /// The kernel may have dropped inline routes over this interface.
    fn doubt(&mut self, interface: u32) {
        self.inlines.doubt(interface);
        if self.form == Form::Inline {
            self.wish.unsettle_sets();
        }
    }

    /// The kernel may have dropped other people's routes in our place, with their interface or nexthop object. Of IPv4 routes it then
    /// says nothing, and ours would wait.
    fn doubt_foreign(&mut self, now: Instant) {
        if !self.foreign.is_empty() {
            self.request_read(now);
        }
    }

    /// Gateways may be elsewhere, or within reach again.
    fn ways_changed(&mut self) {
        self.forgive_refusals();
        self.wish.unsettle_hops();
    }

    fn nexthop_said(&mut self, id: u32, protocol: u8, nexthop: Nexthop, now: Instant) {
        let known = self.objects.get(id);
        if protocol != self.identity.protocol {
            if known.is_some() {
                self.lost(id, Some(now));
            }
            self.objects.take(id);
        } else if known == Some(&nexthop) {
            // As it should be.
        } else if known.is_some() {
            self.counters.disturbed += 1;
            self.objects.change(id, nexthop);
            if let Some(owner) = self.objects.owner(id) {
                self.wish.unsettle(owner);
            }
        } else if self.objects.knows(id) {
            // Routes still have to be looked at that led to its predecessor; they must not find this one.
            self.doomed.push(id);
        } else {
            self.objects.put(id, nexthop, None);
            self.untidy = true;
        }
    }

    /// An object is gone; with `by_somebody`, since when somebody else removed it.
    pub(super) fn lost(&mut self, id: u32, by_somebody: Option<Instant>) {
        let loss = self.objects.vanish(id);
        self.untidy = true;
        self.doomed.extend(loss.groups);
        for owner in loss.bereft {
            if let Some(slot) = self.wish.slot_mut(owner) {
                slot.object = None;
            }
            self.wish.unsettle(owner);
            if let Some(now) = by_somebody {
                self.strike_slot(owner, Withheld::Contested, First::AtOnce, now);
            }
        }
        for owner in loss.shrunk {
            self.wish.unsettle(owner);
        }
    }

    fn route_said(&mut self, route: &KernelRoute, now: Instant) {
        if let Some(reach) = self.reach(route)
            && self.links.reach(reach, route.replaced)
        {
            self.ways_changed();
        }
        if !self.is_in_our_place(route) {
            return;
        }
        let prefix = route.prefix;
        if route.protocol != self.identity.protocol {
            self.foreign.insert(prefix, route.protocol);
            if route.replaced {
                // Ours, if there was one.
                self.forget_carried(prefix);
            }
            return;
        }
        let carried = self.carried(&route.via);
        let row = *self.rows.entry(prefix);
        if row.carried == carried {
            return;
        }
        self.counters.disturbed += 1;
        self.carry(prefix, carried);
        self.strike_row(prefix, Withheld::Contested, First::AtOnce, now);
    }

    pub(super) fn forget_carried(&mut self, prefix: IpNet) {
        if self.rows.get(prefix).is_some() {
            self.carry(prefix, Carried::Nothing);
            self.enqueue(prefix);
        }
    }

    fn reach_gone(&mut self, reach: Reach, now: Instant) {
        if !self.links.reach_gone(reach) {
            return;
        }
        // With the last address of an interface the kernel drops its IPv4 routes.
        self.doubt(reach.interface);
        self.ways_changed();
        if reach.gateway.is_some_and(|gateway| gateway.is_ipv6()) {
            // It may have been one of several, of which the others are left.
            self.request_read(now);
        }
    }

    fn route_gone(&mut self, route: &KernelRoute, now: Instant) {
        if let Some(reach) = self.reach(route) {
            self.reach_gone(reach, now);
        }
        if !self.is_in_our_place(route) {
            return;
        }
        let prefix = route.prefix;
        if route.protocol != self.identity.protocol {
            self.foreign.remove(prefix);
            self.forgive(prefix);
            self.enqueue(prefix);
            return;
        }
        let Some(row) = self.rows.get(prefix).copied() else {
            return;
        };
        let carried = self.carried(&route.via);
        match row.carried {
            Carried::Nothing => {}
            Carried::Object(id) if self.objects.get(id).is_none() => self.forget_carried(prefix),
            Carried::Inline(number) if self.inlines.is_doubtful(number) => {
                self.forget_carried(prefix);
            }
            // Old news: it leads to an object that has been made since.
            Carried::Object(_) if row.carried != carried => {}
            Carried::Object(_) | Carried::Inline(_) | Carried::Strange => {
                self.counters.disturbed += 1;
                // Of an IPv6 route with several next hops, one may have gone.
                let rest = if row.carried == carried {
                    Carried::Nothing
                } else {
                    Carried::Strange
                };
                self.carry(prefix, rest);
                self.strike_row(prefix, Withheld::Contested, First::AtOnce, now);
            }
        }
    }

    /// The way to next hops that this route is, if it is one. Routes learned by BGP are none, ours or others': a next hop that only they
    /// reach could be reached by way of itself. Nor are default routes, by which everything would be reachable.
    pub(super) fn reach(&self, route: &KernelRoute) -> Option<Reach> {
        let here = route.table == Identity::MAIN || route.table == self.identity.table;
        let Exit { gateway, interface } = route
            .exit
            .or_else(|| route.object.and_then(|id| self.links.exit(id)))?;
        let learned = route.protocol == self.identity.protocol
            || BGP_PROTOCOLS.contains(&route.protocol)
            || route.object.is_some_and(Identity::may_number);
        let leads = gateway.is_none() || (route.prefix.prefix_len() > 0 && !learned);
        (here && !route.narrowed && leads).then_some(Reach {
            prefix: route.prefix,
            metric: route.metric,
            table: route.table,
            interface,
            gateway,
            object: route.object,
        })
    }

    /// Whether it stands where a route of ours to the same prefix would.
    pub(super) fn is_in_our_place(&self, route: &KernelRoute) -> bool {
        route.table == self.identity.table
            && !route.narrowed
            && route.metric == self.identity.metric_for(route.prefix)
    }

    pub(super) fn carried(&mut self, via: &Via) -> Carried {
        match via {
            Via::Object(id) if self.objects.get(*id).is_some() => Carried::Object(*id),
            Via::Hops(hops) => Carried::Inline(self.inlines.number(hops.clone())),
            Via::Object(_) | Via::OnLink(_) | Via::Other => Carried::Strange,
        }
    }
}
