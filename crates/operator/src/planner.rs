//! The two questions, each asked again only when something it depends on has changed: a node's label moves no address, and
//! thousands of Services do not slow a NodeConfig down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use plan::addresses::{self, AddressPlan};
use plan::cluster::{self, ClusterPlan, Observed};
use plan::{NamespacedName, Snapshot};

use crate::metrics::Metrics;

/// What is planned, and how the administrator wants it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Questions {
    /// NodeConfigs; `None` leaves them alone.
    pub node_configs: Option<cluster::Settings>,
    /// Addresses of Services; `None` leaves them alone.
    pub addresses: Option<addresses::Settings>,
}

/// Asks, and remembers the last answers.
#[derive(Debug)]
pub struct Planner {
    questions: Questions,
    metrics: Arc<Metrics>,
    node_configs: Option<Answer<Observed, ClusterPlan>>,
    addresses: Option<Answer<(), AddressPlan>>,
    address_memory: addresses::Memory,
}

/// A plan, and what it was made of.
#[derive(Debug)]
struct Answer<O, P> {
    snapshot: Arc<Snapshot>,
    observed: O,
    plan: P,
}

impl Planner {
    /// Has asked nothing yet.
    #[must_use]
    pub fn new(questions: Questions, metrics: Arc<Metrics>) -> Self {
        Self {
            questions,
            metrics,
            node_configs: None,
            addresses: None,
            address_memory: addresses::Memory::default(),
        }
    }

    /// Which NodeConfigs and conditions must be written. Empty where that is not asked.
    pub fn node_configs(
        &mut self,
        snapshot: &Arc<Snapshot>,
        observed: Observed,
        now: Timestamp,
    ) -> ClusterPlan {
        let Some(settings) = &self.questions.node_configs else {
            return ClusterPlan::default();
        };
        let last = self.node_configs.take().filter(|answer| {
            answer.observed == observed && same_for_node_configs(&answer.snapshot, snapshot)
        });
        let plan = last.map_or_else(
            || {
                let begin = Instant::now();
                let plan = cluster::plan(snapshot, &observed, settings, now);
                let took = begin.elapsed().as_secs_f64();
                self.metrics.plan_seconds.observe(took);
                plan
            },
            |answer| answer.plan,
        );
        self.node_configs = Some(Answer {
            snapshot: snapshot.clone(),
            observed,
            plan: plan.clone(),
        });
        plan
    }

    /// Which statuses of Services and pools must be written. Empty where that is not asked.
    pub fn addresses(&mut self, snapshot: &Arc<Snapshot>, now: Timestamp) -> AddressPlan {
        let Some(settings) = &self.questions.addresses else {
            return AddressPlan::default();
        };
        let last = self
            .addresses
            .take()
            .filter(|answer| same_for_addresses(&answer.snapshot, snapshot));
        let plan = last.map_or_else(
            || {
                let begin = Instant::now();
                let plan = addresses::replan(snapshot, settings, now, &mut self.address_memory);
                let took = begin.elapsed().as_secs_f64();
                self.metrics.address_plan_seconds.observe(took);
                plan
            },
            |answer| answer.plan,
        );
        self.addresses = Some(Answer {
            snapshot: snapshot.clone(),
            observed: (),
            plan: plan.clone(),
        });
        plan
    }
}

/// Whether two snapshots are the same as far as NodeConfigs depend on them. Every kind is named, so that a new one is
/// given its place.
fn same_for_node_configs(a: &Snapshot, b: &Snapshot) -> bool {
    let Snapshot {
        nodes,
        cilium_nodes,
        cluster_configs,
        peer_configs,
        advertisements: _,
        node_configs,
        overrides,
        secrets,
        pools: _,
        services: _,
        endpoint_slices: _,
        service_cidrs: _,
        route_imports: _,
    } = a;
    let same_cilium_nodes = match (cilium_nodes, &b.cilium_nodes) {
        (Some(a), Some(b)) => same(a, b),
        (a, b) => a.is_none() && b.is_none(),
    };
    same_cilium_nodes
        && same(nodes, &b.nodes)
        && same(cluster_configs, &b.cluster_configs)
        && same(peer_configs, &b.peer_configs)
        && same(node_configs, &b.node_configs)
        && same(overrides, &b.overrides)
        && *secrets == b.secrets
}

