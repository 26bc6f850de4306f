//! What the machine promises, one claim each.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lb::{Capacity, Family, Frontend, FrontendAddress, MapOp, Protocol, Settings};
use lb_abi::backend_flags::{LOCAL, PRESENT, TERMINATING};
use lb_abi::frontend_flags::{NO_SOCKET, RING, ROUTABLE, TWO_SCOPES, WILDCARD};
use lb_abi::{FILTER_BACKENDS, FILTER_FRONTENDS, Scope, TCP};

use crate::maps::with_scope;
use crate::wishes::{
    CAPACITY, Node, address, balancer, frontend, kinds, list, maglev, random, row,
};

/// A service with all kinds of frontends for one port.
pub(crate) fn complete(texts: &[&str]) -> Arc<lb::Service> {
    let list = list(texts);
    random(vec![
        frontend(FrontendAddress::ClusterIp(address("10.96.0.1")), 80, &list),
        frontend(balancer("172.16.1.1"), 80, &list),
        frontend(FrontendAddress::NodePort(Family::Ipv4), 30080, &list),
    ])
}

#[test]
fn steps_come_in_the_order_that_is_safe() {
    let mut node = Node::new(CAPACITY);
    node.wish.node_addresses.insert(address("10.0.0.1"));
    node.set(
        "a",
        maglev(complete(&["@10.0.1.1", "10.0.1.2"]).frontends.clone()),
    );
    let made = node.apply();
    assert_eq!(
        kinds(&made),
        ["filter", "backend", "node", "slots", "ring", "group", "set"]
    );
    node.unset("a");
    let removed = node.apply();
    assert_eq!(
        kinds(&removed),
        ["remove", "grace", "group", "free", "epoch"]
    );
}

#[test]
fn an_endpoint_that_comes_costs_one_list_and_one_word() {
    let mut node = Node::new(CAPACITY);
    node.set("a", complete(&["10.0.1.1", "10.0.1.2"]))
        .set("b", maglev(vec![]))
        .apply();
    node.set("a", complete(&["10.0.1.1", "10.0.1.2", "10.0.1.3"]));
    let ops = node.apply();
    assert_eq!(kinds(&ops), ["backend", "slots", "group", "grace"]);
    assert_eq!(ops.len(), 4);
}

#[test]
fn an_endpoint_that_goes_is_freed_after_the_grace_period() {
    let mut node = Node::new(CAPACITY);
    node.set("a", complete(&["10.0.1.1", "10.0.1.2"])).apply();
    node.set("a", complete(&["10.0.1.1"]));
    let ops = node.apply();
    assert_eq!(kinds(&ops), ["slots", "group", "grace", "free", "epoch"]);
    assert_eq!(ops.len(), 5);
}

#[test]
fn what_is_equal_costs_nothing_even_if_it_is_another_object() {
    let mut node = Node::new(CAPACITY);
    node.set("a", complete(&["10.0.1.1", "10.0.1.2"])).apply();
    node.set("a", complete(&["10.0.1.1", "10.0.1.2"]));
    assert_eq!(node.apply(), []);
    node.set("a", complete(&["10.0.1.2", "10.0.1.1"]));
    assert_eq!(node.apply(), [], "the order of a list does not matter");
}

#[test]
fn frontends_of_a_port_share_a_group_and_ports_share_a_ring() {
    let mut node = Node::new(CAPACITY);
    let http = list(&["10.0.1.1", "10.0.1.2"]);
    let mut https = http.to_vec();
    for backend in &mut https {
        backend.port = 8443;
    }
    let https = https.into();
    let service = maglev(vec![
        frontend(FrontendAddress::ClusterIp(address("10.96.0.1")), 80, &http),
        frontend(balancer("172.16.1.1"), 80, &http),
        frontend(
            FrontendAddress::ClusterIp(address("10.96.0.1")),
            443,
            &https,
        ),
        frontend(balancer("172.16.1.1"), 443, &https),
    ]);
    node.set("a", service);
    let ops = node.apply();
    let count = |test: fn(&&MapOp) -> bool| ops.iter().filter(test).count();
    assert_eq!(count(|op| matches!(op, MapOp::Group { .. })), 2);
    assert_eq!(count(|op| matches!(op, MapOp::Ring { .. })), 1);
    assert_eq!(count(|op| matches!(op, MapOp::Slots { .. })), 2);
}

