//! The joint up: reports of the speaker and of the kernel's routes in the plan's words.

mod datapath;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bgp::report::{PeerReport, SessionState};
use bgp::{Afi, Family};
use ipnet::IpNet;
use jiff::Timestamp;
use plan::node::observed::{EXAMPLES, RouteCount};
use plan::node::{
    IpFamily, ObservedPeer, ObservedRoutes, PeeringState, Refusal, RefusedRoutes, RoutesProblem,
    WithheldRoutes,
};

pub use datapath::Datapath;

/// What the speaker says is true.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Peers by instance and name.
    pub peers: BTreeMap<(String, String), ObservedPeer>,
    /// Local AS of each instance.
    pub local_asns: BTreeMap<String, u32>,
    /// Why an instance does not listen.
    pub listen_failures: BTreeMap<String, String>,
    /// Whether a first wish has been carried out.
    pub configured: bool,
    /// Number of the wish that is being carried out; 0 before the first.
    pub wish: u64,
    /// Prefixes that some peer may have from us: what is originated, and what was until its withdrawal has been handed to
    /// every connection.
    pub announced: Arc<BTreeSet<IpNet>>,
    /// Whether some peer may still have what an earlier process announced.
    pub inherits: bool,
}

/// Relates the monotonic clock of the machines to the time people read.
#[derive(Debug, Clone, Copy)]
pub struct Epoch {
    monotonic: Instant,
    wall: Timestamp,
}

impl Epoch {
    /// Both clocks read now.
    #[must_use]
    pub fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: Timestamp::now(),
        }
    }

    /// The wall-clock time of `instant`; the epoch itself where it is out of range.
    #[must_use]
    pub fn wall(&self, instant: Instant) -> Timestamp {
        let since = instant.saturating_duration_since(self.monotonic);
        self.wall.checked_add(since).unwrap_or(self.wall)
    }
}

/// One peer's report in the plan's words.
#[must_use]
pub fn peer(report: &PeerReport, epoch: &Epoch) -> ObservedPeer {
    ObservedPeer {
        address: report.address,
        port: report.port,
        asn: report.asn,
        state: state(report.state),
        established_at: report.established_at.map(|instant| epoch.wall(instant)),
        hold_time: report.hold_time,
        keepalive: report.keepalive,
        routes: report
            .families
            .iter()
            .filter_map(|counts| {
                let family = family(counts.family)?;
                Some(RouteCount {
                    family,
                    received: counts.received,
                    advertised: counts.advertised,
                })
            })
            .collect(),
        end_of_rib_sent: report.end_of_rib_sent,
        last_down: report.last_down.as_ref().map(ToString::to_string),
    }
}

/// The routes of one target in the plan's words.
#[must_use]
pub fn routes(
    report: &fib::Report,
    refused: BTreeMap<Refusal, RefusedRoutes>,
    ready: bool,
    problem: Option<RoutesProblem>,
) -> ObservedRoutes {
    let withheld = report.withheld.iter().map(|group| WithheldRoutes {
        reason: group.reason.to_string(),
        routes: group.routes as u64,
        examples: group.examples.iter().copied().take(EXAMPLES).collect(),
    });
    ObservedRoutes {
        installed: report.installed as u64,
        pending: (report.pending + report.removing) as u64,
        withheld: withheld.collect(),
        refused,
        ready,
        problem,
    }
}

fn state(state: SessionState) -> PeeringState {
    match state {
        SessionState::Idle => PeeringState::Idle,
        SessionState::Connect => PeeringState::Connect,
        SessionState::Active => PeeringState::Active,
        SessionState::OpenSent => PeeringState::OpenSent,
        SessionState::OpenConfirm => PeeringState::OpenConfirm,
        SessionState::Established => PeeringState::Established,
    }
}

fn family(family: Family) -> Option<IpFamily> {
    match family.afi {
        Afi::Ipv4 => Some(IpFamily::Ipv4),
        Afi::Ipv6 => Some(IpFamily::Ipv6),
        Afi::Other(_) => None,
    }
}
