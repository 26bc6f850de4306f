//! What the kernel says of interfaces and addresses, and that something has changed.
//!
//! # Why
//! Changes are not taken from the messages that announce them, which can be lost: a message says that it is time to look, and looking is cheap.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mio::{Interest, Registry, Token};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::libc::ENOBUFS;
use socket2::{SockFilter, SockRef};

use crate::error::Error;
use crate::interfaces::{Interface, Interfaces, Layer};

/// Groups of `linux/rtnetlink.h` that say that an interface or an address of one is different: LINK, IPV4_IFADDR, IPV6_IFADDR.
const INTERFACE_GROUPS: [u32; 3] = [1, 5, 9];
/// Those that say that packets may have to go another way: NEIGH, IPV4_ROUTE, IPV4_RULE, IPV6_ROUTE, IPV6_RULE, NEXTHOP.
const ROUTE_GROUPS: [u32; 6] = [3, 7, 8, 11, 19, 32];
/// The kernel answers in pieces of at most 32 KiB.
const PIECE: usize = 1 << 16;
/// How often a question is put again whose answer was interrupted.
const ATTEMPTS: usize = 8;

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const REQUEST_DUMP: u16 = 0x301;
const DUMP_INTERRUPTED: u16 = 0x10;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Leave out statistics.
const SKIP_STATISTICS: u32 = 1 << 3;
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;

/// The socket that asks. One question at a time.
pub(crate) struct Requests {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Requests {
    pub(crate) fn open() -> Result<Self, Error> {
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(Error::Open)?;
        socket.bind_auto().map_err(Error::Open)?;
        let kernel = SocketAddr::new(0, 0);
        socket.connect(&kernel).map_err(Error::Open)?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: vec![0; PIECE],
        })
    }

    /// All interfaces of this network namespace with their addresses.
    pub(crate) fn interfaces(&mut self) -> Result<Interfaces, Error> {
        for _ in 0..ATTEMPTS {
            let mut interfaces = Interfaces::new();
            let complete = self.dump(&links_question(), |kind, body| {
                if kind == RTM_NEWLINK
                    && let Some((index, interface)) = link(body)
                {
                    interfaces.insert(index, interface);
                }
            })?;
            let complete = self.dump(&addresses_question(), |kind, body| {
                if kind == RTM_NEWADDR
                    && let Some((index, address)) = address(body)
                    && let Some(interface) = interfaces.get_mut(&index)
                {
                    interface.addresses.push(address);
                }
            })? && complete;
            if complete {
                return Ok(interfaces);
            }
        }
        Err(Error::Interrupted)
    }

    /// Has the kernel do something.
    pub(crate) fn ask(&mut self, message: &[u8]) -> io::Result<()> {
        match self.dump(message, |_, _| {}) {
            Err(Error::Send(error) | Error::Receive(error)) => Err(error),
            Err(error) => Err(io::Error::other(error)),
            Ok(_) => Ok(()),
        }
    }

    /// Asks, and says whether nothing changed while the answer was given.
    pub(crate) fn dump(
        &mut self,
        question: &[u8],
        mut learn: impl FnMut(u16, &[u8]),
    ) -> Result<bool, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = question.to_vec();
        message[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        self.socket.send(&message, 0).map_err(Error::Send)?;
        let mut complete = true;
        loop {
            let length = receive(&self.socket, &mut self.buffer).map_err(Error::Receive)?;
            for message in messages(&self.buffer[..length]) {
                if message.sequence != self.sequence {
                    continue;
                }
                complete &= message.flags & DUMP_INTERRUPTED == 0;
                match message.kind {
                    NLMSG_DONE | NLMSG_ERROR => {
                        verdict(message.body).map_err(Error::Receive)?;
                        return Ok(complete);
                    }
                    kind => learn(kind, message.body),
                }
            }
        }
    }
}

/// A socket that hears that something has changed.
pub(crate) struct Monitor {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Hears of interfaces and addresses.
    pub(crate) fn of_interfaces() -> Result<Self, Error> {
        Self::open(&INTERFACE_GROUPS, &[])
    }

    /// Hears of what can change a packet's way.
    pub(crate) fn of_routes() -> Result<Self, Error> {
        Self::open(&ROUTE_GROUPS, &all_but_living_neighbours())
    }

