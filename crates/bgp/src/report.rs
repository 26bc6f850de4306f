//! What a peer looks like from outside.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use crate::config::PeerName;
use crate::family::Family;
use crate::wire::notification::Notification;

/// States of RFC 4271 section 8.2.2, as reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionState {
    /// Refusing connections, waiting to start.
    Idle,
    /// A TCP connection is being attempted.
    Connect,
    /// Waiting for the next attempt.
    Active,
    /// OPEN sent, the peer's awaited.
    OpenSent,
    /// Both OPENs seen, KEEPALIVE awaited.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

/// Why a session is not up, or ended last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownReason {
    /// TCP could not be established; the operating system's error number, where there was one.
    ConnectFailed(Option<i32>),
    /// TCP was closed or reset without a NOTIFICATION.
    ConnectionLost,
    /// We sent this.
    NotificationSent(Notification),
    /// The peer sent this.
    NotificationReceived(Notification),
    /// Nothing heard for the hold time (RFC 4271 section 6.5).
    HoldTimerExpired,
    /// The peer read nothing for the send hold time (RFC 9687).
    SendHoldTimerExpired,
    /// Configuration changed or the peer was removed.
    Reconfigured,
    /// This speaker leaves.
    Stopped,
}

impl fmt::Display for DownReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectFailed(None) => {
                formatter.write_str("the connection attempt got no answer")
            }
            Self::ConnectFailed(Some(number)) => {
                write!(
                    formatter,
                    "connection attempt failed: {}",
                    std::io::Error::from_raw_os_error(*number)
                )
            }
            Self::ConnectionLost => {
                formatter.write_str("the connection ended without a NOTIFICATION")
            }
            Self::NotificationSent(notification) => write!(formatter, "sent {notification}"),
            Self::NotificationReceived(notification) => {
                write!(formatter, "received {notification}")
            }
            Self::HoldTimerExpired => formatter.write_str("nothing heard for the hold time"),
            Self::SendHoldTimerExpired => {
                formatter.write_str("the peer read nothing for the send hold time")
            }
            Self::Reconfigured => formatter.write_str("its configuration changed"),
            Self::Stopped => formatter.write_str("this speaker leaves"),
        }
    }
}

/// Prefix counts of one negotiated family, exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FamilyReport {
    /// The family.
    pub family: Family,
    /// Prefixes in Adj-RIB-In.
    pub received: u32,
    /// Prefixes of those eligible for selection.
    pub accepted: u32,
    /// Prefixes in Adj-RIB-Out.
    pub advertised: u32,
}

/// One peer, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerReport {
    /// Its name.
    pub name: PeerName,
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its AS: configured, else learned from its OPEN.
    pub asn: Option<u32>,
    /// Its BGP identifier, once an OPEN was seen.
    pub router_id: Option<Ipv4Addr>,
    /// Session state.
    pub state: SessionState,
    /// When the session was established; only while established.
    pub established_at: Option<Instant>,
    /// Applied hold time in seconds; only from OpenConfirm on.
    pub hold_time: Option<u16>,
    /// Applied keepalive interval in seconds; only from OpenConfirm on.
    pub keepalive: Option<u16>,
    /// Counts per negotiated family; empty unless established.
    pub families: Vec<FamilyReport>,
    /// Why it went, or stays, down; kept while up as the last reason.
    pub last_down: Option<DownReason>,
    /// How often an established session was lost.
    pub flaps: u64,
    /// Whether our End-of-RIB has been handed to the wire for every negotiated family.
    pub end_of_rib_sent: bool,
}
