//! What the maps hold, and the difference that a wish makes. No IO, no clock.
//!
//! The machine knows every entry it has written, or has found at its start. A wish is compared with the last one service by service;
//! what is the same `Arc` costs nothing. What is left goes through three layers, each a table of its own:
//!
//! ```text
//!   rows (frontends, by address, port, protocol)  ──►  groups (a list, a ring, one word)  ──►  backends (counted by lists)
//! ```
//!
//! A list is never changed where a packet may read it: the new one is written beside it, and the group's word moves from one to the
//! other. What was unpublished is used again only by the next difference, after a grace period.

mod backends;
mod claims;
mod filters;
mod groups;
mod list;
mod place;
mod ranges;
mod rings;
mod rows;
mod serve;
mod steps;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use lb_abi::NodeAddressKind;

use crate::op::{Capacity, Contents, MapOp};
use crate::report::{Report, Table, Withheld, WithheldReason};
use crate::settings::Settings;
use crate::wish::{Service, Wish};
use filters::{Filter, Filters};
use groups::Groups;
use place::{Place, address, octets};
use ranges::Room;
use rows::Rows;
use steps::Steps;
use waiting::Waiting;

/// Names of services that a report gives for each reason.
const EXAMPLES: usize = 3;

/// The load balancer's state, and the only one who decides what is written.
#[derive(Debug)]
pub struct Machine {
    filters: Filters,
    groups: Groups,
    rows: Rows,
    services: BTreeMap<Arc<str>, Served>,
    /// Services that want a row that another one has, or that there is no room for.
    losers: BTreeMap<Place, BTreeSet<Arc<str>>>,
    /// Rows that no service asks for: they go unless their address is held.
    loose: BTreeMap<Place, Origin>,
    node_addresses: BTreeSet<IpAddr>,
    other_nodes: BTreeSet<IpAddr>,
    /// Addresses of nodes as the map has them.
    known_nodes: BTreeMap<[u8; 16], u32>,
    withheld: BTreeMap<WithheldReason, Short>,
    /// Services that something is withheld from because a table is full.
    waiting: Waiting,
    /// The last difference made room.
    freed: bool,
    /// Nothing was applied yet to maps that were not empty.
    is_first: bool,
}

/// A service, and what was made of it.
#[derive(Debug)]
struct Served {
    service: Arc<Service>,
    places: Vec<Held>,
    reasons: BTreeSet<WithheldReason>,
}

/// Services that something is withheld from for one reason.
#[derive(Debug, Default)]
struct Short {
    /// Frontends of each.
    services: BTreeMap<Arc<str>, usize>,
    /// Frontends of all.
    count: usize,
}

/// A row that a service asks for.
#[derive(Debug, Clone, Copy)]
struct Held {
    place: Place,
    is_named: bool,
    is_missing: bool,
}

/// Where a row without a service comes from.
#[derive(Debug, Clone, Copy)]
enum Origin {
    /// It was there at the start.
    Found,
    /// A service gave it up, and with it the address.
    LeftAddress,
    /// A service gave it up, or a node its address.
    LeftPort,
}

impl Machine {
    /// Takes over what the maps hold. Nothing of it goes before the first wish, which is complete, is applied; ids, lists and rings
    /// that the wish would make again stay as they are.
    #[must_use]
    pub fn new(capacity: Capacity, settings: &Settings, contents: &Contents) -> Self {
        let mut filters = Filters::new(&contents.filters);
        let mut groups = Groups::new(&capacity, settings, contents, &mut filters);
        let (node_addresses, other_nodes) = found_nodes(contents);
        for address in &node_addresses {
            filters.add(Filter::Frontends, &Place::wildcard(*address));
        }
        let nodes = node_addresses.union(&other_nodes).copied().collect();
        let rows = Rows::new(capacity.frontends, &contents.frontends, nodes, &mut groups);
        let loose = rows.places().map(|place| (place, Origin::Found)).collect();
        Self {
            filters,
            groups,
            rows,
            services: BTreeMap::new(),
            losers: BTreeMap::new(),
            loose,
            node_addresses,
            other_nodes,
            known_nodes: contents.node_addresses.clone(),
            withheld: BTreeMap::new(),
            waiting: Waiting::default(),
            freed: false,
            is_first: !contents.backends.is_empty(),
        }
    }

    /// The steps from what the maps hold to what is wished, to be done in this order and completely. What does not fit is left out
    /// and reported.
    #[must_use]
    pub fn apply(&mut self, wish: &Wish, now: Instant) -> Vec<MapOp> {
        let mut steps = Steps::default();
        self.filters.begin(now);
        let mut work = self.changed(wish);
        self.follow_nodes(wish, &mut work, &mut steps, now);
        if std::mem::take(&mut self.freed) {
            work.extend(self.waiting.fitting(|table| self.room(table)));
        }
        while let Some(name) = work.pop_first() {
            self.serve(&name, wish, &mut work, &mut steps);
        }
        self.drop_loose(wish, &mut steps);
        self.rows.finish(&mut self.filters, &mut steps, now);
        self.groups.finish(&mut self.filters, &mut steps, now);
        self.filters.finish(&mut steps);
        self.freed = steps.freed;
        steps.into_ops(std::mem::take(&mut self.is_first))
    }

