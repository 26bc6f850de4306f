//! The maps in the kernel: steps of a difference done, contents read back.
//!
//! Arrays are memory that this process shares with the programs: a write is a store. Hash tables are written in batches, one system call
//! for thousands of rows.

mod batches;
mod contents;
mod counters;
mod window;

use std::collections::BTreeMap;
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{Relaxed, Release};

use lb_abi::{
    Backend, Config, FILTER_WORDS, FlowKey4, FlowKey6, FlowValue4, FlowValue6, Frontend,
    FrontendKey4, FrontendKey6, Group, NodeAddressKind, RING_SLOTS_PER_CHUNK, SLOTS_PER_CHUNK,
    SocketKey, SocketValue, map,
};
use nix::libc::{E2BIG, ENOENT};
use zerocopy::IntoBytes;

use self::batches::Batches;
pub(crate) use self::window::Window;
use crate::bpf::{Grace, PerProcessor, Plain, Table, map_memory, map_shape};
use crate::error::{Errno, Error};
use crate::op::{Capacity, MapOp};

/// The maps. One at a time may write.
#[derive(Debug)]
pub struct Maps {
    frontends4: Table<FrontendKey4, Frontend>,
    frontends6: Table<FrontendKey6, Frontend>,
    node_addresses: Table<[u8; 16], u32>,
    flows4: Table<FlowKey4, FlowValue4>,
    flows6: Table<FlowKey6, FlowValue6>,
    sockets: Table<SocketKey, SocketValue>,
    groups: Window,
    slots: Window,
    rings: Window,
    backends: Window,
    filters: Window,
    config: Window,
    counters: PerProcessor,
    grace: Grace,
    /// What is mapped, for the sake of its size.
    mapped: Vec<OwnedFd>,
    capacity: Capacity,
}

/// A step that could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Index of the step.
    pub step: usize,
    /// Why: `E2BIG` where the map is full or has no such row, `ENOMEM` where the kernel has no memory for another.
    pub errno: Errno,
}

const _: () = assert!(offset_of!(Config, epoch).is_multiple_of(4));
const EPOCH: usize = offset_of!(Config, epoch) / 4;
const BACKEND_WORDS: usize = size_of::<Backend>() / 8;
/// The word of a backend that has its flags, which say whether the others mean anything.
const BACKEND_FLAGS: usize = offset_of!(Backend, flags) / 8;

impl Maps {
    /// Takes the maps of an object by name.
    ///
    /// # Errors
    /// [`Error::NoMap`] and [`Error::Layout`] if they are not those of `lb_abi`; [`Error::Map`] and [`Error::Grace`] when the kernel refuses.
    pub(crate) fn new(mut maps: BTreeMap<&'static str, OwnedFd>) -> Result<Self, Error> {
        let maps = &mut maps;
        let mut mapped = Vec::new();
        let frontends4 = table(maps, map::FRONTENDS4)?;
        let flows4 = table(maps, map::FLOWS4)?;
        let flows6 = table(maps, map::FLOWS6)?;
        let sockets = table(maps, map::SOCKETS)?;
        let mut window = |maps: &mut _, name, value_size| -> Result<(Window, u32), Error> {
            let (window, entries, map) = open_window(maps, name, value_size)?;
            mapped.push(map);
            Ok((window, entries))
        };
        let (groups, group_rows) = window(maps, map::GROUPS, 8)?;
        let (slots, slot_chunks) = window(maps, map::SLOTS, SLOTS_PER_CHUNK as usize * 4)?;
        let (rings, ring_chunks) = window(maps, map::RINGS, RING_SLOTS_PER_CHUNK as usize * 2)?;
        let (backends, backend_rows) = window(maps, map::BACKENDS, size_of::<Backend>())?;
        let (filters, _) = window(maps, map::FILTERS, FILTER_WORDS * 8)?;
        let (config, _) = window(maps, map::CONFIG, size_of::<Config>())?;
        let capacity = Capacity {
            frontends: entries(&frontends4, map::FRONTENDS4)?,
            groups: group_rows,
            backends: backend_rows,
            slots: slot_chunks * SLOTS_PER_CHUNK,
            ring_slots: ring_chunks * RING_SLOTS_PER_CHUNK,
            flows4: entries(&flows4, map::FLOWS4)?,
            flows6: entries(&flows6, map::FLOWS6)?,
            sockets: entries(&sockets, map::SOCKETS)?,
        };
        Ok(Self {
            frontends6: table(maps, map::FRONTENDS6)?,
            node_addresses: table(maps, map::NODE_ADDRESSES)?,
            counters: counters(maps)?,
            grace: Grace::new().map_err(Error::Grace)?,
            frontends4,
            flows4,
            flows6,
            sockets,
            groups,
            slots,
            rings,
            backends,
            filters,
            config,
            mapped,
            capacity,
        })
    }

