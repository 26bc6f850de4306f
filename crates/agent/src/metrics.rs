//! Metrics under Cilium's names (labels as of 1.19), read from the latest report when scraped.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use plan::node::{IpFamily, NodePlan, ObservedPeer, PeeringState};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::observe::Report;

type InstanceLabels = [(&'static str, String); 1];

/// Everything the agent measures; clones share it.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    errors: Family<InstanceLabels, Counter>,
    durations: Family<InstanceLabels, Histogram>,
}

impl Metrics {
    pub(crate) fn new(reports: watch::Receiver<Report>) -> Self {
        // 50 µs to 0.8 s: a plan takes microseconds; one that takes a second is a defect worth seeing.
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_05, 4.0, 8));
        let durations = Family::new_with_constructor(histogram);
        let errors = Family::default();
        let mut registry = Registry::with_prefix("cilium_bgp_control_plane");
        registry.register(
            "reconcile_errors",
            "Parts of the configuration found impossible",
            errors.clone(),
        );
        registry.register(
            "reconcile_run_duration_seconds",
            "Time a plan took",
            Family::clone(&durations),
        );
        registry.register_collector(Box::new(Sessions { reports }));
        Self {
            registry: Arc::new(registry),
            errors,
            durations,
        }
    }

    /// Counts one run of the planner.
    pub(crate) fn planned(&self, plan: &NodePlan, elapsed: Duration) {
        for name in plan.instances.keys() {
            self.durations
                .get_or_create(&labels(name))
                .observe(elapsed.as_secs_f64());
        }
        for rejected in &plan.rejected {
            self.errors.get_or_create(&labels(&rejected.instance)).inc();
        }
    }

    pub(crate) fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn labels(instance: &str) -> InstanceLabels {
    [("instance_name", instance.to_owned())]
}

/// Session gauges. Route counts appear only while a session is up: a count of a session that is down misleads.
#[derive(Debug)]
struct Sessions {
    reports: watch::Receiver<Report>,
}

type PeerLabels = Vec<(&'static str, String)>;

impl Collector for Sessions {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let report = self.reports.borrow().clone();
        let state = |peer: &ObservedPeer, labels: PeerLabels| {
            vec![(labels, i64::from(peer.state == PeeringState::Established))]
        };
        gauge(
            &mut encoder,
            &report,
            "session_state",
            "1 while the session is established",
            state,
        )?;
        let advertised =
            |peer: &ObservedPeer, labels| counts(peer, &labels, |count| count.advertised);
        gauge(
            &mut encoder,
            &report,
            "advertised_routes",
            "Prefixes in Adj-RIB-Out",
            advertised,
        )?;
        let received = |peer: &ObservedPeer, labels| counts(peer, &labels, |count| count.received);
        gauge(
            &mut encoder,
            &report,
            "received_routes",
            "Prefixes in Adj-RIB-In",
            received,
        )
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    report: &Report,
    name: &str,
    help: &str,
    values: impl Fn(&ObservedPeer, PeerLabels) -> Vec<(PeerLabels, i64)>,
) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for ((instance, _), peer) in &report.peers {
        let local = report.local_asns.get(instance).copied().unwrap_or_default();
        let neighbor = std::net::SocketAddr::new(peer.address, peer.port);
        let labels = vec![
            ("instance_name", instance.clone()),
            ("local_asn", local.to_string()),
            ("neighbor", neighbor.to_string()),
            ("neighbor_asn", peer.asn.unwrap_or_default().to_string()),
        ];
        for (labels, value) in values(peer, labels) {
            ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn counts(
    peer: &ObservedPeer,
    labels: &PeerLabels,
    value: impl Fn(&plan::node::observed::RouteCount) -> u32,
) -> Vec<(PeerLabels, i64)> {
    let row = |count: &plan::node::observed::RouteCount| {
        let afi = match count.family {
            IpFamily::Ipv4 => "ipv4",
            IpFamily::Ipv6 => "ipv6",
        };
        let mut labels = labels.clone();
        labels.extend([("afi", afi.to_owned()), ("safi", "unicast".to_owned())]);
        (labels, i64::from(value(count)))
    };
    peer.routes.iter().map(row).collect()
}
