//! The labs that scenarios share.

use std::net::{IpAddr, Ipv4Addr};

use ::lab::router::{Peering, Remote};
use ::lab::topology::{Host, Link, Route, RouterKind, RouterSpec, Topology, published};
use ipnet::IpNet;

/// The AS of the nodes in every topology.
pub const NODES_ASN: u32 = 65001;
/// The AS of a router outside.
pub const OUTSIDE_ASN: u32 = 65000;

/// A router that joins the two subnets of the published topology beside the published one: host number, kind.
const BESIDE: [(&str, u8, RouterKind); 3] = [
    ("frr", 201, RouterKind::Frr),
    ("bird", 202, RouterKind::Bird),
    ("gobgp", 203, RouterKind::Gobgp),
];

/// The published topology and, beside its router, one of each kind, named `frr`, `bird` and `gobgp`, in both
/// subnets (`.201` to `.203`). Each expects eBGP from every node over IPv4.
#[must_use]
pub fn interop() -> Topology {
    let mut topology = published();
    topology.name = "interop".to_owned();
    let nodes = addresses(&topology, Family::Ipv4);
    for (name, host, kind) in BESIDE {
        let link = |subnet: u8| Link {
            subnet: format!("net{subnet}"),
            addresses: [
                format!("192.168.{subnet}.{host}/24"),
                format!("fd00:{subnet}::{host}/64"),
            ]
            .map(|text| net(&text))
            .to_vec(),
        };
        topology.routers.push(RouterSpec {
            name: name.to_owned(),
            kind,
            links: vec![link(10), link(20)],
            loopback: networks(host),
            routes: Vec::new(),
            config: peering(host, OUTSIDE_ASN, &nodes).configuration(kind),
        });
    }
    topology
}

/// The host behind the router in [`host_behind`].
pub const HOST_BEHIND: &str = "client";
/// Its first address, with which it asks.
pub const FIRST_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 1, 10));
/// Its second address, which it uses for nothing of its own accord.
pub const SECOND_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 1, 11));

/// The published topology with a host in 10.10.1.0/24, the network that the published router announces.
#[must_use]
pub fn host_behind() -> Topology {
    let mut topology = published();
    topology.name = "behind".to_owned();
    topology.subnets.push("net1".to_owned());
    let link = |address: &str| Link {
        subnet: "net1".to_owned(),
        addresses: vec![net(address)],
    };
    let router = topology.routers.first_mut().expect("the published router");
    router
        .loopback
        .retain(|network| *network != net("10.10.1.200/24"));
    router.links.push(link("10.10.1.200/24"));
    let mut host_link = link(&format!("{FIRST_ADDRESS}/24"));
    host_link
        .addresses
        .push(net(&format!("{SECOND_ADDRESS}/24")));
    topology.hosts.push(Host {
        name: HOST_BEHIND.to_owned(),
        links: vec![host_link],
        routes: vec![Route {
            to: net("0.0.0.0/0"),
            via: IpAddr::from([10, 10, 1, 200]),
        }],
    });
    topology
}

/// As [`host_behind`], for a cluster whose Services Tombolo balances.
#[must_use]
pub fn balanced() -> Topology {
    Topology {
        name: "balanced".to_owned(),
        ..host_behind()
    }
}

/// The peering of the router with that host number in [`interop`]: as AS `asn` with each of `nodes`. It
/// originates two networks that lie behind it, one in each family.
#[must_use]
pub fn peering(host: u8, asn: u32, nodes: &[IpAddr]) -> Peering {
    Peering {
        asn,
        router_id: Ipv4Addr::new(192, 168, 10, host),
        neighbors: nodes
            .iter()
            .map(|address| Remote {
                address: *address,
                asn: NODES_ASN,
            })
            .collect(),
        networks: networks(host),
        hold_time: 9,
    }
}

/// What lies behind the router with that host number.
#[must_use]
pub fn networks(host: u8) -> Vec<IpNet> {
    [format!("10.{host}.1.1/24"), format!("fd00:{host}::1/64")]
        .map(|text| net(&text))
        .to_vec()
}

/// The host number of a router of [`interop`].
#[must_use]
pub fn host_number(router: &str) -> Option<u8> {
    BESIDE
        .iter()
        .find(|(name, _, _)| *name == router)
        .map(|(_, host, _)| *host)
}

/// The family in which a session runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Over IPv4.
    Ipv4,
    /// Over IPv6.
    Ipv6,
}

impl Family {
    /// Whether `address` is of the family.
    #[must_use]
    pub fn has(self, address: &IpAddr) -> bool {
        match self {
            Self::Ipv4 => address.is_ipv4(),
            Self::Ipv6 => address.is_ipv6(),
        }
    }
}

/// The address of each node in that family, in the topology's order.
#[must_use]
pub fn addresses(topology: &Topology, family: Family) -> Vec<IpAddr> {
    let all = topology.nodes.iter().flat_map(|node| &node.addresses);
    all.filter(|address| family.has(address)).copied().collect()
}

fn net(literal: &str) -> IpNet {
    literal.parse().expect("a literal prefix")
}
