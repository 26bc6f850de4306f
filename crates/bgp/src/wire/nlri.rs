//! Prefixes as UPDATE carries them: a length in bits and as many octets as that needs (RFC 4271 section 4.3).

use std::marker::PhantomData;
use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, BytesMut};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::family::Family;

mod sealed {
    pub trait Sealed {}
    impl Sealed for ipnet::Ipv4Net {}
    impl Sealed for ipnet::Ipv6Net {}
}

/// A prefix of one address family.
pub trait Prefix: Copy + Eq + Into<IpNet> + sealed::Sealed {
    /// Its family.
    const FAMILY: Family;
    /// Most bits it can have.
    const MAXIMUM_BITS: u8;

    /// The prefix of `bits` bits at the start of `octets`; bits beyond are ignored. `None` where such a prefix means
    /// nothing as a unicast route (RFC 4271 section 6.3: it is ignored): multicast, and link-local IPv6.
    /// `bits` is at most [`Prefix::MAXIMUM_BITS`], and the octets it needs are there.
    fn read(bits: u8, octets: &[u8]) -> Option<Self>;

    /// Octets it takes on the wire, its length included.
    fn encoded_length(self) -> usize;

    /// Appends length and octets.
    fn write(self, out: &mut BytesMut);
}

fn octets_of(bits: u8) -> usize {
    usize::from(bits).div_ceil(8)
}

impl Prefix for Ipv4Net {
    const FAMILY: Family = Family::IPV4_UNICAST;
    const MAXIMUM_BITS: u8 = 32;

    #[inline]
    fn read(bits: u8, octets: &[u8]) -> Option<Self> {
        let raw = match octets.first_chunk::<4>() {
            Some(address) => u32::from_be_bytes(*address),
            None => u32::from_be_bytes(padded(octets)),
        };
        let address = raw & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
        if bits >= 4 && address >> 28 == 0xE {
            return None;
        }
        Self::new(Ipv4Addr::from_bits(address), bits).ok()
    }

    #[inline]
    fn encoded_length(self) -> usize {
        1 + octets_of(self.prefix_len())
    }

    #[inline]
    fn write(self, out: &mut BytesMut) {
        let bits = self.prefix_len();
        out.put_u8(bits);
        out.put_slice(&self.network().octets()[..octets_of(bits)]);
    }
}

impl Prefix for Ipv6Net {
    const FAMILY: Family = Family::IPV6_UNICAST;
    const MAXIMUM_BITS: u8 = 128;

    #[inline]
    fn read(bits: u8, octets: &[u8]) -> Option<Self> {
        let raw = match octets.first_chunk::<16>() {
            Some(address) => u128::from_be_bytes(*address),
            None => u128::from_be_bytes(padded(octets)),
        };
        let address = raw & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
        let multicast = bits >= 8 && address >> 120 == 0xFF;
        let link_local = bits >= 10 && address >> 118 == 0xFE80 >> 6;
        if multicast || link_local {
            return None;
        }
        Self::new(Ipv6Addr::from_bits(address), bits).ok()
    }

    #[inline]
    fn encoded_length(self) -> usize {
        1 + octets_of(self.prefix_len())
    }

    #[inline]
    fn write(self, out: &mut BytesMut) {
        let bits = self.prefix_len();
        out.put_u8(bits);
        out.put_slice(&self.network().octets()[..octets_of(bits)]);
    }
}

fn padded<const N: usize>(octets: &[u8]) -> [u8; N] {
    let mut address = [0; N];
    for (to, from) in address.iter_mut().zip(octets) {
        *to = *from;
    }
    address
}

/// Prefixes of one family in a message, checked to be parseable: iterating cannot fail and does not allocate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefixes<'a, P> {
    bytes: &'a [u8],
    family: PhantomData<P>,
}

/// IPv4 prefixes.
pub type Ipv4Prefixes<'a> = Prefixes<'a, Ipv4Net>;
/// IPv6 prefixes.
pub type Ipv6Prefixes<'a> = Prefixes<'a, Ipv6Net>;

impl<'a, P: Prefix> Prefixes<'a, P> {
    /// No prefixes.
    pub const EMPTY: Self = Self {
        bytes: &[],
        family: PhantomData,
    };

    /// The prefixes of a field; `None` when one is longer than its family allows or the last one is cut (RFC 7606
    /// section 5.3).
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        while let Some((&bits, after)) = rest.split_first() {
            if bits > P::MAXIMUM_BITS {
                return None;
            }
            rest = after.get(octets_of(bits)..)?;
        }
        Some(Self {
            bytes,
            family: PhantomData,
        })
    }

    /// Whether the field is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The field as received.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<P: Prefix> Iterator for Prefixes<'_, P> {
    type Item = P;

    #[inline]
    fn next(&mut self) -> Option<P> {
        loop {
            let (&bits, octets) = self.bytes.split_first()?;
            self.bytes = octets.get(octets_of(bits)..)?;
            if let Some(prefix) = P::read(bits, octets) {
                return Some(prefix);
            }
        }
    }
}

/// Prefixes of an MP attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nlri<'a> {
    /// Of IPv4 unicast.
    Ipv4(Ipv4Prefixes<'a>),
    /// Of IPv6 unicast.
    Ipv6(Ipv6Prefixes<'a>),
}

impl<'a> Nlri<'a> {
    /// The prefixes of a field of `family`; `None` when they cannot be parsed, or the family is not ours.
    #[must_use]
    pub fn parse(family: Family, bytes: &'a [u8]) -> Option<Self> {
        match family {
            Family::IPV4_UNICAST => Prefixes::parse(bytes).map(Self::Ipv4),
            Family::IPV6_UNICAST => Prefixes::parse(bytes).map(Self::Ipv6),
            _ => None,
        }
    }

    /// Their family.
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Self::Ipv4(_) => Family::IPV4_UNICAST,
            Self::Ipv6(_) => Family::IPV6_UNICAST,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Ipv4(prefixes) => prefixes.is_empty(),
            Self::Ipv6(prefixes) => prefixes.is_empty(),
        }
    }
}

/// Of either family; where speed matters, match and iterate the family's own type.
impl Iterator for Nlri<'_> {
    type Item = IpNet;

    fn next(&mut self) -> Option<IpNet> {
        match self {
            Self::Ipv4(prefixes) => prefixes.next().map(IpNet::V4),
            Self::Ipv6(prefixes) => prefixes.next().map(IpNet::V6),
        }
    }
}

#[cfg(test)]
mod tests;
