//! Which Services are ours, and what becomes of those that are not.

use plan::addresses::SERVICE_CONDITION;
use plan::snapshot::ServiceType;

use crate::world::{Change, World, cidrs, foreign};

#[test]
fn without_a_pool_services_that_were_never_ours_are_left_alone() {
    let mut world = World::default();
    world.service("fresh", |_| {});
    world.service("served", |service| {
        service.show(&["192.0.2.1", "host"]);
    });
    world.service("going", |service| {
        service.show(&["192.0.2.2"]);
        service.is_being_deleted = true;
    });
    let plan = world.plan();
    assert!(plan.services.is_empty());
    assert_eq!((plan.figures.services, plan.figures.unsatisfied), (0, 0));
    // With the first pool they are ours.
    world.pool("pool", cidrs(&["10.0.0.0/24"]));
    world.settle();
    assert_eq!(world.ingress("fresh"), ["10.0.0.0"]);
    assert_eq!(world.ingress("served"), ["10.0.0.1"]);
    assert_eq!(world.ingress("going"), ["192.0.2.2"]);
}

#[test]
fn when_the_last_pool_goes_its_services_are_stripped_and_say_so() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.services(&["any"]);
    world.service("specific", |service| {
        service.ask("10.0.0.9");
    });
    world.service("going", |_| {});
    world.settle();
    world.change("going", |service| service.is_being_deleted = true);
    world.remove_pool("pool");
    assert_eq!(world.settle(), 1);
    assert!(world.ingress("any").is_empty() && world.ingress("specific").is_empty());
    assert_eq!(
        world.said("any"),
        "False no_pool: There are no enabled CiliumLoadBalancerIPPools that match this service"
    );
    assert_eq!(
        world.said("specific"),
        "False no_pool: No pool exists with a CIDR containing '10.0.0.9'"
    );
    assert_eq!(world.ingress("going"), ["10.0.0.1"]);
}

#[test]
fn a_service_of_another_type_or_class_is_released_in_one_write() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.services(&["type", "class"]);
    world.settle();
    for name in ["type", "class"] {
        world.change(name, |service| {
            service.conditions.insert(0, foreign("example.com/Ready"));
            service.ingress.push(plan::snapshot::Ingress::Foreign);
        });
    }
    world.change("type", |service| {
        service.service_type = ServiceType::ClusterIp;
    });
    world.change("class", |service| {
        service.load_balancer_class = Some("x".to_owned());
    });
    world.writes = Default::default();
    assert_eq!(world.settle(), 1);
    assert_eq!(world.writes.services, 2);
    for name in ["type", "class"] {
        assert!(world.ingress(name).is_empty());
        assert_eq!(world.facts(name).conditions, [foreign("example.com/Ready")]);
    }
    assert_eq!(world.counts("pool"), [256, 256, 0]);
}

#[test]
fn a_service_that_other_settings_left_keeps_its_address_which_nobody_else_gets() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.services(&["web"]);
    world.settle();
    world.settings.classless = false;
    world.service("bgp", |service| {
        service.load_balancer_class = Some("io.cilium/bgp-control-plane".to_owned());
    });
    world.writes = Default::default();
    world.settle();
    assert_eq!(world.writes.services, 1, "nothing is written to the other");
    assert_eq!(world.ingress("web"), ["10.0.0.0"]);
    assert_eq!(world.ingress("bgp"), ["10.0.0.1"]);
    world.settings.classless = true;
    assert_eq!(world.settle(), 0);
}

#[test]
fn an_address_that_somebody_in_front_serves_is_kept_and_becomes_ours() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.service("web", |service| {
        let address = "10.0.0.5".parse().expect("an address");
        service
            .ingress
            .push(plan::snapshot::Ingress::Proxied(address));
    });
    world.service("older", |service| service.created = None);
    world.settle();
    assert_eq!(world.ingress("web"), ["10.0.0.5"]);
    assert_eq!(world.ingress("older"), ["10.0.0.0"]);
}

