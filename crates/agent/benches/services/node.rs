//! A control plane and a node without pods, in a network namespace with a BPF file system and a control group of their own.

use std::fs;
use std::path::{Path, PathBuf};

use lab::control_plane::ControlPlane;
use lab::namespace::Namespace;
use lab::state::{Record, StateFolder};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::Result;

/// The node's address.
pub(crate) const ADDRESS: &str = "192.0.2.1";

/// Where the agent runs.
pub(crate) struct Node {
    /// The API server it reads; it listens on the namespace's loopback.
    pub(crate) plane: ControlPlane,
    /// Mounted for the bench's thread and what it starts, for nobody else.
    pub(crate) bpffs: PathBuf,
    /// The control group whose sockets are translated.
    pub(crate) cgroup: PathBuf,
}

impl Node {
    /// Where the agent pins its maps.
    pub(crate) fn maps(&self) -> PathBuf {
        let version = format!("v{}", lb::SCHEMA);
        self.bpffs.join("tombolo").join(version).join("maps")
    }
}

/// Runs a bench on a thread of its own in the node's namespaces. All goes when it ends.
pub(crate) fn at_a_node<T: Send>(bench: impl FnOnce(&Node) -> Result<T> + Send) -> Result<T> {
    let state = StateFolder::create(&format!("services-{}", std::process::id()))?;
    let namespace = Namespace::create(&state, "node")?;
    // The other end of the node's only wire is where nobody answers.
    namespace.ip(&format!(
        "link set lo up\n\
         link add eth0 type veth peer name wire\n\
         address add {ADDRESS}/24 dev eth0\n\
         link set eth0 up\n\
         link set wire up"
    ))?;
    let bpffs = state.folder("bpf")?;
    let cgroup = cgroup(&state)?;
    namespace.run(|| {
        mount_privately(&bpffs)?;
        let plane = ControlPlane::start("services")?;
        // Endpoints are made here, of pods that do not exist.
        for process in plane.processes() {
            if process.name() == "kube-controller-manager" {
                process.kill()?;
            }
        }
        for definition in api::crd::custom_resource_definitions() {
            plane.apply(&api::crd::manifest(&definition).to_string())?;
        }
        let established = "wait --for=condition=Established crd --all --timeout=30s";
        plane.kubectl(established.split(' '))?;
        bench(&Node {
            plane,
            bpffs,
            cgroup,
        })
    })?
}

fn mount_privately(bpffs: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("bpf"), bpffs, Some("bpf"), MsFlags::empty(), none)?;
    Ok(())
}

/// A control group without processes, in the hierarchy of version 2.
fn cgroup(state: &StateFolder) -> Result<PathBuf> {
    let unified = Path::new("/sys/fs/cgroup/unified");
    let top = if unified.exists() {
        unified
    } else {
        Path::new("/sys/fs/cgroup")
    };
    let name = format!("tombolo-{}", state.name());
    state.record(&Record::Cgroup(name.clone()))?;
    let path = top.join(name);
    fs::create_dir(&path)?;
    Ok(path)
}
