//! Maps in memory, with packets under way in them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb::{Capacity, Contents, FrontendKey, MapOp};
use lb_abi::backend_flags::{LOCAL, PRESENT};
use lb_abi::frontend_flags::{TWO_SCOPES, WILDCARD};
use lb_abi::{
    AddressHash, Backend, FILTER_BACKENDS, FILTER_COUNT, FILTER_FRONTENDS, FILTER_ROWS,
    FILTER_WORDS, Frontend, Group, RING_SIZES, Scope,
};

use crate::reference::Row;

/// The maps.
#[derive(Debug, Clone)]
pub(crate) struct Maps {
    pub(crate) capacity: Capacity,
    pub(crate) frontends: BTreeMap<FrontendKey, Frontend>,
    pub(crate) groups: BTreeMap<u32, u64>,
    pub(crate) backends: BTreeMap<u32, Backend>,
    pub(crate) slots: Vec<u32>,
    pub(crate) rings: Vec<u16>,
    pub(crate) filters: [Vec<u64>; FILTER_COUNT],
    pub(crate) node_addresses: BTreeMap<[u8; 16], u32>,
    pub(crate) epochs: u32,
    /// Frontends of each family.
    rows: [u32; 2],
    under_way: UnderWay,
}

/// What packets may have read since the last grace period, and may follow further.
#[derive(Debug, Clone, Default)]
struct UnderWay {
    two_scopes: BTreeSet<FrontendKey>,
    groups: BTreeSet<u32>,
    /// Words of groups, and the list as it was.
    words: BTreeMap<u64, Vec<u32>>,
    /// Backend ids, with their generation.
    backends: BTreeSet<(u32, u32)>,
}

