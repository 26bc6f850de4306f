//! The conditions of ClusterConfigs and PeerConfigs, in Cilium 1.20's words.

use std::collections::{BTreeMap, BTreeSet};

use api::condition::{Condition, ConditionReason, ConditionType};
use api::{CiliumBGPClusterConfig, CiliumBGPPeerConfig};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::rejected::{self, Rejected};
use super::select::{Claims, Selection};
use super::{AuthSecrets, Conditioned, ConditionsOp, Settings, StatusReport};
use crate::Snapshot;
use crate::verdict::{self, Verdict};

/// Types of a ClusterConfig that only we write.
fn of_cluster_configs() -> [&'static str; 4] {
    [
        ConditionType::ConflictingClusterConfig.as_str(),
        ConditionType::MissingPeerConfigs.as_str(),
        ConditionType::NoMatchingNode.as_str(),
        rejected::CONDITION,
    ]
}

/// Types of a PeerConfig that only we write.
fn of_peer_configs() -> [&'static str; 1] {
    [ConditionType::MissingAuthSecret.as_str()]
}

fn verdict(reason: ConditionReason, message: String) -> Verdict {
    Verdict {
        type_: reason.condition_type().as_str(),
        status: reason.status(),
        reason: reason.as_str(),
        message,
    }
}

pub(super) fn conditions(
    snapshot: &Snapshot,
    selection: &Selection<'_>,
    rejected: &BTreeMap<String, Vec<Rejected>>,
    settings: &Settings,
    now: Timestamp,
) -> Vec<ConditionsOp> {
    let ops_of_cluster_configs = selection.configs.iter().filter_map(|(name, claims)| {
        let verdicts = match settings.status_report {
            StatusReport::Enabled => of_cluster_config(snapshot, claims, rejected.get(*name)),
            StatusReport::Disabled => Vec::new(),
        };
        let status = claims.config.status.as_ref();
        let present = status.map_or(&[][..], |status| &status.conditions);
        let CiliumBGPClusterConfig { metadata, .. } = claims.config;
        op(
            Conditioned::ClusterConfig,
            metadata,
            &of_cluster_configs(),
            present,
            verdicts,
            now,
        )
    });
    let alive = snapshot
        .peer_configs
        .values()
        .filter(|config| config.metadata.deletion_timestamp.is_none());
    let ops_of_peer_configs = alive.filter_map(|config| {
        let CiliumBGPPeerConfig {
            metadata,
            spec,
            status,
        } = config.as_ref();
        let verdicts = match (settings.status_report, settings.auth_secrets) {
            (StatusReport::Enabled, AuthSecrets::Known) => {
                vec![of_auth_secret(
                    spec.auth_secret_ref.as_deref(),
                    &snapshot.secrets,
                )]
            }
            (StatusReport::Enabled, AuthSecrets::Unknown) => return None,
            (StatusReport::Disabled, _) => Vec::new(),
        };
        let present = status.as_ref().map_or(&[][..], |status| &status.conditions);
        op(
            Conditioned::PeerConfig,
            metadata,
            &of_peer_configs(),
            present,
            verdicts,
            now,
        )
    });
    ops_of_cluster_configs.chain(ops_of_peer_configs).collect()
}

fn of_cluster_config(
    snapshot: &Snapshot,
    claims: &Claims<'_>,
    rejected: Option<&Vec<Rejected>>,
) -> Vec<Verdict> {
    let matching = if claims.selected.is_empty() {
        verdict(
            ConditionReason::MatchingNodeUnavailable,
            "No node matches spec.nodeSelector".to_owned(),
        )
    } else {
        verdict(ConditionReason::MatchingNodeSelected, String::new())
    };

    let peers = claims
        .config
        .spec
        .bgp_instances
        .iter()
        .flat_map(|instance| &instance.peers);
    let referenced = peers.filter_map(|peer| {
        peer.peer_config_ref
            .as_ref()
            .map(|reference| reference.name.as_str())
    });
    let missing: BTreeSet<_> = referenced
        .filter(|name| !snapshot.peer_configs.contains_key(*name))
        .collect();
    let missing = if missing.is_empty() {
        verdict(ConditionReason::PeerConfigsResolved, String::new())
    } else {
        let names = bracketed(&missing);
        let message = format!("Referenced CiliumBGPPeerConfig(s) are missing: {names}");
        verdict(ConditionReason::PeerConfigsMissing, message)
    };

    let conflicting = if claims.conflicts.is_empty() {
        verdict(ConditionReason::ClusterConfigValidated, String::new())
    } else {
        let names = bracketed(&claims.conflicts);
        let message = format!("Selecting the same node(s) with ClusterConfig(s): {names}");
        verdict(ConditionReason::ClusterConfigConflict, message)
    };

    let rejected = rejected
        .and_then(|rejected| Verdict::rejected(rejected::CONDITION, rejected, Rejected::reason));
    [conflicting, missing, matching]
        .into_iter()
        .chain(rejected)
        .collect()
}

/// Go's form of a list of strings.
fn bracketed(names: &BTreeSet<&str>) -> String {
    let names: Vec<_> = names.iter().copied().collect();
    format!("[{}]", names.join(" "))
}

fn of_auth_secret(name: Option<&str>, secrets: &BTreeSet<String>) -> Verdict {
    match name {
        None => verdict(
            ConditionReason::AuthSecretNotConfigured,
            "Auth Secret is not configured".to_owned(),
        ),
        Some(name) if secrets.contains(name) => {
            verdict(ConditionReason::AuthSecretValidated, String::new())
        }
        Some(name) => {
            let message = format!("Referenced Auth Secret \"{name}\" is missing");
            verdict(ConditionReason::AuthSecretMissing, message)
        }
    }
}

/// The list to write, if the one that is there lacks something, sorted by type as Cilium's is.
fn op(
    kind: Conditioned,
    metadata: &ObjectMeta,
    ours: &[&str],
    present: &[Condition],
    verdicts: Vec<Verdict>,
    now: Timestamp,
) -> Option<ConditionsOp> {
    let mut conditions = verdict::conditions(present, ours, verdicts, metadata.generation, now)?;
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    Some(ConditionsOp {
        kind,
        name: metadata.name.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone(),
        conditions,
    })
}
