//! The chart's profiles: each agent runs with exactly the capabilities of its profile, and where one is missing it says which it lacks for
//! what, and does the rest. What a profile does without goes with the agent that did it.

use std::fs;
use std::time::Duration;

use lab::error::Error;
use lab::node::Node;
use scenarios::lab::{NAMESPACE, PATIENCE};
use scenarios::peering::{self, Undisturbed, address, node_addresses, node_configs, pod_cidr};
use scenarios::{Failure, Lab, claim, eventually};
use serde_json::json;

use super::nothing_left::{self, Pinned};
use super::{balancing, learned_routes, services};

/// Bits of `CapEff` (`linux/capability.h`).
const NET_ADMIN: u64 = 1 << 12;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;
const FULL: u64 = NET_ADMIN | BPF | PERFMON;

/// What of an agent is in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kernel {
    /// What the load balancer has pinned, and learned routes.
    Balanced,
    /// Nothing of a load balancer's; learned routes there may be.
    Unbalanced,
    /// Neither.
    Clean,
}

/// Values of each profile, whether its agents are of root, their capabilities, and what they leave of the one before.
const PROFILES: [(&[&str], bool, u64, Kernel); 5] = [
    (&["tombolo.profile=full"], true, FULL, Kernel::Balanced),
    (
        &["tombolo.profile=advertise", "kubeProxyReplacement=false"],
        false,
        0,
        Kernel::Clean,
    ),
    (&["tombolo.profile=full"], true, FULL, Kernel::Balanced),
    (
        &["tombolo.profile=full", "kubeProxyReplacement=false"],
        true,
        FULL,
        Kernel::Unbalanced,
    ),
    (
        &["tombolo.profile=routes", "kubeProxyReplacement=false"],
        true,
        NET_ADMIN,
        Kernel::Unbalanced,
    ),
];

pub(crate) fn have_exactly_their_capabilities(lab: &mut Lab) -> Result<(), Failure> {
    let mut pinned = Vec::new();
    let outcome = PROFILES
        .into_iter()
        .try_for_each(|(values, root, capabilities, kernel)| {
            lab.upgrade(values)?;
            are_privileged(lab, values, root, capabilities)?;
            match kernel {
                Kernel::Balanced => pinned = nothing_left::pinned(lab)?,
                Kernel::Unbalanced => pinned.iter().try_for_each(Pinned::await_gone)?,
                Kernel::Clean => nothing_left::await_clean(lab, &pinned)?,
            }
            Ok(())
        });
    lab.upgrade(&[])?;
    outcome
}

/// The agents of all nodes are of `root` or not, and have `capabilities` and no other.
fn are_privileged(
    lab: &Lab,
    values: &[&str],
    root: bool,
    capabilities: u64,
) -> Result<(), Failure> {
    lab.cluster.nodes().iter().try_for_each(|node| {
        let agent = Privileges::of_agent(lab, node)?;
        let is_so = (agent.user == 0) == root
            && [agent.effective, agent.permitted, agent.bounding] == [capabilities; 3];
        claim(is_so, || {
            format!(
                "the agent of {values:?} on {} is of root ({root}) with capabilities {capabilities:x}: {agent:x?}",
                node.name()
            )
        })
    })
}

/// What the profile `full` has, what an agent says that lacks it, and whether it then still installs learned routes.
const NEEDED: [(&str, &[&str], bool); 3] = [
    (
        "NET_ADMIN",
        &[
            "the load balancer does not run: not permitted: CAP_NET_ADMIN is missing, to attach programs to interfaces and sockets",
            "the agent lacks the capability NET_ADMIN",
        ],
        false,
    ),
    (
        "PERFMON",
        &[
            "the load balancer does not run: not permitted: CAP_PERFMON is missing, to have the kernel accept programs that",
        ],
        true,
    ),
    (
        "BPF",
        &[
            "the load balancer does not run: not permitted: CAP_BPF is missing, to make maps and load programs",
        ],
        true,
    ),
];

