//! `CiliumBGPAdvertisement`: what is announced, and with which attributes.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::{Column, Difference};
use crate::selector::LabelSelector;

/// What is announced to peers whose CiliumBGPPeerConfig selects this object by its labels.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cilium.io",
    version = "v2",
    kind = "CiliumBGPAdvertisement",
    plural = "ciliumbgpadvertisements",
    shortname = "cbgpadvert",
    category = "cilium",
    category = "ciliumbgp",
    derive = "PartialEq",
    derive = "Default",
    doc = "What is announced by BGP. A CiliumBGPPeerConfig selects it by its labels, per address family."
)]
pub struct AdvertisementSpec {
    /// Announcements.
    pub advertisements: Vec<Advertisement>,
}

/// An announcement of addresses of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": SERVICE_REQUIRED,
        "message": "service field is required for the 'Service' advertisementType",
    },
    {
        "rule": SERVICE_FORBIDDEN,
        "message": "service field is not allowed for non-'Service' advertisementType",
    },
    {
        "rule": INTERFACE_REQUIRED,
        "message": "interface field is required for the 'Interface' advertisementType",
    },
    {
        "rule": INTERFACE_FORBIDDEN,
        "message": "interface field is not allowed for non-'Interface' advertisementType",
    },
    {
        "rule": SELECTOR_FORBIDDEN,
        "message": "selector field is not allowed for the 'PodCIDR' advertisementType",
    },
]))]
pub struct Advertisement {
    /// What is announced.
    pub advertisement_type: AdvertisementType,
    /// Which addresses of Services; with type Service, and only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceOptions>,
    /// Which device; with type Interface, and only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<InterfaceOptions>,
    /// Which Services or CiliumPodIPPools, by their labels. Absent, none; empty, all. Not with type PodCIDR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Path attributes of the announced routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
}

const SERVICE_REQUIRED: &str = "self.advertisementType != 'Service' || has(self.service)";
const SERVICE_FORBIDDEN: &str = "self.advertisementType == 'Service' || !has(self.service)";
const INTERFACE_REQUIRED: &str = "self.advertisementType != 'Interface' || has(self.interface)";
const INTERFACE_FORBIDDEN: &str = "self.advertisementType == 'Interface' || !has(self.interface)";
const SELECTOR_FORBIDDEN: &str = "self.advertisementType != 'PodCIDR' || !has(self.selector)";

/// What is announced.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum AdvertisementType {
    /// Pod CIDRs of the node.
    #[serde(rename = "PodCIDR")]
    PodCidr,
    /// CIDRs the node holds of multi-pool IPAM pools.
    #[serde(rename = "CiliumPodIPPool")]
    CiliumPodIpPool,
    /// Addresses of Services.
    Service,
    /// Addresses of a network device.
    Interface,
}

/// Which addresses of Services are announced, and how they are aggregated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceOptions {
    /// Types of addresses.
    #[schemars(length(min = 1))]
    pub addresses: Vec<ServiceAddressType>,
    /// Prefix length to aggregate IPv4 addresses to. Absent, each is announced on its own, as a /32.
    #[serde(
        rename = "aggregationLengthIPv4",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(range(min = 0, max = 31))]
    pub aggregation_length_ipv4: Option<u8>,
    /// Prefix length to aggregate IPv6 addresses to. Absent, each is announced on its own, as a /128.
    #[serde(
        rename = "aggregationLengthIPv6",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(range(min = 0, max = 127))]
    pub aggregation_length_ipv6: Option<u8>,
}

/// Type of an address of a Service.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum ServiceAddressType {
    /// Load balancer addresses, from its status.
    #[serde(rename = "LoadBalancerIP")]
    LoadBalancerIp,
    /// Cluster addresses.
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    /// External addresses, from its spec.
    #[serde(rename = "ExternalIP")]
    ExternalIp,
}

