//! Destinations of one family: a slab with stable 32-bit ids and a hash index over it.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use ipnet::IpNet;

use super::key::{Ipv4Key, Ipv6Key, PrefixKey};
use super::path::{Path, PathArena};

/// Names a destination for as long as it has a path or somebody [`Table::hold`]s it.
pub(super) type DestinationId = u32;

/// End of the list of free slots.
const NO_SLOT: u32 = u32::MAX;

/// One prefix.
#[derive(Debug)]
struct Destination<K> {
    key: K,
    /// The path where there is one, the arena's block where there are more, the next free slot where the slot
    /// is free.
    first: Path,
    count: u32,
    /// How many Adj-RIBs-Out, pending changes and unread log entries name this id.
    holds: u32,
}

/// All destinations of a family. The best path, if any is eligible, is the first one of its list.
#[derive(Debug)]
pub(super) struct Table<K> {
    destinations: Vec<Destination<K>>,
    index: HashTable<DestinationId>,
    free: u32,
    arena: PathArena,
    hasher: FixedState,
}

impl<K: PrefixKey> Table<K> {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            destinations: Vec::new(),
            index: HashTable::new(),
            free: NO_SLOT,
            arena: PathArena::default(),
            hasher: FixedState::with_seed(seed),
        }
    }

    /// Number of destinations that have an id.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Ids are below this.
    pub(super) fn id_bound(&self) -> DestinationId {
        self.destinations.len() as u32
    }

    pub(super) fn find(&self, key: K) -> Option<DestinationId> {
        let destinations = &self.destinations;
        self.index
            .find(self.hasher.hash_one(key), |id| {
                destinations[*id as usize].key == key
            })
            .copied()
    }

    /// The id of `key`, made if it has none. A new one must get a path or a hold before anything is released.
    pub(super) fn find_or_insert(&mut self, key: K) -> DestinationId {
        let Self {
            destinations,
            index,
            free,
            hasher,
            ..
        } = self;
        let entry = index.entry(
            hasher.hash_one(key),
            |id| destinations[*id as usize].key == key,
            |id| hasher.hash_one(destinations[*id as usize].key),
        );
        match entry {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let destination = Destination {
                    key,
                    first: Path::from_index(NO_SLOT),
                    count: 0,
                    holds: 0,
                };
                let id = *free;
                if id == NO_SLOT {
                    let id = u32::try_from(destinations.len())
                        .expect("fewer than 2^32 prefixes fit into memory");
                    entry.insert(id);
                    destinations.push(destination);
                    id
                } else {
                    entry.insert(id);
                    let slot = &mut destinations[id as usize];
                    *free = slot.first.index();
                    *slot = destination;
                    id
                }
            }
        }
    }

    pub(super) fn key(&self, id: DestinationId) -> K {
        self.destinations[id as usize].key
    }

    pub(super) fn paths(&self, id: DestinationId) -> &[Path] {
        let destination = &self.destinations[id as usize];
        match destination.count {
            0 => &[],
            1 => std::slice::from_ref(&destination.first),
            count => self.arena.get(destination.first.index(), count),
        }
    }

    pub(super) fn paths_mut(&mut self, id: DestinationId) -> &mut [Path] {
        let destination = &mut self.destinations[id as usize];
        match destination.count {
            0 => &mut [],
            1 => std::slice::from_mut(&mut destination.first),
            count => self.arena.get_mut(destination.first.index(), count),
        }
    }

    /// The best path, as the last selection left it.
    pub(super) fn best(&self, id: DestinationId) -> Option<Path> {
        self.paths(id)
            .first()
            .copied()
            .filter(|path| path.is_eligible())
    }

    pub(super) fn push(&mut self, id: DestinationId, path: Path) {
        let destination = &mut self.destinations[id as usize];
        destination.first = match destination.count {
            0 => path,
            1 => Path::from_index(self.arena.pair(destination.first, path)),
            count => Path::from_index(self.arena.push(destination.first.index(), count, path)),
        };
        destination.count += 1;
    }

    /// Removes one path; another may take its place in the list.
    pub(super) fn swap_remove(&mut self, id: DestinationId, position: usize) {
        let destination = &mut self.destinations[id as usize];
        match destination.count {
            0 => return,
            1 => {}
            2 => {
                let block = destination.first.index();
                destination.first = self.arena.get(block, 2)[1 - position];
                self.arena.release(block, 2);
            }
            count => {
                destination.first = Path::from_index(self.arena.swap_remove(
                    destination.first.index(),
                    count,
                    position,
                ));
            }
        }
        destination.count -= 1;
    }

    /// Keeps `id` the name of its prefix until [`Table::release`].
    pub(super) fn hold(&mut self, id: DestinationId) {
        self.destinations[id as usize].holds += 1;
    }

    /// Undoes one [`Table::hold`].
    pub(super) fn release(&mut self, id: DestinationId) {
        let destination = &mut self.destinations[id as usize];
        debug_assert!(destination.holds > 0, "released more often than held");
        destination.holds -= 1;
        self.free_unused(id);
    }

    /// Gives the id back if nothing needs it.
    pub(super) fn free_unused(&mut self, id: DestinationId) {
        let destination = &mut self.destinations[id as usize];
        if destination.count != 0 || destination.holds != 0 {
            return;
        }
        if let Ok(entry) = self
            .index
            .find_entry(self.hasher.hash_one(destination.key), |other| *other == id)
        {
            entry.remove();
            destination.first = Path::from_index(self.free);
            self.free = id;
        }
        if self.index.is_empty() {
            self.reset();
        }
    }

    /// An empty table gives its memory back.
    fn reset(&mut self) {
        self.destinations = Vec::new();
        self.index = HashTable::new();
        self.arena = PathArena::default();
        self.free = NO_SLOT;
    }
}

