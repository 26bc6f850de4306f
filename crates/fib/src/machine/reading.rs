//! What the kernel says when it is read as a whole.

use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::{AUDIT, Certainty, Machine, READ_PAUSE};
use crate::kernel::{Carried, Fact, KernelRoute, Nexthop};
use crate::links::Links;
use crate::prefix_map::PrefixMap;

/// What a reading gathers anew, as it was before: it holds again if the reading comes to nothing.
#[derive(Debug, Default)]
pub(super) struct Before {
    links: Links,
    foreign: PrefixMap<u8>,
}

impl Machine {
    /// The kernel is going to be read: links and nexthop objects first, then routes.
    pub(crate) fn begin_read(&mut self) {
        self.before = Before {
            links: std::mem::take(&mut self.links),
            foreign: std::mem::take(&mut self.foreign),
        };
        self.objects.begin_read();
        for (_, row) in self.rows.iter_mut() {
            row.seen = false;
        }
    }

    /// Takes in what the kernel answers.
    pub(crate) fn learn(&mut self, fact: Fact) {
        match fact {
            Fact::Link { index, state } => {
                self.links.link(index, state);
            }
            Fact::Nexthop {
                id,
                protocol,
                nexthop,
            } if self.objects.is_ours(id) => self.learn_nexthop(id, protocol, nexthop),
            Fact::Route(route) => self.learn_route(&route),
            Fact::Nexthop { id, nexthop, .. } => {
                self.links.object(id, nexthop);
            }
            Fact::LinkGone { .. }
            | Fact::NexthopGone { .. }
            | Fact::AddressGone
            | Fact::RouteGone(_) => {}
        }
    }

    fn learn_nexthop(&mut self, id: u32, protocol: u8, nexthop: Nexthop) {
        if protocol != self.identity.protocol {
            self.objects.take(id);
        } else if self.objects.get(id).is_none() {
            self.objects.put(id, nexthop, None);
        } else {
            self.objects.change(id, nexthop);
            self.objects.see(id);
        }
    }

    fn learn_route(&mut self, route: &KernelRoute) {
        if let Some(reach) = self.reach(route) {
            self.links.reach(reach, false);
        }
        if !self.is_in_our_place(route) {
            return;
        }
        let prefix = route.prefix;
        if route.protocol != self.identity.protocol {
            self.foreign.insert(prefix, route.protocol);
            return;
        }
        let carried = self.carried(&route.via);
        let first = !self.reading.ready;
        let row = self.rows.entry(prefix);
        row.seen = true;
        if row.carried != carried {
            self.carry(prefix, carried);
            self.enqueue(prefix);
            self.counters.disturbed += u64::from(!first);
        }
    }

    /// The kernel has been read; it took so long.
    pub(crate) fn end_read(&mut self, took: Duration, now: Instant) {
        for id in self.objects.unseen() {
            self.counters.disturbed += 1;
            self.lost(id, None);
        }
        let rows = self.rows.iter();
        let unseen = rows.filter(|(_, row)| row.carried != Carried::Nothing && !row.seen);
        let unseen: Vec<IpNet> = unseen.map(|(prefix, _)| prefix).collect();
        for prefix in unseen {
            self.counters.disturbed += 1;
            self.forget_carried(prefix);
        }
        self.enqueue_unwritten();
        let before = std::mem::take(&mut self.before);
        self.links.remember(&before.links);
        if self.links != before.links {
            self.forgive_refusals();
        }
        self.wish.unsettle_hops();
        self.wish.unsettle_sets();
        self.untidy = true;
        self.counters.reads += 1;
        self.reading.ready = true;
        self.reading.due = now + AUDIT;
        self.reading.earliest = now + READ_PAUSE + took * 2;
        self.reading.certainty = Certainty::Certain;
    }

    /// What was withheld for another one's route may come now.
    fn enqueue_unwritten(&mut self) {
        for (prefix, row) in self.rows.iter_mut() {
            if row.wish.is_some() && row.carried == Carried::Nothing && !row.queued {
                row.queued = true;
                self.backlog.push(prefix);
            }
        }
    }

    /// The kernel could not be read; again in a while. What is said meanwhile changes the picture as it was before.
    pub(crate) fn read_failed(&mut self, now: Instant) {
        let Before { links, foreign } = std::mem::take(&mut self.before);
        self.links = links;
        self.foreign = foreign;
        self.reading.certainty = Certainty::Patchy;
        self.reading.due = now + READ_PAUSE;
    }
}