    fn open(groups: &[u32], filter: &[SockFilter]) -> Result<Self, Error> {
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(Error::Open)?;
        if !filter.is_empty() {
            let socket = SockRef::from(&socket);
            socket.attach_filter(filter).map_err(Error::Open)?;
        }
        socket.bind_auto().map_err(Error::Open)?;
        for group in groups {
            socket.add_membership(*group).map_err(Error::Open)?;
        }
        socket.set_non_blocking(true).map_err(Error::Open)?;
        Ok(Self {
            socket,
            buffer: vec![0; PIECE],
        })
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> Result<(), Error> {
        registry
            .register(&mut self.socket, token, Interest::READABLE)
            .map_err(Error::Wait)
    }

    /// Throws away what was said. Says whether there was something; what was lost counts.
    pub(crate) fn drain(&mut self) -> Result<bool, Error> {
        let mut heard = false;
        loop {
            match receive(&self.socket, &mut self.buffer) {
                Ok(_) => heard = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(heard),
                Err(error) if error.raw_os_error() == Some(ENOBUFS) => heard = true,
                Err(error) => return Err(Error::Receive(error)),
            }
        }
    }
}

/// A neighbour that is found, used and checked again is said so each time, and changes nothing: only one that fails does, or is gone.
fn all_but_living_neighbours() -> [SockFilter; 6] {
    // Classic BPF (`linux/filter.h`) takes half-words for big-endian.
    let new_neighbour = u32::from(u16::from_be_bytes(28u16.to_ne_bytes()));
    let failed = u32::from(u16::from_be_bytes(0x20u16.to_ne_bytes()));
    [
        // The message's kind.
        SockFilter::new(0x28, 0, 0, 4),
        SockFilter::new(0x15, 0, 2, new_neighbour),
        // The state in `struct ndmsg`.
        SockFilter::new(0x28, 0, 0, 24),
        SockFilter::new(0x45, 0, 1, failed),
        SockFilter::new(0x06, 0, 0, u32::MAX),
        SockFilter::new(0x06, 0, 0, 0),
    ]
}

fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut room = &mut *buffer;
        match socket.recv(&mut room, 0) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => return received,
        }
    }
}

fn links_question() -> Vec<u8> {
    // `struct ifinfomsg`, then what to leave out.
    let mut body = vec![0; 16];
    body.extend_from_slice(&8u16.to_ne_bytes());
    body.extend_from_slice(&IFLA_EXT_MASK.to_ne_bytes());
    body.extend_from_slice(&SKIP_STATISTICS.to_ne_bytes());
    question(RTM_GETLINK, REQUEST_DUMP, &body)
}

fn addresses_question() -> Vec<u8> {
    // `struct ifaddrmsg`.
    question(RTM_GETADDR, REQUEST_DUMP, &[0; 8])
}

/// A message for [`Requests`].
pub(crate) fn question(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend_from_slice(&((HEADER + body.len()) as u32).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    // Sequence number and port, which the sender and the kernel fill in.
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(body);
    message
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

/// The messages of a datagram. Ends at the first that is not well-formed.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes_at(bytes, 0)?) as usize;
        let message = bytes.get(..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes(bytes_at(message, 4)?),
            flags: u16::from_ne_bytes(bytes_at(message, 6)?),
            sequence: u32::from_ne_bytes(bytes_at(message, 8)?),
            body: message.get(HEADER..)?,
        })
    })
}

/// An error number with its sign turned, where 0 means none.
fn verdict(body: &[u8]) -> io::Result<()> {
    match bytes_at(body, 0).map_or(0, i32::from_ne_bytes) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
    }
}

/// `struct ifinfomsg`. A bridge speaks of its ports in a family of its own, which says nothing of the interface.
fn link(body: &[u8]) -> Option<(u32, Interface)> {
    if *body.first()? != 0 {
        return None;
    }
    let layer = match u16::from_ne_bytes(bytes_at(body, 2)?) {
        ARPHRD_ETHER => Layer::Ethernet,
        ARPHRD_LOOPBACK => Layer::Loopback,
        _ => Layer::Other,
    };
    let index = u32::from_ne_bytes(bytes_at(body, 4)?);
    let mut interface = Interface {
        name: String::new(),
        layer,
        kind: None,
        leads_elsewhere: false,
        is_part: false,
        addresses: Vec::new(),
    };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            IFLA_IFNAME => interface.name = text(value),
            IFLA_MASTER => interface.is_part = true,
            IFLA_LINK_NETNSID => interface.leads_elsewhere = true,
            IFLA_LINKINFO => {
                let mut parts = attributes(value);
                let kind = parts.find(|(kind, _)| *kind == IFLA_INFO_KIND);
                interface.kind = kind.map(|(_, value)| text(value));
            }
            _ => {}
        }
    }
    Some((index, interface))
}

