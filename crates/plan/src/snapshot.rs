//! The Kubernetes objects we read, at one moment. Data only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use api::condition::Condition;
use api::{
    BGPRouteImport, CiliumBGPAdvertisement, CiliumBGPClusterConfig, CiliumBGPNodeConfig,
    CiliumBGPNodeConfigOverride, CiliumBGPPeerConfig, CiliumLoadBalancerIPPool,
};
use ipnet::IpNet;
use jiff::Timestamp;

use crate::copy_on_write::CopyOnWrite;

/// All objects a program reads, by name. A program that does not follow a kind leaves its map empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Kubernetes nodes.
    pub nodes: BTreeMap<String, Arc<NodeFacts>>,
    /// CiliumNodes; `None` where Cilium's CRD does not exist.
    pub cilium_nodes: Option<BTreeMap<String, Arc<NodeFacts>>>,
    /// CiliumBGPClusterConfigs.
    pub cluster_configs: BTreeMap<String, Arc<CiliumBGPClusterConfig>>,
    /// CiliumBGPPeerConfigs.
    pub peer_configs: BTreeMap<String, Arc<CiliumBGPPeerConfig>>,
    /// CiliumBGPAdvertisements.
    pub advertisements: BTreeMap<String, Arc<CiliumBGPAdvertisement>>,
    /// CiliumBGPNodeConfigs.
    pub node_configs: BTreeMap<String, Arc<CiliumBGPNodeConfig>>,
    /// CiliumBGPNodeConfigOverrides.
    pub overrides: BTreeMap<String, Arc<CiliumBGPNodeConfigOverride>>,
    /// Names of the Secrets in the BGP secrets namespace.
    pub secrets: BTreeSet<String>,
    /// CiliumLoadBalancerIPPools.
    pub pools: BTreeMap<String, Arc<CiliumLoadBalancerIPPool>>,
    /// Services.
    pub services: CopyOnWrite<BTreeMap<NamespacedName, Arc<ServiceFacts>>>,
    /// EndpointSlices.
    pub endpoint_slices: CopyOnWrite<BTreeMap<NamespacedName, Arc<EndpointSliceFacts>>>,
    /// ServiceCIDRs; none where Kubernetes has no such kind, before 1.33.
    pub service_cidrs: BTreeMap<String, Arc<ServiceCidrFacts>>,
    /// BGPRouteImports.
    pub route_imports: BTreeMap<String, Arc<BGPRouteImport>>,
}

/// Namespace and name of an object, shared by all its clones: maps by name are copied at each change. Displayed as
/// `namespace/name`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespacedName {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// What we need to know of a Service, parsed once at the edge.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServiceFacts {
    /// The object's identity.
    pub uid: String,
    /// The state of the object that this tells of.
    pub resource_version: String,
    /// Counts the changes of the spec.
    pub generation: i64,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Whether it is being deleted.
    pub is_being_deleted: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations under `lbipam.cilium.io/`, `io.cilium/` and `service.cilium.io/`; the others are left out.
    pub annotations: BTreeMap<String, String>,
    /// `type`.
    pub service_type: ServiceType,
    /// `loadBalancerClass`.
    pub load_balancer_class: Option<String>,
    /// `loadBalancerIP`, as it was written.
    pub load_balancer_ip: Option<String>,
    /// `ipFamilies`, in order.
    pub ip_families: Vec<IpFamily>,
    /// `ipFamilyPolicy`; a Service without one is single-stack.
    pub ip_family_policy: IpFamilyPolicy,
    /// `clusterIPs`, in order; none where it is headless.
    pub cluster_ips: Vec<IpAddr>,
    /// `externalIPs` that are addresses, in order.
    pub external_ips: Vec<IpAddr>,
    /// `externalTrafficPolicy`; a Service without one has `Cluster`.
    pub external_traffic_policy: TrafficPolicy,
    /// `internalTrafficPolicy`; a Service without one has `Cluster`.
    pub internal_traffic_policy: TrafficPolicy,
    /// The pods behind it; empty where somebody else makes its EndpointSlices.
    pub selector: BTreeMap<String, String>,
    /// Its ports; those of a protocol that Kubernetes does not know are left out.
    pub ports: Vec<ServicePort>,
    /// Whether `loadBalancerSourceRanges` has an entry.
    pub has_source_ranges: bool,
    /// `status.loadBalancer.ingress`, in order.
    pub ingress: Vec<Ingress>,
    /// `status.conditions`, in order, of all writers.
    pub conditions: Vec<Condition>,
}

impl ServiceFacts {
    /// The value of one of the labels by which selectors of pools and advertisements choose: the Service's own, and two
    /// that Cilium adds, which no label of that name can replace.
    #[must_use]
    pub fn label<'a>(&'a self, name: &'a NamespacedName, key: &str) -> Option<&'a str> {
        match key {
            "io.kubernetes.service.namespace" => Some(&name.namespace),
            "io.kubernetes.service.name" => Some(&name.name),
            key => self.labels.get(key).map(String::as_str),
        }
    }

