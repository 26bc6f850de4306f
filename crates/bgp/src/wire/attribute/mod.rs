//! Path attributes: bytes in canonical form, and typed views of them.
//!
//! The canonical form of a route's attributes is their wire encoding as a four-octet speaker would send it, less what
//! says where a route goes and not what it is: MP_REACH_NLRI, MP_UNREACH_NLRI, NEXT_HOP where no prefix uses it, and
//! everything RFC 7606 discards. Equal bytes mean equal attributes, so they are interned, compared and hashed as such.

mod as_path;
mod block;
mod builder;
mod export;
mod fault;

use std::net::Ipv4Addr;

pub use as_path::{AsPath, Asns, Segment};
pub use block::{AttributeBlock, Summary, WellKnownCommunities, hash};
pub use builder::AttributesBuilder;
pub use export::{ExportTransform, export};
pub use fault::{AttributeFault, FaultReason};

pub(super) use as_path::{PathFacts, PathFault, merge_as4_path, widen};
pub(super) use builder::put_attribute;

use super::iana::{AttributeCode, flag};
use crate::policy::LargeCommunity;

/// ORIGIN; lower is preferred (RFC 4271 section 9.1.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Origin {
    /// 0.
    Igp,
    /// 1.
    Egp,
    /// 2.
    #[default]
    Incomplete,
}

impl Origin {
    /// The origin a number stands for.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Igp),
            1 => Some(Self::Egp),
            2 => Some(Self::Incomplete),
            _ => None,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Igp => 0,
            Self::Egp => 1,
            Self::Incomplete => 2,
        }
    }
}

/// AGGREGATOR (RFC 4271 section 5.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Aggregator {
    /// AS that aggregated.
    pub asn: u32,
    /// Speaker that aggregated.
    pub address: Ipv4Addr,
}

