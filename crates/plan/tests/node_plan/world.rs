//! The cluster as a node sees it, and what is changed in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use plan::node::{NodePlan, Observed, RouterIdMode, Settings, WithoutEndpoints, plan};
use plan::rejected::Reason;
use plan::{NodeFacts, Snapshot};
use serde_json::{Value, json};

pub(crate) const NODE: &str = "k8s-ctr";

/// A snapshot of the published lab as its first node sees it.
pub(crate) struct World {
    pub(crate) snapshot: Snapshot,
    pub(crate) settings: Settings,
    pub(crate) observed: Observed,
}

impl World {
    pub(crate) fn published() -> Self {
        let facts = NodeFacts {
            labels: BTreeMap::new(),
            pod_cidrs: vec![
                "172.20.0.0/24".parse().unwrap(),
                "fd00:20::/64".parse().unwrap(),
            ],
            internal_addresses: vec!["192.168.10.100".parse().unwrap()],
        };
        let mut snapshot = Snapshot::default();
        snapshot.nodes.insert(NODE.into(), Arc::new(facts));
        let settings = Settings {
            node: NODE.into(),
            router_id: RouterIdMode::Default,
            without_endpoints: WithoutEndpoints::Announce,
            datapath: None,
        };
        let mut world = Self {
            snapshot,
            settings,
            observed: Observed::default(),
        };
        world.node_config(
            json!([{"name": "instance-65001", "localASN": 65001, "peers": [
            {"name": "tor-switch", "peerASN": 65000, "peerAddress": "192.168.10.200",
             "peerConfigRef": {"name": "cilium-peer"}}]}]),
        );
        world.peer_config(json!({
            "timers": {"holdTimeSeconds": 9, "keepAliveTimeSeconds": 3},
            "ebgpMultihop": 2,
            "gracefulRestart": {"enabled": true, "restartTimeSeconds": 15},
            "families": [{"afi": "ipv4", "safi": "unicast", "advertisements": {"matchLabels": {"advertise": "bgp"}}}],
        }));
        world.advertisement("pods", json!([{"advertisementType": "PodCIDR"}]));
        world
    }

    pub(crate) fn node_config(&mut self, instances: Value) {
        let object = json!({"apiVersion": "cilium.io/v2", "kind": "CiliumBGPNodeConfig",
            "metadata": {"name": NODE, "generation": 3}, "spec": {"bgpInstances": instances}});
        self.snapshot.node_configs.insert(
            NODE.into(),
            Arc::new(serde_json::from_value(object).unwrap()),
        );
    }

    pub(crate) fn peer_config(&mut self, spec: Value) {
        let object = json!({"apiVersion": "cilium.io/v2", "kind": "CiliumBGPPeerConfig",
            "metadata": {"name": "cilium-peer"}, "spec": spec});
        self.snapshot.peer_configs.insert(
            "cilium-peer".into(),
            Arc::new(serde_json::from_value(object).unwrap()),
        );
    }

    pub(crate) fn advertisement(&mut self, name: &str, entries: Value) {
        let object = json!({"apiVersion": "cilium.io/v2", "kind": "CiliumBGPAdvertisement",
            "metadata": {"name": name, "labels": {"advertise": "bgp"}}, "spec": {"advertisements": entries}});
        self.snapshot.advertisements.insert(
            name.into(),
            Arc::new(serde_json::from_value(object).unwrap()),
        );
    }

    pub(crate) fn instance(&mut self, changes: Value) {
        let mut instance = json!({"name": "i", "localASN": 65001, "peers": [{"name": "p", "peerASN": 65000,
            "peerAddress": "192.0.2.1", "peerConfigRef": {"name": "cilium-peer"}}]});
        merge(&mut instance, &changes);
        self.node_config(json!([instance]));
    }

    pub(crate) fn peer(&mut self, changes: Value) {
        let mut peer = json!({"name": "p", "peerASN": 65000, "peerAddress": "192.0.2.1",
            "peerConfigRef": {"name": "cilium-peer"}});
        merge(&mut peer, &changes);
        self.instance(json!({"peers": [peer]}));
    }

    pub(crate) fn plan(&self) -> NodePlan {
        plan(&self.snapshot, &self.settings, &self.observed)
    }

    pub(crate) fn reasons(&self) -> Vec<Reason> {
        self.plan()
            .rejected
            .into_iter()
            .map(|rejected| rejected.reason)
            .collect()
    }
}

/// Shallow: null takes a key away.
fn merge(object: &mut Value, changes: &Value) {
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(object.as_object_mut().unwrap().remove(key)),
            value => object[key] = value.clone(),
        }
    }
}
