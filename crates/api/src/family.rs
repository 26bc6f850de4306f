//! Address families as the resources name them (RFC 4760 section 2, in GoBGP's spelling).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Address family identifier.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Afi {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// Layer 2 VPN.
    L2vpn,
    /// BGP link state.
    Ls,
    /// Opaque data.
    Opaque,
}

impl Afi {
    /// Its name in the resources.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::L2vpn => "l2vpn",
            Self::Ls => "ls",
            Self::Opaque => "opaque",
        }
    }
}

/// Subsequent address family identifier.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Safi {
    /// Unicast forwarding.
    Unicast,
    /// Multicast forwarding.
    Multicast,
    /// Labelled unicast.
    MplsLabel,
    /// Encapsulation.
    Encapsulation,
    /// Virtual private LAN service.
    Vpls,
    /// Ethernet VPN.
    Evpn,
    /// BGP link state.
    Ls,
    /// Segment routing policy.
    SrPolicy,
    /// Mobile user plane.
    Mup,
    /// Labelled VPN.
    MplsVpn,
    /// Labelled multicast VPN.
    MplsVpnMulticast,
    /// Route target constraints.
    RouteTargetConstraints,
    /// Flow specification.
    FlowspecUnicast,
    /// Flow specification in a VPN.
    FlowspecVpn,
    /// Key and value.
    KeyValue,
}

impl Safi {
    /// Its name in the resources.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unicast => "unicast",
            Self::Multicast => "multicast",
            Self::MplsLabel => "mpls_label",
            Self::Encapsulation => "encapsulation",
            Self::Vpls => "vpls",
            Self::Evpn => "evpn",
            Self::Ls => "ls",
            Self::SrPolicy => "sr_policy",
            Self::Mup => "mup",
            Self::MplsVpn => "mpls_vpn",
            Self::MplsVpnMulticast => "mpls_vpn_multicast",
            Self::RouteTargetConstraints => "route_target_constraints",
            Self::FlowspecUnicast => "flowspec_unicast",
            Self::FlowspecVpn => "flowspec_vpn",
            Self::KeyValue => "key_value",
        }
    }
}

/// An address family with its subsequent identifier. Displayed as `ipv4/unicast`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Family {
    /// Address family.
    pub afi: Afi,
    /// Subsequent address family.
    pub safi: Safi,
}

impl Family {
    /// IPv4 unicast.
    pub const IPV4_UNICAST: Self = Self {
        afi: Afi::Ipv4,
        safi: Safi::Unicast,
    };
    /// IPv6 unicast.
    pub const IPV6_UNICAST: Self = Self {
        afi: Afi::Ipv6,
        safi: Safi::Unicast,
    };
}

impl fmt::Display for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.afi.as_str(), self.safi.as_str())
    }
}
