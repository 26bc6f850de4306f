//! Services that have one address together.

use plan::ServiceFacts;
use plan::snapshot::{IpFamilyPolicy, TrafficPolicy};
use serde_json::json;

use crate::world::{Change, World, cidrs, with};

fn keyed(key: &str, port: u16) -> impl Fn(&mut ServiceFacts) {
    move |service| {
        service.key(key).port(port);
    }
}

/// `a` to `c` at 10.0.0.0 with ports 1 to 3.
fn three() -> World {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    for (name, port) in [("a", 1), ("b", 2), ("c", 3)] {
        world.service(name, keyed("k", port));
    }
    world.settle();
    for name in ["a", "b", "c"] {
        assert_eq!(world.ingress(name), ["10.0.0.0"]);
    }
    world
}

#[test]
fn services_with_one_key_share_and_count_once() {
    let mut world = three();
    assert_eq!(world.counts("pool"), [256, 255, 1]);
    world.service("unshared", |_| {});
    world.service("other", keyed("l", 1));
    world.settle();
    assert_eq!(world.ingress("unshared"), ["10.0.0.1"]);
    assert_eq!(world.ingress("other"), ["10.0.0.2"]);
    for name in ["a", "b"] {
        world.remove(name);
    }
    world.settle();
    assert_eq!(world.counts("pool"), [256, 253, 3]);
    world.remove("c");
    world.settle();
    assert_eq!(world.counts("pool"), [256, 254, 2]);
}

#[test]
fn a_key_is_a_set_of_addresses_and_the_first_that_fits_is_joined() {
    let mut world = three();
    world.service("d", keyed("k", 2));
    world.service("e", keyed("k", 2));
    world.service("f", keyed("k", 3));
    world.service("g", keyed("k", 4));
    world.settle();
    let given = ["d", "e", "f", "g"].map(|name| world.ingress(name).concat());
    assert_eq!(given, ["10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.0"]);
}

#[test]
fn one_address_of_each_family_is_joined() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24", "fd00::/120"]));
    for (name, port) in [("a", 1), ("b", 2)] {
        world.service(name, |service| {
            keyed("k", port)(service);
            service.ip_family_policy = IpFamilyPolicy::RequireDualStack;
        });
    }
    world.settle();
    assert_eq!(world.ingress("a"), ["10.0.0.0", "fd00::"]);
    assert_eq!(world.ingress("b"), ["10.0.0.0", "fd00::"]);
}

#[test]
fn a_requested_address_is_joined_and_becomes_one_of_the_set() {
    let mut world = three();
    world.service("d", |service| {
        keyed("k", 4)(service);
        service.ask("10.0.0.0");
    });
    world.service("e", |service| {
        keyed("k", 1)(service);
        service.ask("10.0.0.77");
    });
    world.service("f", keyed("k", 3));
    world.settle();
    assert_eq!(world.ingress("d"), ["10.0.0.0"]);
    assert_eq!(world.ingress("e"), ["10.0.0.77"]);
    assert_eq!(world.ingress("f"), ["10.0.0.77"]);
}

#[test]
fn a_reserved_address_is_not_joined_even_where_somebody_has_it() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.service("a", keyed("k", 1));
    world.settle();
    world.edit_pool("pool", "allowFirstLastIPs", json!("No"));
    world.service("b", keyed("k", 2));
    world.settle();
    assert_eq!(world.ingress("a"), ["10.0.0.0"]);
    assert_eq!(world.ingress("b"), ["10.0.0.1"]);
}

#[test]
fn an_address_of_a_pool_that_is_closed_is_not_joined() {
    let mut world = three();
    world.edit_pool("pool", "disabled", json!(true));
    world.service("d", keyed("k", 4));
    world.settle();
    assert!(world.said("d").starts_with("False no_pool: "));
}

#[test]
fn namespaces_share_where_both_permit_it() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    let permitting = |port, namespaces: &'static str| {
        move |service: &mut ServiceFacts| {
            keyed("k", port)(service);
            service.annotate("lbipam.cilium.io/sharing-cross-namespace", namespaces);
        }
    };
    world.service("blue/a", permitting(1, "green"));
    world.service("green/b", permitting(2, "*"));
    world.service("red/c", permitting(3, "*"));
    world.service("green/d", permitting(4, ""));
    world.settle();
    assert_eq!(world.ingress("blue/a"), ["10.0.0.0"]);
    assert_eq!(world.ingress("green/b"), ["10.0.0.0"]);
    assert_eq!(world.ingress("red/c"), ["10.0.0.1"]);
    assert_eq!(world.ingress("green/d"), ["10.0.0.2"]);
}

