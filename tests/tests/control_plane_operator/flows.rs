//! What users do, and what comes of it.

use std::process::{Command, Stdio};

use api::{CiliumBGPClusterConfig, CiliumBGPNodeConfig, CiliumBGPNodeConfigOverride};
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use scenarios::stage::{HEALTHY, Outcome, Stage, eventually, on, with_selector};

#[tokio::test]
async fn node_configs_follow_labels_overrides_and_deletion() -> Outcome {
    let stage = Stage::set("operator-flows").await?;
    for (node, label) in [("n1", "on"), ("n2", "on"), ("n3", "off")] {
        stage.node(node, json!({"bgp": label})).await?;
    }
    let operator = stage.operator("first", &[])?;
    stage.apply("CiliumBGPClusterConfig", "c", &on())?;
    stage.await_configured(&["n1", "n2"]).await?;
    stage.await_conditions(
        "c",
        &[
            HEALTHY[0],
            "MissingPeerConfigs True PeerConfigsMissing: Referenced CiliumBGPPeerConfig(s) are missing: [peer]",
            HEALTHY[2],
        ],
    )
    .await?;
    looks_as_ciliums(&stage).await?;

    stage.apply("CiliumBGPPeerConfig", "peer", &json!({}))?;
    stage.await_conditions("c", &HEALTHY).await?;

    stage.label("n3", json!({"bgp": "on"})).await?;
    stage.await_configured(&["n1", "n2", "n3"]).await?;
    stage.label("n1", json!({"bgp": null})).await?;
    stage.await_configured(&["n2", "n3"]).await?;
    stage.delete::<Node>("n3").await?;
    stage.await_configured(&["n2"]).await?;

    overrides_merge_and_bad_ones_are_told(&stage).await?;

    stage.apply(
        "CiliumBGPClusterConfig",
        "c",
        &with_selector(&json!({"matchLabels": {"bgp": "maybe"}})),
    )?;
    stage.await_configured(&[]).await?;
    let nobody = "NoMatchingNode True MatchingNodeUnavailable: No node matches spec.nodeSelector";
    stage
        .await_conditions("c", &[HEALTHY[0], HEALTHY[1], nobody])
        .await?;
    let generations: Vec<_> = stage
        .conditions("c")
        .await?
        .iter()
        .map(|c| c.observed_generation)
        .collect();
    assert_eq!(generations, [Some(2); 3]);

    stage.apply("CiliumBGPClusterConfig", "c", &on())?;
    stage.await_configured(&["n2"]).await?;
    stage.delete::<CiliumBGPClusterConfig>("c").await?;
    stage.await_configured(&[]).await?;
    operator.terminate()
}

/// The object of `incumbent-outputs.md`, field for field.
async fn looks_as_ciliums(stage: &Stage) -> Outcome {
    let uid = stage
        .all::<CiliumBGPClusterConfig>()
        .get("c")
        .await?
        .metadata
        .uid;
    let config = stage.all::<CiliumBGPNodeConfig>().get("n1").await?;
    let owner = json!([{
        "apiVersion": "cilium.io/v2", "controller": true, "kind": "CiliumBGPClusterConfig", "name": "c", "uid": uid,
    }]);
    assert_eq!(
        serde_json::to_value(&config.metadata.owner_references)?,
        owner
    );
    assert_eq!(config.metadata.labels, None);
    let spec = json!({"bgpInstances": [{"name": "a", "localASN": 65001, "peers": [
        {"name": "tor", "peerASN": 65000, "peerAddress": "10.0.0.1", "peerConfigRef": {"name": "peer"}},
    ]}]});
    assert_eq!(serde_json::to_value(&config.spec)?, spec);
    let managers = config.metadata.managed_fields.unwrap_or_default();
    let managers: Vec<_> = managers
        .iter()
        .filter_map(|entry| entry.manager.as_deref())
        .collect();
    assert_eq!(managers, ["tombolo-operator"]);
    Ok(())
}

