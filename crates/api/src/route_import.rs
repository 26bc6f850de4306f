//! `BGPRouteImport`: which learned routes go into the kernels of which nodes.

use std::num::NonZeroU16;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::Column;
use crate::selector::LabelSelector;

/// The routing table `main` (`RT_TABLE_MAIN`, `linux/rtnetlink.h`).
pub const MAIN_TABLE: u32 = 254;

/// Tables that are not for routes of a routing protocol: unspecified, `compat`, `default`, `local` (`linux/rtnetlink.h`). The
/// schema says the same.
pub const REFUSED_TABLES: [u32; 4] = [0, 252, 253, 255];

/// A number that `rt_protos` gives to nobody. What it calls `bgp` is 186, whose routes FRR takes for its own.
pub const DEFAULT_PROTOCOL: u8 = 215;

/// Protocol numbers whose routes others make and remove as theirs: the kernel's (redirect, kernel, boot, router
/// advertisement), a person's (static), and the host's own configuration (DHCP). The schema says the same.
pub const REFUSED_PROTOCOLS: [u8; 7] = [0, 1, 2, 3, 4, 9, 16];

/// Behind what FRR (20) and before what BIRD (32) installs, so that neither's routes have our key.
pub const DEFAULT_METRIC: u32 = 30;

/// As many as routers commonly install.
pub const DEFAULT_MAXIMUM_PATHS: NonZeroU16 = NonZeroU16::new(16).expect("16 is not 0");

/// Learned routes that the selected nodes install in their kernel.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tombolo.io",
    version = "v1alpha1",
    kind = "BGPRouteImport",
    plural = "bgprouteimports",
    shortname = "bgpimport",
    category = "tombolo",
    derive = "PartialEq",
    derive = "Default",
    doc = "Which routes learned by BGP go into the kernels of which nodes. Without one, none does. What a node installs and what it refuses stands in the condition tombolo.io/RoutesImported of its CiliumBGPNodeConfig."
)]
#[serde(rename_all = "camelCase")]
pub struct RouteImportSpec {
    /// Selects nodes by their labels. Absent or empty, it selects every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
    /// Names of the BGP instances whose routes count; those of all where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 16),
        inner(length(min = 1, max = 255)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub instances: Option<Vec<String>>,
    /// Names of the peers whose routes count; those of all where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 256),
        inner(length(min = 1, max = 255)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub peers: Option<Vec<String>>,
    /// Families whose routes are installed; both where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 2),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["afi", "safi"])
    )]
    pub families: Option<Vec<RouteFamily>>,
    /// Rules in order: the first that matches a route's prefix decides, and what none matches is not installed. Whatever
    /// they say, these are never installed: this node's pod CIDRs and service CIDRs, what lies in them, addresses of this
    /// node and of this cluster's Services, networks the node is connected to, loopback, link-local and multicast. What
    /// lies in a connected network needs a rule whose own cidr lies in it too; a default route needs a rule that matches
    /// nothing else, with maxLength 0.
    #[schemars(
        length(min = 1, max = 256),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub rules: Vec<PrefixRule>,
    /// Routing table. Not 252, 253 or 255, which are the kernel's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        range(min = 1, max = u32::MAX),
        extend(
            "default" = MAIN_TABLE,
            "x-kubernetes-validations" = [{
                "rule": "!(self in [252, 253, 255])",
                "message": "tables 252 (compat), 253 (default) and 255 (local) are not for learned routes",
            }]
        )
    )]
    pub table: Option<u32>,
    /// Metric of the routes; of routes to one prefix the kernel takes the one with the least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = u32::MAX), extend("default" = DEFAULT_METRIC))]
    pub metric: Option<u32>,
    /// Protocol number of the routes, by which they are known as ours. `ip route` says `proto bgp` for 186, which can be chosen where
    /// no FRR runs on the nodes: it takes routes of 186 for its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        range(min = 5, max = 255),
        extend(
            "default" = DEFAULT_PROTOCOL,
            "format" = "int32",
            "x-kubernetes-validations" = [{
                "rule": "!(self in [9, 16])",
                "message": "protocols 9 (router advertisements) and 16 (DHCP) belong to others",
            }]
        )
    )]
    pub protocol: Option<u8>,
    /// Next hops of one route at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256), extend("default" = DEFAULT_MAXIMUM_PATHS.get()))]
    pub maximum_paths: Option<u16>,
}

