//! From bytes to a tuple. Headers without options are read in place; options, extension headers and what is not in one piece by helpers.

use crate::family::{Family, Ports, Tuple, V4, V6};
use crate::maps::packet_memory;
use crate::skb::{ETHERNET, Skb};
use lb_abi::{FlowKind, TCP, UDP};

/// FIN.
pub(crate) const FIN: u8 = 1;
/// SYN.
pub(crate) const SYN: u8 = 1 << 1;
/// RST.
pub(crate) const RST: u8 = 1 << 2;
/// ACK.
pub(crate) const ACK: u8 = 1 << 4;

/// Length of a TCP header without options: so much of a packet must be in one piece.
const TCP_HEADER: usize = 20;
/// Where the flags are in it.
const TCP_FLAGS: usize = 13;
/// Length of a UDP header.
const UDP_HEADER: usize = 8;
/// Extension headers that are walked through; with more, a packet is left to the stack.
const EXTENSIONS: u32 = 4;

const ICMPV4: u8 = 1;
const ICMPV6: u8 = 58;
const ICMPV4_ECHO_REQUEST: u8 = 8;
const ICMPV6_ECHO_REQUEST: u8 = 128;

/// A TCP or UDP packet, and what it says of itself.
pub(crate) struct Packet<F: Family> {
    /// Its tuple, as it is on the wire.
    pub(crate) tuple: Tuple<F>,
    /// Offset of its TCP or UDP header in the frame.
    pub(crate) offset: u32,
    /// TCP flags; 0 of a UDP packet.
    pub(crate) tcp_flags: u32,
}

impl<F: Family> Packet<F> {
    /// Whether it asks for a connection.
    #[inline(always)]
    pub(crate) fn is_syn(&self) -> bool {
        self.tcp_flags as u8 & (SYN | ACK) == SYN
    }

    /// Whether nothing is between the network header and that of TCP or UDP.
    #[inline(always)]
    pub(crate) fn is_optionless(&self) -> bool {
        self.offset as usize == ETHERNET + F::HEADER
    }

    /// Whether it begins or ends a connection, of which a flow must take notice.
    #[inline(always)]
    pub(crate) fn is_turning_point(&self) -> bool {
        self.tcp_flags as u8 & (SYN | FIN | RST) != 0
    }
}

/// What else than TCP or UDP is behind the network header.
pub(crate) enum Content {
    /// An ICMP echo request, directly behind a header without options.
    Echo,
    /// One behind options or extension headers, which must not all come back as they are (RFC 1122 section 3.2.2.6).
    EchoWithOptions,
    /// A fragment, first or later: the later ones have no ports.
    Fragment,
    /// Too short for what it says it is.
    Malformed,
    /// Anything else.
    Other,
}

/// Where the next header is, and which.
pub(crate) struct Payload {
    protocol: u8,
    offset: u32,
    fragment: bool,
}

/// Source and destination address of a packet, still in its frame; `None` where it is too short or has a VLAN tag.
///
/// Most packets are none of ours, and an address tells: only of the others more is read.
#[inline(always)]
pub(crate) fn addresses<F: Family>(skb: Skb) -> Option<*const [F::Address; 2]> {
    if skb.is_tagged() {
        return None;
    }
    skb.pull((ETHERNET + F::HEADER + TCP_HEADER) as u32);
    let frame = skb.frame(ETHERNET + F::HEADER)?;
    // SAFETY: within the header.
    Some(unsafe { frame.add(ETHERNET + F::SOURCE).cast() })
}

impl<F: Locate> Packet<F> {
    /// Reads a packet whose [`addresses`] were found, or says what it is instead.
    #[inline(always)]
    pub(crate) fn read(skb: Skb) -> Result<&'static Self, Content> {
        let payload = F::payload(skb).ok_or(Content::Malformed)?;
        if payload.fragment {
            return Err(Content::Fragment);
        }
        let transport = match payload.protocol {
            TCP => tcp::<F>(skb, payload.offset),
            UDP => udp::<F>(skb, payload.offset),
            ICMPV4 | ICMPV6 => return Err(icmp::<F>(skb, &payload)),
            _ => return Err(Content::Other),
        };
        let (ports, tcp_flags) = transport.ok_or(Content::Malformed)?;
        let frame = skb.frame(ETHERNET + F::HEADER).ok_or(Content::Malformed)?;
        let packet = packet_memory::<F>().ok_or(Content::Other)?;
        // SAFETY: within the header, and memory that is this processor's own. Each is copied to where it stays: a pair of them would be
        // copied twice.
        unsafe {
            let address = frame.add(ETHERNET + F::SOURCE).cast::<F::Address>();
            (*packet).tuple.source = F::read(address);
            (*packet).tuple.destination = F::read(address.add(1));
            (*packet).tuple.ports = ports;
            (*packet).tuple.protocol = payload.protocol;
            (*packet).tuple.kind = FlowKind::Forward as u8;
            (*packet).tuple.reserved = 0;
            (*packet).offset = payload.offset;
            (*packet).tcp_flags = tcp_flags;
            Ok(&*packet)
        }
    }
}

