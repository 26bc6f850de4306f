//! A cluster on which Tombolo is installed as its users install it: image in a registry, two charts by helm.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::lab::cluster::Cluster;
use ::lab::error::Error;
use ::lab::image;
use ::lab::node::Node;
use ::lab::process::Process;
use ::lab::router::{Router, State};
use ::lab::wait;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Failure, manifests};

/// The namespace that Tombolo is installed in.
pub const NAMESPACE: &str = "tombolo-system";
/// The reference of the image in the lab's registry, without the host.
const IMAGE: &str = "tombolo/tombolo:lab";
/// The resources that a reset removes, those first that others depend on.
const OURS: &str = "ciliumbgpclusterconfigs,ciliumbgpnodeconfigoverrides,ciliumbgpadvertisements,ciliumbgppeerconfigs,\
                    ciliumloadbalancerippools,bgprouteimports";
/// How long anything of Kubernetes may take that no scenario measures.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster with Tombolo.
pub struct Lab {
    /// The cluster.
    pub cluster: Cluster,
    values: &'static [&'static str],
    installed: bool,
}

/// A pod of Tombolo's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its only container.
    pub container: String,
    /// Where it runs.
    pub node: String,
    /// Its address.
    pub address: IpAddr,
}

impl Lab {
    /// Puts the image in the folder `image` (an OCI layout) into the registry of a new cluster and installs
    /// both charts, that of the agent with `values` (`key=value`) beside what every lab needs.
    ///
    /// # Errors
    /// When the registry, helm or the cluster refuses, or a pod is not ready in time.
    pub fn new(
        cluster: Cluster,
        image: &Path,
        values: &'static [&'static str],
    ) -> Result<Self, Failure> {
        image::push(cluster.registry(), image, IMAGE)?;
        let mut lab = Self {
            cluster,
            values,
            installed: false,
        };
        lab.install()?;
        Ok(lab)
    }

    /// `helm install` of both charts, unless that is done, until all pods are ready.
    ///
    /// # Errors
    /// When helm says so.
    pub fn install(&mut self) -> Result<(), Failure> {
        if self.installed {
            return Ok(());
        }
        let crds = chart("tombolo-crds");
        self.cluster.helm(
            ["upgrade", "--install", "tombolo-crds"]
                .map(Path::new)
                .into_iter()
                .chain([crds.as_path()]),
        )?;
        self.helm("install", &[])?;
        self.installed = true;
        Ok(())
    }

    /// `helm upgrade` with more values (`key=value`), until all pods are ready.
    ///
    /// # Errors
    /// When helm says so.
    pub fn upgrade(&self, values: &[&str]) -> Result<(), Failure> {
        self.helm("upgrade", values)
    }

    /// `helm uninstall` of the agent and the operator; the chart of the CRDs stays.
    ///
    /// # Errors
    /// When helm says so.
    pub fn uninstall(&mut self) -> Result<(), Failure> {
        self.installed = false;
        self.cluster.helm([
            "uninstall",
            "tombolo",
            "--namespace",
            NAMESPACE,
            "--wait",
            "--timeout",
            "60s",
        ])?;
        Ok(())
    }

    fn helm(&self, verb: &str, values: &[&str]) -> Result<(), Failure> {
        let mut helm = self.cluster.helm_command()?;
        helm.args([verb, "tombolo"]).arg(chart("tombolo"));
        helm.args([
            "--namespace",
            NAMESPACE,
            "--create-namespace",
            "--wait",
            "--timeout",
            "90s",
        ]);
        let api = self.cluster.topology().api_address();
        let (repository, tag) = IMAGE.split_once(':').unwrap_or((IMAGE, "latest"));
        let ours = [
            format!("image.repository=docker.io/{repository}"),
            format!("image.tag={tag}"),
            format!("k8sServiceHost={api}"),
            "k8sServicePort=6443".to_owned(),
            "bgpControlPlane.enabled=true".to_owned(),
            format!(
                "extraArgs={{--cgroup-root={}}}",
                self.cluster.cgroup_of("$(K8S_NODE_NAME)")?
            ),
        ];
        for value in ours
            .iter()
            .map(String::as_str)
            .chain(self.values.iter().copied())
            .chain(values.iter().copied())
        {
            helm.args(["--set", value]);
        }
        ::lab::command::text(&mut helm)?;
        // Helm waits for all pods but as many as may be unavailable.
        self.await_rollout()
    }

    /// Waits until every agent is the newest of its DaemonSet, and ready.
    ///
    /// # Errors
    /// When that takes more than a minute and a half.
    pub fn await_rollout(&self) -> Result<(), Failure> {
        let status = ["rollout", "status", "daemonset/tombolo-agent"];
        let rest = ["--namespace", NAMESPACE, "--timeout=90s"];
        self.cluster.kubectl(status.iter().chain(&rest))?;
        Ok(())
    }

    /// Applies the published workload and waits until every pod of it is ready.
    ///
    /// # Errors
    /// When that takes more than a minute.
    pub fn workload(&self) -> Result<(), Failure> {
        self.cluster.apply(manifests::WEBPOD)?;
        self.cluster
            .kubectl(["rollout", "status", "deployment/webpod", "--timeout=60s"])?;
        self.cluster.kubectl([
            "wait",
            "--for=condition=Ready",
            "pod/curl-pod",
            "--timeout=60s",
        ])?;
        Ok(())
    }

    /// An object, or a list of objects, as `kubectl get -o json` prints it.
    ///
    /// # Errors
    /// When there is none, or it is something else.
    pub fn get<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T, Failure> {
        let text = self
            .cluster
            .kubectl(["get", "-o", "json"].iter().chain(arguments))?;
        serde_json::from_str(&text).map_err(|source| Failure::Object {
            what: arguments.join(" "),
            source,
        })
    }

    /// The items of a list.
    ///
    /// # Errors
    /// As [`Lab::get`].
    pub fn list<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<Vec<T>, Failure> {
        let mut list: Value = self.get(arguments)?;
        let items = list["items"].take();
        serde_json::from_value(items).map_err(|source| Failure::Object {
            what: arguments.join(" "),
            source,
        })
    }

    /// The pods that match the label selector, in the order of their nodes' names.
    ///
    /// # Errors
    /// As [`Lab::get`].
    pub fn pods(&self, namespace: &str, selector: &str) -> Result<Vec<Pod>, Failure> {
        let items: Vec<Value> =
            self.list(&["pods", "--namespace", namespace, "--selector", selector])?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut pods: Vec<Pod> = items
            .iter()
            .filter_map(|item| {
                Some(Pod {
                    name: text(&item["metadata"]["name"]),
                    container: text(&item["spec"]["containers"][0]["name"]),
                    node: text(&item["spec"]["nodeName"]),
                    address: item["status"]["podIP"].as_str()?.parse().ok()?,
                })
            })
            .collect();
        pods.sort_by(|one, other| one.node.cmp(&other.node));
        Ok(pods)
    }

    /// The agent's pod on a node.
    ///
    /// # Errors
    /// When there is none.
    pub fn agent(&self, node: &str) -> Result<Pod, Failure> {
        let pods = self.pods(NAMESPACE, "app.kubernetes.io/component=agent")?;
        let known = pods.iter().map(|pod| pod.node.clone()).collect();
        let found = pods.into_iter().find(|pod| pod.node == node);
        found.ok_or_else(|| {
            Error::Unknown {
                name: format!("agent on {node}"),
                known,
            }
            .into()
        })
    }

    /// The process of the agent on a node, by which the machine knows it; `None` while none runs. Kubernetes is not asked.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn agent_process(&self, node: &Node) -> Result<Option<u32>, Failure> {
        let is_agent = |pid: &u32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim_end() == "tombolo-agent")
        };
        Ok(node.pids()?.into_iter().find(is_agent))
    }

    /// The router of the published manifests.
    ///
    /// # Errors
    /// When the topology has none.
    pub fn router(&self) -> Result<&Router, Failure> {
        Ok(self.cluster.router("router")?)
    }

    /// Starts what is not running. Faults of the network heal when they are dropped.
    fn heal(&self) -> Result<(), Failure> {
        let control_plane = self.cluster.control_plane();
        if self.cluster.kubectl(["get", "--raw", "/readyz"]).is_err() {
            control_plane.stop_api_server()?;
            control_plane.start_api_server()?;
        }
        for router in self.cluster.routers() {
            router.thaw()?;
            if !router.processes().iter().all(Process::is_alive) {
                router.kill()?;
                router.start_again()?;
            }
        }
        Ok(())
    }

    /// Gives the next scenario what the first one found: faults healed, Tombolo installed, none of its
    /// resources there, no session up, the nodes' labels as in the topology.
    ///
    /// # Errors
    /// When one of these does not come true.
    pub fn reset(&mut self) -> Result<(), Failure> {
        self.heal()?;
        self.install()?;
        self.cluster.kubectl(["delete", OURS, "--all", "--wait"])?;
        for node in &self.cluster.topology().nodes {
            let labels = node
                .labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"));
            let words = ["label", "node", &node.name, "--overwrite"].map(str::to_owned);
            self.cluster.kubectl(words.into_iter().chain(labels))?;
        }
        wait::try_until(PATIENCE, "no NodeConfig is left", || {
            let left = self
                .cluster
                .kubectl(["get", "ciliumbgpnodeconfigs", "-o", "name"])?;
            Ok(left.trim().is_empty().then_some(()))
        })?;
        wait::try_until(PATIENCE, "no router has a session", || {
            for router in self.cluster.routers() {
                if router
                    .summary()?
                    .iter()
                    .any(|neighbor| neighbor.state == State::Established)
                {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })?;
        Ok(())
    }
}

/// The folder of a chart of this checkout.
fn chart(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../charts")
        .join(name)
}
