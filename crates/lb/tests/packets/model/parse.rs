//! What is seen of a frame.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_abi::{TCP, UDP, flow_flags};

use crate::packet::{End, FIN, RST};

const ETHERNET: usize = 14;

/// A frame taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Nothing that a load balancer could know: not IP, or a protocol without ports.
    Foreign,
    /// A header is cut off or impossible.
    Malformed { destination: IpAddr },
    /// A fragment; those but the first have no ports.
    Fragment { destination: IpAddr },
    /// An echo request.
    Echo(Headers),
    /// An echo request behind options or extension headers.
    EchoWithOptions { destination: IpAddr },
    /// TCP or UDP.
    Flow(Headers),
}

/// Where the headers are, and what they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Headers {
    pub(crate) source: End,
    pub(crate) destination: End,
    pub(crate) protocol: u8,
    /// Offset of the transport header in the frame.
    pub(crate) transport: usize,
    /// Of TCP; 0 otherwise.
    pub(crate) tcp_flags: u8,
    pub(crate) hop_limit: u8,
    /// Octets of the frame.
    pub(crate) length: usize,
}

impl Headers {
    /// A TCP packet that asks for a connection.
    pub(crate) fn is_syn(&self) -> bool {
        self.protocol == TCP && self.tcp_flags & (2 | 16) == 2
    }

    /// Flow flags for what it ends, where the other direction had these TCP flags.
    pub(crate) fn ends(&self, others: u8) -> u16 {
        let has = |flag| self.tcp_flags & flag != 0;
        if has(RST) || has(FIN) && others & FIN != 0 {
            return flow_flags::CLOSING | flow_flags::CLOSED;
        }
        if has(FIN) { flow_flags::CLOSING } else { 0 }
    }
}

/// Looks at a frame.
pub(crate) fn parse(frame: &[u8]) -> Sight {
    match frame.get(12..14) {
        Some([8, 0]) => parse_ipv4(frame),
        Some([0x86, 0xdd]) => parse_ipv6(frame),
        _ => Sight::Foreign,
    }
}

fn parse_ipv4(frame: &[u8]) -> Sight {
    let Some(header) = frame.get(ETHERNET..ETHERNET + 20) else {
        return Sight::Foreign;
    };
    let address = |at: usize| -> IpAddr {
        let octets: [u8; 4] = header[at..at + 4].try_into().unwrap();
        Ipv4Addr::from(octets).into()
    };
    let (source, destination) = (address(12), address(16));
    let length = usize::from(header[0] & 15) * 4;
    if header[0] >> 4 != 4 || length < 20 {
        return Sight::Malformed { destination };
    }
    if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
        return Sight::Fragment { destination };
    }
    let ends = (source, destination, header[8]);
    parse_transport(frame, ETHERNET + length, header[9], ends)
}

fn parse_ipv6(frame: &[u8]) -> Sight {
    let Some(header) = frame.get(ETHERNET..ETHERNET + 40) else {
        return Sight::Foreign;
    };
    let address = |at: usize| -> IpAddr {
        let octets: [u8; 16] = header[at..at + 16].try_into().unwrap();
        Ipv6Addr::from(octets).into()
    };
    let (source, destination) = (address(8), address(24));
    if header[0] >> 4 != 6 {
        return Sight::Malformed { destination };
    }
    let (mut next, mut at) = (header[6], ETHERNET + 40);
    for _ in 0..4 {
        if !matches!(next, 0 | 43 | 44 | 60) {
            break;
        }
        let Some(extension) = frame.get(at..at + 4) else {
            return Sight::Malformed { destination };
        };
        if next == 44 {
            // A fragment header of a packet in one piece is no more than any other (RFC 6946).
            if u16::from_be_bytes([extension[2], extension[3]]) & 0xfff9 != 0 {
                return Sight::Fragment { destination };
            }
            at += 8;
        } else {
            at += 8 + 8 * usize::from(extension[1]);
        }
        next = extension[0];
    }
    parse_transport(frame, at, next, (source, destination, header[7]))
}

fn parse_transport(
    frame: &[u8],
    at: usize,
    protocol: u8,
    (source, destination, hop_limit): (IpAddr, IpAddr, u8),
) -> Sight {
    let is_echo_protocol = protocol == if source.is_ipv4() { 1 } else { 58 };
    if !is_echo_protocol && protocol != TCP && protocol != UDP {
        return Sight::Foreign;
    }
    let needed = if protocol == TCP { 20 } else { 8 };
    let Some(header) = frame.get(at..at + needed) else {
        return Sight::Malformed { destination };
    };
    let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let mut headers = Headers {
        source: (source, 0),
        destination: (destination, 0),
        protocol,
        transport: at,
        tcp_flags: 0,
        hop_limit,
        length: frame.len(),
    };
    if is_echo_protocol {
        let request = if source.is_ipv4() { 8 } else { 128 };
        let is_bare = at == ETHERNET + if source.is_ipv4() { 20 } else { 40 };
        return match (header[0] == request, is_bare) {
            (true, true) => Sight::Echo(headers),
            (true, false) => Sight::EchoWithOptions { destination },
            (false, _) => Sight::Foreign,
        };
    }
    headers.source.1 = port(0);
    headers.destination.1 = port(2);
    if protocol == TCP {
        headers.tcp_flags = header[13];
    }
    Sight::Flow(headers)
}
