//! How the load balancer behaves, apart from what is balanced.

use std::ops::RangeInclusive;

/// Settings that hold for all services. Whoever changes the seed or the greatest ring on one node must change it on all: nodes that
/// differ choose different backends for one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Virtual addresses answer ping.
    pub ping: bool,
    /// ClusterIPs may be used from outside the cluster.
    pub external_cluster_ip: bool,
    /// Only sockets in the host's own network namespace are translated; those of pods go through the packet programs.
    pub host_sockets_only: bool,
    /// Ports at which nodes answer for Services.
    pub node_ports: RangeInclusive<u16>,
    /// Ports that may replace a client's.
    pub snat_ports: RangeInclusive<u16>,
    /// The greatest ring (Maglev), in ordinals: sizes of `lb_abi::RING_SIZES` above it are not used.
    pub maximum_ring: u32,
    /// Seed of rings and of the hash of flows.
    pub hash_seed: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ping: true,
            external_cluster_ip: false,
            host_sockets_only: false,
            node_ports: 30000..=32767,
            snat_ports: 32768..=65535,
            maximum_ring: 16381,
            hash_seed: 0x746f_6d62,
        }
    }
}
