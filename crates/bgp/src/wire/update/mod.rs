//! UPDATE: routes that came and went (RFC 4271 section 4.3, RFC 4760, RFC 7606).

mod as4;
mod canonical;
mod decode;
mod encode;
mod multiprotocol;
mod scan;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use decode::decode;
pub use encode::{announce, announce_ipv4, end_of_rib, withdraw, withdraw_ipv4};

use super::attribute::{AttributeBlock, AttributeFault};
use super::nlri::{Ipv4Prefixes, Nlri};
use crate::family::Family;

/// Whether a peer is in our AS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerKind {
    /// In another AS: eBGP.
    External,
    /// In ours: iBGP.
    Internal,
}

/// What the session knows that decoding needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeContext {
    /// Whether AS numbers take four octets: both sides offered it (RFC 6793).
    pub four_octet: bool,
    /// Where the peer is.
    pub peer_kind: PeerKind,
    /// Families both sides offered. Prefixes of others are ignored (RFC 4760 section 7).
    pub families: Vec<Family>,
    /// Our AS: what [`super::Summary::own_as_count`] counts.
    pub local_asn: u32,
    /// The AS a path must begin with (RFC 4271 section 6.3); `None` does not ask.
    pub first_asn: Option<u32>,
    /// Whether a path with an AS_SET is withdrawn (RFC 9774).
    pub reject_as_sets: bool,
}

/// One UPDATE, checked; borrows from the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update<'a> {
    /// IPv4 prefixes withdrawn outside MP_UNREACH_NLRI; empty when IPv4 unicast is not negotiated.
    pub withdrawn: Ipv4Prefixes<'a>,
    /// IPv4 prefixes announced outside MP_REACH_NLRI; empty when IPv4 unicast is not negotiated. Their next hop is
    /// [`super::Summary::next_hop`].
    pub announced: Ipv4Prefixes<'a>,
    /// MP_REACH_NLRI of a negotiated family.
    pub mp_reach: Option<MpReach<'a>>,
    /// MP_UNREACH_NLRI of a negotiated family.
    pub mp_unreach: Option<Nlri<'a>>,
    /// The negotiated family whose End-of-RIB this is (RFC 4724 section 2). Nothing else is in such a message.
    pub end_of_rib: Option<Family>,
    /// Attributes of the announced prefixes; meaningless under [`Treatment::Withdraw`] and without any.
    pub attributes: AttributeBlock<'a>,
    /// What RFC 7606 makes of it.
    pub treatment: Treatment,
}

/// Prefixes reachable by way of MP_REACH_NLRI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MpReach<'a> {
    /// Where they are reached.
    pub next_hop: NextHop,
    /// The prefixes, which know their family.
    pub nlri: Nlri<'a>,
}

/// A next hop of MP_REACH_NLRI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHop {
    /// Four octets.
    Ipv4(Ipv4Addr),
    /// 16 or 32 octets (RFC 2545 section 3, RFC 8950 section 3). For IPv6 prefixes over an IPv4 session the address
    /// may be IPv4-mapped.
    Ipv6 {
        /// The first address: global, or the only one.
        global: Ipv6Addr,
        /// The second address: link-local, for a peer on the same link.
        link_local: Option<Ipv6Addr>,
    },
}

impl NextHop {
    /// The first address, an IPv4-mapped one as IPv4.
    #[must_use]
    pub fn address(self) -> IpAddr {
        match self {
            Self::Ipv4(address) => IpAddr::V4(address),
            Self::Ipv6 { global, .. } => IpAddr::V6(global).to_canonical(),
        }
    }
}

impl From<IpAddr> for NextHop {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Ipv4(address),
            IpAddr::V6(global) => Self::Ipv6 {
                global,
                link_local: None,
            },
        }
    }
}

/// What becomes of an UPDATE's announcements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Treatment {
    /// They are routes.
    Accept,
    /// They are routes, without these attributes (RFC 7606 section 2, attribute discard).
    Discard(Vec<AttributeFault>),
    /// They are withdrawn (RFC 7606 section 2, treat-as-withdraw), because of this.
    Withdraw(AttributeFault),
}

#[cfg(test)]
mod tests;
