//! The same resources against FRR, BIRD and GoBGP, over IPv4 and over IPv6 sessions, as eBGP and as iBGP: both
//! families of every node's pods arrive with the next hop of that node, and what the router announces is counted.
//!
//! BIRD and FRR install what they learn, GoBGP installs nothing by itself. IPv6 routes of a session over IPv4
//! carry the mapped next hop `::ffff:a.b.c.d` (BIRD and GoBGP show it as `a.b.c.d`), which no kernel accepts;
//! there the BGP table is the proof.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use lab::router::{Afi, Route, Router};
use lab::topology::{NodeSpec, RouterKind};
use scenarios::manifests::{Peer, advertisement, cluster_config, peer_config, together};
use scenarios::peering;
use scenarios::topologies::{
    Family, NODES_ASN, OUTSIDE_ASN, addresses, host_number, networks, peering as expected,
};
use scenarios::{Failure, Lab};

const SOON: Duration = Duration::from_secs(20);

pub(crate) fn with_frr(lab: &mut Lab) -> Result<(), Failure> {
    in_every_way(lab, "frr")
}

pub(crate) fn with_bird(lab: &mut Lab) -> Result<(), Failure> {
    in_every_way(lab, "bird")
}

pub(crate) fn with_gobgp(lab: &mut Lab) -> Result<(), Failure> {
    in_every_way(lab, "gobgp")
}

fn in_every_way(lab: &mut Lab, router: &str) -> Result<(), Failure> {
    for asn in [OUTSIDE_ASN, NODES_ASN] {
        for family in [Family::Ipv4, Family::Ipv6] {
            one_way(lab, router, asn, family)?;
            lab.reset()?;
        }
    }
    Ok(())
}

fn one_way(lab: &Lab, name: &str, asn: u32, family: Family) -> Result<(), Failure> {
    let nodes = addresses(lab.cluster.topology(), family);
    let router = lab.cluster.router(name)?;
    let host = host_number(name).expect("the topology has that router");
    router.reconfigure(&expected(host, asn, &nodes).configuration(router.kind()))?;
    let address = match family {
        Family::Ipv4 => format!("192.168.10.{host}"),
        Family::Ipv6 => format!("fd00:10::{host}"),
    };
    let peer = Peer {
        name: "router".to_owned(),
        address: address.parse().expect("a literal address"),
        asn,
        config: "router".to_owned(),
    };
    lab.cluster.apply(&together(&[
        advertisement("pods", ""),
        peer_config("router", 9),
        cluster_config("interop", "enable-bgp", NODES_ASN, &[peer]),
    ]))?;
    peering::await_sessions(router, &nodes, SOON)?;
    for (node, session) in lab.cluster.topology().nodes.iter().zip(&nodes) {
        for cidr in &node.pod_cidrs {
            learned(router, node, *session, *cidr, asn)?;
        }
        counted(lab, node, host)?;
    }
    Ok(())
}

/// The pod range is in the router's table and, where that can be, in its kernel.
fn learned(
    router: &Router,
    node: &NodeSpec,
    session: IpAddr,
    cidr: IpNet,
    asn: u32,
) -> Result<(), Failure> {
    let as_path = if asn == NODES_ASN {
        vec![]
    } else {
        vec![NODES_ASN]
    };
    let awaited = format!(
        "comes from {} with next hop {session} and path {as_path:?}",
        node.name
    );
    peering::await_path(router, cidr, &awaited, SOON, |route: &Route| {
        route.from == Some(session)
            && route
                .next_hops
                .iter()
                .any(|hop| hop.to_canonical() == session)
            && route.as_path == as_path
    })?;
    let mapped = Afi::of(&cidr) == Afi::Ipv6 && session.is_ipv4();
    match router.kind() {
        RouterKind::Frr | RouterKind::Bird if !mapped => {
            peering::await_kernel_route(router, cidr, session, SOON)
        }
        RouterKind::Frr | RouterKind::Bird | RouterKind::Gobgp => Ok(()),
    }
}

/// The node reports one route advertised in each family, and at least the router's own one received.
fn counted(lab: &Lab, node: &NodeSpec, host: u8) -> Result<(), Failure> {
    let families = networks(host).len();
    peering::await_status(
        lab,
        &node.name,
        "router",
        "counts its routes in both families",
        Duration::from_secs(7),
        |status| {
            status.route_count.len() == families
                && status
                    .route_count
                    .iter()
                    .all(|count| count.advertised == Some(1) && count.received >= Some(1))
        },
    )
    .map(|_| ())
}