#[inline(always)]
fn tcp<F: Family>(skb: Skb, offset: u32) -> Option<(Ports, u32)> {
    if offset as usize == ETHERNET + F::HEADER {
        let frame = skb.frame(ETHERNET + F::HEADER + TCP_HEADER)?;
        // SAFETY: within the header.
        return unsafe {
            let header = frame.add(ETHERNET + F::HEADER);
            Some((Ports(*header.cast()), *header.add(TCP_FLAGS) as u32))
        };
    }
    let header: [u32; TCP_HEADER / 4] = skb.load(offset)?;
    let [_, flags, _, _] = header[TCP_FLAGS / 4].to_ne_bytes();
    Some((Ports(header[0]), flags as u32))
}

#[inline(always)]
fn udp<F: Family>(skb: Skb, offset: u32) -> Option<(Ports, u32)> {
    if offset as usize == ETHERNET + F::HEADER {
        let frame = skb.frame(ETHERNET + F::HEADER + UDP_HEADER)?;
        // SAFETY: within the header.
        return unsafe { Some((Ports(*frame.add(ETHERNET + F::HEADER).cast()), 0)) };
    }
    let header: [u32; UDP_HEADER / 4] = skb.load(offset)?;
    Some((Ports(header[0]), 0))
}

#[inline(always)]
fn icmp<F: Family>(skb: Skb, payload: &Payload) -> Content {
    let (protocol, request) = if F::HEADER_CHECKSUM {
        (ICMPV4, ICMPV4_ECHO_REQUEST)
    } else {
        (ICMPV6, ICMPV6_ECHO_REQUEST)
    };
    if payload.protocol != protocol {
        return Content::Other;
    }
    if payload.offset as usize != ETHERNET + F::HEADER {
        return match skb.load::<[u8; UDP_HEADER]>(payload.offset) {
            Some([kind, ..]) if kind == request => Content::EchoWithOptions,
            Some(_) => Content::Other,
            None => Content::Malformed,
        };
    }
    match skb.frame(ETHERNET + F::HEADER + UDP_HEADER) {
        // SAFETY: within the header, which is as long as UDP's.
        Some(frame) if unsafe { *frame.add(ETHERNET + F::HEADER) } == request => Content::Echo,
        Some(_) => Content::Other,
        None => Content::Malformed,
    }
}

/// How a family says what is behind its header.
pub(crate) trait Locate: Family {
    /// Where the next header is, and which; `None` where the header contradicts itself.
    fn payload(skb: Skb) -> Option<Payload>;
}

impl Locate for V4 {
    #[inline(always)]
    fn payload(skb: Skb) -> Option<Payload> {
        let frame = skb.frame(ETHERNET + Self::HEADER)?;
        // SAFETY: within the header: version and length, flags and fragment offset, protocol.
        let (first, fragment, protocol) = unsafe {
            let header = frame.add(ETHERNET);
            (*header, *header.add(6).cast::<u16>(), *header.add(9))
        };
        let length = (first & 0xf) as u32 * 4;
        (first >> 4 == 4 && length >= Self::HEADER as u32).then_some(Payload {
            protocol,
            offset: ETHERNET as u32 + length,
            // More fragments, or an offset (RFC 791 section 3.1).
            fragment: fragment & 0x3fff_u16.to_be() != 0,
        })
    }
}

impl Locate for V6 {
    #[inline(always)]
    fn payload(skb: Skb) -> Option<Payload> {
        let frame = skb.frame(ETHERNET + Self::HEADER)?;
        // SAFETY: within the header.
        let (first, next) = unsafe { (*frame.add(ETHERNET), *frame.add(ETHERNET + 6)) };
        if first >> 4 != 6 {
            return None;
        }
        if matches!(next, TCP | UDP | ICMPV6) {
            return Some(Payload {
                protocol: next,
                offset: (ETHERNET + Self::HEADER) as u32,
                fragment: false,
            });
        }
        let walked = walk_extensions(skb, next as u32);
        (walked != 0).then_some(Payload {
            protocol: walked as u8,
            offset: walked >> 16,
            fragment: walked & FRAGMENT != 0,
        })
    }
}

/// Mark of a fragment in what [`walk_extensions`] returns.
const FRAGMENT: u32 = 1 << 8;

/// Walks through extension headers (RFC 8200 section 4). Returns the protocol in bits 0–7, [`FRAGMENT`], the offset of its header from
/// bit 16; 0 where a header is cut off. A number, because a function of its own has one register for its answer.
#[inline(never)]
fn walk_extensions(skb: Skb, first: u32) -> u32 {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT_HEADER: u8 = 44;
    const DESTINATION: u8 = 60;
    let mut next = first as u8;
    let mut offset = (ETHERNET + V6::HEADER) as u32;
    for _ in 0..EXTENSIONS {
        if !matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT_HEADER | DESTINATION) {
            break;
        }
        let Some(header) = skb.load::<[u8; 4]>(offset) else {
            return 0;
        };
        if next == FRAGMENT_HEADER {
            // All but the two reserved bits: an offset, or more to come.
            if (header[2], header[3] & 0xf9) != (0, 0) {
                return offset << 16 | FRAGMENT | header[0] as u32;
            }
            offset += 8;
        } else {
            offset += (header[1] as u32 + 1) * 8;
        }
        next = header[0];
    }
    offset << 16 | next as u32
}