    /// What the maps can hold.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// Does the steps in order. One that fails does not keep the next from being done; runs of frontends become batches.
    pub fn perform(&self, steps: &[MapOp]) -> Vec<Failure> {
        let mut failures = Vec::new();
        let mut batches = Batches::default();
        for (step, op) in steps.iter().enumerate() {
            batches.flush_unless_fits(self, op, &mut failures);
            let done = match op {
                MapOp::Backend { id, backend } => self.write_backend(*id, backend),
                MapOp::Slots { first, backends } => {
                    store(self.slots.words32(), *first, backends, |word, id| {
                        word.store(*id, Relaxed);
                    })
                }
                MapOp::Ring { start, recipe } => store(
                    self.rings.words16(),
                    *start,
                    &recipe.ordinals(),
                    |word, ordinal| {
                        word.store(*ordinal, Relaxed);
                    },
                ),
                // Whoever sees the group sees the backends, list and ring that were stored before.
                MapOp::Group { id, group } => store(
                    self.groups.words64(),
                    *id,
                    &[group.pack()],
                    |word, group| {
                        word.store(*group, Release);
                    },
                ),
                MapOp::Filter {
                    filter,
                    index,
                    word,
                } => self.write_filter(*filter, *index, *word),
                MapOp::SetFrontend { key, frontend } => {
                    batches.set(step, *key, *frontend);
                    Ok(())
                }
                MapOp::RemoveFrontend { key } => {
                    batches.remove(step, *key);
                    Ok(())
                }
                MapOp::NodeAddress { address, kind } => self.write_node_address(address, *kind),
                MapOp::RaiseEpoch => {
                    self.raise_epoch();
                    Ok(())
                }
                MapOp::Grace => self.grace.wait().map_err(|error| Errno::of(&error)),
            };
            if let Err(errno) = done {
                failures.push(Failure { step, errno });
            }
        }
        batches.flush(self, &mut failures);
        failures
    }

    /// Writes the configuration but for the epoch, which is raised. A program that runs meanwhile may see an old field beside a new one.
    pub fn configure(&self, config: &Config) {
        let before = self.read_config();
        let config = Config {
            epoch: before.epoch.wrapping_add(1),
            ..*config
        };
        let words = config.as_bytes().chunks_exact(8);
        for (place, word) in self.config.words64().iter().zip(words) {
            let word = u64::from_ne_bytes(word.try_into().expect("chunks of eight bytes"));
            place.store(word, Release);
        }
    }

    /// Makes all flows check their backend and next hop again.
    pub fn raise_epoch(&self) {
        if let Some(epoch) = self.config.words32().get(EPOCH) {
            epoch.fetch_add(1, Release);
        }
    }

    /// Bytes of kernel memory that the maps hold.
    ///
    /// # Errors
    /// [`Error::Map`] where `/proc` does not say it.
    pub fn memory(&self) -> Result<u64, Error> {
        let maps = self.descriptors();
        let sizes = maps
            .iter()
            .map(|(name, map)| map_memory(*map).map_err(failed(name)));
        sizes.sum()
    }

    /// All maps by name.
    fn descriptors(&self) -> Vec<(&'static str, BorrowedFd<'_>)> {
        let names = [
            map::GROUPS,
            map::SLOTS,
            map::RINGS,
            map::BACKENDS,
            map::FILTERS,
            map::CONFIG,
        ];
        let mapped = names.into_iter().zip(&self.mapped);
        let tables = [
            (map::FRONTENDS4, self.frontends4.map()),
            (map::FRONTENDS6, self.frontends6.map()),
            (map::NODE_ADDRESSES, self.node_addresses.map()),
            (map::FLOWS4, self.flows4.map()),
            (map::FLOWS6, self.flows6.map()),
            (map::SOCKETS, self.sockets.map()),
            (map::COUNTERS, self.counters.map()),
        ];
        let all = mapped.chain(tables);
        all.map(|(name, map)| (name, map.as_fd())).collect()
    }

