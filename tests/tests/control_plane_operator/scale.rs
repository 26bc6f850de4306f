//! A thousand nodes.

use std::time::{Duration, Instant};

use api::CiliumBGPNodeConfig;
use kube::api::ListParams;
use serde_json::{Value, json};

use scenarios::stage::{HEALTHY, Outcome, Stage, eventually, on};

const NODES: usize = 1000;

/// Cilium's operator needs 8 to 10 s from its start to the first NodeConfig, and 128 MB. How long all of them take depends
/// on what else the machine does: the bench `node_configs` measures that.
#[tokio::test]
async fn a_thousand_nodes_are_configured_in_time_and_in_little_memory() -> Outcome {
    let stage = Stage::set("operator-scale").await?;
    let nodes: Vec<Value> = (0..NODES)
        .map(|number| {
            let name = format!("node-{number:04}");
            let labels = json!({"bgp": "on", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"});
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
        })
        .collect();
    let file = stage.plane.state().path().join("nodes.json");
    std::fs::write(
        &file,
        json!({"apiVersion": "v1", "kind": "List", "items": nodes}).to_string(),
    )?;
    stage
        .plane
        .kubectl(["create", "-f", &file.display().to_string()])?;
    stage.apply("CiliumBGPPeerConfig", "peer", &json!({}))?;
    stage.apply("CiliumBGPClusterConfig", "c", &on())?;

    let begin = Instant::now();
    // The election's usual times: on a busy machine the short ones of the other tests would end the leader's term.
    let election = [
        "--leader-election-lease-duration=15s",
        "--leader-election-renew-deadline=10s",
        "--leader-election-retry-period=2s",
    ];
    let operator = stage.operator("first", &election)?;
    eventually("the first NodeConfig is there", async || {
        Ok((count(&stage).await? > 0).then_some(()))
    })
    .await?;
    let first = begin.elapsed();
    eventually("all NodeConfigs are there", async || {
        Ok((count(&stage).await? == NODES).then_some(()))
    })
    .await?;
    stage.await_conditions("c", &HEALTHY).await?;
    let resident = operator.resident()?;
    assert!(first < Duration::from_secs(2), "the first after {first:?}");
    assert!(resident < 40, "{resident} MB");
    let (of_the_test, log) = (2, operator.log()?);
    let expected = of_the_test + u64::try_from(NODES)? + 1;
    assert_eq!(
        stage.writes()?,
        expected,
        "each once, and the conditions once:\n{log}"
    );
    operator.terminate()
}

/// How many NodeConfigs there are, without making the API server list them all.
async fn count(stage: &Stage) -> Outcome<usize> {
    let first = ListParams::default().limit(1);
    let list = stage
        .all::<CiliumBGPNodeConfig>()
        .list_metadata(&first)
        .await?;
    let remaining = list.metadata.remaining_item_count.unwrap_or_default();
    Ok(list.items.len() + usize::try_from(remaining)?)
}
