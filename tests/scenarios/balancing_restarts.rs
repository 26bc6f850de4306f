//! The load balancer is in the kernel: whatever happens to the agents or to the API server, no request is lost, no connection is reset,
//! and no route of the router changes, with twelve Services and with two thousand, all on Maglev.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use lab::fault;
use lab::node::Node;
use lab::wait;
use scenarios::connections::Connections;
use scenarios::crowd::Crowd;
use scenarios::lab::PATIENCE;
use scenarios::peering::{self, Undisturbed, node_addresses};
use scenarios::probe::Probe;
use scenarios::route_monitor::RouteMonitor;
use scenarios::topologies::{HOST_BEHIND, SECOND_ADDRESS};
use scenarios::{Failure, Lab, claim, http, manifests, tell};

use super::learned_routes;

/// Longer than whatever an agent may undo once its sessions are up again and it says that it is ready.
const AFTERWARDS: Duration = Duration::from_secs(5);
/// How long agents run that have never seen an API server.
const OUTAGE: Duration = Duration::from_secs(4);
/// Connections that stay open.
const OPEN: usize = 100;
/// Services that are asked, and that have the open connections.
const ASKED: usize = 12;
/// Requests each second at least.
const RATE: f64 = 190.0;
/// From the end of the agents to the start of the next: a second is usual, of a kubelet that looks once in a second.
const AWAY: Duration = Duration::from_secs(3);
/// Where an agent says whether it is ready.
const READY: &str = "http://127.0.0.1:9979/readyz";

pub(crate) fn twelve_services_outlive_their_agents(lab: &mut Lab) -> Result<(), Failure> {
    outlive_their_agents(lab, 12)
}

pub(crate) fn thousands_of_services_outlive_their_agents(lab: &mut Lab) -> Result<(), Failure> {
    outlive_their_agents(lab, 2000)
}

/// Asks Services 200 times a second over new connections and all the time over [`OPEN`] old ones, and watches the router's routes, while the
/// agents are killed, killed again while there is no API server, and upgraded.
fn outlive_their_agents(lab: &Lab, count: usize) -> Result<(), Failure> {
    let begun = Instant::now();
    lab.workload()?;
    // A router keeps the routes of an agent that is away for the restart time, and without an API server an agent does not know its peers: it
    // has to be longer than the outage here, as Cilium's default is.
    let patient = manifests::BGP.replace("restartTimeSeconds: 15", "restartTimeSeconds: 120");
    lab.cluster.apply(&patient)?;
    lab.cluster.apply(learned_routes::IMPORT)?;
    peering::await_kernel_routes(lab, PATIENCE)?;
    learned_routes::await_learned(lab, &[learned_routes::BEHIND])?;
    let crowd = Crowd::new(lab)?;
    crowd.gather(lab, count)?;
    let addresses = crowd.addresses()?;
    let vips = addresses.chunks(count / ASKED).take(ASKED);
    let vips: Vec<_> = vips.map(|some| SocketAddr::new(some[0], 80)).collect();

    let client = lab.cluster.machine(HOST_BEHIND)?.namespace().clone();
    for vip in &vips {
        wait::until(PATIENCE, &format!("{vip} answers"), || {
            http::fetch_from(&client, *vip).ok()
        })?;
    }
    let router = lab.router()?;
    let monitor = RouteMonitor::start(router.namespace())?;
    let before = router.kernel_routes()?;
    let requests = Probe::requests(&client, vips.clone());
    let connections = Connections::open(&client, SECOND_ADDRESS, &vips, OPEN)?;
    let harmed = harm(lab, count, begun);
    let unbroken = connections.finish_unbroken();
    let lossless = requests.finish_without_loss().and_then(|report| {
        let rate = report.rate();
        tell(&format!("{} requests, {rate:.1} each second", report.asked));
        claim(rate >= RATE, || {
            format!("{RATE} requests were sent each second, not {rate:.1}")
        })
    });
    let unchanged = monitor.finish_unchanged();
    harmed?;
    // What became of the routes explains what became of the rest.
    let failures = [unchanged.err(), unbroken.err(), lossless.err()];
    let failures: Vec<_> = failures.iter().flatten().map(ToString::to_string).collect();
    claim(failures.is_empty(), || {
        format!("nobody noticed: {failures:#?}")
    })?;
    claim(router.kernel_routes()? == before, || {
        "the router's routes are as before".to_owned()
    })
}

