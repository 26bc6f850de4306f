//! What we offer in OPEN, and what two OPENs make of a session.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::config::{InstanceConfig, PeerConfig};
use crate::family::{Afi, Family};
use crate::wire::iana::OpenSubcode;
use crate::wire::{
    Capabilities, DecodeContext, EXTENDED_MAXIMUM_LENGTH, GracefulRestartCapability, HostName,
    MAXIMUM_LENGTH, Notification, Open, PeerKind,
};

/// What the software version capability says.
const SOFTWARE: &str = "tombolo";
/// Shortest send hold time (RFC 9687 section 3.1: the greater of eight minutes and twice the hold time).
const SEND_HOLD_MINIMUM: Duration = Duration::from_secs(480);

/// What both sides agreed on; fixed for the life of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Negotiated {
    /// eBGP or iBGP.
    pub(crate) kind: PeerKind,
    /// The peer's AS.
    pub(crate) asn: u32,
    /// The peer's identifier.
    pub(crate) router_id: Ipv4Addr,
    /// Hold time in seconds, 0 for none.
    pub(crate) hold_time: u16,
    /// Keepalive interval in seconds before jitter, 0 for none.
    pub(crate) keepalive: u16,
    /// Families both offered, in our order.
    pub(crate) families: Vec<Family>,
    /// AS numbers take four octets in AS_PATH (RFC 6793).
    pub(crate) four_octet: bool,
    /// Longest message we may send (RFC 8654).
    pub(crate) max_message: usize,
    /// Families whose next hop may be IPv6 although they are not (RFC 8950).
    pub(crate) extended_next_hop: Vec<Family>,
    /// Refreshes are delimited (RFC 7313).
    pub(crate) enhanced_refresh: bool,
    /// The peer keeps its forwarding over a restart, and we keep its routes meanwhile.
    pub(crate) graceful_restart: Option<PeerRestart>,
    /// How the peer's UPDATEs are read.
    pub(crate) decode: DecodeContext,
}

/// The peer's side of graceful restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerRestart {
    /// Both sides set the N bit: NOTIFICATION and hold time count as restarts too (RFC 8538).
    pub(crate) notification: bool,
    /// How long to wait for the peer to return.
    pub(crate) restart_time: Duration,
    /// Negotiated families it restarts gracefully, each with whether forwarding was preserved.
    pub(crate) families: Vec<(Family, bool)>,
}

impl Negotiated {
    /// Hold time, unless there is none.
    pub(crate) fn hold(&self) -> Option<Duration> {
        (self.hold_time > 0).then(|| Duration::from_secs(self.hold_time.into()))
    }

    /// Keepalive interval before jitter, unless there is none.
    pub(crate) fn keepalive(&self) -> Option<Duration> {
        (self.keepalive > 0).then(|| Duration::from_secs(self.keepalive.into()))
    }

    /// How long the peer may read nothing. Without a hold time the peers agreed not to watch each other, but a peer
    /// that stopped reading still has to be let go some day, so the eight minutes hold even then.
    pub(crate) fn send_hold(&self) -> Duration {
        SEND_HOLD_MINIMUM.max(2 * Duration::from_secs(self.hold_time.into()))
    }

    /// Whether a NOTIFICATION leaves routes standing, so that only Hard Reset takes them away (RFC 8538).
    pub(crate) fn survives_notification(&self) -> bool {
        self.graceful_restart
            .as_ref()
            .is_some_and(|restart| restart.notification)
    }
}

/// The OPEN we send. `restarting` sets the R bit; the F bit is always set, because what we originate is forwarded by
/// the node's CNI, which no restart of ours touches (RFC 4724 section 3).
pub(crate) fn open(instance: &InstanceConfig, config: &PeerConfig, restarting: bool) -> Open {
    let extended_next_hop = if config.families.contains(&Family::IPV4_UNICAST) {
        vec![(Family::IPV4_UNICAST, Afi::Ipv6)]
    } else {
        Vec::new()
    };
    Open {
        asn: instance.local_asn,
        hold_time: config.hold_time,
        router_id: instance.router_id,
        capabilities: Capabilities {
            multiprotocol: config.families.clone(),
            route_refresh: true,
            enhanced_route_refresh: true,
            extended_message: true,
            four_octet_asn: Some(instance.local_asn),
            extended_next_hop,
            graceful_restart: config
                .graceful_restart
                .map(|restart| GracefulRestartCapability {
                    restarting,
                    notification: true,
                    restart_time: restart.restart_time,
                    families: config
                        .families
                        .iter()
                        .map(|&family| (family, true))
                        .collect(),
                }),
            host_name: instance.host_name.as_ref().map(|host| HostName {
                host: host.to_string(),
                domain: String::new(),
            }),
            software_version: Some(SOFTWARE.to_owned()),
            unknown: Vec::new(),
        },
    }
}

