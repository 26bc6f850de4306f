//! Rows of frontends, and what follows from a row for its address.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use lb_abi::frontend_flags::{RING, ROUTABLE, TWO_SCOPES, WILDCARD};
use lb_abi::{Frontend, Scope};

use super::claims::Kind;
use super::filters::{Filter, Filters};
use super::groups::Groups;
use super::place::{Place, family};
use super::ranges::Room;
use super::steps::Steps;
use crate::op::{FrontendKey, MapOp};
use crate::wish::{Algorithm, Family};

/// A row of the map, or two where there are two scopes.
#[derive(Debug)]
pub(super) struct Row {
    /// The service; `None` where no service of the wish asks for it.
    pub(super) owner: Option<Arc<str>>,
    pub(super) kind: Kind,
    pub(super) external: Option<Frontend>,
    pub(super) internal: Option<Frontend>,
}

impl Row {
    /// Whether the service has the row, or nobody.
    pub(super) fn is_open_to(&self, name: &Arc<str>) -> bool {
        self.owner.as_ref().is_none_or(|owner| owner == name)
    }
}

/// An address that a service has.
#[derive(Debug, Default)]
struct Address {
    /// Rows in the map.
    rows: u32,
    /// Those of them that may be asked from outside.
    routable: u32,
    /// Rows that are wished, in the map or not.
    claims: u32,
    /// Rows that are wished and not in the map.
    missing: u32,
    /// Whether it is counted in the filter.
    filtered: bool,
}

/// All rows.
#[derive(Debug)]
pub(super) struct Rows {
    rows: HashMap<Place, Row>,
    addresses: HashMap<IpAddr, Address>,
    /// Flags of the rows that take the rest of an address; 0 where there is room for it and nothing is written yet.
    wildcards: HashMap<IpAddr, u32>,
    /// Addresses of nodes have none.
    nodes: BTreeSet<IpAddr>,
    /// Entries in the map of each family.
    used: [u32; 2],
    /// Those that go with the difference that is under way.
    going: [u32; 2],
    limit: u32,
    touched: BTreeSet<IpAddr>,
    /// How much more often each row has come than gone since the last difference: one that is written anew has done both.
    filtered: BTreeMap<Place, i32>,
    frontends: usize,
    programmed: Arc<BTreeSet<IpAddr>>,
}

impl Rows {
    /// Takes over the rows of the maps, none with an owner yet.
    pub(super) fn new(
        limit: u32,
        contents: &BTreeMap<FrontendKey, Frontend>,
        nodes: BTreeSet<IpAddr>,
        groups: &mut Groups,
    ) -> Self {
        let mut rows = Self {
            rows: HashMap::new(),
            addresses: HashMap::new(),
            wildcards: HashMap::new(),
            nodes,
            used: [0; 2],
            going: [0; 2],
            limit,
            touched: BTreeSet::new(),
            filtered: BTreeMap::new(),
            frontends: 0,
            programmed: Arc::default(),
        };
        for (key, frontend) in contents {
            rows.adopt(key, *frontend, groups);
        }
        let found: Vec<Place> = rows.rows.keys().copied().collect();
        for place in found {
            rows.account(&place, true);
        }
        rows
    }

