//! `CiliumBGPNodeConfigOverride`: what is otherwise on one node.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::{Column, Difference};
use crate::ip_address;

/// Deviations of one node, whose name is the object's name.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cilium.io",
    version = "v2",
    kind = "CiliumBGPNodeConfigOverride",
    plural = "ciliumbgpnodeconfigoverrides",
    shortname = "cbgpnodeoverride",
    category = "cilium",
    category = "ciliumbgp",
    derive = "PartialEq",
    derive = "Default",
    doc = "How the node of the same name deviates from the CiliumBGPClusterConfig that selects it."
)]
#[serde(rename_all = "camelCase")]
pub struct NodeConfigOverrideSpec {
    /// BGP speakers that deviate, by name.
    #[schemars(
        length(min = 1),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub bgp_instances: Vec<Instance>,
}

/// Deviations of a BGP speaker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Name of the speaker in the CiliumBGPClusterConfig.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// BGP identifier, in the form of an IPv4 address.
    #[serde(rename = "routerID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "ipv4"))]
    pub router_id: Option<String>,
    /// TCP port to listen on. The schema sets no bounds, so this may be no port at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_port: Option<i32>,
    /// Peers that deviate, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub peers: Vec<Peer>,
    /// Autonomous system number of the speaker.
    #[serde(rename = "localASN", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = u32::MAX))]
    pub local_asn: Option<u32>,
}

/// Deviations of a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Name of the peer in the CiliumBGPClusterConfig.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// Source address of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = ip_address::pattern()))]
    pub local_address: Option<String>,
    /// Has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_port: Option<i32>,
}

pub(crate) const COLUMNS: &[Column] = &[
    Column::AGE,
    Column::string(
        "Instance",
        ".spec.bgpInstances[*].name",
        "First BGP instance that deviates",
    ),
    Column::string(
        "Router ID",
        ".spec.bgpInstances[*].routerID",
        "First router ID set here",
    ),
    Column::integer(
        "ASN",
        ".spec.bgpInstances[*].localASN",
        "First local ASN set here",
    ),
    Column::integer(
        "Port",
        ".spec.bgpInstances[*].localPort",
        "First port set here",
    ),
    Column::string(
        "Local Address",
        ".spec.bgpInstances[*].peers[*].localAddress",
        "First source address set here",
    ),
];

/// `v2alpha1` is the same.
pub(crate) const V2ALPHA1: &[Difference] = &[];
