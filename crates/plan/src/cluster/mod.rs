//! The operator's question: which CiliumBGPNodeConfig must each node have, and which conditions must be written?
//!
//! ```text
//!  ClusterConfigs × node labels ─► [select] who owns which node ─► [merge] + override ─► [router_id] ─► NodeConfigOps
//!                                      └── conflicts, blocked nodes ──┴── rejected fields ──┴─► [conditions]
//! ```
//!
//! # Why
//!
//! Behaviour is that of Cilium 1.20's operator, condition texts included, and otherwise where that one is wrong:
//!
//! * Ownership of a node does not depend on the order of events: who has the NodeConfig keeps it, and a free node goes
//!   to the oldest ClusterConfig that selects it (then by name).
//! * A ClusterConfig that is being deleted owns nothing any more, except when its dependents are to be orphaned. Nor does
//!   one that is gone: the garbage collector, which Cilium leaves that to, can take more than a minute after the API
//!   server was away, while nodes announce what nobody wants.
//! * An invalid selector, override field or NodeConfig that is not ours costs that ClusterConfig, field or node only, and
//!   is named in the condition [`rejected::CONDITION`] of the ClusterConfig concerned, because an override has no status.
//!   While its selector is invalid, a ClusterConfig keeps the nodes it has.
//! * Router IDs of a pool are read back from the NodeConfigs at each plan, so there is nothing to leak.

mod conditions;
mod merge;
pub mod rejected;
mod router_id;
mod select;

use std::collections::BTreeMap;

use api::condition::Condition;
use api::node_config::NodeConfigSpec;
use ipnet::Ipv4Net;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use self::rejected::Rejected;
use crate::Snapshot;

/// Whether a ClusterConfig owns the NodeConfig of this metadata, that is, whether the operator made it.
#[must_use]
pub fn is_owned(node_config: &ObjectMeta) -> bool {
    select::owner_reference(node_config).is_some()
}

/// What the administrator decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether conditions are written (`enable-bgp-control-plane-status-report`).
    pub status_report: StatusReport,
    /// Whether the snapshot knows the Secrets that PeerConfigs may name (`bgp-secrets-namespace`).
    pub auth_secrets: AuthSecrets,
    /// Where router IDs come from that no override sets (`bgp-router-id-allocation-mode`).
    pub router_ids: RouterIds,
}

/// Whether conditions are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusReport {
    /// They are.
    Enabled,
    /// They are removed; only the types that are ours.
    Disabled,
}

/// Whether the snapshot knows Secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthSecrets {
    /// No namespace is configured: nothing is said of them.
    Unknown,
    /// `Snapshot::secrets` names all there are.
    Known,
}

/// Where router IDs come from that no override sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouterIds {
    /// The agent takes an address of its node.
    OfNode,
    /// Each instance of each node gets one of these addresses, the first and the last included, 0.0.0.0 never.
    Pool(Ipv4Net),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            status_report: StatusReport::Enabled,
            auth_secrets: AuthSecrets::Unknown,
            router_ids: RouterIds::OfNode,
        }
    }
}

/// What became of earlier writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// NodeConfigs that the API server refuses to take in the form last tried, with its words.
    pub refused: BTreeMap<String, String>,
}

/// What must be written. Nothing in it that is so already.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterPlan {
    /// Changes of NodeConfigs: first what goes, then the rest, each by name.
    pub node_configs: Vec<NodeConfigOp>,
    /// Conditions to replace: of ClusterConfigs, then of PeerConfigs, each by name.
    pub conditions: Vec<ConditionsOp>,
    /// What is not carried out and why, by name of the ClusterConfig it is reported at.
    pub rejected: BTreeMap<String, Vec<Rejected>>,
}