impl Maps {
    pub(crate) fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            frontends: BTreeMap::new(),
            groups: BTreeMap::new(),
            backends: BTreeMap::new(),
            slots: vec![0; capacity.slots as usize],
            rings: vec![0; capacity.ring_slots as usize],
            filters: std::array::from_fn(|_| vec![0; FILTER_WORDS]),
            node_addresses: BTreeMap::new(),
            epochs: 0,
            rows: [0; 2],
            under_way: UnderWay::default(),
        }
    }

    /// Does the steps, and after each looks at all that a packet could see.
    pub(crate) fn perform_watched(&mut self, ops: &[MapOp]) {
        self.perform_partly(ops, ops.len());
    }

    /// The same, but the agent dies after so many steps.
    pub(crate) fn perform_partly(&mut self, ops: &[MapOp], steps: usize) {
        self.look();
        for (step, op) in ops.iter().take(steps).enumerate() {
            self.perform(op);
            let problem = self.problem();
            assert_eq!(problem, None, "after step {step} of {ops:#?}");
            self.look();
        }
    }

    /// The agent starts anew, which takes longer than any packet.
    pub(crate) fn restart(&mut self) -> Contents {
        self.under_way = UnderWay::default();
        self.contents()
    }

    /// Does the steps.
    pub(crate) fn perform_unwatched(&mut self, ops: &[MapOp]) {
        for op in ops {
            self.perform(op);
        }
    }

    fn perform(&mut self, op: &MapOp) {
        match op {
            MapOp::Backend { id, backend } => {
                assert!((1..self.capacity.backends).contains(id));
                let before = self.backends.insert(*id, *backend).unwrap_or_default();
                if backend.flags & PRESENT != 0 && before.flags & PRESENT == 0 {
                    assert!(
                        backend.generation > before.generation,
                        "{id}: {before:?} {backend:?}"
                    );
                } else {
                    assert_eq!(backend.generation, before.generation);
                }
            }
            MapOp::Slots { first, backends } => {
                self.slots[*first as usize..][..backends.len()].copy_from_slice(backends);
            }
            MapOp::Ring { start, recipe } => {
                let ordinals = recipe.ordinals();
                assert_eq!(start % lb_abi::RING_UNIT, 0);
                self.rings[*start as usize..][..ordinals.len()].copy_from_slice(&ordinals);
            }
            MapOp::Group { id, group } => {
                assert!((1..self.capacity.groups).contains(id));
                self.groups.insert(*id, group.pack());
            }
            MapOp::Filter {
                filter,
                index,
                word,
            } => {
                self.filters[*filter as usize][*index] = *word;
            }
            MapOp::SetFrontend { key, frontend } => {
                if self.frontends.insert(*key, *frontend).is_none() {
                    let rows = self.rows_of(key);
                    *rows += 1;
                    let rows = *rows;
                    assert!(rows <= self.capacity.frontends, "the table is full");
                }
            }
            MapOp::RemoveFrontend { key } => {
                assert!(
                    self.frontends.remove(key).is_some(),
                    "nothing there: {key:?}"
                );
                *self.rows_of(key) -= 1;
            }
            MapOp::NodeAddress {
                address,
                kind: Some(kind),
            } => {
                self.node_addresses.insert(*address, *kind as u32);
            }
            MapOp::NodeAddress {
                address,
                kind: None,
            } => {
                assert!(self.node_addresses.remove(address).is_some());
            }
            MapOp::RaiseEpoch => self.epochs += 1,
            MapOp::Grace => self.under_way = UnderWay::default(),
        }
    }

    fn rows_of(&mut self, key: &FrontendKey) -> &mut u32 {
        &mut self.rows[usize::from(matches!(key, FrontendKey::V6(_)))]
    }

    /// Packets read all that can be read now.
    fn look(&mut self) {
        for (key, frontend) in &self.frontends {
            if frontend.flags & WILDCARD != 0 {
                continue;
            }
            if frontend.flags & TWO_SCOPES != 0 {
                self.under_way.two_scopes.insert(*key);
            }
            let external = self.frontends.get(&with_scope(key, Scope::External));
            let is_asked = external.is_some_and(|external| external.flags & TWO_SCOPES != 0);
            if scope_of(key) == Scope::Internal as u8 && !is_asked {
                continue;
            }
            self.under_way.groups.insert(frontend.group);
            let word = self.groups.get(&frontend.group).copied().unwrap_or(0);
            let list = self.list(word);
            for id in &list {
                let generation = self
                    .backends
                    .get(id)
                    .map_or(0, |backend| backend.generation);
                self.under_way.backends.insert((*id, generation));
            }
            self.under_way.words.insert(word, list);
        }
    }

    fn list(&self, word: u64) -> Vec<u32> {
        let group = Group::unpack(word);
        self.slots[group.first_slot as usize..][..usize::from(group.count)].to_vec()
    }

    /// The first thing that a packet could stumble over.
    fn problem(&self) -> Option<String> {
        for (key, frontend) in &self.frontends {
            // Rows for those inside are looked for by way of the others.
            let is_asked = *key == with_scope(key, Scope::External);
            if is_asked && !self.has_row_bit(key) {
                return Some(format!("{key:?} is not in the filter of rows"));
            }
            if frontend.flags & WILDCARD != 0 {
                let address = address_of(key);
                if !self
                    .frontends
                    .keys()
                    .any(|other| other != key && address_of(other) == address)
                {
                    return Some(format!("{address} has nothing but a wildcard"));
                }
                continue;
            }
            if frontend.flags & TWO_SCOPES != 0 && !self.has_internal(key) {
                return Some(format!("{key:?} has no row for those inside"));
            }
            let word = self.groups.get(&frontend.group).copied().unwrap_or(0);
            if let Some(problem) = self.problem_of_word(word, None) {
                return Some(format!("{key:?}, group {}: {problem}", frontend.group));
            }
            let address = address_of(key);
            if !address.is_unspecified() && !self.has_bit(FILTER_FRONTENDS, address) {
                return Some(format!("{address} is not in the filter of frontends"));
            }
        }
        self.problem_under_way()
    }

    fn has_internal(&self, key: &FrontendKey) -> bool {
        self.frontends
            .contains_key(&with_scope(key, Scope::Internal))
    }

    fn problem_under_way(&self) -> Option<String> {
        for key in &self.under_way.two_scopes {
            if !self.has_internal(key) {
                return Some(format!("{key:?} under way has no row for those inside"));
            }
        }
        for group in &self.under_way.groups {
            let word = self.groups.get(group).copied().unwrap_or(0);
            if let Some(problem) = self.problem_of_word(word, None) {
                return Some(format!("group {group} under way: {problem}"));
            }
        }
        for (word, list) in &self.under_way.words {
            if let Some(problem) = self.problem_of_word(*word, Some(list)) {
                return Some(format!(
                    "word {:?} under way: {problem}",
                    Group::unpack(*word)
                ));
            }
        }
        for (id, generation) in &self.under_way.backends {
            let row = self.backends.get(id).copied().unwrap_or_default();
            if row.flags & PRESENT == 0 || row.generation != *generation {
                return Some(format!("backend {id} under way: {row:?}"));
            }
        }
        None
    }

    fn problem_of_word(&self, word: u64, was: Option<&Vec<u32>>) -> Option<String> {
        let group = Group::unpack(word);
        if group.count == 0 {
            return (word != 0).then(|| "a word without a list".to_owned());
        }
        let list = self.list(word);
        for id in &list {
            let row = self.backends.get(id).copied().unwrap_or_default();
            if *id == 0 || row.flags & PRESENT == 0 {
                return Some(format!("backend {id} is not there"));
            }
            let address = address(row.address);
            let (_, port, protocol) = place_of(&row);
            let is_found = self.has_bit(FILTER_BACKENDS, address)
                && self.is_set(FILTER_BACKENDS, bit_of_place(address, port, protocol));
            if row.flags & LOCAL != 0 && !is_found {
                return Some(format!("{address} is not in the filter of backends"));
            }
        }
        // A list in use is changed in place only where what was in it gives way to others of it.
        if was.is_some_and(|was| !list.iter().all(|id| was.contains(id))) {
            return Some(format!("the list was {was:?} and is {list:?}"));
        }
        let size = RING_SIZES[usize::from(group.ring_class)] as usize;
        // Without a ring, for which there may be no room, programs choose at random.
        let ring = &self.rings[group.ring_start as usize..][..size];
        ring.iter()
            .any(|ordinal| usize::from(*ordinal) >= list.len())
            .then(|| "an ordinal beyond the list".to_owned())
    }

    pub(crate) fn has_bit(&self, filter: u32, address: IpAddr) -> bool {
        self.is_set(filter, bit_of(address))
    }

    pub(crate) fn has_row_bit(&self, key: &FrontendKey) -> bool {
        self.is_set(FILTER_ROWS, bit_of_row(key))
    }

    fn is_set(&self, filter: u32, bit: usize) -> bool {
        self.filters[filter as usize][bit / 64] >> (bit % 64) & 1 == 1
    }

    /// Bits of a filter that are set.
    pub(crate) fn bits(&self, filter: u32) -> BTreeSet<usize> {
        let words = self.filters[filter as usize].iter().enumerate();
        words
            .flat_map(|(index, word)| {
                let bits = (0..64).filter(move |bit| word >> bit & 1 == 1);
                bits.map(move |bit| index * 64 + bit)
            })
            .collect()
    }

    /// What a new agent reads.
    pub(crate) fn contents(&self) -> Contents {
        let groups: BTreeMap<u32, Group> = self
            .groups
            .iter()
            .filter(|(_, word)| **word != 0)
            .map(|(id, word)| (*id, Group::unpack(*word)))
            .collect();
        let mut contents = Contents {
            frontends: self.frontends.clone(),
            backends: self.backends.clone(),
            filters: self.filters.clone(),
            node_addresses: self.node_addresses.clone(),
            ..Contents::default()
        };
        for group in groups.values() {
            let list = self.list(group.pack());
            contents.slots.insert(group.first_slot, list);
            let size = RING_SIZES[usize::from(group.ring_class)] as usize;
            if size > 0 {
                let ring = self.rings[group.ring_start as usize..][..size].to_vec();
                contents.rings.insert(group.ring_start, ring);
            }
        }
        contents.groups = groups;
        contents
    }

    /// The rows, each with what it leads to.
    pub(crate) fn resolved(&self) -> BTreeMap<FrontendKey, Row> {
        let resolve = |frontend: &Frontend| {
            let word = self.groups.get(&frontend.group).copied().unwrap_or(0);
            let group = Group::unpack(word);
            let size = RING_SIZES[usize::from(group.ring_class)] as usize;
            Row {
                flags: frontend.flags,
                backends: self
                    .list(word)
                    .iter()
                    .map(|id| place_of(&self.backends[id]))
                    .collect(),
                ring: self.rings[group.ring_start as usize..][..size].to_vec(),
            }
        };
        self.frontends
            .iter()
            .map(|(key, frontend)| (*key, resolve(frontend)))
            .collect()
    }

    /// Flags of the backends that are there.
    pub(crate) fn present(&self) -> BTreeMap<(IpAddr, u16, u8), u8> {
        let present = self
            .backends
            .values()
            .filter(|row| row.flags & PRESENT != 0);
        present.map(|row| (place_of(row), row.flags)).collect()
    }
}

