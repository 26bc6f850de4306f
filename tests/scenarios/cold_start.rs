//! An agent that finds nothing on its node, no session, no route, no map, announces two thousand Services before anybody misses them.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use lab::error::Error;
use lab::node::Node;
use lab::wait;
use scenarios::crowd::{self, Crowd};
use scenarios::lab::{NAMESPACE, PATIENCE};
use scenarios::route_monitor::RouteMonitor;
use scenarios::{Failure, Lab, claim, eventually, peering, tell};

use super::nothing_left::{self, Pinned};

const SERVICES: usize = 2000;
/// From the start of the agent's process to the last route in the router's kernel (Cilium 1.20: 4.9 to 5.9 s).
const SOON: Duration = Duration::from_secs(2);
/// The label of nodes that may have an agent.
const WARM: &str = "scenario/warm";
/// Clock ticks of `/proc` in a second, on every architecture (`USER_HZ`).
const TICKS: f64 = 100.0;

/// The last scenario that needs so many Services: it disperses them.
pub(crate) fn is_quick(lab: &mut Lab) -> Result<(), Failure> {
    lab.workload()?;
    peering::as_published(lab)?;
    let crowd = Crowd::new(lab)?;
    crowd.gather(lab, SERVICES)?;
    let node = lab.cluster.nodes()[0].name().to_owned();
    let pinned = nothing_left::pinned(lab)?;
    select(lab, "true")?;
    let took = leave(lab, &pinned).and_then(|()| start(lab, lab.cluster.node(&node)?));
    select(lab, "null")?;
    let label = format!("{WARM}-");
    lab.cluster.kubectl(["label", "node", &node, &label])?;
    crowd.disperse()?;
    let took = took?;
    tell(&format!("{SERVICES} routes {took:.2?} after the start"));
    claim(took <= SOON, || {
        format!(
            "{SERVICES} routes are in the router's kernel {SOON:?} after the agent's start, not after {took:.2?}"
        )
    })
}

/// Lets agents run only on nodes with the label, or again on all.
fn select(lab: &Lab, value: &str) -> Result<(), Failure> {
    let value = if value == "null" {
        value.to_owned()
    } else {
        format!("\"{value}\"")
    };
    let patch =
        format!(r#"{{"spec":{{"template":{{"spec":{{"nodeSelector":{{"{WARM}":{value}}}}}}}}}}}"#);
    let daemon_set = ["patch", "daemonset/tombolo-agent", "--namespace", NAMESPACE];
    lab.cluster
        .kubectl(daemon_set.iter().chain(&["--patch", &patch]))?;
    Ok(())
}

/// Waits until no agent is left, nor anything that one has put into a kernel.
fn leave(lab: &Lab, pinned: &[Pinned]) -> Result<(), Failure> {
    nothing_left::await_clean(lab, pinned)?;
    for node in lab.cluster.nodes() {
        eventually(PATIENCE, || {
            let pid = lab.agent_process(node)?;
            claim(pid.is_none(), || {
                format!("{} has no agent any more, not {pid:?}", node.name())
            })
        })?;
    }
    let router = lab.router()?;
    wait::try_until(PATIENCE, "the router has no route to a Service", || {
        let routes = router.kernel_routes()?;
        let mut routes = routes.iter();
        Ok((!routes.any(|route| crowd::is_address(&route.prefix))).then_some(()))
    })?;
    Ok(())
}

/// Starts the agent of one node. From its start to the last route.
fn start(lab: &Lab, node: &Node) -> Result<Duration, Failure> {
    let monitor = RouteMonitor::start(lab.router()?.namespace())?;
    let label = format!("{WARM}=true");
    lab.cluster
        .kubectl(["label", "node", node.name(), &label])?;
    let mut there = BTreeSet::new();
    let last = loop {
        let change = monitor.next("a route to another Service", PATIENCE, |change| {
            let address = change.prefix.parse();
            address.is_ok_and(|address: std::net::IpAddr| crowd::is_address(&address.into()))
        })?;
        if change.gateways > 0 {
            there.insert(change.prefix);
        } else {
            there.remove(&change.prefix);
        }
        if there.len() == SERVICES {
            break change.at;
        }
    };
    let pid = lab.agent_process(node)?;
    let pid = pid.ok_or_else(|| Failure::Untrue(format!("{} has an agent", node.name())))?;
    let age = age(pid)?;
    Ok(age.saturating_sub(last.elapsed()))
}

/// How long ago a process was started (proc(5): the 22nd field of `stat`, since boot).
fn age(pid: u32) -> Result<Duration, Failure> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(Error::file(&path))?;
    let uptime = fs::read_to_string("/proc/uptime").map_err(Error::file("/proc/uptime"))?;
    // The name of the program, the second field, may contain anything.
    let started = stat.rsplit(')').next().and_then(|rest| {
        let ticks: f64 = rest.split_whitespace().nth(19)?.parse().ok()?;
        Some(ticks / TICKS)
    });
    let uptime = uptime.split(' ').next().and_then(|text| text.parse().ok());
    let age = started
        .zip(uptime)
        .map(|(started, uptime): (f64, f64)| uptime - started);
    age.map(Duration::from_secs_f64)
        .ok_or_else(|| Failure::Untrue(format!("{path} tells when it started: {stat}")))
}
