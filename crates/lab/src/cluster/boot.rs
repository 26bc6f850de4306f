//! How a cluster comes up: what can be done at the same time is.
//!
//! ```text
//! network ─┬─ registry ── images ──────────────────┐
//!          ├─ containerd of every node ──┐         │
//!          ├─ routers, captures ─────────┼─────────┤
//!          └─ etcd ── API server ── Node objects ── kubelets ── all Ready
//! ```

use std::fs;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use serde_json::{Value, json};

use super::{Cluster, Step};
use crate::binaries;
use crate::control_plane::{self, Boot, ControlPlane, Seat};
use crate::error::Error;
use crate::image;
use crate::namespace::Namespace;
use crate::network;
use crate::node::{Membership, Node};
use crate::pki::Authority;
use crate::process::{Launch, Place, Process};
use crate::registry::Registry;
use crate::router::Router;
use crate::state::StateFolder;
use crate::sweep;
use crate::topology::{RouterSpec, Topology};
use crate::wait;

const API_PORT: u16 = 6443;
const REGISTRY_PORT: u16 = 5000;

/// How long the nodes may take to be Ready; on two busy cores it takes 3 to 6 s.
const NODES_READY: Duration = Duration::from_secs(90);

/// Tells of the parts that are done, and remembers them.
struct Progress<'a> {
    start: Instant,
    tell: &'a (dyn Fn(&Step) + Sync),
    steps: Mutex<Vec<Step>>,
}

impl Progress<'_> {
    fn done(&self, what: impl Into<String>) {
        let step = Step {
            what: what.into(),
            after: self.start.elapsed(),
        };
        (self.tell)(&step);
        self.steps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(step);
    }
}

/// Everything that has been started.
struct Parts {
    control_plane: ControlPlane,
    door: Process,
    registry: Registry,
    nodes: Vec<Node>,
    routers: Vec<Router>,
    captures: Vec<Process>,
}

pub(super) fn up(topology: Topology, tell: &(dyn Fn(&Step) + Sync)) -> Result<Cluster, Error> {
    if !geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let progress = Progress {
        start: Instant::now(),
        tell,
        steps: Mutex::default(),
    };
    for name in sweep::repair()? {
        progress.done(format!("left-overs of the lab {name} are gone"));
    }
    let state = StateFolder::create(&topology.name)?;
    let description = serde_json::to_vec_pretty(&topology).map_err(Error::json("topology"))?;
    state.write("topology.json", description)?;
    let authority = Authority::create(&state.folder("pki")?)?;
    network::build(&state, &topology)?;
    progress.done("namespaces and links are there");

    let parts = start(&state, &topology, &authority, &progress)?;
    let mut cluster = Cluster {
        state,
        topology,
        control_plane: parts.control_plane,
        door: parts.door,
        registry: parts.registry,
        nodes: parts.nodes,
        routers: parts.routers,
        captures: parts.captures,
        steps: Vec::new(),
    };
    await_ready(&cluster)?;
    progress.done("all nodes are Ready");
    cluster.steps = progress
        .steps
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(cluster)
}

/// Starts everything; the control plane on this thread, the rest beside it.
fn start(
    state: &StateFolder,
    topology: &Topology,
    authority: &Authority,
    progress: &Progress<'_>,
) -> Result<Parts, Error> {
    let seat = seat(state, topology)?;
    let registry = SocketAddr::new(topology.api_address(), REGISTRY_PORT);
    let membership = Membership {
        authority,
        api: seat.url(),
        registry,
        service_cidr: topology.service_cidrs.first().copied(),
    };
    thread::scope(|scope| {
        let images = scope.spawn(|| fill_registry(state, topology, registry, progress));
        let nodes: Vec<_> = topology
            .nodes
            .iter()
            .map(|spec| {
                let membership = &membership;
                scope.spawn(move || {
                    Node::start(state, &Namespace::of(state, &spec.name), spec, membership)
                })
            })
            .collect();
        let routers: Vec<_> = topology
            .routers
            .iter()
            .map(|spec| scope.spawn(move || start_router(state, spec)))
            .collect();
        let (control_plane, door) = control(state, topology, seat, authority)?;
        progress.done("the API server is ready");
        let mut nodes: Vec<Node> = nodes.into_iter().map(join).collect::<Result<_, _>>()?;
        progress.done("containerd listens on all nodes");
        let objects: Vec<Value> = nodes.iter().map(Node::object).collect();
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        control_plane.apply(&list.to_string())?;
        nodes.iter_mut().try_for_each(|node| node.join(state))?;
        let routers = routers
            .into_iter()
            .map(join)
            .collect::<Result<Vec<_>, _>>()?;
        progress.done("all routers answer");
        let (routers, captures) = routers.into_iter().unzip();
        Ok(Parts {
            control_plane,
            door,
            registry: join(images)?,
            nodes,
            routers,
            captures,
        })
    })
}

