//! Backends: one row for each address, port and protocol, however many lists name it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use lb_abi::backend_flags::{LOCAL, PRESENT, TERMINATING};

use super::filters::Filters;
use super::place::{Place, address, octets};
use super::ranges::{Ranges, Room};
use super::steps::Steps;
use crate::op::MapOp;
use crate::wish;

/// A backend in a list, as that list has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: u32,
    active: bool,
    local: bool,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    users: u32,
    /// Users that say it takes new flows.
    active: u32,
    /// Users that say it runs here.
    local: u32,
    /// What the map has; without flags where nothing was written yet.
    row: lb_abi::Backend,
}

/// All backends.
#[derive(Debug)]
pub(super) struct Backends {
    entries: HashMap<u32, Entry>,
    by_place: HashMap<Place, u32>,
    ids: Ranges,
    /// Generations of rows that are free.
    generations: HashMap<u32, u32>,
    /// The greatest generation found at the start: rows whose past is unknown begin above it.
    floor: u32,
    touched: BTreeSet<u32>,
}

impl Backends {
    /// Takes over the rows of the maps, none with a user yet.
    pub(super) fn new(
        capacity: u32,
        rows: &BTreeMap<u32, lb_abi::Backend>,
        filters: &mut Filters,
    ) -> Self {
        let mut backends = Self {
            entries: HashMap::new(),
            by_place: HashMap::new(),
            ids: Ranges::new(1, capacity),
            generations: HashMap::new(),
            floor: rows.values().map(|row| row.generation).max().unwrap_or(0),
            touched: BTreeSet::new(),
        };
        for (&id, &row) in rows {
            if row.flags & PRESENT == 0 {
                backends.generations.insert(id, row.generation);
                continue;
            }
            let place = Place::new(
                address(row.address),
                u16::from_be_bytes(row.port),
                row.protocol,
            );
            if !backends.ids.reserve(id, 1) {
                continue;
            }
            backends.by_place.insert(place, id);
            backends.touched.insert(id);
            if row.flags & LOCAL != 0 {
                filters.add_backend(&place);
            }
            backends.entries.insert(
                id,
                Entry {
                    place,
                    users: 0,
                    active: 0,
                    local: 0,
                    row,
                },
            );
        }
        backends
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What is free of the table.
    pub(super) fn room(&self) -> Room {
        Room::scattered(self.ids.room().total)
    }

    pub(super) fn find(&self, place: &Place) -> Option<u32> {
        self.by_place.get(place).copied()
    }

    pub(super) fn place(&self, id: u32) -> Option<Place> {
        self.entries.get(&id).map(|entry| entry.place)
    }

    /// Counts one more user, and makes the backend where it is not there; `None` where the table is full.
    pub(super) fn acquire(&mut self, backend: &wish::Backend, protocol: u8) -> Option<Member> {
        let place = Place::new(backend.address, backend.port, protocol);
        let id = match self.by_place.get(&place) {
            Some(&id) => id,
            None => self.make(place)?,
        };
        let member = Member {
            id,
            active: backend.state == wish::BackendState::Active,
            local: backend.is_local,
        };
        self.count(member);
        Some(member)
    }

    /// Counts one more user of a row that was found at the start, with what the row says of itself.
    pub(super) fn adopt(&mut self, id: u32) -> Option<Member> {
        let flags = self.entries.get(&id)?.row.flags;
        let member = Member {
            id,
            active: flags & TERMINATING == 0,
            local: flags & LOCAL != 0,
        };
        self.count(member);
        Some(member)
    }

    pub(super) fn release(&mut self, member: Member) {
        let entry = self
            .entries
            .get_mut(&member.id)
            .expect("a row lives while it has users");
        entry.users -= 1;
        entry.active -= u32::from(member.active);
        entry.local -= u32::from(member.local);
        self.touched.insert(member.id);
    }

    fn count(&mut self, member: Member) {
        let entry = self
            .entries
            .get_mut(&member.id)
            .expect("the caller just found the row");
        entry.users += 1;
        entry.active += u32::from(member.active);
        entry.local += u32::from(member.local);
        self.touched.insert(member.id);
    }

    fn make(&mut self, place: Place) -> Option<u32> {
        let id = self.ids.allocate(1)?;
        let known = self.generations.remove(&id).unwrap_or(0);
        self.by_place.insert(place, id);
        self.entries.insert(
            id,
            Entry {
                place,
                users: 0,
                active: 0,
                local: 0,
                row: lb_abi::Backend {
                    generation: known.max(self.floor).wrapping_add(1),
                    ..lb_abi::Backend::default()
                },
            },
        );
        Some(id)
    }

    /// Writes what has changed, and frees what nobody uses.
    pub(super) fn finish(&mut self, filters: &mut Filters, steps: &mut Steps, now: Instant) {
        for id in std::mem::take(&mut self.touched) {
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            let was = entry.row;
            let row = entry.wanted();
            entry.row = row;
            if row.flags & LOCAL != 0 && was.flags & LOCAL == 0 {
                filters.add_backend(&entry.place);
            }
            if row.flags & LOCAL == 0 && was.flags & LOCAL != 0 {
                filters.remove_backend(&entry.place, now);
            }
            let step = MapOp::Backend { id, backend: row };
            if entry.users > 0 {
                if row != was {
                    steps.backends.push(step);
                }
                continue;
            }
            if was.flags & PRESENT != 0 {
                steps.backends_gone.push(step);
                steps.freed = true;
            }
            self.generations.insert(id, row.generation);
            self.by_place.remove(&entry.place);
            self.entries.remove(&id);
            self.ids.release(id, 1);
        }
    }
}

impl Entry {
    fn wanted(&self) -> lb_abi::Backend {
        let empty = lb_abi::Backend {
            generation: self.row.generation,
            ..lb_abi::Backend::default()
        };
        if self.users == 0 {
            return empty;
        }
        let mut flags = PRESENT;
        if self.local > 0 {
            flags |= LOCAL;
        }
        if self.active == 0 {
            flags |= TERMINATING;
        }
        lb_abi::Backend {
            address: octets(self.place.address),
            port: self.place.port.to_be_bytes(),
            protocol: self.place.protocol,
            flags,
            ..empty
        }
    }
}
