//! Who owns which node, and what comes and goes with it.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use plan::cluster::NodeConfigOp;
use serde_json::{Value, json};

use crate::world::{World, on, one_instance};

fn owned(world: &World, cluster_config: &str) -> Vec<String> {
    let owners = world.owners();
    owners
        .iter()
        .filter(|(_, owner)| **owner == cluster_config)
        .map(|(node, _)| (*node).to_owned())
        .collect()
}

#[test]
fn selectors_select_by_label_absent_and_empty_ones_every_node() {
    let rows: [(Option<Value>, &[&str]); 9] = [
        (None, &["n1", "n2", "n3"]),
        (Some(json!({})), &["n1", "n2", "n3"]),
        (Some(json!({"matchLabels": {"bgp": "on"}})), &["n1", "n2"]),
        (
            Some(json!({"matchLabels": {"bgp": "on", "rack": "a"}})),
            &["n1"],
        ),
        (
            Some(
                json!({"matchExpressions": [{"key": "rack", "operator": "In", "values": ["a", "b"]}]}),
            ),
            &["n1", "n2"],
        ),
        (
            Some(
                json!({"matchExpressions": [{"key": "rack", "operator": "NotIn", "values": ["a"]}]}),
            ),
            &["n2", "n3"],
        ),
        (
            Some(json!({"matchExpressions": [{"key": "rack", "operator": "Exists"}]})),
            &["n1", "n2"],
        ),
        (
            Some(json!({"matchExpressions": [{"key": "rack", "operator": "DoesNotExist"}]})),
            &["n3"],
        ),
        (Some(json!({"matchLabels": {"bgp": "off"}})), &[]),
    ];
    for (selector, expected) in rows {
        let mut world = World::with_nodes(&[]);
        world.node("n1", &[("bgp", "on"), ("rack", "a")]);
        world.node("n2", &[("bgp", "on"), ("rack", "b")]);
        world.node("n3", &[]);
        world.cluster_config("c", selector.clone(), one_instance());
        assert_eq!(world.settle(), 1, "one plan is enough");
        assert_eq!(owned(&world, "c"), expected, "{selector:?}");
    }
}

#[test]
fn labels_of_a_cilium_node_count_too_and_win() {
    let mut world = World::with_nodes(&["n1"]);
    world.node("n2", &[]);
    world.node("n3", &[("bgp", "on")]);
    world.cilium_node("n2", &[("bgp", "on")]);
    world.cilium_node("n3", &[("bgp", "off")]);
    world.cilium_node("not-a-node", &[("bgp", "on")]);
    world.cluster_config("c", on(), one_instance());
    world.settle();
    assert_eq!(owned(&world, "c"), ["n1", "n2"]);
}

#[test]
fn the_owner_reference_is_that_of_the_reference() {
    let mut world = World::with_nodes(&["n1"]);
    world.cluster_config("c", on(), one_instance());
    world.settle();
    let uid = world.snapshot.cluster_configs["c"].metadata.uid.clone();
    let owners =
        serde_json::to_value(&world.snapshot.node_configs["n1"].metadata.owner_references).unwrap();
    assert_eq!(
        owners,
        json!([{
            "apiVersion": "cilium.io/v2", "kind": "CiliumBGPClusterConfig", "name": "c", "uid": uid, "controller": true,
        }])
    );
}

#[test]
fn the_spec_is_that_of_the_cluster_config_with_peer_asn_written() {
    let mut world = World::with_nodes(&["n1"]);
    let instances = json!([
        {"name": "z", "localASN": 65001, "localPort": 1790, "peers": [
            {"name": "b", "peerAddress": "fd00::1"},
            {"name": "a", "peerASN": 65000, "autoDiscovery": {"mode": "DefaultGateway", "defaultGateway": {"addressFamily": "ipv6"}}},
        ]},
        {"name": "a", "localASN": 65002, "peers": []},
    ]);
    world.cluster_config("c", on(), instances);
    world.settle();
    assert_eq!(
        serde_json::to_value(&world.snapshot.node_configs["n1"].spec).unwrap(),
        json!({"bgpInstances": [
            {"name": "z", "localASN": 65001, "localPort": 1790, "peers": [
                {"name": "b", "peerAddress": "fd00::1", "peerASN": 0},
                {"name": "a", "peerASN": 65000, "autoDiscovery": {"mode": "DefaultGateway", "defaultGateway": {"addressFamily": "ipv6"}}},
            ]},
            {"name": "a", "localASN": 65002},
        ]})
    );
}

