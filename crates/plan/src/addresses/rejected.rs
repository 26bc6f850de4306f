//! What of a pool is not carried out, and why. The rest of the pool is.

use std::net::IpAddr;

use api::InvalidSelector;

pub use crate::rejected::CONDITION;

/// Something a pool asks for in vain. Ordered: what concerns more first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Rejected {
    /// The service selector is admitted by the schema and means nothing. Services keep the addresses they have.
    #[error(
        "spec.serviceSelector is invalid ({0}); no Service is given an address, those that have one keep it"
    )]
    ServiceSelector(InvalidSelector),
    /// A block is no range of addresses. The others are used.
    #[error("spec.blocks[{index}]: {fault}")]
    Block {
        /// Its place in the list, from 0.
        index: usize,
        /// What is wrong with it.
        fault: BlockFault,
    },
}

/// Why a block is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum BlockFault {
    /// Neither `cidr` nor `start`.
    #[error("neither cidr nor start is there")]
    Empty,
    /// `stop` without `start`.
    #[error("stop is there without start")]
    StartMissing,
    /// `cidr` is none.
    #[error("cidr {0:?} is not a prefix")]
    Cidr(String),
    /// `start` is no address.
    #[error("start {0:?} is not an IP address")]
    Start(String),
    /// `stop` is no address.
    #[error("stop {0:?} is not an IP address")]
    Stop(String),
    /// One end is IPv4, the other IPv6.
    #[error("start {start} and stop {stop} are of different families")]
    Families {
        /// First address.
        start: IpAddr,
        /// Last address.
        stop: IpAddr,
    },
    /// The last address is before the first.
    #[error("start {start} is after stop {stop}")]
    Reversed {
        /// First address.
        start: IpAddr,
        /// Last address.
        stop: IpAddr,
    },
    /// Nothing but IPv4-mapped IPv6 addresses, which the API server refuses in the status of a Service.
    #[error("its addresses are IPv4-mapped IPv6 addresses, write them as IPv4")]
    Ipv4Mapped,
}

impl Rejected {
    /// The condition's reason, for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ServiceSelector(_) => "InvalidServiceSelector",
            Self::Block { fault, .. } => match fault {
                BlockFault::Empty => "EmptyBlock",
                BlockFault::Cidr(_) => "InvalidCIDR",
                BlockFault::StartMissing
                | BlockFault::Start(_)
                | BlockFault::Stop(_)
                | BlockFault::Families { .. }
                | BlockFault::Reversed { .. } => "InvalidRange",
                BlockFault::Ipv4Mapped => "IPv4MappedRange",
            },
        }
    }
}
