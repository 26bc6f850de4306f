//! What the load balancer is told at its start.

use std::path::PathBuf;

use crate::settings::Settings;

/// Where the load balancer works and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Folder in a BPF file system that is ours alone; made if it is not there.
    pub pin_root: PathBuf,
    /// Control group whose processes' sockets are translated. `None`: the top of the hierarchy, wherever it is mounted.
    pub cgroup: Option<PathBuf>,
    /// Whether sockets are translated at all.
    pub sockets: bool,
    /// Interfaces that clients outside the cluster come by.
    pub uplinks: Uplinks,
    /// Names of the interfaces that lead to pods, where programs are wanted there: those of sockets that are not translated. `*` or `+` at
    /// the end of a name stands for anything, as in Cilium's `devices`.
    pub pod_interfaces: Vec<String>,
    /// How it behaves.
    pub settings: Settings,
    /// Memory of the machine in bytes, by which the tables are sized. `None`: as the kernel says.
    pub memory: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pin_root: PathBuf::from("/sys/fs/bpf/tombolo"),
            cgroup: None,
            sockets: true,
            uplinks: Uplinks::Detect,
            pod_interfaces: Vec::new(),
            settings: Settings::default(),
            memory: None,
        }
    }
}

/// Which interfaces are uplinks. Only Ethernet can be: the programs read its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uplinks {
    /// Whatever carries an address of this node (`Wish::node_addresses`); and network cards, bonds, VLANs and the like with a global address of
    /// their own. Not by themselves: pod interfaces, veth, bridges and tunnels, which as a rule lead to pods.
    Detect,
    /// Those with these names; `*` or `+` at the end stands for anything.
    Named(Vec<String>),
}
