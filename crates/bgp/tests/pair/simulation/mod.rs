//! Speakers on a virtual clock, joined by simulated TCP: ordered streams with random delays and random cuts, that can
//! be reset, half closed, or stalled. Nothing waits; a run is a function of its seed.

pub(crate) mod network;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp::policy::{ExportPolicy, ExportRule, ExportVerdict, SetAttributes, Source};
use bgp::report::{DownReason, PeerReport, SessionState};
use bgp::{Family, GracefulRestart, InstanceConfig, Output, PeerConfig, PeerName, Speaker};
use ipnet::IpNet;

pub(crate) use network::Network;

/// Announce all that is originated here.
pub(crate) fn announce_own() -> Arc<ExportPolicy> {
    Arc::new(ExportPolicy {
        rules: vec![ExportRule {
            source: Source::Local,
            prefixes: None,
            verdict: ExportVerdict::Accept(SetAttributes::default()),
        }],
    })
}

/// Address of the n-th node.
pub(crate) fn address(node: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(
        192,
        0,
        2,
        u8::try_from(node + 1).expect("few nodes"),
    ))
}

/// An instance as node `node`, whose identifier grows with its number.
pub(crate) fn instance(node: usize) -> InstanceConfig {
    let number = u8::try_from(node + 1).expect("few nodes");
    InstanceConfig {
        local_asn: 65000 + u32::from(number),
        router_id: Ipv4Addr::new(10, 0, 0, number),
        listens: true,
        host_name: None,
        restarting: false,
    }
}

/// A peer at node `node`, with everything on.
pub(crate) fn peer(node: usize) -> PeerConfig {
    PeerConfig {
        address: address(node),
        port: 179,
        local_address: None,
        peer_asn: Some(65001 + u32::try_from(node).expect("few nodes")),
        hold_time: 9,
        keepalive: 3,
        connect_retry: Duration::from_secs(120),
        ebgp_ttl: 1,
        families: vec![Family::IPV4_UNICAST],
        graceful_restart: Some(GracefulRestart { restart_time: 15 }),
        export: announce_own(),
    }
}

pub(crate) fn prefixes(list: &[&str]) -> BTreeSet<IpNet> {
    list.iter()
        .map(|prefix| prefix.parse().expect("a prefix"))
        .collect()
}

pub(crate) fn named(node: usize) -> PeerName {
    PeerName::from(format!("node{node}").as_str())
}

/// A speaker in the simulation and what it told so far.
pub(crate) struct Node {
    pub(crate) speaker: Speaker,
    pub(crate) told: Vec<(Instant, Output)>,
    pub(crate) alive: bool,
}

impl Node {
    /// The one peer's report.
    pub(crate) fn only(&self) -> PeerReport {
        let [report] = self.speaker.report().try_into().expect("one peer");
        report
    }

    pub(crate) fn state(&self) -> SessionState {
        self.only().state
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state() == SessionState::Established
    }

    pub(crate) fn ups(&self) -> usize {
        self.told
            .iter()
            .filter(|(_, output)| matches!(output, Output::Up { .. }))
            .count()
    }

    pub(crate) fn downs(&self) -> Vec<DownReason> {
        self.told
            .iter()
            .filter_map(|(_, output)| match output {
                Output::Down { reason, .. } => Some(reason.clone()),
                Output::Up { .. }
                | Output::Connect { .. }
                | Output::Send { .. }
                | Output::Close { .. } => None,
            })
            .collect()
    }

    /// When it last said Up.
    pub(crate) fn up_at(&self) -> Option<Instant> {
        self.told
            .iter()
            .rev()
            .find(|(_, output)| matches!(output, Output::Up { .. }))
            .map(|(at, _)| *at)
    }

    /// Prefixes in Adj-RIB-In from its first peer, stale ones included.
    pub(crate) fn learned(&self) -> BTreeSet<IpNet> {
        let id = self
            .speaker
            .report()
            .first()
            .and_then(|report| self.speaker.peer_id(&report.name));
        id.map(|id| {
            self.speaker
                .rib()
                .adj_in(id, Family::IPV4_UNICAST)
                .map(|route| route.prefix)
                .collect()
        })
        .unwrap_or_default()
    }

    /// Those of them that are stale.
    pub(crate) fn stale(&self) -> usize {
        let id = self
            .speaker
            .report()
            .first()
            .and_then(|report| self.speaker.peer_id(&report.name));
        id.map_or(0, |id| {
            self.speaker
                .rib()
                .adj_in(id, Family::IPV4_UNICAST)
                .filter(|route| route.stale)
                .count()
        })
    }
}

/// Two nodes that know each other; node 0 originates `10.1.0.0/24`, node 1 `10.2.0.0/24`.
pub(crate) fn pair(seed: u64) -> Network {
    pair_with(seed, |_| {}, |_| {})
}

/// The same, with the instance and the peer of both nodes changed first.
pub(crate) fn pair_with(
    seed: u64,
    instances: impl Fn(&mut InstanceConfig),
    peers: impl Fn(&mut PeerConfig),
) -> Network {
    let mut network = Network::new(seed);
    for node in 0..2 {
        let mut instance = instance(node);
        instances(&mut instance);
        network.add(instance);
        let own = if node == 0 {
            "10.1.0.0/24"
        } else {
            "10.2.0.0/24"
        };
        network.originate(node, &[own]);
    }
    for node in 0..2 {
        let mut peer = peer(1 - node);
        peers(&mut peer);
        network.configure(node, vec![(1 - node, peer)]);
    }
    network
}

/// Whether both ends of a pair are up and have what the other originates.
pub(crate) fn converged(network: &Network) -> bool {
    network.nodes[0].is_up()
        && network.nodes[1].is_up()
        && network.nodes[0].learned() == prefixes(&["10.2.0.0/24"])
        && network.nodes[1].learned() == prefixes(&["10.1.0.0/24"])
}

pub(crate) fn socket(node: usize, port: u16) -> SocketAddr {
    SocketAddr::new(address(node), port)
}
