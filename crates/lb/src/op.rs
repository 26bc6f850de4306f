//! Steps of a difference, and what the maps hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use lb_abi::{
    Backend, Config, FILTER_COUNT, Frontend, FrontendKey4, FrontendKey6, Group, NodeAddressKind,
};

use crate::ring::RingRecipe;

/// Key of a frontend of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrontendKey {
    /// IPv4.
    V4(FrontendKey4),
    /// IPv6.
    V6(FrontendKey6),
}

/// One write. Steps come in the order in which no packet can see a reference to something that is not there: filters, backends, lists
/// and rings, groups, frontends; the other way round for what goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapOp {
    /// Writes a backend. One without flags frees its row, which keeps the generation.
    Backend {
        /// Row.
        id: u32,
        /// Content.
        backend: Backend,
    },
    /// Writes a list of backend ids.
    Slots {
        /// First slot.
        first: u32,
        /// Ids.
        backends: Vec<u32>,
    },
    /// Writes a ring, whose places are computed while it is written: 10,000 that wait would take 20 MB.
    Ring {
        /// First ordinal.
        start: u32,
        /// What it is made of.
        recipe: Arc<RingRecipe>,
    },
    /// Publishes a group.
    Group {
        /// Row.
        id: u32,
        /// Content.
        group: Group,
    },
    /// Writes a word of a filter.
    Filter {
        /// `lb_abi::FILTER_FRONTENDS`, `lb_abi::FILTER_BACKENDS` or `lb_abi::FILTER_ROWS`.
        filter: u32,
        /// Which word.
        index: usize,
        /// Content.
        word: u64,
    },
    /// Writes a frontend.
    SetFrontend {
        /// Row.
        key: FrontendKey,
        /// Content.
        frontend: Frontend,
    },
    /// Removes a frontend.
    RemoveFrontend {
        /// Row.
        key: FrontendKey,
    },
    /// Writes or removes a node's address.
    NodeAddress {
        /// The address, an IPv4 address in its IPv6-mapped form.
        address: [u8; 16],
        /// Whose it is; `None` removes it.
        kind: Option<NodeAddressKind>,
    },
    /// Makes all flows check their backend and next hop again.
    RaiseEpoch,
    /// Waits until no packet that is under way can still see what was just unpublished (an RCU grace period).
    Grace,
}

/// What the maps hold, read back at a start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contents {
    /// Frontends.
    pub frontends: BTreeMap<FrontendKey, Frontend>,
    /// Groups in use.
    pub groups: BTreeMap<u32, Group>,
    /// Backends in use, and free rows that have a generation: the next backend there gets a greater one.
    pub backends: BTreeMap<u32, Backend>,
    /// Backend ids of the lists that groups name, by first slot.
    pub slots: BTreeMap<u32, Vec<u32>>,
    /// Ordinals of the rings that groups name, by first ordinal.
    pub rings: BTreeMap<u32, Vec<u16>>,
    /// Filters.
    pub filters: [Vec<u64>; FILTER_COUNT],
    /// Addresses of nodes, with the number of their [`NodeAddressKind`].
    pub node_addresses: BTreeMap<[u8; 16], u32>,
    /// The configuration; `None` where the maps are new.
    pub config: Option<Config>,
}

/// Entries each map can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Frontends of each family.
    pub frontends: u32,
    /// Groups.
    pub groups: u32,
    /// Backends.
    pub backends: u32,
    /// Slots, a multiple of `lb_abi::SLOTS_PER_CHUNK`.
    pub slots: u32,
    /// Ordinals of rings, a multiple of `lb_abi::RING_SLOTS_PER_CHUNK`.
    pub ring_slots: u32,
    /// Entries of IPv4 flows; a flow has two.
    pub flows4: u32,
    /// Entries of IPv6 flows; a flow has two.
    pub flows6: u32,
    /// Sockets that were given a backend.
    pub sockets: u32,
}
