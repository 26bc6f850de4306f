//! Requests to the kernel, written straight into a buffer (`linux/netlink.h`, `linux/rtnetlink.h`, `linux/nexthop.h`).
//!
//! # Why
//! A million routes make a million messages of three to five attributes each: they are written one after the other into the same memory,
//! without building each before as a list. Of nexthop messages `netlink-packet-route` knows nothing. It reads what is written here in the
//! tests.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::difference::{RouteOp, Target};
use crate::kernel::{Hop, Nexthop};
use crate::route::Identity;

/// Message types and flags that reading needs too.
pub(crate) mod number {
    pub(crate) const NEW_LINK: u16 = 16;
    pub(crate) const DELETE_LINK: u16 = 17;
    pub(crate) const GET_LINK: u16 = 18;
    pub(crate) const DELETE_ADDRESS: u16 = 21;
    pub(crate) const NEW_ROUTE: u16 = 24;
    pub(crate) const DELETE_ROUTE: u16 = 25;
    pub(crate) const GET_ROUTE: u16 = 26;
    pub(crate) const NEW_NEXTHOP: u16 = 104;
    pub(crate) const DELETE_NEXTHOP: u16 = 105;
    pub(crate) const GET_NEXTHOP: u16 = 106;

    pub(crate) const REQUEST: u16 = 0x001;
    pub(crate) const ACK: u16 = 0x004;
    pub(crate) const DUMP_INTERRUPTED: u16 = 0x010;
    pub(crate) const DUMP: u16 = 0x300;
    pub(crate) const REPLACE: u16 = 0x100;
    pub(crate) const EXCLUSIVE: u16 = 0x200;
    pub(crate) const CREATE: u16 = 0x400;

    pub(crate) const INET: u8 = 2;
    pub(crate) const INET6: u8 = 10;

    pub(crate) const RTN_UNICAST: u8 = 1;
    pub(crate) const RTA_DST: u16 = 1;
    pub(crate) const RTA_SRC: u16 = 2;
    pub(crate) const RTA_OIF: u16 = 4;
    pub(crate) const RTA_GATEWAY: u16 = 5;
    pub(crate) const RTA_PRIORITY: u16 = 6;
    pub(crate) const RTA_PREFSRC: u16 = 7;
    pub(crate) const RTA_METRICS: u16 = 8;
    pub(crate) const RTA_MULTIPATH: u16 = 9;
    pub(crate) const RTA_TABLE: u16 = 15;
    pub(crate) const RTA_VIA: u16 = 18;
    pub(crate) const RTA_ENCAP: u16 = 22;
    pub(crate) const RTA_NH_ID: u16 = 30;

    pub(crate) const NHA_ID: u16 = 1;
    pub(crate) const NHA_GROUP: u16 = 2;
    pub(crate) const NHA_GROUP_TYPE: u16 = 3;
    pub(crate) const NHA_BLACKHOLE: u16 = 4;
    pub(crate) const NHA_OIF: u16 = 5;
    pub(crate) const NHA_GATEWAY: u16 = 6;
    pub(crate) const NHA_ENCAP: u16 = 8;
    pub(crate) const NHA_FDB: u16 = 11;

    pub(crate) const IFLA_EXT_MASK: u16 = 29;
    pub(crate) const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
}

use number::{
    ACK, CREATE, DELETE_NEXTHOP, DELETE_ROUTE, DUMP, EXCLUSIVE, GET_LINK, GET_NEXTHOP, GET_ROUTE,
    IFLA_EXT_MASK, INET, INET6, NEW_NEXTHOP, NEW_ROUTE, NHA_GATEWAY, NHA_GROUP, NHA_ID, NHA_OIF,
    REPLACE, REQUEST, RTA_DST, RTA_GATEWAY, RTA_MULTIPATH, RTA_NH_ID, RTA_OIF, RTA_PRIORITY,
    RTA_TABLE, RTA_VIA, RTEXT_FILTER_SKIP_STATS, RTN_UNICAST,
};

/// The scope that, in a deletion, means any.
const RT_SCOPE_NOWHERE: u8 = 255;
const HEADER: usize = 16;