    /// The flags come first when a row is freed and last when it is filled: no program takes half a backend for a whole one.
    fn write_backend(&self, id: u32, backend: &Backend) -> Result<(), Errno> {
        let first = id as usize * BACKEND_WORDS;
        let row = self.backends.words64().get(first..first + BACKEND_WORDS);
        let row = row.ok_or(Errno(E2BIG))?;
        let mut words = [0u64; BACKEND_WORDS];
        words.as_mut_bytes().copy_from_slice(backend.as_bytes());
        let others = || (0..BACKEND_WORDS).filter(|index| *index != BACKEND_FLAGS);
        if others().any(|index| row[index].load(Relaxed) != words[index]) {
            row[BACKEND_FLAGS].store(0, Release);
        }
        for index in others() {
            row[index].store(words[index], Release);
        }
        row[BACKEND_FLAGS].store(words[BACKEND_FLAGS], Release);
        Ok(())
    }

    fn write_filter(&self, filter: u32, index: usize, word: u64) -> Result<(), Errno> {
        if index >= FILTER_WORDS {
            return Err(Errno(E2BIG));
        }
        let place = filter as usize * FILTER_WORDS + index;
        let words = self.filters.words64();
        words.get(place).ok_or(Errno(E2BIG))?.store(word, Release);
        Ok(())
    }

    fn write_node_address(
        &self,
        address: &[u8; 16],
        kind: Option<NodeAddressKind>,
    ) -> Result<(), Errno> {
        let result = match kind {
            Some(kind) => self.node_addresses.set(&[*address], &[kind as u32]),
            None => self.node_addresses.remove(&[*address]),
        };
        match result.map_err(|stopped| Errno::of(&stopped.error)) {
            Err(Errno(ENOENT)) if kind.is_none() => Ok(()),
            result => result,
        }
    }
}

fn store<Word, T>(
    words: &[Word],
    first: u32,
    values: &[T],
    write: impl Fn(&Word, &T),
) -> Result<(), Errno> {
    let first = first as usize;
    let places = words.get(first..first + values.len());
    let places = places.ok_or(Errno(E2BIG))?;
    places
        .iter()
        .zip(values)
        .for_each(|(word, value)| write(word, value));
    Ok(())
}

fn take(maps: &mut BTreeMap<&'static str, OwnedFd>, name: &'static str) -> Result<OwnedFd, Error> {
    maps.remove(name).ok_or(Error::NoMap { name })
}

fn failed(name: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Map { name, source }
}

fn table<K: Plain, V: Plain>(
    maps: &mut BTreeMap<&'static str, OwnedFd>,
    name: &'static str,
) -> Result<Table<K, V>, Error> {
    let table = Table::new(take(maps, name)?).map_err(failed(name))?;
    table.ok_or(Error::Layout { name })
}

fn entries<K: Plain, V: Plain>(table: &Table<K, V>, name: &'static str) -> Result<u32, Error> {
    let shape = map_shape(table.map().as_fd()).map_err(failed(name))?;
    Ok(shape.entries)
}

fn open_window(
    maps: &mut BTreeMap<&'static str, OwnedFd>,
    name: &'static str,
    value_size: usize,
) -> Result<(Window, u32, OwnedFd), Error> {
    let map = take(maps, name)?;
    let shape = map_shape(map.as_fd()).map_err(failed(name))?;
    let window = Window::open(map.as_fd(), value_size).map_err(failed(name))?;
    let window = window.ok_or(Error::Layout { name })?;
    Ok((window, shape.entries, map))
}

fn counters(maps: &mut BTreeMap<&'static str, OwnedFd>) -> Result<PerProcessor, Error> {
    let name = map::COUNTERS;
    let counters = PerProcessor::new(take(maps, name)?).map_err(failed(name))?;
    counters.ok_or(Error::Layout { name })
}
