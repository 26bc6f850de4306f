//! What Cilium 1.20's operator gets wrong, and this one does not.

use serde_json::json;

use crate::world::{Change, World, cidrs, with};

fn first_last(allow: &str) -> serde_json::Value {
    with(cidrs(&["10.0.0.0/24"]), "allowFirstLastIPs", json!(allow))
}

#[test]
fn a_sharing_key_with_a_request_for_a_reserved_address_is_refused_and_stops_nobody() {
    for address in ["10.0.0.0", "10.0.0.255"] {
        let mut world = World::with_pool(first_last("No"));
        world.service("web", |service| {
            service.ask(address).key("k").port(80);
        });
        world.services(&["other"]);
        world.settle();
        assert_eq!(
            world.said("web"),
            format!(
                "False already_allocated: The IP '{address}' is already allocated to another service"
            )
        );
        assert_eq!(world.ingress("other"), ["10.0.0.1"]);
    }
}

#[test]
fn first_and_last_can_be_allowed_again_while_a_service_has_the_first() {
    let mut world = World::with_pool(first_last("Yes"));
    world.services(&["a"]);
    world.settle();
    for allow in ["No", "Yes", "No", "Yes"] {
        world.edit_pool("pool", "allowFirstLastIPs", json!(allow));
        world.settle();
        assert_eq!(world.ingress("a"), ["10.0.0.0"]);
    }
    world.services(&["b"]);
    world.settle();
    assert_eq!(world.ingress("b"), ["10.0.0.1"]);
    assert_eq!(world.counts("pool"), [256, 254, 2]);
}

#[test]
fn a_pool_deleted_under_two_services_that_share_leaves_no_ghost_address() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    for (name, port) in [("a", 1), ("b", 2)] {
        world.service(name, |service| {
            service.key("k").port(port);
        });
    }
    world.pool("other", cidrs(&["10.0.1.0/24"]));
    world.settle();
    world.remove_pool("pool");
    assert_eq!(world.settle(), 1);
    assert_eq!(world.ingress("a"), ["10.0.1.0"]);
    assert_eq!(world.ingress("b"), ["10.0.1.0"]);
    world.remove_pool("other");
    assert_eq!(world.settle(), 1);
    assert!(world.shown().is_empty());
}

#[test]
fn joining_by_key_asks_the_selector_of_the_pool_and_needs_one_write() {
    let selector = json!({"matchLabels": {"tier": "front"}});
    let mut world = World::with_pool(with(cidrs(&["10.0.0.0/24"]), "serviceSelector", selector));
    world.pool("rest", cidrs(&["10.0.1.0/24"]));
    world.service("a", |service| {
        service.key("k").port(1).label("tier", "front");
    });
    world.settle();
    world.writes = Default::default();
    world.service("b", |service| {
        service.key("k").port(2);
    });
    assert_eq!(world.settle(), 1);
    assert_eq!(world.writes.services, 1);
    assert_eq!(world.ingress("b"), ["10.0.1.0"]);
}

#[test]
fn a_key_added_to_a_service_that_has_its_address_is_known_to_those_that_come() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.service("a", |service| {
        service.port(1);
    });
    world.settle();
    world.change("a", |service| {
        service.key("k");
    });
    assert_eq!(world.settle(), 0);
    world.service("b", |service| {
        service.key("k").port(2);
    });
    world.settle();
    assert_eq!(world.ingress("b"), ["10.0.0.0"]);
}

#[test]
fn a_status_edited_by_hand_frees_the_old_address_and_wiped_gives_one_back() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.services(&["web"]);
    world.settle();
    world.change("web", |service| {
        service.show(&["10.0.0.9"]);
    });
    world.settle();
    assert_eq!(world.ingress("web"), ["10.0.0.9"]);
    assert_eq!(world.counts("pool"), [256, 255, 1]);
    world.change("web", |service| {
        service.show(&[]);
    });
    world.settle();
    assert_eq!(world.ingress("web"), ["10.0.0.0"]);
    assert_eq!(world.counts("pool"), [256, 255, 1]);
}

#[test]
fn a_restart_takes_no_address_from_services_of_a_disabled_or_conflicting_pool() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.pool("younger", cidrs(&["10.0.1.0/24"]));
    world.services(&["a"]);
    world.service("b", |service| {
        service.ask("10.0.1.5");
    });
    world.settle();
    world.pool(
        "pool",
        with(
            cidrs(&["10.0.0.0/24", "10.0.1.128/25"]),
            "disabled",
            json!(true),
        ),
    );
    world.settle();
    // Each plan knows no more than a restarted operator.
    assert_eq!(world.settle(), 0);
    assert_eq!(world.ingress("a"), ["10.0.0.0"]);
    assert_eq!(world.ingress("b"), ["10.0.1.5"]);
    assert_eq!(
        (world.said("a"), world.said("b")),
        ("True satisfied: ".into(), "True satisfied: ".into())
    );
}

