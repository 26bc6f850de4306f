//! A real Kubernetes cluster with routers, in network namespaces of one Linux machine, as a library.
//!
//! Two things can be had:
//!
//! - [`ControlPlane`](control_plane::ControlPlane): etcd, API server and controller manager on free ports of
//!   the loopback, for tests that cross only the API. Needs no privilege; any number side by side.
//! - [`Cluster`](cluster::Cluster): nodes with kubelet, containerd and pods, a scheduler, a registry, routers
//!   (FRR, BIRD, GoBGP) and plain hosts, connected as a [`Topology`](topology::Topology) says. Needs root.
//!
//! ```no_run
//! let cluster = lab::cluster::Cluster::up(lab::topology::published())?;
//! cluster.kubectl(["apply", "-f", "webpod.yaml"])?;
//! let routes = cluster.exec("router", ["ip", "route"])?.stdout;
//! # Ok::<(), lab::error::Error>(())
//! ```
//!
//! # What is real and what is not
//!
//! Everything that runs is the program that production runs, with its own network stack, mounts and control
//! groups. Nothing is simulated; what the machine lacks (other kernels, other machines) is lacking here too.
//!
//! # Nothing is left behind
//!
//! What a lab makes is written down in its [state folder](state::StateFolder) before or as it is made, every
//! program carries the folder's path in its environment, and the folder is locked while its owner lives. So
//! [`sweep`] finds all of it after a panic, ctrl-c or `kill -9`, and the start of any lab repairs what a dead
//! owner left. Nothing is ever found by the pattern of a name.

pub mod binaries;
mod cgroup;
pub mod cluster;
pub mod command;
pub mod control_plane;
pub mod diagnostics;
pub mod error;
pub mod fault;
pub mod image;
pub mod kube_proxy;
pub mod machine;
pub mod namespace;
pub mod network;
pub mod node;
pub mod oci;
pub mod pki;
pub mod process;
pub mod raw;
pub mod registry;
pub mod router;
pub mod state;
pub mod sweep;
pub mod topology;
pub mod wait;
