//! The agent's pinned maps, read as the programs in the kernel read them.

use std::fs;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use aya::maps::{Array, HashMap, Map, MapData, MapError};

use crate::objects::{cluster_ip, vip};
use crate::{ENDPOINTS, Result};

/// Between two looks at what should appear at any moment, and at what takes longer.
const SOON: Duration = Duration::from_micros(100);
const LATER: Duration = Duration::from_millis(2);

/// Bytes of a chunk of slots, and how many slots it has.
const CHUNK: usize = 4096;
const SLOTS: u32 = 1024;
/// Port and protocol that each Service has.
const PORT: u16 = 80;
const TCP: u8 = 6;

pub(crate) struct Tables {
    /// Address, port, protocol, scope → group, flags.
    frontends: HashMap<MapData, [u8; 8], [u32; 2]>,
    /// First slot and length of a list, and its ring, in one word.
    groups: Array<MapData, u64>,
    /// Numbers of backends.
    slots: Array<MapData, [u8; CHUNK]>,
    /// Address as an IPv6 address, port, and more.
    backends: Array<MapData, [u8; 32]>,
    /// Everything that is pinned.
    all: Vec<MapData>,
}

impl Tables {
    pub(crate) fn open(pins: &Path) -> Result<Self> {
        let pinned = |name: &str| MapData::from_pin(pins.join(name));
        let array = |name: &str| Ok::<_, MapError>(Map::Array(pinned(name)?));
        let files = fs::read_dir(pins)?.map(|file| Ok(MapData::from_pin(file?.path())?));
        Ok(Self {
            frontends: Map::HashMap(pinned("FRONTENDS4")?).try_into()?,
            groups: array("GROUPS")?.try_into()?,
            slots: array("SLOTS")?.try_into()?,
            backends: array("BACKENDS")?.try_into()?,
            all: files.collect::<Result<_>>()?,
        })
    }

    /// Waits until there are any.
    pub(crate) fn await_open(pins: &Path, patience: Duration) -> Result<Self> {
        let end = Instant::now() + patience;
        loop {
            match Self::open(pins) {
                Err(_) if Instant::now() < end => std::thread::sleep(LATER),
                opened => return opened,
            }
        }
    }

    /// Bytes of kernel memory that all maps hold, as `/proc` says it of their files.
    pub(crate) fn memory(&self) -> Result<u64> {
        let of_map = |map: &MapData| -> Result<u64> {
            let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
            let text = fs::read_to_string(path)?;
            let mut lines = text.lines();
            let memory = lines.find_map(|line| line.strip_prefix("memlock:"));
            Ok(memory.ok_or("no memlock")?.trim().parse()?)
        };
        self.all.iter().map(of_map).sum()
    }

    /// Waits until these Services have all their frontends, each with all its backends.
    pub(crate) fn await_services(&self, services: Range<u32>, patience: Duration) -> Result<()> {
        let end = Instant::now() + patience;
        for service in services {
            let addresses = [Some(cluster_ip(service)), vip(service)];
            for address in addresses.into_iter().flatten() {
                while self
                    .group(address)?
                    .is_none_or(|(_, count)| count != ENDPOINTS)
                {
                    if Instant::now() > end {
                        return Err(
                            format!("{address} of Service {service} is not in the map").into()
                        );
                    }
                    std::thread::sleep(LATER);
                }
            }
        }
        Ok(())
    }

    /// Waits until a Service has a backend. When it had.
    pub(crate) fn await_backend(
        &self,
        service: u32,
        backend: Ipv4Addr,
        patience: Duration,
    ) -> Result<Instant> {
        let end = Instant::now() + patience;
        loop {
            let list = self.list(cluster_ip(service))?;
            let now = Instant::now();
            if list.contains(&backend) {
                return Ok(now);
            }
            if now > end {
                return Err(format!("{backend} is not in the list of Service {service}").into());
            }
            std::thread::sleep(SOON);
        }
    }

    /// The backends of a frontend, as a packet would find them.
    fn list(&self, address: Ipv4Addr) -> Result<Vec<Ipv4Addr>> {
        let Some((first, count)) = self.group(address)? else {
            return Ok(Vec::new());
        };
        let mut list = Vec::new();
        let mut chunk = None;
        for slot in first..first + count {
            let number = slot / SLOTS;
            let bytes = match chunk {
                Some((known, bytes)) if known == number => bytes,
                _ => self.slots.get(&number, 0)?,
            };
            chunk = Some((number, bytes));
            let place = (slot % SLOTS) as usize * 4;
            let id = bytes[place..place + 4].try_into().map(u32::from_ne_bytes)?;
            let backend = self.backends.get(&id, 0)?;
            let address: [u8; 4] = backend[12..16].try_into()?;
            list.push(address.into());
        }
        Ok(list)
    }

    /// First slot and length of a frontend's list.
    fn group(&self, address: Ipv4Addr) -> Result<Option<(u32, u32)>> {
        let mut key = [0; 8];
        key[..4].copy_from_slice(&address.octets());
        key[4..6].copy_from_slice(&PORT.to_be_bytes());
        key[6] = TCP;
        let [group, _flags] = match self.frontends.get(&key, 0) {
            Ok(frontend) => frontend,
            Err(MapError::KeyNotFound) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let word = self.groups.get(&group, 0)?;
        let (first, count) = (word & 0xff_ffff, (word >> 24) & 0xffff);
        Ok(Some((u32::try_from(first)?, u32::try_from(count)?)))
    }
}
