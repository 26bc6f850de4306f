//! What the kernel says, read from its messages.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_core::{NlaBuffer, NlasIterator};

use crate::kernel::{Exit, Fact, Hop, KernelRoute, LinkState, Nexthop, Via};
use crate::message::header_length;
use crate::message::number::{
    DELETE_ADDRESS, DELETE_LINK, DELETE_NEXTHOP, DELETE_ROUTE, DUMP_INTERRUPTED, INET, INET6,
    NEW_LINK, NEW_NEXTHOP, NEW_ROUTE, NHA_BLACKHOLE, NHA_ENCAP, NHA_FDB, NHA_GATEWAY, NHA_GROUP,
    NHA_GROUP_TYPE, NHA_ID, NHA_OIF, REPLACE, RTA_DST, RTA_ENCAP, RTA_GATEWAY, RTA_METRICS,
    RTA_MULTIPATH, RTA_NH_ID, RTA_OIF, RTA_PREFSRC, RTA_PRIORITY, RTA_SRC, RTA_TABLE, RTA_VIA,
    RTN_UNICAST,
};
use crate::route::Errno;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
const IFF_UP: u32 = 1;
/// The carrier is there.
const IFF_LOWER_UP: u32 = 1 << 16;
/// The route is a copy made for one destination.
const RTM_F_CLONED: u32 = 0x200;

/// One message of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) sequence: u32,
    /// What was dumped changed meanwhile.
    pub(crate) interrupted: bool,
    pub(crate) said: Said,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Fact(Fact),
    /// The request with this sequence number was done, or failed.
    Acknowledged(Result<(), Errno>),
    /// All that was asked for has been said, or could not be.
    Done(Result<(), Errno>),
    /// The kernel could not say everything.
    Overrun,
    /// Nothing that concerns us.
    Nothing,
}

/// The messages of a datagram. Ends at the first that is not well-formed.
pub(crate) fn answers(mut bytes: &[u8]) -> impl Iterator<Item = Answer> {
    std::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        let message = bytes.get(..length).filter(|_| length >= header_length())?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        answer(message)
    })
}

fn answer(message: &[u8]) -> Option<Answer> {
    let kind = u16_at(message, 4)?;
    let flags = u16_at(message, 6)?;
    let body = message.get(header_length()..)?;
    let said = match kind {
        NLMSG_ERROR => Said::Acknowledged(verdict(body)),
        NLMSG_DONE => Said::Done(verdict(body)),
        NLMSG_OVERRUN => Said::Overrun,
        NEW_LINK | DELETE_LINK => fact(link(body, kind)),
        NEW_NEXTHOP | DELETE_NEXTHOP => fact(nexthop(body, kind)),
        DELETE_ADDRESS => fact(body.first().and_then(address_gone)),
        NEW_ROUTE => fact(route(body, flags & REPLACE != 0).map(Fact::Route)),
        DELETE_ROUTE => fact(route(body, false).map(Fact::RouteGone)),
        _ => Said::Nothing,
    };
    Some(Answer {
        sequence: u32_at(message, 8)?,
        interrupted: flags & DUMP_INTERRUPTED != 0,
        said,
    })
}

fn fact(fact: Option<Fact>) -> Said {
    fact.map_or(Said::Nothing, Said::Fact)
}

/// An error number with its sign turned, where 0 means none.
fn verdict(body: &[u8]) -> Result<(), Errno> {
    let code = bytes_at(body, 0).map_or(0, i32::from_ne_bytes);
    if code == 0 {
        Ok(())
    } else {
        Err(Errno(code.wrapping_neg()))
    }
}

