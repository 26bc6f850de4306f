//! Full tables: what fits is there, the rest is named and comes when there is room.

use std::collections::BTreeSet;

use lb::Capacity;

use crate::sentences::complete;
use crate::wishes::{CAPACITY, Node, address, balancer, frontend, list, maglev, random, row};

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
                ring_slots: 192,
                ..CAPACITY
            },
            "Maglev rings",
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