async fn overrides_merge_and_bad_ones_are_told(stage: &Stage) -> Outcome {
    let instance = async |stage: &Stage| -> Outcome<Value> {
        let config = stage.all::<CiliumBGPNodeConfig>().get("n2").await?;
        Ok(serde_json::to_value(&config.spec.bgp_instances[0])?)
    };
    let bad = json!({"bgpInstances": [{"name": "a", "localASN": 65100, "localPort": 70000, "routerID": "0.0.0.0"}]});
    stage.apply("CiliumBGPNodeConfigOverride", "n2", &bad)?;
    let told = "tombolo.io/Rejected True InvalidOverride: \
                override of node n2, instance a: localPort 70000 is not in 1..65535; \
                override of node n2, instance a: routerID \"0.0.0.0\" is no BGP identifier";
    stage
        .await_conditions("c", &[&HEALTHY[..], &[told]].concat())
        .await?;
    let now = eventually("the good field counts", async || {
        Ok(Some(instance(stage).await?).filter(|instance| instance["localASN"] == 65100))
    });
    let now = now.await?;
    assert_eq!(
        (&now["localPort"], &now["routerID"]),
        (&Value::Null, &Value::Null)
    );

    let good = json!({"bgpInstances": [{"name": "a", "localPort": 1790, "routerID": "10.1.1.1",
        "peers": [{"name": "tor", "localAddress": "10.0.0.9"}]}]});
    stage.apply("CiliumBGPNodeConfigOverride", "n2", &good)?;
    stage.await_conditions("c", &HEALTHY).await?;
    let now = eventually("the override counts", async || {
        Ok(Some(instance(stage).await?).filter(|instance| instance["localPort"] == 1790))
    });
    let now = now.await?;
    assert_eq!(
        (&now["routerID"], &now["localASN"]),
        (&json!("10.1.1.1"), &json!(65001))
    );
    assert_eq!(now["peers"][0]["localAddress"], "10.0.0.9");

    stage.delete::<CiliumBGPNodeConfigOverride>("n2").await?;
    eventually("the override is undone", async || {
        Ok(instance(stage).await?["localPort"].is_null().then_some(()))
    })
    .await
}

#[tokio::test]
async fn nothing_is_written_while_nothing_changes() -> Outcome {
    let stage = Stage::set("operator-idle").await?;
    stage.node("n1", json!({"bgp": "on"})).await?;
    stage.apply("CiliumBGPPeerConfig", "peer", &json!({}))?;
    stage.apply("CiliumBGPClusterConfig", "c", &on())?;
    let operator = stage.operator("first", &[])?;
    stage.await_conditions("c", &HEALTHY).await?;
    stage.await_configured(&["n1"]).await?;

    let before = stage.writes()?;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(stage.writes()?, before, "idle");

    // Changes that concern nobody: a heartbeat of the node, and one status write of an agent.
    stage.label("n1", json!({"unrelated": "label"})).await?;
    let status = Patch::Merge(json!({"status": {"bgpInstances": [{"name": "a"}]}}));
    stage
        .all::<CiliumBGPNodeConfig>()
        .patch_status("n1", &PatchParams::default(), &status)
        .await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(stage.writes()?, before + 1, "only the test's own");

    operator.terminate()?;
    let second = stage.operator("second", &[])?;
    second.await_line("leads").await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(
        stage.writes()?,
        before + 1,
        "a new leader finds all as it must be"
    );

    // A condition of ours that somebody removes is put back, with one write.
    let none = Patch::Merge(json!({"status": {"conditions": null}}));
    stage
        .all::<CiliumBGPClusterConfig>()
        .patch_status("c", &PatchParams::default(), &none)
        .await?;
    stage.await_conditions("c", &HEALTHY).await?;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(stage.writes()?, before + 3);
    second.terminate()
}