fn harm(lab: &Lab, count: usize, begun: Instant) -> Result<(), Failure> {
    let stage = |what| tell(&format!("{:.1} s {what}", begun.elapsed().as_secs_f64()));
    stage("agents killed");
    renewed(lab, || {
        let killed = kill(lab)?;
        let away = started_again(lab, &killed)?;
        tell(&format!(
            "agents started again after {:.1} s",
            away.as_secs_f64()
        ));
        claim(away <= AWAY, || {
            format!("agents are started again within {AWAY:?}, not after {away:?}")
        })
    })?;
    stage("API server stopped, agents killed");
    renewed(lab, || kill_without_api_server(lab))?;
    stage("upgrade");
    renewed(lab, || {
        lab.upgrade(&[&format!("podAnnotations.services=about-{count}")])
    })?;
    stage("all is as before");
    thread::sleep(AFTERWARDS);
    Ok(())
}

/// Kills the agent of every node, and gives their numbers.
fn kill(lab: &Lab) -> Result<Vec<u32>, Failure> {
    let mut killed = Vec::new();
    for node in lab.cluster.nodes() {
        let agent = lab.agent_process(node)?;
        killed.extend(agent);
        claim(agent.is_some(), || format!("{} has an agent", node.name()))?;
        agent.map(fault::kill).transpose()?;
    }
    Ok(killed)
}

/// The kubelets start the agents again, which then cannot learn what they are to do.
fn kill_without_api_server(lab: &Lab) -> Result<(), Failure> {
    let control_plane = lab.cluster.control_plane();
    control_plane.stop_api_server()?;
    let result = kill(lab).and_then(|killed| ignorant(lab, &killed));
    control_plane.start_api_server()?;
    result
}

/// Waits until every node has another agent than those that were killed just now, and tells how long that took.
fn started_again(lab: &Lab, killed: &[u32]) -> Result<Duration, Failure> {
    let start = Instant::now();
    for node in lab.cluster.nodes() {
        let awaited = format!("{} has an agent again", node.name());
        wait::until(PATIENCE, &awaited, || {
            let pid = lab.agent_process(node).ok().flatten();
            pid.filter(|pid| !killed.contains(pid))
        })?;
    }
    Ok(start.elapsed())
}

/// The agents that are started again know that they know nothing.
fn ignorant(lab: &Lab, killed: &[u32]) -> Result<(), Failure> {
    started_again(lab, killed)?;
    thread::sleep(OUTAGE);
    for node in lab.cluster.nodes() {
        claim(!is_ready(node)?, || {
            format!("the agent of {} is not ready", node.name())
        })?;
    }
    Ok(())
}

fn is_ready(node: &Node) -> Result<bool, lab::error::Error> {
    let answer = node.machine().exec(["curl", "--silent", "--fail", READY])?;
    Ok(answer.success())
}

/// Does `harm` and waits until every node has a new session and all agents are ready.
fn renewed(lab: &Lab, harm: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let sessions = Undisturbed::note(lab.router()?)?;
    harm()?;
    sessions.await_renewed(&node_addresses(lab), PATIENCE)?;
    lab.cluster.nodes().iter().try_for_each(await_ready)
}

/// Waits until the agent of `node` says that it is ready.
pub(crate) fn await_ready(node: &Node) -> Result<(), Failure> {
    let awaited = format!("the agent of {} is ready", node.name());
    wait::try_until(PATIENCE, &awaited, || Ok(is_ready(node)?.then_some(())))?;
    Ok(())
}
