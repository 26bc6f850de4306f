//! The programs, as they are part of this one, and their way into the kernel.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aya::maps::Map;
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader};
use lb_abi::{RING_SLOTS_PER_CHUNK, SLOTS_PER_CHUNK, map, program};

use crate::bpf::MapShape;
use crate::error::Error;
use crate::maps::Maps;
use crate::op::Capacity;

/// The object that `cargo xtask ebpf` makes of `ebpf/lb-prog`.
static ELF: &[u8] = aya::include_bytes_aligned!("../../../ebpf/prebuilt/lb.o");

/// All maps of the object.
pub(crate) const MAPS: [&str; 13] = [
    map::FRONTENDS4,
    map::FRONTENDS6,
    map::GROUPS,
    map::SLOTS,
    map::RINGS,
    map::BACKENDS,
    map::FLOWS4,
    map::FLOWS6,
    map::SOCKETS,
    map::NODE_ADDRESSES,
    map::FILTERS,
    map::CONFIG,
    map::COUNTERS,
];

/// Programs of traffic control.
const PACKET_PROGRAMS: [&str; 4] = [
    program::UPLINK_IN,
    program::UPLINK_OUT,
    program::POD_IN,
    program::POD_OUT,
];

/// The programs in the kernel, with their maps; attached to nothing. It all goes when this is dropped, except what is pinned.
#[derive(Debug)]
pub struct Object {
    programs: BTreeMap<&'static str, OwnedFd>,
    maps: Maps,
}

impl Object {
    /// Loads the programs with maps of their own that nobody else sees.
    ///
    /// Needs `CAP_BPF`, `CAP_NET_ADMIN` and `CAP_PERFMON`.
    ///
    /// # Errors
    /// What the kernel refuses, by name.
    pub fn load(capacity: &Capacity) -> Result<Self, Error> {
        Self::load_with(capacity, None)
    }

    /// Loads the programs with the maps that are pinned in a folder; those that are not there are made and pinned. Those that are there must be
    /// of the right shape: the loader does not look.
    pub(crate) fn load_with(capacity: &Capacity, folder: Option<&Path>) -> Result<Self, Error> {
        let mut loader = EbpfLoader::new();
        for (name, entries) in entries(capacity) {
            loader.map_max_entries(name, entries);
        }
        if let Some(folder) = folder {
            for name in MAPS {
                loader.map_pin_path(name, folder.join(name));
            }
        }
        let loaded = loader.load(ELF);
        let mut ebpf = loaded.map_err(|error| Error::Load(Box::new(error)))?;
        // Before the maps are taken: until they are loaded, programs name maps by the loader's descriptors.
        let programs = PACKET_PROGRAMS.into_iter().chain(program::SOCKET);
        let programs = programs
            .map(|name| Ok((name, load_program(&mut ebpf, name)?)))
            .collect::<Result<_, Error>>()?;
        let maps = MAPS
            .into_iter()
            .map(|name| Ok((name, map_descriptor(&mut ebpf, name)?)));
        let maps = Maps::new(maps.collect::<Result<_, Error>>()?)?;
        Ok(Self { programs, maps })
    }

    /// Its maps.
    #[must_use]
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// One of the programs that `lb_abi::program` names.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.programs.get(name).map(AsFd::as_fd)
    }
}

/// Entries of the maps that have a size of our choice.
fn entries(capacity: &Capacity) -> [(&'static str, u32); 9] {
    [
        (map::FRONTENDS4, capacity.frontends),
        (map::FRONTENDS6, capacity.frontends),
        (map::GROUPS, capacity.groups),
        (map::BACKENDS, capacity.backends),
        (map::SLOTS, capacity.slots / SLOTS_PER_CHUNK),
        (map::RINGS, capacity.ring_slots / RING_SLOTS_PER_CHUNK),
        (map::FLOWS4, capacity.flows4),
        (map::FLOWS6, capacity.flows6),
        (map::SOCKETS, capacity.sockets),
    ]
}

/// The shapes that the object gives its maps, but for the sizes that we choose.
pub(crate) fn shapes() -> Result<BTreeMap<&'static str, MapShape>, Error> {
    let object = aya_obj::Object::parse(ELF).map_err(|error| Error::Object(Box::new(error)))?;
    let shape = |name| {
        let map = object.maps.get(name).ok_or(Error::NoMap { name })?;
        let shape = MapShape {
            kind: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            flags: map.map_flags(),
            entries: map.max_entries(),
        };
        Ok((name, shape))
    };
    MAPS.into_iter().map(shape).collect()
}

fn map_descriptor(ebpf: &mut Ebpf, name: &'static str) -> Result<OwnedFd, Error> {
    let data = match ebpf.take_map(name) {
        Some(
            Map::Array(data)
            | Map::HashMap(data)
            | Map::LruHashMap(data)
            | Map::PerCpuArray(data)
            | Map::PerCpuHashMap(data),
        ) => data,
        Some(_) => return Err(Error::Layout { name }),
        None => return Err(Error::NoMap { name }),
    };
    let descriptor = data.fd().as_fd().try_clone_to_owned();
    descriptor.map_err(|source| Error::Map { name, source })
}

fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<OwnedFd, Error> {
    let failed = |error: ProgramError| Error::Program {
        name,
        source: Box::new(error),
    };
    let program = ebpf.program_mut(name).ok_or(Error::NoProgram { name })?;
    let descriptor = match program {
        Program::SchedClassifier(program) => {
            program.load().map_err(failed)?;
            program.fd().map_err(failed)?
        }
        Program::CgroupSockAddr(program) => {
            program.load().map_err(failed)?;
            program.fd().map_err(failed)?
        }
        _ => return Err(Error::NoProgram { name }),
    };
    let descriptor = descriptor.as_fd().try_clone_to_owned();
    descriptor.map_err(|error| failed(ProgramError::IOError(error)))
}
