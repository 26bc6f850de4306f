//! The Kubernetes objects we read, at one moment. Data only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use api::{
    CiliumBGPAdvertisement, CiliumBGPClusterConfig, CiliumBGPNodeConfig,
    CiliumBGPNodeConfigOverride, CiliumBGPPeerConfig,
};
use ipnet::IpNet;

/// All objects a program reads, by name. A program that does not follow a kind leaves its map empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Kubernetes nodes.
    pub nodes: BTreeMap<String, Arc<NodeFacts>>,
    /// CiliumNodes; `None` where Cilium's CRD does not exist.
    pub cilium_nodes: Option<BTreeMap<String, Arc<NodeFacts>>>,
    /// CiliumBGPClusterConfigs.
    pub cluster_configs: BTreeMap<String, Arc<CiliumBGPClusterConfig>>,
    /// CiliumBGPPeerConfigs.
    pub peer_configs: BTreeMap<String, Arc<CiliumBGPPeerConfig>>,
    /// CiliumBGPAdvertisements.
    pub advertisements: BTreeMap<String, Arc<CiliumBGPAdvertisement>>,
    /// CiliumBGPNodeConfigs.
    pub node_configs: BTreeMap<String, Arc<CiliumBGPNodeConfig>>,
    /// CiliumBGPNodeConfigOverrides.
    pub overrides: BTreeMap<String, Arc<CiliumBGPNodeConfigOverride>>,
    /// Names of the Secrets in the BGP secrets namespace.
    pub secrets: BTreeSet<String>,
}

/// What we need to know of a Node or a CiliumNode, parsed once at the edge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Pod CIDRs of the node: `spec.podCIDRs` of a Node, `spec.ipam.podCIDRs` of a CiliumNode, in order. Text that
    /// is no CIDR is left out.
    pub pod_cidrs: Vec<IpNet>,
    /// Addresses of type InternalIP, in order.
    pub internal_addresses: Vec<IpAddr>,
}