#[test]
fn an_invalid_selector_costs_its_pool_only_is_named_and_moves_nobody() {
    let invalid = json!({"matchExpressions": [{"key": "tier", "operator": "In"}]});
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.services(&["a"]);
    world.settle();
    world.edit_pool("pool", "serviceSelector", invalid);
    world.pool("other", cidrs(&["10.0.1.0/24"]));
    world.services(&["b"]);
    world.service("c", |service| {
        service.ask("10.0.0.7");
    });
    world.settle();
    assert_eq!(world.ingress("a"), ["10.0.0.0"]);
    assert_eq!(world.ingress("b"), ["10.0.1.0"]);
    assert_eq!(
        world.said("c"),
        "False pool_selector_mismatch: The pool with the CIDR containing '10.0.0.7', doesn't select this service"
    );
    assert_eq!(
        world.rejected("pool"),
        Some((
            "InvalidServiceSelector".to_owned(),
            "spec.serviceSelector is invalid (label \"tier\": operators In and NotIn need at least one value); \
             no Service is given an address, those that have one keep it"
                .to_owned()
        ))
    );
    world.edit_pool("pool", "serviceSelector", json!({}));
    world.settle();
    assert_eq!(world.ingress("c"), ["10.0.0.7"]);
    assert_eq!(world.rejected("pool"), None);
}

#[test]
fn an_ipv4_mapped_range_is_rejected_and_no_mapped_address_is_given_out() {
    let mut world = World::with_pool(json!({"blocks": [
        {"start": "::ffff:10.0.0.1", "stop": "::ffff:10.0.0.9"},
        {"cidr": "::fffe:0:0/95"},
    ]}));
    world.service("web", |service| {
        service.ask("::ffff:10.0.0.1");
    });
    world.settle();
    assert_eq!(world.rejected("pool").expect("said").0, "IPv4MappedRange");
    assert!(world.said("web").starts_with("False already_allocated: "));
    assert_eq!(world.counts("pool"), [1 << 33, 1 << 32, 1 << 32]);
}

#[test]
fn a_service_with_several_requests_in_vain_is_written_once() {
    let mut world = World::with_pool(first_last("No"));
    world.services(&["first"]);
    world.settle();
    world.writes = Default::default();
    world.service("web", |service| {
        service.ask("10.0.0.1,10.0.0.0,192.0.2.1,10.0.0.255");
    });
    assert_eq!(world.settle(), 1);
    assert_eq!(world.writes.services, 1);
    assert!(world.said("web").contains("10.0.0.255"));
}

#[test]
fn a_pool_in_conflict_with_two_is_judged_anew_when_the_older_is_deleted() {
    let mut world = World::default();
    world.pool("oldest", cidrs(&["10.0.0.0/24"]));
    world.pool("middle", cidrs(&["10.0.0.0/23"]));
    world.pool("youngest", cidrs(&["10.0.1.0/24"]));
    world.settle();
    assert_eq!(world.conflict("youngest"), None);
    world.remove_pool("oldest");
    world.settle();
    assert_eq!(world.conflict("middle"), None);
    assert_eq!(
        world.conflict("youngest").as_deref(),
        Some(
            "Pool conflicts since range '10.0.1.0 - 10.0.1.255' overlaps range '10.0.0.0 - 10.0.1.255' from IP Pool 'middle'"
        )
    );
}

#[test]
fn the_unspecified_address_is_never_given_out() {
    let mut world = World::with_pool(cidrs(&["0.0.0.0/0", "::/64"]));
    world.service("any", |_| {});
    world.service("v4", |service| {
        service.ask("0.0.0.0");
    });
    world.service("v6", |service| {
        service.ask("::");
    });
    world.service("shows", |service| {
        service.show(&["0.0.0.0"]);
    });
    world.settle();
    assert_eq!(world.ingress("any"), ["0.0.0.1"]);
    assert_eq!(world.ingress("shows"), ["0.0.0.2"]);
    for name in ["v4", "v6"] {
        assert!(world.said(name).starts_with("False already_allocated: "));
        assert!(world.ingress(name).is_empty());
    }
}

#[test]
fn a_bad_block_in_a_known_pool_does_not_leave_its_conditions_behind() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.services(&["a"]);
    world.settle();
    world.pool(
        "pool",
        json!({"blocks": [{"start": "junk"}, {"cidr": "10.0.0.0/25"}]}),
    );
    world.settle();
    assert_eq!(world.counts("pool"), [128, 127, 1]);
    let conditions = world.pool_conditions("pool");
    assert!(
        conditions
            .iter()
            .all(|condition| condition.observed_generation == Some(2))
    );
    assert_eq!(world.ingress("a"), ["10.0.0.0"]);
}

#[test]
fn a_service_satisfied_by_what_it_already_showed_says_so() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.service("web", |service| {
        service.show(&["10.0.0.5"]);
    });
    world.settle();
    assert_eq!(world.writes.services, 1);
    assert_eq!(world.said("web"), "True satisfied: ");
}
