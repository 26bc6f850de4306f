//! Conditions in the status of our kinds: their types and reasons, in Cilium 1.20's words.
//!
//! A reason belongs to one type and one status, so it is the reason that code decides on.

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{Schema, SchemaGenerator, json_schema};

/// What a condition is about. All of ours are problems: `False` is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// CiliumBGPNodeConfig: the agent could not carry out part of its configuration.
    BgpReconcileError,
    /// CiliumBGPClusterConfig: a selected node belongs to another CiliumBGPClusterConfig.
    ConflictingClusterConfig,
    /// CiliumBGPPeerConfig: the Secret of `authSecretRef` does not exist.
    MissingAuthSecret,
    /// CiliumBGPClusterConfig: a referenced CiliumBGPPeerConfig does not exist.
    MissingPeerConfigs,
    /// CiliumBGPClusterConfig: the node selector selects no node.
    NoMatchingNode,
}

impl ConditionType {
    /// The text in `type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BgpReconcileError => "cilium.io/BGPReconcileError",
            Self::ConflictingClusterConfig => "cilium.io/ConflictingClusterConfig",
            Self::MissingAuthSecret => "cilium.io/MissingAuthSecret",
            Self::MissingPeerConfigs => "cilium.io/MissingPeerConfigs",
            Self::NoMatchingNode => "cilium.io/NoMatchingNode",
        }
    }
}

/// Why a condition has its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionReason {
    /// No node matches the node selector.
    MatchingNodeUnavailable,
    /// At least one node matches.
    MatchingNodeSelected,
    /// At least one referenced CiliumBGPPeerConfig is missing.
    PeerConfigsMissing,
    /// All of them exist.
    PeerConfigsResolved,
    /// Another CiliumBGPClusterConfig selects the same node and was first.
    ClusterConfigConflict,
    /// No conflict.
    ClusterConfigValidated,
    /// The referenced Secret does not exist.
    AuthSecretMissing,
    /// No Secret is referenced.
    AuthSecretNotConfigured,
    /// The referenced Secret exists.
    AuthSecretValidated,
    /// Part of the node's configuration could not be carried out.
    ReconcileFailed,
    /// All of it is carried out.
    ReconcileSucceeded,
}

impl ConditionReason {
    /// The text in `reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MatchingNodeUnavailable => "MatchingNodeUnavailable",
            Self::MatchingNodeSelected => "MatchingNodeSelected",
            Self::PeerConfigsMissing => "PeerConfigsMissing",
            Self::PeerConfigsResolved => "PeerConfigsResolved",
            Self::ClusterConfigConflict => "ClusterConfigConflict",
            Self::ClusterConfigValidated => "ClusterConfigValidated",
            Self::AuthSecretMissing => "AuthSecretMissing",
            Self::AuthSecretNotConfigured => "AuthSecretNotConfigured",
            Self::AuthSecretValidated => "AuthSecretValidated",
            Self::ReconcileFailed => "ReconcileFailed",
            Self::ReconcileSucceeded => "ReconcileSucceeded",
        }
    }

    /// The condition it is a reason of.
    #[must_use]
    pub fn condition_type(self) -> ConditionType {
        match self {
            Self::MatchingNodeUnavailable | Self::MatchingNodeSelected => {
                ConditionType::NoMatchingNode
            }
            Self::PeerConfigsMissing | Self::PeerConfigsResolved => {
                ConditionType::MissingPeerConfigs
            }
            Self::ClusterConfigConflict | Self::ClusterConfigValidated => {
                ConditionType::ConflictingClusterConfig
            }
            Self::AuthSecretMissing | Self::AuthSecretNotConfigured | Self::AuthSecretValidated => {
                ConditionType::MissingAuthSecret
            }
            Self::ReconcileFailed | Self::ReconcileSucceeded => ConditionType::BgpReconcileError,
        }
    }

    /// Whether the condition is met, that is, whether there is a problem.
    #[must_use]
    pub fn is_problem(self) -> bool {
        match self {
            Self::MatchingNodeUnavailable
            | Self::PeerConfigsMissing
            | Self::ClusterConfigConflict
            | Self::AuthSecretMissing
            | Self::ReconcileFailed => true,
            Self::MatchingNodeSelected
            | Self::PeerConfigsResolved
            | Self::ClusterConfigValidated
            | Self::AuthSecretNotConfigured
            | Self::AuthSecretValidated
            | Self::ReconcileSucceeded => false,
        }
    }

    /// The text in `status`: `True` where there is a problem, else `False`.
    #[must_use]
    pub fn status(self) -> &'static str {
        if self.is_problem() { "True" } else { "False" }
    }
}

/// Longest `message` the schema admits, in characters.
pub const MESSAGE_MAX_LENGTH: usize = 32_768;

/// Schema of a list of conditions, with the bounds of Kubernetes' own `metav1.Condition`.
pub(crate) fn list_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "What is said of the object, by type. Where the type names a problem, no problem is reported as False.",
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "description": "One thing that is said of the object.",
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": {
                    "description": "When the status last changed.",
                    "type": "string",
                    "format": "date-time",
                },
                "message": {
                    "description": "What there is to say, for people. May be empty.",
                    "type": "string",
                    "maxLength": MESSAGE_MAX_LENGTH,
                },
                "observedGeneration": {
                    "description": "metadata.generation of the spec that was judged.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                },
                "reason": {
                    "description": "Why the condition has its status, for programs.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "status": {
                    "description": "Whether what the type names is so, which with types of Cilium's is a problem; Unknown where the condition only tells a number.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                },
                "type": {
                    "description": "What the condition is about.",
                    "type": "string",
                    "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                },
            },
        },
    })
}
