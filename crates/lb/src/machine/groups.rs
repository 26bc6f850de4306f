//! Groups: lists of backends, each published by one word.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::backends::{Backends, Member};
use super::filters::Filters;
use super::place::Place;
use super::ranges::Ranges;
use super::rings::Rings;
use super::steps::Steps;
use crate::op::{Capacity, Contents, MapOp};
use crate::report::Table;
use crate::settings::Settings;
use crate::wish::{self, Algorithm, BackendState};

/// A list as it is wished: in the order of address and port, each once.
#[derive(Debug)]
pub(super) struct List {
    wished: Arc<[wish::Backend]>,
    protocol: u8,
    algorithm: Algorithm,
    backends: Vec<wish::Backend>,
}

impl List {
    pub(super) fn new(wished: &Arc<[wish::Backend]>, protocol: u8, algorithm: Algorithm) -> Self {
        let mut backends = wished.to_vec();
        for backend in &mut backends {
            backend.address = backend.address.to_canonical();
        }
        backends.sort_by_key(|backend| (backend.address, backend.port, backend.state));
        backends.dedup_by(|later, first| {
            let same = later.address == first.address && later.port == first.port;
            first.is_local |= same && later.is_local;
            same
        });
        Self {
            wished: Arc::clone(wished),
            protocol,
            algorithm,
            backends,
        }
    }

    /// Whether this is the list that is wished there.
    pub(super) fn is(&self, wished: &Arc<[wish::Backend]>, protocol: u8) -> bool {
        self.protocol == protocol && (Arc::ptr_eq(&self.wished, wished) || self.wished == *wished)
    }

    /// The backends that new flows may be given: the active ones, and if there is none those that end.
    fn selectable(&self) -> Vec<Place> {
        let of = |state| {
            self.backends
                .iter()
                .filter(move |backend| backend.state == state)
                .map(|backend| Place::new(backend.address, backend.port, self.protocol))
                .collect::<Vec<_>>()
        };
        let active = of(BackendState::Active);
        if active.is_empty() {
            of(BackendState::Terminating)
        } else {
            active
        }
    }
}

#[derive(Debug)]
struct Group {
    algorithm: Algorithm,
    members: Vec<Member>,
    /// The list in the slots.
    ids: Vec<u32>,
    first: u32,
    /// Whether the range of slots is ours to give back.
    reserved: bool,
    ring: Option<u32>,
    /// Rows of frontends that name it.
    rows: u32,
    /// Made by the difference that is under way: its end frees nothing that was there before.
    fresh: bool,
}

/// All groups, and what they are made of.
#[derive(Debug)]
pub(super) struct Groups {
    pub(super) backends: Backends,
    rings: Rings,
    entries: HashMap<u32, Group>,
    ids: Ranges,
    slots: Ranges,
    /// Ranges of slots to give back when the difference is complete.
    retired: Vec<(u32, u32)>,
    /// Groups that may be without rows.
    idle: BTreeSet<u32>,
    /// Groups made by the difference that is under way.
    born: Vec<u32>,
}

/// All that a list needs, taken from the tables.
struct Prepared {
    members: Vec<Member>,
    ids: Vec<u32>,
    first: u32,
    ring: Option<u32>,
}

impl Groups {
    /// Takes over the groups of the maps, none with a row yet.
    pub(super) fn new(
        capacity: &Capacity,
        settings: &Settings,
        contents: &Contents,
        filters: &mut Filters,
    ) -> Self {
        let mut groups = Self {
            backends: Backends::new(capacity.backends, &contents.backends, filters),
            rings: Rings::new(
                capacity.ring_slots,
                settings.maximum_ring,
                settings.hash_seed,
            ),
            entries: HashMap::new(),
            ids: Ranges::new(1, capacity.groups),
            slots: Ranges::new(0, capacity.slots),
            retired: Vec::new(),
            idle: BTreeSet::new(),
            born: Vec::new(),
        };
        for (&id, group) in &contents.groups {
            groups.adopt_group(id, *group, contents);
        }
        groups
    }

    fn adopt_group(&mut self, id: u32, group: lb_abi::Group, contents: &Contents) {
        if !self.ids.reserve(id, 1) {
            return;
        }
        let count = u32::from(group.count);
        let mut ids = contents
            .slots
            .get(&group.first_slot)
            .cloned()
            .unwrap_or_default();
        ids.truncate(usize::from(group.count));
        let members = ids
            .iter()
            .filter_map(|id| self.backends.adopt(*id))
            .collect();
        let ring = (group.ring_class > 0 && count > 0).then_some(group.ring_start);
        if let Some(start) = ring {
            let places: Vec<Place> = ids
                .iter()
                .filter_map(|id| self.backends.place(*id))
                .collect();
            let ordinals = contents.rings.get(&start);
            self.rings.adopt(start, group.ring_class, ordinals, &places);
        }
        let entry = Group {
            algorithm: if ring.is_some() {
                Algorithm::Maglev
            } else {
                Algorithm::Random
            },
            members,
            ids,
            first: group.first_slot,
            reserved: count > 0 && self.slots.reserve(group.first_slot, count),
            ring,
            rows: 0,
            fresh: false,
        };
        self.entries.insert(id, entry);
        self.idle.insert(id);
    }

