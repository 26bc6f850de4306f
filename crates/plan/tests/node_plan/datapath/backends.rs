//! Which endpoints stand behind a frontend, and in which state.

use std::sync::Arc;

use plan::snapshot::{EndpointState, IpFamily, Protocol, TrafficPolicy};
use plan::{EndpointSliceFacts, NodeFacts};

use super::{OTHER, Scene, endpoint, ip, list, port, slice_port, web_slice};
use crate::world::NODE;

type Change = fn(&mut Scene);

/// Backends of the LoadBalancer address from outside.
fn outside(scene: &mut Scene) -> String {
    let service = scene.service();
    let frontend = service
        .frontends
        .iter()
        .find(|frontend| frontend.address.ip() == Some(ip("172.16.1.7")));
    list(&frontend.unwrap().external)
}

fn one(address: &str, node: &str, state: EndpointState) -> EndpointSliceFacts {
    EndpointSliceFacts {
        endpoints: vec![endpoint(address, node, state)],
        ..web_slice()
    }
}

#[test]
fn ports_match_by_protocol_and_name_and_never_by_number() {
    let rows: [(&str, Change, &str); 11] = [
        (
            "the same name",
            |_| {},
            "[172.20.0.1:8080* 172.20.1.2:8080]",
        ),
        (
            "another name",
            |s| s.slices[0].ports[0].name = "metrics".to_owned(),
            "[]",
        ),
        (
            "no name at the Service",
            |s| s.service.ports[0].name.clear(),
            "[172.20.0.1:8080* 172.20.1.2:8080]",
        ),
        (
            "no name at the slice",
            |s| s.slices[0].ports[0].name.clear(),
            "[172.20.0.1:8080* 172.20.1.2:8080]",
        ),
        (
            "another protocol",
            |s| s.slices[0].ports[0].protocol = Protocol::Udp,
            "[]",
        ),
        (
            "the name among several",
            |s| {
                s.slices[0]
                    .ports
                    .insert(0, slice_port("metrics", 9090, Protocol::Tcp));
            },
            "[172.20.0.1:8080* 172.20.1.2:8080]",
        ),
        (
            "the number of another port",
            |s| {
                s.service
                    .ports
                    .insert(0, port("metrics", 8080, Protocol::Tcp, 0));
                s.slices[0].ports[0].port = 80;
            },
            "[]",
        ),
        (
            "two ports of the slice with one name",
            |s| {
                s.slices[0].endpoints.pop();
                s.slices[0]
                    .ports
                    .push(slice_port("http", 8081, Protocol::Tcp));
            },
            "[172.20.0.1:8080* 172.20.0.1:8081*]",
        ),
        ("no port at the slice", |s| s.slices[0].ports.clear(), "[]"),
        ("no slice", |s| s.slices.clear(), "[]"),
        (
            "another Service's slice",
            |s| s.slices[0].service = Some("web-2".to_owned()),
            "[]",
        ),
    ];
    for (what, change, expected) in rows {
        let mut scene = Scene::new();
        change(&mut scene);
        assert_eq!(outside(&mut scene), expected, "{what}");
    }
}

#[test]
fn slices_are_united_and_of_one_endpoint_the_best_counts() {
    use EndpointState::{Active, Maintenance, Terminating};
    let rows: [(&str, Vec<EndpointSliceFacts>, &str); 6] = [
        (
            "two slices, in order of addresses",
            vec![
                one("172.20.1.9", OTHER, Active),
                one("172.20.0.3", NODE, Active),
            ],
            "[172.20.0.3:8080* 172.20.1.9:8080]",
        ),
        (
            "one endpoint in two slices",
            vec![
                one("172.20.0.3", NODE, Active),
                one("172.20.0.3", NODE, Active),
            ],
            "[172.20.0.3:8080*]",
        ),
        (
            "one endpoint on its way from slice to slice",
            vec![
                one("172.20.0.3", NODE, Maintenance),
                one("172.20.0.3", NODE, Active),
            ],
            "[172.20.0.3:8080*]",
        ),
        (
            "terminating is better than draining",
            vec![
                one("172.20.0.3", NODE, Terminating),
                one("172.20.0.3", NODE, Maintenance),
            ],
            "[172.20.0.3:8080*~]",
        ),
        (
            "each slice has its own ports",
            vec![
                one("172.20.0.3", NODE, Active),
                EndpointSliceFacts {
                    ports: vec![slice_port("http", 9000, Protocol::Tcp)],
                    ..one("172.20.0.3", NODE, Active)
                },
            ],
            "[172.20.0.3:8080* 172.20.0.3:9000*]",
        ),
        (
            "another family's slice",
            vec![
                one("172.20.0.3", NODE, Active),
                one("fd00:20::3", NODE, Active),
            ],
            "[172.20.0.3:8080*]",
        ),
    ];
    for (what, slices, expected) in rows {
        let mut scene = Scene::new();
        scene.slices = slices;
        assert_eq!(outside(&mut scene), expected, "{what}");
    }
}

