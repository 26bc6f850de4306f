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
    pub services: BTreeMap<NamespacedName, Arc<ServiceFacts>>,
    /// EndpointSlices.
    pub endpoint_slices: BTreeMap<NamespacedName, Arc<EndpointSliceFacts>>,
    /// ServiceCIDRs; none where Kubernetes has no such kind, before 1.33.
    pub service_cidrs: BTreeMap<String, Arc<ServiceCidrFacts>>,
    /// BGPRouteImports.
    pub route_imports: BTreeMap<String, Arc<BGPRouteImport>>,
}

/// Namespace and name of an object. Displayed as `namespace/name`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespacedName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
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
    /// Its annotations under `lbipam.cilium.io/` and `io.cilium/`; the others are left out.
    pub annotations: BTreeMap<String, String>,
    /// Whether `type` is `LoadBalancer`.
    pub is_load_balancer: bool,
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
    /// Its ports.
    pub ports: Vec<ServicePort>,
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
}

/// What we need to know of an EndpointSlice, parsed once at the edge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointSliceFacts {
    /// Name of the Service in the slice's namespace (label `kubernetes.io/service-name`); a slice without it serves none.
    pub service: Option<String>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// An endpoint of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The node it runs on, where that is known.
    pub node: Option<String>,
    /// Whether it takes new connections: it is not reported unready, as one that terminates is.
    pub is_ready: bool,
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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePort {
    /// `port`.
    pub port: u16,
    /// `protocol`, as it was written: `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// An entry of `status.loadBalancer.ingress`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ingress {
    /// An address and nothing else.
    Address(IpAddr),
    /// Anything else: a host name, or an address with a mode or ports.
    Foreign,
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