#[test]
fn flags_say_what_kind_of_frontend_a_row_is() {
    for (kind, flags, wildcard) in [
        (
            FrontendAddress::ClusterIp(address("10.96.0.1")),
            0,
            Some(WILDCARD),
        ),
        (balancer("10.96.0.1"), ROUTABLE, Some(WILDCARD | ROUTABLE)),
        (
            FrontendAddress::ExternalIp(address("10.96.0.1")),
            ROUTABLE | NO_SOCKET,
            Some(WILDCARD | ROUTABLE),
        ),
        (
            FrontendAddress::ExternalIp(address("10.0.0.1")),
            ROUTABLE,
            None,
        ),
        (
            FrontendAddress::ExternalIp(address("10.0.0.2")),
            ROUTABLE | NO_SOCKET,
            None,
        ),
        (balancer("10.0.0.2"), ROUTABLE, None),
        (balancer("fd96::1"), ROUTABLE, Some(WILDCARD | ROUTABLE)),
    ] {
        let (FrontendAddress::ClusterIp(at)
        | FrontendAddress::LoadBalancer(at)
        | FrontendAddress::ExternalIp(at)) = kind
        else {
            panic!("each row has an address");
        };
        let mut node = Node::new(CAPACITY);
        node.wish.node_addresses.insert(address("10.0.0.1"));
        node.wish.other_nodes.insert(address("10.0.0.2"));
        node.set("a", random(vec![frontend(kind, 80, &list(&["10.0.1.1"]))]))
            .apply();
        let rows = node.maps.resolved();
        let row =
            |port, protocol| rows.get(&crate::reference::key(at, port, protocol, Scope::External));
        assert_eq!(row(80, TCP).map(|row| row.flags), Some(flags), "{kind:?}");
        assert_eq!(row(0, 0).map(|row| row.flags), wildcard, "{kind:?}");
    }
}

#[test]
fn node_ports_follow_the_addresses_of_the_node() {
    let mut node = Node::new(CAPACITY);
    node.wish.node_addresses = BTreeSet::from([address("10.0.0.1"), address("fd00::1")]);
    node.set("a", complete(&["10.0.1.1"])).apply();
    let has = |node: &Node, text| node.maps.frontends.contains_key(&row(text, 30080));
    assert!(has(&node, "0.0.0.0") && has(&node, "10.0.0.1"));
    assert!(!has(&node, "::") && !has(&node, "fd00::1"));
    assert_eq!(node.machine.report().frontends, 3);
    node.wish.node_addresses = BTreeSet::from([address("10.0.0.2")]);
    assert_eq!(
        kinds(&node.apply()),
        ["filter", "node", "set", "remove", "grace"]
    );
    assert!(has(&node, "0.0.0.0") && !has(&node, "10.0.0.1") && has(&node, "10.0.0.2"));
    assert_eq!(node.machine.report().frontends, 3);
}