/// The tables of all families, with what does not depend on the key's type by family index.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) ipv4: Table<Ipv4Key>,
    pub(super) ipv6: Table<Ipv6Key>,
}

/// Applies one expression to the table of the family at an index.
macro_rules! by_family {
    ($tables:expr, $family:expr, $table:ident => $body:expr) => {
        match $family {
            Ipv4Key::INDEX => {
                let $table = &$tables.ipv4;
                $body
            }
            _ => {
                let $table = &$tables.ipv6;
                $body
            }
        }
    };
    (mut $tables:expr, $family:expr, $table:ident => $body:expr) => {
        match $family {
            Ipv4Key::INDEX => {
                let $table = &mut $tables.ipv4;
                $body
            }
            _ => {
                let $table = &mut $tables.ipv6;
                $body
            }
        }
    };
}

impl Tables {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            ipv4: Table::new(seed),
            ipv6: Table::new(seed),
        }
    }

    pub(super) fn id_bound(&self, family: usize) -> DestinationId {
        by_family!(self, family, table => table.id_bound())
    }

    pub(super) fn find(&self, net: IpNet) -> Option<DestinationId> {
        match net {
            IpNet::V4(net) => self.ipv4.find(net.into()),
            IpNet::V6(net) => self.ipv6.find(net.into()),
        }
    }

    pub(super) fn net(&self, family: usize, id: DestinationId) -> IpNet {
        by_family!(self, family, table => table.key(id).net())
    }

    pub(super) fn paths(&self, family: usize, id: DestinationId) -> &[Path] {
        by_family!(self, family, table => table.paths(id))
    }

    pub(super) fn best(&self, family: usize, id: DestinationId) -> Option<Path> {
        by_family!(self, family, table => table.best(id))
    }

    pub(super) fn hold(&mut self, family: usize, id: DestinationId) {
        by_family!(mut self, family, table => table.hold(id));
    }

    pub(super) fn release(&mut self, family: usize, id: DestinationId) {
        by_family!(mut self, family, table => table.release(id));
    }
}
