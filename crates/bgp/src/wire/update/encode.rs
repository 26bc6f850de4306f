//! Encoding: each call appends one UPDATE with as many prefixes as fit, so that the caller decides when to stop.

use std::iter::Peekable;
use std::net::Ipv4Addr;

use bytes::{BufMut, BytesMut};
use ipnet::Ipv4Net;

use super::NextHop;
use crate::family::{Afi, Family};
use crate::wire::error::EncodeError;
use crate::wire::framing::{HEADER_LENGTH, begin, finish, patch_u16};
use crate::wire::iana::{AttributeCode, MessageKind, flag};
use crate::wire::nlri::Prefix;

/// Header and the two length fields.
const OVERHEAD: usize = HEADER_LENGTH + 4;
/// Flags, code and length of an MP attribute; always the long form, since its length is known last.
const MP_HEADER: usize = 4;

/// Appends one UPDATE that announces IPv4 prefixes in its own field, as many as fit `limit` octets; `attributes` hold
/// their NEXT_HOP. Gives how many it took; none and nothing when `prefixes` is at its end.
///
/// # Errors
/// [`EncodeError::AttributesTooLong`] when not one fits; nothing is appended or taken.
pub fn announce_ipv4(
    out: &mut BytesMut,
    limit: usize,
    attributes: &[u8],
    prefixes: &mut Peekable<impl Iterator<Item = Ipv4Net>>,
) -> Result<usize, EncodeError> {
    let room = limit.saturating_sub(OVERHEAD + attributes.len());
    if !any_fits(prefixes, room, attributes, limit)? {
        return Ok(0);
    }
    let start = begin(out, MessageKind::Update);
    out.put_u16(0);
    let length_at = out.len();
    out.put_u16(0);
    out.put_slice(attributes);
    patch_u16(out, length_at, attributes.len());
    let taken = put_prefixes(out, room, prefixes);
    finish(out, start);
    Ok(taken)
}

/// Appends one UPDATE that announces prefixes in MP_REACH_NLRI, which comes first (RFC 7606 section 5.1);
/// `attributes` are the others. An IPv4 next hop of IPv6 prefixes goes out IPv4-mapped.
///
/// # Errors
/// [`EncodeError::AttributesTooLong`] when not one fits; nothing is appended or taken.
pub fn announce<P: Prefix>(
    out: &mut BytesMut,
    limit: usize,
    attributes: &[u8],
    next_hop: NextHop,
    prefixes: &mut Peekable<impl Iterator<Item = P>>,
) -> Result<usize, EncodeError> {
    let next_hop_length = next_hop_length(P::FAMILY.afi, next_hop);
    let room = limit
        .saturating_sub(OVERHEAD + MP_HEADER + 5 + usize::from(next_hop_length) + attributes.len());
    if !any_fits(prefixes, room, attributes, limit)? {
        return Ok(0);
    }
    let message = begin_mp(out, AttributeCode::MpReachNlri, P::FAMILY);
    out.put_u8(next_hop_length);
    put_next_hop(out, P::FAMILY.afi, next_hop);
    out.put_u8(0);
    let taken = put_prefixes(out, room, prefixes);
    finish_mp(out, &message, attributes);
    Ok(taken)
}

/// Appends one UPDATE that withdraws IPv4 prefixes in its own field; gives how many it took.
pub fn withdraw_ipv4(
    out: &mut BytesMut,
    limit: usize,
    prefixes: &mut Peekable<impl Iterator<Item = Ipv4Net>>,
) -> usize {
    if prefixes.peek().is_none() {
        return 0;
    }
    let start = begin(out, MessageKind::Update);
    let length_at = out.len();
    out.put_u16(0);
    let taken = put_prefixes(out, limit.saturating_sub(OVERHEAD), prefixes);
    patch_u16(out, length_at, out.len() - length_at - 2);
    out.put_u16(0);
    finish(out, start);
    taken
}

