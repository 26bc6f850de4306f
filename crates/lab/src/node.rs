//! A Kubernetes node: a kubelet and a containerd in namespaces of their own.
//!
//! A node is entered with `nsenter --net=…`, then `unshare --mount --uts`, never with `ip netns exec`: that one
//! mounts a new `/sys`, which hides the control groups, and the kubelet ends. A process that does nothing holds
//! the namespaces; kubelet, containerd and everything that is executed on the node run beside it.

mod files;

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde_json::{Value, json};

use self::files::Surroundings;
use crate::binaries::{self, CNI, CONTAINERD, KUBERNETES};
use crate::cgroup;
use crate::command::{self, Output};
use crate::error::Error;
use crate::machine::Machine;
use crate::namespace::Namespace;
use crate::pki::{Authority, Subject};
use crate::process::{Launch, Place, Process};
use crate::state::{Record, StateFolder};
use crate::topology::NodeSpec;
use crate::wait;

/// How long each of a node's programs may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node.
#[derive(Debug)]
pub struct Node {
    machine: Machine,
    spec: NodeSpec,
    cgroup: String,
    holder: Process,
    containerd: Process,
    kubelet: Option<Process>,
}

/// What a node must know of its cluster.
pub(crate) struct Membership<'a> {
    pub(crate) authority: &'a Authority,
    /// The URL of the API server.
    pub(crate) api: String,
    pub(crate) registry: SocketAddr,
    pub(crate) service_cidr: Option<IpNet>,
}

impl Node {
    /// Makes the namespaces, mounts and control groups, writes the files, and starts containerd. The kubelet
    /// waits for [`Node::join`].
    pub(crate) fn start(
        state: &StateFolder,
        namespace: &Namespace,
        spec: &NodeSpec,
        membership: &Membership<'_>,
    ) -> Result<Self, Error> {
        let cgroup = cgroup_name(state, spec);
        state.record(&Record::Cgroup(cgroup.clone()))?;
        cgroup::create(&cgroup)?;
        let folder = write_files(state, spec, &cgroup, membership)?;
        let holder = hold(state, namespace, spec, &folder)?;
        let place = Place::Beside { pid: holder.pid() };
        let machine = Machine::new(&spec.name, namespace.clone(), place);
        let containerd = start_containerd(state, spec, &folder, &holder)?;
        Ok(Self {
            machine,
            spec: spec.clone(),
            cgroup,
            holder,
            containerd,
            kubelet: None,
        })
    }

    /// A node of a lab that stands.
    pub(crate) fn attach(
        state: &StateFolder,
        namespace: &Namespace,
        spec: &NodeSpec,
    ) -> Result<Self, Error> {
        let process = |role: &str| {
            let missing = || Error::NotStanding {
                name: state.name().to_owned(),
            };
            state
                .process(&format!("{}-{role}", spec.name))?
                .ok_or_else(missing)
        };
        let holder = process("holder")?;
        let place = Place::Beside { pid: holder.pid() };
        Ok(Self {
            machine: Machine::new(&spec.name, namespace.clone(), place),
            spec: spec.clone(),
            cgroup: cgroup_name(state, spec),
            holder,
            containerd: process("containerd")?,
            kubelet: Some(process("kubelet")?),
        })
    }

    /// Starts the kubelet. The API server must have the Node object.
    pub(crate) fn join(&mut self, state: &StateFolder) -> Result<(), Error> {
        let folder = folder(state, &self.spec);
        let addresses: Vec<_> = self
            .spec
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        let launch = Launch::new(
            format!("{}-kubelet", self.spec.name),
            KUBERNETES.binary("kubelet")?,
        )
        .arg(format!(
            "--config={}",
            folder.join("kubelet.json").display()
        ))
        .arg(format!(
            "--kubeconfig={}",
            kubeconfig(state, &self.spec).display()
        ))
        .arg(format!("--hostname-override={}", self.spec.name))
        .arg(format!("--node-ip={}", addresses.join(",")))
        .env("PATH", path()?)
        .within(self.machine.place().clone());
        self.kubelet = Some(Process::start(state, launch)?);
        Ok(())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What it was made from.
    pub fn spec(&self) -> &NodeSpec {
        &self.spec
    }

    /// The node as a place to run programs in.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The kubelet, once it has been started.
    pub fn kubelet(&self) -> Option<&Process> {
        self.kubelet.as_ref()
    }

    /// What runs the pods.
    pub fn containerd(&self) -> &Process {
        &self.containerd
    }

    /// The node's control group in every hierarchy below its mount point. In the version 2 hierarchy it is the
    /// attach point of eBPF programs for this node alone.
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    pub(crate) fn unified_cgroup(&self) -> Result<Option<PathBuf>, Error> {
        Ok(cgroup::unified()?.map(|hierarchy| hierarchy.join(&self.cgroup)))
    }

    /// Runs a program (the first word) to its end as one of the node's own daemons: in its namespaces and in its control group.
    ///
    /// # Errors
    /// [`Error::Spawn`] when it cannot be started, [`Error::File`] when the control group cannot be made.
    pub fn daemon<A: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = A>,
    ) -> Result<Output, Error> {
        let Some(group) = cgroup::daemons(&self.cgroup)? else {
            return self.machine.exec(words);
        };
        let procs = group.join("cgroup.procs");
        let mut command = self.machine.command("sh");
        command.args(["-c", r#"echo $$ > "$0" && exec "$@""#]);
        command::run(command.arg(procs).args(words))
    }

    /// Its programs.
    pub fn processes(&self) -> Vec<&Process> {
        [&self.holder, &self.containerd]
            .into_iter()
            .chain(&self.kubelet)
            .collect()
    }

    /// The numbers of all processes on the node, its pods' included.
    ///
    /// # Errors
    /// [`Error::File`] when `/proc` cannot be read.
    pub fn pids(&self) -> Result<Vec<u32>, Error> {
        let mut pids = cgroup::processes(&self.cgroup)?;
        let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let Some(own) = namespace(self.holder.pid()) else {
            return Ok(pids);
        };
        let entries = fs::read_dir("/proc").map_err(Error::file("/proc"))?;
        let all = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.extend(all.filter(|pid| namespace(*pid).as_ref() == Some(&own)));
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// The Node object as it must be before the kubelet comes: with labels, and with the pod ranges, which the
    /// controller manager would otherwise hand out as it likes.
    pub(crate) fn object(&self) -> Value {
        let spec = &self.spec;
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "name": spec.name, "labels": spec.labels },
            "spec": { "podCIDR": spec.pod_cidrs.first(), "podCIDRs": spec.pod_cidrs },
        })
    }
}

