//! Many Services, at once and while others are written.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, ListParams, PostParams};
use scenarios::stage::{Outcome, Stage, eventually};
use serde_json::json;
use tokio::task::JoinSet;

const SERVICES: usize = 2000;
/// Services that come while the operator writes.
const LIVE: usize = 300;
/// Step between their names, so that they come in another order than that of names.
const STEP: usize = 7919;
/// Requests under way at once while the test makes them.
const AT_ONCE: usize = 16;

/// Cilium's operator writes a hundred Services a second, and the pool's status for each of them. How long ours takes
/// depends on what else the machine does: the bench `addresses` measures that.
#[tokio::test]
async fn two_thousand_services_are_served_by_one_write_each_in_little_memory() -> Outcome {
    let stage = Stage::set("addresses-scale").await?;
    make_services(&stage, SERVICES).await?;
    stage.pool("p", &json!({"blocks": [{"cidr": "10.128.0.0/16"}]}))?;
    let begin = Instant::now();
    // The election's usual times: on a busy machine the short ones of the other tests would end the leader's term.
    let election = [
        "--leader-election-lease-duration=15s",
        "--leader-election-renew-deadline=10s",
        "--leader-election-retry-period=2s",
    ];
    let operator = stage.operator("first", &election)?;
    let left = 65536 - u64::try_from(SERVICES)?;
    let mut services = 0;
    eventually("every Service is written", async || {
        services = stage.status_writes()?.services;
        Ok((services >= u64::try_from(SERVICES)?).then_some(()))
    })
    .await?;
    stage.await_counts("p", 65536, left).await?;
    let took = begin.elapsed();
    let resident = operator.resident()?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let writes = stage.status_writes()?;
    assert_eq!(writes.services, u64::try_from(SERVICES)?, "each once");
    let most = took.as_secs() + 2;
    assert!(
        writes.pools <= most,
        "{} of the pool in {took:?}",
        writes.pools
    );
    assert!(resident < 40, "{resident} MB");
    every_address_is_given_once(&stage, SERVICES).await?;
    operator.terminate()
}

/// Services of one second are served in the order of their names. One that comes before another whose address is just
/// being written does not get that address.
#[tokio::test]
async fn services_that_come_while_others_are_written_are_written_once_each() -> Outcome {
    let stage = Stage::set("addresses-live").await?;
    stage.pool("p", &json!({"blocks": [{"cidr": "10.0.0.0/16"}]}))?;
    let operator = stage.operator("first", &[])?;
    stage.await_counts("p", 65536, 65536).await?;
    make_services(&stage, LIVE).await?;
    let left = 65536 - u64::try_from(LIVE)?;
    stage.await_counts("p", 65536, left).await?;
    assert_eq!(stage.status_writes()?.services, u64::try_from(LIVE)?);
    every_address_is_given_once(&stage, LIVE).await?;
    operator.terminate()
}

async fn make_services(stage: &Stage, count: usize) -> Outcome {
    let mut running = JoinSet::new();
    for number in 0..count {
        if running.len() == AT_ONCE {
            running.join_next().await.ok_or("one is running")??;
        }
        let services = stage.services("default");
        let service = json!({
            "metadata": {"name": format!("service-{:04}", number * STEP % count), "labels": {"app": "web"}},
            "spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
                "selector": {"app": "web"}, "ports": [{"port": 80}]},
        });
        let service = serde_json::from_value(service)?;
        running.spawn(async move {
            services
                .create(&PostParams::default(), &service)
                .await
                .expect("the API server admits a plain Service");
        });
    }
    running.join_all().await;
    Ok(())
}

async fn every_address_is_given_once(stage: &Stage, count: usize) -> Outcome {
    let services: Api<Service> = stage.services("default");
    let mut addresses: Vec<_> = services
        .list(&ListParams::default())
        .await?
        .into_iter()
        .filter_map(|service| service.status?.load_balancer?.ingress?.pop()?.ip)
        .collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), count);
    Ok(())
}