    /// Counts a row that was found at the start. A group without a word is one without backends.
    pub(super) fn adopt_row(&mut self, id: u32, algorithm: Algorithm) {
        if !self.entries.contains_key(&id) {
            self.adopt_group(id, lb_abi::Group::default(), &Contents::default());
        }
        if let Some(group) = self.entries.get_mut(&id) {
            group.rows += 1;
            if group.ids.is_empty() {
                group.algorithm = algorithm;
            }
        }
    }

    /// Rows that name the group.
    pub(super) fn rows(&self, id: u32) -> u32 {
        self.entries.get(&id).map_or(0, |group| group.rows)
    }

    pub(super) fn row_added(&mut self, id: u32) {
        if let Some(group) = self.entries.get_mut(&id) {
            group.rows += 1;
        }
    }

    pub(super) fn row_removed(&mut self, id: u32) {
        if let Some(group) = self.entries.get_mut(&id) {
            group.rows -= 1;
            if group.rows == 0 {
                self.idle.insert(id);
            }
        }
    }

    /// Whether the group may become this list without its rows being written anew.
    pub(super) fn may_become(&self, id: u32, list: &List) -> bool {
        self.entries
            .get(&id)
            .is_some_and(|group| group.algorithm == list.algorithm)
    }

    /// Whether the group chooses from just what the list would have it choose from.
    pub(super) fn is(&self, id: u32, list: &List) -> bool {
        let Some(group) = self.entries.get(&id) else {
            return false;
        };
        let places = list.selectable();
        group.algorithm == list.algorithm
            && group.ids.len() == places.len()
            && group
                .ids
                .iter()
                .zip(&places)
                .all(|(id, place)| self.backends.find(place) == Some(*id))
            && (group.ring.is_none() || group.ring == self.rings.find(&places))
    }

    /// Makes a group for the list.
    pub(super) fn create(&mut self, list: &List, steps: &mut Steps) -> Result<u32, Table> {
        let Some(id) = self.ids.allocate(1) else {
            return Err(Table::Groups);
        };
        let prepared = match self.prepare(list, steps) {
            Ok(prepared) => prepared,
            Err(table) => {
                self.ids.release(id, 1);
                return Err(table);
            }
        };
        let group = Group {
            algorithm: list.algorithm,
            reserved: !prepared.ids.is_empty(),
            members: prepared.members,
            ids: prepared.ids,
            first: prepared.first,
            ring: prepared.ring,
            rows: 0,
            fresh: true,
        };
        if !group.ids.is_empty() {
            steps.groups.push(self.publication(id, &group));
        }
        self.entries.insert(id, group);
        self.idle.insert(id);
        self.born.push(id);
        Ok(id)
    }

    /// Gives the group another list, in a fresh range that one word publishes.
    pub(super) fn rewrite(&mut self, id: u32, list: &List, steps: &mut Steps) -> Result<(), Table> {
        if self.is(id, list) {
            let members = self.take_members(list)?;
            self.replace_members(id, members);
            return Ok(());
        }
        let prepared = self.prepare(list, steps)?;
        self.replace_members(id, prepared.members);
        self.publish(id, prepared.ids, prepared.first, prepared.ring, steps);
        Ok(())
    }

    /// For want of room the group keeps its list; what is no longer wished in it gives its slots to the others.
    pub(super) fn mend(&mut self, id: u32, list: &List, steps: &mut Steps) {
        let wished: BTreeSet<u32> = list
            .selectable()
            .iter()
            .filter_map(|place| self.backends.find(place))
            .collect();
        let Some(group) = self.entries.get(&id) else {
            return;
        };
        let staying: Vec<u32> = group
            .ids
            .iter()
            .copied()
            .filter(|id| wished.contains(id))
            .collect();
        if staying.len() == group.ids.len() {
            return;
        }
        let members = self.members_of(&staying, list);
        self.replace_members(id, members);
        if staying.is_empty() {
            self.publish(id, Vec::new(), 0, None, steps);
            return;
        }
        let mut turn = staying.iter().copied().cycle();
        let Some(group) = self.entries.get_mut(&id) else {
            return;
        };
        for slot in &mut group.ids {
            if !wished.contains(slot)
                && let Some(id) = turn.next()
            {
                *slot = id;
            }
        }
        steps.unpublished = true;
        steps.slots.push(MapOp::Slots {
            first: group.first,
            backends: group.ids.clone(),
        });
    }

