//! A restart is a plan from nothing but the objects. Whatever was the hazard, it changes nothing.

use plan::snapshot::IpFamily;
use serde_json::json;

use crate::world::{Change, World, cidrs};

/// That nothing is written when the operator starts with these objects, but the condition where it was missing.
fn restart(world: &mut World) {
    let before = world
        .shown()
        .iter()
        .map(|(address, name)| (*address, (*name).clone()))
        .collect::<Vec<_>>();
    assert_eq!(world.settle(), 0);
    for facts in world.snapshot.services.values_mut() {
        std::sync::Arc::make_mut(facts).conditions.clear();
    }
    world.settle();
    let after = world.shown();
    assert_eq!(after.len(), before.len());
    for ((address, name), (address_before, name_before)) in after.into_iter().zip(before) {
        assert_eq!((address, name), (address_before, &name_before));
    }
}

#[test]
fn services_of_a_disabled_pool_keep_their_addresses() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.pool("other", cidrs(&["10.0.1.0/24"]));
    world.services(&["a", "b"]);
    world.service("c", |service| {
        service.ask("10.0.0.9");
    });
    world.settle();
    world.edit_pool("pool", "disabled", json!(true));
    world.settle();
    restart(&mut world);
    assert_eq!(world.ingress("a"), ["10.0.0.0"]);
    assert_eq!(world.ingress("c"), ["10.0.0.9"]);
    assert_eq!(world.said("c"), "True satisfied: ");
}

#[test]
fn services_of_a_pool_that_came_into_conflict_keep_their_addresses() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.pool("younger", cidrs(&["10.0.1.0/24"]));
    world.service("a", |service| {
        service.ask("10.0.1.9");
    });
    world.settle();
    world.pool("pool", cidrs(&["10.0.0.0/24", "10.0.1.0/30"]));
    world.settle();
    assert!(world.conflict("younger").is_some());
    restart(&mut world);
    assert_eq!(world.ingress("a"), ["10.0.1.9"]);
}

#[test]
fn a_service_that_waits_does_not_take_the_address_of_one_that_is_younger() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/32"]));
    world.services(&["holder"]);
    world.settle();
    world.service("older", |service| {
        service.created = Some("1970-01-01T00:00:01Z".parse().unwrap());
    });
    world.settle();
    assert!(world.said("older").starts_with("False out_of_ips: "));
    restart(&mut world);
    assert_eq!(world.ingress("holder"), ["10.0.0.0"]);
}

#[test]
fn a_group_that_shares_several_addresses_stays_together() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    for (name, port) in [("a", 80), ("b", 80), ("c", 443), ("d", 80), ("e", 443)] {
        world.service(name, |service| {
            service.key("k").port(port);
        });
    }
    world.settle();
    let groups = ["a", "b", "c", "d", "e"].map(|name| world.ingress(name).concat());
    assert_eq!(
        groups,
        ["10.0.0.0", "10.0.0.1", "10.0.0.0", "10.0.0.2", "10.0.0.1"]
    );
    restart(&mut world);
    // The key is known again: whoever comes next joins.
    world.service("f", |service| {
        service.key("k").port(443);
    });
    world.settle();
    assert_eq!(world.ingress("f"), ["10.0.0.2"]);
}

#[test]
fn a_requested_address_of_a_family_the_service_does_not_have_stays() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24", "fd00::/120"]));
    world.service("web", |service| {
        service.ip_families = vec![IpFamily::Ipv4];
        service.ask("fd00::7");
    });
    world.settle();
    restart(&mut world);
    assert_eq!(world.ingress("web"), ["fd00::7"]);
}

#[test]
fn a_service_on_an_address_that_was_reserved_since_keeps_it() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.service("web", |service| {
        service.ask("10.0.0.255");
    });
    world.settle();
    world.edit_pool("pool", "allowFirstLastIPs", json!("No"));
    world.settle();
    restart(&mut world);
    assert_eq!(world.ingress("web"), ["10.0.0.255"]);
}

#[test]
fn statuses_that_cilium_wrote_are_taken_over_as_they_are() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.service("b", |service| {
        service.show(&["10.0.0.9"]);
    });
    world.service("a", |service| {
        service.show(&["10.0.0.4", "10.0.0.2"]);
    });
    world.services(&["new"]);
    world.settle();
    assert_eq!(world.ingress("b"), ["10.0.0.9"]);
    assert_eq!(world.ingress("a"), ["10.0.0.4", "10.0.0.2"]);
    assert_eq!(world.ingress("new"), ["10.0.0.0"]);
    for name in ["a", "b", "new"] {
        assert_eq!(world.said(name), "True satisfied: ");
    }
    restart(&mut world);
}
