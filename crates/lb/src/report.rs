//! What the load balancer says is true.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::wish::Family;

/// What is true now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Whether a first wish is in the maps, and the programs are attached at every interface that was there.
    pub ready: bool,
    /// Number of the wish that was carried out last; 0 before the first.
    pub wish: u64,
    /// Addresses with at least one frontend of which all that are wished are in the maps, NodePorts aside.
    pub programmed: Arc<BTreeSet<IpAddr>>,
    /// Frontends in the maps, a NodePort counted once.
    pub frontends: usize,
    /// Backends in the maps.
    pub backends: usize,
    /// What is wished and not there, with the reason; at most some examples of each reason.
    pub withheld: Vec<Withheld>,
    /// Interfaces by name, with what is attached there.
    pub interfaces: BTreeMap<String, Attachment>,
    /// Whether processes on this node reach frontends by their sockets.
    pub sockets: Sockets,
    /// Bytes of kernel memory that the maps hold.
    pub memory: u64,
    /// Packets by reason, as the maps count them (`lb_abi::Reason` names), read at most every ten seconds.
    pub counters: Vec<(&'static str, u64)>,
}

/// Something that is wished and not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    /// Why.
    pub reason: WithheldReason,
    /// How many.
    pub count: usize,
    /// Names of services, three at most.
    pub examples: Vec<Arc<str>>,
}

/// Why a service is not, or not wholly, in the maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum WithheldReason {
    /// Another service has the frontend.
    #[error("another service has the address, port and protocol")]
    FrontendTaken,
    /// A table is full. Where it is [`Table::Rings`], the frontends are there all the same, with smaller rings or a backend chosen at
    /// random.
    #[error("the table of {0} is full")]
    Full(Table),
}

/// A table with a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Frontends of a family.
    Frontends(Family),
    /// Groups.
    Groups,
    /// Slots of backend lists.
    Slots,
    /// Ring memory.
    Rings,
    /// Backends.
    Backends,
}

/// What is attached at an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attachment {
    /// Programs of an uplink.
    Uplink,
    /// Programs of a pod's interface.
    Pod,
    /// No link, because the kernel refused; its error number's name. Filters that stood in for links stay.
    Refused(String),
}

/// Whether sockets of processes on this node are translated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Sockets {
    /// They are not to be, or not yet.
    #[default]
    Off,
    /// They are.
    Translated,
    /// They are not, because the control group cannot be found or the kernel refused; what it said.
    Refused(String),
}

impl std::fmt::Display for Table {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Frontends(Family::Ipv4) => "IPv4 frontends",
            Self::Frontends(Family::Ipv6) => "IPv6 frontends",
            Self::Groups => "backend groups",
            Self::Slots => "backend lists",
            Self::Rings => "Maglev rings",
            Self::Backends => "backends",
        })
    }
}