/// Checks the peer's OPEN against what was configured, in the order of RFC 4271 section 6.2, and intersects.
///
/// # Errors
/// The NOTIFICATION the peer gets.
pub(crate) fn negotiate(
    instance: &InstanceConfig,
    config: &PeerConfig,
    theirs: &Open,
) -> Result<Negotiated, Notification> {
    if config.peer_asn.is_some_and(|asn| asn != theirs.asn) {
        return Err(Notification::open(OpenSubcode::BadPeerAs));
    }
    let kind = if theirs.asn == instance.local_asn {
        PeerKind::Internal
    } else {
        PeerKind::External
    };
    // RFC 6286 section 2.2: identifiers are unique within an AS only.
    if kind == PeerKind::Internal && theirs.router_id == instance.router_id {
        return Err(Notification::open(OpenSubcode::BadBgpIdentifier));
    }
    let capabilities = &theirs.capabilities;
    let families: Vec<Family> = config
        .families
        .iter()
        .copied()
        .filter(|family| capabilities.families().contains(family))
        .collect();
    // RFC 5492 section 3: without a common family the session could carry nothing.
    if families.is_empty() {
        let wanted = Capabilities {
            multiprotocol: config.families.clone(),
            ..Capabilities::default()
        };
        return Err(Notification::unsupported_capability(wanted.encode()));
    }
    let hold_time = config.hold_time.min(theirs.hold_time);
    Ok(Negotiated {
        kind,
        asn: theirs.asn,
        router_id: theirs.router_id,
        hold_time,
        keepalive: applied_keepalive(config, hold_time),
        four_octet: capabilities.four_octet_asn.is_some(),
        max_message: if capabilities.extended_message {
            EXTENDED_MAXIMUM_LENGTH
        } else {
            MAXIMUM_LENGTH
        },
        extended_next_hop: families
            .iter()
            .copied()
            .filter(|family| {
                family.afi == Afi::Ipv4
                    && capabilities
                        .extended_next_hop
                        .contains(&(*family, Afi::Ipv6))
            })
            .collect(),
        enhanced_refresh: capabilities.enhanced_route_refresh,
        graceful_restart: config
            .graceful_restart
            .and(capabilities.graceful_restart.as_ref())
            .map(|restart| peer_restart(restart, &families)),
        decode: DecodeContext {
            four_octet: capabilities.four_octet_asn.is_some(),
            peer_kind: kind,
            families: families.clone(),
            local_asn: instance.local_asn,
            // RFC 4271 section 6.3 leaves the check to us; it would silence every route server.
            first_asn: None,
            // RFC 9774 section 3; inside our own AS the sender answers for it.
            reject_as_sets: kind == PeerKind::External,
        },
        families,
    })
}

/// The configured interval where the configured hold time won, as with Cilium; a third of the peer's shorter hold
/// time at most otherwise (RFC 4271 section 4.4), but never more than one KEEPALIVE per second.
fn applied_keepalive(config: &PeerConfig, hold_time: u16) -> u16 {
    let third = (hold_time / 3).max(1);
    match (hold_time, config.keepalive) {
        (0, _) => 0,
        (_, 0) => third,
        (hold_time, configured) if hold_time == config.hold_time => configured,
        (_, configured) => configured.min(third),
    }
}

fn peer_restart(restart: &GracefulRestartCapability, negotiated: &[Family]) -> PeerRestart {
    PeerRestart {
        notification: restart.notification,
        restart_time: Duration::from_secs(restart.restart_time.into()),
        families: restart
            .families
            .iter()
            .copied()
            .filter(|(family, _)| negotiated.contains(family))
            .collect(),
    }
}

#[cfg(test)]
mod tests;
