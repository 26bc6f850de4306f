//! Memory layout shared by the load balancer's programs in the kernel and their control in user space.
//!
//! Addresses and ports are bytes in network order; all other numbers are in the host's order. No struct has implicit padding.
//! Whoever changes a layout raises [`SCHEMA`]: maps of another schema are never re-used.
#![no_std]

mod backend;
mod config;
mod flow;
mod frontend;
mod group;
mod hash;
mod reason;
mod socket;

pub use backend::{Backend, backend_flags};
pub use config::{Config, config_flags};
pub use flow::{FlowKey4, FlowKey6, FlowKind, FlowValue4, FlowValue6, flow_flags};
pub use frontend::{Frontend, FrontendKey4, FrontendKey6, Scope, frontend_flags};
pub use group::Group;
pub use hash::{AddressHash, flow_hash};
pub use reason::Reason;
pub use socket::{NodeAddressKind, SocketKey, SocketValue};

/// Version of every layout here; part of the pin path.
pub const SCHEMA: u32 = 3;

/// Names of the maps, as the object and the pin folder have them.
pub mod map {
    /// `FrontendKey4` → `Frontend`: hash.
    pub const FRONTENDS4: &str = "FRONTENDS4";
    /// `FrontendKey6` → `Frontend`: hash.
    pub const FRONTENDS6: &str = "FRONTENDS6";
    /// Group id → `Group` (`u64`): array, mmapable.
    pub const GROUPS: &str = "GROUPS";
    /// Chunks of [`super::SLOTS_PER_CHUNK`] backend ids (`u32`): array, mmapable.
    pub const SLOTS: &str = "SLOTS";
    /// Chunks of [`super::RING_SLOTS_PER_CHUNK`] ordinals (`u16`): array, mmapable.
    pub const RINGS: &str = "RINGS";
    /// Backend id → `Backend`: array, mmapable.
    pub const BACKENDS: &str = "BACKENDS";
    /// `FlowKey4` → `FlowValue4`: LRU hash.
    pub const FLOWS4: &str = "FLOWS4";
    /// `FlowKey6` → `FlowValue6`: LRU hash.
    pub const FLOWS6: &str = "FLOWS6";
    /// `SocketKey` → `SocketValue`: LRU hash.
    pub const SOCKETS: &str = "SOCKETS";
    /// Address (16 bytes) → `NodeAddressKind` (`u32`): hash.
    pub const NODE_ADDRESSES: &str = "NODE_ADDRESSES";
    /// Bitmaps of [`super::FILTER_WORDS`] `u64` ([`super::FILTER_FRONTENDS`] and so on): array, mmapable.
    pub const FILTERS: &str = "FILTERS";
    /// One `Config`: array, mmapable.
    pub const CONFIG: &str = "CONFIG";
    /// `Reason` → `u64` packets: per-CPU array.
    pub const COUNTERS: &str = "COUNTERS";
}

/// Names of the programs in the object.
pub mod program {
    /// Traffic-control ingress of uplinks.
    pub const UPLINK_IN: &str = "lb_uplink_in";
    /// Traffic-control egress of uplinks.
    pub const UPLINK_OUT: &str = "lb_uplink_out";
    /// Traffic-control ingress of the host's end of a pod interface: what a pod sends.
    pub const POD_IN: &str = "lb_pod_in";
    /// Traffic-control egress of the host's end of a pod interface: what a pod receives.
    pub const POD_OUT: &str = "lb_pod_out";
    /// The cgroup programs, each with the attach type its name says.
    pub const SOCKET: [&str; 8] = [
        "sk_connect4",
        "sk_connect6",
        "sk_sendmsg4",
        "sk_sendmsg6",
        "sk_recvmsg4",
        "sk_recvmsg6",
        "sk_getpeername4",
        "sk_getpeername6",
    ];
}

/// Backend ids in one value of `SLOTS` (4 kB).
pub const SLOTS_PER_CHUNK: u32 = 1024;
/// Ordinals in one value of `RINGS` (4 kB).
pub const RING_SLOTS_PER_CHUNK: u32 = 2048;
/// Rings begin at multiples of this many ordinals.
pub const RING_UNIT: u32 = 64;
/// Sizes of a ring, by class; class 0 is no ring.
pub const RING_SIZES: [u32; 11] = [
    0, 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131_071,
];
/// Words of one filter: 65,536 bits.
pub const FILTER_WORDS: usize = 1024;
/// Filter of addresses a client may address: frontends and this node's addresses that answer for NodePorts or SNAT.
pub const FILTER_FRONTENDS: u32 = 0;
/// Filter of the backends on this node, by address, and by address, port and protocol.
pub const FILTER_BACKENDS: u32 = 1;
/// Filter of the rows of frontends, by address, port and protocol.
pub const FILTER_ROWS: u32 = 2;
/// How many filters there are.
pub const FILTER_COUNT: usize = 3;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
