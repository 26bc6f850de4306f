//! Full tables: what fits is there, the rest is named and comes when there is room.

use std::collections::BTreeSet;
use std::sync::Arc;

use lb::{Capacity, Settings};

use crate::sentences::complete;
use crate::wishes::{
    CAPACITY, Node, address, balancer, frontend, kinds, list, maglev, random, row,
};

#[test]
fn a_full_table_of_frontends_takes_what_fits_and_the_rest_when_there_is_room() {
    let service = |last: u8| {
        let list = list(&["10.0.1.1"]);
        random(vec![frontend(
            balancer(&format!("172.16.1.{last}")),
            80,
            &list,
        )])
    };
    let mut node = Node::new(Capacity {
        frontends: 4,
        ..CAPACITY
    });
    for (name, last) in [("a", 1), ("b", 2), ("c", 3)] {
        node.set(name, service(last));
    }
    node.apply();
    assert_eq!(
        node.withheld(),
        ["the table of IPv4 frontends is full: 1 of c"]
    );
    let programmed = node.machine.report().programmed;
    assert_eq!(
        *programmed,
        BTreeSet::from([address("172.16.1.1"), address("172.16.1.2")])
    );
    assert!(!node.machine.is_unsettled());
    node.unset("a").apply();
    assert_eq!(node.behind(&row("172.16.1.2", 80)), ["10.0.1.1"]);
    assert!(node.machine.is_unsettled(), "there is room now");
    node.apply();
    assert_eq!(node.behind(&row("172.16.1.3", 80)), ["10.0.1.1"]);
    assert!(node.withheld().is_empty() && !node.machine.is_unsettled());
}

#[test]
fn a_list_that_does_not_fit_leaves_the_old_one_without_what_is_gone() {
    let mut node = Node::new(Capacity {
        slots: 4,
        ..CAPACITY
    });
    node.set("a", complete(&["10.0.1.1", "10.0.1.2", "10.0.1.3"]))
        .apply();
    node.set("a", complete(&["10.0.1.1", "10.0.1.3", "10.0.1.4"]))
        .apply();
    assert_eq!(
        node.withheld(),
        ["the table of backend lists is full: 3 of a"]
    );
    assert_eq!(
        node.behind(&row("172.16.1.1", 80)),
        ["10.0.1.1", "10.0.1.1", "10.0.1.3"]
    );
    assert_eq!(node.maps.present().len(), 2);
    node.set("a", complete(&["10.0.1.4"])).apply();
    assert_eq!(node.behind(&row("172.16.1.1", 80)), ["10.0.1.4"]);
    assert!(node.withheld().is_empty());
}

#[test]
fn a_list_of_which_nothing_is_left_and_nothing_fits_is_empty_then_filled() {
    let mut node = Node::new(Capacity {
        slots: 3,
        ..CAPACITY
    });
    node.set("a", complete(&["10.0.1.1", "10.0.1.2"])).apply();
    node.set("a", complete(&["10.0.1.3", "10.0.1.4"])).apply();
    assert!(node.behind(&row("172.16.1.1", 80)).is_empty());
    assert!(node.machine.is_unsettled());
    node.apply();
    assert_eq!(
        node.behind(&row("172.16.1.1", 80)),
        ["10.0.1.3", "10.0.1.4"]
    );
}

#[test]
fn every_table_that_is_full_is_named() {
    let a = || maglev(complete(&["10.0.1.1", "10.0.1.2"]).frontends.clone());
    for (capacity, table) in [
        (
            Capacity {
                groups: 1,
                ..CAPACITY
            },
            "backend groups",
        ),
        (
            Capacity {
                slots: 1,
                ..CAPACITY
            },
            "backend lists",
        ),
        (
            Capacity {
                backends: 2,
                ..CAPACITY
            },
            "backends",
        ),
        (
            Capacity {
                frontends: 0,
                ..CAPACITY
            },
            "IPv4 frontends",
        ),
    ] {
        let mut node = Node::new(capacity);
        node.set("a", a()).apply();
        assert_eq!(
            node.withheld(),
            [format!("the table of {table} is full: 3 of a")]
        );
        assert!(node.maps.frontends.is_empty() && node.maps.present().is_empty());
        assert!(!node.machine.is_unsettled());
        assert_eq!(node.apply(), []);
    }
}

/// A service with a ring and so many backends of its own.
fn ringed(number: u8, backends: u8) -> Arc<lb::Service> {
    let texts: Vec<String> = (1..=backends)
        .map(|last| format!("10.0.{number}.{last}"))
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let address = balancer(&format!("172.16.1.{number}"));
    maglev(vec![frontend(address, 80, &list(&texts))])
}

fn ring_of(node: &Node, number: u8) -> usize {
    let key = row(&format!("172.16.1.{number}"), 80);
    node.maps.resolved()[&key].ring.len()
}

