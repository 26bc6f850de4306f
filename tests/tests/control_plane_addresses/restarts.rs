//! The operator goes and comes, and so does the kind of the pools: no address moves.

use std::time::Duration;

use scenarios::stage::{NO_POOL, Outcome, SATISFIED, Stage, on};
use serde_json::{Value, json};

const SERVICES: [(&str, &str); 4] = [
    ("a", "10.0.0.1"),
    ("b", "10.0.0.2"),
    ("c", "10.0.0.3"),
    ("d", "10.0.0.4"),
];

/// The pool of these tests.
fn pool(disabled: bool) -> Value {
    json!({"disabled": disabled, "blocks": [{"start": "10.0.0.1", "stop": "10.0.0.9"}]})
}

#[tokio::test]
async fn an_operator_that_is_killed_and_started_again_moves_nothing() -> Outcome {
    let stage = Stage::set("addresses-restarts").await?;
    stage.pool("p", &pool(false))?;
    let operator = stage.operator("first", &[])?;
    for (name, address) in SERVICES {
        stage.service(name, json!({}), json!({})).await?;
        stage.await_service(name, &[address], &[SATISFIED]).await?;
    }
    stage.await_counts("p", 9, 5).await?;

    // While nobody looks, the lowest address gets free, and a new Service comes whose name is before all others.
    operator.kill()?;
    stage.delete_service("a").await?;
    stage.service("0", json!({}), json!({})).await?;
    let before = stage.status_writes()?;
    let operator = stage.operator("first", &[])?;
    stage
        .await_service("0", &["10.0.0.1"], &[SATISFIED])
        .await?;
    for (name, address) in &SERVICES[1..] {
        stage.await_service(name, &[address], &[SATISFIED]).await?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = stage.status_writes()?;
    assert_eq!(after.services, before.services + 1, "the new one's");
    assert_eq!(after.pools, before.pools, "the counts are as before");

    // Cilium takes the addresses of a disabled pool away when its operator is started again.
    stage.pool("p", &pool(true))?;
    stage.service("e", json!({}), json!({})).await?;
    stage.await_service("e", &[], &[NO_POOL]).await?;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    operator.kill()?;
    let before = stage.status_writes()?;
    let operator = stage.operator("first", &[])?;
    operator.await_line("leads").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stage.status_writes()?, before, "nothing is written");
    for (name, address) in &SERVICES[1..] {
        stage.await_service(name, &[address], &[SATISFIED]).await?;
    }
    stage.pool("p", &pool(false))?;
    stage
        .await_service("e", &["10.0.0.5"], &[SATISFIED])
        .await?;
    operator.terminate()
}

#[tokio::test]
async fn without_pools_only_what_is_ours_is_touched_and_without_their_kind_nothing() -> Outcome {
    let stage = Stage::set("addresses-absent").await?;
    let definition = "ciliumloadbalancerippools.cilium.io";
    stage.plane.kubectl(["delete", "crd", definition])?;
    let condition = json!({
        "type": "cilium.io/IPAMRequestSatisfied", "status": "True", "reason": "satisfied", "message": "",
        "lastTransitionTime": "2026-11-21T10:07:48Z",
    });
    let foreign = json!({"type": "example.org/Ready", "status": "True", "reason": "Ready", "message": "",
        "lastTransitionTime": "2026-11-21T10:07:48Z"});
    for (name, address, conditions) in [
        ("ours", "10.0.0.7", json!([foreign, condition])),
        ("foreign", "203.0.113.9", json!([])),
    ] {
        stage.service(name, json!({}), json!({})).await?;
        let status =
            json!({"loadBalancer": {"ingress": [{"ip": address}]}, "conditions": conditions});
        stage.edit_service_status(name, status).await?;
    }
    let before = stage.status_writes()?;

    // Without the kind of the pools, NodeConfigs are made as ever, and Services left alone.
    let operator = stage.operator("first", &[])?;
    stage.node("n1", json!({"bgp": "on"})).await?;
    stage.apply("CiliumBGPClusterConfig", "c", &on())?;
    stage.await_configured(&["n1"]).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stage.status_writes()?, before, "no kind");

    // With the kind and without a pool, who was served here is not any more, and who is served by somebody else stays so.
    install_pools(&stage)?;
    let ready = "example.org/Ready True Ready: ";
    stage.await_service("ours", &[], &[ready, NO_POOL]).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage
        .await_service("foreign", &["203.0.113.9"], &[])
        .await?;
    assert_eq!(stage.status_writes()?.services, before.services + 1);

    // A pool is for all.
    stage.pool("p", &pool(false))?;
    stage.await_counts("p", 9, 7).await?;
    let (addresses, conditions) = stage.service_status("ours").await?;
    assert_eq!(
        (addresses.len(), conditions),
        (1, vec![ready.to_owned(), SATISFIED.to_owned()])
    );
    operator.terminate()
}

fn install_pools(stage: &Stage) -> Outcome {
    for definition in api::crd::custom_resource_definitions() {
        if definition.spec.names.kind == "CiliumLoadBalancerIPPool" {
            stage
                .plane
                .apply(&api::crd::manifest(&definition).to_string())?;
        }
    }
    let established = "--for=condition=Established";
    stage
        .plane
        .kubectl(["wait", established, "crd", "--all", "--timeout=30s"])?;
    Ok(())
}