#[test]
fn the_first_name_has_a_frontend_and_the_next_inherits_it() {
    let claim = |backend| {
        random(vec![frontend(
            balancer("172.16.1.1"),
            80,
            &list(&[backend]),
        )])
    };
    let key = row("172.16.1.1", 80);
    let mut node = Node::new(CAPACITY);
    node.set("b", claim("10.0.1.2")).apply();
    assert_eq!(node.behind(&key), ["10.0.1.2"]);
    node.set("a", claim("10.0.1.1")).set("c", claim("10.0.1.3"));
    assert!(!kinds(&node.apply()).contains(&"remove"));
    assert_eq!(node.behind(&key), ["10.0.1.1"]);
    let taken = "another service has the address, port and protocol: 2 of b, c";
    assert_eq!(node.withheld(), [taken]);
    assert!(
        node.machine
            .report()
            .programmed
            .contains(&address("172.16.1.1"))
    );
    node.unset("a");
    assert!(
        !kinds(&node.apply()).contains(&"remove"),
        "never a moment without it"
    );
    assert_eq!(node.behind(&key), ["10.0.1.2"]);
    node.unset("b").apply();
    assert_eq!(node.behind(&key), ["10.0.1.3"]);
    assert!(node.withheld().is_empty());
}

#[test]
fn a_frontend_that_changes_hands_leaves_the_group_to_its_old_owner() {
    let (one, other) = (balancer("172.16.1.1"), balancer("172.16.1.2"));
    let mut node = Node::new(CAPACITY);
    node.set("b", random(vec![frontend(one, 80, &list(&["10.0.1.1"]))]))
        .apply();
    let both = ["10.0.1.1", "-10.0.1.2"];
    node.set(
        "a",
        random(vec![
            frontend(one, 80, &list(&both)),
            frontend(other, 80, &list(&both)),
        ]),
    );
    node.apply();
    node.set("a", random(vec![frontend(other, 80, &list(&both))]))
        .apply();
    let group = |text| node.maps.frontends[&row(text, 80)].group;
    assert_ne!(
        group("172.16.1.1"),
        group("172.16.1.2"),
        "equal as their lists are"
    );
    assert_eq!(
        node.maps.present().len(),
        2,
        "flows of the one that is not ready go on"
    );
}

#[test]
fn a_held_address_keeps_its_frontends_until_it_is_let_go() {
    let mut node = Node::new(CAPACITY);
    node.set("a", complete(&["10.0.1.1"])).apply();
    node.wish.hold.insert(address("172.16.1.1"));
    node.unset("a").apply();
    assert_eq!(node.behind(&row("172.16.1.1", 80)), ["10.0.1.1"]);
    assert_eq!(
        node.maps.frontends.len(),
        2,
        "the frontend and the rest of its address"
    );
    assert_eq!(
        *node.machine.report().programmed,
        BTreeSet::from([address("172.16.1.1")])
    );
    node.restart(&Settings::default());
    node.apply();
    assert_eq!(node.behind(&row("172.16.1.1", 80)), ["10.0.1.1"]);
    node.wish.hold.clear();
    node.apply();
    assert!(node.maps.frontends.is_empty() && node.maps.present().is_empty());
}

#[test]
fn what_an_earlier_run_left_is_held_where_that_is_wished_but_for_node_ports() {
    let mut node = Node::new(CAPACITY);
    node.wish.node_addresses.insert(address("10.0.0.1"));
    node.set("a", complete(&["10.0.1.1"]))
        .set(
            "b",
            random(vec![frontend(
                balancer("172.16.1.2"),
                80,
                &list(&["10.0.1.2"]),
            )]),
        )
        .apply();
    node.restart(&Settings::default());
    node.wish.hold_found = true;
    node.unset("a").apply();
    assert_eq!(node.behind(&row("172.16.1.1", 80)), ["10.0.1.1"]);
    assert_eq!(node.behind(&row("172.16.1.2", 80)), ["10.0.1.2"]);
    assert!(!node.maps.frontends.contains_key(&row("10.0.0.1", 30080)));
    // What goes now is not what was found.
    node.unset("b").apply();
    assert!(!node.maps.frontends.contains_key(&row("172.16.1.2", 80)));
    node.wish.hold_found = false;
    node.apply();
    assert!(node.maps.frontends.is_empty() && node.maps.present().is_empty());
}