    /// Whether the last difference made room for something that is withheld for want of it: the same wish, applied once more, makes
    /// progress.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.freed && self.waiting.has_fitting(|table| self.room(table))
    }

    /// What is in the maps. What only the programs' side knows (readiness, interfaces, memory, counters) is left empty.
    #[must_use]
    pub fn report(&self) -> Report {
        Report {
            programmed: Arc::clone(self.rows.programmed()),
            frontends: self.rows.frontends(),
            backends: self.groups.backends.len(),
            withheld: self.withheld().collect(),
            ..Report::default()
        }
    }

    fn withheld(&self) -> impl Iterator<Item = Withheld> {
        self.withheld.iter().map(|(reason, short)| Withheld {
            reason: *reason,
            count: short.count,
            examples: short.services.keys().take(EXAMPLES).cloned().collect(),
        })
    }

    /// What is free of a table.
    fn room(&self, table: Table) -> Room {
        match table {
            Table::Frontends(family) => self.rows.room(family),
            Table::Groups | Table::Slots | Table::Rings | Table::Backends => {
                self.groups.room(table)
            }
        }
    }

    /// Services that are not what they were.
    fn changed(&self, wish: &Wish) -> BTreeSet<Arc<str>> {
        let mut changed = BTreeSet::new();
        let mut known = self.services.iter().peekable();
        for (name, service) in &wish.services {
            let is_next = |(known, _): &(&Arc<str>, &Served)| Arc::ptr_eq(known, name);
            let mut same = known.next_if(is_next);
            if same.is_none() {
                while let Some((gone, _)) = known.next_if(|(known, _)| *known < name) {
                    changed.insert(Arc::clone(gone));
                }
                same = known.next_if(|(known, _)| *known == name);
            }
            if same.is_none_or(|(_, served)| !is_same(&served.service, service)) {
                changed.insert(Arc::clone(name));
            }
        }
        changed.extend(known.map(|(gone, _)| Arc::clone(gone)));
        changed
    }

    /// Where addresses of nodes are others, NodePorts follow.
    fn follow_nodes(
        &mut self,
        wish: &Wish,
        work: &mut BTreeSet<Arc<str>>,
        steps: &mut Steps,
        now: Instant,
    ) {
        let local = canonical(&wish.node_addresses);
        let others = canonical(&wish.other_nodes);
        if local == self.node_addresses && others == self.other_nodes {
            return;
        }
        for address in local.difference(&self.node_addresses) {
            self.filters
                .add(Filter::Frontends, &Place::wildcard(*address));
        }
        for address in self.node_addresses.difference(&local) {
            self.filters
                .remove(Filter::Frontends, &Place::wildcard(*address), now);
        }
        self.rows.follow(local.union(&others).copied().collect());
        if local != self.node_addresses {
            work.extend(self.services.keys().cloned());
        }
        self.write_nodes(&local, &others, steps);
        self.node_addresses = local;
        self.other_nodes = others;
    }

    fn write_nodes(
        &mut self,
        local: &BTreeSet<IpAddr>,
        others: &BTreeSet<IpAddr>,
        steps: &mut Steps,
    ) {
        let with = |kind: NodeAddressKind| move |address: &IpAddr| (octets(*address), kind);
        let mut wanted: BTreeMap<[u8; 16], NodeAddressKind> =
            others.iter().map(with(NodeAddressKind::Remote)).collect();
        wanted.extend(local.iter().map(with(NodeAddressKind::Local)));
        for address in self.known_nodes.keys() {
            if !wanted.contains_key(address) {
                steps.node_addresses.push(MapOp::NodeAddress {
                    address: *address,
                    kind: None,
                });
            }
        }
        for (address, kind) in &wanted {
            if self.known_nodes.get(address) != Some(&(*kind as u32)) {
                steps.node_addresses.push(MapOp::NodeAddress {
                    address: *address,
                    kind: Some(*kind),
                });
            }
        }
        self.known_nodes = wanted
            .into_iter()
            .map(|(address, kind)| (address, kind as u32))
            .collect();
    }

    /// Removes rows that nobody asks for, but for those of addresses that are held.
    fn drop_loose(&mut self, wish: &Wish, steps: &mut Steps) {
        let (rows, nodes) = (&self.rows, &self.node_addresses);
        let is_of_nodes = |address: &IpAddr| address.is_unspecified() || nodes.contains(address);
        let stays = |place: &Place, origin: &Origin| {
            let address = &place.address;
            let is_held = wish.hold.contains(address);
            match origin {
                Origin::Found => {
                    let is_held = is_held || wish.hold_found && !is_of_nodes(address);
                    is_held && !rows.is_claimed(*address)
                }
                Origin::LeftAddress => is_held,
                Origin::LeftPort => false,
            }
        };
        let gone: Vec<Place> = self
            .loose
            .iter()
            .filter(|(place, origin)| !stays(place, origin))
            .map(|(place, _)| *place)
            .collect();
        for place in gone {
            self.loose.remove(&place);
            self.rows.remove(&place, &mut self.groups, steps);
        }
    }
}

fn is_same(known: &Arc<Service>, wished: &Arc<Service>) -> bool {
    Arc::ptr_eq(known, wished) || known == wished
}

fn canonical(addresses: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    addresses.iter().map(IpAddr::to_canonical).collect()
}

/// This node's addresses and the others', as the map has them.
fn found_nodes(contents: &Contents) -> (BTreeSet<IpAddr>, BTreeSet<IpAddr>) {
    let of = |kind: NodeAddressKind| {
        contents
            .node_addresses
            .iter()
            .filter(|(_, found)| **found == kind as u32)
            .map(|(octets, _)| address(*octets))
            .collect()
    };
    (of(NodeAddressKind::Local), of(NodeAddressKind::Remote))
}
