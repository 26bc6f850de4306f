//! `CiliumNode`: the part we read where Cilium runs beside us. Its definition is Cilium's and never installed by us.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// What Cilium says of a node, as far as BGP needs it.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "cilium.io",
    version = "v2",
    kind = "CiliumNode",
    plural = "ciliumnodes",
    schema = "disabled",
    derive = "PartialEq",
    derive = "Default",
    doc = "A node as Cilium sees it, in part. Its labels are those of the Node."
)]
pub struct CiliumNodeSpec {
    /// Addresses of the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<NodeAddress>,
    /// Address management.
    #[serde(default)]
    pub ipam: Ipam,
}

/// An address of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, `CiliumInternalIP`.
    #[serde(rename = "type", default)]
    pub type_: String,
    /// The address.
    #[serde(default)]
    pub ip: String,
}

/// Address management of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipam {
    /// Pod CIDRs of the node.
    #[serde(rename = "podCIDRs", default, skip_serializing_if = "Vec::is_empty")]
    pub pod_cidrs: Vec<String>,
    /// Multi-pool IPAM; absent in other modes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pools: Option<Pools>,
}

/// Multi-pool IPAM of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pools {
    /// What the node holds of each CiliumPodIPPool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allocated: Vec<AllocatedPool>,
}

/// What a node holds of one CiliumPodIPPool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocatedPool {
    /// Name of the CiliumPodIPPool.
    pub pool: String,
    /// CIDRs of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cidrs: Vec<String>,
}
