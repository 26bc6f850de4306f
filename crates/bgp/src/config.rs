//! What a speaker is told to be, and whom to talk to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use crate::family::Family;
use crate::policy::ExportPolicy;

/// Name of a peer within its instance; the identity under which everything about it is reported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName(pub Arc<str>);

impl fmt::Display for PeerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<&str> for PeerName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

/// What one BGP instance is. A change of any field means a new speaker: sessions cannot survive it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceConfig {
    /// Our AS number, 1..=4294967295 (RFC 6793).
    pub local_asn: u32,
    /// Our BGP identifier, not 0.0.0.0 (RFC 6286).
    pub router_id: Ipv4Addr,
    /// Whether inbound connections are accepted at all (a listener exists).
    pub listens: bool,
    /// Host name for the FQDN capability; `None` leaves the capability out.
    pub host_name: Option<Arc<str>>,
    /// Whether this process took over from an earlier one whose forwarding state survived: the R bit of the
    /// graceful restart capability until End-of-RIB has been sent (RFC 4724 section 4.1).
    pub restarting: bool,
}

/// Graceful restart as offered to a peer (RFC 4724, with the N bit of RFC 8538 always set).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GracefulRestart {
    /// How long the peer should keep our routes, 1..=4095 seconds.
    pub restart_time: u16,
}

/// One peer, complete. Compared as a whole: equal configuration changes nothing.
///
/// What a change does: `export` is applied in place and `connect_retry` from the next attempt on. Every other field is
/// agreed in OPEN or belongs to the connection, so it resets this session alone, with Cease/Other Configuration Change,
/// and dials again at once; where the N bit was agreed the peer keeps our routes meanwhile (RFC 8538). Another
/// `address` is another peer: the old one is told that it is de-configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerConfig {
    /// The peer's address.
    pub address: IpAddr,
    /// TCP port to dial.
    pub port: u16,
    /// Source address of the connection; `None` lets the kernel choose.
    pub local_address: Option<IpAddr>,
    /// The AS the peer must have; `None` accepts what its OPEN says.
    pub peer_asn: Option<u32>,
    /// Offered hold time in seconds: 0 or 3..=65535 (RFC 4271 section 4.2).
    pub hold_time: u16,
    /// Configured keepalive interval in seconds; the applied one never exceeds a third of the negotiated hold
    /// time unless the configured hold time won, as with Cilium.
    pub keepalive: u16,
    /// Time between connection attempts before jitter.
    pub connect_retry: Duration,
    /// TTL towards an eBGP peer, 1..=255; iBGP uses the system's default.
    pub ebgp_ttl: u8,
    /// Families offered.
    pub families: Vec<Family>,
    /// Graceful restart, where offered.
    pub graceful_restart: Option<GracefulRestart>,
    /// What is announced to the peer. RFC 8212: without a matching rule nothing is.
    pub export: Arc<ExportPolicy>,
}

/// What another configuration of the same peer means for its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing is to be done but to remember it.
    InPlace,
    /// What is announced changes.
    Export,
    /// The session has to be negotiated anew; what is announced comes with it.
    Session,
    /// Somebody else is meant.
    Identity,
}

impl PeerConfig {
    /// The most that differs between `self` and `next`.
    pub(crate) fn change(&self, next: &Self) -> Change {
        let Self {
            address,
            port,
            local_address,
            peer_asn,
            hold_time,
            keepalive,
            connect_retry: _,
            ebgp_ttl,
            families,
            graceful_restart,
            export,
        } = self;
        if *address != next.address {
            return Change::Identity;
        }
        let negotiated = *port == next.port
            && *local_address == next.local_address
            && *peer_asn == next.peer_asn
            && *hold_time == next.hold_time
            && *keepalive == next.keepalive
            && *ebgp_ttl == next.ebgp_ttl
            && *families == next.families
            && *graceful_restart == next.graceful_restart;
        match (negotiated, *export == next.export) {
            (false, _) => Change::Session,
            (true, false) => Change::Export,
            (true, true) => Change::InPlace,
        }
    }
}
