//! Which address is given out, and how many there are.

use plan::snapshot::{IpFamily, IpFamilyPolicy};
use serde_json::json;

use crate::world::{Change, World, cidrs, from_to, with};

#[test]
fn the_lowest_free_address_comes_first() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.services(&["a", "b", "c"]);
    world.settle();
    assert_eq!(world.ingress("a"), ["10.0.0.0"]);
    assert_eq!(world.ingress("b"), ["10.0.0.1"]);
    assert_eq!(world.ingress("c"), ["10.0.0.2"]);
    // Cilium takes the smallest gap instead: with .200 pinned, its next address would be .201.
    world.service("pinned", |service| {
        service.ask("10.0.0.200");
    });
    world.remove("b");
    world.services(&["d", "e"]);
    world.settle();
    assert_eq!(world.ingress("d"), ["10.0.0.1"]);
    assert_eq!(world.ingress("e"), ["10.0.0.3"]);
}

#[test]
fn the_published_lab_gives_1_of_256_with_254_available() {
    let mut world = World::with_pool(with(
        cidrs(&["172.16.1.0/24"]),
        "allowFirstLastIPs",
        json!("No"),
    ));
    world.settle();
    assert_eq!(world.counts("pool"), [256, 254, 2]);
    world.services(&["webpod"]);
    world.settle();
    assert_eq!(world.ingress("webpod"), ["172.16.1.1"]);
    assert_eq!(world.counts("pool"), [256, 253, 3]);
}

#[test]
fn blocks_are_used_in_the_order_of_the_spec() {
    let mut world = World::with_pool(json!({"blocks": [
        {"start": "10.0.9.1", "stop": "10.0.9.2"},
        {"cidr": "fd00::/127"},
        {"cidr": "10.0.0.0/31"},
    ]}));
    world.services(&["a", "b", "c", "d"]);
    world.settle();
    let given: Vec<_> = ["a", "b", "c", "d"]
        .iter()
        .flat_map(|name| world.ingress(name))
        .collect();
    assert_eq!(given, ["10.0.9.1", "10.0.9.2", "10.0.0.0", "10.0.0.1"]);
    assert_eq!(world.counts("pool"), [6, 2, 4]);
}

#[test]
fn pools_are_used_by_age_and_then_by_name() {
    let mut world = World::default();
    world.pool("z", cidrs(&["10.0.1.0/32"]));
    world.pool("y", cidrs(&["10.0.2.0/32"]));
    world.pool("x", cidrs(&["10.0.3.0/32"]));
    let created = world.snapshot.pools["y"]
        .metadata
        .creation_timestamp
        .clone();
    world.change_pool("x", |pool| pool.metadata.creation_timestamp = created);
    world.services(&["a", "b", "c", "d"]);
    world.settle();
    assert_eq!(world.ingress("a"), ["10.0.1.0"]);
    assert_eq!(world.ingress("b"), ["10.0.3.0"]);
    assert_eq!(world.ingress("c"), ["10.0.2.0"]);
    assert_eq!(
        world.said("d"),
        "False out_of_ips: All enabled CiliumLoadBalancerIPPools that match this service ran out of allocatable IPs"
    );
}

#[test]
fn the_oldest_service_is_served_first_and_of_one_age_the_first_by_name() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/31"]));
    world.service("young", |service| {
        service.created = Some("2030-01-01T00:00:00Z".parse().unwrap());
    });
    for name in ["b/z", "a/z"] {
        world.service(name, |service| {
            service.created = Some("2020-01-01T00:00:00Z".parse().unwrap());
        });
    }
    world.settle();
    assert_eq!(world.ingress("a/z"), ["10.0.0.0"]);
    assert_eq!(world.ingress("b/z"), ["10.0.0.1"]);
    assert!(world.ingress("young").is_empty());
    // It waits until an address is free.
    world.remove("a/z");
    world.settle();
    assert_eq!(world.ingress("young"), ["10.0.0.0"]);
    assert_eq!(world.said("young"), "True satisfied: ");
}

#[test]
fn two_families_are_given_v4_first_and_a_later_one_is_appended() {
    let mut world = World::with_pool(cidrs(&["fd00::/120"]));
    world.service("web", |service| {
        service.ip_family_policy = IpFamilyPolicy::RequireDualStack;
        service.ip_families = vec![IpFamily::Ipv6, IpFamily::Ipv4];
    });
    world.settle();
    assert_eq!(world.ingress("web"), ["fd00::"]);
    assert!(world.said("web").starts_with("False no_pool: "));
    world.pool("v4", cidrs(&["10.0.0.0/24"]));
    world.service("next", |service| {
        service.ip_family_policy = IpFamilyPolicy::PreferDualStack;
        service.ip_families = vec![IpFamily::Ipv6, IpFamily::Ipv4];
    });
    world.settle();
    assert_eq!(world.ingress("web"), ["fd00::", "10.0.0.0"]);
    assert_eq!(world.ingress("next"), ["10.0.0.1", "fd00::1"]);
    assert_eq!(world.said("web"), "True satisfied: ");
}

#[test]
fn a_service_that_can_have_no_family_is_satisfied_with_nothing() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.settings.ipv6 = false;
    world.service("web", |service| {
        service.ip_family_policy = IpFamilyPolicy::PreferDualStack;
        service.ip_families = vec![IpFamily::Ipv6];
    });
    world.settle();
    assert!(world.ingress("web").is_empty());
    assert_eq!(world.said("web"), "True satisfied: ");
}

