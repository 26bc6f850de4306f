//! `helm install`, then the published manifests verbatim: within 3 s of `kubectl apply` the router has three
//! sessions and, in its kernel, three routes with the right next hops; both sides say the same about them; the
//! router reaches a pod on every node.

use std::time::{Duration, Instant};

use lab::router::Router;
use lab::topology::NodeSpec;
use scenarios::failure::Failure;
use scenarios::peering::{self, address, node_addresses, pod_cidr};
use scenarios::{Lab, claim, http, manifests};

/// From `kubectl apply` to the routes in the router's kernel.
const IN_TIME: Duration = Duration::from_secs(3);

pub(crate) fn reach_the_routers_kernel(lab: &mut Lab) -> Result<(), Failure> {
    lab.workload()?;
    let router = lab.router()?;
    let applied = Instant::now();
    lab.cluster.apply(manifests::BGP)?;
    peering::await_sessions(
        router,
        &node_addresses(lab),
        IN_TIME.saturating_sub(applied.elapsed()),
    )?;
    peering::await_kernel_routes(lab, IN_TIME.saturating_sub(applied.elapsed()))?;

    let learned = router
        .kernel_routes()?
        .into_iter()
        .filter(|route| route.protocol == "bgp")
        .count();
    claim(learned == 3, || {
        format!("the router's kernel has three routes from BGP, not {learned}")
    })?;
    for node in &lab.cluster.topology().nodes {
        both_sides_agree(lab, router, node)?;
    }
    router_reaches_pods(lab, router)
}

/// Established, timers 9/3, one route advertised, as many received as the router sends; and the router's
/// summary says the same from its side.
fn both_sides_agree(lab: &Lab, router: &Router, node: &NodeSpec) -> Result<(), Failure> {
    let shown = peering::neighbor(router, address(node))?;
    claim(shown.asn == 65001 && shown.prefixes_received() == 1, || {
        format!("{shown:?} is AS 65001 and sent one prefix")
    })?;
    let sent = i32::try_from(shown.prefixes_sent()).unwrap_or(i32::MAX);
    let counts = |count: &api::node_config::RouteCount| {
        (count.advertised, count.received) == (Some(1), Some(sent))
    };
    let awaited = format!("is established with 9/3, 1 advertised, {sent} received");
    peering::await_status(
        lab,
        &node.name,
        "tor-switch",
        &awaited,
        Duration::from_secs(2),
        |status| {
            let timers = status.timers.as_ref();
            status.peering_state == Some(api::node_config::PeeringState::Established)
                && status.peer_address == "192.168.10.200"
                && status.peer_asn == Some(65000)
                && status.established_time.is_some()
                && timers.and_then(|timers| timers.applied_hold_time_seconds) == Some(9)
                && timers.and_then(|timers| timers.applied_keepalive_seconds) == Some(3)
                && matches!(status.route_count.as_slice(), [count] if counts(count))
        },
    )?;
    Ok(())
}

/// The router has no other way to the pods than what it learned.
fn router_reaches_pods(lab: &Lab, router: &Router) -> Result<(), Failure> {
    let pods = lab.pods("default", "app=webpod")?;
    for node in &lab.cluster.topology().nodes {
        let pod = pods.iter().find(|pod| pod.node == node.name);
        let pod =
            pod.ok_or_else(|| Failure::Untrue(format!("a pod of webpod runs on {}", node.name)))?;
        claim(pod_cidr(node).contains(&pod.address), || {
            format!("{} is an address of {}", pod.address, node.name)
        })?;
        let answer = http::fetch(router.namespace(), pod.address)?;
        let hostname = format!("Hostname: {}", pod.name);
        claim(answer.contains(&hostname), || {
            format!("{} answers with {hostname:?}, not {answer:?}", pod.address)
        })?;
    }
    Ok(())
}
