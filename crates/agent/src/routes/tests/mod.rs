//! Verdicts as rows; the task against the kernel of this machine, in network namespaces.

mod chain;
mod kernel;
mod place;
mod verdicts;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::sync::Arc;

use bgp::policy::ExportPolicy;
use bgp::rib::{LearnedPath, PeerFacts, PeerId, Rib, RibConfig};
use bgp::wire::attribute::Origin;
use bgp::wire::{AttributesBuilder, DecodeContext, Framer, NextHop, PeerKind, update};
use bgp::{Family, PeerName};
use bytes::BytesMut;
use ipnet::IpNet;
use plan::node::{Guards, ImportPlan, IpFamily, PrefixRule, RoutesPlan, Target};

use super::{LearnedRoute, Offer};

pub(super) const TARGET: Target = Target {
    table: 254,
    protocol: 186,
    metric: 30,
};

pub(super) fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

/// An import of everything in `rules` (`!` before what is rejected), from everybody.
pub(super) fn import(name: &str, rules: &[&str]) -> ImportPlan {
    let rule = |text: &&str| {
        let prefix = net(text.trim_start_matches('!'));
        PrefixRule {
            prefix,
            min_length: prefix.prefix_len(),
            max_length: prefix.max_prefix_len(),
            accept: !text.starts_with('!'),
        }
    };
    ImportPlan {
        name: name.to_owned(),
        instances: None,
        peers: None,
        families: BTreeSet::from([IpFamily::Ipv4, IpFamily::Ipv6]),
        rules: rules.iter().map(rule).collect(),
        maximum_paths: NonZeroU16::new(4).expect("four"),
    }
}

pub(super) fn plan(imports: Vec<ImportPlan>) -> RoutesPlan {
    let guards = Guards {
        pod_cidrs: vec![net("10.244.0.0/24")],
        ..Guards::default()
    };
    RoutesPlan {
        imports: [(TARGET, imports)].into(),
        guards: Arc::new(guards),
    }
}

/// A path a peer gave, and our address on the session with it.
pub(super) struct Given {
    pub(super) peer: &'static str,
    pub(super) next_hop: NextHop,
    pub(super) local: IpAddr,
}

/// Equally good paths of these peers with these IPv4 next hops.
pub(super) fn given(list: &[(&'static str, &str)]) -> Vec<LearnedPath> {
    let given: Vec<Given> = list
        .iter()
        .map(|(peer, next_hop)| Given {
            peer,
            next_hop: NextHop::Ipv4(next_hop.parse().expect("an address")),
            local: IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)),
        })
        .collect();
    learned(&given)
}

/// The same of any next hops: paths as a RIB hands them out.
pub(super) fn learned(given: &[Given]) -> Vec<LearnedPath> {
    let mut rib = Rib::new(65000, Ipv4Addr::new(10, 9, 0, 1), RibConfig::default());
    let (ipv4, ipv6) = ("203.0.113.0/24", "2001:db8:9::/48");
    for (number, one) in (1_u8..).zip(given) {
        let peer = PeerId(number.into());
        rib.peer_up(
            peer,
            PeerFacts {
                kind: PeerKind::External,
                asn: 65001,
                router_id: Ipv4Addr::new(10, 9, 1, number),
                remote: Ipv4Addr::new(10, 0, 1, 100 + number).into(),
                local: one.local,
                families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
                four_octet: true,
                max_message: 4096,
                extended_next_hop: Vec::new(),
                policy: Arc::new(ExportPolicy::default()),
            },
        );
        let builder = AttributesBuilder::new()
            .origin(Origin::Igp)
            .as_path(&[65001]);
        let mut out = BytesMut::new();
        let sent = match one.next_hop {
            NextHop::Ipv4(next_hop) => {
                let mut nets = [ipv4.parse().expect("a prefix")].into_iter().peekable();
                let attributes = builder.next_hop(next_hop).build();
                update::announce_ipv4(&mut out, 4096, &attributes, &mut nets)
            }
            next_hop @ NextHop::Ipv6 { .. } => {
                let nets: [ipnet::Ipv6Net; 1] = [ipv6.parse().expect("a prefix")];
                let mut nets = nets.into_iter().peekable();
                update::announce(&mut out, 4096, &builder.build(), next_hop, &mut nets)
            }
        };
        assert_eq!(sent.expect("it fits"), 1);
        receive(&mut rib, peer, &out);
    }
    let name = |peer: PeerId| {
        let one = given.get(peer.0 as usize - 1)?;
        Some(PeerName::from(one.peer))
    };
    let mut paths = rib.learned(net(ipv4), name);
    paths.extend(rib.learned(net(ipv6), name));
    assert_eq!(paths.len(), given.len());
    paths
}

fn receive(rib: &mut Rib, peer: PeerId, message: &BytesMut) {
    let context = DecodeContext {
        four_octet: true,
        peer_kind: PeerKind::External,
        families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
        local_asn: 65000,
        first_asn: None,
        reject_as_sets: false,
    };
    let mut framer = Framer::new();
    framer.push(message);
    let frame = framer.next(4096).expect("a message").expect("whole");
    rib.update(peer, &update::decode(frame.body, &context).expect("valid"));
}

/// A route with what one instance has of it.
pub(super) fn route(prefix: &str, paths: &[LearnedPath]) -> LearnedRoute {
    let offer = Offer {
        instance: "main".into(),
        paths: paths.to_vec(),
    };
    LearnedRoute {
        prefix: net(prefix),
        offers: if paths.is_empty() {
            Vec::new()
        } else {
            vec![offer]
        },
    }
}
