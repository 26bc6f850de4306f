//! What one node must do, object by object.
#![expect(
    clippy::unwrap_used,
    reason = "builders of test objects: a panic is the failure"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "rows read better with literals"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plan::NodeFacts;
use plan::node::{IpFamily, NodePlan, RouterIdMode};
use plan::rejected::{Reason, Unsupported};
use serde_json::{Value, json};

use world::{NODE, World};

mod datapath;
mod import_default_routes;
mod import_properties;
mod import_status;
mod imports;
mod services;
mod world;

#[test]
fn the_published_manifests_announce_the_pod_cidr_to_the_router() {
    let plan = World::published().plan();
    assert_eq!(plan.rejected, []);
    assert_eq!(plan.generation, Some(3));
    let instance = &plan.instances["instance-65001"];
    assert_eq!(
        (instance.local_asn, instance.router_id.to_string().as_str()),
        (65001, "192.168.10.100")
    );
    assert_eq!(instance.local_port, None);
    let peer = &instance.peers["tor-switch"];
    assert_eq!((peer.asn, peer.port, peer.ebgp_ttl), (Some(65000), 179, 2));
    assert_eq!(
        (peer.hold_time, peer.keepalive, peer.graceful_restart),
        (9, 3, Some(15))
    );
    assert_eq!(peer.connect_retry, Duration::from_secs(120));
    assert_eq!(peer.families, [IpFamily::Ipv4]);
    let announced: Vec<_> = peer.announce.keys().map(ToString::to_string).collect();
    assert_eq!(announced, ["172.20.0.0/24"]);
    assert_eq!(
        instance.originate.len(),
        1,
        "the IPv6 CIDR has no peer that wants it"
    );
}

#[test]
fn without_a_node_config_there_is_nothing_to_do() {
    let mut world = World::published();
    world.snapshot.node_configs.clear();
    assert_eq!(world.plan(), NodePlan::default());
}

#[test]
fn a_cilium_node_s_pod_cidrs_and_address_come_before_the_node_s() {
    let mut world = World::published();
    let facts = NodeFacts {
        pod_cidrs: vec!["10.244.7.0/24".parse().unwrap()],
        internal_addresses: vec!["198.51.100.7".parse().unwrap()],
        ..NodeFacts::default()
    };
    world.snapshot.cilium_nodes = Some([(NODE.to_owned(), Arc::new(facts))].into());
    let plan = world.plan();
    let instance = &plan.instances["instance-65001"];
    assert_eq!(instance.router_id.to_string(), "198.51.100.7");
    assert_eq!(
        instance
            .originate
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["10.244.7.0/24"]
    );
    world.snapshot.cilium_nodes = Some(BTreeMap::new());
    assert_eq!(
        world.plan().instances["instance-65001"]
            .router_id
            .to_string(),
        "192.168.10.100"
    );
}

#[test]
fn a_peer_without_reference_gets_the_defaults_and_no_announcement() {
    let mut world = World::published();
    world.peer(json!({"peerConfigRef": null}));
    let plan = world.plan();
    let peer = &plan.instances["i"].peers["p"];
    assert_eq!(
        (
            peer.hold_time,
            peer.keepalive,
            peer.ebgp_ttl,
            peer.graceful_restart
        ),
        (90, 30, 1, None)
    );
    assert_eq!(peer.families, [IpFamily::Ipv6, IpFamily::Ipv4]);
    assert!(peer.announce.is_empty() && plan.rejected.is_empty());
}

#[test]
fn a_selector_that_is_absent_matches_nothing_and_an_empty_one_everything() {
    let rows = [
        (json!({"afi": "ipv6", "safi": "unicast"}), 0),
        (
            json!({"afi": "ipv6", "safi": "unicast", "advertisements": {}}),
            1,
        ),
        (
            json!({"afi": "ipv6", "safi": "unicast", "advertisements": {"matchLabels": {"advertise": "no"}}}),
            0,
        ),
    ];
    for (family, announced) in rows {
        let mut world = World::published();
        world.peer_config(json!({"families": [family]}));
        let plan = world.plan();
        assert_eq!(
            plan.instances["instance-65001"].originate.len(),
            announced,
            "{family}"
        );
    }
}

