//! Metrics under Cilium's names (labels as of 1.19), read from the latest report when scraped.

mod datapath;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use plan::node::{IpFamily, NodePlan, ObservedPeer, ObservedRoutes, PeeringState, Refusal, Target};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::observe::{Datapath, Report};
use crate::routes::Imports;

type InstanceLabels = [(&'static str, String); 1];

/// Everything the agent measures; clones share it.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    errors: Family<InstanceLabels, Counter>,
    durations: Family<InstanceLabels, Histogram>,
}

impl Metrics {
    pub(crate) fn new(
        reports: watch::Receiver<Report>,
        imports: watch::Receiver<Imports>,
        balancer: Option<watch::Receiver<Datapath>>,
    ) -> Self {
        // 50 µs to 0.8 s: a plan takes microseconds; one that takes a second is a defect worth seeing.
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_05, 4.0, 8));
        let durations = Family::new_with_constructor(histogram);
        let errors = Family::default();
        let mut whole = Registry::default();
        let registry = whole.sub_registry_with_prefix("cilium_bgp_control_plane");
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
        let ours = whole.sub_registry_with_prefix("tombolo");
        ours.register_collector(Box::new(LearnedRoutes { imports }));
        if let Some(seen) = balancer {
            ours.register_collector(Box::new(datapath::Balancer { seen }));
        }
        Self {
            registry: Arc::new(whole),
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
            let instance = rejected.instance.as_deref().unwrap_or_default();
            self.errors.get_or_create(&labels(instance)).inc();
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

/// Gauges of learned routes, by where they go. A target that cannot be taken care of has none: its counts are old.
#[derive(Debug)]
struct LearnedRoutes {
    imports: watch::Receiver<Imports>,
}

type Values = fn(&ObservedRoutes) -> Vec<(Option<(&'static str, String)>, u64)>;

/// Name, description, and a value per target and further label.
const LEARNED: [(&str, &str, Values); 4] = [
    (
        "learned_routes_installed",
        "Learned routes in the kernel",
        |routes| vec![(None, routes.installed)],
    ),
    (
        "learned_routes_pending",
        "Learned routes on their way into the kernel or out of it",
        |routes| vec![(None, routes.pending)],
    ),
    (
        "learned_routes_withheld",
        "Accepted routes that are not in the kernel, by reason",
        |routes| {
            let withheld = routes.withheld.iter();
            withheld
                .map(|group| (Some(("reason", group.reason.clone())), group.routes))
                .collect()
        },
    ),
    (
        "learned_routes_refused",
        "Learned routes that no import accepts, by reason",
        |routes| {
            let refused = routes.refused.iter();
            refused
                .map(|(reason, group)| {
                    (Some(("reason", refusal(*reason).to_owned())), group.routes)
                })
                .collect()
        },
    ),
];

impl Collector for LearnedRoutes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let imports = self.imports.borrow().clone();
        for (name, help, values) in LEARNED {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            let running = imports
                .iter()
                .filter(|(_, routes)| routes.problem.is_none());
            for (target, routes) in running {
                for (label, value) in values(routes) {
                    let labels: Vec<_> = target_labels(*target).into_iter().chain(label).collect();
                    let value = i64::try_from(value).unwrap_or(i64::MAX);
                    ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

fn target_labels(target: Target) -> [(&'static str, String); 3] {
    let Target {
        table,
        protocol,
        metric,
    } = target;
    [
        ("table", table.to_string()),
        ("protocol", protocol.to_string()),
        ("metric", metric.to_string()),
    ]
}

fn refusal(reason: Refusal) -> &'static str {
    match reason {
        Refusal::NotAccepted => "not-accepted",
        Refusal::DefaultRoute => "default-route",
        Refusal::PodCidr => "pod-cidr",
        Refusal::ServiceCidr => "service-cidr",
        Refusal::NodeAddress => "node-address",
        Refusal::Connected => "connected",
        Refusal::ServiceAddress => "service-address",
        Refusal::Loopback => "loopback",
        Refusal::LinkLocal => "link-local",
        Refusal::Multicast => "multicast",
        Refusal::Announced => "announced",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learned_routes_are_counted_by_target_under_our_own_name() {
        let target = Target {
            table: 254,
            protocol: 186,
            metric: 30,
        };
        let refused = plan::node::RefusedRoutes {
            routes: 2,
            examples: Vec::new(),
        };
        let routes = ObservedRoutes {
            installed: 7,
            refused: [(Refusal::PodCidr, refused)].into(),
            ..ObservedRoutes::default()
        };
        let (_reports, reports) = watch::channel(Report::default());
        let (_imports, imports) = watch::channel(Imports::from([(target, routes)]));
        let text = Metrics::new(reports, imports, None).encode().expect("text");
        let marks = r#"table="254",protocol="186",metric="30""#;
        for line in [
            format!("tombolo_learned_routes_installed{{{marks}}} 7"),
            format!(r#"tombolo_learned_routes_refused{{{marks},reason="pod-cidr"}} 2"#),
        ] {
            assert!(text.contains(&line), "{line} is missing:\n{text}");
        }
        assert!(text.contains("cilium_bgp_control_plane_session_state"));
        assert_eq!(text.matches("# EOF").count(), 1);
    }
}
