//! `CiliumBGPClusterConfig`: which nodes speak BGP to whom.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::{self, Condition};
use crate::crd::{Column, Difference};
use crate::ip_address;
use crate::selector::LabelSelector;

/// Peerings of the nodes that a selector selects.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cilium.io",
    version = "v2",
    kind = "CiliumBGPClusterConfig",
    plural = "ciliumbgpclusterconfigs",
    shortname = "cbgpcluster",
    category = "cilium",
    category = "ciliumbgp",
    status = "ClusterConfigStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Which nodes speak BGP to whom. The operator makes a CiliumBGPNodeConfig of it for each selected node."
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterConfigSpec {
    /// Selects nodes by their labels. Absent or empty, it selects every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
    /// BGP speakers that run on each selected node.
    #[schemars(
        length(min = 1, max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub bgp_instances: Vec<Instance>,
}

/// A BGP speaker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Name of the speaker, unique within the list.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// Autonomous system number of the speaker. May be left to a CiliumBGPNodeConfigOverride; a speaker without it
    /// does not run.
    #[serde(rename = "localASN", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = u32::MAX))]
    pub local_asn: Option<u32>,
    /// TCP port to listen on. Absent, the speaker only connects and does not listen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = u16::MAX))]
    pub local_port: Option<u16>,
    /// Routers to peer with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub peers: Vec<Peer>,
}

/// A router to peer with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Name of the peer, unique within the list.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// IP address of the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = ip_address::pattern()))]
    pub peer_address: Option<String>,
    /// Autonomous system number of the peer; 0 accepts the one the peer announces.
    #[serde(rename = "peerASN", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = u32::MAX), extend("default" = 0))]
    pub peer_asn: Option<u32>,
    /// How to find the peer's address, instead of peerAddress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_discovery: Option<AutoDiscovery>,
    /// Settings of the peering, shared between peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_config_ref: Option<PeerConfigReference>,
}

impl Peer {
    /// The peer's ASN, 0 where none is written: accept the one the peer's OPEN carries.
    #[must_use]
    pub fn peer_asn(&self) -> u32 {
        self.peer_asn.unwrap_or(0)
    }
}

/// How to find a peer's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutoDiscovery {
    /// Way to find it.
    pub mode: DiscoveryMode,
    /// Settings of mode DefaultGateway. The schema does not demand them in that mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_gateway: Option<DefaultGateway>,
}

/// Way to find a peer's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DiscoveryMode {
    /// The peer is the node's default gateway.
    DefaultGateway,
}

/// Which default gateway is the peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DefaultGateway {
    /// Family of the default route whose gateway it is.
    pub address_family: AddressFamily,
}

/// IP version of a default route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AddressFamily {
    /// `0.0.0.0/0`.
    Ipv4,
    /// `::/0`.
    Ipv6,
}

/// Names a CiliumBGPPeerConfig.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct PeerConfigReference {
    /// Name of the CiliumBGPPeerConfig.
    pub name: String,
}

/// What the operator says of a CiliumBGPClusterConfig.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterConfigStatus {
    /// `NoMatchingNode`, `MissingPeerConfigs` and `ConflictingClusterConfig`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::list_schema")]
    pub conditions: Vec<Condition>,
}

pub(crate) const COLUMNS: &[Column] = &[
    Column::AGE,
    Column::integer(
        "ASN",
        ".spec.bgpInstances[*].localASN",
        "Local ASN of the first BGP instance that has one",
    ),
    Column::string(
        "No Node",
        r#".status.conditions[?(@.type=="cilium.io/NoMatchingNode")].status"#,
        "True where the selector selects no node",
    ),
    Column::string(
        "Missing Peer Config",
        r#".status.conditions[?(@.type=="cilium.io/MissingPeerConfigs")].status"#,
        "True where a referenced CiliumBGPPeerConfig does not exist",
    ),
    Column::string(
        "Conflict",
        r#".status.conditions[?(@.type=="cilium.io/ConflictingClusterConfig")].status"#,
        "True where a selected node belongs to another CiliumBGPClusterConfig",
    ),
    Column::string(
        "Problem",
        r#".status.conditions[?(@.status=="True")].message"#,
        "Message of the first condition that is True",
    ),
    Column::string(
        "Node Selector",
        ".spec.nodeSelector",
        "Which nodes are selected; empty selects all",
    )
    .wide(),
    Column::string(
        "Instance",
        ".spec.bgpInstances[*].name",
        "First BGP instance",
    )
    .wide(),
    Column::string("Peer", ".spec.bgpInstances[*].peers[*].name", "First peer").wide(),
    Column::string(
        "Peer Address",
        ".spec.bgpInstances[*].peers[*].peerAddress",
        "First peer's address",
    )
    .wide(),
];

/// `v2alpha1` has no automatic discovery, and a reference could name another group and kind.
pub(crate) const V2ALPHA1: &[Difference] = &[
    Difference::Without(".spec.bgpInstances[].peers[].autoDiscovery"),
    Difference::With(
        ".spec.bgpInstances[].peers[].peerConfigRef.group",
        r#"{"description": "API group; nothing else is supported.", "type": "string", "default": "cilium.io"}"#,
    ),
    Difference::With(
        ".spec.bgpInstances[].peers[].peerConfigRef.kind",
        r#"{"description": "Kind; nothing else is supported.", "type": "string", "default": "CiliumBGPPeerConfig"}"#,
    ),
];
