//! Router IDs of overrides and of the pool.

use std::collections::BTreeMap;

use plan::cluster::RouterIds;
use serde_json::{Value, json};

use crate::world::{World, on, one_instance};

fn with_pool(nodes: &[&str], pool: &str) -> World {
    let mut world = World::with_nodes(nodes);
    world.settings.router_ids = RouterIds::Pool(pool.parse().expect("a CIDR"));
    world.cluster_config("c", on(), one_instance());
    world
}

fn router_ids(world: &World) -> BTreeMap<&str, &str> {
    let configs = world.snapshot.node_configs.iter();
    configs
        .map(|(node, config)| {
            let router_id = config
                .spec
                .bgp_instances
                .first()
                .and_then(|instance| instance.router_id.as_deref());
            (node.as_str(), router_id.unwrap_or("none"))
        })
        .collect()
}

fn wants(router_id: &str) -> Value {
    json!([{"name": "a", "routerID": router_id}])
}

#[test]
fn without_a_pool_only_overrides_set_router_ids_and_may_agree() {
    let mut world = World::with_nodes(&["n1", "n2", "n3"]);
    world.cluster_config("c", on(), one_instance());
    world.override_("n1", wants("1.1.1.1"));
    world.override_("n2", wants("1.1.1.1"));
    world.settle();
    assert_eq!(
        router_ids(&world),
        [("n1", "1.1.1.1"), ("n2", "1.1.1.1"), ("n3", "none")].into()
    );
    assert_eq!(world.rejected("c"), None);
}

#[test]
fn the_pool_is_handed_out_from_its_first_address_by_node_and_instance() {
    let mut world = with_pool(&["n2", "n1"], "10.0.0.0/30");
    world.cluster_config(
        "c",
        on(),
        json!([{"name": "z", "localASN": 1}, {"name": "a", "localASN": 2}]),
    );
    world.settle();
    let ids: Vec<_> = world
        .snapshot
        .node_configs
        .values()
        .flat_map(|config| {
            config
                .spec
                .bgp_instances
                .iter()
                .map(|instance| instance.router_id.clone().unwrap())
        })
        .collect();
    assert_eq!(
        ids,
        ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3"],
        "first and last included"
    );
    assert_eq!(world.rejected("c"), None);
}

/// Cilium hands out 0.0.0.0, which is no BGP identifier (RFC 6286 section 2.1).
#[test]
fn the_address_zero_is_never_handed_out() {
    let mut world = with_pool(&["n1"], "0.0.0.0/0");
    world.settle();
    assert_eq!(router_ids(&world), [("n1", "0.0.0.1")].into());
}

#[test]
fn the_last_address_of_all_is_handed_out() {
    let mut world = with_pool(&["n1", "n2"], "255.255.255.255/32");
    world.settle();
    assert_eq!(
        router_ids(&world),
        [("n1", "255.255.255.255"), ("n2", "none")].into()
    );
}

#[test]
fn router_ids_stay_when_nodes_come_and_are_free_when_they_go() {
    let mut world = with_pool(&["n2", "n3", "n4"], "10.0.0.0/29");
    world.settle();
    world.node("n1", &[("bgp", "on")]);
    world.settle();
    assert_eq!(router_ids(&world)["n1"], "10.0.0.3", "the lowest free one");
    assert_eq!(router_ids(&world)["n2"], "10.0.0.0", "nobody moves");

    world.snapshot.nodes.remove("n3");
    world.node("n9", &[("bgp", "on")]);
    world.settle();
    assert_eq!(
        router_ids(&world)["n9"],
        "10.0.0.1",
        "that of the node that went"
    );
}

/// Cilium has no path that frees it.
#[test]
fn the_router_id_of_an_instance_that_goes_is_free() {
    let mut world = with_pool(&["n1", "n2"], "10.0.0.0/30");
    world.cluster_config("c", on(), json!([{"name": "a"}, {"name": "b"}]));
    world.settle();
    world.cluster_config("c", on(), json!([{"name": "b"}]));
    world.settle();
    world.node("n3", &[("bgp", "on")]);
    world.settle();
    assert_eq!(
        router_ids(&world),
        [("n1", "10.0.0.1"), ("n2", "10.0.0.3"), ("n3", "10.0.0.0")].into()
    );
}

/// Cilium leaks it while another ClusterConfig exists.
#[test]
fn the_router_ids_of_a_cluster_config_that_goes_are_free() {
    let mut world = with_pool(&["n1"], "10.0.0.0/31");
    world.node("n2", &[("other", "yes")]);
    world.cluster_config(
        "d",
        Some(json!({"matchLabels": {"other": "yes"}})),
        one_instance(),
    );
    world.settle();
    world.snapshot.cluster_configs.remove("c");
    world.snapshot.node_configs.remove("n1");
    world.node("n3", &[("other", "yes")]);
    world.settle();
    assert_eq!(
        router_ids(&world),
        [("n2", "10.0.0.1"), ("n3", "10.0.0.0")].into()
    );
    assert_eq!(world.rejected("d"), None);
}

/// Cilium: no conditions, no deletions, back-off.
#[test]
fn an_exhausted_pool_costs_the_instances_without_an_id_only() {
    let mut world = with_pool(&["n1", "n2", "n3", "n4"], "10.0.0.0/31");
    world.node("n0", &[]);
    world.settle();
    assert_eq!(
        router_ids(&world),
        [
            ("n1", "10.0.0.0"),
            ("n2", "10.0.0.1"),
            ("n3", "none"),
            ("n4", "none")
        ]
        .into()
    );
    let message = "node n3, instance a: no router ID, the pool 10.0.0.0/31 is exhausted; \
                   node n4, instance a: no router ID, the pool 10.0.0.0/31 is exhausted";
    assert_eq!(
        world.rejected("c"),
        Some(("RouterIDPoolExhausted".to_owned(), message.to_owned()))
    );
    assert_eq!(world.said("c").len(), 4, "the other conditions are there");

    world.node("n1", &[]);
    world.settle();
    assert_eq!(
        router_ids(&world),
        [("n2", "10.0.0.1"), ("n3", "10.0.0.0"), ("n4", "none")].into()
    );
}