#[test]
fn attributes_of_overlapping_advertisements_are_merged() {
    let mut world = World::published();
    world.advertisement("pods", json!([{"advertisementType": "PodCIDR", "attributes": {
        "localPreference": 90, "communities": {"standard": ["65000:99", "4294967041"], "large": ["1:2:3"]}}}]));
    world.advertisement("more", json!([{"advertisementType": "PodCIDR", "attributes": {
        "localPreference": 200, "communities": {"standard": ["65000:99"], "wellKnown": ["no-export"]}}}]));
    let plan = world.plan();
    let attributes = plan.instances["instance-65001"].peers["tor-switch"]
        .announce
        .values()
        .next()
        .unwrap();
    assert_eq!(attributes.local_preference, Some(200));
    assert_eq!(
        attributes.communities,
        [65000 << 16 | 99, 0xffff_ff01].into()
    );
    assert_eq!(attributes.large_communities, [(1, 2, 3)].into());
}

#[test]
fn what_is_wrong_with_an_instance_costs_that_instance() {
    let rows = [
        (json!({"localASN": null}), Reason::LocalAsnMissing),
        (
            json!({"routerID": "0.0.0.0"}),
            Reason::RouterIdInvalid("0.0.0.0".into()),
        ),
        (
            json!({"routerID": "ten"}),
            Reason::RouterIdInvalid("ten".into()),
        ),
        (json!({"localPort": 0}), Reason::LocalPortInvalid(0)),
    ];
    for (changes, reason) in rows {
        let mut world = World::published();
        world.instance(changes.clone());
        let plan = world.plan();
        assert!(plan.instances.is_empty(), "{changes}");
        assert_eq!(world.reasons(), [reason], "{changes}");
    }
}

#[test]
fn two_instances_do_not_listen_on_one_port() {
    let mut world = World::published();
    world.node_config(json!([
        {"name": "a", "localASN": 65001, "localPort": 1790}, {"name": "b", "localASN": 65002, "localPort": 1790},
        {"name": "c", "localASN": 65003, "localPort": 1791}]));
    assert_eq!(world.reasons(), [Reason::LocalPortTaken(1790)]);
    assert_eq!(
        world.plan().instances.keys().collect::<Vec<_>>(),
        ["a", "c"]
    );
}

#[test]
fn router_ids_come_from_the_config_else_the_node_else_nowhere() {
    let mut world = World::published();
    world.instance(json!({"routerID": "10.0.0.9"}));
    assert_eq!(
        world.plan().instances["i"].router_id.to_string(),
        "10.0.0.9"
    );
    world.instance(json!({}));
    world.settings.router_id = RouterIdMode::IpPool;
    assert_eq!(world.reasons(), [Reason::RouterIdMissing]);
    world.settings.router_id = RouterIdMode::Default;
    let ipv6_only = |address: &str| NodeFacts {
        internal_addresses: vec![address.parse().unwrap()],
        ..NodeFacts::default()
    };
    world
        .snapshot
        .nodes
        .insert(NODE.into(), Arc::new(ipv6_only("fd00:10::100")));
    let first = world.plan().instances["i"].router_id;
    world
        .snapshot
        .nodes
        .insert(NODE.into(), Arc::new(ipv6_only("fd00:10::101")));
    assert_ne!(first, world.plan().instances["i"].router_id);
    world.snapshot.nodes.clear();
    assert_eq!(world.reasons(), [Reason::NodeWithoutAddress]);
}

#[test]
fn what_is_wrong_with_a_peer_costs_that_peer() {
    let rows = [
        (json!({"peerAddress": null}), Reason::PeerAddressMissing),
        (
            json!({"peerAddress": "fe80::1%eth0"}),
            Reason::PeerAddressInvalid("fe80::1%eth0".into()),
        ),
        (
            json!({"peerConfigRef": {"name": "gone"}}),
            Reason::PeerConfigMissing("gone".into()),
        ),
        (
            json!({"localAddress": "fd00::1"}),
            Reason::LocalAddressInvalid("fd00::1".into()),
        ),
        (
            json!({"peerAddress": null, "autoDiscovery": {"mode": "DefaultGateway",
                "defaultGateway": {"addressFamily": "ipv4"}}}),
            Reason::Unsupported(Unsupported::AutoDiscovery),
        ),
    ];
    for (changes, reason) in rows {
        let mut world = World::published();
        world.peer(changes.clone());
        assert!(world.plan().instances["i"].peers.is_empty(), "{changes}");
        assert_eq!(world.reasons(), [reason], "{changes}");
    }
}

#[test]
fn white_space_around_an_address_is_no_fault() {
    let mut world = World::published();
    world.peer(json!({"peerAddress": " 192.0.2.9 ", "localAddress": "192.0.2.1 "}));
    let plan = world.plan();
    let peer = &plan.instances["i"].peers["p"];
    assert_eq!(
        (peer.address.to_string(), peer.local_address),
        ("192.0.2.9".into(), Some([192, 0, 2, 1].into()))
    );
}