#[test]
fn an_edit_updates_a_lost_label_or_node_deletes() {
    let mut world = World::with_nodes(&["n1", "n2", "n3"]);
    world.cluster_config("c", on(), one_instance());
    world.settle();
    let uid = |world: &World, node: &str| {
        world.snapshot.node_configs[node]
            .metadata
            .uid
            .clone()
            .unwrap()
    };

    world.cluster_config("c", on(), json!([{"name": "a", "localASN": 65009}]));
    world.node("n2", &[("bgp", "off")]);
    world.snapshot.nodes.remove("n3");
    let plan = world.plan();
    let expected = [
        NodeConfigOp::Delete {
            name: "n2".to_owned(),
            uid: uid(&world, "n2"),
        },
        NodeConfigOp::Delete {
            name: "n3".to_owned(),
            uid: uid(&world, "n3"),
        },
    ];
    assert_eq!(plan.node_configs[..2], expected, "what goes is first");
    assert!(matches!(&plan.node_configs[2], NodeConfigOp::Update { name, .. } if name == "n1"));
    assert_eq!(plan.node_configs.len(), 3);
    assert_eq!(world.settle(), 1);
    assert_eq!(owned(&world, "c"), ["n1"]);
    assert_eq!(world.instance("n1").local_asn, Some(65009));
}

#[test]
fn a_spec_edited_by_hand_is_put_right_and_the_metadata_left_alone() {
    let mut world = World::with_nodes(&["n1"]);
    world.cluster_config("c", on(), one_instance());
    world.settle();
    world.change_node_config("n1", |config| {
        config.spec.bgp_instances[0].local_asn = Some(1);
        config.metadata.labels = Some([("mine".to_owned(), "yes".to_owned())].into());
    });
    assert_eq!(world.settle(), 1);
    assert_eq!(world.instance("n1").local_asn, Some(65001));
    assert!(world.snapshot.node_configs["n1"].metadata.labels.is_some());
}

#[test]
fn the_first_owner_keeps_the_node_and_only_the_loser_reports() {
    let mut world = World::with_nodes(&["n1", "n2"]);
    world.cluster_config("z-first", on(), one_instance());
    world.settle();
    world.node("n3", &[("bgp", "on")]);
    world.cluster_config("a-second", None, one_instance());
    world.settle();
    assert_eq!(
        owned(&world, "z-first"),
        ["n1", "n2", "n3"],
        "the older one gets the new node too"
    );
    let conflict = "ConflictingClusterConfig True ClusterConfigConflict: \
                    Selecting the same node(s) with ClusterConfig(s): [z-first]";
    assert_eq!(world.said("a-second")[0], conflict);
    assert_eq!(
        world.said("z-first")[0],
        "ConflictingClusterConfig False ClusterConfigValidated: "
    );
    assert_eq!(
        world.said("a-second")[2],
        "NoMatchingNode False MatchingNodeSelected: ",
        "it matches, though it gets none"
    );
}

#[test]
fn the_loser_takes_over_what_the_winner_lets_go_without_ever_reporting_the_winner() {
    let mut world = World::with_nodes(&["n1", "n2"]);
    world.cluster_config("first", on(), one_instance());
    world.cluster_config("second", on(), json!([{"name": "a", "localASN": 65002}]));
    world.settle();
    assert_eq!(owned(&world, "first"), ["n1", "n2"]);

    world.cluster_config(
        "first",
        Some(json!({"matchLabels": {"bgp": "no"}})),
        one_instance(),
    );
    let plan = world.plan();
    assert!(
        plan.node_configs
            .iter()
            .all(|op| matches!(op, NodeConfigOp::Delete { .. })),
        "first it goes, then it comes"
    );
    world.apply(plan);
    assert_eq!(
        world.said("second")[0],
        "ConflictingClusterConfig False ClusterConfigValidated: "
    );
    assert_eq!(world.settle(), 1);
    assert_eq!(owned(&world, "second"), ["n1", "n2"]);
    assert_eq!(world.instance("n1").local_asn, Some(65002));
}