impl RouteImportSpec {
    /// Routing table, `main` where none is written.
    #[must_use]
    pub fn table(&self) -> u32 {
        self.table.unwrap_or(MAIN_TABLE)
    }

    /// Metric, 30 where none is written.
    #[must_use]
    pub fn metric(&self) -> u32 {
        self.metric.unwrap_or(DEFAULT_METRIC)
    }

    /// Protocol number, 215 where none is written.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.protocol.unwrap_or(DEFAULT_PROTOCOL)
    }

    /// Next hops of one route at most, 16 where nothing is written.
    #[must_use]
    pub fn maximum_paths(&self) -> u16 {
        self.maximum_paths.unwrap_or(DEFAULT_MAXIMUM_PATHS.get())
    }

    /// Families, both where none is written.
    #[must_use]
    pub fn effective_families(&self) -> &[RouteFamily] {
        const BOTH: [RouteFamily; 2] = [
            RouteFamily {
                afi: RouteAfi::Ipv4,
                safi: RouteSafi::Unicast,
            },
            RouteFamily {
                afi: RouteAfi::Ipv6,
                safi: RouteSafi::Unicast,
            },
        ];
        self.families.as_deref().unwrap_or(&BOTH)
    }
}

/// A family whose routes a kernel can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct RouteFamily {
    /// Address family.
    pub afi: RouteAfi,
    /// Subsequent address family.
    pub safi: RouteSafi,
}

/// Address family of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RouteAfi {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Subsequent address family of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RouteSafi {
    /// Unicast forwarding.
    Unicast,
}

/// Prefixes that lie in one prefix and have a length between two bounds, and what becomes of their routes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!isCIDR(self.cidr) || !has(self.minLength) || self.minLength >= cidr(self.cidr).prefixLength()",
        "message": "minLength must not be less than the length of cidr",
    },
    {
        "rule": "!isCIDR(self.cidr) || !has(self.maxLength) || self.maxLength >= cidr(self.cidr).prefixLength()",
        "message": "maxLength must not be less than the length of cidr",
    },
    {
        "rule": "!has(self.minLength) || !has(self.maxLength) || self.minLength <= self.maxLength",
        "message": "maxLength must not be less than minLength",
    },
    {
        "rule": "!isCIDR(self.cidr) || cidr(self.cidr).ip().family() == 6 || ((!has(self.minLength) || self.minLength <= 32) && (!has(self.maxLength) || self.maxLength <= 32))",
        "message": "a prefix of IPv4 has at most 32 bits",
    },
]))]
pub struct PrefixRule {
    /// Matches this prefix and all that lie in it.
    #[schemars(length(max = 43), extend("x-kubernetes-validations" = [
        {
            "rule": "isCIDR(self)",
            "message": "must be a prefix of IPv4 or IPv6, such as 10.0.0.0/8",
        },
        {
            "rule": "!isCIDR(self) || cidr(self) == cidr(self).masked()",
            "message": "must have no bits set behind its length",
        },
    ]))]
    pub cidr: String,
    /// Matches only prefixes of at least this length; of the length of cidr where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 128), extend("format" = "int32"))]
    pub min_length: Option<u8>,
    /// Matches only prefixes of at most this length; of any where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 128), extend("format" = "int32"))]
    pub max_length: Option<u8>,
    /// What becomes of routes to matching prefixes.
    pub action: Action,
}

/// What becomes of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// It is installed.
    Accept,
    /// It is not installed.
    Reject,
}

pub(crate) const COLUMNS: &[Column] = &[
    Column::string(
        "Accepts",
        r#".spec.rules[?(@.action=="Accept")].cidr"#,
        "Prefix of the first rule that accepts",
    ),
    Column::integer("Table", ".spec.table", "Routing table"),
    Column::integer("Protocol", ".spec.protocol", "Protocol number"),
    Column::integer("Metric", ".spec.metric", ""),
    Column::integer(
        "Paths",
        ".spec.maximumPaths",
        "Next hops of one route at most",
    ),
    Column::AGE,
    Column::string(
        "Node Selector",
        ".spec.nodeSelector",
        "Which nodes are selected; empty selects all",
    )
    .wide(),
    Column::string(
        "Instances",
        ".spec.instances",
        "BGP instances whose routes count; empty means all",
    )
    .wide(),
    Column::string(
        "Peers",
        ".spec.peers",
        "Peers whose routes count; empty means all",
    )
    .wide(),
    Column::string("Rules", ".spec.rules", "All rules").wide(),
];