#[test]
fn services_of_other_types_and_classes_are_not_touched() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.service("cluster-ip", |service| {
        service.service_type = ServiceType::ClusterIp;
        service.show(&["10.0.0.1"]);
    });
    world.service("node", |service| {
        service.load_balancer_class = Some("io.cilium/node".to_owned());
        service.show(&["10.0.0.1"]);
    });
    world.settings.classless = false;
    world.service("classless", |service| {
        service.show(&["10.0.0.1"]);
    });
    assert!(world.plan().services.is_empty());
    world.service("bgp", |service| {
        service.load_balancer_class = Some("io.cilium/bgp-control-plane".to_owned());
    });
    world.settle();
    assert_eq!(world.ingress("bgp"), ["10.0.0.0"]);
}

#[test]
fn entries_from_elsewhere_are_dropped_from_a_service_of_ours() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.service("web", |service| {
        service.show(&["host", "10.0.0.5", "192.0.2.1", "10.0.0.5"]);
        service.conditions = vec![foreign("example.com/Ready")];
    });
    assert_eq!(world.settle(), 1);
    assert_eq!(world.ingress("web"), ["10.0.0.5"]);
    assert_eq!(world.said("web"), "True satisfied: ");
    let types: Vec<_> = world
        .facts("web")
        .conditions
        .iter()
        .map(|condition| condition.type_.as_str())
        .collect();
    assert_eq!(types, ["example.com/Ready", SERVICE_CONDITION]);
}

#[test]
fn a_service_being_deleted_is_given_nothing_and_keeps_what_it_has() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.services(&["old"]);
    world.settle();
    world.change("old", |service| {
        service.is_being_deleted = true;
        service.ask("10.0.0.7");
    });
    world.service("new", |service| service.is_being_deleted = true);
    world.pool("pool", cidrs(&["10.0.0.0/30"]));
    world.services(&["next"]);
    world.settle();
    assert_eq!(world.ingress("old"), ["10.0.0.0"]);
    assert!(world.ingress("new").is_empty());
    assert_eq!(world.said("new"), "");
    // Its address is free when it is gone, not before.
    assert_eq!(world.ingress("next"), ["10.0.0.1"]);
    world.remove("old");
    world.services(&["last"]);
    world.settle();
    assert_eq!(world.ingress("last"), ["10.0.0.0"]);
}

#[test]
fn a_service_being_deleted_gives_way_to_an_older_one_that_shows_the_same() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.service("old", |service| {
        service.show(&["10.0.0.3"]);
    });
    world.service("going", |service| {
        service.show(&["10.0.0.3", "10.0.0.4"]);
        service.is_being_deleted = true;
    });
    world.settle();
    assert_eq!(world.ingress("old"), ["10.0.0.3"]);
    assert_eq!(world.ingress("going"), ["10.0.0.4"]);
}

#[test]
fn of_two_that_show_the_same_unshared_address_the_older_keeps_it() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.service("b", |service| {
        service.show(&["10.0.0.3"]);
    });
    world.service("a", |service| {
        service.show(&["10.0.0.3"]);
    });
    let plan = world.plan();
    let written: Vec<_> = plan.services.iter().map(|op| &*op.name.name).collect();
    assert_eq!(written, ["a", "b"], "the loser is written first");
    world.settle();
    assert_eq!(world.ingress("b"), ["10.0.0.3"]);
    assert_eq!(world.ingress("a"), ["10.0.0.0"]);
}

#[test]
fn our_condition_removed_by_somebody_is_written_again() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.services(&["web"]);
    world.settle();
    world.change("web", |service| service.conditions.clear());
    world.change_pool("pool", |pool| pool.status = None);
    assert_eq!(world.settle(), 1);
    assert_eq!(world.said("web"), "True satisfied: ");
    assert_eq!(world.pool_said("pool").len(), 4);
}
