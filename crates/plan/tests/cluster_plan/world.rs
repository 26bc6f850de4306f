//! A cluster in memory: short builders, and an API server's part of applying a plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{
    CiliumBGPClusterConfig, CiliumBGPNodeConfig, CiliumBGPNodeConfigOverride, CiliumBGPPeerConfig,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use plan::cluster::{
    ClusterPlan, Conditioned, ConditionsOp, NodeConfigOp, Observed, Settings, StatusReport, plan,
};
use plan::{NodeFacts, Snapshot};
use serde_json::{Value, json};

/// A cluster, and a clock that moves a second with each plan.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    pub(crate) snapshot: Snapshot,
    pub(crate) settings: Settings,
    pub(crate) observed: Observed,
    seconds: i64,
    versions: u64,
}

/// Selects nodes with label `bgp=on`.
pub(crate) fn on() -> Option<Value> {
    Some(json!({"matchLabels": {"bgp": "on"}}))
}

/// One instance `a` with one peer `tor`.
pub(crate) fn one_instance() -> Value {
    json!([{"name": "a", "localASN": 65001, "peers": [
        {"name": "tor", "peerAddress": "10.0.0.1", "peerASN": 65000, "peerConfigRef": {"name": "peer"}},
    ]}])
}

impl World {
    /// Nodes with label `bgp=on`.
    pub(crate) fn with_nodes(names: &[&str]) -> Self {
        let mut world = Self::default();
        for name in names {
            world.node(name, &[("bgp", "on")]);
        }
        world.peer_config("peer", None);
        world
    }

    pub(crate) fn node(&mut self, name: &str, labels: &[(&str, &str)]) {
        self.snapshot.nodes.insert(name.to_owned(), facts(labels));
    }

    pub(crate) fn cilium_node(&mut self, name: &str, labels: &[(&str, &str)]) {
        self.snapshot
            .cilium_nodes
            .get_or_insert_default()
            .insert(name.to_owned(), facts(labels));
    }

    /// Creates or edits a ClusterConfig.
    pub(crate) fn cluster_config(&mut self, name: &str, selector: Option<Value>, instances: Value) {
        let mut spec = with_instances(instances);
        if let Some(selector) = selector {
            spec["nodeSelector"] = selector;
        }
        let before = self.snapshot.cluster_configs.get(name).cloned();
        let metadata = self.metadata(name, before.as_ref().map(|before| &before.metadata));
        let config = CiliumBGPClusterConfig {
            metadata,
            spec: serde_json::from_value(spec).expect("a spec of the right form"),
            status: before.and_then(|before| before.status.clone()),
        };
        self.snapshot
            .cluster_configs
            .insert(name.to_owned(), Arc::new(config));
    }

