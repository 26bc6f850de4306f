//! A client that used a VIP and then asks the same pod directly from the same port is answered, and one that did it the other way round as
//! well, whether the pod runs on the node that the VIP's packets came to or on another (Cilium 1.20 answers none of the first kind).

use std::net::SocketAddr;

use lab::namespace::Namespace;
use scenarios::lab::Pod;
use scenarios::peering::{address, node_addresses};
use scenarios::topologies::HOST_BEHIND;
use scenarios::{Failure, Lab, claim, http};

use super::{balancing, services};

/// In each order, with a local pod and with a remote one.
const ROUNDS: usize = 10;
/// A third of the tries, or more, are rounds: less than ten of so many happen once in 10^25 runs.
const TRIES: u16 = 300;
/// Below the ports that the kernel chooses.
const PORTS: u16 = 20_000;

/// Who is asked first.
#[derive(Debug, Clone, Copy)]
enum First {
    Vip,
    Pod,
}

pub(crate) fn reaches_vip_and_pod(lab: &mut Lab) -> Result<(), Failure> {
    balancing::published(lab)?;
    let all = services::sorted(node_addresses(lab));
    services::await_routes(lab, &all)?;
    // All that is for the VIP goes to one node, so that it is known which pods are local.
    let node = lab.cluster.nodes().first().expect("a node");
    let router = lab.router()?.namespace();
    let (vip, gateway) = (balancing::vip().ip(), address(node.spec()));
    router.ip(&format!("route add {vip} via {gateway} proto static"))?;
    let client = lab.cluster.machine(HOST_BEHIND)?;
    let pods = lab.pods("default", "app=webpod")?;
    let mut ports = PORTS..;
    let mut orders = [First::Vip, First::Pod].into_iter();
    let answered = orders.try_for_each(|first| {
        let rounds = Rounds {
            client: client.namespace(),
            pods: &pods,
            node: node.name(),
            first,
        };
        rounds.run(&mut ports)
    });
    router.ip(&format!("route del {vip} via {gateway} proto static"))?;
    answered?;
    services::await_routes(lab, &all)
}

struct Rounds<'a> {
    client: &'a Namespace,
    pods: &'a [Pod],
    node: &'a str,
    first: First,
}

impl Rounds<'_> {
    /// Takes a fresh port for each try, until there were enough rounds with pods of both kinds. Every question must be answered.
    fn run(&self, ports: &mut impl Iterator<Item = u16>) -> Result<(), Failure> {
        let (mut local, mut remote) = (0, 0);
        for port in ports.take(usize::from(TRIES)) {
            let reached = match self.first {
                First::Vip => Some(self.vip_then_pod(port)?),
                First::Pod => self.pod_then_vip(port, local <= remote)?,
            };
            match reached {
                Some(pod) if pod.node == self.node => local += 1,
                Some(_) => remote += 1,
                None => {}
            }
            if local.min(remote) >= ROUNDS {
                return Ok(());
            }
        }
        claim(false, || {
            let first = self.first;
            format!(
                "{ROUNDS} rounds are to be had with a local and a remote pod, not {local} and {remote}, first {first:?}"
            )
        })
    }

    fn vip_then_pod(&self, port: u16) -> Result<&Pod, Failure> {
        let pod = self.ask(balancing::vip(), port)?;
        self.is_itself(pod, port)?;
        self.ask(balancing::vip(), port)?;
        Ok(pod)
    }

    /// The pod, where the VIP leads to it as well.
    fn pod_then_vip(&self, port: u16, local: bool) -> Result<Option<&Pod>, Failure> {
        let is_wanted = |pod: &&Pod| (pod.node == self.node) == local;
        let pods: Vec<&Pod> = self.pods.iter().filter(is_wanted).collect();
        let pod = pods.get(usize::from(port) % pods.len().max(1));
        let pod = pod.ok_or_else(|| Failure::Untrue(format!("a pod is local: {local}")))?;
        self.is_itself(pod, port)?;
        let reached = self.ask(balancing::vip(), port)?;
        self.is_itself(pod, port)?;
        Ok((reached == *pod).then_some(pod))
    }

    fn is_itself(&self, pod: &Pod, port: u16) -> Result<(), Failure> {
        let answered = self.ask(SocketAddr::new(pod.address, 80), port)?;
        claim(answered == pod, || {
            format!("{} answers port {port}, not {}", pod.name, answered.name)
        })
    }

    /// The pod that answers.
    fn ask(&self, target: SocketAddr, port: u16) -> Result<&Pod, Failure> {
        let answer = http::fetch_with_port(self.client, target, port)?;
        let name = http::field(&answer, "Hostname").unwrap_or_default();
        let pod = self.pods.iter().find(|pod| pod.name == name);
        pod.ok_or_else(|| Failure::Untrue(format!("a pod of webpod answers, not {answer:?}")))
    }
}