#[test]
fn one_address_belongs_to_one_peer() {
    let mut world = World::published();
    let peer = |name: &str| json!({"name": name, "peerASN": 1, "peerAddress": "192.0.2.1"});
    world.instance(json!({"peers": [peer("a"), peer("b")]}));
    assert_eq!(
        world.plan().instances["i"].peers.keys().collect::<Vec<_>>(),
        ["a"]
    );
    assert_eq!(
        world.reasons(),
        [Reason::PeerAddressTaken([192, 0, 2, 1].into())]
    );
}

#[test]
fn an_asn_of_zero_is_learned() {
    let mut world = World::published();
    for asn in [json!(0), Value::Null] {
        world.peer(json!({"peerASN": asn}));
        assert_eq!(world.plan().instances["i"].peers["p"].asn, None);
    }
}

#[test]
fn a_source_interface_gives_its_only_address_of_the_family() {
    let mut world = World::published();
    world.peer(json!({}));
    world.peer_config(json!({"transport": {"sourceInterface": "eth1"}}));
    let missing = |found| Reason::SourceInterface {
        interface: "eth1".into(),
        found,
    };
    assert_eq!(world.reasons(), [missing(0)]);
    let addresses = vec!["192.0.2.7".parse().unwrap(), "fd00::7".parse().unwrap()];
    world.observed.interfaces.insert("eth1".into(), addresses);
    assert_eq!(
        world.plan().instances["i"].peers["p"].local_address,
        Some([192, 0, 2, 7].into())
    );
    world
        .observed
        .interfaces
        .get_mut("eth1")
        .unwrap()
        .push("192.0.2.8".parse().unwrap());
    assert_eq!(world.reasons(), [missing(2)]);
}

#[test]
fn a_password_that_cannot_be_used_is_no_session_without_password() {
    let mut world = World::published();
    world.peer_config(json!({"authSecretRef": "bgp-password"}));
    assert_eq!(
        world.reasons(),
        [Reason::Unsupported(Unsupported::AuthSecret)]
    );
    assert!(world.plan().instances["instance-65001"].peers.is_empty());
}

#[test]
fn what_is_not_carried_out_yet_is_named_and_costs_nothing_else() {
    let mut world = World::published();
    world.advertisement(
        "devices",
        json!([{"advertisementType": "Interface", "interface": {"name": "eth1"}}]),
    );
    assert_eq!(
        world.reasons(),
        [Reason::Unsupported(Unsupported::InterfaceAdvertisement)]
    );
    world.peer_config(json!({"families": [{"afi": "l2vpn", "safi": "evpn"},
        {"afi": "ipv4", "safi": "unicast", "advertisements": {}}]}));
    let plan = world.plan();
    assert!(
        world
            .reasons()
            .contains(&Reason::FamilyUnsupported("l2vpn/evpn".into()))
    );
    assert_eq!(
        plan.instances["instance-65001"].peers["tor-switch"].families,
        [IpFamily::Ipv4]
    );
    assert_eq!(plan.instances["instance-65001"].originate.len(), 1);
}

#[test]
fn an_invalid_selector_costs_its_family() {
    let mut world = World::published();
    world.peer_config(json!({"families": [
        {"afi": "ipv4", "safi": "unicast", "advertisements": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
        {"afi": "ipv6", "safi": "unicast", "advertisements": {}}]}));
    let plan = world.plan();
    assert!(
        matches!(world.reasons().as_slice(), [Reason::SelectorInvalid { family, .. }] if family == "ipv4")
    );
    let announced: Vec<_> = plan.instances["instance-65001"]
        .originate
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(announced, ["fd00:20::/64"]);
}

#[test]
fn a_local_preference_out_of_range_is_left_out_and_named() {
    let mut world = World::published();
    let attributes = json!({"localPreference": -5, "communities": {"standard": ["1:2"]}});
    world.advertisement(
        "pods",
        json!([{"advertisementType": "PodCIDR", "attributes": attributes}]),
    );
    let plan = world.plan();
    assert_eq!(
        world.reasons(),
        [Reason::LocalPreferenceInvalid {
            advertisement: "pods".into(),
            value: -5
        }]
    );
    let attributes = plan.instances["instance-65001"].peers["tor-switch"]
        .announce
        .values()
        .next()
        .unwrap();
    assert_eq!(
        (attributes.local_preference, attributes.communities.len()),
        (None, 1)
    );
}