/// One attribute of a canonical block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute<'a> {
    /// ORIGIN.
    Origin(Origin),
    /// AS_PATH, four-octet.
    AsPath(AsPath<'a>),
    /// NEXT_HOP.
    NextHop(Ipv4Addr),
    /// MULTI_EXIT_DISC.
    MultiExitDisc(u32),
    /// LOCAL_PREF.
    LocalPref(u32),
    /// ATOMIC_AGGREGATE.
    AtomicAggregate,
    /// AGGREGATOR, four-octet.
    Aggregator(Aggregator),
    /// COMMUNITIES.
    Communities(Records<'a, 4>),
    /// ORIGINATOR_ID.
    OriginatorId(Ipv4Addr),
    /// CLUSTER_LIST.
    ClusterList(Records<'a, 4>),
    /// EXTENDED_COMMUNITIES.
    ExtendedCommunities(Records<'a, 8>),
    /// IPV6_EXTENDED_COMMUNITIES.
    Ipv6ExtendedCommunities(Records<'a, 20>),
    /// LARGE_COMMUNITIES.
    LargeCommunities(Records<'a, 12>),
    /// ONLY_TO_CUSTOMER.
    OnlyToCustomer(u32),
    /// Anything else, kept for others.
    Other(RawAttribute<'a>),
}

/// A list of values of `N` octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Records<'a, const N: usize>(&'a [[u8; N]]);

impl<'a, const N: usize> Records<'a, N> {
    /// The values as on the wire.
    #[must_use]
    pub fn octets(self) -> &'a [[u8; N]] {
        self.0
    }

    pub(in crate::wire) fn parse(value: &'a [u8]) -> Option<Self> {
        match value.as_chunks::<N>() {
            (records, []) => Some(Self(records)),
            _ => None,
        }
    }
}

impl<'a> Records<'a, 4> {
    /// The values as numbers: communities, cluster IDs.
    pub fn numbers(self) -> impl ExactSizeIterator<Item = u32> + Clone + use<'a> {
        self.0.iter().map(|octets| u32::from_be_bytes(*octets))
    }
}

impl<'a> Records<'a, 12> {
    /// The values as large communities.
    pub fn large_communities(
        self,
    ) -> impl ExactSizeIterator<Item = LargeCommunity> + Clone + use<'a> {
        self.0.iter().map(|octets| {
            let part = |at: usize| {
                u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
            };
            LargeCommunity {
                global: part(0),
                local1: part(4),
                local2: part(8),
            }
        })
    }
}

/// One attribute, undigested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawAttribute<'a> {
    /// Flags octet.
    pub flags: u8,
    /// Code.
    pub code: u8,
    /// Value.
    pub value: &'a [u8],
    /// All of it, as on the wire.
    pub whole: &'a [u8],
}

impl<'a> RawAttribute<'a> {
    /// Takes the first attribute off `bytes`; `None`, and `bytes` untouched, when what is there is cut.
    #[inline]
    pub(in crate::wire) fn take(bytes: &mut &'a [u8]) -> Option<Self> {
        let (&[flags, code], _) = bytes.split_first_chunk::<2>()?;
        let (header, length) = if flags & flag::EXTENDED_LENGTH == 0 {
            (3, usize::from(*bytes.get(2)?))
        } else {
            (
                4,
                usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])),
            )
        };
        let (whole, rest) = bytes.split_at_checked(header + length)?;
        *bytes = rest;
        Some(Self {
            flags,
            code,
            value: &whole[header..],
            whole,
        })
    }

    /// The typed view, as far as the value has the right shape; else [`Attribute::Other`].
    #[must_use]
    pub fn typed(self) -> Attribute<'a> {
        self.known().unwrap_or(Attribute::Other(self))
    }

    fn known(self) -> Option<Attribute<'a>> {
        let value = self.value;
        let number = || value.try_into().ok().map(u32::from_be_bytes);
        let address = || number().map(Ipv4Addr::from_bits);
        match AttributeCode::from_number(self.code)? {
            AttributeCode::Origin => match *value {
                [origin] => Origin::from_number(origin).map(Attribute::Origin),
                _ => None,
            },
            AttributeCode::AsPath => AsPath::parse(value).map(Attribute::AsPath),
            AttributeCode::NextHop => address().map(Attribute::NextHop),
            AttributeCode::MultiExitDisc => number().map(Attribute::MultiExitDisc),
            AttributeCode::LocalPref => number().map(Attribute::LocalPref),
            AttributeCode::AtomicAggregate => {
                value.is_empty().then_some(Attribute::AtomicAggregate)
            }
            AttributeCode::Aggregator => match *value {
                [a, b, c, d, e, f, g, h] => Some(Attribute::Aggregator(Aggregator {
                    asn: u32::from_be_bytes([a, b, c, d]),
                    address: Ipv4Addr::new(e, f, g, h),
                })),
                _ => None,
            },
            AttributeCode::Communities => Records::parse(value).map(Attribute::Communities),
            AttributeCode::OriginatorId => address().map(Attribute::OriginatorId),
            AttributeCode::ClusterList => Records::parse(value).map(Attribute::ClusterList),
            AttributeCode::ExtendedCommunities => {
                Records::parse(value).map(Attribute::ExtendedCommunities)
            }
            AttributeCode::Ipv6ExtendedCommunities => {
                Records::parse(value).map(Attribute::Ipv6ExtendedCommunities)
            }
            AttributeCode::LargeCommunities => {
                Records::parse(value).map(Attribute::LargeCommunities)
            }
            AttributeCode::OnlyToCustomer => number().map(Attribute::OnlyToCustomer),
            AttributeCode::MpReachNlri
            | AttributeCode::MpUnreachNlri
            | AttributeCode::As4Path
            | AttributeCode::As4Aggregator
            | AttributeCode::Aigp
            | AttributeCode::PrefixSid
            | AttributeCode::AttrSet => None,
        }
    }
}

/// The attributes of a canonical block, in its order. Ends early on bytes that are none.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Over canonical bytes.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The same, undigested.
    #[must_use]
    pub fn raw(self) -> RawAttributes<'a> {
        RawAttributes(self.0)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        RawAttribute::take(&mut self.0).map(RawAttribute::typed)
    }
}

/// Undigested attributes of a canonical block.
#[derive(Debug, Clone, Copy)]
pub struct RawAttributes<'a>(&'a [u8]);

impl<'a> Iterator for RawAttributes<'a> {
    type Item = RawAttribute<'a>;

    fn next(&mut self) -> Option<RawAttribute<'a>> {
        RawAttribute::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests;