/// `struct ifinfomsg`. A bridge speaks of its ports in a family of its own, which says nothing of the link.
fn link(body: &[u8], kind: u16) -> Option<Fact> {
    let index = u32_at(body, 4)?;
    let flags = u32_at(body, 8)?;
    let family = *body.first()?;
    match (family, kind) {
        (0, NEW_LINK) => Some(Fact::Link {
            index,
            state: match (flags & IFF_UP, flags & IFF_LOWER_UP) {
                (0, _) => LinkState::Down,
                (_, 0) => LinkState::NoCarrier,
                (_, _) => LinkState::Usable,
            },
        }),
        (0, _) => Some(Fact::LinkGone { index }),
        (_, _) => None,
    }
}

/// The family in `struct ifaddrmsg`. Of the end of IPv6 routes the kernel speaks.
fn address_gone(family: &u8) -> Option<Fact> {
    (*family == INET).then_some(Fact::AddressGone)
}

/// `struct nhmsg`.
fn nexthop(body: &[u8], kind: u16) -> Option<Fact> {
    let protocol = *body.get(2)?;
    let mut id = None;
    let mut interface = None;
    let mut gateway = None;
    let mut members: Option<Arc<[u32]>> = None;
    let mut strange = false;
    for attribute in attributes(body.get(8..)?) {
        let value = attribute.value();
        match attribute.kind() {
            NHA_ID => id = u32_at(value, 0),
            NHA_OIF => interface = u32_at(value, 0),
            NHA_GATEWAY => gateway = address(value),
            NHA_GROUP => {
                members = group(value);
                strange |= members.is_none();
            }
            NHA_GROUP_TYPE => strange |= u16_at(value, 0) != Some(0),
            NHA_BLACKHOLE | NHA_ENCAP | NHA_FDB => strange = true,
            _ => {}
        }
    }
    let id = id?;
    if kind == DELETE_NEXTHOP {
        return Some(Fact::NexthopGone { id });
    }
    let nexthop = match (strange, members, gateway, interface) {
        (false, Some(members), None, None) => Nexthop::Group(members),
        (false, None, Some(gateway), Some(interface)) => Nexthop::Hop(Hop { gateway, interface }),
        (_, _, _, _) => Nexthop::Other,
    };
    Some(Fact::Nexthop {
        id,
        protocol,
        nexthop,
    })
}

/// Members of a group in ascending order; `None` where they have weights.
fn group(value: &[u8]) -> Option<Arc<[u32]>> {
    let entries = value.chunks_exact(8);
    let members = entries.map(|entry| {
        let weightless = entry[4] == 0 && entry[5] == 0;
        u32_at(entry, 0).filter(|_| weightless)
    });
    let mut members: Vec<u32> = members.collect::<Option<_>>()?;
    members.sort_unstable();
    Some(members.into())
}

/// What the attributes of a route say of where it leads.
#[derive(Default)]
struct Ways {
    object: Option<u32>,
    hops: Option<Vec<Hop>>,
    /// The lowest of several.
    exit: Option<Exit>,
    gateway: Option<IpAddr>,
    interface: Option<u32>,
    /// Packets are put into others.
    wrapped: bool,
    /// No route of ours is like this.
    strange: bool,
}

impl Ways {
    /// Takes in an attribute; `None` if it is not well-formed.
    fn learn(&mut self, kind: u16, value: &[u8]) -> Option<()> {
        match kind {
            RTA_OIF => self.interface = u32_at(value, 0),
            RTA_GATEWAY => self.gateway = address(value),
            RTA_VIA => self.gateway = address(value.get(2..)?),
            RTA_NH_ID => self.object = u32_at(value, 0),
            RTA_MULTIPATH => {
                (self.hops, self.exit) = multipath(value)?;
                self.strange |= self.hops.is_none();
            }
            RTA_ENCAP => (self.wrapped, self.strange) = (true, true),
            RTA_PREFSRC | RTA_METRICS | RTA_SRC => self.strange = true,
            _ => {}
        }
        Some(())
    }

    /// What keeps a route from being like ours need not keep it from leading somewhere.
    fn exit(&self, unicast: bool) -> Option<Exit> {
        let single = self.interface.map(|interface| Exit {
            gateway: self.gateway,
            interface,
        });
        self.exit.or(single).filter(|_| unicast && !self.wrapped)
    }