    /// The addresses of `status.loadBalancer.ingress` that nodes serve, in order; they may repeat themselves.
    pub fn ingress_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ingress.iter().filter_map(Ingress::address)
    }

    /// All addresses of `status.loadBalancer.ingress`, in order; they may repeat themselves.
    pub fn shown_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ingress.iter().filter_map(Ingress::shown)
    }

    /// Whether `type` is `LoadBalancer`.
    #[must_use]
    pub fn is_load_balancer(&self) -> bool {
        self.service_type == ServiceType::LoadBalancer
    }

    /// Whether its addresses from outside the cluster are for BGP to announce: it has no class, or [`BGP_CLASS`].
    #[must_use]
    pub fn is_for_bgp(&self) -> bool {
        let class = self.load_balancer_class.as_deref();
        self.is_load_balancer() && class.is_none_or(|class| class == BGP_CLASS)
    }
}

/// What we need to know of an EndpointSlice, parsed once at the edge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointSliceFacts {
    /// Name of the Service in the slice's namespace (label `kubernetes.io/service-name`); a slice without it serves none.
    pub service: Option<String>,
    /// Ports of each endpoint; those without number or of a protocol that Kubernetes does not know are left out.
    pub ports: Vec<EndpointPort>,
    /// Its endpoints, once for each of their addresses; none where addresses are names (`addressType: FQDN`).
    pub endpoints: Vec<Endpoint>,
}

/// A port of all endpoints of a slice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointPort {
    /// Name of the Service's port that it belongs to; empty where that has none.
    pub name: String,
    /// Where the endpoint listens.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// An address of an endpoint of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub address: IpAddr,
    /// The node it runs on, where that is known.
    pub node: Option<Arc<str>>,
    /// What it may be given.
    pub state: EndpointState,
}

impl Endpoint {
    /// Whether it takes new connections: it is not reported unready, as one that terminates is.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state == EndpointState::Active
    }
}

/// What an endpoint's conditions together mean (`discovery/v1`: absent `ready` is true, absent `serving` is `ready`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointState {
    /// It is ready, whatever else is said: with `publishNotReadyAddresses` also while it terminates.
    #[default]
    Active,
    /// It terminates and still serves: it is given new connections while nobody else can take them.
    Terminating,
    /// It is not ready and does not terminate.
    Maintenance,
    /// It terminates and serves no more.
    TerminatingNotServing,
}

/// `type` of a Service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ServiceType {
    /// An address inside the cluster.
    #[default]
    ClusterIp,
    /// That, and a port of every node.
    NodePort,
    /// Both, and an address from outside the cluster.
    LoadBalancer,
    /// A name; there is nothing to balance.
    ExternalName,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Address family of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IpFamily {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// How many families a Service wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum IpFamilyPolicy {
    /// One.
    #[default]
    SingleStack,
    /// Both where the cluster has both.
    PreferDualStack,
    /// Both.
    RequireDualStack,
}

/// Whether traffic may leave the node it arrived at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum TrafficPolicy {
    /// It may.
    #[default]
    Cluster,
    /// It may not.
    Local,
}

/// A port of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServicePort {
    /// `name`; empty where it has none.
    pub name: String,
    /// `port`.
    pub port: u16,
    /// `protocol`.
    pub protocol: Protocol,
    /// `nodePort`, where there is one.
    pub node_port: Option<u16>,
}

impl ServicePort {
    /// What only one Service can have at one address.
    #[must_use]
    pub fn transport(&self) -> TransportPort {
        TransportPort {
            port: self.port,
            protocol: self.protocol,
        }
    }
}

/// A port number of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransportPort {
    /// The number.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// The `loadBalancerClass` of Services that belong to whoever announces them by BGP.
pub const BGP_CLASS: &str = "io.cilium/bgp-control-plane";
/// The `loadBalancerClass` of Services that belong to whoever announces them on the local network.
pub const L2_ANNOUNCER_CLASS: &str = "io.cilium/l2-announcer";

/// An entry of `status.loadBalancer.ingress`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ingress {
    /// An address that nodes serve (`ipMode: VIP`).
    Address(IpAddr),
    /// An address that somebody in front of the nodes serves (any other `ipMode`).
    Proxied(IpAddr),
    /// No address: a host name.
    Foreign,
}

impl Ingress {
    /// The address, where it is one that nodes serve.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Proxied(_) | Self::Foreign => None,
        }
    }

    /// The address, whoever serves it.
    #[must_use]
    pub fn shown(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) | Self::Proxied(address) => Some(*address),
            Self::Foreign => None,
        }
    }
}

/// What we need to know of a ServiceCIDR, parsed once at the edge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceCidrFacts {
    /// `spec.cidrs`, in order. Text that is no CIDR is left out.
    pub cidrs: Vec<IpNet>,
}

/// What we need to know of a Node or a CiliumNode, parsed once at the edge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Pod CIDRs of the node: `spec.podCIDRs` of a Node, `spec.ipam.podCIDRs` of a CiliumNode, in order. Text that
    /// is no CIDR is left out.
    pub pod_cidrs: Vec<IpNet>,
    /// Addresses of type InternalIP, in order.
    pub internal_addresses: Vec<IpAddr>,
}
