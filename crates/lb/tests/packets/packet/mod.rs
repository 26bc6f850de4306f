//! Packets as tests write them down, and their bytes.

pub(crate) mod checksum;

use std::net::IpAddr;

/// An address with a port.
pub(crate) type End = (IpAddr, u16);

/// Ethernet addresses of all packets. The node's is that of its uplinks.
const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const NODE: [u8; 6] = [2, 0, 0, 0, 0, 2];

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;

/// What is behind the IP headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TCP with its flags; ports are those of the ends.
    Tcp(u8),
    /// UDP, with or without a checksum.
    Udp { checksum: bool },
    /// ICMP or ICMPv6: type, code and the word after the checksum.
    Icmp { kind: u8, code: u8, rest: u32 },
    /// A protocol nobody translates.
    Other(u8),
}

/// An IPv6 extension header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extension {
    HopByHop,
    Routing,
    Destination,
}

/// A fragment's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// In units of eight octets.
    pub(crate) offset: u16,
    pub(crate) more: bool,
}

/// One packet. Its checksums are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) source: End,
    pub(crate) destination: End,
    pub(crate) transport: Transport,
    pub(crate) payload: Vec<u8>,
    pub(crate) hop_limit: u8,
    /// IPv4 options, a multiple of four octets.
    pub(crate) options: Vec<u8>,
    pub(crate) extensions: Vec<Extension>,
    pub(crate) fragment: Option<Fragment>,
    pub(crate) ethernet: ([u8; 6], [u8; 6]),
    pub(crate) vlan: Option<u16>,
}

impl Packet {
    fn new(source: End, destination: End, transport: Transport) -> Self {
        Self {
            source,
            destination,
            transport,
            payload: b"sixteen octets..".to_vec(),
            hop_limit: 64,
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            ethernet: (NODE, ROUTER),
            vlan: None,
        }
    }

    pub(crate) fn tcp(source: End, destination: End, flags: u8) -> Self {
        Self::new(source, destination, Transport::Tcp(flags))
    }

    pub(crate) fn udp(source: End, destination: End) -> Self {
        Self::new(source, destination, Transport::Udp { checksum: true })
    }

    /// An echo request of the family.
    pub(crate) fn ping(source: IpAddr, destination: IpAddr) -> Self {
        let kind = if source.is_ipv4() { 8 } else { 128 };
        Self::icmp(source, destination, kind, 0)
    }

    pub(crate) fn icmp(source: IpAddr, destination: IpAddr, kind: u8, code: u8) -> Self {
        let rest = 0x1234_0001;
        let transport = Transport::Icmp { kind, code, rest };
        Self::new((source, 0), (destination, 0), transport)
    }

    pub(crate) fn other(source: IpAddr, destination: IpAddr, protocol: u8) -> Self {
        Self::new((source, 0), (destination, 0), Transport::Other(protocol))
    }

