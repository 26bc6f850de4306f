//! MP_REACH_NLRI and MP_UNREACH_NLRI (RFC 4760, RFC 2545, RFC 8950).

use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::Bytes;

use super::{MpReach, NextHop};
use crate::family::{Afi, Family};
use crate::wire::attribute::RawAttribute;
use crate::wire::error::{DecodeError, NetworkField};
use crate::wire::iana::AttributeCode;
use crate::wire::nlri::Nlri;

/// Reads MP_REACH_NLRI, with whether its next hop is a host's; `None` when its family was not negotiated (RFC 4760
/// section 7 lets us ignore it).
pub(super) fn read_reach<'a>(
    attribute: &RawAttribute<'a>,
    families: &[Family],
) -> Result<Option<(MpReach<'a>, bool)>, DecodeError> {
    let malformed = || malformed(AttributeCode::MpReachNlri, attribute);
    let (family, rest) = read_family(attribute.value).ok_or_else(malformed)?;
    let (&next_hop_length, rest) = rest.split_first().ok_or_else(malformed)?;
    let (next_hop, rest) = rest
        .split_at_checked(usize::from(next_hop_length))
        .ok_or_else(malformed)?;
    let (_reserved, nlri) = rest.split_first().ok_or_else(malformed)?;
    if !families.contains(&family) {
        return Ok(None);
    }
    let next_hop = read_next_hop(family.afi, next_hop).ok_or_else(malformed)?;
    let nlri =
        Nlri::parse(family, nlri).ok_or(DecodeError::InvalidNetworkField(NetworkField::MpReach))?;
    Ok(Some((MpReach { next_hop, nlri }, is_usable(next_hop))))
}

/// Reads MP_UNREACH_NLRI; `None` when its family was not negotiated.
pub(super) fn read_unreach<'a>(
    attribute: &RawAttribute<'a>,
    families: &[Family],
) -> Result<Option<Nlri<'a>>, DecodeError> {
    let (family, nlri) = read_family(attribute.value)
        .ok_or_else(|| malformed(AttributeCode::MpUnreachNlri, attribute))?;
    if !families.contains(&family) {
        return Ok(None);
    }
    let nlri = Nlri::parse(family, nlri)
        .ok_or(DecodeError::InvalidNetworkField(NetworkField::MpUnreach))?;
    Ok(Some(nlri))
}

fn malformed(code: AttributeCode, attribute: &RawAttribute<'_>) -> DecodeError {
    DecodeError::Multiprotocol {
        code,
        attribute: Bytes::copy_from_slice(attribute.whole),
    }
}

fn read_family(value: &[u8]) -> Option<(Family, &[u8])> {
    let (&[high, low, safi], rest) = value.split_first_chunk::<3>()?;
    Some((
        Family {
            afi: u16::from_be_bytes([high, low]).into(),
            safi: safi.into(),
        },
        rest,
    ))
}

/// RFC 8950 section 3 gives IPv4 prefixes next hops of 4, 16 or 32 octets; RFC 2545 section 3 gives IPv6 ones 16 or 32.
fn read_next_hop(afi: Afi, octets: &[u8]) -> Option<NextHop> {
    if let (Afi::Ipv4, &[a, b, c, d]) = (afi, octets) {
        return Some(NextHop::Ipv4(Ipv4Addr::new(a, b, c, d)));
    }
    let (global, rest) = octets.split_first_chunk::<16>()?;
    let link_local = match rest {
        [] => None,
        rest => Some(Ipv6Addr::from(<[u8; 16]>::try_from(rest).ok()?)),
    };
    Some(NextHop::Ipv6 {
        global: Ipv6Addr::from(*global),
        link_local,
    })
}

fn is_usable(next_hop: NextHop) -> bool {
    match next_hop {
        NextHop::Ipv4(address) => is_host(address),
        NextHop::Ipv6 { global, link_local } => match global.to_ipv4_mapped() {
            Some(address) => is_host(address),
            // Some speakers leave the global half empty when they have only a link-local address.
            None => !global.is_multicast() && (!global.is_unspecified() || link_local.is_some()),
        },
    }
}

/// Whether an address can be a next hop by itself (RFC 4271 section 6.3): no network 0, multicast or reserved one.
pub(super) fn is_host(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && first < 224
}