#[test]
fn several_winners_are_named_in_order() {
    let mut world = World::with_nodes(&[]);
    world.node("n1", &[("rack", "b")]);
    world.node("n2", &[("rack", "a")]);
    for rack in ["b", "a"] {
        world.cluster_config(
            rack,
            Some(json!({"matchLabels": {"rack": rack}})),
            one_instance(),
        );
    }
    world.cluster_config("all", None, one_instance());
    world.settle();
    assert!(
        world.said("all")[0].ends_with("ClusterConfig(s): [a b]"),
        "{:?}",
        world.said("all")
    );
}

/// Cilium blocks the node silently.
#[test]
fn a_hand_made_node_config_blocks_its_node_and_is_named_in_a_condition() {
    let mut world = World::with_nodes(&["n1", "n2"]);
    world.hand_made("n1", json!([{"name": "mine"}]));
    world.cluster_config("c", on(), one_instance());
    world.settle();
    assert_eq!(world.owners(), [("n1", ""), ("n2", "c")].into());
    let (reason, message) = world.rejected("c").unwrap();
    assert_eq!(reason, "NodeConfigNotOwned");
    assert_eq!(
        message,
        "node n1: its CiliumBGPNodeConfig has no CiliumBGPClusterConfig as owner and is left alone"
    );
    assert_eq!(
        world.said("c")[0],
        "ConflictingClusterConfig False ClusterConfigValidated: "
    );

    world.snapshot.node_configs.remove("n1");
    world.settle();
    assert_eq!(world.owners()["n1"], "c");
    assert_eq!(world.rejected("c"), None, "and the condition goes with it");
}

#[test]
fn an_owner_reference_through_the_older_version_counts_as_ownership() {
    let mut world = World::with_nodes(&["n1"]);
    world.cluster_config("c", on(), one_instance());
    world.settle();
    world.change_node_config("n1", |config| {
        config.metadata.owner_references.as_mut().unwrap()[0].api_version =
            "cilium.io/v2alpha1".to_owned();
    });
    assert_eq!(world.settle(), 0);
    world.node("n1", &[]);
    world.settle();
    assert_eq!(world.owners(), [].into());
}

fn being_deleted(world: &mut World, name: &str, finalizer: &str) {
    let now = world.now();
    world.change_cluster_config(name, |config| {
        config.metadata.deletion_timestamp = Some(Time(now));
        config.metadata.finalizers = Some(vec![finalizer.to_owned()]);
    });
}

/// Cilium makes, changes and removes NodeConfigs for it as if it were alive, against the garbage collector.
#[test]
fn a_cluster_config_that_is_being_deleted_owns_nothing_any_more() {
    let mut world = World::with_nodes(&["n1", "n2"]);
    world.cluster_config("going", on(), one_instance());
    world.settle();
    world.cluster_config("waiting", on(), one_instance());
    being_deleted(&mut world, "going", "example.org/hold");
    world.node("n3", &[("bgp", "on")]);
    world.settle();
    assert_eq!(owned(&world, "going"), [""; 0]);
    assert_eq!(owned(&world, "waiting"), ["n1", "n2", "n3"]);
}

#[test]
fn node_configs_of_a_cluster_config_deleted_with_orphans_stay() {
    let mut world = World::with_nodes(&["n1"]);
    world.cluster_config("going", on(), one_instance());
    world.settle();
    being_deleted(&mut world, "going", "orphan");
    assert_eq!(world.settle(), 0);
    assert_eq!(world.owners(), [("n1", "going")].into());
}

/// Cilium leaves its removal to the garbage collector; a new ClusterConfig of the same name waits for it.
#[test]
fn a_node_config_whose_cluster_config_is_gone_is_collected() {
    let mut world = World::with_nodes(&["n1"]);
    world.cluster_config("c", on(), one_instance());
    world.settle();
    let gone = world.snapshot.cluster_configs["c"].metadata.clone();
    world.snapshot.cluster_configs.clear();
    world.cluster_config("c", on(), json!([{"name": "b", "localASN": 65002}]));
    let metadata = world.snapshot.node_configs["n1"].metadata.clone();
    let collect = NodeConfigOp::Collect {
        name: "n1".to_owned(),
        uid: metadata.uid.unwrap(),
        owner: metadata.owner_references.unwrap().remove(0),
    };
    assert!(
        matches!(&collect, NodeConfigOp::Collect { owner, .. } if Some(&owner.uid) == gone.uid.as_ref())
    );
    let plan = world.plan();
    assert_eq!(plan.node_configs, [collect]);
    world.apply(plan);
    assert_eq!(
        world.said("c")[0],
        "ConflictingClusterConfig False ClusterConfigValidated: "
    );
    assert_eq!(
        world.rejected("c"),
        None,
        "nothing is wrong, it only has to wait"
    );

    world.settle();
    assert_eq!(world.instance("n1").name, "b");
}

