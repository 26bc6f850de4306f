//! Backends come and go: new connections go to those that may take them, old ones stay where they are.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lab::namespace::Namespace;
use scenarios::connections::Connections;
use scenarios::http;
use scenarios::peering::node_addresses;
use scenarios::topologies::{HOST_BEHIND, SECOND_ADDRESS};
use scenarios::{Failure, Lab, claim, eventually};

use super::{balancing, services};

/// From a change to all nodes' maps.
const SOON: Duration = Duration::from_secs(2);

pub(crate) fn come_and_go(lab: &mut Lab) -> Result<(), Failure> {
    let client = lab.cluster.machine(HOST_BEHIND)?.namespace().clone();
    balancing::published(lab)?;
    services::await_routes(lab, &services::sorted(node_addresses(lab)))?;
    let vip = balancing::vip();

    // All gone: refused at once by nobody, for new connections; two come back.
    lab.cluster
        .kubectl(["scale", "deployment/webpod", "--replicas=0"])?;
    await_pods(lab, &client, vip, 0)?;
    services::scale(lab, 2)?;
    await_pods(lab, &client, vip, 2)?;
    services::scale(lab, 3)?;
    await_pods(lab, &client, vip, 3)?;

    // Not ready: the label is the Service's, so a pod without it is no endpoint, and still runs.
    let pods = lab.pods("default", "app=webpod")?;
    let leaving = pods
        .first()
        .ok_or_else(|| Failure::Untrue("webpod has pods".to_owned()))?;
    let connections = Connections::open(&client, SECOND_ADDRESS, &[vip], 30)?;
    lab.cluster
        .kubectl(["label", "pod", &leaving.name, "app=drained", "--overwrite"])?;
    let start = Instant::now();
    while start.elapsed() < SOON {
        let answer = http::fetch_from(&client, vip)?;
        let name = http::field(&answer, "Hostname").unwrap_or_default();
        if name != leaving.name {
            continue;
        }
        claim(start.elapsed() < SOON / 2, || {
            format!("{} takes no new connection any more", leaving.name)
        })?;
    }
    let unbroken = connections.finish_unbroken();
    lab.cluster
        .kubectl(["delete", "pod", &leaving.name, "--wait=false"])?;
    unbroken
}

/// Waits until as many pods answer, as is seen from a row of answers without a failure; for 0 until nobody does.
fn await_pods(lab: &Lab, client: &Namespace, vip: SocketAddr, count: usize) -> Result<(), Failure> {
    eventually(scenarios::lab::PATIENCE, || {
        let answers: Vec<Option<String>> = (0..12 * count.max(1))
            .map(|_| http::ask(client, vip, http::Transport::Tcp, SOON / 4).ok())
            .collect();
        let mut names: Vec<&str> = answers
            .iter()
            .flatten()
            .filter_map(|answer| http::field(answer, "Hostname"))
            .collect();
        let all = names.len() == answers.len();
        names.sort_unstable();
        names.dedup();
        claim(names.len() == count && (all || count == 0), || {
            format!(
                "{count} pods answer behind {} nodes, not {names:?} (each question answered: {all})",
                lab.cluster.nodes().len()
            )
        })
    })
}
