//! A whole lab: control plane, registry, nodes, routers and hosts, joined as a [`Topology`] says.

mod boot;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::binaries::HELM;
use crate::cgroup;
use crate::command::{self, Output};
use crate::control_plane::ControlPlane;
use crate::error::Error;
use crate::machine::Machine;
use crate::namespace::Namespace;
use crate::network::SWITCH;
use crate::node::Node;
use crate::process::{Place, Process};
use crate::registry::Registry;
use crate::router::Router;
use crate::state::StateFolder;
use crate::topology::Topology;

/// A running cluster. Dropping it removes everything it made, unless it was [left
/// standing](Cluster::leave_standing).
#[derive(Debug)]
pub struct Cluster {
    state: StateFolder,
    topology: Topology,
    control_plane: ControlPlane,
    door: Process,
    registry: Registry,
    nodes: Vec<Node>,
    routers: Vec<Router>,
    captures: Vec<Process>,
    steps: Vec<Step>,
}

/// A part of the boot that is done.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is true now.
    pub what: String,
    /// How long after the start of the boot.
    pub after: Duration,
}

impl Cluster {
    /// Makes a topology true: returns when all nodes are Ready, all routers answer and the lab's images can be
    /// pulled. Before, it repairs what labs of dead owners left.
    ///
    /// # Errors
    /// When it is not root, a program is missing, or a part does not come up; what was started is removed.
    pub fn up(topology: Topology) -> Result<Self, Error> {
        Self::up_telling(topology, &|_| {})
    }

    /// As [`Cluster::up`], and calls `tell` for every part that is done.
    ///
    /// # Errors
    /// As [`Cluster::up`].
    pub fn up_telling(topology: Topology, tell: &(dyn Fn(&Step) + Sync)) -> Result<Self, Error> {
        boot::up(topology, tell)
    }

    /// A handle to a lab that was left standing. Dropping it changes nothing.
    ///
    /// # Errors
    /// [`Error::NotStanding`] when there is none of that name.
    pub fn attach(name: &str) -> Result<Self, Error> {
        boot::attach(name)
    }

    /// Lets the lab outlive this program; [`sweep::down`](crate::sweep::down) takes it down.
    ///
    /// # Errors
    /// [`Error::File`] when that cannot be written down.
    pub fn leave_standing(self) -> Result<(), Error> {
        self.state.leave_standing()
    }

    /// What it was made from.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The folder with everything it keeps.
    pub fn state(&self) -> &StateFolder {
        &self.state
    }

