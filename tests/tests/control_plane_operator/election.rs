//! Two replicas, one writer.

use std::time::{Duration, Instant};

use serde_json::json;

use scenarios::stage::{Outcome, Stage, on};

/// The lease of operators in these tests.
const LEASE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn another_replica_takes_over_within_the_lease_and_two_seconds() -> Outcome {
    let stage = Stage::set("operator-election").await?;
    stage.node("n1", json!({"bgp": "on"})).await?;
    stage.apply("CiliumBGPPeerConfig", "peer", &json!({}))?;
    stage.apply("CiliumBGPClusterConfig", "c", &on())?;

    let first = stage.operator("first", &[])?;
    first.await_line("leads").await?;
    let second = stage.operator("second", &[])?;
    second.await_line("waits for the lease").await?;
    stage.await_configured(&["n1"]).await?;

    // Killed: the other one acts when the lease has run out.
    first.kill()?;
    let killed = Instant::now();
    stage.node("n2", json!({"bgp": "on"})).await?;
    stage.await_configured(&["n1", "n2"]).await?;
    let took = killed.elapsed();
    assert!(
        took < LEASE + Duration::from_secs(2),
        "acted after {took:?}"
    );
    assert!(!second.log()?.contains("no longer"), "{}", second.log()?);

    // Told to stop: the lease is given up, and the next one acts at once.
    let third = stage.operator("third", &[])?;
    third.await_line("waits for the lease").await?;
    second.terminate()?;
    let stopped = Instant::now();
    stage.node("n3", json!({"bgp": "on"})).await?;
    stage.await_configured(&["n1", "n2", "n3"]).await?;
    let took = stopped.elapsed();
    assert!(took < Duration::from_secs(2), "acted after {took:?}");

    // A container that is restarted in its pod continues its own lease.
    third.kill()?;
    let again = stage.operator("third", &[])?;
    let restarted = Instant::now();
    again.await_line("leads").await?;
    assert!(
        restarted.elapsed() < Duration::from_secs(2),
        "led after {:?}",
        restarted.elapsed()
    );
    let status = again.page("/metrics").await?.1;
    assert!(status.contains("tombolo_operator_leader 1"), "{status}");
    again.terminate()
}

/// A leader that loses the API server stops leading before its lease runs out, and everything goes on when it is back.
#[tokio::test]
async fn the_api_server_may_go_and_come_back() -> Outcome {
    let stage = Stage::set("operator-outage").await?;
    stage.node("n1", json!({"bgp": "on"})).await?;
    stage.apply("CiliumBGPPeerConfig", "peer", &json!({}))?;
    stage.apply("CiliumBGPClusterConfig", "c", &on())?;
    let operator = stage.operator("first", &[])?;
    stage.await_configured(&["n1"]).await?;
    assert_eq!(operator.page("/readyz").await?, (200, "leads\n".to_owned()));

    stage.plane.stop_api_server()?;
    operator.await_line("watch is broken").await?;
    operator.await_line("no longer leads").await?;
    let (status, body) = operator.page("/readyz").await?;
    assert_eq!(status, 503);
    assert!(
        body.contains("does not lead\n") && body.contains("ciliumbgpnodeconfigs: "),
        "{body}"
    );
    assert_eq!(operator.page("/healthz").await?, (200, "ok".to_owned()));

    stage.plane.start_api_server()?;
    let back = Instant::now();
    operator.await_line("all watches work again").await?;
    stage.node("n2", json!({"bgp": "on"})).await?;
    stage.await_configured(&["n1", "n2"]).await?;
    assert!(
        back.elapsed() < Duration::from_secs(6),
        "acted after {:?}",
        back.elapsed()
    );
    assert_eq!(operator.page("/readyz").await?.0, 200);
    operator.terminate()
}
