//! kube-proxy on every node, in nftables mode: what Services are balanced by where nothing replaces it.
//!
//! It is of the same module as the kubelet, but `cargo xtask setup` leaves it out: only `cargo xtask bench requests` builds it.

use std::time::Duration;

use serde_json::json;

use crate::binaries::KUBE_PROXY;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::node::{Node, kubeconfig};
use crate::process::{Launch, Process};

/// How long it may take to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(10);

/// The permissions of a kube-proxy for the nodes' own users: here it runs as its kubelet.
const PERMISSION: &str = "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: lab:node-proxier
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: system:node-proxier
subjects:
- apiGroup: rbac.authorization.k8s.io
  kind: Group
  name: system:nodes
";

/// What takes its tables away, whether they are there or not.
const CLEAN: &str = "add table ip kube-proxy
delete table ip kube-proxy
add table ip6 kube-proxy
delete table ip6 kube-proxy
";

/// A kube-proxy on each node of a cluster.
#[derive(Debug)]
pub struct KubeProxy<'a> {
    nodes: Vec<(&'a Node, Process)>,
}

impl<'a> KubeProxy<'a> {
    /// Starts it on every node, with its own defaults for all that has nothing to do with the lab; does not wait until it has programmed
    /// anything.
    ///
    /// # Errors
    /// [`Error::NotSetUp`] where it has not been built.
    pub fn start(cluster: &'a Cluster) -> Result<Self, Error> {
        cluster.apply(PERMISSION)?;
        let start = |node: &'a Node| {
            let name = format!("{}-kube-proxy", node.name());
            let path = format!("nodes/{}/kube-proxy.json", node.name());
            let file = cluster.state().write(path, configuration(cluster, node))?;
            let launch = Launch::new(name, KUBE_PROXY.binary("kube-proxy")?)
                .arg(format!("--config={}", file.display()))
                .within(node.machine().place().clone());
            Ok::<_, Error>((node, Process::start(cluster.state(), launch)?))
        };
        Ok(Self {
            nodes: cluster
                .nodes()
                .iter()
                .map(start)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Makes sure that all are running.
    ///
    /// # Errors
    /// [`Error::Ended`] with the end of its log.
    pub fn check(&self) -> Result<(), Error> {
        self.nodes
            .iter()
            .try_for_each(|(_, process)| process.check())
    }

    /// Ends it, and takes its tables and the connections it translated from the kernel.
    ///
    /// # Errors
    /// [`Error::Deadline`] when it does not end, [`Error::Failed`] when its tables cannot be removed.
    pub fn stop(self) -> Result<(), Error> {
        for (node, process) in &self.nodes {
            process.terminate(PATIENCE)?;
            node.machine().namespace().nft(CLEAN)?;
            node.machine().exec(["conntrack", "--flush"])?;
        }
        Ok(())
    }
}

/// The size of the kernel's connection table belongs to the whole machine, which a lab leaves alone.
fn configuration(cluster: &Cluster, node: &Node) -> String {
    let ranges = &cluster.topology().cluster_cidrs;
    let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": node.name(),
        "clusterCIDR": ranges.join(","),
        "clientConnection": { "kubeconfig": kubeconfig(cluster.state(), node.spec()) },
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    });
    format!("{config:#}\n")
}
