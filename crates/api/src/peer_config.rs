//! `CiliumBGPPeerConfig`: settings of a peering, shared between peers.

use std::time::Duration;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::{self, Condition};
use crate::crd::{Column, Difference};
use crate::family::{Afi, Family, Safi};
use crate::selector::LabelSelector;

/// Settings of a peering. Methods give the values the agent uses, defaults filled in: the API server fills them in
/// only where the object around them is written.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cilium.io",
    version = "v2",
    kind = "CiliumBGPPeerConfig",
    plural = "ciliumbgppeerconfigs",
    shortname = "cbgppeer",
    category = "cilium",
    category = "ciliumbgp",
    status = "PeerConfigStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Settings of a BGP peering, shared by the peers whose peerConfigRef names it."
)]
#[serde(rename_all = "camelCase")]
pub struct PeerConfigSpec {
    /// TCP connection to the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// Timers of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timers: Option<Timers>,
    /// Name of the Secret, in the namespace for BGP secrets, that holds the TCP MD5 password. Absent, the session has
    /// no password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_secret_ref: Option<String>,
    /// Graceful restart (RFC 4724). Absent, it is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graceful_restart: Option<GracefulRestart>,
    /// Time to live of packets to an external peer: how many hops away it may be. Ignored for internal peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = u8::MAX), extend("default" = 1, "format" = "int32"))]
    pub ebgp_multihop: Option<u8>,
    /// Address families to negotiate, and what to advertise in each. Absent or empty: IPv6 and IPv4 unicast, both
    /// without advertisements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<PeerFamily>,
}

/// TCP connection to the peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transport {
    /// TCP port of the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = u16::MAX), extend("default" = 179))]
    pub peer_port: Option<u16>,
    /// Network device of the node whose address is the source of the connection. Absent, the kernel chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_interface: Option<String>,
}

/// Timers of a session (RFC 4271 section 10), in seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.keepAliveTimeSeconds <= self.holdTimeSeconds",
    "message": "keepAliveTimeSeconds can not be larger than holdTimeSeconds",
}]))]
pub struct Timers {
    /// How long to wait before a failed connection is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = i32::MAX), extend("default" = 120, "format" = "int32"))]
    pub connect_retry_time_seconds: Option<u32>,
    /// How long the peer may be silent before the session ends. The smaller of both sides' values is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 3, max = u16::MAX), extend("default" = 90))]
    pub hold_time_seconds: Option<u16>,
    /// How long to be silent at most. Not more than holdTimeSeconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = u16::MAX), extend("default" = 30))]
    pub keep_alive_time_seconds: Option<u16>,
}

/// Graceful restart (RFC 4724).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GracefulRestart {
    /// Whether to ask the peer to keep our routes while the agent restarts.
    pub enabled: bool,
    /// How long the peer shall keep them, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4095), extend("default" = 120))]
    pub restart_time_seconds: Option<u16>,
}

/// An address family to negotiate, and what to advertise in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerFamily {
    /// Address family.
    pub afi: Afi,
    /// Subsequent address family.
    pub safi: Safi,
    /// Selects CiliumBGPAdvertisements by their labels. Absent, nothing is advertised; empty, all of them are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertisements: Option<LabelSelector>,
}

impl PeerFamily {
    /// The family, without what is advertised in it.
    #[must_use]
    pub fn family(&self) -> Family {
        Family {
            afi: self.afi,
            safi: self.safi,
        }
    }
}

/// What the operator says of a CiliumBGPPeerConfig.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PeerConfigStatus {
    /// `MissingAuthSecret`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::list_schema")]
    pub conditions: Vec<Condition>,
}

impl PeerConfigSpec {
    /// TCP port of the peer; 179 where none is written.
    #[must_use]
    pub fn peer_port(&self) -> u16 {
        self.transport
            .as_ref()
            .and_then(|transport| transport.peer_port)
            .unwrap_or(179)
    }

    /// Device whose address is the source of the connection.
    #[must_use]
    pub fn source_interface(&self) -> Option<&str> {
        self.transport.as_ref()?.source_interface.as_deref()
    }

    /// Wait before a failed connection is tried again; 120 s where none is written.
    #[must_use]
    pub fn connect_retry_time(&self) -> Duration {
        self.seconds(|timers| timers.connect_retry_time_seconds, 120)
    }

    /// Hold time to offer; 90 s where none is written. At least 3 s and a whole number of seconds up to 65,535.
    #[must_use]
    pub fn hold_time(&self) -> Duration {
        self.seconds(|timers| timers.hold_time_seconds.map(u32::from), 90)
    }

    /// Keepalive time; 30 s where none is written.
    #[must_use]
    pub fn keep_alive_time(&self) -> Duration {
        self.seconds(|timers| timers.keep_alive_time_seconds.map(u32::from), 30)
    }