#[tokio::test]
async fn options_change_what_is_written() -> Outcome {
    let stage = Stage::set("operator-options").await?;
    for node in ["n1", "n2", "n3"] {
        stage.node(node, json!({"bgp": "on"})).await?;
    }
    stage.apply(
        "CiliumBGPPeerConfig",
        "peer",
        &json!({"authSecretRef": "password"}),
    )?;
    stage.apply("CiliumBGPClusterConfig", "c", &on())?;
    let folder = stage.plane.state().folder("config")?;
    for (key, value) in [
        ("bgp-secrets-namespace", "kube-system"),
        ("bgp-router-id-allocation-mode", "ip-pool"),
        ("bgp-router-id-allocation-ip-pool", "10.0.0.0/31"),
        ("tunnel-protocol", "vxlan"),
    ] {
        std::fs::write(folder.join(key), value)?;
    }
    let folder = format!("--config-dir={}", folder.display());
    let operator = stage.operator("first", &[&folder])?;
    operator.await_line("tunnel-protocol").await?;

    // A pool that is too small costs the last node its router ID, and nothing else.
    let told = "tombolo.io/Rejected True RouterIDPoolExhausted: \
                node n3, instance a: no router ID, the pool 10.0.0.0/31 is exhausted";
    stage
        .await_conditions("c", &[&HEALTHY[..], &[told]].concat())
        .await?;
    let router_ids = async || -> Outcome<Vec<String>> {
        let configs = stage.node_configs().await?;
        let of = |config: &CiliumBGPNodeConfig| {
            config.spec.bgp_instances[0]
                .router_id
                .clone()
                .unwrap_or_default()
        };
        Ok(configs.values().map(of).collect())
    };
    assert_eq!(router_ids().await?, ["10.0.0.0", "10.0.0.1", ""]);
    stage.label("n1", json!({"bgp": "off"})).await?;
    stage.await_conditions("c", &HEALTHY).await?;
    eventually("the router ID of the node that left is free", async || {
        Ok((router_ids().await? == ["10.0.0.1", "10.0.0.0"]).then_some(()))
    })
    .await?;

    secrets_are_looked_for(&stage).await?;
    operator.terminate()?;

    let silent = stage.operator(
        "second",
        &["--enable-bgp-control-plane-status-report=false"],
    )?;
    stage.await_conditions("c", &[]).await?;
    stage.await_peer_condition("peer", &[]).await?;
    silent.terminate()?;

    let off = stage.operator("third", &["--enable-bgp-control-plane=false"])?;
    off.await_line("leads").await?;
    stage.label("n1", json!({"bgp": "on"})).await?;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(
        stage.configured().await?,
        ["n2", "n3"],
        "disabled, it does nothing"
    );
    off.terminate()
}

async fn secrets_are_looked_for(stage: &Stage) -> Outcome {
    let missing =
        "MissingAuthSecret True AuthSecretMissing: Referenced Auth Secret \"password\" is missing";
    stage.await_peer_condition("peer", &[missing]).await?;
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), "kube-system");
    let secret = serde_json::from_value(json!({"metadata": {"name": "password"}}))?;
    secrets.create(&PostParams::default(), &secret).await?;
    stage
        .await_peer_condition("peer", &["MissingAuthSecret False AuthSecretValidated: "])
        .await?;
    stage.apply("CiliumBGPPeerConfig", "peer", &json!({}))?;
    let none = "MissingAuthSecret False AuthSecretNotConfigured: Auth Secret is not configured";
    stage.await_peer_condition("peer", &[none]).await?;
    Ok(())
}

#[tokio::test]
async fn cleanup_removes_what_the_operator_made_and_nothing_else() -> Outcome {
    let stage = Stage::set("operator-cleanup").await?;
    let program = lab::binaries::own("tombolo-operator")?;
    let mut cleanup = Command::new(program);
    cleanup
        .arg("cleanup")
        .arg("--k8s-kubeconfig-path")
        .arg(stage.plane.kubeconfig());
    cleanup
        .env_remove("KUBERNETES_SERVICE_HOST")
        .stderr(Stdio::null());
    for node in ["n1", "n2", "n3"] {
        stage.node(node, json!({"bgp": "on"})).await?;
    }
    stage.apply(
        "CiliumBGPNodeConfig",
        "n3",
        &json!({"bgpInstances": [{"name": "mine"}]}),
    )?;
    stage.apply("CiliumBGPClusterConfig", "c", &on())?;
    let operator = stage.operator("first", &[])?;
    stage.await_configured(&["n1", "n2", "n3"]).await?;
    operator.terminate()?;

    assert!(cleanup.status()?.success());
    stage.await_configured(&["n3"]).await?;
    assert_eq!(
        stage
            .all::<CiliumBGPClusterConfig>()
            .list(&ListParams::default())
            .await?
            .items
            .len(),
        1
    );

    stage
        .plane
        .kubectl(["delete", "crd", "ciliumbgpnodeconfigs.cilium.io"])?;
    assert!(
        cleanup.status()?.success(),
        "a kind that does not exist has nothing to remove"
    );
    Ok(())
}