/// One change of a NodeConfig, which has its node's name.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeConfigOp {
    /// Make it.
    Create {
        /// The node.
        name: String,
        /// The ClusterConfig, as controller: with it goes the NodeConfig.
        owner: OwnerReference,
        /// What the node shall do.
        spec: NodeConfigSpec,
    },
    /// Replace its spec and nothing else.
    Update {
        /// The node.
        name: String,
        /// The object that is meant; another one of the same name must not be touched.
        uid: String,
        /// What the node shall do.
        spec: NodeConfigSpec,
    },
    /// Remove it.
    Delete {
        /// The node.
        name: String,
        /// The object that is meant; another one of the same name must not be touched.
        uid: String,
    },
    /// Remove it if it still has the owner, which the snapshot does not show, and that one is gone. The watches of both
    /// may be behind.
    Collect {
        /// The node.
        name: String,
        /// The object that is meant; another one of the same name must not be touched.
        uid: String,
        /// The ClusterConfig.
        owner: OwnerReference,
    },
}

impl NodeConfigOp {
    /// The node, which is the NodeConfig's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Create { name, .. }
            | Self::Update { name, .. }
            | Self::Delete { name, .. }
            | Self::Collect { name, .. } => name,
        }
    }
}

/// A kind whose conditions the operator writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Conditioned {
    /// CiliumBGPClusterConfig.
    ClusterConfig,
    /// CiliumBGPPeerConfig.
    PeerConfig,
}

/// New conditions of one object: the complete list, other people's included, sorted by type.
#[derive(Debug, Clone, PartialEq)]
pub struct ConditionsOp {
    /// Its kind.
    pub kind: Conditioned,
    /// Its name.
    pub name: String,
    /// The state the list was made for: with another, it may lack a condition somebody else has written since.
    pub resource_version: Option<String>,
    /// The list.
    pub conditions: Vec<Condition>,
}

/// What must be written so that the cluster is as its ClusterConfigs want it. `now` becomes the transition time of
/// conditions whose status changes, in whole seconds.
#[must_use]
pub fn plan(
    snapshot: &Snapshot,
    observed: &Observed,
    settings: &Settings,
    now: Timestamp,
) -> ClusterPlan {
    let selection = select::select(snapshot);
    let mut wishes = merge::merge(snapshot, &selection);
    router_id::assign(
        &mut wishes,
        settings.router_ids,
        &selection.router_ids_in_use(snapshot),
    );

    let mut rejected = selection.rejected.clone();
    for wish in &wishes {
        let refused = observed
            .refused
            .get(&wish.node)
            .map(|message| Rejected::Refused {
                node: wish.node.clone(),
                message: message.clone(),
            });
        rejected
            .entry(wish.owner.name.clone())
            .or_default()
            .extend(wish.rejected.iter().cloned().chain(refused));
    }
    rejected.retain(|_, reasons| !reasons.is_empty());

    let conditions = conditions::conditions(snapshot, &selection, &rejected, settings, now);
    ClusterPlan {
        node_configs: node_config_ops(snapshot, &selection, wishes),
        conditions,
        rejected,
    }
}

fn node_config_ops(
    snapshot: &Snapshot,
    selection: &select::Selection<'_>,
    wishes: Vec<merge::Wish>,
) -> Vec<NodeConfigOp> {
    let deletes = selection
        .leaving
        .iter()
        .map(|(name, uid)| NodeConfigOp::Delete {
            name: (*name).to_owned(),
            uid: uid.clone(),
        });
    let collected = selection.dangling.iter().filter_map(|(name, metadata)| {
        Some(NodeConfigOp::Collect {
            name: (*name).to_owned(),
            uid: metadata.uid.clone().unwrap_or_default(),
            owner: select::owner_reference(metadata)?.clone(),
        })
    });
    let writes = wishes.into_iter().filter_map(|wish| {
        let merge::Wish {
            node: name,
            owner,
            spec,
            ..
        } = wish;
        match snapshot.node_configs.get(&name) {
            None => Some(NodeConfigOp::Create { name, owner, spec }),
            Some(present) if present.spec == spec => None,
            Some(present) => Some(NodeConfigOp::Update {
                name,
                uid: present.metadata.uid.clone().unwrap_or_default(),
                spec,
            }),
        }
    });
    deletes.chain(collected).chain(writes).collect()
}
