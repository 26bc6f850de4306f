//! Pools that are widened, narrowed, disabled, deleted, wrong or in each other's way.

use api::CiliumLoadBalancerIPPool;
use scenarios::stage::{NO_POOL, Outcome, SATISFIED, Stage};
use serde_json::{Value, json};

const OUT_OF_IPS: &str = "IPAMRequestSatisfied False out_of_ips: \
                          All enabled CiliumLoadBalancerIPPools that match this service ran out of allocatable IPs";

fn range(start: &str, stop: &str) -> Value {
    json!({"blocks": [{"start": start, "stop": stop}]})
}

#[tokio::test]
async fn services_keep_what_their_pool_still_has_and_find_another_for_the_rest() -> Outcome {
    let stage = Stage::set("addresses-pools").await?;
    let operator = stage.operator("first", &[])?;
    stage.pool("p", &range("10.0.0.1", "10.0.0.2"))?;
    for (name, addresses, told) in [
        ("a", &["10.0.0.1"][..], SATISFIED),
        ("b", &["10.0.0.2"], SATISFIED),
        ("c", &[], OUT_OF_IPS),
    ] {
        stage.service(name, json!({}), json!({})).await?;
        stage.await_service(name, addresses, &[told]).await?;
    }

    // Widened: who waits is served, and nobody moves.
    stage.pool("p", &range("10.0.0.1", "10.0.0.3"))?;
    stage
        .await_service("c", &["10.0.0.3"], &[SATISFIED])
        .await?;

    // Disabled: who has an address keeps it, nobody new gets one. Narrowed: who is outside loses it.
    let mut disabled = range("10.0.0.1", "10.0.0.3");
    disabled["disabled"] = json!(true);
    stage.pool("p", &disabled)?;
    stage.service("d", json!({}), json!({})).await?;
    stage.await_service("d", &[], &[NO_POOL]).await?;
    stage.await_counts("p", 3, 0).await?;
    stage.pool("p", &range("10.0.0.1", "10.0.0.2"))?;
    stage.await_service("c", &[], &[OUT_OF_IPS]).await?;
    for (name, address) in [("a", "10.0.0.1"), ("b", "10.0.0.2")] {
        stage.await_service(name, &[address], &[SATISFIED]).await?;
    }

    // Another pool serves who waits; when the first is deleted, also the others, each with one write.
    stage.pool("q", &range("10.1.0.1", "10.1.0.9"))?;
    stage
        .await_service("c", &["10.1.0.1"], &[SATISFIED])
        .await?;
    stage
        .await_service("d", &["10.1.0.2"], &[SATISFIED])
        .await?;
    let before = stage.status_writes()?.services;
    stage.delete::<CiliumLoadBalancerIPPool>("p").await?;
    stage
        .await_service("a", &["10.1.0.3"], &[SATISFIED])
        .await?;
    stage
        .await_service("b", &["10.1.0.4"], &[SATISFIED])
        .await?;
    assert_eq!(stage.status_writes()?.services, before + 2);

    stage.delete::<CiliumLoadBalancerIPPool>("q").await?;
    for name in ["a", "b", "c", "d"] {
        stage.await_service(name, &[], &[NO_POOL]).await?;
    }
    operator.terminate()
}

#[tokio::test]
async fn faults_and_conflicts_of_a_pool_are_told_and_cost_only_what_is_wrong() -> Outcome {
    let stage = Stage::set("addresses-faults").await?;
    let operator = stage.operator("first", &[])?;
    let mut blocks = json!({"blocks": [
        {"start": "10.2.0.9", "stop": "10.2.0.1"}, {"start": "somewhere"}, {"cidr": "10.3.0.0/30"},
    ]});
    stage.pool("p", &blocks)?;
    let counts = [
        "PoolConflict False resolved: ",
        "IPsTotal Unknown noreason: 4",
        "IPsAvailable Unknown noreason: 4",
        "IPsUsed Unknown noreason: 0",
    ];
    let told = "tombolo.io/Rejected True InvalidRange: spec.blocks[0]: start 10.2.0.9 is after stop 10.2.0.1; \
                spec.blocks[1]: start \"somewhere\" is not an IP address";
    stage
        .await_pool("p", &[&counts[..], &[told]].concat())
        .await?;
    stage.service("a", json!({}), json!({})).await?;
    stage
        .await_service("a", &["10.3.0.0"], &[SATISFIED])
        .await?;
    blocks["blocks"] = json!([{"cidr": "10.3.0.0/30"}]);
    stage.pool("p", &blocks)?;
    stage.await_counts("p", 4, 3).await?;

    // The younger of two that overlap gives nothing away, until it does not overlap any more.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let younger = json!({"blocks": [{"cidr": "10.3.0.2/31"}, {"cidr": "10.4.0.0/30"}]});
    stage.pool("a-younger", &younger)?;
    let conflict = "PoolConflict True cidr_overlap: Pool conflicts since range '10.3.0.2 - 10.3.0.3' overlaps range \
                    '10.3.0.0 - 10.3.0.3' from IP Pool 'p'";
    let counts = [
        conflict,
        "IPsTotal Unknown noreason: 6",
        "IPsAvailable Unknown noreason: 6",
        "IPsUsed Unknown noreason: 0",
    ];
    stage.await_pool("a-younger", &counts).await?;
    let asking = json!({"annotations": {"lbipam.cilium.io/ips": "10.4.0.1"}});
    stage.service("b", asking, json!({})).await?;
    let told =
        "IPAMRequestSatisfied False no_pool: No pool exists with a CIDR containing '10.4.0.1'";
    stage.await_service("b", &[], &[told]).await?;
    stage.pool("a-younger", &json!({"blocks": [{"cidr": "10.4.0.0/30"}]}))?;
    stage
        .await_service("b", &["10.4.0.1"], &[SATISFIED])
        .await?;
    stage.await_counts("a-younger", 4, 3).await?;
    operator.terminate()
}