/// Which network device's addresses are announced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceOptions {
    /// Name of the device.
    pub name: String,
}

/// Path attributes of announced routes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attributes {
    /// Communities to attach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub communities: Option<Communities>,
    /// Local preference towards internal peers. Not sent to external ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_preference: Option<i64>,
}

/// Communities of announced routes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Communities {
    /// Standard communities (RFC 1997): 65000:100, or one number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub standard: Vec<StandardCommunity>,
    /// Standard communities by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub well_known: Vec<WellKnownCommunity>,
    /// Large communities (RFC 8092): 65000:100:50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub large: Vec<LargeCommunity>,
}

/// Decimal numbers of 16 and of 32 bits, exactly: no leading zero, no overflow.
const DECIMAL_16: &str =
    "([0-9]|[1-9][0-9]{1,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";
const DECIMAL_32: &str = "([0-9]|[1-9][0-9]{1,8}|[1-3][0-9]{9}|4[01][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}\
    |4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[01][0-9]{2}|42949672[0-8][0-9]|429496729[0-5])";

/// A standard community as written: two 16-bit numbers with a colon, or one of 32 bits.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
#[schemars(extend("pattern" = format!("^{DECIMAL_32}$|^{DECIMAL_16}:{DECIMAL_16}$")))]
pub struct StandardCommunity(pub String);

impl StandardCommunity {
    /// The 32 bits on the wire (RFC 1997); `None` for text that the schema refuses.
    #[must_use]
    pub fn value(&self) -> Option<u32> {
        let Some((asn, value)) = self.0.split_once(':') else {
            return decimal(&self.0);
        };
        let (asn, value): (u16, u16) = (decimal(asn)?, decimal(value)?);
        Some(u32::from(asn) << 16 | u32::from(value))
    }
}

/// A large community as written: three 32-bit numbers with colons.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
#[schemars(extend("pattern" = format!("^{DECIMAL_32}:{DECIMAL_32}:{DECIMAL_32}$")))]
pub struct LargeCommunity(pub String);

impl LargeCommunity {
    /// Global administrator and the two data parts (RFC 8092 section 3); `None` for text that the schema refuses.
    #[must_use]
    pub fn value(&self) -> Option<[u32; 3]> {
        let mut parts = self.0.split(':').map(decimal);
        let value = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(value)
    }
}

/// A number in the one spelling the patterns admit: `FromStr` alone would take `+1` and `01` too.
fn decimal<N: std::str::FromStr + ToString>(text: &str) -> Option<N> {
    text.parse()
        .ok()
        .filter(|number: &N| number.to_string() == text)
}

/// A standard community with a name in IANA's registry.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum WellKnownCommunity {
    /// 0x00000000: no restriction.
    Internet,
    /// 0xffff0000: planned maintenance (RFC 8326).
    PlannedShut,
    /// 0xffff0001: accept own routes (RFC 7611).
    AcceptOwn,
    /// 0xffff0002.
    RouteFilterTranslatedV4,
    /// 0xffff0003.
    RouteFilterV4,
    /// 0xffff0004.
    RouteFilterTranslatedV6,
    /// 0xffff0005.
    RouteFilterV6,
    /// 0xffff0006: stale by long-lived graceful restart (RFC 9494).
    LlgrStale,
    /// 0xffff0007: no long-lived graceful restart (RFC 9494).
    NoLlgr,
    /// 0xffff029a: discard the traffic (RFC 7999).
    Blackhole,
    /// 0xffffff01: not beyond the neighbouring system (RFC 1997).
    NoExport,
    /// 0xffffff02: to no peer (RFC 1997).
    NoAdvertise,
    /// 0xffffff03: to no external peer (RFC 1997).
    NoExportSubconfed,
    /// 0xffffff04: not to bilateral peers (RFC 3765).
    NoPeer,
}