/// Requests one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    bytes: Vec<u8>,
    /// Where the last message begins.
    last: usize,
}

impl Messages {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.last = 0;
    }

    /// The last message shall be answered even if it succeeds.
    pub(crate) fn ask_for_ack(&mut self) {
        if let Some(flags) = self.bytes.get_mut(self.last + 6..self.last + 8) {
            let flags_before = u16::from_ne_bytes([flags[0], flags[1]]);
            flags.copy_from_slice(&(flags_before | ACK).to_ne_bytes());
        }
    }

    /// Appends what makes the step.
    pub(crate) fn op(&mut self, identity: &Identity, op: &RouteOp, sequence: u32) {
        match op {
            RouteOp::Create { prefix, target } => {
                self.begin(NEW_ROUTE, CREATE | EXCLUSIVE, sequence);
                self.route(identity, *prefix, Some(target));
            }
            RouteOp::Replace { prefix, target } => {
                self.begin(NEW_ROUTE, CREATE | REPLACE, sequence);
                self.route(identity, *prefix, Some(target));
            }
            RouteOp::Delete { prefix } => {
                self.begin(DELETE_ROUTE, 0, sequence);
                self.route(identity, *prefix, None);
            }
            RouteOp::CreateNexthop { id, nexthop } => {
                self.begin(NEW_NEXTHOP, CREATE | EXCLUSIVE, sequence);
                self.nexthop(identity, *id, Some(nexthop));
            }
            RouteOp::ReplaceNexthop { id, nexthop } => {
                self.begin(NEW_NEXTHOP, REPLACE, sequence);
                self.nexthop(identity, *id, Some(nexthop));
            }
            RouteOp::DeleteNexthop { id } => {
                self.begin(DELETE_NEXTHOP, 0, sequence);
                self.nexthop(identity, *id, None);
            }
        }
        self.end();
    }

    /// Appends the question for all interfaces.
    pub(crate) fn dump_links(&mut self, sequence: u32) {
        self.begin(GET_LINK, DUMP, sequence);
        self.bytes.extend_from_slice(&[0; 16]);
        self.attribute_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        self.end();
    }

    /// Appends the question for all nexthop objects.
    pub(crate) fn dump_nexthops(&mut self, sequence: u32) {
        self.begin(GET_NEXTHOP, DUMP, sequence);
        self.bytes.extend_from_slice(&[0; 8]);
        self.end();
    }

    /// Appends the question for the routes of a family, of one table and protocol or of all. Needs strict checking.
    pub(crate) fn dump_routes(
        &mut self,
        family: u8,
        table: Option<u32>,
        protocol: Option<u8>,
        sequence: u32,
    ) {
        self.begin(GET_ROUTE, DUMP, sequence);
        self.bytes.extend_from_slice(&[
            family,
            0,
            0,
            0,
            0,
            protocol.unwrap_or(0),
            0,
            0,
            0,
            0,
            0,
            0,
        ]);
        if let Some(table) = table {
            self.attribute_u32(RTA_TABLE, table);
        }
        self.end();
    }

    fn begin(&mut self, kind: u16, flags: u16, sequence: u32) {
        self.last = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes
            .extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
    }

    fn end(&mut self) {
        let length = u32::try_from(self.bytes.len() - self.last).unwrap_or(u32::MAX);
        self.bytes[self.last..self.last + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// The body of a route; without a target, of its deletion, where type and scope 0 and 255 mean any.
    fn route(&mut self, identity: &Identity, prefix: IpNet, target: Option<&Target>) {
        let family = match prefix {
            IpNet::V4(_) => INET,
            IpNet::V6(_) => INET6,
        };
        // The number of a table beyond the byte stands in the attribute only.
        let table = u8::try_from(identity.table).unwrap_or(0);
        let (scope, kind) = match target {
            Some(_) => (0, RTN_UNICAST),
            None => (RT_SCOPE_NOWHERE, 0),
        };
        let length = prefix.prefix_len();
        let protocol = identity.protocol;
        self.bytes.extend_from_slice(&[
            family, length, 0, 0, table, protocol, scope, kind, 0, 0, 0, 0,
        ]);
        self.attribute_address(RTA_DST, prefix.network());
        self.attribute_u32(RTA_TABLE, identity.table);
        self.attribute_u32(RTA_PRIORITY, identity.metric_for(prefix));
        match target {
            None => {}
            Some(Target::Object(id)) => self.attribute_u32(RTA_NH_ID, *id),
            Some(Target::Hops(hops)) => match &**hops {
                [hop] => {
                    self.gateway(prefix, hop.gateway);
                    self.attribute_u32(RTA_OIF, hop.interface);
                }
                hops => self.multipath(prefix, hops),
            },
        }
    }

    fn gateway(&mut self, prefix: IpNet, gateway: IpAddr) {
        match (prefix, gateway) {
            (IpNet::V4(_), IpAddr::V6(address)) => {
                self.attribute(RTA_VIA, 18);
                self.bytes
                    .extend_from_slice(&u16::from(INET6).to_ne_bytes());
                self.bytes.extend_from_slice(&address.octets());
                self.pad();
            }
            (IpNet::V4(_), IpAddr::V4(_)) | (IpNet::V6(_), _) => {
                self.attribute_address(RTA_GATEWAY, gateway);
            }
        }
    }

    /// `struct rtnexthop` and its attributes, one behind the other.
    fn multipath(&mut self, prefix: IpNet, hops: &[Hop]) {
        let begin = self.bytes.len();
        self.attribute(RTA_MULTIPATH, 0);
        for hop in hops {
            let entry = self.bytes.len();
            self.bytes.extend_from_slice(&[0; 4]);
            self.bytes.extend_from_slice(&hop.interface.to_ne_bytes());
            self.gateway(prefix, hop.gateway);
            self.write_length(entry);
        }
        self.write_length(begin);
    }

    fn write_length(&mut self, begin: usize) {
        let length = u16::try_from(self.bytes.len() - begin).unwrap_or(u16::MAX);
        self.bytes[begin..begin + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// The body of a nexthop object; without content, of its deletion.
    fn nexthop(&mut self, identity: &Identity, id: u32, nexthop: Option<&Nexthop>) {
        let family = match nexthop {
            Some(Nexthop::Hop(hop)) if hop.gateway.is_ipv6() => INET6,
            Some(Nexthop::Hop(_)) => INET,
            Some(Nexthop::Group(_) | Nexthop::Other) | None => 0,
        };
        // A deletion by identifier must leave the rest empty.
        let protocol = nexthop.map_or(0, |_| identity.protocol);
        self.bytes
            .extend_from_slice(&[family, 0, protocol, 0, 0, 0, 0, 0]);
        self.attribute_u32(NHA_ID, id);
        match nexthop {
            Some(Nexthop::Hop(hop)) => {
                self.attribute_u32(NHA_OIF, hop.interface);
                self.attribute_address(NHA_GATEWAY, hop.gateway);
            }
            Some(Nexthop::Group(members)) => {
                self.attribute(NHA_GROUP, members.len() * 8);
                for member in members.iter() {
                    self.bytes.extend_from_slice(&member.to_ne_bytes());
                    self.bytes.extend_from_slice(&[0; 4]);
                }
            }
            Some(Nexthop::Other) | None => {}
        }
    }

    fn attribute(&mut self, kind: u16, length: usize) {
        let length = u16::try_from(length + 4).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
    }

    fn attribute_u32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, 4);
        self.bytes.extend_from_slice(&value.to_ne_bytes());
    }

    fn attribute_address(&mut self, kind: u16, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                self.attribute(kind, 4);
                self.bytes.extend_from_slice(&address.octets());
            }
            IpAddr::V6(address) => {
                self.attribute(kind, 16);
                self.bytes.extend_from_slice(&address.octets());
            }
        }
    }

    fn pad(&mut self) {
        let padded = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(padded, 0);
    }
}

/// The length of a message header.
pub(crate) const fn header_length() -> usize {
    HEADER
}