#[test]
fn a_held_address_does_not_hold_what_its_service_drops_at_it() {
    let two = |port| {
        random(vec![frontend(
            balancer("172.16.1.1"),
            port,
            &list(&["10.0.1.1"]),
        )])
    };
    let mut node = Node::new(CAPACITY);
    node.wish.hold.insert(address("172.16.1.1"));
    node.set("a", two(80)).apply();
    node.set("a", two(81)).apply();
    assert!(!node.maps.frontends.contains_key(&row("172.16.1.1", 80)));
    assert!(node.maps.frontends.contains_key(&row("172.16.1.1", 81)));
}

#[test]
fn a_service_that_loses_its_address_goes_on_at_its_others() {
    let mut node = Node::new(CAPACITY);
    node.set("a", complete(&["10.0.1.1"])).apply();
    node.wish.hold.insert(address("172.16.1.1"));
    let list = list(&["10.0.1.2"]);
    node.set(
        "a",
        random(vec![frontend(
            FrontendAddress::ClusterIp(address("10.96.0.1")),
            80,
            &list,
        )]),
    );
    node.apply();
    assert_eq!(node.behind(&row("10.96.0.1", 80)), ["10.0.1.2"]);
    assert_eq!(node.behind(&row("172.16.1.1", 80)), ["10.0.1.1"]);
}

#[test]
fn two_scopes_come_and_go_without_a_gap() {
    let (all, near) = (list(&["10.0.1.1", "10.0.1.2"]), list(&["10.0.1.1"]));
    let service = |external: &Arc<[_]>| {
        random(vec![Frontend {
            address: balancer("172.16.1.1"),
            port: 80,
            protocol: Protocol::Tcp,
            external: Arc::clone(external),
            internal: Arc::clone(&all),
        }])
    };
    let key = row("172.16.1.1", 80);
    let inside = with_scope(&key, Scope::Internal);
    let mut node = Node::new(CAPACITY);
    node.set("a", service(&all)).apply();
    assert_eq!(node.maps.frontends[&key].flags & TWO_SCOPES, 0);
    node.set("a", service(&near)).apply();
    assert_eq!(node.maps.frontends[&key].flags & TWO_SCOPES, TWO_SCOPES);
    assert_eq!(
        (node.behind(&key).len(), node.behind(&inside).len()),
        (1, 2)
    );
    node.set("a", service(&all));
    let ops = node.apply();
    assert_eq!(
        kinds(&ops),
        ["slots", "group", "set", "grace", "remove", "group"]
    );
    assert!(!node.maps.frontends.contains_key(&inside));
}

#[test]
fn another_algorithm_is_another_group() {
    let frontends = || {
        vec![frontend(
            balancer("172.16.1.1"),
            80,
            &list(&["10.0.1.1", "10.0.1.2"]),
        )]
    };
    let key = row("172.16.1.1", 80);
    let mut node = Node::new(CAPACITY);
    node.set("a", random(frontends())).apply();
    let before = node.maps.frontends[&key];
    node.set("a", maglev(frontends())).apply();
    let after = node.maps.frontends[&key];
    assert_ne!(before.group, after.group);
    assert_eq!((before.flags & RING, after.flags & RING), (0, RING));
    assert_eq!(node.maps.resolved()[&key].ring.len(), 251);
}

#[test]
fn new_flows_get_active_backends_else_ending_ones_never_unready_ones() {
    for (backends, chosen) in [
        (
            &["10.0.1.1", "~10.0.1.2", "-10.0.1.3"][..],
            &["10.0.1.1"][..],
        ),
        (
            &["~10.0.1.1", "~10.0.1.2", "-10.0.1.3"],
            &["10.0.1.1", "10.0.1.2"],
        ),
        (&["-10.0.1.1", "-10.0.1.2"], &[]),
        (&[], &[]),
    ] {
        let mut node = Node::new(CAPACITY);
        node.set("a", complete(backends)).apply();
        assert_eq!(node.behind(&row("172.16.1.1", 80)), chosen);
        for text in backends {
            let ends = text.contains(['~', '-']);
            let place = (address(text.trim_start_matches(['~', '-'])), 8080, TCP);
            let flags = if ends { PRESENT | TERMINATING } else { PRESENT };
            assert_eq!(node.maps.present()[&place], flags, "{text} keeps its flows");
        }
    }
}

