//! What the load balancer must do, in its own words.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Everything, complete. What is unchanged between two wishes should be the same `Arc`: it is recognised by its address and costs nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wish {
    /// Any number of the caller's, told with what has become of the wish ([`crate::Report::wish`]).
    pub number: u64,
    /// Services by a name of the caller's choice; the names' order decides who gets a frontend that two claim.
    pub services: BTreeMap<Arc<str>, Arc<Service>>,
    /// Frontend addresses of services that may be gone from `services` and yet keep what they have: they are still announced.
    pub hold: BTreeSet<IpAddr>,
    /// The same for every frontend address that an earlier run left, NodePorts aside: it may still be announced.
    pub hold_found: bool,
    /// Addresses of this node at which it answers for NodePorts.
    pub node_addresses: BTreeSet<IpAddr>,
    /// Addresses of the other nodes.
    pub other_nodes: BTreeSet<IpAddr>,
}

/// One Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// How a backend is chosen for a new flow.
    pub algorithm: Algorithm,
    /// Its frontends.
    pub frontends: Vec<Frontend>,
}

/// One address and port, or one NodePort, of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontend {
    /// Where it is asked.
    pub address: FrontendAddress,
    /// Its port.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// Backends for those who ask from outside.
    pub external: Arc<[Backend]>,
    /// Backends for those who ask from inside, where they differ; equal lists should be one `Arc`.
    pub internal: Arc<[Backend]>,
}

/// Kind and address of a frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FrontendAddress {
    /// For those inside only, unless the settings open it.
    ClusterIp(IpAddr),
    /// Assigned by whoever hands out addresses.
    LoadBalancer(IpAddr),
    /// Written by the Service's owner: sockets are not translated unless the address is a node's (CVE-2020-8554).
    ExternalIp(IpAddr),
    /// Every node address of the family.
    NodePort(Family),
}

/// Address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// How a backend is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// At random.
    #[default]
    Random,
    /// By a ring that all nodes compute alike (Maglev).
    Maglev,
}

/// An endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BackendState {
    /// New flows.
    Active,
    /// New flows only while no other backend of the list is active (Kubernetes: serving and terminating).
    Terminating,
    /// No new flow; connections that it has go on, datagrams go elsewhere (not ready).
    Draining,
}
