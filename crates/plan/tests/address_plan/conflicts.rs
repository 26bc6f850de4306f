//! Pools that have the same addresses.

use serde_json::json;

use crate::world::{Change, World, cidrs, from_to, with};

#[test]
fn of_two_pools_that_overlap_the_younger_conflicts_whichever_way_they_overlap() {
    let rows = [
        ("10.0.0.0/24", "10.0.0.0/24"),
        ("10.0.0.0/24", "10.0.0.128/25"),
        ("10.0.0.128/25", "10.0.0.0/24"),
        ("10.0.0.0/24", "10.0.0.255/32"),
        ("fd00::/64", "fd00::1/128"),
        ("0.0.0.0/0", "10.0.0.0/24"),
    ];
    for (older, younger) in rows {
        let mut world = World::default();
        // By name they would be the other way round.
        world.pool("z", cidrs(&[older]));
        world.pool("a", cidrs(&[younger]));
        world.settle();
        assert_eq!(world.conflict("z"), None, "{older} {younger}");
        assert!(world.conflict("a").is_some(), "{older} {younger}");
    }
    for (one, other) in [("10.0.0.0/24", "10.0.1.0/24"), ("::/0", "0.0.0.0/0")] {
        let mut world = World::default();
        world.pool("z", cidrs(&[one]));
        world.pool("a", cidrs(&[other]));
        world.settle();
        assert_eq!((world.conflict("z"), world.conflict("a")), (None, None));
    }
}

#[test]
fn ranges_that_touch_at_one_address_overlap_and_neighbours_do_not() {
    for (start, conflicts) in [("10.0.0.9", true), ("10.0.0.10", false)] {
        let mut world = World::with_pool(from_to("10.0.0.5", "10.0.0.9"));
        world.pool("younger", from_to(start, "10.0.0.20"));
        world.settle();
        assert_eq!(world.conflict("younger").is_some(), conflicts);
    }
}

#[test]
fn the_condition_is_ciliums() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.pool("younger", cidrs(&["10.9.0.0/24", "10.0.0.128/25"]));
    world.settle();
    assert_eq!(
        world.pool_said("younger"),
        [
            "PoolConflict True cidr_overlap: Pool conflicts since range '10.0.0.128 - 10.0.0.255' overlaps range '10.0.0.0 - 10.0.0.255' from IP Pool 'pool'",
            "IPsTotal Unknown noreason: 384",
            "IPsAvailable Unknown noreason: 384",
            "IPsUsed Unknown noreason: 0",
        ]
    );
    assert_eq!(world.pool_said("pool")[0], "PoolConflict False resolved: ");
}

#[test]
fn a_pool_that_overlaps_itself_conflicts_with_itself_and_counts_each_address_once() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24", "10.0.0.0/25"]));
    world.pool("other", cidrs(&["10.0.0.0/26"]));
    world.services(&["web"]);
    world.settle();
    assert_eq!(
        world.conflict("pool").as_deref(),
        Some(
            "Pool conflicts since range '10.0.0.0 - 10.0.0.255' overlaps range '10.0.0.0 - 10.0.0.127' from IP Pool 'pool'"
        )
    );
    // It puts no other in conflict.
    assert_eq!(world.conflict("other"), None);
    assert_eq!(world.ingress("web"), ["10.0.0.0"]);
    assert_eq!(world.counts("pool"), [256, 255, 1]);
    assert_eq!(world.counts("other"), [64, 63, 1]);
}

#[test]
fn pools_of_one_second_conflict_by_name_in_either_order() {
    for names in [["a", "b"], ["b", "a"]] {
        let mut world = World::default();
        for name in names {
            world.pool(name, cidrs(&["10.0.0.0/24"]));
            world.change_pool(name, |pool| {
                let created = pool.metadata.creation_timestamp.as_mut().expect("a time");
                created.0 = "2020-01-01T00:00:00Z".parse().unwrap();
            });
        }
        world.settle();
        assert_eq!(world.conflict("a"), None);
        assert!(world.conflict("b").is_some());
    }
}

#[test]
fn all_ranges_of_a_conflicting_pool_are_closed_and_its_services_keep_what_they_have() {
    let mut world = World::default();
    world.pool("older", cidrs(&["10.0.0.0/24"]));
    world.edit_pool("older", "disabled", json!(true));
    world.pool("younger", cidrs(&["10.0.1.0/24", "fd00::/120"]));
    world.services(&["a"]);
    world.settle();
    assert_eq!(world.ingress("a"), ["10.0.1.0"]);
    // A disabled pool takes part.
    world.edit_pool("older", "blocks", json!([{"cidr": "10.0.0.0/23"}]));
    world.services(&["b"]);
    world.service("c", |service| {
        service.ask("fd00::1");
    });
    world.settle();
    assert!(world.conflict("younger").is_some());
    assert_eq!(world.ingress("a"), ["10.0.1.0"]);
    assert!(world.said("b").starts_with("False no_pool: "));
    assert_eq!(
        world.said("c"),
        "False no_pool: No pool exists with a CIDR containing 'fd00::1'"
    );
    assert_eq!(world.counts("younger"), [512, 511, 1]);
    // Repaired by an edit of the other.
    world.edit_pool("older", "blocks", json!([{"cidr": "10.0.0.0/24"}]));
    world.settle();
    assert_eq!(world.conflict("younger"), None);
    assert_eq!(
        world.pool_said("younger")[0],
        "PoolConflict False resolved: "
    );
    assert_eq!(world.ingress("b"), ["10.0.1.1"]);
    assert_eq!(world.ingress("c"), ["fd00::1"]);
}

#[test]
fn an_address_in_two_pools_is_given_once() {
    let mut world = World::default();
    world.pool("older", cidrs(&["10.0.0.0/24"]));
    world.pool("younger", cidrs(&["10.0.1.0/24"]));
    let edge = |service: &mut plan::ServiceFacts| {
        service.ask("10.0.1.0");
    };
    world.service("a", edge);
    world.settle();
    // Now both have 10.0.1.0, and only the older gives out.
    world.edit_pool("older", "blocks", json!([{"cidr": "10.0.1.0/31"}]));
    world.services(&["b", "c"]);
    world.settle();
    assert_eq!(world.ingress("a"), ["10.0.1.0"]);
    assert_eq!(world.ingress("b"), ["10.0.1.1"]);
    assert!(world.said("c").starts_with("False out_of_ips: "));
    assert_eq!(world.counts("older"), [2, 0, 2]);
    assert_eq!(world.counts("younger"), [256, 254, 2]);
}

#[test]
fn a_pool_of_another_selector_conflicts_all_the_same() {
    let selector = json!({"matchLabels": {"tier": "front"}});
    let mut world = World::with_pool(with(cidrs(&["10.0.0.0/24"]), "serviceSelector", selector));
    world.pool("younger", cidrs(&["10.0.0.0/25"]));
    world.settle();
    assert!(world.conflict("younger").is_some());
}

#[test]
fn a_pool_between_two_conflicts_gives_way_to_the_younger_one() {
    let mut world = World::default();
    world.pool("first", cidrs(&["10.0.0.0/24"]));
    world.pool("second", cidrs(&["10.0.0.0/23"]));
    world.pool("third", cidrs(&["10.0.1.0/24"]));
    world.settle();
    let conflicts =
        |world: &World| ["first", "second", "third"].map(|name| world.conflict(name).is_some());
    assert_eq!(conflicts(&world), [false, true, false]);
}