pub(crate) fn bit_of(address: IpAddr) -> usize {
    bit_of_place(address, 0, 0)
}

/// The bit of a row, whatever its scope.
pub(crate) fn bit_of_row(key: &FrontendKey) -> usize {
    let (port, protocol) = match key {
        FrontendKey::V4(key) => (key.port, key.protocol),
        FrontendKey::V6(key) => (key.port, key.protocol),
    };
    bit_of_place(address_of(key), u16::from_be_bytes(port), protocol)
}

pub(crate) fn bit_of_place(address: IpAddr, port: u16, protocol: u8) -> usize {
    let words = |octets: &[u8]| -> Vec<u32> {
        let word = |octets: &[u8]| u32::from_ne_bytes(octets.try_into().expect("four bytes"));
        octets.chunks(4).map(word).collect()
    };
    let words = match address {
        IpAddr::V4(address) => words(&address.octets()),
        IpAddr::V6(address) => words(&address.octets()),
    };
    let port = u16::from_ne_bytes(port.to_be_bytes());
    AddressHash::of(&words).row_bit(port, protocol) as usize
}

fn place_of(row: &Backend) -> (IpAddr, u16, u8) {
    (
        address(row.address),
        u16::from_be_bytes(row.port),
        row.protocol,
    )
}

pub(crate) fn address(octets: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
}

pub(crate) fn address_of(key: &FrontendKey) -> IpAddr {
    match key {
        FrontendKey::V4(key) => IpAddr::V4(Ipv4Addr::from(key.address)),
        FrontendKey::V6(key) => IpAddr::V6(Ipv6Addr::from(key.address)),
    }
}

fn scope_of(key: &FrontendKey) -> u8 {
    match key {
        FrontendKey::V4(key) => key.scope,
        FrontendKey::V6(key) => key.scope,
    }
}

pub(crate) fn with_scope(key: &FrontendKey, scope: Scope) -> FrontendKey {
    let mut key = *key;
    match &mut key {
        FrontendKey::V4(key) => key.scope = scope as u8,
        FrontendKey::V6(key) => key.scope = scope as u8,
    }
    key
}
