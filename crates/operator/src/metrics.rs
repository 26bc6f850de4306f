//! What is counted. Names and labels of Cilium where it has them, `tombolo_` where it has not.

use std::sync::atomic::AtomicU64;

use plan::addresses::Figures;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::apply::Key;

/// Bounds of the duration of a plan, in seconds: 0.1 ms for a handful of objects, tens of ms for thousands.
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

/// A CiliumLoadBalancerIPPool.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Pool {
    /// Its name.
    pub pool: String,
}

/// A number of addresses, which may be larger than any integer here.
pub type Addresses = Gauge<f64, AtomicU64>;

/// A sort of write.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Write {
    /// Kind of the object.
    pub kind: &'static str,
    /// `create`, `update`, `delete`, `conditions` or `status`.
    pub verb: &'static str,
    /// `ok` or `failed`.
    pub result: &'static str,
}

/// All that the operator counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Failed writes of the BGP control plane by object.
    pub errors: Family<Object, Counter>,
    /// How long a plan of NodeConfigs took, in seconds.
    pub plan_seconds: Histogram,
    /// How long a plan of addresses took, in seconds.
    pub address_plan_seconds: Histogram,
    /// Pools that overlap with another or with themselves.
    pub conflicting_pools: Gauge,
    /// Free addresses by pool.
    pub ips_available: Family<Pool, Addresses>,
    /// Taken and reserved addresses by pool.
    pub ips_used: Family<Pool, Addresses>,
    /// Services that are given addresses here.
    pub services_matching: Gauge,
    /// Those of them that lack one.
    pub services_unsatisfied: Gauge,
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
            address_plan_seconds: Histogram::new(PLAN_SECONDS),
            conflicting_pools: Gauge::default(),
            ips_available: Family::default(),
            ips_used: Family::default(),
            services_matching: Gauge::default(),
            services_unsatisfied: Gauge::default(),
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
        metrics.register_addresses(&mut registry);
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
    /// The names are those of LB IPAM since Cilium 1.17.
    fn register_addresses(&self, registry: &mut Registry) {
        registry.register(
            "cilium_operator_lbipam_conflicting_pools",
            "Pools in conflict",
            self.conflicting_pools.clone(),
        );
        registry.register(
            "cilium_operator_lbipam_ips_available",
            "Free addresses, by pool",
            self.ips_available.clone(),
        );
        registry.register(
            "cilium_operator_lbipam_ips_used",
            "Taken and reserved addresses, by pool",
            self.ips_used.clone(),
        );
        registry.register(
            "cilium_operator_lbipam_services_matching",
            "Services that are given addresses here",
            self.services_matching.clone(),
        );
        registry.register(
            "cilium_operator_lbipam_services_unsatisfied",
            "Services that lack an address",
            self.services_unsatisfied.clone(),
        );
        registry.register(
            "tombolo_operator_address_plan_duration_seconds",
            "Duration of a plan of addresses",
            self.address_plan_seconds.clone(),
        );
    }

    /// Shows the numbers of a plan of addresses, and no longer those of pools that it does not name.
    pub fn show_addresses(&self, figures: &Figures) {
        let Figures {
            pools,
            conflicting_pools,
            services,
            unsatisfied,
        } = figures;
        self.ips_available.clear();
        self.ips_used.clear();
        for (name, addresses) in pools {
            let pool = Pool { pool: name.clone() };
            self.ips_available
                .get_or_create(&pool)
                .set(addresses.available as f64);
            self.ips_used
                .get_or_create(&pool)
                .set(addresses.used as f64);
        }
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.conflicting_pools.set(count(*conflicting_pools));
        self.services_matching.set(count(*services));
        self.services_unsatisfied.set(count(*unsatisfied));
    }

    /// Counts a failed write, where Cilium has a name for it.
    pub fn count_failure(&self, key: &Key) {
        match key {
            Key::NodeConfig(_) | Key::Conditions(..) => {
                let object = Object {
                    resource_kind: key.kind(),
                    resource_name: key.name(),
                };
                self.errors.get_or_create(&object).inc();
            }
            Key::Service(_) | Key::Pool(_) => {}
        }
    }

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
    use plan::addresses::PoolFigures;

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

    #[test]
    fn each_pool_has_its_numbers_for_as_long_as_it_exists() {
        let metrics = Metrics::default();
        let figures = |pools: &[(&str, u128)]| Figures {
            pools: pools
                .iter()
                .map(|(name, available)| {
                    let available = *available;
                    ((*name).to_owned(), PoolFigures { available, used: 2 })
                })
                .collect(),
            conflicting_pools: 1,
            services: 5,
            unsatisfied: 3,
        };
        let gauges = || -> Vec<String> {
            let text = metrics.encode();
            let lines = text
                .lines()
                .filter_map(|line| line.strip_prefix("cilium_operator_lbipam_"));
            let mut lines: Vec<_> = lines.map(str::to_owned).collect();
            lines.sort();
            lines
        };
        metrics.show_addresses(&figures(&[("a", 254), ("b", 1 << 64)]));
        let expected = [
            "conflicting_pools 1",
            r#"ips_available{pool="a"} 254.0"#,
            r#"ips_available{pool="b"} 18446744073709553000.0"#,
            r#"ips_used{pool="a"} 2.0"#,
            r#"ips_used{pool="b"} 2.0"#,
            "services_matching 5",
            "services_unsatisfied 3",
        ];
        assert_eq!(gauges(), expected);
        metrics.show_addresses(&figures(&[("a", 253)]));
        assert_eq!(
            gauges()[1..3],
            [
                r#"ips_available{pool="a"} 253.0"#,
                r#"ips_used{pool="a"} 2.0"#
            ]
        );
    }
}