    /// Restart time to announce, 120 s where none is written; `None` where graceful restart is off.
    #[must_use]
    pub fn restart_time(&self) -> Option<Duration> {
        let restart = self
            .graceful_restart
            .as_ref()
            .filter(|restart| restart.enabled)?;
        Some(Duration::from_secs(
            restart.restart_time_seconds.unwrap_or(120).into(),
        ))
    }

    /// Time to live towards an external peer; 1 where none is written.
    #[must_use]
    pub fn ebgp_multihop(&self) -> u8 {
        self.ebgp_multihop.unwrap_or(1)
    }

    /// Families to negotiate. Where none is written: IPv6 unicast, then IPv4 unicast, both without advertisements.
    #[must_use]
    pub fn effective_families(&self) -> Vec<PeerFamily> {
        if !self.families.is_empty() {
            return self.families.clone();
        }
        [Family::IPV6_UNICAST, Family::IPV4_UNICAST]
            .map(|Family { afi, safi }| PeerFamily {
                afi,
                safi,
                advertisements: None,
            })
            .into()
    }

    fn seconds(&self, timer: fn(&Timers) -> Option<u32>, default: u32) -> Duration {
        let written = self.timers.as_ref().and_then(timer);
        Duration::from_secs(written.unwrap_or(default).into())
    }
}

pub(crate) const COLUMNS: &[Column] = &[
    Column::AGE,
    Column::integer(
        "Hold",
        ".spec.timers.holdTimeSeconds",
        "Hold time in seconds; empty means 90",
    ),
    Column::integer(
        "Keepalive",
        ".spec.timers.keepAliveTimeSeconds",
        "Keepalive time in seconds; empty means 30",
    ),
    Column::integer(
        "Multihop",
        ".spec.ebgpMultihop",
        "Hops an external peer may be away",
    ),
    Column::boolean(
        "Graceful Restart",
        ".spec.gracefulRestart.enabled",
        "Whether graceful restart is on",
    ),
    Column::string(
        "Family",
        ".spec.families[*].afi",
        "First address family; empty means IPv6 and IPv4",
    ),
    Column::string(
        "Missing Secret",
        r#".status.conditions[?(@.type=="cilium.io/MissingAuthSecret")].status"#,
        "True where the Secret with the password does not exist",
    ),
    Column::integer(
        "Restart Time",
        ".spec.gracefulRestart.restartTimeSeconds",
        "Restart time in seconds",
    )
    .wide(),
    Column::integer(
        "Port",
        ".spec.transport.peerPort",
        "TCP port of the peer; empty means 179",
    )
    .wide(),
    Column::string("Secret", ".spec.authSecretRef", "Secret with the password").wide(),
    Column::string(
        "Advertisements",
        ".spec.families[*].advertisements",
        "What the first family advertises",
    )
    .wide(),
];

/// `v2alpha1` had a local port, which nothing used, and no source interface.
pub(crate) const V2ALPHA1: &[Difference] = &[
    Difference::With(
        ".spec.transport.localPort",
        r#"{"description": "Ignored.", "type": "integer", "format": "int32", "minimum": 1, "maximum": 65535}"#,
    ),
    Difference::Without(".spec.transport.sourceInterface"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_written_has_the_agents_default() {
        let spec = PeerConfigSpec::default();
        assert_eq!(spec.peer_port(), 179);
        assert_eq!(spec.source_interface(), None);
        assert_eq!(spec.connect_retry_time().as_secs(), 120);
        assert_eq!(spec.hold_time().as_secs(), 90);
        assert_eq!(spec.keep_alive_time().as_secs(), 30);
        assert_eq!(spec.restart_time(), None);
        assert_eq!(spec.ebgp_multihop(), 1);
        let families: Vec<_> = spec
            .effective_families()
            .iter()
            .map(|family| family.family().to_string())
            .collect();
        assert_eq!(families, ["ipv6/unicast", "ipv4/unicast"]);
        assert!(
            spec.effective_families()
                .iter()
                .all(|family| family.advertisements.is_none())
        );
    }

    #[test]
    fn graceful_restart_has_a_time_only_while_it_is_on() {
        let restart = |enabled, restart_time_seconds| PeerConfigSpec {
            graceful_restart: Some(GracefulRestart {
                enabled,
                restart_time_seconds,
            }),
            ..PeerConfigSpec::default()
        };
        assert_eq!(
            restart(true, None).restart_time(),
            Some(Duration::from_secs(120))
        );
        assert_eq!(
            restart(true, Some(15)).restart_time(),
            Some(Duration::from_secs(15))
        );
        assert_eq!(restart(false, Some(15)).restart_time(), None);
    }
}
