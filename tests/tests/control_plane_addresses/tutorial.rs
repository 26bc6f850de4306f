//! The published pool and Service, step by step.

use std::time::Duration;

use scenarios::manifests::{LB, WEBPOD};
use scenarios::stage::{Operator, Outcome, SATISFIED, Stage, eventually};
use serde_json::json;

#[tokio::test]
async fn the_published_service_gets_the_first_address_of_the_published_pool() -> Outcome {
    let stage = Stage::set("addresses-tutorial").await?;
    let operator = stage.operator("first", &[])?;
    stage.plane.apply(LB)?;
    stage.await_counts("cilium-pool", 256, 254).await?;
    let shown = |stage: &Stage| -> Outcome<Vec<String>> {
        let table = stage.plane.kubectl(["get", "ippools", "--no-headers"])?;
        Ok(table
            .split_whitespace()
            .take(4)
            .map(str::to_owned)
            .collect())
    };
    assert_eq!(shown(&stage)?, ["cilium-pool", "false", "False", "254"]);

    let documents = WEBPOD.split("---\n");
    let service = documents
        .into_iter()
        .find(|text| text.contains("kind: Service"));
    stage
        .plane
        .apply(service.ok_or("a Service is published")?)?;
    let load_balancer = r#"{"spec":{"type":"LoadBalancer"}}"#;
    stage
        .plane
        .kubectl(["patch", "service", "webpod", "-p", load_balancer])?;
    stage
        .await_service("webpod", &["172.16.1.1"], &[SATISFIED])
        .await?;
    stage.await_counts("cilium-pool", 256, 253).await?;
    assert_eq!(shown(&stage)?, ["cilium-pool", "false", "False", "253"]);
    let address = "-o=jsonpath={.status.loadBalancer.ingress}";
    assert_eq!(
        stage.plane.kubectl(["get", "service", "webpod", address])?,
        r#"[{"ip":"172.16.1.1","ipMode":"VIP"}]"#
    );

    more_services_come_and_go(&stage).await?;
    numbers_are_served(&operator).await?;
    nothing_is_written_while_nothing_changes(&stage).await?;
    operator.terminate()
}

async fn more_services_come_and_go(stage: &Stage) -> Outcome {
    for (name, address) in [("b", "172.16.1.2"), ("c", "172.16.1.3")] {
        stage.service(name, json!({}), json!({})).await?;
        stage.await_service(name, &[address], &[SATISFIED]).await?;
    }
    stage.await_counts("cilium-pool", 256, 251).await?;

    // What a deleted Service had is the lowest free address.
    stage.delete_service("b").await?;
    stage.await_counts("cilium-pool", 256, 252).await?;
    stage.service("d", json!({}), json!({})).await?;
    stage
        .await_service("d", &["172.16.1.2"], &[SATISFIED])
        .await?;

    // Who is no load balancer any more has neither address nor condition, and gets another address when it is one again.
    stage
        .edit_service("c", json!({"spec": {"type": "ClusterIP"}}))
        .await?;
    stage.await_service("c", &[], &[]).await?;
    stage.await_counts("cilium-pool", 256, 252).await?;
    stage
        .edit_service("c", json!({"spec": {"type": "LoadBalancer"}}))
        .await?;
    stage
        .await_service("c", &["172.16.1.3"], &[SATISFIED])
        .await?;
    stage.await_counts("cilium-pool", 256, 251).await
}

async fn numbers_are_served(operator: &Operator) -> Outcome {
    let expected = [
        "conflicting_pools 0",
        r#"ips_available{pool="cilium-pool"} 251.0"#,
        r#"ips_used{pool="cilium-pool"} 5.0"#,
        "services_matching 3",
        "services_unsatisfied 0",
    ];
    eventually("the metrics tell the same", async || {
        let text = operator.page("/metrics").await?.1;
        let found = text
            .lines()
            .filter_map(|line| line.strip_prefix("cilium_operator_lbipam_"));
        let mut found: Vec<_> = found.collect();
        found.sort_unstable();
        Ok((found == expected).then_some(()))
    })
    .await
}

async fn nothing_is_written_while_nothing_changes(stage: &Stage) -> Outcome {
    let before = stage.status_writes()?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(stage.status_writes()?, before, "idle");

    // Changes that concern nobody here.
    stage
        .edit_service(
            "d",
            json!({"metadata": {"annotations": {"example.org/a": "b"}}}),
        )
        .await?;
    stage
        .service("inner", json!({}), json!({"type": "ClusterIP"}))
        .await?;
    let foreign = json!({"loadBalancerClass": "example.org/other"});
    stage.service("foreign", json!({}), foreign).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stage.status_writes()?, before, "nothing to do with us");

    // A condition of ours that somebody takes away is put back with one write.
    stage
        .edit_service_status("d", json!({"conditions": null}))
        .await?;
    stage
        .await_service("d", &["172.16.1.2"], &[SATISFIED])
        .await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = stage.status_writes()?;
    assert_eq!(after.services, before.services + 2, "the test's and ours");
    assert_eq!(after.pools, before.pools);
    Ok(())
}