/// `struct ifaddrmsg`. On a link between two, `IFA_ADDRESS` is the other's.
fn address(body: &[u8]) -> Option<(u32, IpAddr)> {
    let is_global = *body.get(3)? == 0;
    let index = u32::from_ne_bytes(bytes_at(body, 4)?);
    let mut address = None;
    for (kind, value) in attributes(body.get(8..)?) {
        let is_better = kind == IFA_LOCAL || kind == IFA_ADDRESS && address.is_none();
        if is_better {
            address = match value.len() {
                4 => Some(IpAddr::from(Ipv4Addr::from(bytes_at::<4>(value, 0)?))),
                16 => Some(IpAddr::from(Ipv6Addr::from(bytes_at::<16>(value, 0)?))),
                _ => None,
            };
        }
    }
    address
        .filter(|_| is_global)
        .map(|address| (index, address))
}

/// Kinds, without the bits that say how the value is written, and values. Ends at the first that is not well-formed.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes_at(bytes, 0)?));
        let kind = u16::from_ne_bytes(bytes_at(bytes, 2)?) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0);
    let value = &value[..end.unwrap_or(value.len())];
    String::from_utf8_lossy(value).into_owned()
}

pub(crate) fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = 4 + value.len() as u16;
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// `struct ifinfomsg` of an Ethernet interface with index 7.
    fn head() -> Vec<u8> {
        let mut head = vec![0; 16];
        head[2..4].copy_from_slice(&ARPHRD_ETHER.to_ne_bytes());
        head[4..8].copy_from_slice(&7u32.to_ne_bytes());
        head
    }

    #[test]
    fn an_interface_is_read_with_what_made_it() {
        let mut body = head();
        body.extend(attribute(IFLA_IFNAME, b"lxc0\0"));
        body.extend(attribute(IFLA_LINK_NETNSID, &[0; 4]));
        // The kernel marks attributes that hold others.
        let kind = attribute(IFLA_INFO_KIND, b"veth\0");
        body.extend(attribute(IFLA_LINKINFO | 0x8000, &kind));
        let (index, interface) = link(&body).expect("an interface");
        assert_eq!((index, interface.name.as_str()), (7, "lxc0"));
        assert_eq!(interface.kind.as_deref(), Some("veth"));
        assert!(interface.leads_elsewhere && !interface.is_part);
        assert_eq!(interface.layer, Layer::Ethernet);
        body[0] = 7;
        assert_eq!(link(&body), None, "what a bridge says of its port");
    }

    #[test]
    fn the_own_address_of_a_link_between_two_counts_and_only_global_ones() {
        let mut body = vec![2, 32, 0, 0, 7, 0, 0, 0];
        body.extend(attribute(IFA_ADDRESS, &[192, 0, 2, 2]));
        let peer: IpAddr = "192.0.2.2".parse().expect("an address");
        assert_eq!(address(&body), Some((7, peer)));
        body.extend(attribute(IFA_LOCAL, &[192, 0, 2, 1]));
        let own: IpAddr = "192.0.2.1".parse().expect("an address");
        assert_eq!(address(&body), Some((7, own)));
        body[3] = 253;
        assert_eq!(address(&body), None, "of the link only");
    }

    #[test]
    fn what_is_cut_off_ends_the_reading() {
        let mut whole = question(RTM_NEWLINK, REQUEST_DUMP, &head());
        let cut = whole.clone();
        whole.extend_from_slice(&cut[..cut.len() - 1]);
        assert_eq!(messages(&whole).count(), 1);
        for end in 0..cut.len() {
            assert_eq!(messages(&cut[..end]).count(), 0, "{end}");
        }
        let long = [9, 0, 1, 0, 5, 5, 5, 5];
        assert_eq!(attributes(&long).count(), 0);
        let short = [3, 0, 1, 0];
        assert_eq!(attributes(&short).count(), 0, "shorter than its own head");
    }
}
