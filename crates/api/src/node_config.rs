//! `CiliumBGPNodeConfig`: what one node does, written by the operator, and how it fares, written by its agent.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster_config::{AutoDiscovery, PeerConfigReference};
use crate::condition::{self, Condition};
use crate::crd::{Column, Difference};
use crate::family::{Afi, Family, Safi};
use crate::ip_address;

/// Peerings of one node, whose name is the object's name.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cilium.io",
    version = "v2",
    kind = "CiliumBGPNodeConfig",
    plural = "ciliumbgpnodeconfigs",
    shortname = "cbgpnode",
    category = "cilium",
    category = "ciliumbgp",
    status = "NodeConfigStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "BGP peerings of the node of the same name, and their state. Written by the operator and the agent."
)]
#[serde(rename_all = "camelCase")]
pub struct NodeConfigSpec {
    /// BGP speakers of the node.
    #[schemars(
        length(min = 1, max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub bgp_instances: Vec<Instance>,
}

/// A BGP speaker of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Name of the speaker, unique within the list.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// Autonomous system number of the speaker. A speaker without it does not run.
    #[serde(rename = "localASN", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = u32::MAX))]
    pub local_asn: Option<u32>,
    /// BGP identifier in the form of an IPv4 address. Absent, the agent takes the node's IPv4 address.
    #[serde(rename = "routerID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "ipv4"))]
    pub router_id: Option<String>,
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
    pub name: String,
    /// IP address of the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = ip_address::pattern()))]
    pub peer_address: Option<String>,
    /// Autonomous system number of the peer; 0 accepts the one the peer announces.
    #[serde(rename = "peerASN", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = u32::MAX))]
    pub peer_asn: Option<u32>,
    /// How to find the peer's address, instead of peerAddress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_discovery: Option<AutoDiscovery>,
    /// Source address of the connection. Absent, the kernel chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = ip_address::pattern()))]
    pub local_address: Option<String>,
    /// Settings of the peering.
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

/// How the peerings of a node fare.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeConfigStatus {
    /// State of the BGP speakers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub bgp_instances: Vec<InstanceStatus>,
    /// `BGPReconcileError`, and `tombolo.io/RoutesImported` where learned routes are installed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::list_schema")]
    pub conditions: Vec<Condition>,
}

/// State of a BGP speaker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// Name of the speaker.
    pub name: String,
    /// Autonomous system number it runs with.
    #[serde(rename = "localASN", default, skip_serializing_if = "Option::is_none")]
    pub local_asn: Option<i64>,
    /// State of its peerings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub peers: Vec<PeerStatus>,
}

/// State of a peering.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// Name of the peer.
    pub name: String,
    /// IP address of the peer.
    pub peer_address: String,
    /// Autonomous system number of the peer; the announced one where the configured one is 0.
    #[serde(rename = "peerASN", default, skip_serializing_if = "Option::is_none")]
    pub peer_asn: Option<i64>,
    /// State of the session: unknown, idle, connect, active, open_sent, open_confirm or established.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub peering_state: Option<PeeringState>,
    /// Timers of the session, as negotiated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timers: Option<TimersStatus>,
    /// When the session was established (RFC 3339, UTC); only while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub established_time: Option<String>,
    /// Routes exchanged, per address family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub route_count: Vec<RouteCount>,
}

/// State of a session (RFC 4271 section 8.2.2).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum PeeringState {
    /// Refuses connections.
    Idle,
    /// Connects.
    Connect,
    /// Waits before it connects again.
    Active,
    /// Has sent its OPEN.
    OpenSent,
    /// Has received an OPEN, waits for a KEEPALIVE.
    OpenConfirm,
    /// Exchanges routes.
    Established,
    /// Not known, or a word that is none of the others.
    #[default]
    #[serde(other)]
    Unknown,
}

impl PeeringState {
    /// Its name in the resources.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connect => "connect",
            Self::Active => "active",
            Self::OpenSent => "open_sent",
            Self::OpenConfirm => "open_confirm",
            Self::Established => "established",
            Self::Unknown => "unknown",
        }
    }
}

/// Timers of a session, as negotiated, in seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimersStatus {
    /// Hold time: the smaller of both sides' values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_hold_time_seconds: Option<i32>,
    /// Keepalive time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_keepalive_seconds: Option<i32>,
}

/// Routes exchanged with a peer in one address family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteCount {
    /// Address family.
    pub afi: Afi,
    /// Subsequent address family.
    pub safi: Safi,
    /// Prefixes received from the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<i32>,
    /// Prefixes advertised to the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertised: Option<i32>,
}

impl RouteCount {
    /// The family that is counted.
    #[must_use]
    pub fn family(&self) -> Family {
        Family {
            afi: self.afi,
            safi: self.safi,
        }
    }
}

pub(crate) const COLUMNS: &[Column] = &[
    Column::AGE,
    Column::integer(
        "ASN",
        ".spec.bgpInstances[0].localASN",
        "Local ASN of the first BGP instance",
    ),
    Column::string(
        "Peer",
        ".status.bgpInstances[0].peers[0].name",
        "First peer",
    ),
    Column::string(
        "State",
        ".status.bgpInstances[0].peers[0].peeringState",
        "State of its session",
    ),
    Column::date(
        "Since",
        ".status.bgpInstances[0].peers[0].establishedTime",
        "How long it is established",
    ),
    Column::integer(
        "Received",
        ".status.bgpInstances[0].peers[0].routeCount[*].received",
        "Prefixes received from it in its first family",
    ),
    Column::integer(
        "Advertised",
        ".status.bgpInstances[0].peers[0].routeCount[*].advertised",
        "Prefixes advertised to it in its first family",
    ),
    Column::string(
        "Down",
        r#".status.bgpInstances[*].peers[?(@.peeringState!="established")].name"#,
        "First of all peers whose session is not established",
    ),
    Column::string(
        "Error",
        r#".status.conditions[?(@.type=="cilium.io/BGPReconcileError")].status"#,
        "True where part of the configuration cannot be carried out",
    ),
    Column::string(
        "Imported",
        r#".status.conditions[?(@.type=="tombolo.io/RoutesImported")].status"#,
        "True where the learned routes that a BGPRouteImport accepts are in the kernel",
    ),
    Column::string(
        "Peer Address",
        ".status.bgpInstances[0].peers[0].peerAddress",
        "Address of the first peer",
    )
    .wide(),
    Column::string(
        "Router ID",
        ".spec.bgpInstances[*].routerID",
        "First router ID the operator has set",
    )
    .wide(),
    Column::string(
        "Routes",
        ".status.bgpInstances[0].peers[0].routeCount",
        "Routes of the first peer",
    )
    .wide(),
    Column::string(
        "Problem",
        r#".status.conditions[?(@.type=="cilium.io/BGPReconcileError")].message"#,
        "What cannot be carried out",
    )
    .wide(),
    Column::string(
        "Import",
        r#".status.conditions[?(@.type=="tombolo.io/RoutesImported")].message"#,
        "How many learned routes are in the kernel, and which are not",
    )
    .wide(),
];

/// `v2alpha1` has no automatic discovery, and a reference could name another group and kind.
pub(crate) const V2ALPHA1: &[Difference] = crate::cluster_config::V2ALPHA1;
