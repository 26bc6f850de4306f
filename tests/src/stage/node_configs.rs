//! Nodes, the NodeConfigs that the operator makes for them, and the conditions of those who want them.

use std::collections::BTreeMap;

use api::{CiliumBGPClusterConfig, CiliumBGPNodeConfig, CiliumBGPPeerConfig};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{Outcome, Stage, eventually, said};

impl Stage {
    /// Makes a node.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub async fn node(&self, name: &str, labels: Value) -> Outcome {
        let node = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}))?;
        self.all::<Node>()
            .create(&PostParams::default(), &node)
            .await?;
        Ok(())
    }

    /// Sets labels of a node; `null` takes one off.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    pub async fn label(&self, node: &str, labels: Value) -> Outcome {
        let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
        self.all::<Node>()
            .patch(node, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// NodeConfigs by node.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub async fn node_configs(&self) -> Outcome<BTreeMap<String, CiliumBGPNodeConfig>> {
        let list = self
            .all::<CiliumBGPNodeConfig>()
            .list(&ListParams::default())
            .await?;
        Ok(list
            .into_iter()
            .map(|config| (config.metadata.name.clone().unwrap_or_default(), config))
            .collect())
    }

    /// Nodes that have a NodeConfig.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub async fn configured(&self) -> Outcome<Vec<String>> {
        Ok(self.node_configs().await?.into_keys().collect())
    }

    /// Waits until exactly these nodes have a NodeConfig.
    ///
    /// # Errors
    ///
    /// When they have not within [`PATIENCE`](super::PATIENCE).
    pub async fn await_configured(&self, nodes: &[&str]) -> Outcome {
        eventually(&format!("NodeConfigs are {nodes:?}"), async || {
            Ok((self.configured().await? == nodes).then_some(()))
        })
        .await
    }

    /// Conditions of a ClusterConfig.
    ///
    /// # Errors
    ///
    /// When there is none of that name.
    pub async fn conditions(&self, cluster_config: &str) -> Outcome<Vec<Condition>> {
        let config = self
            .all::<CiliumBGPClusterConfig>()
            .get(cluster_config)
            .await?;
        Ok(config
            .status
            .map(|status| status.conditions)
            .unwrap_or_default())
    }

    /// Waits until a ClusterConfig has exactly these conditions, each `Type Status Reason: message`.
    ///
    /// # Errors
    ///
    /// When it has not within [`PATIENCE`](super::PATIENCE).
    pub async fn await_conditions(&self, cluster_config: &str, expected: &[&str]) -> Outcome {
        let mut found = Vec::new();
        let waited = eventually("the conditions are as expected", async || {
            found = self
                .conditions(cluster_config)
                .await?
                .iter()
                .map(said)
                .collect();
            Ok((found == expected).then_some(()))
        });
        let waited = waited.await;
        waited.map_err(|error| format!("{error}: {cluster_config} says {found:#?}").into())
    }

    /// Waits until a PeerConfig has exactly these conditions.
    ///
    /// # Errors
    ///
    /// When it has not within [`PATIENCE`](super::PATIENCE).
    pub async fn await_peer_condition(&self, peer_config: &str, expected: &[&str]) -> Outcome {
        eventually("the PeerConfig has its condition", async || {
            let config = self.all::<CiliumBGPPeerConfig>().get(peer_config).await?;
            let conditions = config
                .status
                .map(|status| status.conditions)
                .unwrap_or_default();
            Ok((conditions.iter().map(said).collect::<Vec<_>>() == expected).then_some(()))
        })
        .await
    }
}

/// Selects nodes with label `bgp=on`, one instance `a` with one peer.
#[must_use]
pub fn on() -> Value {
    with_selector(&json!({"matchLabels": {"bgp": "on"}}))
}

/// Selects nodes so, with one instance `a` with one peer.
#[must_use]
pub fn with_selector(selector: &Value) -> Value {
    json!({"nodeSelector": selector, "bgpInstances": [{"name": "a", "localASN": 65001, "peers": [
        {"name": "tor", "peerASN": 65000, "peerAddress": "10.0.0.1", "peerConfigRef": {"name": "peer"}},
    ]}]})
}

/// Conditions of a ClusterConfig about which there is nothing to say.
pub const HEALTHY: [&str; 3] = [
    "ConflictingClusterConfig False ClusterConfigValidated: ",
    "MissingPeerConfigs False PeerConfigsResolved: ",
    "NoMatchingNode False MatchingNodeSelected: ",
];