/// Whether two snapshots are the same as far as addresses depend on them.
fn same_for_addresses(a: &Snapshot, b: &Snapshot) -> bool {
    let same_services =
        || a.services.is(&b.services) || same::<NamespacedName, _>(&a.services, &b.services);
    same(&a.pools, &b.pools) && same_services()
}

/// Whether the objects are the same. Of most that is told by their addresses in memory, without a look at them; what the watch
/// shows of our own write says the same as the API server's answer did, from another place.
fn same<K: PartialEq, T: PartialEq>(a: &BTreeMap<K, Arc<T>>, b: &BTreeMap<K, Arc<T>>) -> bool {
    let mut pairs = a.iter().zip(b);
    a.len() == b.len()
        && pairs.all(|((a_name, a), (b_name, b))| (Arc::ptr_eq(a, b) || a == b) && a_name == b_name)
}

#[cfg(test)]
mod tests {
    use plan::{NodeFacts, ServiceFacts};

    use super::*;

    fn planner() -> (Planner, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::default());
        let addresses = addresses::Settings {
            ipv4: true,
            ipv6: true,
            classless: true,
            classes: [].into(),
        };
        let questions = Questions {
            node_configs: Some(cluster::Settings::default()),
            addresses: Some(addresses),
        };
        (Planner::new(questions, metrics.clone()), metrics)
    }

    /// How often each question has been asked.
    fn asked(metrics: &Metrics) -> [String; 2] {
        let text = metrics.encode();
        let count = |name: &str| {
            let prefix = format!("{name}_count ");
            let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
            line.unwrap_or_default().to_owned()
        };
        [
            count("cilium_bgp_control_plane_reconcile_run_duration_seconds"),
            count("tombolo_operator_address_plan_duration_seconds"),
        ]
    }

    #[test]
    fn a_question_is_asked_again_only_when_what_it_depends_on_has_changed() {
        let (mut planner, metrics) = planner();
        let now = Timestamp::UNIX_EPOCH;
        let mut snapshot = Snapshot::default();
        snapshot
            .nodes
            .insert("n".to_owned(), Arc::new(NodeFacts::default()));
        let first = snapshot.clone();
        let service = NamespacedName::default();
        snapshot
            .services
            .insert(service.clone(), Arc::new(ServiceFacts::default()));
        let with_service = snapshot.clone();
        snapshot
            .services
            .insert(service.clone(), Arc::new(ServiceFacts::default()));
        let said_again = snapshot.clone();
        let newer = ServiceFacts {
            resource_version: "2".to_owned(),
            ..ServiceFacts::default()
        };
        snapshot.services.insert(service, Arc::new(newer));
        let with_another = snapshot.clone();
        snapshot.cilium_nodes = Some(BTreeMap::new());
        let rows = [
            ("at first", first.clone(), ["1", "1"]),
            ("nothing", first, ["1", "1"]),
            ("a Service", with_service, ["1", "2"]),
            ("the same, from another place", said_again, ["1", "2"]),
            ("a newer state of it", with_another, ["1", "3"]),
            ("a kind of nodes", snapshot, ["2", "3"]),
        ];
        for (change, snapshot, expected) in rows {
            let snapshot = Arc::new(snapshot);
            let _ = planner.node_configs(&snapshot, Observed::default(), now);
            let _ = planner.addresses(&snapshot, now);
            assert_eq!(asked(&metrics), expected, "{change}");
        }
    }

    #[test]
    fn a_refused_write_is_a_reason_to_ask_again() {
        let (mut planner, metrics) = planner();
        let snapshot = Arc::new(Snapshot::default());
        let refused = Observed {
            refused: [("n".to_owned(), "no".to_owned())].into(),
        };
        for observed in [Observed::default(), refused] {
            let _ = planner.node_configs(&snapshot, observed, Timestamp::UNIX_EPOCH);
        }
        assert_eq!(asked(&metrics)[0], "2");
    }
}
