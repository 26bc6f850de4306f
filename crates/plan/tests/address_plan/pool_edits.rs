//! Pools that change under Services: who can keep an address keeps it.

use serde_json::json;

use crate::world::{Change, World, cidrs, from_to};

/// Three Services at .0, .1 and .2 of 10.0.0.0/24, quiet.
fn three() -> World {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.services(&["a", "b", "c"]);
    world.settle();
    world
}

fn ingress(world: &World) -> Vec<String> {
    ["a", "b", "c"]
        .iter()
        .flat_map(|name| world.ingress(name))
        .collect()
}

#[test]
fn widening_shrinking_splitting_and_moving_a_block_between_pools_moves_nobody() {
    let edits = [
        cidrs(&["10.0.0.0/16"]),
        cidrs(&["10.0.0.0/30"]),
        cidrs(&["10.0.0.0/31", "10.0.0.2/31"]),
        cidrs(&["10.0.0.2/31", "10.0.0.0/31"]),
        from_to("10.0.0.0", "10.0.0.2"),
        json!({"blocks": [{"start": "10.0.0.2"}, {"start": "10.0.0.1"}, {"start": "10.0.0.0"}]}),
    ];
    for spec in edits {
        let mut world = three();
        world.writes = Default::default();
        world.pool("pool", spec.clone());
        world.settle();
        assert_eq!(
            ingress(&world),
            ["10.0.0.0", "10.0.0.1", "10.0.0.2"],
            "{spec}"
        );
        assert_eq!(world.writes.services, 0, "{spec}");
    }
    let mut world = three();
    world.writes = Default::default();
    world.pool("pool", cidrs(&["10.0.0.0/31"]));
    world.pool("other", cidrs(&["10.0.0.2/31"]));
    world.settle();
    assert_eq!(ingress(&world), ["10.0.0.0", "10.0.0.1", "10.0.0.2"]);
    assert_eq!(world.writes.services, 0);
}

#[test]
fn whom_shrinking_leaves_outside_is_moved_in_one_write() {
    let mut world = three();
    world.writes = Default::default();
    world.pool("pool", cidrs(&["10.0.0.0/31", "10.0.0.8/31"]));
    assert_eq!(world.settle(), 1);
    assert_eq!(ingress(&world), ["10.0.0.0", "10.0.0.1", "10.0.0.8"]);
    assert_eq!(world.writes.services, 1);
    assert_eq!(world.said("c"), "True satisfied: ");
    assert_eq!(world.counts("pool"), [4, 1, 3]);
}

#[test]
fn a_removed_pool_is_replaced_by_another_that_has_the_address_or_a_free_one() {
    let mut world = three();
    world.pool("other", cidrs(&["10.0.1.0/24"]));
    world.settle();
    world.writes = Default::default();
    world.remove_pool("pool");
    world.pool("narrow", cidrs(&["10.0.0.1/32"]));
    assert_eq!(world.settle(), 1);
    assert_eq!(ingress(&world), ["10.0.1.0", "10.0.0.1", "10.0.1.1"]);
    assert_eq!(world.writes.services, 2);
}

#[test]
fn a_disabled_pool_gives_nothing_and_takes_nothing() {
    let mut world = three();
    world.writes = Default::default();
    world.edit_pool("pool", "disabled", json!(true));
    world.services(&["d"]);
    world.settle();
    assert_eq!(ingress(&world), ["10.0.0.0", "10.0.0.1", "10.0.0.2"]);
    assert_eq!(world.writes.services, 1);
    assert_eq!(
        world.said("d"),
        "False no_pool: There are no enabled CiliumLoadBalancerIPPools that match this service"
    );
    assert_eq!(world.counts("pool"), [256, 253, 3]);
    world.edit_pool("pool", "disabled", json!(false));
    world.settle();
    assert_eq!(world.ingress("d"), ["10.0.0.3"]);
}

#[test]
fn a_pool_being_deleted_is_as_good_as_disabled() {
    let mut world = three();
    world.change_pool("pool", |pool| {
        pool.metadata.deletion_timestamp = pool.metadata.creation_timestamp.clone();
    });
    world.services(&["d"]);
    world.settle();
    assert_eq!(ingress(&world), ["10.0.0.0", "10.0.0.1", "10.0.0.2"]);
    assert!(world.said("d").starts_with("False no_pool: "));
}

