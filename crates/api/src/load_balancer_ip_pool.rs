//! `CiliumLoadBalancerIPPool`: addresses that Services of type LoadBalancer are given.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::{self, Condition};
use crate::crd::{Column, Difference};
use crate::selector::LabelSelector;

/// Ranges of addresses, and the Services that may draw from them.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cilium.io",
    version = "v2",
    kind = "CiliumLoadBalancerIPPool",
    plural = "ciliumloadbalancerippools",
    shortname = "ippools",
    shortname = "ippool",
    shortname = "lbippool",
    shortname = "lbippools",
    category = "cilium",
    status = "LoadBalancerIPPoolStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Addresses that Services of type LoadBalancer are given."
)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerIPPoolSpec {
    /// Services that may draw from the pool; all where it is absent. Beside its own labels a Service has the
    /// labels `io.kubernetes.service.namespace` and `io.kubernetes.service.name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_selector: Option<LabelSelector>,
    /// Whether the first and the last address of each `cidr` of more than two addresses are given out too. They are
    /// where it is absent.
    #[serde(
        rename = "allowFirstLastIPs",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub allow_first_last_ips: Option<AllowFirstLastIPs>,
    /// The ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<Block>,
    /// No Service is given an address any more; those that have one keep it. The API server fills in `false` where it
    /// is absent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(extend("default" = false))]
    pub disabled: bool,
}

/// Whether the first and the last address of a CIDR are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AllowFirstLastIPs {
    /// They are.
    Yes,
    /// They are not.
    No,
}

/// A range of addresses: a CIDR, or from `start` to `stop`. The schema admits more, which `plan` judges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Block {
    /// All addresses of this prefix. Where it is present, `start` and `stop` have no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "cidr"))]
    pub cidr: Option<String>,
    /// First address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Last address; `start` where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
}

/// What the operator says of a pool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadBalancerIPPoolStatus {
    /// Whether the pool conflicts with another, and how many addresses it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::list_schema")]
    pub conditions: Vec<Condition>,
}

pub(crate) const COLUMNS: &[Column] = &[
    Column::boolean("Disabled", ".spec.disabled", ""),
    Column::string(
        "Conflicting",
        r#".status.conditions[?(@.type=="cilium.io/PoolConflict")].status"#,
        "",
    ),
    Column::string(
        "IPs Available",
        r#".status.conditions[?(@.type=="cilium.io/IPsAvailable")].message"#,
        "",
    ),
    Column::AGE,
    Column::string(
        "IPs Used",
        r#".status.conditions[?(@.type=="cilium.io/IPsUsed")].message"#,
        "Addresses that Services have or that are reserved",
    ),
    Column::string(
        "IPs Total",
        r#".status.conditions[?(@.type=="cilium.io/IPsTotal")].message"#,
        "Addresses in all",
    ),
    Column::string(
        "Rejected",
        r#".status.conditions[?(@.type=="tombolo.io/Rejected")].status"#,
        "True where a part of the pool cannot be used",
    ),
    Column::string(
        "Problem",
        r#".status.conditions[?(@.status=="True")].message"#,
        "Message of the first condition that is True",
    ),
    Column::string(
        "Service Selector",
        ".spec.serviceSelector",
        "Which Services may draw from it; empty selects all",
    )
    .wide(),
    Column::string(
        "First And Last",
        ".spec.allowFirstLastIPs",
        "Whether a CIDR's first and last address are given out; empty means Yes",
    )
    .wide(),
    Column::string("CIDR", ".spec.blocks[*].cidr", "First CIDR").wide(),
    Column::string(
        "Start",
        ".spec.blocks[*].start",
        "First address of the first range that is no CIDR",
    )
    .wide(),
];

/// `v2alpha1` is the same.
pub(crate) const V2ALPHA1: &[Difference] = &[];