    /// The answer to it: ends and Ethernet addresses exchanged.
    pub(crate) fn turned(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            ..self.clone()
        }
    }

    pub(crate) fn from(self, source: End) -> Self {
        Self { source, ..self }
    }

    pub(crate) fn to(self, destination: End) -> Self {
        Self {
            destination,
            ..self
        }
    }

    pub(crate) fn flags(self, flags: u8) -> Self {
        Self {
            transport: Transport::Tcp(flags),
            ..self
        }
    }

    pub(crate) fn hop_limit(self, hop_limit: u8) -> Self {
        Self { hop_limit, ..self }
    }

    pub(crate) fn payload(self, payload: &[u8]) -> Self {
        Self {
            payload: payload.to_vec(),
            ..self
        }
    }

    pub(crate) fn options(self, options: &[u8]) -> Self {
        Self {
            options: options.to_vec(),
            ..self
        }
    }

    pub(crate) fn extensions(self, extensions: &[Extension]) -> Self {
        Self {
            extensions: extensions.to_vec(),
            ..self
        }
    }

    pub(crate) fn fragment(self, offset: u16, more: bool) -> Self {
        Self {
            fragment: Some(Fragment { offset, more }),
            ..self
        }
    }

    pub(crate) fn vlan(self, tag: u16) -> Self {
        Self {
            vlan: Some(tag),
            ..self
        }
    }

    pub(crate) fn without_checksum(self) -> Self {
        Self {
            transport: Transport::Udp { checksum: false },
            ..self
        }
    }

    /// As it leaves by the interface it came by.
    pub(crate) fn ethernet_turned(self) -> Self {
        Self {
            ethernet: (self.ethernet.1, self.ethernet.0),
            ..self
        }
    }

    /// The frame.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let transport = self.transport_bytes();
        let mut frame = Vec::with_capacity(100);
        frame.extend(self.ethernet.0);
        frame.extend(self.ethernet.1);
        if let Some(tag) = self.vlan {
            frame.extend([0x81, 0]);
            frame.extend(tag.to_be_bytes());
        }
        match (self.source.0, self.destination.0) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend([8, 0]);
                self.write_ipv4(
                    &mut frame,
                    source.octets(),
                    destination.octets(),
                    transport.len(),
                );
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame.extend([0x86, 0xdd]);
                self.write_ipv6(
                    &mut frame,
                    source.octets(),
                    destination.octets(),
                    transport.len(),
                );
            }
            _ => panic!("ends of two families"),
        }
        frame.extend(transport);
        frame
    }

    fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp(_) => 6,
            Transport::Udp { .. } => 17,
            Transport::Icmp { .. } if self.source.0.is_ipv4() => 1,
            Transport::Icmp { .. } => 58,
            Transport::Other(protocol) => protocol,
        }
    }

    fn write_ipv4(
        &self,
        frame: &mut Vec<u8>,
        source: [u8; 4],
        destination: [u8; 4],
        length: usize,
    ) {
        let words = 5 + self.options.len() / 4;
        let total = u16::try_from(words * 4 + length).unwrap();
        let fragment = self.fragment.map_or(0x4000, |fragment| {
            fragment.offset | if fragment.more { 0x2000 } else { 0 }
        });
        let start = frame.len();
        frame.extend([0x40 | u8::try_from(words).unwrap(), 0]);
        frame.extend(total.to_be_bytes());
        frame.extend([0xab, 0xcd]);
        frame.extend(fragment.to_be_bytes());
        frame.extend([self.hop_limit, self.protocol(), 0, 0]);
        frame.extend(source);
        frame.extend(destination);
        frame.extend(&self.options);
        let sum = checksum::of(&[&frame[start..]]);
        frame[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
    }

    fn write_ipv6(
        &self,
        frame: &mut Vec<u8>,
        source: [u8; 16],
        destination: [u8; 16],
        length: usize,
    ) {
        let mut next: Vec<u8> = self
            .extensions
            .iter()
            .map(|extension| match extension {
                Extension::HopByHop => 0,
                Extension::Routing => 43,
                Extension::Destination => 60,
            })
            .collect();
        next.extend(self.fragment.map(|_| 44));
        next.push(self.protocol());
        let extra = 8 * (next.len() - 1);
        frame.extend([0x60, 0, 0, 0]);
        frame.extend(u16::try_from(extra + length).unwrap().to_be_bytes());
        frame.extend([next[0], self.hop_limit]);
        frame.extend(source);
        frame.extend(destination);
        for (index, extension) in self.extensions.iter().enumerate() {
            frame.extend([next[index + 1], 0]);
            frame.extend(match extension {
                // PadN over the rest (RFC 8200 §4.2).
                Extension::HopByHop | Extension::Destination => [1, 4, 0, 0, 0, 0],
                // A type nobody knows, with no segments left (RFC 8200 §4.4).
                Extension::Routing => [253, 0, 0, 0, 0, 0],
            });
        }
        if let Some(fragment) = self.fragment {
            frame.extend([self.protocol(), 0]);
            let place = fragment.offset << 3 | u16::from(fragment.more);
            frame.extend(place.to_be_bytes());
            frame.extend([0, 0, 0xab, 0xcd]);
        }
    }

    fn transport_bytes(&self) -> Vec<u8> {
        if self.fragment.is_some_and(|fragment| fragment.offset > 0) {
            return self.payload.clone();
        }
        let ports = [
            self.source.1.to_be_bytes(),
            self.destination.1.to_be_bytes(),
        ]
        .concat();
        let length = self.payload.len();
        let (mut bytes, place) = match self.transport {
            Transport::Tcp(flags) => {
                let rest = [0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
                ([&ports[..], &rest].concat(), 16)
            }
            Transport::Udp { .. } => {
                let length = u16::try_from(8 + length).unwrap().to_be_bytes();
                ([&ports[..], &length, &[0, 0]].concat(), 6)
            }
            Transport::Icmp { kind, code, rest } => {
                ([&[kind, code, 0, 0][..], &rest.to_be_bytes()].concat(), 2)
            }
            Transport::Other(_) => return self.payload.clone(),
        };
        bytes.extend(&self.payload);
        if self.transport == (Transport::Udp { checksum: false }) {
            return bytes;
        }
        let pseudo = checksum::pseudo_header(
            self.source.0,
            self.destination.0,
            self.protocol(),
            bytes.len(),
        );
        let is_icmp4 = self.protocol() == 1;
        let mut sum = checksum::of(&[if is_icmp4 { &[] } else { &pseudo }, &bytes]);
        if sum == 0 && self.protocol() == 17 {
            sum = 0xffff;
        }
        bytes[place..place + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

/// Bytes as a test prints them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| {
        let words: Vec<String> = line
            .chunks(2)
            .map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect())
            .collect();
        words.join(" ")
    };
    let lines: Vec<String> = bytes.chunks(32).map(line).collect();
    lines.join("\n    ")
}
