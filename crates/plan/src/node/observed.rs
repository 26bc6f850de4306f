//! What the actuators of a node last reported. Data only.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;

use super::IpFamily;

/// Everything observed on a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// Peers by instance and name.
    pub peers: BTreeMap<(String, String), ObservedPeer>,
    /// Why an instance does not listen, by instance.
    pub listen_failures: BTreeMap<String, String>,
    /// Usable addresses of the node's devices that are up, by device name.
    pub interfaces: BTreeMap<String, Vec<IpAddr>>,
}

/// States of RFC 4271 section 8.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeeringState {
    /// Idle.
    Idle,
    /// Connect.
    Connect,
    /// Active.
    Active,
    /// OpenSent.
    OpenSent,
    /// OpenConfirm.
    OpenConfirm,
    /// Established.
    Established,
}

/// One peer, as the speaker reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedPeer {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its AS, configured or learned.
    pub asn: Option<u32>,
    /// Session state.
    pub state: PeeringState,
    /// When it was established, while it is.
    pub established_at: Option<Timestamp>,
    /// Negotiated hold time, seconds.
    pub hold_time: Option<u16>,
    /// Applied keepalive interval, seconds.
    pub keepalive: Option<u16>,
    /// Prefix counts of the negotiated families, while established.
    pub routes: Vec<RouteCount>,
    /// Whether our End-of-RIB went out for every family.
    pub end_of_rib_sent: bool,
    /// Why it is, or was last, down, in words.
    pub last_down: Option<String>,
}

/// Prefix counts of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteCount {
    /// The family.
    pub family: IpFamily,
    /// Prefixes in Adj-RIB-In.
    pub received: u32,
    /// Prefixes in Adj-RIB-Out.
    pub advertised: u32,
}
