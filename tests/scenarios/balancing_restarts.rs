//! The load balancer is in the kernel: whatever happens to the agent or to the API server, no request is lost, no connection is reset, and
//! the router's routes stay.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lab::fault;
use lab::wait;
use scenarios::connections::Connections;
use scenarios::lab::{NAMESPACE, PATIENCE};
use scenarios::peering::{self, node_addresses};
use scenarios::probe::{Probe, Question};
use scenarios::topologies::HOST_BEHIND;
use scenarios::{Failure, Lab, claim};

use super::{balancing, services};

/// Longer than the restart and whatever an agent may undo once it has started.
const AFTERWARDS: Duration = Duration::from_secs(8);
/// Connections that stay open.
const OPEN: usize = 100;

pub(crate) fn a_killed_agent_loses_no_request(lab: &mut Lab) -> Result<(), Failure> {
    unnoticed(lab, |lab| {
        for node in &lab.cluster.topology().nodes {
            let agent = lab.agent(&node.name)?;
            let pid = lab
                .cluster
                .container_pid(NAMESPACE, &agent.name, &agent.container)?;
            fault::kill(pid)?;
        }
        await_sessions_again(lab)
    })
}

pub(crate) fn an_upgrade_loses_no_request(lab: &mut Lab) -> Result<(), Failure> {
    unnoticed(lab, |lab| {
        lab.upgrade(&["debug.enabled=true"])?;
        lab.upgrade(&["debug.enabled=false"])?;
        await_sessions_again(lab)
    })
}

pub(crate) fn without_the_api_server_no_request_is_lost(lab: &mut Lab) -> Result<(), Failure> {
    unnoticed(lab, |lab| {
        let control_plane = lab.cluster.control_plane();
        control_plane.stop_api_server()?;
        thread::sleep(AFTERWARDS);
        control_plane.start_api_server()?;
        Ok(())
    })
}

/// Does `harm` while the VIP is asked 200 times a second over new connections and over [`OPEN`] old ones, and the router's routes are watched.
fn unnoticed(lab: &mut Lab, harm: impl FnOnce(&Lab) -> Result<(), Failure>) -> Result<(), Failure> {
    let client = lab.cluster.machine(HOST_BEHIND)?.namespace().clone();
    balancing::published(lab)?;
    let all = services::sorted(node_addresses(lab));
    services::await_routes(lab, &all)?;
    peering::await_all_established(lab, "tor-switch", Duration::from_secs(6))?;

    let vip = balancing::vip();
    let requests = Probe::start(&client, vip.ip(), Question::Connect(vip.port()))?;
    let connections = Connections::open(&client, vip, OPEN)?;
    let watched = watch(lab, &all, || {
        harm(lab)?;
        thread::sleep(AFTERWARDS);
        Ok(())
    });
    let unbroken = connections.finish_unbroken();
    let lossless = requests.finish_without_loss();
    watched?;
    unbroken?;
    lossless.map(|_| ())
}

/// Claims that meanwhile the router's kernel always had all next hops of the VIP.
fn watch(
    lab: &Lab,
    all: &[IpAddr],
    harm: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let router = lab.router()?;
    let prefix = ipnet::IpNet::from(balancing::vip().ip());
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watching = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let hops = peering::next_hops(&router.kernel_routes()?, prefix);
                claim(hops == all, || {
                    format!("the router kept all next hops of {prefix} throughout, not {hops:?}")
                })?;
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

fn await_sessions_again(lab: &Lab) -> Result<(), Failure> {
    let router = lab.router()?;
    wait::try_until(PATIENCE, "all agents are ready", || {
        let answer = lab.cluster.kubectl([
            "get",
            "daemonset/tombolo-agent",
            "--namespace",
            NAMESPACE,
            "-o=jsonpath={.status.numberReady}",
        ])?;
        Ok((answer.trim() == lab.cluster.nodes().len().to_string()).then_some(()))
    })?;
    peering::await_sessions(router, &node_addresses(lab), PATIENCE)
}
