//! Conditions in the words of the reference, written once.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use plan::cluster::{AuthSecrets, Conditioned};
use serde_json::json;

use crate::world::{World, on, one_instance, said};

#[test]
fn a_healthy_cluster_config_has_ciliums_three_conditions_in_order_of_type() {
    let mut world = World::with_nodes(&["n1"]);
    world.cluster_config("c", on(), one_instance());
    world.settle();
    let conditions = serde_json::to_value(world.conditions("c")).unwrap();
    let condition = |type_: &str, reason: &str| {
        json!({
            "lastTransitionTime": "1970-01-12T13:46:41Z", "message": "", "observedGeneration": 1,
            "reason": reason, "status": "False", "type": format!("cilium.io/{type_}"),
        })
    };
    let expected = json!([
        condition("ConflictingClusterConfig", "ClusterConfigValidated"),
        condition("MissingPeerConfigs", "PeerConfigsResolved"),
        condition("NoMatchingNode", "MatchingNodeSelected"),
    ]);
    assert_eq!(conditions, expected);
}

#[test]
fn problems_have_ciliums_reasons_and_messages() {
    let mut world = World::with_nodes(&[]);
    let instances = json!([{"name": "a", "peers": [
        {"name": "1", "peerConfigRef": {"name": "z"}},
        {"name": "2", "peerConfigRef": {"name": "b"}},
        {"name": "3", "peerConfigRef": {"name": "z"}},
        {"name": "4", "peerConfigRef": {"name": "peer"}},
        {"name": "5"},
    ]}]);
    world.cluster_config("c", on(), instances);
    world.settle();
    assert_eq!(
        world.said("c"),
        [
            "ConflictingClusterConfig False ClusterConfigValidated: ",
            "MissingPeerConfigs True PeerConfigsMissing: Referenced CiliumBGPPeerConfig(s) are missing: [b z]",
            "NoMatchingNode True MatchingNodeUnavailable: No node matches spec.nodeSelector",
        ]
    );
}

#[test]
fn the_transition_time_moves_with_the_status_only_and_the_generation_always() {
    let mut world = World::with_nodes(&["n1"]);
    world.cluster_config("c", on(), one_instance());
    world.settle();
    let times = |world: &World| -> Vec<Timestamp> {
        world
            .conditions("c")
            .iter()
            .map(|condition| condition.last_transition_time.0)
            .collect()
    };
    let first = times(&world);

    world.cluster_config(
        "c",
        on(),
        json!([{"name": "a", "peers": [{"name": "p", "peerConfigRef": {"name": "x"}}]}]),
    );
    world.settle();
    let second = times(&world);
    assert_eq!((second[0], second[2]), (first[0], first[2]));
    assert!(second[1] > first[1]);
    assert!(
        world
            .conditions("c")
            .iter()
            .all(|condition| condition.observed_generation == Some(2))
    );

    world.cluster_config(
        "c",
        on(),
        json!([{"name": "a", "peers": [{"name": "p", "peerConfigRef": {"name": "y"}}]}]),
    );
    world.settle();
    assert_eq!(times(&world), second, "another message is no transition");
    assert!(world.said("c")[1].ends_with("[y]"));
}

fn foreign(type_: &str) -> Condition {
    Condition {
        last_transition_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            Timestamp::UNIX_EPOCH,
        ),
        message: "not ours".to_owned(),
        observed_generation: None,
        reason: "Foreign".to_owned(),
        status: "True".to_owned(),
        type_: type_.to_owned(),
    }
}

#[test]
fn conditions_of_others_stay_and_one_of_ours_is_put_back() {
    let mut world = World::with_nodes(&["n1"]);
    world.cluster_config("c", on(), one_instance());
    world.settle();
    world.change_cluster_config("c", |config| {
        let conditions = &mut config.status.as_mut().unwrap().conditions;
        conditions.insert(0, foreign("z.example.org/Mine"));
    });
    assert_eq!(world.settle(), 0, "their order is no reason to write");

    world.change_cluster_config("c", |config| {
        config
            .status
            .as_mut()
            .unwrap()
            .conditions
            .retain(|condition| !condition.type_.ends_with("NoMatchingNode"));
    });
    assert_eq!(world.settle(), 1);
    let types: Vec<_> = world
        .conditions("c")
        .iter()
        .map(|condition| condition.type_.as_str())
        .collect();
    let ours = [
        "cilium.io/ConflictingClusterConfig",
        "cilium.io/MissingPeerConfigs",
        "cilium.io/NoMatchingNode",
    ];
    assert_eq!(types, [&ours[..], &["z.example.org/Mine"]].concat());
    assert_eq!(world.conditions("c")[3], foreign("z.example.org/Mine"));
}

#[test]
fn disabled_reporting_removes_our_types_and_no_other() {
    let mut world = World::with_nodes(&[]);
    world.settings.auth_secrets = AuthSecrets::Known;
    world.cluster_config(
        "c",
        Some(json!({"matchExpressions": [{"key": "k", "operator": "In"}]})),
        one_instance(),
    );
    world.settle();
    assert_eq!(world.said("c").len(), 4);
    world.change_cluster_config("c", |config| {
        config
            .status
            .as_mut()
            .unwrap()
            .conditions
            .push(foreign("example.org/Mine"));
    });
    let mut world = world.without_status_report();
    assert_eq!(world.settle(), 1);
    assert_eq!(world.conditions("c"), [foreign("example.org/Mine")]);
    assert_eq!(
        world.snapshot.peer_configs["peer"]
            .status
            .as_ref()
            .unwrap()
            .conditions,
        []
    );
}

#[test]
fn a_peer_config_says_whether_its_secret_is_there_where_that_is_known() {
    let rows = [
        (
            None,
            "MissingAuthSecret False AuthSecretNotConfigured: Auth Secret is not configured",
        ),
        (
            Some("there"),
            "MissingAuthSecret False AuthSecretValidated: ",
        ),
        (
            Some("gone"),
            "MissingAuthSecret True AuthSecretMissing: Referenced Auth Secret \"gone\" is missing",
        ),
    ];
    for (secret, expected) in rows {
        let mut world = World::default();
        world.peer_config("p", secret);
        world.snapshot.secrets.insert("there".to_owned());
        assert_eq!(world.settle(), 0, "without a namespace nothing is said");

        world.settings.auth_secrets = AuthSecrets::Known;
        let plan = world.plan();
        assert_eq!(plan.conditions[0].kind, Conditioned::PeerConfig);
        assert_eq!(
            plan.conditions[0]
                .conditions
                .iter()
                .map(said)
                .collect::<Vec<_>>(),
            [expected]
        );
        assert_eq!(world.settle(), 1);
    }
}

#[test]
fn what_is_being_deleted_gets_no_conditions() {
    let mut world = World::with_nodes(&["n1"]);
    world.settings.auth_secrets = AuthSecrets::Known;
    world.cluster_config("c", on(), one_instance());
    let going = || {
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            Timestamp::UNIX_EPOCH,
        ))
    };
    world.change_cluster_config("c", |config| config.metadata.deletion_timestamp = going());
    for config in world.snapshot.peer_configs.values_mut() {
        std::sync::Arc::make_mut(config).metadata.deletion_timestamp = going();
    }
    assert_eq!(world.settle(), 0);
}
