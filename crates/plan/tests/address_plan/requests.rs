//! Services that ask for certain addresses.

use plan::snapshot::{IpFamilyPolicy, ServiceType};
use serde_json::json;

use crate::world::{Change, World, cidrs, with};

#[test]
fn requested_addresses_are_given_in_the_order_of_the_request() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24", "fd00::/120"]));
    world.service("web", |service| {
        service.load_balancer_ip = Some("10.0.0.9".to_owned());
        service.ask("fd00::5, 10.0.0.3");
    });
    world.settle();
    assert_eq!(world.ingress("web"), ["10.0.0.9", "fd00::5", "10.0.0.3"]);
    assert_eq!(world.said("web"), "True satisfied: ");
    assert_eq!(world.writes.services, 1);
}

#[test]
fn families_do_not_matter_to_a_request_for_an_address() {
    let mut world = World::with_pool(cidrs(&["fd00::/120"]));
    world.settings.ipv6 = false;
    world.service("web", |service| {
        service.ask("fd00::5");
    });
    world.settle();
    assert_eq!(world.ingress("web"), ["fd00::5"]);
    assert_eq!(world.said("web"), "True satisfied: ");
}

#[test]
fn a_request_added_moves_the_service_and_one_removed_does_not() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.services(&["web"]);
    world.settle();
    world.change("web", |service| {
        service.ask("10.0.0.7,10.0.0.8");
    });
    assert_eq!(world.settle(), 1);
    assert_eq!(world.ingress("web"), ["10.0.0.7", "10.0.0.8"]);
    world.change("web", |service| service.annotations.clear());
    assert_eq!(world.settle(), 0);
    assert_eq!(world.ingress("web"), ["10.0.0.7", "10.0.0.8"]);
}

#[test]
fn a_request_that_is_partly_fulfilled_keeps_what_it_has_with_the_last_reason() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.services(&["first"]);
    world.settle();
    world.service("web", |service| {
        service.ask("10.0.0.0,10.0.0.5,10.9.0.1");
    });
    world.settle();
    assert_eq!(world.ingress("web"), ["10.0.0.5"]);
    assert_eq!(
        world.said("web"),
        "False no_pool: No pool exists with a CIDR containing '10.9.0.1'"
    );
    // Satisfied is what it shows, not what order it has: the missing ones come behind.
    world.remove("first");
    world.pool("more", cidrs(&["10.9.0.0/24"]));
    world.settle();
    assert_eq!(world.ingress("web"), ["10.0.0.5", "10.0.0.0", "10.9.0.1"]);
    assert_eq!(world.said("web"), "True satisfied: ");
}

#[test]
fn text_that_is_no_address_is_as_good_as_no_request() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.service("web", |service| {
        service.ask("10.0.0.0/24, x");
    });
    world.settle();
    assert_eq!(world.ingress("web"), ["10.0.0.0"]);
    assert_eq!(world.said("web"), "True satisfied: ");
}

#[test]
fn a_request_is_refused_with_ciliums_reason_and_message() {
    let mut world = World::with_pool(with(
        cidrs(&["10.0.0.0/24"]),
        "allowFirstLastIPs",
        json!("No"),
    ));
    let selector = json!({"matchLabels": {"tier": "front"}});
    world.pool(
        "front",
        with(cidrs(&["10.0.1.0/24"]), "serviceSelector", selector),
    );
    world.pool(
        "disabled",
        with(cidrs(&["10.0.2.0/24"]), "disabled", json!(true)),
    );
    world.pool("conflicting", cidrs(&["10.0.1.0/23"]));
    world.service("first", |service| {
        service.ask("10.0.0.7");
    });
    world.service("shared", |service| {
        service.ask("10.0.0.8").key("k").port(80);
    });
    world.settle();
    let rows = [
        (
            "10.9.9.9",
            "no_pool: No pool exists with a CIDR containing '10.9.9.9'",
        ),
        (
            "fd00::1",
            "no_pool: No pool exists with a CIDR containing 'fd00::1'",
        ),
        (
            "10.0.2.1",
            "no_pool: No pool exists with a CIDR containing '10.0.2.1'",
        ),
        (
            "10.0.1.1",
            "pool_selector_mismatch: The pool with the CIDR containing '10.0.1.1', doesn't select this service",
        ),
        (
            "10.0.0.7",
            "already_allocated: The IP '10.0.0.7' is already allocated to another service",
        ),
        (
            "10.0.0.8",
            "already_allocated: The IP '10.0.0.8' is already allocated to another service",
        ),
        (
            "10.0.0.0",
            "already_allocated: The IP '10.0.0.0' is already allocated to another service",
        ),
        (
            "10.0.0.255",
            "already_allocated: The IP '10.0.0.255' is already allocated to another service",
        ),
    ];
    for (address, expected) in rows {
        let mut world = world.clone();
        world.service("web", |service| {
            service.ask(address);
        });
        world.settle();
        assert_eq!(world.said("web"), format!("False {expected}"));
        assert!(world.ingress("web").is_empty(), "{address}");
    }
}