#[test]
fn an_override_outside_the_pool_is_taken_and_frees_the_pools_id() {
    let mut world = with_pool(&["n1", "n2"], "10.0.0.0/30");
    world.settle();
    world.override_("n1", wants("192.0.2.1"));
    assert_eq!(world.settle(), 1);
    world.node("n3", &[("bgp", "on")]);
    world.settle();
    assert_eq!(
        router_ids(&world),
        [("n1", "192.0.2.1"), ("n2", "10.0.0.1"), ("n3", "10.0.0.0")].into()
    );
    assert_eq!(world.rejected("c"), None);
}

#[test]
fn an_override_inside_the_pool_is_taken_if_free_or_its_own() {
    let mut world = with_pool(&["n1", "n2"], "10.0.0.0/30");
    world.override_("n1", wants("10.0.0.2"));
    world.settle();
    assert_eq!(
        router_ids(&world),
        [("n1", "10.0.0.2"), ("n2", "10.0.0.0")].into()
    );
    world.override_("n2", wants("10.0.0.0"));
    assert_eq!(world.settle(), 0);
}

#[test]
fn an_override_wanting_anothers_id_is_reported_and_keeps_what_it_has() {
    for wanted in ["10.0.0.1", "192.0.2.1"] {
        let mut world = with_pool(&["n1", "n2", "n3"], "10.0.0.0/30");
        world.override_("n3", wants("192.0.2.1"));
        world.settle();
        let holder = if wanted == "10.0.0.1" { "n2" } else { "n3" };
        world.override_("n1", wants(wanted));
        world.settle();
        assert_eq!(
            router_ids(&world),
            [("n1", "10.0.0.0"), ("n2", "10.0.0.1"), ("n3", "192.0.2.1")].into()
        );
        let message = format!(
            "override of node n1, instance a: routerID {wanted} is already that of node {holder}, instance a"
        );
        assert_eq!(
            world.rejected("c"),
            Some(("RouterIDConflict".to_owned(), message))
        );
    }
}

/// Cilium: dead-lock, the leaving node's NodeConfig is never removed.
#[test]
fn an_override_gets_the_id_of_a_node_that_leaves() {
    let mut world = with_pool(&["n1", "n2"], "10.0.0.0/30");
    world.settle();
    world.override_("n1", wants("10.0.0.1"));
    world.settle();
    assert_eq!(router_ids(&world)["n1"], "10.0.0.0");
    world.node("n2", &[]);
    world.settle();
    assert_eq!(router_ids(&world), [("n1", "10.0.0.1")].into());
    assert_eq!(world.rejected("c"), None);
}

#[test]
fn two_overrides_may_swap_ids() {
    let mut world = with_pool(&["n1", "n2"], "10.0.0.0/30");
    world.settle();
    world.override_("n1", wants("10.0.0.1"));
    world.override_("n2", wants("10.0.0.0"));
    world.settle();
    assert_eq!(
        router_ids(&world),
        [("n1", "10.0.0.1"), ("n2", "10.0.0.0")].into()
    );
    assert_eq!(world.rejected("c"), None);
}

#[test]
fn of_two_overrides_wanting_one_id_the_first_gets_it_and_keeps_it() {
    let mut world = with_pool(&["n1", "n2"], "10.0.0.0/30");
    world.override_("n2", wants("10.0.0.3"));
    world.settle();
    world.override_("n1", wants("10.0.0.3"));
    world.settle();
    assert_eq!(
        router_ids(&world),
        [("n1", "10.0.0.0"), ("n2", "10.0.0.3")].into(),
        "who has it keeps it"
    );
}

#[test]
fn ids_of_hand_made_node_configs_are_not_handed_out() {
    let mut world = with_pool(&["n1", "n2"], "10.0.0.0/30");
    world.hand_made("n1", json!([{"name": "mine", "routerID": "10.0.0.0"}]));
    world.settle();
    assert_eq!(
        router_ids(&world),
        [("n1", "10.0.0.0"), ("n2", "10.0.0.1")].into()
    );
}

#[test]
fn ids_edited_into_duplicates_by_hand_are_put_right() {
    let mut world = with_pool(&["n1", "n2"], "10.0.0.0/30");
    world.settle();
    world.change_node_config("n2", |config| {
        config.spec.bgp_instances[0].router_id = Some("10.0.0.0".to_owned());
    });
    world.settle();
    assert_eq!(
        router_ids(&world),
        [("n1", "10.0.0.0"), ("n2", "10.0.0.1")].into()
    );
}

#[test]
fn ids_of_an_older_pool_are_replaced_and_a_pool_that_is_taken_away_takes_them_along() {
    let mut world = with_pool(&["n1"], "10.0.0.0/30");
    world.settle();
    world.settings.router_ids = RouterIds::Pool("10.1.0.0/30".parse().unwrap());
    world.settle();
    assert_eq!(router_ids(&world), [("n1", "10.1.0.0")].into());
    world.settings.router_ids = RouterIds::OfNode;
    world.settle();
    assert_eq!(router_ids(&world), [("n1", "none")].into());
}
