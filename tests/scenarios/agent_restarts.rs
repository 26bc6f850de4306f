//! However an agent ends, when it comes back nobody has noticed: the router keeps its route (graceful restart,
//! RFC 4724), and no packet of 200 a second to a pod of that node is lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lab::fault;
use lab::router::Router;
use lab::wait;
use scenarios::lab::{NAMESPACE, PATIENCE};
use scenarios::peering::{self, address, has_kernel_route, node_addresses, pod_cidr};
use scenarios::probe::{Probe, Question};
use scenarios::{Failure, Lab, claim};

pub(crate) fn a_killed_agent_loses_no_packet(lab: &mut Lab) -> Result<(), Failure> {
    unnoticed(lab, |lab| {
        let agent = lab.agent(victim(lab))?;
        fault::kill(
            lab.cluster
                .container_pid(NAMESPACE, &agent.name, &agent.container)?,
        )?;
        Ok(())
    })
}

pub(crate) fn a_deleted_agent_loses_no_packet(lab: &mut Lab) -> Result<(), Failure> {
    unnoticed(lab, |lab| {
        let agent = lab.agent(victim(lab))?;
        lab.cluster.kubectl([
            "delete",
            "pod",
            "--namespace",
            NAMESPACE,
            &agent.name,
            "--wait",
        ])?;
        Ok(())
    })
}

pub(crate) fn a_rolled_daemonset_loses_no_packet(lab: &mut Lab) -> Result<(), Failure> {
    unnoticed(lab, |lab| {
        lab.cluster.kubectl([
            "rollout",
            "restart",
            "daemonset/tombolo-agent",
            "--namespace",
            NAMESPACE,
        ])?;
        lab.await_rollout()
    })
}

/// The node whose agent suffers: the one in the other subnet, which the router alone connects.
fn victim(lab: &Lab) -> &str {
    lab.cluster
        .topology()
        .nodes
        .last()
        .map_or("", |node| node.name.as_str())
}

/// Does `harm` while the router's kernel is watched and a pod of the victim is probed from the router, until
/// the victim's session is another one than before and its routes are fresh.
pub(crate) fn unnoticed(
    lab: &mut Lab,
    harm: impl FnOnce(&Lab) -> Result<(), Failure>,
) -> Result<(), Failure> {
    lab.workload()?;
    peering::as_published(lab)?;
    let lab: &Lab = lab;
    let router = lab.router()?;
    let node = lab
        .cluster
        .topology()
        .nodes
        .last()
        .expect("the topology has nodes");
    let pods = lab.pods("default", "app=webpod")?;
    let pod = pods.iter().find(|pod| pod.node == node.name);
    let pod =
        pod.ok_or_else(|| Failure::Untrue(format!("a pod of webpod runs on {}", node.name)))?;
    let before = lab.agent(&node.name)?;
    let established = |lab: &Lab| -> Result<Option<String>, Failure> {
        let configs = peering::node_configs(lab)?;
        let status = configs
            .get(&node.name)
            .and_then(|config| peering::peer_status(config, "tor-switch"));
        Ok(status.and_then(|status| status.established_time.clone()))
    };
    peering::await_all_established(lab, "tor-switch", Duration::from_secs(6))?;
    let session = established(lab)?;

    let probe = Probe::start(router.namespace(), pod.address, Question::Ping)?;
    let watched = watch(router, node, || {
        harm(lab)?;
        wait::until(
            PATIENCE,
            &format!("{} reports a new session", before.name),
            || {
                established(lab)
                    .ok()
                    .flatten()
                    .filter(|time| Some(time) != session.as_ref())
                    .map(|_| ())
            },
        )?;
        peering::await_sessions(router, &node_addresses(lab), PATIENCE)?;
        peering::await_path(router, pod_cidr(node), "is not stale", PATIENCE, |route| {
            route.from == Some(address(node)) && !route.stale
        })?;
        // The restart time is 15 s: what was kept only for its sake would go now.
        thread::sleep(Duration::from_secs(16));
        Ok(())
    });
    let report = probe.finish_without_loss();
    watched?;
    report.map(|_| ())
}

/// Runs `harm` and claims that meanwhile the router's kernel never was without the route to the node's pods.
fn watch(
    router: &Router,
    node: &lab::topology::NodeSpec,
    harm: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut looks = 0_u32;
            while !over.load(Ordering::Relaxed) {
                let routes = router.kernel_routes()?;
                claim(
                    has_kernel_route(&routes, pod_cidr(node), address(node)),
                    || {
                        format!(
                            "the router kept its route to {} throughout (look {looks}): {routes:?}",
                            pod_cidr(node)
                        )
                    },
                )?;
                looks += 1;
                thread::sleep(Duration::from_millis(50));
            }
            Ok(())
        });
        let result = harm();
        over.store(true, Ordering::Relaxed);
        let kept = watching
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        result.and(kept)
    })
}
