//! Which kinds, and which objects of them, a program reads.

use std::fmt;

/// A kind that can be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Kubernetes' Node.
    Node,
    /// Cilium's CiliumNode; a cluster need not have it.
    CiliumNode,
    /// CiliumBGPClusterConfig.
    ClusterConfig,
    /// CiliumBGPPeerConfig.
    PeerConfig,
    /// CiliumBGPAdvertisement.
    Advertisement,
    /// CiliumBGPNodeConfigOverride.
    Override,
    /// CiliumBGPNodeConfig.
    NodeConfig,
    /// Secret, of one namespace and by name only: its contents are never asked for.
    Secret,
    /// CiliumLoadBalancerIPPool.
    Pool,
    /// Kubernetes' Service.
    Service,
    /// Kubernetes' EndpointSlice.
    EndpointSlice,
    /// Kubernetes' ServiceCIDR; there is none before 1.33.
    ServiceCidr,
    /// BGPRouteImport; where Cilium has made the definitions of its kinds, that of ours may be missing.
    RouteImport,
}

impl Kind {
    /// The plural that the API server uses.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Node => "nodes",
            Self::CiliumNode => "ciliumnodes",
            Self::ClusterConfig => "ciliumbgpclusterconfigs",
            Self::PeerConfig => "ciliumbgppeerconfigs",
            Self::Advertisement => "ciliumbgpadvertisements",
            Self::Override => "ciliumbgpnodeconfigoverrides",
            Self::NodeConfig => "ciliumbgpnodeconfigs",
            Self::Secret => "secrets",
            Self::Pool => "ciliumloadbalancerippools",
            Self::Service => "services",
            Self::EndpointSlice => "endpointslices",
            Self::ServiceCidr => "servicecidrs",
            Self::RouteImport => "bgprouteimports",
        }
    }

    /// Whether a cluster may do well without the kind for ever.
    #[must_use]
    pub fn is_optional(self) -> bool {
        match self {
            Self::CiliumNode | Self::ServiceCidr | Self::RouteImport => true,
            Self::Node
            | Self::ClusterConfig
            | Self::PeerConfig
            | Self::Advertisement
            | Self::Override
            | Self::NodeConfig
            | Self::Secret
            | Self::Pool
            | Self::Service
            | Self::EndpointSlice => false,
        }
    }

    /// Whether every API server has the kind, so that one that does not know it is none.
    #[must_use]
    pub fn is_everywhere(self) -> bool {
        matches!(
            self,
            Self::Node | Self::Secret | Self::Service | Self::EndpointSlice
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plural())
    }
}

/// Which Nodes or CiliumNodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeInterest {
    /// All of them, but only their names and labels.
    Labels,
    /// The one of this name, with addresses and pod CIDRs.
    Named(String),
    /// All of them, with addresses and pod CIDRs.
    All,
}

/// Which part of Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceInterest {
    /// All that snapshots hold.
    Whole,
    /// What matters to their traffic: without identity, versions, pod selector, conditions and requests for addresses.
    Traffic,
}

/// Which CiliumBGPNodeConfigs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeConfigInterest {
    /// All of them, without their status.
    Specs,
    /// The one of this name, complete.
    Named(String),
}

/// What a program follows. What it does not name stays empty in its snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interest {
    /// Kubernetes' Nodes.
    pub nodes: Option<NodeInterest>,
    /// CiliumNodes.
    pub cilium_nodes: Option<NodeInterest>,
    /// All CiliumBGPClusterConfigs.
    pub cluster_configs: bool,
    /// All CiliumBGPPeerConfigs.
    pub peer_configs: bool,
    /// All CiliumBGPAdvertisements.
    pub advertisements: bool,
    /// All CiliumBGPNodeConfigOverrides.
    pub overrides: bool,
    /// CiliumBGPNodeConfigs.
    pub node_configs: Option<NodeConfigInterest>,
    /// Names of the Secrets in this namespace.
    pub secrets_namespace: Option<String>,
    /// All CiliumLoadBalancerIPPools.
    pub pools: bool,
    /// The Services of all namespaces. Beside `pools`, only while the API server knows that kind.
    pub services: Option<ServiceInterest>,
    /// The EndpointSlices of all namespaces.
    pub endpoint_slices: bool,
    /// All ServiceCIDRs.
    pub service_cidrs: bool,
    /// All BGPRouteImports.
    pub route_imports: bool,
}

impl Interest {
    /// What the operator reads to make NodeConfigs.
    #[must_use]
    pub fn operator(secrets_namespace: Option<String>) -> Self {
        Self {
            nodes: Some(NodeInterest::Labels),
            cilium_nodes: Some(NodeInterest::Labels),
            cluster_configs: true,
            peer_configs: true,
            overrides: true,
            node_configs: Some(NodeConfigInterest::Specs),
            secrets_namespace,
            ..Self::default()
        }
    }

    /// This, and what the operator reads to give addresses to Services.
    #[must_use]
    pub fn and_addresses(self) -> Self {
        Self {
            pools: true,
            services: Some(ServiceInterest::Whole),
            ..self
        }
    }

    /// What the agent of a node reads: of its own node everything, of the others nothing, all Services with their endpoints
    /// and the ranges of their addresses, and which routes to import.
    #[must_use]
    pub fn agent(node: &str) -> Self {
        Self {
            nodes: Some(NodeInterest::Named(node.to_owned())),
            cilium_nodes: Some(NodeInterest::Named(node.to_owned())),
            peer_configs: true,
            advertisements: true,
            node_configs: Some(NodeConfigInterest::Named(node.to_owned())),
            services: Some(ServiceInterest::Traffic),
            endpoint_slices: true,
            service_cidrs: true,
            route_imports: true,
            ..Self::default()
        }
    }

    /// This, and what the load balancer of the node `node` reads: all Services with their endpoints, and all nodes, because
    /// each answers for NodePorts.
    #[must_use]
    pub fn and_load_balancer(self, node: &str) -> Self {
        Self {
            nodes: Some(NodeInterest::All),
            cilium_nodes: Some(NodeInterest::Named(node.to_owned())),
            services: Some(ServiceInterest::Traffic),
            endpoint_slices: true,
            ..self
        }
    }
}