pub(crate) fn what_is_lacking_is_named(lab: &mut Lab) -> Result<(), Failure> {
    balancing::published(lab)?;
    services::await_routes(lab, &services::sorted(node_addresses(lab)))?;
    let outcome = NEEDED
        .into_iter()
        .try_for_each(|(lacking, words, installs_routes)| {
            let others = NEEDED.iter().map(|(name, ..)| *name);
            let others: Vec<_> = others.filter(|name| *name != lacking).collect();
            let sessions = Undisturbed::note(lab.router()?)?;
            permit(lab, &others)?;
            sessions.await_renewed(&node_addresses(lab), PATIENCE)?;
            await_words(lab, words)?;
            does_the_rest(lab, installs_routes)
        });
    lab.upgrade(&[])?;
    outcome
}

/// Starts all agents anew with these capabilities.
fn permit(lab: &Lab, capabilities: &[&str]) -> Result<(), Failure> {
    let patch = json!({"spec": {
        // None of them becomes ready.
        "updateStrategy": {"rollingUpdate": {"maxUnavailable": "100%"}},
        "template": {"spec": {"containers": [{
            "name": "agent",
            "securityContext": {"capabilities": {"add": capabilities}},
        }]}},
    }});
    let daemon_set = ["patch", "daemonset/tombolo-agent", "--namespace", NAMESPACE];
    let patch = ["--patch", &patch.to_string()].map(str::to_owned);
    let words = daemon_set.map(str::to_owned).into_iter().chain(patch);
    lab.cluster.kubectl(words)?;
    Ok(())
}

/// Pod ranges are announced, addresses of Services are not, and learned routes are installed where that is permitted.
fn does_the_rest(lab: &Lab, installs_routes: bool) -> Result<(), Failure> {
    peering::await_all_established(lab, "tor-switch", PATIENCE)?;
    for node in &lab.cluster.topology().nodes {
        let awaited = "is not left from the agent before";
        let prefix = pod_cidr(node);
        peering::await_path(lab.router()?, prefix, awaited, PATIENCE, |route| {
            route.from == Some(address(node)) && !route.stale
        })?;
    }
    peering::await_kernel_routes(lab, PATIENCE)?;
    let vip = balancing::vip().ip().into();
    peering::await_no_kernel_route(lab.router()?, vip, PATIENCE)?;
    if installs_routes {
        // An agent without NET_ADMIN was before it, so there were none.
        learned_routes::await_learned(lab, &[learned_routes::BEHIND])?;
        learned_routes::a_removed_route_is_back(lab)?;
    }
    Ok(())
}

/// What a process may do (proc_pid_status(5)).
#[derive(Debug)]
struct Privileges {
    /// The effective user.
    user: u64,
    effective: u64,
    permitted: u64,
    /// What a program that it starts could have at most.
    bounding: u64,
}

impl Privileges {
    fn of_agent(lab: &Lab, node: &Node) -> Result<Self, Failure> {
        let pid = lab.agent_process(node)?;
        let pid = pid.ok_or_else(|| Failure::Untrue(format!("{} has an agent", node.name())))?;
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).map_err(Error::file(&path))?;
        let field = |name: &str, word, radix| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let text = line.and_then(|line| line.split_whitespace().nth(word));
            let number = text.and_then(|text| u64::from_str_radix(text, radix).ok());
            number.ok_or_else(|| Failure::Untrue(format!("{path} tells {name}")))
        };
        Ok(Self {
            user: field("Uid:", 1, 10)?,
            effective: field("CapEff:", 0, 16)?,
            permitted: field("CapPrm:", 0, 16)?,
            bounding: field("CapBnd:", 0, 16)?,
        })
    }
}

/// Waits until a condition of every NodeConfig has all of `words` in its message.
fn await_words(lab: &Lab, words: &[&str]) -> Result<(), Failure> {
    eventually(Duration::from_secs(8), || {
        let configs = node_configs(lab)?;
        let said = |word: &&str| {
            configs.values().all(|config| {
                let status = config.status.as_ref();
                status.is_some_and(|status| {
                    let mut conditions = status.conditions.iter();
                    conditions.any(|condition| condition.message.contains(*word))
                })
            })
        };
        let all = configs.len() == lab.cluster.nodes().len();
        claim(all && words.iter().all(said), || {
            format!("every node's status says {words:?}: {configs:?}")
        })
    })
}