#[test]
fn a_backend_is_what_any_of_its_services_says() {
    let mut node = Node::new(CAPACITY);
    let at = |address, text| random(vec![frontend(balancer(address), 80, &list(&[text]))]);
    node.set("a", at("172.16.1.1", "~10.0.1.1"))
        .set("b", at("172.16.1.2", "@10.0.1.1"))
        .apply();
    let place = (address("10.0.1.1"), 8080, TCP);
    assert_eq!(node.maps.present()[&place], PRESENT | LOCAL);
    node.unset("b").apply();
    assert_eq!(node.maps.present()[&place], PRESENT | TERMINATING);
    assert_eq!(node.machine.report().backends, 1);
}

#[test]
fn an_id_has_another_generation_each_time_even_over_a_restart() {
    let mut node = Node::new(Capacity {
        backends: 2,
        ..CAPACITY
    });
    let mut last = 0;
    for text in ["10.0.1.1", "10.0.1.2", "10.0.1.3"] {
        node.set("a", complete(&[text])).apply();
        let generation = node.maps.backends[&1].generation;
        assert!(generation > last, "{text}: {generation} after {last}");
        last = generation;
        node.unset("a").apply();
        node.restart(&Settings::default());
    }
}

#[test]
fn filters_hold_addresses_and_rows_while_flows_may_go_on() {
    let mut node = Node::new(CAPACITY);
    node.set("a", complete(&["@10.0.1.1"])).apply();
    let bits = |node: &Node| {
        [
            node.maps.has_bit(FILTER_FRONTENDS, address("172.16.1.1")),
            node.maps.has_bit(FILTER_BACKENDS, address("10.0.1.1")),
            node.maps.has_row_bit(&row("172.16.1.1", 80)),
        ]
    };
    assert_eq!(bits(&node), [true; 3]);
    node.unset("a").apply();
    node.now += Duration::from_secs(7_999);
    node.apply();
    assert_eq!(bits(&node), [true; 3]);
    node.restart(&Settings::default());
    node.apply();
    node.now += Duration::from_secs(8_000);
    node.apply();
    assert_eq!(bits(&node), [false; 3]);
}

#[test]
fn another_seed_makes_all_rings_anew() {
    let mut node = Node::new(CAPACITY);
    let frontends = vec![frontend(
        balancer("172.16.1.1"),
        80,
        &list(&["10.0.1.1", "10.0.1.2"]),
    )];
    node.set("a", maglev(frontends)).apply();
    node.restart(&Settings {
        hash_seed: 1,
        ..Settings::default()
    });
    assert!(kinds(&node.apply()).contains(&"ring"));
    node.restart(&Settings {
        hash_seed: 1,
        ..Settings::default()
    });
    assert_eq!(node.apply(), [MapOp::RaiseEpoch]);
}

#[test]
fn maps_that_make_no_sense_are_put_right() {
    let mut node = Node::new(CAPACITY);
    node.set("a", complete(&["10.0.1.1", "10.0.1.2"])).apply();
    let mut contents = node.maps.restart();
    contents.slots.clear();
    contents.backends.remove(&2);
    node.maps.backends.remove(&2);
    node.machine = lb::Machine::new(CAPACITY, &Settings::default(), &contents);
    let ops = node.machine.apply(&node.wish, node.now);
    node.maps.perform_unwatched(&ops);
    assert_eq!(
        node.behind(&row("172.16.1.1", 80)),
        ["10.0.1.1", "10.0.1.2"]
    );
}