#[test]
fn services_that_a_changed_selector_leaves_out_go_elsewhere() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.service("a", |service| {
        service.label("tier", "front");
    });
    world.services(&["b"]);
    world.settle();
    let selector = json!({"matchLabels": {"tier": "front"}});
    world.edit_pool("pool", "serviceSelector", selector);
    assert_eq!(world.settle(), 1);
    assert_eq!(world.ingress("a"), ["10.0.0.0"]);
    assert!(world.ingress("b").is_empty());
    world.pool("rest", cidrs(&["10.0.1.0/24"]));
    world.settle();
    assert_eq!(world.ingress("b"), ["10.0.1.0"]);
    // And whom a changed label leaves out, likewise.
    world.change("a", |service| service.labels.clear());
    assert_eq!(world.settle(), 1);
    assert_eq!(world.ingress("a"), ["10.0.1.1"]);
}

#[test]
fn a_service_on_the_first_address_keeps_it_when_that_becomes_reserved() {
    let mut world = three();
    world.edit_pool("pool", "allowFirstLastIPs", json!("No"));
    world.settle();
    assert_eq!(ingress(&world), ["10.0.0.0", "10.0.0.1", "10.0.0.2"]);
    // .0 to .2 taken, .0 and .255 reserved.
    assert_eq!(world.counts("pool"), [256, 252, 4]);
    world.remove("a");
    world.services(&["d"]);
    world.settle();
    assert_eq!(world.ingress("d"), ["10.0.0.3"]);
    assert_eq!(world.counts("pool"), [256, 251, 5]);
}

#[test]
fn a_bad_block_costs_itself_and_is_named() {
    let mut world = World::with_pool(json!({"blocks": [
        {"cidr": "10.0.0.0/33"},
        {"cidr": "10.0.1.0/24"},
        {"start": "10.0.2.9", "stop": "10.0.2.1"},
    ]}));
    world.services(&["web"]);
    world.settle();
    assert_eq!(world.ingress("web"), ["10.0.1.0"]);
    assert_eq!(world.counts("pool"), [256, 255, 1]);
    let said = world.rejected("pool").expect("said");
    assert_eq!(
        said,
        (
            "InvalidCIDR".to_owned(),
            "spec.blocks[0]: cidr \"10.0.0.0/33\" is not a prefix; spec.blocks[2]: start 10.0.2.9 is after stop 10.0.2.1"
                .to_owned()
        )
    );
    world.pool("pool", cidrs(&["10.0.1.0/24"]));
    world.settle();
    assert_eq!(world.rejected("pool"), None);
    assert_eq!(world.pool_said("pool").len(), 4);
}

#[test]
fn each_kind_of_fault_has_its_reason() {
    let rows = [
        (
            json!([{}]),
            "EmptyBlock",
            "spec.blocks[0]: neither cidr nor start is there",
        ),
        (
            json!([{"stop": "10.0.0.1"}]),
            "InvalidRange",
            "spec.blocks[0]: stop is there without start",
        ),
        (
            json!([{"start": "x"}]),
            "InvalidRange",
            "spec.blocks[0]: start \"x\" is not an IP address",
        ),
        (
            json!([{"start": "10.0.0.1", "stop": "10.0.0.0/8"}]),
            "InvalidRange",
            "spec.blocks[0]: stop \"10.0.0.0/8\" is not an IP address",
        ),
        (
            json!([{"start": "10.0.0.1", "stop": "fd00::1"}]),
            "InvalidRange",
            "spec.blocks[0]: start 10.0.0.1 and stop fd00::1 are of different families",
        ),
        (
            json!([{"cidr": "10.0.0.1"}]),
            "InvalidCIDR",
            "spec.blocks[0]: cidr \"10.0.0.1\" is not a prefix",
        ),
        (
            json!([{"cidr": "::ffff:10.0.0.0/120"}]),
            "IPv4MappedRange",
            "spec.blocks[0]: its addresses are IPv4-mapped IPv6 addresses, write them as IPv4",
        ),
    ];
    for (blocks, reason, message) in rows {
        let mut world = World::with_pool(json!({"blocks": blocks}));
        world.services(&["web"]);
        world.settle();
        assert_eq!(
            world.rejected("pool"),
            Some((reason.to_owned(), message.to_owned()))
        );
        assert_eq!(world.counts("pool"), [0, 0, 0]);
        assert!(world.said("web").starts_with("False no_pool: "));
    }
}
