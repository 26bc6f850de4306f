//! What the load balancer of a node must do: frontends and backends of every Service it serves.
//!
//! Behaviour of Cilium 1.20 where it has one. What differs: an external address has a second scope for those inside, as the
//! other addresses have (Cilium issue 42245); a Service that names `loadBalancerSourceRanges` has no LoadBalancer frontends,
//! because a filter that is not there must not look like one that is.

mod annotations;
pub(super) mod backends;
mod hold;
pub(super) mod nodes;
pub(super) mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

pub use annotations::Fault;
pub(super) use hold::{hold, within};

use super::known::KnownServices;
use super::{Observed, Settings};
use crate::copy_on_write::CopyOnWrite;
use crate::snapshot::{IpFamily, NamespacedName, Snapshot};

/// What the datapath needs to know that does not come from Kubernetes objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatapathSettings {
    /// How a backend is chosen where a Service does not say.
    pub algorithm: Algorithm,
    /// Which value of the label `service.kubernetes.io/service-proxy-name` Services of ours have; `None`: they have none.
    pub service_proxy_name: Option<String>,
    /// Devices whose addresses answer for NodePorts, beside the node's own; a name that ends in `+` is a prefix.
    pub devices: Vec<String>,
}

/// Services by name.
pub type DatapathServices = BTreeMap<Arc<NamespacedName>, Arc<DatapathService>>;

/// All that the load balancer must do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatapathPlan {
    /// Services with something to do or to complain of.
    pub services: CopyOnWrite<DatapathServices>,
    /// Addresses that no Service wants any more and routers are still told of.
    pub hold: BTreeSet<IpAddr>,
    /// Routers may still be told of addresses that only an earlier process knew.
    pub hold_found: bool,
    /// Addresses at which this node answers for NodePorts.
    pub node_addresses: BTreeSet<IpAddr>,
    /// Addresses of the other nodes.
    pub other_nodes: BTreeSet<IpAddr>,
}

impl DatapathPlan {
    /// Every address to be served, in no order, and some several times.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let services = self.services.values();
        let wanted = services.flat_map(|service| service.addresses());
        wanted.chain(self.hold.iter().copied())
    }
}

/// One Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatapathService {
    /// How a backend is chosen for a new flow.
    pub algorithm: Algorithm,
    /// Its frontends, each address, port and protocol once.
    pub frontends: Vec<Frontend>,
    /// What of it cannot be carried out.
    pub faults: Vec<Fault>,
}

/// One address and port, or one NodePort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontend {
    /// Where it is asked.
    pub address: FrontendAddress,
    /// Its port.
    pub port: u16,
    /// Its protocol.
    pub protocol: Transport,
    /// Backends for those who ask from outside, in order of address and port.
    pub external: Arc<[Backend]>,
    /// Backends for those who ask from inside; the same list where nothing differs.
    pub internal: Arc<[Backend]>,
}

/// Kind and address of a frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrontendAddress {
    /// One of `clusterIPs`.
    ClusterIp(IpAddr),
    /// One of `status.loadBalancer.ingress`.
    LoadBalancer(IpAddr),
    /// One of `externalIPs`.
    ExternalIp(IpAddr),
    /// Every node address of the family.
    NodePort(IpFamily),
}

impl FrontendAddress {
    /// The address, where it is one.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::ClusterIp(address) | Self::LoadBalancer(address) | Self::ExternalIp(address) => {
                Some(address)
            }
            Self::NodePort(_) => None,
        }
    }
}

/// A protocol that is balanced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// How a backend is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// At random.
    #[default]
    Random,
    /// By a ring that all nodes compute alike.
    Maglev,
}

/// An endpoint, as a frontend uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whether it runs on this node.
    pub is_local: bool,
    /// What it may be given.
    pub state: BackendState,
}

/// What a backend may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackendState {
    /// New flows.
    Active,
    /// New flows while no other backend is active.
    Terminating,
    /// No new flow; those it has go on.
    Draining,
}

impl DatapathService {
    /// Whether a frontend has the address.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses().any(|of_frontend| of_frontend == address)
    }

    /// The addresses of its frontends, in their order; an address has one for each port.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let frontends = self.frontends.iter();
        frontends.filter_map(|frontend| frontend.address.ip())
    }
}

/// Everything but which addresses are held, which depends on what is announced.
pub(super) fn plan(
    snapshot: &Snapshot,
    settings: &Settings,
    datapath: &DatapathSettings,
    observed: &Observed,
    known: &KnownServices,
) -> DatapathPlan {
    DatapathPlan {
        services: known.planned().clone(),
        hold: BTreeSet::new(),
        hold_found: observed.inherits,
        node_addresses: nodes::addresses(known.here(), datapath, observed),
        other_nodes: nodes::others(snapshot, settings),
    }
}
