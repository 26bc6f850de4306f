//! Objects that are wrong, in the way, or refused cost themselves, and a condition says so.

use api::{CiliumBGPClusterConfig, CiliumBGPNodeConfig};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use scenarios::stage::{HEALTHY, Outcome, Stage, eventually, on, with_selector};

#[tokio::test]
async fn conflicts_strangers_and_bad_selectors_are_told_and_cost_themselves() -> Outcome {
    let stage = Stage::set("operator-conflicts").await?;
    for (node, rack) in [("n1", "a"), ("n2", "a"), ("n3", "b")] {
        stage.node(node, json!({"bgp": "on", "rack": rack})).await?;
    }
    stage.apply("CiliumBGPPeerConfig", "peer", &json!({}))?;
    stage.apply(
        "CiliumBGPNodeConfig",
        "n3",
        &json!({"bgpInstances": [{"name": "mine"}]}),
    )?;
    let operator = stage.operator("first", &[])?;

    // A NodeConfig made by hand blocks its node, and is left alone.
    stage.apply("CiliumBGPClusterConfig", "first", &on())?;
    let told = "tombolo.io/Rejected True NodeConfigNotOwned: \
                node n3: its CiliumBGPNodeConfig has no CiliumBGPClusterConfig as owner and is left alone";
    stage
        .await_conditions("first", &[&HEALTHY[..], &[told]].concat())
        .await?;
    assert_eq!(
        stage.node_configs().await?["n3"].spec.bgp_instances[0].name,
        "mine"
    );

    // The second ClusterConfig for the same nodes loses, and only it reports.
    stage.apply(
        "CiliumBGPClusterConfig",
        "second",
        &with_selector(&json!({"matchLabels": {"rack": "a"}})),
    )?;
    let conflict = "ConflictingClusterConfig True ClusterConfigConflict: \
                    Selecting the same node(s) with ClusterConfig(s): [first]";
    stage
        .await_conditions("second", &[conflict, HEALTHY[1], HEALTHY[2]])
        .await?;
    stage
        .await_conditions("first", &[&HEALTHY[..], &[told]].concat())
        .await?;

    // A selector that the schema admits and that means nothing: its owner keeps its nodes, others go on at once.
    let invalid = with_selector(&json!({"matchExpressions": [{"key": "rack", "operator": "In"}]}));
    stage.apply("CiliumBGPClusterConfig", "first", &invalid)?;
    let told = "tombolo.io/Rejected True InvalidNodeSelector: spec.nodeSelector is invalid \
                (label \"rack\": operators In and NotIn need at least one value); the nodes selected before are kept";
    stage
        .await_conditions("first", &[&HEALTHY[..], &[told]].concat())
        .await?;
    stage.node("n4", json!({"rack": "a"})).await?;
    stage.await_configured(&["n1", "n2", "n3", "n4"]).await?;
    let owner = stage.node_configs().await?["n4"]
        .metadata
        .owner_references
        .clone()
        .unwrap_or_default();
    assert_eq!(owner[0].name, "second");

    // What the winner lets go, the loser takes over.
    stage.delete::<CiliumBGPClusterConfig>("first").await?;
    stage.await_conditions("second", &HEALTHY).await?;
    eventually("the loser has the nodes", async || {
        let configs = stage.node_configs().await?;
        let owner = |node: &str| {
            configs
                .get(node)?
                .metadata
                .owner_references
                .as_ref()?
                .first()
                .map(|o| o.name.clone())
        };
        let owners = ["n1", "n2", "n4"].map(|node| owner(node).unwrap_or_default());
        Ok((owners == ["second", "second", "second"]).then_some(()))
    })
    .await?;
    operator.terminate()
}

/// Cilium deletes such a NodeConfig again on every event.
#[tokio::test]
async fn what_is_held_by_a_finalizer_is_touched_once() -> Outcome {
    let stage = Stage::set("operator-finalizers").await?;
    for node in ["n1", "n2"] {
        stage.node(node, json!({"bgp": "on"})).await?;
    }
    stage.apply("CiliumBGPPeerConfig", "peer", &json!({}))?;
    stage.apply("CiliumBGPClusterConfig", "c", &on())?;
    let operator = stage.operator("first", &[])?;
    stage.await_conditions("c", &HEALTHY).await?;
    stage.await_configured(&["n1", "n2"]).await?;
    let hold = |held: bool| {
        Patch::Merge(json!({"metadata": {"finalizers": held.then_some(["example.org/hold"])}}))
    };
    let (node_configs, params) = (stage.all::<CiliumBGPNodeConfig>(), PatchParams::default());

    node_configs.patch("n1", &params, &hold(true)).await?;
    let before = stage.writes()?;
    stage.label("n1", json!({"bgp": "off"})).await?;
    eventually("the NodeConfig is being deleted", async || {
        Ok(node_configs
            .get("n1")
            .await?
            .metadata
            .deletion_timestamp
            .map(drop))
    })
    .await?;
    for event in 0..5 {
        stage
            .label("n2", json!({"event": event.to_string()}))
            .await?;
    }
    stage.label("n1", json!({"bgp": "on"})).await?;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(stage.writes()?, before + 1, "one deletion");
    node_configs.patch("n1", &params, &hold(false)).await?;
    eventually("it is made again when it is gone", async || {
        Ok(node_configs
            .get_opt("n1")
            .await?
            .filter(|config| config.metadata.deletion_timestamp.is_none())
            .map(drop))
    })
    .await?;

    // A ClusterConfig that is being deleted owns nothing any more; Cilium treats it as alive.
    stage
        .all::<CiliumBGPClusterConfig>()
        .patch("c", &params, &hold(true))
        .await?;
    stage.delete::<CiliumBGPClusterConfig>("c").await?;
    stage.await_configured(&[]).await?;
    stage.node("n3", json!({"bgp": "on"})).await?;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(stage.configured().await?, [""; 0]);
    stage
        .all::<CiliumBGPClusterConfig>()
        .patch("c", &params, &hold(false))
        .await?;
    operator.terminate()
}

