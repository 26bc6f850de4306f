//! What the actuators of a node last reported. Data only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;

use super::IpFamily;
use super::datapath::within;
use super::import::{Refusal, Target};
use crate::withheld::Withheld;

/// Everything observed on a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// Peers by instance and name.
    pub peers: BTreeMap<(String, String), ObservedPeer>,
    /// Why an instance does not listen, by instance.
    pub listen_failures: BTreeMap<String, String>,
    /// Usable addresses of the node's devices that are up, by device name.
    pub interfaces: BTreeMap<String, Vec<IpAddr>>,
    /// Addresses of the node's devices with their prefix lengths, as the kernel has them, by device name: of every device,
    /// up or not, loopback and link-local included.
    pub interface_networks: BTreeMap<String, Vec<IpNet>>,
    /// Learned routes by where the plan wants them; no entry while nothing is known of that target.
    pub imports: BTreeMap<Target, ObservedRoutes>,
    /// The load balancer; `None` where the agent runs without one, and somebody else makes addresses of Services work.
    pub datapath: Option<ObservedDatapath>,
    /// Prefixes that some peer may have from us: those that were told, until what takes them back is on its way.
    pub announced: Arc<BTreeSet<IpNet>>,
    /// What lies at the other ends of addresses that have one, a point-to-point link's.
    pub far_ends: BTreeSet<IpNet>,
    /// Whether some router may still have what an earlier process announced, which nobody knows.
    pub inherits: bool,
}

/// What the load balancer says is true.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObservedDatapath {
    /// How far it is.
    pub state: DatapathState,
    /// Addresses of which it serves all that is wanted and possible ([`super::Programmed`]).
    pub programmed: Arc<BTreeSet<IpAddr>>,
    /// What it could not take.
    pub withheld: Vec<Withheld>,
}

impl ObservedDatapath {
    /// Whether a plan that was made of `before`, and awaits these ([`super::NodePlan::awaited`]), would be another one with what is
    /// observed now. Of most that a load balancer programs nothing else depends: that of ClusterIPs which nobody announces, say.
    #[must_use]
    pub fn is_news(&self, before: &Self, awaited: &BTreeSet<IpNet>) -> bool {
        let Self {
            state,
            programmed,
            withheld,
        } = self;
        let is_new = |address: &IpAddr| !before.programmed.contains(address);
        let mut awaited = awaited.iter();
        (state, withheld) != (&before.state, &before.withheld)
            || !before.programmed.is_subset(programmed)
            || awaited.any(|prefix| within(programmed, prefix).any(is_new))
    }
}

/// How far the load balancer is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DatapathState {
    /// It has not carried out a first wish yet.
    #[default]
    Starting,
    /// It has, and carries out the next ones.
    Ready,
    /// It cannot run; why, in the system's words.
    Unavailable(Arc<str>),
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

/// The learned routes of one target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObservedRoutes {
    /// Routes in the kernel.
    pub installed: u64,
    /// Routes on their way into the kernel or out of it.
    pub pending: u64,
    /// Accepted routes that are not in the kernel, by why.
    pub withheld: Vec<WithheldRoutes>,
    /// Routes that the import does not accept.
    pub refused: BTreeMap<Refusal, RefusedRoutes>,
    /// Whether what an earlier process left there was read, and what is not wanted any more was taken out.
    pub ready: bool,
    /// What keeps the target from being taken care of at all; the counts are then as of when it last was.
    pub problem: Option<RoutesProblem>,
}

/// Why no learned route is installed at a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoutesProblem {
    /// The agent runs without the capability CAP_NET_ADMIN (see `capabilities(7)`).
    NetAdminMissing,
    /// The kernel's routes cannot be taken care of: why, in words. It is tried again.
    Failed(String),
}

/// Accepted routes that are not in the kernel, all for one reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WithheldRoutes {
    /// Why, in words.
    pub reason: String,
    /// How many.
    pub routes: u64,
    /// At most [`EXAMPLES`] of them.
    pub examples: Vec<IpNet>,
}

/// Routes refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RefusedRoutes {
    /// How many.
    pub routes: u64,
    /// At most [`EXAMPLES`] of them.
    pub examples: Vec<IpNet>,
}

/// Examples kept of the routes that share a reason.
pub const EXAMPLES: usize = 3;
