//! The machines: a client behind the published router, a node that is given all packets of the Services' addresses, another node, and pods
//! on both.
//!
//! ```text
//! client ── router ──┬── k8s-ctr   the Services' addresses are routed here; four pods
//!                    └── k8s-w1    four pods
//! ```
//!
//! Every route is a static one, so that all peers find the same. Packets to the pods themselves, and their answers, go by way of k8s-ctr as
//! well: the same hops as with a balancer on it.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use lab::cluster::Cluster;
use lab::error::Error;
use lab::namespace::Namespace;
use lab::topology::{Route, Topology};
use scenarios::{Failure, Lab, harness, topologies};

use crate::load;

/// Pods on each node: enough addresses and ports behind a node's own address for all connections that are remembered.
const PODS: usize = 4;
/// How long an answer is waited for while nobody may have programmed it yet.
const SHORT: Duration = Duration::from_millis(20);
/// How long it may take until Services answer.
const PROGRAMMED: Duration = Duration::from_secs(180);

/// Where the Services' addresses are.
pub(crate) const ADDRESSES: &str = "172.18.0.0/16";

/// The machines. Tombolo is not installed.
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    pub(crate) client: Namespace,
    pub(crate) pods: Vec<SocketAddr>,
    /// What the EndpointSlices say: each pod's address and node.
    pub(crate) endpoints: Vec<(IpAddr, String)>,
}

impl Stage {
    /// Boots all of it and waits until the pods are ready.
    pub(crate) fn boot() -> Result<Self, Failure> {
        let image = std::env::var_os(harness::IMAGE).map(PathBuf::from);
        let image = image.ok_or(Failure::CannotRun(
            "TOMBOLO_IMAGE names no image: use `cargo xtask bench requests`",
        ))?;
        let cluster = Cluster::up(topology())?;
        for node in cluster.nodes() {
            // A packet that leaves by the interface it came by is no reason to teach anybody a shorter way.
            for device in ["all", "eth1"] {
                let key = format!("ipv4/conf/{device}/send_redirects");
                node.machine().namespace().sysctl(&key, "0")?;
            }
        }
        cluster.apply(&pods(&cluster))?;
        cluster.kubectl([
            "wait",
            "--for=condition=Ready",
            "pod",
            "--selector=app=webpod",
            "--timeout=90s",
        ])?;
        let values = &["tombolo.profile=full", "kubeProxyReplacement=true"];
        let mut lab = Lab::new(cluster, &image, values)?;
        lab.uninstall()?;
        let pods = lab.pods("default", "app=webpod")?;
        Ok(Self {
            client: lab
                .cluster
                .machine(topologies::HOST_BEHIND)?
                .namespace()
                .clone(),
            pods: pods
                .iter()
                .map(|pod| SocketAddr::new(pod.address, 80))
                .collect(),
            endpoints: pods
                .into_iter()
                .map(|pod| (pod.address, pod.node))
                .collect(),
            lab,
        })
    }

    /// Waits until each of `targets` answers the client.
    pub(crate) fn await_answers(&self, targets: &[SocketAddr]) -> Result<(), Failure> {
        let start = Instant::now();
        self.client.run(|| {
            targets.iter().try_for_each(|target| {
                while load::request(*target, SHORT).is_err() {
                    let waited = start.elapsed();
                    if waited > PROGRAMMED {
                        let awaited = format!("{target} answers");
                        return Err(Error::Deadline { awaited, waited });
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            })
        })??;
        Ok(())
    }
}

fn topology() -> Topology {
    let mut topology = topologies::balanced();
    "requests".clone_into(&mut topology.name);
    topology.nodes.truncate(2);
    let [entry, other] = &mut topology.nodes[..] else {
        unreachable!("the published topology has three nodes");
    };
    entry.routes.push(route("172.20.1.0/24", "192.168.10.101"));
    entry.routes.push(route("10.10.1.0/24", "192.168.10.200"));
    other.routes.push(route("172.20.0.0/24", "192.168.10.100"));
    other.routes.push(route("10.10.1.0/24", "192.168.10.100"));
    let prefix = |address: Ipv4Addr| IpNet::new(address.into(), 24).expect("a length of IPv4");
    let client = &mut topology.hosts[0].links[0];
    client.addresses.extend(load::addresses().map(prefix));
    let router = &mut topology.routers[0];
    router.routes.push(route("172.20.0.0/23", "192.168.10.100"));
    router.routes.push(route(ADDRESSES, "192.168.10.100"));
    topology
}

fn route(to: &str, via: &str) -> Route {
    Route {
        to: to.parse().expect("a literal prefix"),
        via: via.parse().expect("a literal address"),
    }
}

fn pods(cluster: &Cluster) -> String {
    let mut manifest = String::new();
    for node in cluster.nodes() {
        for number in 0..PODS {
            let name = node.name();
            let _ = write!(
                manifest,
                "---
apiVersion: v1
kind: Pod
metadata:
  name: webpod-{name}-{number}
  labels: {{app: webpod}}
spec:
  nodeName: {name}
  terminationGracePeriodSeconds: 0
  containers:
  - name: webpod
    image: traefik/whoami
"
            );
        }
    }
    manifest
}