/// After a refusal Cilium sends nothing on its second attempt and counts that as success.
#[tokio::test]
async fn a_refused_write_is_told_tried_again_and_holds_up_nobody() -> Outcome {
    let stage = Stage::set("operator-refusals").await?;
    for node in ["n1", "n2", "n3"] {
        stage.node(node, json!({"bgp": "on"})).await?;
    }
    stage.apply("CiliumBGPPeerConfig", "peer", &json!({}))?;
    stage.plane.apply(POLICY)?;
    stage.plane.apply(BINDING)?;
    eventually("the policy is in force", async || {
        let probe = json!({"apiVersion": "cilium.io/v2", "kind": "CiliumBGPNodeConfig", "metadata": {"name": "n2"},
            "spec": {"bgpInstances": [{"name": "probe"}]}});
        let file = stage.plane.state().path().join("probe.json");
        std::fs::write(&file, probe.to_string())?;
        let path = file.display().to_string();
        let refused = !stage.plane.try_kubectl(["create", "--dry-run=server", "-f", &path])?.success();
        Ok(refused.then_some(()))
    })
    .await?;
    let operator = stage.operator("first", &[])?;
    stage.apply("CiliumBGPClusterConfig", "c", &on())?;
    stage.await_configured(&["n1", "n3"]).await?;
    let told = eventually("the refusal is told", async || {
        Ok(stage
            .conditions("c")
            .await?
            .into_iter()
            .find(|condition| condition.type_ == "tombolo.io/Rejected"))
    });
    let told = told.await?;
    assert_eq!(told.reason, "NodeConfigRefused");
    assert!(
        told.message
            .starts_with("node n2: its CiliumBGPNodeConfig is refused: "),
        "{}",
        told.message
    );
    assert!(told.message.contains("not this one"), "{}", told.message);

    // Others are written at once meanwhile.
    stage.node("n4", json!({"bgp": "on"})).await?;
    stage.await_configured(&["n1", "n3", "n4"]).await?;
    let metrics = operator.page("/metrics").await?.1;
    let counter = "cilium_operator_bgp_control_plane_reconcile_errors_total{resource_kind=\"CiliumBGPNodeConfig\",\
                   resource_name=\"n2\"}";
    assert!(metrics.contains(counter), "{metrics}");

    stage
        .plane
        .kubectl(["delete", "validatingadmissionpolicybinding", "not-this-one"])?;
    stage.await_configured(&["n1", "n2", "n3", "n4"]).await?;
    stage.await_conditions("c", &HEALTHY).await?;
    operator.terminate()
}

const POLICY: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: not-this-one}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [cilium.io], apiVersions: ["*"], operations: [CREATE, UPDATE], resources: [ciliumbgpnodeconfigs]}
  validations:
  - {expression: "object.metadata.name != 'n2'", message: "not this one"}
"#;

const BINDING: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: not-this-one}
spec: {policyName: not-this-one, validationActions: [Deny]}
"#;

/// What Cilium's operator leaves to the garbage collector, which can take more than a minute after the API server was away.
#[tokio::test]
async fn node_configs_go_with_their_cluster_config_without_the_garbage_collector() -> Outcome {
    let stage = Stage::set("operator-collects").await?;
    stage.node("n1", json!({"bgp": "on"})).await?;
    let operator = stage.operator("first", &[])?;
    stage.apply("CiliumBGPClusterConfig", "c", &on())?;
    stage.await_configured(&["n1"]).await?;

    // The garbage collector is one of the controllers of this process.
    let processes = stage.plane.processes();
    let controllers = processes
        .iter()
        .find(|process| process.name() == "kube-controller-manager")
        .ok_or("kube-controller-manager runs")?;
    controllers.freeze()?;
    // The version that the operator knows is old from here on: what agents write is not its business.
    let report = json!({"status": {"bgpInstances": [{"name": "i", "localASN": 65001}]}});
    stage
        .all::<CiliumBGPNodeConfig>()
        .patch_status("n1", &PatchParams::default(), &Patch::Merge(report))
        .await?;
    stage.delete::<CiliumBGPClusterConfig>("c").await?;
    stage.await_configured(&[]).await?;
    controllers.thaw()?;
    operator.terminate()
}