fn join<T>(thread: ScopedJoinHandle<'_, Result<T, Error>>) -> Result<T, Error> {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn seat(state: &StateFolder, topology: &Topology) -> Result<Seat, Error> {
    Ok(Seat {
        place: Place::Network(Namespace::of(state, &topology.control.name)),
        address: topology.api_address(),
        port: API_PORT,
        etcd_client: 2379,
        etcd_peer: 2380,
        service_cidrs: topology.service_cidrs.clone(),
        cluster_cidrs: topology.cluster_cidrs.clone(),
        has_nodes: true,
    })
}

/// Starts the control plane, and a door to its API server on a free port of this machine's loopback.
fn control(
    state: &StateFolder,
    topology: &Topology,
    seat: Seat,
    authority: &Authority,
) -> Result<(ControlPlane, Process), Error> {
    let listen = SocketAddr::from(([127, 0, 0, 1], control_plane::free_port()?));
    let launch = Launch::new("door", binaries::own("lab-forward")?)
        .arg(listen.to_string())
        .arg(
            Namespace::of(state, &topology.control.name)
                .path()
                .to_string_lossy(),
        )
        .arg(SocketAddr::new(seat.address, seat.port).to_string());
    let door = Process::start(state, launch)?;
    let boot = Boot {
        seat,
        authority,
        url: format!("https://{listen}"),
    };
    Ok((ControlPlane::boot(state, boot)?, door))
}

fn fill_registry(
    state: &StateFolder,
    topology: &Topology,
    address: SocketAddr,
    progress: &Progress<'_>,
) -> Result<Registry, Error> {
    let namespace = Namespace::of(state, &topology.control.name);
    let registry = Registry::start(state, &namespace, address)?;
    image::push_lab_images(&registry)?;
    progress.done("the images are in the registry");
    Ok(registry)
}

/// Starts a router, and before it a capture of every BGP packet it sees, in two files of 16 MB that take turns.
fn start_router(state: &StateFolder, spec: &RouterSpec) -> Result<(Router, Process), Error> {
    let namespace = Namespace::of(state, &spec.name);
    let capture = Launch::new(capture_name(spec), "tcpdump")
        .args(["-i", "any", "-U", "-Z", "root", "-C", "16", "-W", "2", "-w"])
        .arg(
            state
                .path()
                .join("log")
                .join(format!("{}.pcap", spec.name))
                .to_string_lossy(),
        )
        .args(["tcp", "port", "179"])
        .within(Place::Network(namespace.clone()));
    let capture = Process::start(state, capture)?;
    Ok((Router::start(state, &namespace, spec)?, capture))
}

fn capture_name(spec: &RouterSpec) -> String {
    format!("{}-capture", spec.name)
}

/// Waits until pods can be scheduled everywhere: nodes Ready and without taint, service accounts there.
fn await_ready(cluster: &Cluster) -> Result<(), Error> {
    wait::try_until(NODES_READY, "all nodes are Ready", || {
        cluster
            .processes()
            .into_iter()
            .try_for_each(Process::check)?;
        let text = cluster.kubectl(["get", "nodes", "-o", "json"])?;
        let list: Value = serde_json::from_str(&text).map_err(Error::json("kubectl get nodes"))?;
        let nodes = list["items"].as_array().map_or(&[][..], Vec::as_slice);
        let ready = nodes.iter().filter(|node| is_ready(node)).count();
        Ok((ready == cluster.nodes.len()).then_some(()))
    })?;
    wait::until(NODES_READY, "the default service account is there", || {
        cluster
            .kubectl(["get", "serviceaccount", "default"])
            .ok()
            .map(|_| ())
    })
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    conditions.iter().any(ready) && node["spec"]["taints"].is_null()
}

pub(super) fn attach(name: &str) -> Result<Cluster, Error> {
    let state = StateFolder::attach(name)?;
    let path = state.path().join("topology.json");
    let text = fs::read(&path).map_err(Error::file(&path))?;
    let topology: Topology =
        serde_json::from_slice(&text).map_err(Error::json(path.display().to_string()))?;
    let process = |name: &str| {
        let missing = || Error::NotStanding {
            name: state.name().to_owned(),
        };
        state.process(name)?.ok_or_else(missing)
    };
    let namespace = |machine: &str| Namespace::of(&state, machine);
    let address = SocketAddr::new(topology.api_address(), REGISTRY_PORT);
    let nodes = topology
        .nodes
        .iter()
        .map(|spec| Node::attach(&state, &namespace(&spec.name), spec));
    let routers = topology
        .routers
        .iter()
        .map(|spec| Router::attach(&state, &namespace(&spec.name), spec));
    let captures = topology
        .routers
        .iter()
        .map(|spec| process(&capture_name(spec)));
    Ok(Cluster {
        control_plane: ControlPlane::attach(&state)?,
        door: process("door")?,
        registry: Registry::attach(&state, &namespace(&topology.control.name), address)?,
        nodes: nodes.collect::<Result<_, _>>()?,
        routers: routers.collect::<Result<_, _>>()?,
        captures: captures.collect::<Result<_, _>>()?,
        steps: Vec::new(),
        topology: topology.clone(),
        state: state.clone(),
    })
}
