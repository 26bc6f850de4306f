//! What the operator does not carry out, and why.

use std::net::Ipv4Addr;

use api::InvalidSelector;
use ipnet::Ipv4Net;

pub use crate::rejected::CONDITION;

/// Something a ClusterConfig, or an override of one of its nodes, asks for in vain. Ordered: what concerns more first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Rejected {
    /// The node selector is admitted by the schema and means nothing. The nodes stay as they are.
    #[error("spec.nodeSelector is invalid ({0}); the nodes selected before are kept")]
    NodeSelector(InvalidSelector),
    /// The node has a NodeConfig that no ClusterConfig owns; it is left alone.
    #[error(
        "node {node}: its CiliumBGPNodeConfig has no CiliumBGPClusterConfig as owner and is left alone"
    )]
    NotOwned {
        /// The node.
        node: String,
    },
    /// The API server refuses the NodeConfig.
    #[error("node {node}: its CiliumBGPNodeConfig is refused: {message}")]
    Refused {
        /// The node.
        node: String,
        /// What the API server says.
        message: String,
    },
    /// An override's port that is no port (the override's schema has no bounds, that of NodeConfigs has).
    #[error("override of node {node}, instance {instance}: localPort {port} is not in 1..65535")]
    LocalPort {
        /// The node.
        node: String,
        /// The instance.
        instance: String,
        /// What it says.
        port: i32,
    },
    /// An override's router ID that is none: not an IPv4 address, or 0.0.0.0 (RFC 6286 section 2.1).
    #[error(
        "override of node {node}, instance {instance}: routerID {router_id:?} is no BGP identifier"
    )]
    RouterId {
        /// The node.
        node: String,
        /// The instance.
        instance: String,
        /// What it says.
        router_id: String,
    },
    /// An override's router ID that another instance has.
    #[error(
        "override of node {node}, instance {instance}: routerID {router_id} is already that of {holder}"
    )]
    RouterIdTaken {
        /// The node.
        node: String,
        /// The instance.
        instance: String,
        /// What it says.
        router_id: Ipv4Addr,
        /// Who has it.
        holder: Holder,
    },
    /// No router ID is left.
    #[error("node {node}, instance {instance}: no router ID, the pool {pool} is exhausted")]
    RouterIdsExhausted {
        /// The node.
        node: String,
        /// The instance.
        instance: String,
        /// The pool.
        pool: Ipv4Net,
    },
}

/// An instance of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// The node.
    pub node: String,
    /// The instance.
    pub instance: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node {}, instance {}", self.node, self.instance)
    }
}

impl Rejected {
    /// The condition's reason, for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NodeSelector(_) => "InvalidNodeSelector",
            Self::NotOwned { .. } => "NodeConfigNotOwned",
            Self::Refused { .. } => "NodeConfigRefused",
            Self::LocalPort { .. } | Self::RouterId { .. } => "InvalidOverride",
            Self::RouterIdTaken { .. } => "RouterIDConflict",
            Self::RouterIdsExhausted { .. } => "RouterIDPoolExhausted",
        }
    }
}