#[test]
fn first_and_last_are_given_out_where_nothing_is_said_of_them() {
    let rows = [
        (cidrs(&["10.0.0.0/30"]), [4, 4, 0]),
        (
            with(cidrs(&["10.0.0.0/30"]), "allowFirstLastIPs", json!("Yes")),
            [4, 4, 0],
        ),
        (
            with(cidrs(&["10.0.0.0/30"]), "allowFirstLastIPs", json!("No")),
            [4, 2, 2],
        ),
        (
            with(cidrs(&["10.0.0.0/31"]), "allowFirstLastIPs", json!("No")),
            [2, 2, 0],
        ),
        (
            with(cidrs(&["10.0.0.0/32"]), "allowFirstLastIPs", json!("No")),
            [1, 1, 0],
        ),
        (
            with(cidrs(&["fd00::/126"]), "allowFirstLastIPs", json!("No")),
            [4, 2, 2],
        ),
        (
            with(
                from_to("10.0.0.0", "10.0.0.255"),
                "allowFirstLastIPs",
                json!("No"),
            ),
            [256, 256, 0],
        ),
    ];
    for (spec, counts) in rows {
        let mut world = World::with_pool(spec.clone());
        world.settle();
        assert_eq!(world.counts("pool"), counts, "{spec}");
    }
}

#[test]
fn large_blocks_count_without_overflow_and_give_their_lowest_address() {
    const V6: u128 = 1 << 64;
    let rows = [
        ("10.0.0.0/8", "10.0.0.0", [1 << 24, (1 << 24) - 1, 1]),
        ("fd00::/64", "fd00::", [V6, V6 - 1, 1]),
        ("0.0.0.0/0", "0.0.0.1", [1 << 32, (1 << 32) - 2, 2]),
        // Used: the unspecified address, the IPv4-mapped ones, and the one given out.
        (
            "::/0",
            "::1",
            [u128::MAX, u128::MAX - (1 << 32) - 2, (1 << 32) + 2],
        ),
    ];
    for (cidr, first, counts) in rows {
        let mut world = World::with_pool(cidrs(&[cidr]));
        world.service("web", |service| {
            service.ip_families = vec![if cidr.contains(':') {
                IpFamily::Ipv6
            } else {
                IpFamily::Ipv4
            }];
        });
        world.settle();
        assert_eq!(world.ingress("web"), [first]);
        assert_eq!(world.counts("pool"), counts, "{cidr}");
    }
    let mut world = World::with_pool(cidrs(&["::/0", "0.0.0.0/0"]));
    world.settle();
    assert_eq!(world.counts("pool")[0], u128::MAX);
}

#[test]
fn a_pool_selects_by_labels_and_by_namespace_and_name() {
    let mut world = World::default();
    let selecting = |cidr: &str, selector| with(cidrs(&[cidr]), "serviceSelector", selector);
    world.pool(
        "labels",
        selecting("10.0.1.0/24", json!({"matchLabels": {"tier": "front"}})),
    );
    world.pool(
        "namespace",
        selecting(
            "10.0.2.0/24",
            json!({"matchLabels": {"io.kubernetes.service.namespace": "blue"}}),
        ),
    );
    let names = json!({"matchExpressions": [
        {"key": "io.kubernetes.service.name", "operator": "In", "values": ["one", "two"]},
    ]});
    world.pool("name", selecting("10.0.3.0/24", names));
    world.service("a", |service| {
        service.label("tier", "front");
    });
    world.service("blue/b", |_| {});
    world.service("two", |_| {});
    world.service("forger", |service| {
        service.label("io.kubernetes.service.namespace", "blue");
    });
    world.settle();
    assert_eq!(world.ingress("a"), ["10.0.1.0"]);
    assert_eq!(world.ingress("blue/b"), ["10.0.2.0"]);
    assert_eq!(world.ingress("two"), ["10.0.3.0"]);
    assert_eq!(
        world.said("forger"),
        "False no_pool: There are no enabled CiliumLoadBalancerIPPools that match this service"
    );
    // The empty selector selects all.
    world.edit_pool("labels", "serviceSelector", json!({}));
    world.settle();
    assert_eq!(world.ingress("forger"), ["10.0.1.1"]);
}

#[test]
fn a_waiting_service_is_served_when_a_pool_comes() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/32"]));
    world.services(&["a", "b"]);
    world.settle();
    assert!(world.ingress("b").is_empty());
    world.pool("more", cidrs(&["10.0.1.0/32"]));
    world.settle();
    assert_eq!(world.ingress("a"), ["10.0.0.0"]);
    assert_eq!(world.ingress("b"), ["10.0.1.0"]);
    assert_eq!(world.counts("more"), [1, 0, 1]);
}

#[test]
fn figures_say_what_the_conditions_say() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/31"]));
    world.pool("conflicting", cidrs(&["10.0.0.0/30"]));
    world.services(&["a", "b", "c"]);
    world.service("other", |service| {
        service.load_balancer_class = Some("x".to_owned());
    });
    world.settle();
    let figures = world.plan().figures;
    assert_eq!(figures.conflicting_pools, 1);
    assert_eq!((figures.services, figures.unsatisfied), (3, 1));
    let pools: Vec<_> = figures
        .pools
        .iter()
        .map(|(name, figures)| (name.as_str(), figures.available, figures.used))
        .collect();
    assert_eq!(pools, [("conflicting", 2, 2), ("pool", 0, 2)]);
}