#[test]
fn each_family_has_its_own_backends() {
    let mut scene = Scene::new();
    scene.service.cluster_ips.push(ip("fd00:96::7"));
    scene.service.ip_families = vec![IpFamily::Ipv4, IpFamily::Ipv6];
    let slice = one("fd00:20::3", NODE, EndpointState::Active);
    scene.slices.push(slice);
    let service = scene.service();
    for frontend in &service.frontends {
        let is_v6 = frontend.external[0].address.is_ipv6();
        let shown = super::shown(frontend);
        let wants_v6 = shown.starts_with("cluster fd00") || shown.starts_with("node6");
        assert_eq!(is_v6, wants_v6, "{shown}");
        assert_eq!(frontend.external.len(), if wants_v6 { 1 } else { 2 });
    }
}

#[test]
fn every_endpoint_stays_known_and_its_state_says_what_it_gets() {
    use EndpointState::{Active, Maintenance, Terminating, TerminatingNotServing};
    let rows = [
        (Active, "[172.20.0.3:8080*]"),
        (Terminating, "[172.20.0.3:8080*~]"),
        (TerminatingNotServing, "[172.20.0.3:8080*!]"),
        (Maintenance, "[172.20.0.3:8080*!]"),
    ];
    for (state, expected) in rows {
        for policy in [TrafficPolicy::Cluster, TrafficPolicy::Local] {
            let mut scene = Scene::new();
            scene.service.external_traffic_policy = policy;
            scene.slices = vec![one("172.20.0.3", NODE, state)];
            assert_eq!(outside(&mut scene), expected, "{state:?} {policy:?}");
        }
    }
}

#[test]
fn the_policy_local_keeps_what_is_here_and_what_is_nowhere() {
    // Address, node; with policy Cluster, with Local.
    let rows = [
        (
            "172.20.0.3",
            NODE,
            ["[172.20.0.3:8080*]", "[172.20.0.3:8080*]"],
        ),
        ("172.20.1.3", OTHER, ["[172.20.1.3:8080]", "[]"]),
        (
            "203.0.113.3",
            "",
            ["[203.0.113.3:8080]", "[203.0.113.3:8080]"],
        ),
        // The API server's own slice names no node: on this node it is a process of the host.
        (
            "192.168.10.100",
            "",
            ["[192.168.10.100:8080*]", "[192.168.10.100:8080*]"],
        ),
        (
            "172.20.0.4",
            "",
            ["[172.20.0.4:8080*]", "[172.20.0.4:8080*]"],
        ),
    ];
    for (address, node, expected) in rows {
        for (policy, expected) in [TrafficPolicy::Cluster, TrafficPolicy::Local]
            .into_iter()
            .zip(expected)
        {
            let mut scene = Scene::new();
            scene.service.external_traffic_policy = policy;
            scene.slices = vec![one(address, node, EndpointState::Active)];
            assert_eq!(
                outside(&mut scene),
                expected,
                "{address} {node:?} {policy:?}"
            );
        }
    }
}

#[test]
fn lists_are_shared_where_the_policy_takes_nothing_away() {
    let mut scene = Scene::new();
    scene.service.external_traffic_policy = TrafficPolicy::Local;
    scene.slices[0].endpoints.pop();
    let service = scene.service();
    let frontend = &service.frontends[1];
    assert!(Arc::ptr_eq(&frontend.external, &frontend.internal));
}

#[test]
fn an_address_of_this_node_that_a_cilium_node_says_counts() {
    let mut scene = Scene::new();
    let facts = NodeFacts {
        internal_addresses: vec![ip("198.51.100.7")],
        ..NodeFacts::default()
    };
    scene.world.snapshot.cilium_nodes = Some([(NODE.to_owned(), Arc::new(facts))].into());
    scene.slices = vec![one("198.51.100.7", "", EndpointState::Active)];
    assert_eq!(outside(&mut scene), "[198.51.100.7:8080*]");
}
