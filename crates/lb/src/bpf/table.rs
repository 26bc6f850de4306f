//! Maps that are hash tables, by batches.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use aya_obj::generated::bpf_cmd;
use nix::libc::{EINTR, ENOENT, ENOSPC};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{call, map_shape, number, zeroed};

/// Entries per call when a table is read.
const READ: usize = 4096;
/// Entries per call when it is written: the kernel takes them with their memory in one go.
const WRITE: usize = 16384;

/// Bytes that mean something whatever they are, without gaps.
pub(crate) trait Plain: FromBytes + IntoBytes + Immutable + Copy {}

impl<T: FromBytes + IntoBytes + Immutable + Copy> Plain for T {}

/// A map with keys `K` and values `V`.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    map: OwnedFd,
    what: PhantomData<(K, V)>,
}

/// A batch that was not done to its end.
#[derive(Debug)]
pub(crate) struct Stopped {
    /// How many were done before the one that failed.
    pub(crate) done: usize,
    /// Why that one failed.
    pub(crate) error: io::Error,
}

impl<K: Plain, V: Plain> Table<K, V> {
    /// `None` if keys or values of the map have other sizes.
    pub(crate) fn new(map: OwnedFd) -> io::Result<Option<Self>> {
        let shape = map_shape(map.as_fd())?;
        let fits = shape.key_size as usize == size_of::<K>()
            && shape.value_size as usize == size_of::<V>();
        Ok(fits.then_some(Self {
            map,
            what: PhantomData,
        }))
    }

    pub(crate) fn map(&self) -> &OwnedFd {
        &self.map
    }

    /// Sets entries, new or not.
    pub(crate) fn set(&self, keys: &[K], values: &[V]) -> Result<(), Stopped> {
        let batches = keys.chunks(WRITE).zip(values.chunks(WRITE));
        for (number, (keys, values)) in batches.enumerate() {
            let mut attr = self.batch(keys.len().min(values.len()));
            attr.batch.keys = keys.as_ptr() as u64;
            attr.batch.values = values.as_ptr() as u64;
            // SAFETY: both slices have at least as many entries as the batch, of the map's sizes (`new`), and outlive the call.
            unsafe { write(bpf_cmd::BPF_MAP_UPDATE_BATCH, &mut attr) }
                .map_err(|stopped| stopped.after(number * WRITE))?;
        }
        Ok(())
    }

    /// Removes entries. Fails at one that is not there.
    pub(crate) fn remove(&self, keys: &[K]) -> Result<(), Stopped> {
        for (number, keys) in keys.chunks(WRITE).enumerate() {
            let mut attr = self.batch(keys.len());
            attr.batch.keys = keys.as_ptr() as u64;
            // SAFETY: the slice has as many keys as the batch, of the map's size (`new`), and outlives the call.
            unsafe { write(bpf_cmd::BPF_MAP_DELETE_BATCH, &mut attr) }
                .map_err(|stopped| stopped.after(number * WRITE))?;
        }
        Ok(())
    }

    /// All entries. Those that come or go meanwhile may be missed.
    pub(crate) fn entries(&self) -> io::Result<Vec<(K, V)>> {
        let mut entries = Vec::new();
        let mut room = READ;
        let mut keys = vec![K::new_zeroed(); room];
        let mut values = vec![V::new_zeroed(); room];
        // Where the kernel goes on: four bytes for a hash table, a key for others.
        let mut place = vec![0u8; size_of::<K>().max(4)];
        let mut next = place.clone();
        let mut begun = false;
        loop {
            let mut attr = self.batch(room);
            attr.batch.in_batch = if begun { place.as_ptr() as u64 } else { 0 };
            attr.batch.out_batch = next.as_mut_ptr() as u64;
            attr.batch.keys = keys.as_mut_ptr() as u64;
            attr.batch.values = values.as_mut_ptr() as u64;
            // SAFETY: both vectors have room for the batch in the map's sizes (`new`), the places for what the kernel keeps there.
            let result = unsafe { call(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr) };
            // SAFETY: numbers; this is the member that was written.
            let count = unsafe { attr.batch.count } as usize;
            let end = match result {
                Ok(_) => false,
                Err(error) => match error.raw_os_error() {
                    Some(ENOENT) => true,
                    Some(EINTR) => continue,
                    // A bucket with more entries than there is room for.
                    Some(ENOSPC) => {
                        room *= 2;
                        keys.resize(room, K::new_zeroed());
                        values.resize(room, V::new_zeroed());
                        continue;
                    }
                    _ => return Err(error),
                },
            };
            let pairs = keys.iter().copied().zip(values.iter().copied());
            entries.extend(pairs.take(count));
            if end {
                return Ok(entries);
            }
            begun = true;
            std::mem::swap(&mut place, &mut next);
        }
    }

    fn batch(&self, count: usize) -> aya_obj::generated::bpf_attr {
        let mut attr = zeroed();
        attr.batch.map_fd = number(self.map.as_fd());
        attr.batch.count = count as u32;
        attr
    }
}

impl Stopped {
    fn after(self, before: usize) -> Self {
        Self {
            done: before + self.done,
            error: self.error,
        }
    }
}

/// # Safety
/// That of [`call`].
unsafe fn write(command: bpf_cmd, attr: &mut aya_obj::generated::bpf_attr) -> Result<(), Stopped> {
    // SAFETY: numbers; this is the member that the caller wrote.
    let asked = unsafe { attr.batch.count };
    // SAFETY: the caller's promise.
    unsafe { call(command, attr) }.map(drop).map_err(|error| {
        // SAFETY: as above.
        let done = unsafe { attr.batch.count };
        Stopped {
            // What is refused as a whole is refused before the kernel counts.
            done: if done < asked { done as usize } else { 0 },
            error,
        }
    })
}

/// An array of one number per entry and processor.
#[derive(Debug)]
pub(crate) struct PerProcessor {
    map: OwnedFd,
    entries: u32,
    processors: usize,
}

impl PerProcessor {
    /// `None` if the map is another.
    pub(crate) fn new(map: OwnedFd) -> io::Result<Option<Self>> {
        let shape = map_shape(map.as_fd())?;
        let kind = aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_PERCPU_ARRAY as u32;
        if shape.kind != kind || shape.key_size != 4 || shape.value_size != 8 {
            return Ok(None);
        }
        let processors = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        Ok(Some(Self {
            map,
            entries: shape.entries,
            processors,
        }))
    }

    pub(crate) fn map(&self) -> &OwnedFd {
        &self.map
    }

    /// The sum over all processors, of each entry.
    pub(crate) fn sums(&self) -> io::Result<Vec<u64>> {
        let mut values = vec![0u64; self.processors];
        (0..self.entries)
            .map(|key| {
                let mut attr = zeroed();
                attr.__bindgen_anon_2.map_fd = self.map.as_raw_fd().cast_unsigned();
                attr.__bindgen_anon_2.key = &raw const key as u64;
                attr.__bindgen_anon_2.__bindgen_anon_1.value = values.as_mut_ptr() as u64;
                // SAFETY: the key is four bytes; the kernel writes eight for every possible processor, which the vector has.
                unsafe { call(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) }?;
                Ok(values.iter().sum())
            })
            .collect()
    }
}