#[test]
fn a_request_for_a_shared_address_is_refused_with_the_rule_that_fails() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.service("first", |service| {
        service.ask("10.0.0.8").key("k").port(80);
    });
    world.service("alone", |service| {
        service.ask("10.0.0.9");
    });
    world.settle();
    let rows = [
        ("web", "l", 443, "10.0.0.8", "different sharing key"),
        ("web", "k", 80, "10.0.0.8", "same port and protocol"),
        (
            "other/web",
            "k",
            443,
            "10.0.0.8",
            "different and not permitted namespace",
        ),
        ("web", "k", 443, "10.0.0.9", "different sharing key"),
    ];
    for (name, key, port, address, reason) in rows {
        let mut world = world.clone();
        world.service(name, |service| {
            service.ask(address).key(key).port(port);
        });
        world.settle();
        assert_eq!(
            world.said(name),
            format!(
                "False already_allocated_incompatible_service: The IP '{address}' is already allocated to an incompatible service. Reason: {reason}"
            )
        );
        assert!(world.ingress(name).is_empty());
    }
}

#[test]
fn what_a_service_lacks_of_two_families_is_said_and_what_it_has_stays() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24", "fd00::/128"]));
    let dual = |service: &mut plan::ServiceFacts| {
        service.ip_family_policy = IpFamilyPolicy::RequireDualStack;
    };
    world.service("first", dual);
    world.service("web", dual);
    world.settle();
    assert_eq!(world.ingress("first"), ["10.0.0.0", "fd00::"]);
    assert_eq!(world.ingress("web"), ["10.0.0.1"]);
    assert!(world.said("web").starts_with("False out_of_ips: "));
    // A family that is not asked for any more goes.
    world.change("first", |service| {
        service.ip_family_policy = IpFamilyPolicy::SingleStack;
    });
    world.settle();
    assert_eq!(world.ingress("first"), ["10.0.0.0"]);
    assert_eq!(world.ingress("web"), ["10.0.0.1", "fd00::"]);
}

#[test]
fn an_address_passes_from_one_service_to_another_by_way_of_nobody() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.service("a", |service| {
        service.ask("10.0.0.1");
    });
    world.service("b", |service| {
        service.ask("10.0.0.2");
    });
    world.settle();
    world.change("a", |service| {
        service.ask("10.0.0.2");
    });
    world.change("b", |service| {
        service.ask("10.0.0.1");
    });
    let plan = world.plan();
    assert!(plan.services.iter().all(|op| op.ingress.is_empty()));
    world.apply(plan);
    assert_eq!(world.settle(), 1);
    assert_eq!(world.ingress("a"), ["10.0.0.2"]);
    assert_eq!(world.ingress("b"), ["10.0.0.1"]);
}

#[test]
fn who_waits_for_an_address_that_is_leaving_is_written_once() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/31"]));
    world.services(&["a", "b"]);
    world.settle();
    // Older than `a`, so that it comes before it in everything but losing.
    world.service("specific", |service| {
        service.ask("10.0.0.0");
        service.created = Some("1970-01-01T00:00:00Z".parse().unwrap());
    });
    world.services(&["any"]);
    world.change("a", |service| service.service_type = ServiceType::ClusterIp);
    world.change("b", |service| service.service_type = ServiceType::ClusterIp);
    let plan = world.plan();
    let written: Vec<_> = plan.services.iter().map(|op| &*op.name.name).collect();
    assert_eq!(written, ["a", "b"]);
    world.apply(plan);
    let before = world.writes.services;
    assert_eq!(world.settle(), 1);
    assert_eq!(world.writes.services, before + 2);
    assert_eq!(world.ingress("specific"), ["10.0.0.0"]);
    assert_eq!(world.ingress("any"), ["10.0.0.1"]);
}