#[test]
fn without_memory_for_its_ring_a_service_has_a_smaller_one_then_none_and_is_served() {
    // Three backends want 509 places, which are 8 units, and can do with 251, which are 4.
    for (units, ring) in [(8, 509), (7, 251), (4, 251), (3, 0)] {
        let mut node = Node::new(Capacity {
            ring_slots: units * lb_abi::RING_UNIT,
            ..CAPACITY
        });
        node.set("a", ringed(1, 3)).apply();
        assert_eq!(ring_of(&node, 1), ring, "{units} units");
        assert_eq!(node.behind(&row("172.16.1.1", 80)).len(), 3);
        assert_eq!(node.machine.report().programmed.len(), 1);
        let said = ["the table of Maglev rings is full: 1 of a"];
        let said = if ring == 509 { &[][..] } else { &said };
        assert_eq!(node.withheld(), said, "{units} units");
        assert!(!node.machine.is_unsettled());
        assert_eq!(node.apply(), []);
        node.restart(&Settings::default());
        assert_eq!(kinds(&node.apply()), ["epoch"], "it is as it was");
        assert_eq!(node.withheld(), said, "{units} units, after a restart");
    }
}

#[test]
fn a_ring_that_would_leave_backends_with_too_few_places_is_no_ring() {
    // Thirty backends want 4093 places and can do with 509; 251 would give some a ninth more than others.
    for (units, ring) in [(8, 509), (7, 0)] {
        let mut node = Node::new(Capacity {
            ring_slots: units * lb_abi::RING_UNIT,
            ..CAPACITY
        });
        node.set("a", ringed(1, 30)).apply();
        assert_eq!(ring_of(&node, 1), ring, "{units} units");
    }
}

#[test]
fn a_ring_grows_when_there_is_room_and_clients_see_only_whole_ones() {
    let mut node = Node::new(Capacity {
        ring_slots: 20 * lb_abi::RING_UNIT,
        ..CAPACITY
    });
    for number in 1..=4 {
        node.set(&format!("{number}"), ringed(number, 3));
    }
    node.apply();
    let rings = |node: &Node| [1, 2, 3, 4].map(|number| ring_of(node, number));
    assert_eq!(rings(&node), [509, 509, 251, 0]);
    node.unset("1").apply();
    assert!(node.machine.is_unsettled());
    node.apply();
    while node.machine.is_unsettled() {
        node.apply();
    }
    let rings = [2, 3, 4].map(|number| ring_of(&node, number));
    assert_eq!(rings.iter().filter(|ring| **ring == 509).count(), 2);
    assert!(rings.iter().all(|ring| *ring > 0), "{rings:?}");
    node.unset("2").apply();
    while node.machine.is_unsettled() {
        node.apply();
    }
    assert_eq!([3, 4].map(|number| ring_of(&node, number)), [509, 509]);
    assert!(node.withheld().is_empty());
}

#[test]
fn a_list_that_changes_keeps_a_ring_in_a_full_table() {
    // Of 256 units four are spare: one ring of 251 places.
    let mut node = Node::new(Capacity {
        ring_slots: 256 * lb_abi::RING_UNIT,
        ..CAPACITY
    });
    for number in 1..=70 {
        node.set(&format!("{number:02}"), ringed(number, 1));
    }
    node.apply();
    let without = (1..=70).filter(|number| ring_of(&node, *number) == 0);
    assert_eq!(without.count(), 7, "four units are for lists that change");
    for backends in [2, 1, 2] {
        node.set("01", ringed(1, backends)).apply();
        assert_eq!(ring_of(&node, 1), 251, "{backends} backends");
    }
}

#[test]
fn a_change_costs_the_same_however_many_are_withheld() {
    for waiting in [0, 90] {
        let mut node = Node::new(Capacity {
            slots: 8,
            ring_slots: 16 * lb_abi::RING_UNIT,
            ..CAPACITY
        });
        node.set("0", ringed(1, 1)).set("1", ringed(2, 2)).apply();
        for number in 0..waiting {
            node.set(&format!("2-{number:02}"), ringed(10 + number, 6));
        }
        node.apply();
        assert_eq!(node.withheld().is_empty(), waiting == 0);
        for backends in [2, 1, 2] {
            node.set("0", ringed(1, backends));
            let ops = node.apply();
            let others = ops
                .iter()
                .filter(|op| matches!(op, lb::MapOp::SetFrontend { .. } | lb::MapOp::Group { .. }));
            assert_eq!(others.count(), 1, "{waiting} waiting: {ops:#?}");
            assert!(!node.machine.is_unsettled(), "nobody fits: {waiting}");
        }
    }
}

#[test]
fn an_address_is_programmed_when_another_service_fits_where_the_first_does_not() {
    let service = |texts: &[&str]| random(vec![frontend(balancer("172.16.1.1"), 80, &list(texts))]);
    let large = || service(&["10.0.1.1", "10.0.1.2", "10.0.1.3"]);
    for other in ["a", "z"] {
        let mut node = Node::new(Capacity {
            slots: 2,
            ..CAPACITY
        });
        node.set("m", large()).apply();
        assert!(node.machine.report().programmed.is_empty());
        node.set(other, service(&["10.0.1.4"])).apply();
        assert_eq!(node.behind(&row("172.16.1.1", 80)), ["10.0.1.4"], "{other}");
        assert_eq!(node.machine.report().programmed.len(), 1, "{other}");
        assert_eq!(node.withheld().len(), 1, "{other}");
    }
}