    pub(crate) fn change_cluster_config(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut CiliumBGPClusterConfig),
    ) {
        change(Arc::make_mut(
            self.snapshot
                .cluster_configs
                .get_mut(name)
                .expect("a ClusterConfig of this name"),
        ));
    }

    pub(crate) fn change_node_config(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut CiliumBGPNodeConfig),
    ) {
        change(Arc::make_mut(
            self.snapshot
                .node_configs
                .get_mut(name)
                .expect("a NodeConfig of this name"),
        ));
    }

    pub(crate) fn peer_config(&mut self, name: &str, secret: Option<&str>) {
        let metadata = self.metadata(name, None);
        let mut config = CiliumBGPPeerConfig {
            metadata,
            ..CiliumBGPPeerConfig::default()
        };
        config.spec.auth_secret_ref = secret.map(str::to_owned);
        self.snapshot
            .peer_configs
            .insert(name.to_owned(), Arc::new(config));
    }

    pub(crate) fn override_(&mut self, node: &str, instances: Value) {
        let metadata = self.metadata(node, None);
        let spec =
            serde_json::from_value(with_instances(instances)).expect("a spec of the right form");
        let config = CiliumBGPNodeConfigOverride { metadata, spec };
        self.snapshot
            .overrides
            .insert(node.to_owned(), Arc::new(config));
    }

    /// A NodeConfig that no ClusterConfig owns.
    pub(crate) fn hand_made(&mut self, node: &str, instances: Value) {
        let metadata = self.metadata(node, None);
        let spec =
            serde_json::from_value(with_instances(instances)).expect("a spec of the right form");
        let config = CiliumBGPNodeConfig {
            metadata,
            spec,
            status: None,
        };
        self.snapshot
            .node_configs
            .insert(node.to_owned(), Arc::new(config));
    }

    /// Each new object is a second younger than the one before.
    fn metadata(&mut self, name: &str, before: Option<&ObjectMeta>) -> ObjectMeta {
        self.versions += 1;
        let created = Timestamp::from_second(1_000 + i64::try_from(self.versions).expect("small"))
            .expect("in range");
        let mut metadata = before.cloned().unwrap_or_else(|| ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(format!("uid-{name}-{}", self.versions)),
            creation_timestamp: Some(Time(created)),
            generation: Some(0),
            ..ObjectMeta::default()
        });
        metadata.generation = metadata.generation.map(|generation| generation + 1);
        metadata.resource_version = Some(self.versions.to_string());
        metadata
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_second(1_000_000 + self.seconds).expect("in range")
    }

    pub(crate) fn plan(&mut self) -> ClusterPlan {
        self.seconds += 1;
        plan(&self.snapshot, &self.observed, &self.settings, self.now())
    }

    /// Plans and applies until nothing is left to write, and says how many plans wrote something.
    pub(crate) fn settle(&mut self) -> usize {
        for round in 0..10 {
            let plan = self.plan();
            if plan.node_configs.is_empty() && plan.conditions.is_empty() {
                return round;
            }
            self.apply(plan);
        }
        panic!("does not settle: {:#?}", self.plan());
    }

    pub(crate) fn apply(&mut self, plan: ClusterPlan) {
        for op in plan.node_configs {
            self.apply_node_config(op);
        }
        for op in plan.conditions {
            self.apply_conditions(op);
        }
    }

    fn apply_node_config(&mut self, op: NodeConfigOp) {
        match op {
            NodeConfigOp::Create { name, owner, spec } => {
                let mut metadata = self.metadata(&name, None);
                metadata.owner_references = Some(vec![owner]);
                let made = CiliumBGPNodeConfig {
                    metadata,
                    spec,
                    status: None,
                };
                let before = self.snapshot.node_configs.insert(name, Arc::new(made));
                assert_eq!(before, None, "created over another");
            }
            NodeConfigOp::Update { name, uid, spec } => {
                let before = self.snapshot.node_configs[&name].clone();
                assert_eq!(before.metadata.uid.as_ref(), Some(&uid));
                let metadata = self.metadata(&name, Some(&before.metadata));
                let config = CiliumBGPNodeConfig {
                    metadata,
                    spec,
                    status: None,
                };
                self.snapshot.node_configs.insert(name, Arc::new(config));
            }
            NodeConfigOp::Delete { name, uid } | NodeConfigOp::Collect { name, uid, .. } => {
                let gone = self
                    .snapshot
                    .node_configs
                    .remove(&name)
                    .expect("deleted what is there");
                assert_eq!(gone.metadata.uid.as_ref(), Some(&uid));
            }
        }
    }

    fn apply_conditions(&mut self, op: ConditionsOp) {
        self.versions += 1;
        let version = Some(self.versions.to_string());
        match op.kind {
            Conditioned::ClusterConfig => self.change_cluster_config(&op.name, |config| {
                assert_eq!(config.metadata.resource_version, op.resource_version);
                config.metadata.resource_version = version;
                config.status.get_or_insert_default().conditions = op.conditions;
            }),
            Conditioned::PeerConfig => {
                let config = self
                    .snapshot
                    .peer_configs
                    .get_mut(&op.name)
                    .expect("a PeerConfig of this name");
                let config = Arc::make_mut(config);
                config.metadata.resource_version = version;
                config.status.get_or_insert_default().conditions = op.conditions;
            }
        }
    }

    /// Nodes with a NodeConfig, each with the name of its owner.
    pub(crate) fn owners(&self) -> BTreeMap<&str, &str> {
        let configs = self.snapshot.node_configs.iter();
        configs
            .map(|(name, config)| {
                let owner = config.metadata.owner_references.iter().flatten().next();
                (name.as_str(), owner.map_or("", |owner| owner.name.as_str()))
            })
            .collect()
    }

    /// The first instance of a node's NodeConfig.
    pub(crate) fn instance(&self, node: &str) -> &api::node_config::Instance {
        &self.snapshot.node_configs[node].spec.bgp_instances[0]
    }

    pub(crate) fn conditions(&self, cluster_config: &str) -> &[Condition] {
        self.snapshot.cluster_configs[cluster_config]
            .status
            .as_ref()
            .map_or(&[], |status| &status.conditions)
    }

    /// The conditions of a ClusterConfig, `Type Status Reason: message`, without the prefix of Cilium's types.
    pub(crate) fn said(&self, cluster_config: &str) -> Vec<String> {
        self.conditions(cluster_config).iter().map(said).collect()
    }

    /// Reason and message of condition `tombolo.io/Rejected`.
    pub(crate) fn rejected(&self, cluster_config: &str) -> Option<(String, String)> {
        let conditions = self.conditions(cluster_config).iter();
        let mut rejected =
            conditions.filter(|condition| condition.type_ == plan::cluster::rejected::CONDITION);
        rejected
            .next()
            .map(|condition| (condition.reason.clone(), condition.message.clone()))
    }

    pub(crate) fn without_status_report(mut self) -> Self {
        self.settings.status_report = StatusReport::Disabled;
        self
    }
}

pub(crate) fn said(condition: &Condition) -> String {
    let Condition {
        type_,
        status,
        reason,
        message,
        ..
    } = condition;
    let type_ = type_.strip_prefix("cilium.io/").unwrap_or(type_);
    format!("{type_} {status} {reason}: {message}")
}

fn with_instances(instances: Value) -> Value {
    Value::Object(
        [("bgpInstances".to_owned(), instances)]
            .into_iter()
            .collect(),
    )
}

fn facts(labels: &[(&str, &str)]) -> Arc<NodeFacts> {
    let labels = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Arc::new(NodeFacts {
        labels,
        ..NodeFacts::default()
    })
}