    fn via(self, unicast: bool) -> Via {
        match (self.object, self.hops, self.gateway, self.interface) {
            (None, None, None, Some(interface)) if unicast => Via::OnLink(interface),
            (_, _, _, _) if self.strange || !unicast => Via::Other,
            (Some(id), _, _, _) => Via::Object(id),
            (None, Some(mut hops), _, _) => {
                hops.sort_unstable();
                Via::Hops(hops.into())
            }
            (None, None, Some(gateway), Some(interface)) => {
                Via::Hops(Arc::from([Hop { gateway, interface }]))
            }
            (None, None, None, _) | (None, None, Some(_), None) => Via::Other,
        }
    }
}

/// `struct rtmsg`.
fn route(body: &[u8], replaced: bool) -> Option<KernelRoute> {
    let [
        family,
        length,
        source_length,
        tos,
        table,
        protocol,
        _scope,
        kind,
    ] = bytes_at(body, 0)?;
    if u32_at(body, 8)? & RTM_F_CLONED != 0 {
        return None;
    }
    let mut table = u32::from(table);
    let mut destination = None;
    let mut metric = 0;
    let mut ways = Ways::default();
    for attribute in attributes(body.get(12..)?) {
        let value = attribute.value();
        match attribute.kind() {
            RTA_DST => destination = address(value),
            RTA_TABLE => table = u32_at(value, 0)?,
            RTA_PRIORITY => metric = u32_at(value, 0)?,
            kind => ways.learn(kind, value)?,
        }
    }
    let unicast = kind == RTN_UNICAST;
    Some(KernelRoute {
        table,
        prefix: prefix(family, destination, length)?,
        narrowed: tos != 0 || source_length != 0,
        metric,
        protocol,
        exit: ways.exit(unicast),
        object: ways.object,
        via: ways.via(unicast),
        replaced,
    })
}

fn prefix(family: u8, destination: Option<IpAddr>, length: u8) -> Option<IpNet> {
    match (family, destination) {
        (INET, None) => Some(Ipv4Net::new(Ipv4Addr::UNSPECIFIED, length).ok()?.into()),
        (INET6, None) => Some(Ipv6Net::new(Ipv6Addr::UNSPECIFIED, length).ok()?.into()),
        (INET | INET6, Some(address)) => IpNet::new(address, length).ok(),
        (_, _) => None,
    }
}

/// `struct rtnexthop`s with their attributes: as hops, unless one has a weight, no gateway or is wrapped, and the lowest exit of all.
fn multipath(mut value: &[u8]) -> Option<(Option<Vec<Hop>>, Option<Exit>)> {
    let mut hops = Some(Vec::new());
    let mut exits = Vec::new();
    while !value.is_empty() {
        let length = usize::from(u16_at(value, 0)?);
        let weightless = *value.get(3)? == 0;
        let interface = u32_at(value, 4)?;
        let mut gateway = None;
        let mut wrapped = false;
        for attribute in attributes(value.get(8..length)?) {
            match attribute.kind() {
                RTA_GATEWAY => gateway = address(attribute.value()),
                RTA_VIA => gateway = address(attribute.value().get(2..)?),
                RTA_ENCAP => wrapped = true,
                _ => {}
            }
        }
        match (&mut hops, gateway) {
            (Some(hops), Some(gateway)) if weightless && !wrapped => {
                hops.push(Hop { gateway, interface });
            }
            (_, _) => hops = None,
        }
        exits.extend((!wrapped).then_some(Exit { gateway, interface }));
        value = value.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some((hops, exits.into_iter().min()))
}

fn attributes(bytes: &[u8]) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    NlasIterator::new(bytes).map_while(Result::ok)
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => bytes_at::<4>(value, 0).map(|octets| Ipv4Addr::from(octets).into()),
        16 => bytes_at::<16>(value, 0).map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes_at(bytes, at).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes_at(bytes, at).map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests;