type Breach = fn(&mut ServiceFacts);

/// Every way in which a change of one member makes it incompatible with the others.
fn breaking() -> Vec<(&'static str, Breach)> {
    vec![
        ("another key", |service| {
            service.key("l");
        }),
        ("no key", |service| {
            service.annotations.clear();
        }),
        ("a port that others have", |service| {
            let taken = (1..=3).map(|port| plan::snapshot::ServicePort {
                port,
                ..plan::snapshot::ServicePort::default()
            });
            service.ports = taken.collect();
        }),
        ("another policy", |service| {
            service.external_traffic_policy = TrafficPolicy::Local;
        }),
    ]
}

#[test]
fn whoever_is_changed_so_that_it_cannot_share_leaves_and_the_others_stay() {
    for (claim, change) in breaking() {
        for changed in ["a", "b", "c"] {
            let mut world = three();
            world.change(changed, change);
            world.settle();
            for name in ["a", "b", "c"] {
                let expected = if name == changed {
                    "10.0.0.1"
                } else {
                    "10.0.0.0"
                };
                assert_eq!(
                    world.ingress(name),
                    [expected],
                    "{name} after {claim} of {changed}"
                );
            }
        }
    }
}

#[test]
fn of_two_that_share_the_one_that_is_changed_leaves() {
    for (claim, change) in breaking() {
        for (changed, other) in [("a", "b"), ("b", "a")] {
            let mut world = three();
            world.remove("c");
            world.settle();
            world.change(changed, change);
            world.settle();
            assert_eq!(
                world.ingress(other),
                ["10.0.0.0"],
                "after {claim} of {changed}"
            );
            assert_eq!(world.ingress(changed), ["10.0.0.1"], "after {claim}");
        }
    }
}

#[test]
fn with_policy_local_the_pods_must_be_the_same_or_both_opt_in() {
    let local = |port, app: &'static str, permits: &'static str| {
        move |service: &mut ServiceFacts| {
            keyed("k", port)(service);
            service.external_traffic_policy = TrafficPolicy::Local;
            service.selector = [("app".to_owned(), app.to_owned())].into();
            service.annotate("lbipam.cilium.io/sharing-permit-different-pods", permits);
        }
    };
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.service("a", local(1, "web", "false"));
    world.service("b", local(2, "web", "true"));
    world.service("c", local(3, "api", "true"));
    world.service("d", local(4, "db", "true"));
    world.settle();
    let given = ["a", "b", "c", "d"].map(|name| world.ingress(name).concat());
    assert_eq!(given, ["10.0.0.0", "10.0.0.0", "10.0.0.1", "10.0.0.1"]);
}

#[test]
fn a_newcomer_waits_for_a_group_that_another_is_about_to_leave() {
    let mut world = three();
    world.change("b", |service| {
        service.key("l");
    });
    world.service("d", keyed("k", 2));
    let plan = world.plan();
    let written: Vec<_> = plan.services.iter().map(|op| &*op.name.name).collect();
    assert_eq!(written, ["b"]);
    world.apply(plan);
    world.settle();
    assert_eq!(world.ingress("d"), ["10.0.0.0"]);
    assert_eq!(world.ingress("b"), ["10.0.0.1"]);
}

#[test]
fn a_pool_that_is_full_is_full_for_a_refused_sharer() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/32"]));
    world.service("a", keyed("k", 1));
    world.service("b", keyed("k", 1));
    world.service("c", keyed("k", 2));
    world.settle();
    assert!(world.said("b").starts_with("False out_of_ips: "));
    assert_eq!(world.ingress("c"), ["10.0.0.0"]);
}

#[test]
fn pools_that_select_differently_keep_a_key_apart() {
    let selector = |tier: &str| json!({"matchLabels": {"tier": tier}});
    let mut world = World::default();
    for (name, cidr) in [("front", "10.0.1.0/24"), ("back", "10.0.2.0/24")] {
        world.pool(
            name,
            with(cidrs(&[cidr]), "serviceSelector", selector(name)),
        );
    }
    for (name, port, tier) in [
        ("a", 1, "front"),
        ("b", 2, "back"),
        ("c", 3, "front"),
        ("d", 4, "back"),
    ] {
        world.service(name, |service| {
            keyed("k", port)(service);
            service.label("tier", tier);
        });
    }
    world.settle();
    let given = ["a", "b", "c", "d"].map(|name| world.ingress(name).concat());
    assert_eq!(given, ["10.0.1.0", "10.0.2.0", "10.0.1.0", "10.0.2.0"]);
}