fn cgroup_name(state: &StateFolder, spec: &NodeSpec) -> String {
    format!("tombolo-{}-{}", state.name(), spec.name)
}

fn folder(state: &StateFolder, spec: &NodeSpec) -> PathBuf {
    state.path().join("nodes").join(&spec.name)
}

/// By which the programs of a node reach the API server, as its kubelet.
pub(crate) fn kubeconfig(state: &StateFolder, spec: &NodeSpec) -> PathBuf {
    state
        .path()
        .join("pki")
        .join(format!("{}.kubeconfig", user(spec)))
}

fn user(spec: &NodeSpec) -> String {
    format!("node-{}", spec.name)
}

/// The search path of a node's programs: the shim and `ctr` lie beside containerd, `runc` is the machine's.
fn path() -> Result<String, Error> {
    let folders =
        [CONTAINERD.folder(), KUBERNETES.folder()].map(|folder| folder.display().to_string());
    CONTAINERD.binary("containerd-shim-runc-v2")?;
    Ok(format!(
        "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        folders.join(":")
    ))
}

fn write_files(
    state: &StateFolder,
    spec: &NodeSpec,
    cgroup: &str,
    membership: &Membership<'_>,
) -> Result<PathBuf, Error> {
    let authority = membership.authority;
    let user = user(spec);
    let name = format!("system:node:{}", spec.name);
    let subject = Subject {
        common_name: &name,
        organization: Some("system:nodes"),
    };
    let addresses: Vec<String> = spec.addresses.iter().map(ToString::to_string).collect();
    let leaf = authority.issue(&user, subject, &addresses)?;
    authority.kubeconfig(&user, &membership.api, &leaf)?;
    let relative = Path::new("nodes").join(&spec.name);
    for needed in ["root/run", "root/var/lib", "root/var/log", "containerd"] {
        state.folder(relative.join(needed))?;
    }
    let folder = folder(state, spec);
    let plugins = CNI.folder();
    CNI.binary("ptp")?;
    let around = Surroundings {
        folder: &folder,
        plugins: &plugins,
        registry: membership.registry,
        authority: &authority.certificate(),
        serving: &leaf,
        cgroup,
        service_cidr: membership.service_cidr,
    };
    state.write(relative.join("containerd.toml"), files::containerd(&around))?;
    state.write(
        relative.join("registries/docker.io/hosts.toml"),
        files::mirror(&around),
    )?;
    state.write(
        relative.join("cni/10-lab.conflist"),
        files::cni(spec, &around),
    )?;
    state.write(relative.join("kubelet.json"), files::kubelet(&around))?;
    Ok(folder)
}

/// Starts the process that holds the node's namespaces and waits until its mounts are made.
fn hold(
    state: &StateFolder,
    namespace: &Namespace,
    spec: &NodeSpec,
    folder: &Path,
) -> Result<Process, Error> {
    let cache = binaries::cache();
    let kept = [state.path(), cache.as_path()];
    let script = state.write(folder.join("holder.sh"), files::holder(spec, folder, &kept))?;
    let launch = Launch::new(format!("{}-holder", spec.name), "unshare")
        .args(["--mount", "--uts", "sh"])
        .arg(script.to_string_lossy())
        .within(Place::Network(namespace.clone()));
    let holder = Process::start(state, launch)?;
    let mounted = folder.join("mounted");
    wait::try_until(PATIENCE, &format!("{} has its mounts", spec.name), || {
        holder.check()?;
        Ok(mounted.exists().then_some(()))
    })?;
    Ok(holder)
}

fn start_containerd(
    state: &StateFolder,
    spec: &NodeSpec,
    folder: &Path,
    holder: &Process,
) -> Result<Process, Error> {
    let launch = Launch::new(
        format!("{}-containerd", spec.name),
        CONTAINERD.binary("containerd")?,
    )
    .arg("--config")
    .arg(folder.join("containerd.toml").to_string_lossy())
    .env("PATH", path()?)
    .within(Place::Beside { pid: holder.pid() });
    let containerd = Process::start(state, launch)?;
    let socket = format!("/proc/{}/root/run/containerd/containerd.sock", holder.pid());
    wait::try_until(
        PATIENCE,
        &format!("containerd of {} listens", spec.name),
        || {
            containerd.check()?;
            Ok(UnixStream::connect(&socket).ok().map(|_| ()))
        },
    )?;
    Ok(containerd)
}