    fn members_of(&mut self, ids: &[u32], list: &List) -> Vec<Member> {
        let ids: BTreeSet<u32> = ids.iter().copied().collect();
        list.backends
            .iter()
            .filter_map(|backend| {
                let place = Place::new(backend.address, backend.port, list.protocol);
                let id = self.backends.find(&place)?;
                ids.contains(&id)
                    .then(|| self.backends.acquire(backend, list.protocol))?
            })
            .collect()
    }

    /// Takes what the list needs; takes nothing where something does not fit.
    fn prepare(&mut self, list: &List, steps: &mut Steps) -> Result<Prepared, Table> {
        let members = self.take_members(list)?;
        let places = list.selectable();
        let ids: Vec<u32> = places
            .iter()
            .filter_map(|place| self.backends.find(place))
            .collect();
        match self.take_ranges(list.algorithm, &places, steps) {
            Ok((first, ring)) => {
                if !ids.is_empty() {
                    steps.slots.push(MapOp::Slots {
                        first,
                        backends: ids.clone(),
                    });
                }
                Ok(Prepared {
                    members,
                    ids,
                    first,
                    ring,
                })
            }
            Err(table) => {
                for member in members {
                    self.backends.release(member);
                }
                Err(table)
            }
        }
    }

    fn take_members(&mut self, list: &List) -> Result<Vec<Member>, Table> {
        let mut members = Vec::with_capacity(list.backends.len());
        for backend in &list.backends {
            let Some(member) = self.backends.acquire(backend, list.protocol) else {
                for member in members {
                    self.backends.release(member);
                }
                return Err(Table::Backends);
            };
            members.push(member);
        }
        Ok(members)
    }

    fn take_ranges(
        &mut self,
        algorithm: Algorithm,
        places: &[Place],
        steps: &mut Steps,
    ) -> Result<(u32, Option<u32>), Table> {
        if places.is_empty() {
            return Ok((0, None));
        }
        let count = u32::from(u16::try_from(places.len()).map_err(|_| Table::Slots)?);
        let first = self.slots.allocate(count).ok_or(Table::Slots)?;
        match algorithm {
            Algorithm::Random => Ok((first, None)),
            Algorithm::Maglev => match self.rings.acquire(places, steps) {
                Some(start) => Ok((first, Some(start))),
                None => {
                    self.slots.release(first, count);
                    Err(Table::Rings)
                }
            },
        }
    }

    fn replace_members(&mut self, id: u32, members: Vec<Member>) {
        let Some(group) = self.entries.get_mut(&id) else {
            return;
        };
        for member in std::mem::replace(&mut group.members, members) {
            self.backends.release(member);
        }
    }

    fn publish(
        &mut self,
        id: u32,
        ids: Vec<u32>,
        first: u32,
        ring: Option<u32>,
        steps: &mut Steps,
    ) {
        let Some(mut group) = self.entries.remove(&id) else {
            return;
        };
        self.retire(&group, steps);
        group.reserved = !ids.is_empty();
        group.ids = ids;
        group.first = first;
        group.ring = ring;
        steps.groups.push(self.publication(id, &group));
        self.entries.insert(id, group);
    }

    fn retire(&mut self, group: &Group, steps: &mut Steps) {
        if group.reserved {
            self.retired.push((group.first, group.ids.len() as u32));
        }
        if let Some(start) = group.ring {
            self.rings.release(start);
        }
        steps.unpublished |= !group.ids.is_empty();
        steps.freed |= !group.fresh && group.reserved;
    }

    fn publication(&self, id: u32, group: &Group) -> MapOp {
        let ring_start = group.ring.unwrap_or(0);
        MapOp::Group {
            id,
            group: if group.ids.is_empty() {
                lb_abi::Group::default()
            } else {
                lb_abi::Group {
                    first_slot: group.first,
                    count: group.ids.len() as u16,
                    ring_class: group.ring.map_or(0, |start| self.rings.class(start)),
                    ring_start,
                }
            },
        }
    }

    /// Removes groups that no row names, and gives back what nobody uses any more.
    pub(super) fn finish(&mut self, filters: &mut Filters, steps: &mut Steps, now: Instant) {
        for id in std::mem::take(&mut self.idle) {
            if self.rows(id) > 0 {
                continue;
            }
            let Some(group) = self.entries.remove(&id) else {
                continue;
            };
            self.retire(&group, steps);
            if !group.ids.is_empty() {
                steps.groups_gone.push(MapOp::Group {
                    id,
                    group: lb_abi::Group::default(),
                });
            }
            steps.freed |= !group.fresh;
            for member in group.members {
                self.backends.release(member);
            }
            self.ids.release(id, 1);
        }
        for id in std::mem::take(&mut self.born) {
            if let Some(group) = self.entries.get_mut(&id) {
                group.fresh = false;
            }
        }
        for (first, length) in std::mem::take(&mut self.retired) {
            self.slots.release(first, length);
        }
        self.rings.finish(steps);
        self.backends.finish(filters, steps, now);
    }
}