#[test]
fn a_node_config_that_has_another_owner_too_is_left_to_the_garbage_collector() {
    let mut world = World::with_nodes(&["n1"]);
    world.cluster_config("c", on(), one_instance());
    world.settle();
    world.snapshot.cluster_configs.clear();
    let node_config = world.snapshot.node_configs.get_mut("n1").unwrap();
    let owners = Arc::make_mut(node_config)
        .metadata
        .owner_references
        .as_mut();
    owners.unwrap().push(OwnerReference {
        kind: "ConfigMap".to_owned(),
        ..OwnerReference::default()
    });
    assert!(world.plan().node_configs.is_empty());
}

/// Cilium deletes it again on every event.
#[test]
fn a_node_config_held_by_a_finalizer_is_deleted_once_and_made_again_when_it_is_gone() {
    let mut world = World::with_nodes(&["n1"]);
    world.cluster_config("c", on(), one_instance());
    world.settle();
    world.node("n1", &[]);
    assert_eq!(world.plan().node_configs.len(), 1);
    let now = world.now();
    world.change_node_config("n1", |config| {
        config.metadata.deletion_timestamp = Some(Time(now));
    });
    assert!(
        world.plan().node_configs.is_empty(),
        "it is being deleted already"
    );

    world.node("n1", &[("bgp", "on")]);
    world.cluster_config("c", on(), json!([{"name": "a", "localASN": 65002}]));
    assert!(
        world.plan().node_configs.is_empty(),
        "what is being deleted is not changed either"
    );
    world.snapshot.node_configs.clear();
    world.settle();
    assert_eq!(world.instance("n1").local_asn, Some(65002));
}

/// Cilium's whole BGP reconciliation enters back-off, and no condition tells.
#[test]
fn an_invalid_selector_costs_that_cluster_config_only_and_keeps_what_it_has() {
    let mut world = World::with_nodes(&["n1", "n2"]);
    world.cluster_config(
        "bad",
        Some(json!({"matchLabels": {"rack": "a"}})),
        one_instance(),
    );
    world.node("n3", &[("rack", "a")]);
    world.settle();
    assert_eq!(owned(&world, "bad"), ["n3"]);

    let invalid = [
        json!({"matchExpressions": [{"key": "rack", "operator": "In"}]}),
        json!({"matchExpressions": [{"key": "rack", "operator": "Exists", "values": ["a"]}]}),
        json!({"matchExpressions": [{"key": "not a key", "operator": "Exists"}]}),
    ];
    for selector in invalid {
        world.cluster_config(
            "bad",
            Some(selector.clone()),
            json!([{"name": "a", "localASN": 65002}]),
        );
        world.cluster_config("good", on(), one_instance());
        world.settle();
        assert_eq!(owned(&world, "bad"), ["n3"], "{selector}");
        assert_eq!(
            world.instance("n3").local_asn,
            Some(65002),
            "the rest of its spec counts"
        );
        assert_eq!(owned(&world, "good"), ["n1", "n2"]);
        let (reason, message) = world.rejected("bad").unwrap();
        assert_eq!(reason, "InvalidNodeSelector");
        assert!(
            message.starts_with("spec.nodeSelector is invalid (label "),
            "{message}"
        );
        assert_eq!(world.said("bad").len(), 4);
    }

    world.cluster_config(
        "bad",
        Some(json!({"matchLabels": {"rack": "z"}})),
        one_instance(),
    );
    world.settle();
    assert_eq!(owned(&world, "bad"), [""; 0]);
    assert_eq!(world.rejected("bad"), None);
}

/// A write that the API server refuses for a reason nobody foresaw.
#[test]
fn a_refused_node_config_is_named_in_a_condition() {
    let mut world = World::with_nodes(&["n1", "n2"]);
    world.cluster_config("c", on(), one_instance());
    world
        .observed
        .refused
        .insert("n2".to_owned(), "a policy says no (403)".to_owned());
    world.settle();
    let message = "node n2: its CiliumBGPNodeConfig is refused: a policy says no (403)".to_owned();
    assert_eq!(
        world.rejected("c"),
        Some(("NodeConfigRefused".to_owned(), message))
    );
}
