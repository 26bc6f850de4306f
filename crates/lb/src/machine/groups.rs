//! Groups: lists of backends, each published by one word.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::backends::{Backends, Member};
use super::filters::Filters;
use super::list::List;
use super::place::Place;
use super::ranges::{Ranges, Room};
use super::rings::Rings;
use super::steps::Steps;
use super::waiting::Shortage;
use crate::op::{Capacity, Contents, MapOp};
use crate::report::Table;
use crate::settings::Settings;
use crate::wish::{self, Algorithm};

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
    /// What a ring of the size that is wished would need, where there is a smaller one or none.
    shortage: Option<Shortage>,
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
            // What has no ring may be without backends, or have found no room for one.
            if group.ring.is_none() {
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

    /// What is free of a table of this layer.
    pub(super) fn room(&self, table: Table) -> Room {
        match table {
            Table::Groups => self.ids.room(),
            Table::Slots => self.slots.room(),
            Table::Rings => self.rings.room(),
            Table::Backends => self.backends.room(),
            Table::Frontends(_) => Room::scattered(0),
        }
    }

    /// Whether the group chooses from just what the list would have it choose from, be its ring as large as it may.
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
            && group
                .ring
                .is_none_or(|start| self.rings.is_of(start, &places))
    }

    /// Makes a group for the list. What it says is short is only the ring: without a large one the group has a smaller one, or chooses
    /// at random.
    pub(super) fn create(
        &mut self,
        list: &List,
        steps: &mut Steps,
    ) -> Result<(u32, Option<Shortage>), Shortage> {
        let Some(id) = self.ids.allocate(1) else {
            return Err(Shortage {
                table: Table::Groups,
                need: 1,
            });
        };
        let prepared = match self.prepare(list, false, steps) {
            Ok(prepared) => prepared,
            Err(shortage) => {
                self.ids.release(id, 1);
                return Err(shortage);
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
        Ok((id, prepared.shortage))
    }

    /// Gives the group another list, in a fresh range that one word publishes. What it says is short is only the ring, as in
    /// [`Self::create`].
    pub(super) fn rewrite(
        &mut self,
        id: u32,
        list: &List,
        steps: &mut Steps,
    ) -> Result<Option<Shortage>, Shortage> {
        if self.is(id, list) {
            let members = self.take_members(list)?;
            self.replace_members(id, members);
            return Ok(self.enlarge_ring(id, list, steps));
        }
        let had_ring = self.entries.get(&id).is_some_and(|it| it.ring.is_some());
        let prepared = self.prepare(list, had_ring, steps)?;
        self.replace_members(id, prepared.members);
        self.publish(id, prepared.ids, prepared.first, prepared.ring, steps);
        Ok(prepared.shortage)
    }

    /// Gives a group whose ring is smaller than wished a larger one, if there is room now; says what is still short.
    fn enlarge_ring(&mut self, id: u32, list: &List, steps: &mut Steps) -> Option<Shortage> {
        if list.algorithm == Algorithm::Random {
            return None;
        }
        let places = list.selectable();
        let old = self.entries.get(&id)?.ring;
        if let Some(start) = self.rings.acquire_larger(&places, old, false, steps)
            && let Some(mut group) = self.entries.remove(&id)
        {
            group.ring = Some(start);
            if let Some(old) = old {
                self.rings.release(old);
                steps.freed = true;
            }
            steps.unpublished = true;
            steps.groups.push(self.publication(id, &group));
            self.entries.insert(id, group);
        }
        let ring = self.entries.get(&id)?.ring;
        self.rings.shortage(&places, ring)
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
    fn prepare(
        &mut self,
        list: &List,
        replaces_ring: bool,
        steps: &mut Steps,
    ) -> Result<Prepared, Shortage> {
        let places = list.selectable();
        let first = self.take_slots(&places)?;
        let members = match self.take_members(list) {
            Ok(members) => members,
            Err(shortage) => {
                if !places.is_empty() {
                    self.slots.release(first, places.len() as u32);
                }
                return Err(shortage);
            }
        };
        let ids: Vec<u32> = places
            .iter()
            .filter_map(|place| self.backends.find(place))
            .collect();
        if !ids.is_empty() {
            steps.slots.push(MapOp::Slots {
                first,
                backends: ids.clone(),
            });
        }
        let (ring, shortage) = match list.algorithm {
            Algorithm::Random => (None, None),
            Algorithm::Maglev => self.take_ring(&places, replaces_ring, steps),
        };
        Ok(Prepared {
            members,
            ids,
            first,
            ring,
            shortage,
        })
    }

    fn take_members(&mut self, list: &List) -> Result<Vec<Member>, Shortage> {
        let unknown = |backend: &&wish::Backend| {
            let place = Place::new(backend.address, backend.port, list.protocol);
            self.backends.find(&place).is_none()
        };
        let need = list.backends.iter().filter(unknown).count() as u32;
        if need > self.backends.room().total {
            return Err(Shortage {
                table: Table::Backends,
                need,
            });
        }
        let members = list.backends.iter();
        Ok(members
            .filter_map(|backend| self.backends.acquire(backend, list.protocol))
            .collect())
    }

    /// A range for a list, 0 where the list is empty.
    fn take_slots(&mut self, places: &[Place]) -> Result<u32, Shortage> {
        if places.is_empty() {
            return Ok(0);
        }
        let count = places.len() as u32;
        let short = Shortage {
            table: Table::Slots,
            need: count,
        };
        // A group's word counts in 16 bits.
        u16::try_from(count).map_err(|_| Shortage {
            need: u32::MAX,
            ..short
        })?;
        self.slots.allocate(count).ok_or(short)
    }

    fn take_ring(
        &mut self,
        places: &[Place],
        replaces: bool,
        steps: &mut Steps,
    ) -> (Option<u32>, Option<Shortage>) {
        let ring = self.rings.acquire_larger(places, None, replaces, steps);
        (ring, self.rings.shortage(places, ring))
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
