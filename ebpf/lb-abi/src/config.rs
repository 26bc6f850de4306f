use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What the programs read at every packet and the agent may change at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Config {
    /// Cookie of the host's network namespace (`SO_NETNS_COOKIE`).
    pub host_namespace: u64,
    /// Raised when a route, a neighbour or a backend has gone: flows of another epoch check their backend and next hop again.
    pub epoch: u32,
    /// Seed of the flow hash, equal on all nodes of the cluster.
    pub hash_seed: u32,
    /// Bits of [`config_flags`].
    pub flags: u32,
    /// Seconds after which an idle TCP flow may be forgotten.
    pub tcp_timeout: u32,
    /// The same before its answer came.
    pub syn_timeout: u32,
    /// The same after FIN or RST.
    pub closing_timeout: u32,
    /// The same for UDP.
    pub udp_timeout: u32,
    /// Least NodePort, host order.
    pub node_port_min: u16,
    /// Greatest NodePort, host order.
    pub node_port_max: u16,
    /// Least port that replaces a client's, host order.
    pub snat_port_min: u16,
    /// Greatest port that replaces a client's, host order.
    pub snat_port_max: u16,
    /// Source of packets where the routing table names none of the node's; zeros where there is none.
    pub snat_address4: [u8; 4],
    /// Source of a pod's packets that come back to it.
    pub hairpin_address4: [u8; 4],
    /// See `snat_address4`.
    pub snat_address6: [u8; 16],
    /// See `hairpin_address4`.
    pub hairpin_address6: [u8; 16],
    /// Ticks of the kernel in a second (`CONFIG_HZ`), in which flows are timed. Never 0.
    pub ticks_per_second: u32,
}

const _: () = assert!(size_of::<Config>() == 88);

/// Bits of [`Config::flags`].
pub mod config_flags {
    /// Virtual addresses answer ping.
    pub const PING: u32 = 1;
    /// ClusterIPs may be used from outside.
    pub const EXTERNAL_CLUSTER_IP: u32 = 1 << 1;
    /// Sockets of the host's own namespace only are translated.
    pub const HOST_SOCKETS_ONLY: u32 = 1 << 2;
}