/// Appends one UPDATE that withdraws prefixes in MP_UNREACH_NLRI; gives how many it took.
pub fn withdraw<P: Prefix>(
    out: &mut BytesMut,
    limit: usize,
    prefixes: &mut Peekable<impl Iterator<Item = P>>,
) -> usize {
    if prefixes.peek().is_none() {
        return 0;
    }
    let message = begin_mp(out, AttributeCode::MpUnreachNlri, P::FAMILY);
    let taken = put_prefixes(
        out,
        limit.saturating_sub(OVERHEAD + MP_HEADER + 3),
        prefixes,
    );
    finish_mp(out, &message, &[]);
    taken
}

/// Appends the End-of-RIB of a family (RFC 4724 section 2).
pub fn end_of_rib(out: &mut BytesMut, family: Family) {
    if family == Family::IPV4_UNICAST {
        let start = begin(out, MessageKind::Update);
        out.put_u32(0);
        finish(out, start);
    } else {
        let message = begin_mp(out, AttributeCode::MpUnreachNlri, family);
        finish_mp(out, &message, &[]);
    }
}

/// Where the open lengths of a message with an MP attribute are.
struct MpMessage {
    start: usize,
    attributes_at: usize,
}

fn begin_mp(out: &mut BytesMut, code: AttributeCode, family: Family) -> MpMessage {
    let start = begin(out, MessageKind::Update);
    out.put_u16(0);
    let attributes_at = out.len();
    out.put_u16(0);
    out.put_slice(&[code.flags() | flag::EXTENDED_LENGTH, code.number(), 0, 0]);
    out.put_u16(family.afi.into());
    out.put_u8(family.safi.into());
    MpMessage {
        start,
        attributes_at,
    }
}

fn finish_mp(out: &mut BytesMut, message: &MpMessage, attributes: &[u8]) {
    let MpMessage {
        start,
        attributes_at,
    } = *message;
    let value_at = attributes_at + 2 + MP_HEADER;
    patch_u16(out, value_at - 2, out.len() - value_at);
    out.put_slice(attributes);
    patch_u16(out, attributes_at, out.len() - attributes_at - 2);
    finish(out, start);
}

fn next_hop_length(afi: Afi, next_hop: NextHop) -> u8 {
    match (next_hop, afi) {
        (NextHop::Ipv4(_), Afi::Ipv6)
        | (
            NextHop::Ipv6 {
                link_local: None, ..
            },
            _,
        ) => 16,
        (NextHop::Ipv4(_), Afi::Ipv4 | Afi::Other(_)) => 4,
        (
            NextHop::Ipv6 {
                link_local: Some(_),
                ..
            },
            _,
        ) => 32,
    }
}

fn put_next_hop(out: &mut BytesMut, afi: Afi, next_hop: NextHop) {
    match (next_hop, afi) {
        (NextHop::Ipv4(address), Afi::Ipv6) => {
            out.put_slice(&Ipv4Addr::to_ipv6_mapped(&address).octets());
        }
        (NextHop::Ipv4(address), Afi::Ipv4 | Afi::Other(_)) => out.put_slice(&address.octets()),
        (NextHop::Ipv6 { global, link_local }, _) => {
            out.put_slice(&global.octets());
            if let Some(link_local) = link_local {
                out.put_slice(&link_local.octets());
            }
        }
    }
}

/// Whether there is a prefix, and room for it.
fn any_fits<P: Prefix>(
    prefixes: &mut Peekable<impl Iterator<Item = P>>,
    room: usize,
    attributes: &[u8],
    limit: usize,
) -> Result<bool, EncodeError> {
    match prefixes.peek() {
        Some(first) if first.encoded_length() > room => Err(EncodeError::AttributesTooLong {
            octets: attributes.len(),
            limit,
        }),
        Some(_) => Ok(true),
        None => Ok(false),
    }
}

/// Appends prefixes while they fit `room` octets; gives how many.
fn put_prefixes<P: Prefix>(
    out: &mut BytesMut,
    room: usize,
    prefixes: &mut Peekable<impl Iterator<Item = P>>,
) -> usize {
    let end = out.len() + room;
    let mut taken = 0;
    while let Some(prefix) = prefixes.next_if(|prefix| out.len() + prefix.encoded_length() <= end) {
        prefix.write(out);
        taken += 1;
    }
    taken
}
