//! What an override changes, and what a bad one costs.

use serde_json::{Value, json};

use crate::world::{World, on, one_instance};

fn with_override(instances: Value) -> World {
    let mut world = World::with_nodes(&["n1", "n2"]);
    world.cluster_config("c", on(), one_instance());
    world.override_("n1", instances);
    world.settle();
    world
}

#[test]
fn an_override_replaces_what_it_sets_in_the_instance_and_peer_of_its_name() {
    let instances = json!([
        {"name": "a", "routerID": "1.2.3.4", "localPort": 1179, "localASN": 65100,
         "peers": [{"name": "tor", "localAddress": "10.9.0.1", "localPort": 99}, {"name": "other", "localAddress": "10.9.0.2"}]},
        {"name": "unknown", "routerID": "9.9.9.9"},
    ]);
    let world = with_override(instances);
    assert_eq!(
        serde_json::to_value(&world.snapshot.node_configs["n1"].spec).unwrap(),
        json!({"bgpInstances": [{"name": "a", "localASN": 65100, "localPort": 1179, "routerID": "1.2.3.4", "peers": [
            {"name": "tor", "peerAddress": "10.0.0.1", "peerASN": 65000, "localAddress": "10.9.0.1",
             "peerConfigRef": {"name": "peer"}},
        ]}]})
    );
    assert_eq!(
        world.instance("n2").local_asn,
        Some(65001),
        "the other node is as before"
    );
    assert_eq!(world.instance("n2").router_id, None);
    assert_eq!(world.rejected("c"), None);
}

#[test]
fn an_override_that_sets_nothing_changes_nothing() {
    let world = with_override(json!([{"name": "a"}]));
    assert_eq!(world.instance("n1"), world.instance("n2"));
}

#[test]
fn what_an_override_set_is_undone_with_it() {
    let mut world = with_override(json!([{"name": "a", "routerID": "1.2.3.4", "localASN": 65100}]));
    world.snapshot.overrides.clear();
    assert_eq!(world.settle(), 1);
    assert_eq!(world.instance("n1"), world.instance("n2"));
}

/// Cilium: one update refused with 422, then the old spec kept silently. Ours: the field does not count, and a condition
/// says so.
#[test]
fn a_field_that_the_node_config_would_refuse_costs_that_field_only() {
    let override_ = "override of node n1, instance a:";
    let rows = [
        (
            json!({"localPort": 0}),
            format!("{override_} localPort 0 is not in 1..65535"),
        ),
        (
            json!({"localPort": -1}),
            format!("{override_} localPort -1 is not in 1..65535"),
        ),
        (
            json!({"localPort": 70000}),
            format!("{override_} localPort 70000 is not in 1..65535"),
        ),
        (
            json!({"routerID": "0.0.0.0"}),
            format!("{override_} routerID \"0.0.0.0\" is no BGP identifier"),
        ),
        (
            json!({"routerID": "fd00::1"}),
            format!("{override_} routerID \"fd00::1\" is no BGP identifier"),
        ),
    ];
    for (mut fields, expected) in rows {
        fields["name"] = json!("a");
        fields["localASN"] = json!(65100);
        let world = with_override(json!([fields]));
        assert_eq!(
            world.instance("n1").local_asn,
            Some(65100),
            "the good field counts"
        );
        assert_eq!(world.instance("n1").local_port, None);
        assert_eq!(world.instance("n1").router_id, None);
        assert_eq!(
            world.rejected("c"),
            Some(("InvalidOverride".to_owned(), expected))
        );
        assert!(world.owners().contains_key("n2"));
    }
}

#[test]
fn bad_fields_are_named_together_and_many_are_counted() {
    let names: Vec<String> = (10..35).map(|number| format!("n{number}")).collect();
    let mut world = World::with_nodes(&names.iter().map(String::as_str).collect::<Vec<_>>());
    world.cluster_config("c", on(), one_instance());
    for name in &names {
        world.override_(name, json!([{"name": "a", "localPort": 0}]));
    }
    world.settle();
    let (_, message) = world.rejected("c").unwrap();
    assert!(message.starts_with(
        "override of node n10, instance a: localPort 0 is not in 1..65535; override of node n11"
    ));
    assert!(message.ends_with("; and 5 more"), "{message}");
}

/// Cilium returns at the first error of a node: neither deletion nor conditions happen.
#[test]
fn a_bad_override_delays_neither_deletions_nor_conditions() {
    let mut world = World::with_nodes(&["n1", "n2"]);
    world.cluster_config("c", on(), one_instance());
    world.settle();
    world.override_("n1", json!([{"name": "a", "routerID": "0.0.0.0"}]));
    world.node("n2", &[]);
    world.snapshot.peer_configs.clear();
    world.settle();
    assert_eq!(world.owners(), [("n1", "c")].into());
    assert!(world.said("c")[1].starts_with("MissingPeerConfigs True PeerConfigsMissing"));
}