    fn adopt(&mut self, key: &FrontendKey, frontend: Frontend, groups: &mut Groups) {
        let (place, internal) = Place::of(key);
        self.used[place.family() as usize] += 1;
        if place.is_wildcard() {
            self.wildcards.insert(place.address, frontend.flags);
            self.touched.insert(place.address);
            mark(&mut self.filtered, place, true);
            return;
        }
        let algorithm = if frontend.flags & RING == 0 {
            Algorithm::Random
        } else {
            Algorithm::Maglev
        };
        groups.adopt_row(frontend.group, algorithm);
        let is_nodes = place.address.is_unspecified() || self.nodes.contains(&place.address);
        let kind = match (is_nodes, frontend.flags & ROUTABLE) {
            (true, _) => Kind::NodePort,
            (false, 0) => Kind::Cluster,
            (false, _) => Kind::Public,
        };
        let row = self.rows.entry(place).or_insert(Row {
            owner: None,
            kind,
            external: None,
            internal: None,
        });
        *(if internal {
            &mut row.internal
        } else {
            &mut row.external
        }) = Some(frontend);
    }

    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.rows.keys().copied()
    }

    pub(super) fn get(&self, place: &Place) -> Option<&Row> {
        self.rows.get(place)
    }

    pub(super) fn owner(&self, place: &Place) -> Option<&Arc<str>> {
        self.rows.get(place)?.owner.as_ref()
    }

    pub(super) fn disown(&mut self, place: &Place) {
        if let Some(row) = self.rows.get_mut(place) {
            row.owner = None;
        }
    }

    /// Frontends, a NodePort counted once.
    pub(super) fn frontends(&self) -> usize {
        self.frontends
    }

    pub(super) fn programmed(&self) -> &Arc<BTreeSet<IpAddr>> {
        &self.programmed
    }

    /// Whether some service of the wish asks for the address.
    pub(super) fn is_claimed(&self, address: IpAddr) -> bool {
        self.addresses
            .get(&address)
            .is_some_and(|address| address.claims > 0)
    }

    /// Counts what a service asks for at an address of its own, and whether it was refused.
    pub(super) fn claim(&mut self, address: IpAddr, is_missing: bool) {
        let entry = self.addresses.entry(address).or_default();
        entry.claims += 1;
        entry.missing += u32::from(is_missing);
        self.touched.insert(address);
    }

    pub(super) fn unclaim(&mut self, address: IpAddr, was_missing: bool) {
        if let Some(entry) = self.addresses.get_mut(&address) {
            entry.claims -= 1;
            entry.missing -= u32::from(was_missing);
        }
        self.touched.insert(address);
    }

    /// Addresses of nodes are others now.
    pub(super) fn follow(&mut self, nodes: BTreeSet<IpAddr>) {
        self.touched
            .extend(self.nodes.symmetric_difference(&nodes).copied());
        self.nodes = nodes;
    }

    /// Entries of the map that the rows of a frontend need, besides those that are there.
    pub(super) fn needed(&self, place: &Place, kind: Kind, two_scopes: bool) -> u32 {
        let row = self.rows.get(place);
        let mut needed = 0;
        needed += u32::from(row.is_none_or(|row| row.external.is_none()));
        needed += u32::from(two_scopes && row.is_none_or(|row| row.internal.is_none()));
        needed += u32::from(self.lacks_wildcard(place.address, kind));
        needed
    }

    /// Whether the rows of a frontend fit.
    pub(super) fn has_room(&self, place: &Place, kind: Kind, two_scopes: bool) -> bool {
        let used = self.used[place.family() as usize];
        used + self.needed(place, kind, two_scopes) <= self.limit
    }

    /// What is free of a family's table.
    pub(super) fn room(&self, family: Family) -> Room {
        Room::scattered(self.limit.saturating_sub(self.used[family as usize]))
    }

    fn lacks_wildcard(&self, address: IpAddr, kind: Kind) -> bool {
        kind.is_named() && !self.nodes.contains(&address) && !self.wildcards.contains_key(&address)
    }

    /// Leaves the rows as they are, for a service that asks for something that does not fit.
    pub(super) fn keep(&mut self, place: &Place, owner: &Arc<str>, kind: Kind) {
        self.account(place, false);
        if let Some(row) = self.rows.get_mut(place) {
            row.owner = Some(Arc::clone(owner));
            row.kind = kind;
        }
        self.account(place, true);
    }

    /// Writes the rows of a frontend. The caller has asked for room.
    pub(super) fn set(&mut self, place: Place, row: Row, groups: &mut Groups, steps: &mut Steps) {
        if self.lacks_wildcard(place.address, row.kind) {
            self.wildcards.insert(place.address, 0);
            self.used[place.family() as usize] += 1;
        }
        self.account(&place, false);
        let old = self.rows.remove(&place);
        let (old_external, old_internal) =
            old.map_or((None, None), |old| (old.external, old.internal));
        for frontend in [row.external, row.internal].into_iter().flatten() {
            groups.row_added(frontend.group);
        }
        for frontend in [old_external, old_internal].into_iter().flatten() {
            groups.row_removed(frontend.group);
        }
        let family = place.family() as usize;
        self.used[family] += u32::from(old_external.is_none());
        if let Some(external) = row.external.filter(|_| old_external != row.external) {
            steps.unpublished |= old_external.is_some();
            steps.externals.insert(place.key(Scope::External), external);
        }
        self.set_internal(&place, old_internal, row.internal, steps);
        self.rows.insert(place, row);
        self.account(&place, true);
    }

    fn set_internal(
        &mut self,
        place: &Place,
        old: Option<Frontend>,
        new: Option<Frontend>,
        steps: &mut Steps,
    ) {
        let family = place.family() as usize;
        let key = place.key(Scope::Internal);
        match (old, new) {
            (None, None) => {}
            (Some(_), None) => {
                steps.internals.remove(&key);
                if steps.internals_new.remove(&key) {
                    self.used[family] -= 1;
                } else {
                    self.going[family] += 1;
                    steps.internals_gone.insert(key);
                }
            }
            (_, Some(internal)) => {
                if steps.internals_gone.remove(&key) {
                    self.going[family] -= 1;
                } else if old.is_none() {
                    self.used[family] += 1;
                    steps.internals_new.insert(key);
                }
                if old != new {
                    steps.unpublished |= old.is_some();
                    steps.internals.insert(key, internal);
                }
            }
        }
    }

    /// Removes the rows of a frontend.
    pub(super) fn remove(&mut self, place: &Place, groups: &mut Groups, steps: &mut Steps) {
        self.account(place, false);
        let Some(row) = self.rows.remove(place) else {
            return;
        };
        let family = place.family() as usize;
        if let Some(frontend) = row.external {
            groups.row_removed(frontend.group);
            self.going[family] += 1;
            steps.externals_gone.push(erase(place));
        }
        if let Some(frontend) = row.internal {
            groups.row_removed(frontend.group);
            self.going[family] += 1;
            steps.internals_gone.insert(place.key(Scope::Internal));
        }
        steps.unpublished = true;
    }

    /// Counts a row at its address, or no more.
    fn account(&mut self, place: &Place, is_there: bool) {
        let Some(row) = self.rows.get(place).filter(|row| row.external.is_some()) else {
            return;
        };
        mark(&mut self.filtered, *place, is_there);
        let step = |count: &mut u32| {
            *count = if is_there { *count + 1 } else { *count - 1 };
        };
        if row.kind.is_named() || place.address.is_unspecified() {
            self.frontends = if is_there {
                self.frontends + 1
            } else {
                self.frontends - 1
            };
        }
        if row.kind.is_named() {
            let address = self.addresses.entry(place.address).or_default();
            step(&mut address.rows);
            if row.kind == Kind::Public {
                step(&mut address.routable);
            }
            self.touched.insert(place.address);
        }
    }

    /// Does for every address what follows from its rows.
    pub(super) fn finish(&mut self, filters: &mut Filters, steps: &mut Steps, now: Instant) {
        for address in std::mem::take(&mut self.touched) {
            self.finish_wildcard(address, steps);
            self.finish_address(address, filters, now);
        }
        for (place, more) in std::mem::take(&mut self.filtered) {
            match more {
                ..0 => filters.remove(Filter::Rows, &place, now),
                0 => {}
                1.. => filters.add(Filter::Rows, &place),
            }
        }
        steps.freed |= self.going != [0; 2];
        for (used, going) in self.used.iter_mut().zip(&mut self.going) {
            *used -= std::mem::take(going);
        }
    }

    fn finish_wildcard(&mut self, address: IpAddr, steps: &mut Steps) {
        let wanted = self.wanted_wildcard(address);
        let place = Place::wildcard(address);
        let family = family(address) as usize;
        match (wanted, self.wildcards.get(&address).copied()) {
            (None, None) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            (None, Some(found)) => {
                self.wildcards.remove(&address);
                self.going[family] += 1;
                if found != 0 {
                    steps.wildcards_gone.push(erase(&place));
                    mark(&mut self.filtered, place, false);
                }
            }
            (Some(_), None) if self.used[family] >= self.limit => {
                self.touched.insert(address);
            }
            (Some(flags), found) => {
                self.used[family] += u32::from(found.is_none());
                if found.is_none_or(|found| found == 0) {
                    mark(&mut self.filtered, place, true);
                }
                self.wildcards.insert(address, flags);
                let row = Frontend { group: 0, flags };
                steps.wildcards.push(MapOp::SetFrontend {
                    key: place.key(Scope::External),
                    frontend: row,
                });
            }
        }
    }

    fn wanted_wildcard(&self, address: IpAddr) -> Option<u32> {
        let entry = self.addresses.get(&address)?;
        if entry.rows == 0 || self.nodes.contains(&address) {
            return None;
        }
        Some(if entry.routable > 0 {
            WILDCARD | ROUTABLE
        } else {
            WILDCARD
        })
    }

    fn finish_address(&mut self, address: IpAddr, filters: &mut Filters, now: Instant) {
        let Some(entry) = self.addresses.get_mut(&address) else {
            return;
        };
        let is_there = entry.rows > 0;
        let is_programmed = is_there && entry.missing == 0;
        if is_there && !entry.filtered {
            filters.add(Filter::Frontends, &Place::wildcard(address));
        }
        if !is_there && entry.filtered {
            filters.remove(Filter::Frontends, &Place::wildcard(address), now);
        }
        entry.filtered = is_there;
        if !is_there && entry.claims == 0 {
            self.addresses.remove(&address);
        }
        if is_programmed != self.programmed.contains(&address) {
            let programmed = Arc::make_mut(&mut self.programmed);
            if is_programmed {
                programmed.insert(address);
            } else {
                programmed.remove(&address);
            }
        }
    }
}

/// Flags of a row, which differ where there are two scopes.
pub(super) fn scoped(flags: u32, has_internal: bool) -> u32 {
    if has_internal {
        flags | TWO_SCOPES
    } else {
        flags
    }
}

/// Index of a family's map.
const _: () = assert!(Family::Ipv4 as usize == 0 && Family::Ipv6 as usize == 1);

fn erase(place: &Place) -> MapOp {
    MapOp::RemoveFrontend {
        key: place.key(Scope::External),
    }
}

/// A row has come, or gone.
fn mark(filtered: &mut BTreeMap<Place, i32>, place: Place, has_come: bool) {
    *filtered.entry(place).or_default() += if has_come { 1 } else { -1 };
}