impl WellKnownCommunity {
    /// The 32 bits on the wire.
    #[must_use]
    pub fn value(self) -> u32 {
        match self {
            Self::Internet => 0x0000_0000,
            Self::PlannedShut => 0xffff_0000,
            Self::AcceptOwn => 0xffff_0001,
            Self::RouteFilterTranslatedV4 => 0xffff_0002,
            Self::RouteFilterV4 => 0xffff_0003,
            Self::RouteFilterTranslatedV6 => 0xffff_0004,
            Self::RouteFilterV6 => 0xffff_0005,
            Self::LlgrStale => 0xffff_0006,
            Self::NoLlgr => 0xffff_0007,
            Self::Blackhole => 0xffff_029a,
            Self::NoExport => 0xffff_ff01,
            Self::NoAdvertise => 0xffff_ff02,
            Self::NoExportSubconfed => 0xffff_ff03,
            Self::NoPeer => 0xffff_ff04,
        }
    }
}

pub(crate) const COLUMNS: &[Column] = &[
    Column::AGE,
    Column::string(
        "Pod CIDR",
        r#".spec.advertisements[?(@.advertisementType=="PodCIDR")].advertisementType"#,
        "Shown where pod CIDRs are announced",
    ),
    Column::string(
        "Service",
        r#".spec.advertisements[?(@.advertisementType=="Service")].service.addresses"#,
        "Types of Service addresses announced",
    ),
    Column::string(
        "Pod Pool",
        r#".spec.advertisements[?(@.advertisementType=="CiliumPodIPPool")].advertisementType"#,
        "Shown where CIDRs of pod IP pools are announced",
    ),
    Column::string(
        "Interface",
        r#".spec.advertisements[?(@.advertisementType=="Interface")].interface.name"#,
        "Device whose addresses are announced",
    ),
    Column::string(
        "Labels",
        ".metadata.labels",
        "What a CiliumBGPPeerConfig selects it by",
    ),
    Column::string(
        "Selector",
        ".spec.advertisements[*].selector",
        "First selector",
    )
    .wide(),
    Column::string(
        "Attributes",
        ".spec.advertisements[*].attributes",
        "First path attributes",
    )
    .wide(),
];

/// `v2alpha1` does not know devices, and let a service stand beside any type.
pub(crate) const V2ALPHA1: &[Difference] = &[
    Difference::Without(".spec.advertisements[].interface"),
    Difference::WithoutValue(".spec.advertisements[].advertisementType", "Interface"),
    Difference::WithoutRule(".spec.advertisements[]", SERVICE_FORBIDDEN),
    Difference::WithoutRule(".spec.advertisements[]", INTERFACE_REQUIRED),
    Difference::WithoutRule(".spec.advertisements[]", INTERFACE_FORBIDDEN),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standard_community_has_the_value_its_text_says() {
        let rows = [
            ("0", Some(0)),
            ("65535", Some(65535)),
            ("4294967295", Some(u32::MAX)),
            ("65000:99", Some(65000 << 16 | 99)),
            ("0:0", Some(0)),
            ("65535:65535", Some(u32::MAX)),
            ("4294967296", None),
            ("65536:0", None),
            ("0:65536", None),
            ("01:1", None),
            ("+1:1", None),
            ("1:1:1", None),
            (":", None),
            ("", None),
        ];
        for (text, value) in rows {
            assert_eq!(StandardCommunity(text.into()).value(), value, "{text:?}");
        }
    }

    #[test]
    fn a_large_community_has_the_value_its_text_says() {
        let rows = [
            ("0:0:0", Some([0, 0, 0])),
            ("4294967295:1:2", Some([u32::MAX, 1, 2])),
            ("1:2", None),
            ("1:2:3:4", None),
            ("1:2:4294967296", None),
            ("1:02:3", None),
            ("", None),
        ];
        for (text, value) in rows {
            assert_eq!(LargeCommunity(text.into()).value(), value, "{text:?}");
        }
    }
}
