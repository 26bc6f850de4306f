//! What is counted. Names and labels of Cilium where it has them, `tombolo_` where it has not.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Bounds of the duration of a plan, in seconds: 0.1 ms for a handful of nodes, tens of ms for thousands.
const PLAN_SECONDS: [f64; 10] = [
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 1.0,
];

/// The object a write failed for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Object {
    /// Its kind, such as `CiliumBGPNodeConfig`.
    pub resource_kind: &'static str,
    /// Its name.
    pub resource_name: String,
}

/// A sort of write.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Write {
    /// Kind of the object.
    pub kind: &'static str,
    /// `create`, `update`, `delete` or `conditions`.
    pub verb: &'static str,
    /// `ok` or `failed`.
    pub result: &'static str,
}

/// All that the operator counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Failed writes by object.
    pub errors: Family<Object, Counter>,
    /// How long a plan took, in seconds.
    pub plan_seconds: Histogram,
    /// Writes by sort.
    pub writes: Family<Write, Counter>,
    /// Writes that are planned, under way, or waiting for another attempt.
    pub pending: Gauge,
    /// 1 while this process leads.
    pub leader: Gauge,
    /// Watches that are broken at present.
    pub lost_watches: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let metrics = Self {
            errors: Family::default(),
            plan_seconds: Histogram::new(PLAN_SECONDS),
            writes: Family::default(),
            pending: Gauge::default(),
            leader: Gauge::default(),
            lost_watches: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register(
            "cilium_operator_bgp_control_plane_reconcile_errors",
            "Writes that failed, by object",
            metrics.errors.clone(),
        );
        registry.register(
            "cilium_bgp_control_plane_reconcile_run_duration_seconds",
            "Duration of a reconciliation run",
            metrics.plan_seconds.clone(),
        );
        registry.register(
            "tombolo_operator_writes",
            "Writes to the API server",
            metrics.writes.clone(),
        );
        registry.register(
            "tombolo_operator_pending_writes",
            "Writes not yet done",
            metrics.pending.clone(),
        );
        registry.register(
            "tombolo_operator_leader",
            "Whether this replica leads",
            metrics.leader.clone(),
        );
        registry.register(
            "tombolo_operator_lost_watches",
            "Broken watches",
            metrics.lost_watches.clone(),
        );
        Self {
            registry,
            ..metrics
        }
    }
}

impl Metrics {
    /// As OpenMetrics text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut buffer = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut buffer, &self.registry);
        buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_the_names_and_labels_that_dashboards_expect() {
        let metrics = Metrics::default();
        let object = Object {
            resource_kind: "CiliumBGPNodeConfig",
            resource_name: "n1".to_owned(),
        };
        metrics.errors.get_or_create(&object).inc();
        metrics.plan_seconds.observe(0.003);
        let text = metrics.encode();
        for line in [
            r#"cilium_operator_bgp_control_plane_reconcile_errors_total{resource_kind="CiliumBGPNodeConfig",resource_name="n1"} 1"#,
            "cilium_bgp_control_plane_reconcile_run_duration_seconds_count 1",
            "tombolo_operator_leader 0",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }
}