    /// The parts of the boot with their times, in the order in which they were done.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// etcd, API server, controller manager and scheduler.
    pub fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// Where images are pushed.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// All nodes, in the topology's order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node by name.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn node(&self, name: &str) -> Result<&Node, Error> {
        named(&self.nodes, Node::name, name)
    }

    /// All routers, in the topology's order.
    pub fn routers(&self) -> &[Router] {
        &self.routers
    }

    /// A router by name.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn router(&self, name: &str) -> Result<&Router, Error> {
        named(&self.routers, Router::name, name)
    }

    /// Any machine by name: control, node, router or host.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn machine(&self, name: &str) -> Result<Machine, Error> {
        if let Ok(node) = self.node(name) {
            return Ok(node.machine().clone());
        }
        let known = self.topology.machines();
        if !known.contains(&name) {
            let known = known.into_iter().map(str::to_owned).collect();
            return Err(Error::Unknown {
                name: name.to_owned(),
                known,
            });
        }
        let namespace = Namespace::of(&self.state, name);
        Ok(Machine::new(
            name,
            namespace.clone(),
            Place::Network(namespace),
        ))
    }

    /// The namespace of the bridges that are the subnets.
    pub fn switch(&self) -> Namespace {
        Namespace::of(&self.state, SWITCH)
    }

    /// Runs a program (the first word) on a machine to its end, whatever that is.
    ///
    /// # Errors
    /// [`Error::Unknown`] or [`Error::Spawn`].
    pub fn exec<A: AsRef<OsStr>>(
        &self,
        machine: &str,
        words: impl IntoIterator<Item = A>,
    ) -> Result<Output, Error> {
        self.machine(machine)?.exec(words)
    }

    /// A kubeconfig of a cluster administrator, good for kubectl, helm and client libraries on this machine: its
    /// server is a port of the loopback.
    pub fn kubeconfig(&self) -> &Path {
        self.control_plane.kubeconfig()
    }

    /// Runs kubectl, which must succeed, and gives what it printed.
    ///
    /// # Errors
    /// [`Error::Failed`] with what kubectl complains about.
    pub fn kubectl<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<String, Error> {
        self.control_plane.kubectl(arguments)
    }

    /// `kubectl apply -f -`.
    ///
    /// # Errors
    /// [`Error::Failed`] with what kubectl complains about.
    pub fn apply(&self, manifest: &str) -> Result<String, Error> {
        self.control_plane.apply(manifest)
    }

    /// A helm command as administrator, with folders of its own.
    ///
    /// # Errors
    /// [`Error::NotSetUp`] when helm is missing.
    pub fn helm_command(&self) -> Result<Command, Error> {
        let mut command = Command::new(HELM.binary("helm")?);
        command.env("KUBECONFIG", self.kubeconfig());
        for (variable, folder) in [
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
        ] {
            command.env(variable, self.state.path().join("helm").join(folder));
        }
        Ok(command)
    }

    /// Runs helm, which must succeed, and gives what it printed.
    ///
    /// # Errors
    /// [`Error::Failed`] with what helm complains about.
    pub fn helm<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<String, Error> {
        command::text(self.helm_command()?.args(arguments))
    }

    /// The version 2 control group of a node, with `name` in place of the node's name; empty where this machine has no such hierarchy. The
    /// nodes share it, and each has a part: on a machine of its own it would have all.
    ///
    /// # Errors
    /// [`Error::File`] when the mounts cannot be read.
    ///
    /// # Panics
    /// When the cluster has no node.
    pub fn cgroup_of(&self, name: &str) -> Result<String, Error> {
        let node = self.nodes.first().expect("a cluster has nodes");
        let group = node.unified_cgroup()?.unwrap_or_default();
        Ok(group.to_string_lossy().replace(node.name(), name))
    }

    /// The number of the first process of a running container, as this machine counts processes: what faults
    /// kill or freeze, and what `nsenter --target` enters.
    ///
    /// # Errors
    /// [`Error::Failed`] when there is no such pod, [`Error::Unknown`] when the container does not run.
    pub fn container_pid(&self, namespace: &str, pod: &str, container: &str) -> Result<u32, Error> {
        let path = format!(
            "jsonpath={{.spec.nodeName}} {{.status.containerStatuses[?(@.name==\"{container}\")].containerID}}"
        );
        let answer = self.kubectl(["get", "pod", "-n", namespace, pod, "-o", &path])?;
        let unknown = || Error::Unknown {
            name: format!("{pod}/{container}"),
            known: Vec::new(),
        };
        let (node, id) = answer
            .trim()
            .split_once(" containerd://")
            .ok_or_else(unknown)?;
        let group = cgroup::find(self.node(node)?.cgroup(), id)?.ok_or_else(unknown)?;
        let path = group.join("cgroup.procs");
        let pids = fs::read_to_string(&path).map_err(Error::file(path))?;
        pids.lines()
            .next()
            .and_then(|line| line.parse().ok())
            .ok_or_else(unknown)
    }

    /// All programs of the lab outside pods.
    pub fn processes(&self) -> Vec<&Process> {
        let mut processes = self.control_plane.processes();
        processes.extend([&self.door, self.registry.process()]);
        processes.extend(self.nodes.iter().flat_map(Node::processes));
        processes.extend(self.routers.iter().flat_map(Router::processes));
        processes.extend(&self.captures);
        processes
    }
}

fn named<'a, T>(all: &'a [T], name_of: fn(&T) -> &str, name: &str) -> Result<&'a T, Error> {
    let unknown = || Error::Unknown {
        name: name.to_owned(),
        known: all.iter().map(|one| name_of(one).to_owned()).collect(),
    };
    all.iter()
        .find(|one| name_of(one) == name)
        .ok_or_else(unknown)
}
