//! The chart's profiles: each agent runs with exactly the capabilities of its profile, and where one is missing it says which it lacks for
//! what, and does the rest.

use std::fs;
use std::time::{Duration, Instant};

use lab::error::Error;
use scenarios::lab::NAMESPACE;
use scenarios::peering::{self, node_configs};
use scenarios::{Failure, Lab, claim};

use super::learned_routes;

/// Bits of `CapEff` (`linux/capability.h`).
const NET_ADMIN: u64 = 1 << 12;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;

pub(crate) fn have_exactly_their_capabilities(lab: &mut Lab) -> Result<(), Failure> {
    for (values, capabilities) in [
        (
            &["tombolo.profile=advertise", "kubeProxyReplacement=false"][..],
            0,
        ),
        (
            &["tombolo.profile=routes", "kubeProxyReplacement=false"],
            NET_ADMIN,
        ),
        (&["tombolo.profile=full"], NET_ADMIN | BPF | PERFMON),
    ] {
        lab.upgrade(values)?;
        let effective = effective(lab)?;
        claim(effective == capabilities, || {
            format!(
                "an agent of {values:?} has the capabilities {capabilities:x}, not {effective:x}"
            )
        })?;
    }
    Ok(())
}

pub(crate) fn what_is_lacking_is_named(lab: &mut Lab) -> Result<(), Failure> {
    lab.upgrade(&["tombolo.profile=advertise", "kubeProxyReplacement=false"])?;
    peering::as_published(lab)?;
    lab.cluster.apply(learned_routes::IMPORT)?;
    let outcome = await_words(lab, &["NET_ADMIN"]);
    lab.upgrade(&[])?;
    outcome
}

/// The effective capabilities of the first node's agent.
fn effective(lab: &Lab) -> Result<u64, Failure> {
    let node = &lab.cluster.topology().nodes[0].name;
    let agent = lab.agent(node)?;
    let pid = lab
        .cluster
        .container_pid(NAMESPACE, &agent.name, &agent.container)?;
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).map_err(Error::file(&path))?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    bits.ok_or_else(|| Failure::Untrue(format!("{path} tells the capabilities")))
}

/// Waits until a condition of every NodeConfig has all of `words` in its message.
fn await_words(lab: &Lab, words: &[&str]) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
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
        if configs.len() == lab.cluster.nodes().len() && words.iter().all(said) {
            return Ok(());
        }
        claim(start.elapsed() < Duration::from_secs(8), || {
            format!("every node's status says {words:?}: {configs:?}")
        })?;
        std::thread::sleep(Duration::from_millis(100));
    }
}
