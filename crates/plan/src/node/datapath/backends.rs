//! Which endpoints a port of a Service has.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Backend, BackendState};
use crate::snapshot::{
    Endpoint, EndpointPort, EndpointSliceFacts, EndpointState, IpFamily, NodeFacts, ServiceFacts,
    ServicePort, TrafficPolicy,
};

/// The backends of one port in one family, by traffic policy. Equal lists are one.
#[derive(Debug, Clone)]
pub(super) struct Lists {
    cluster: Arc<[Backend]>,
    local: Arc<[Backend]>,
}

impl Lists {
    pub(super) fn of(&self, policy: TrafficPolicy) -> Arc<[Backend]> {
        match policy {
            TrafficPolicy::Cluster => Arc::clone(&self.cluster),
            TrafficPolicy::Local => Arc::clone(&self.local),
        }
    }
}

/// A backend, and whether the policy Local keeps it.
type Candidate = (Backend, bool);

/// The union of all slices, each address and port once. Of what several slices say of one endpoint the best counts.
pub(super) fn lists(
    port: &ServicePort,
    family: IpFamily,
    slices: &[Arc<EndpointSliceFacts>],
    node: &str,
    here: &NodeFacts,
) -> Lists {
    let mut candidates: Vec<Candidate> = Vec::new();
    for slice in slices {
        let ports = slice.ports.iter().filter(|of_slice| is(port, of_slice));
        for of_slice in ports {
            let endpoints = slice.endpoints.iter();
            let endpoints = endpoints.filter(|endpoint| has_family(endpoint.address, family));
            candidates.extend(endpoints.map(|endpoint| candidate(endpoint, of_slice, node, here)));
        }
    }
    candidates.sort_unstable_by_key(|(backend, stays)| {
        let Backend {
            address,
            port,
            is_local,
            state,
        } = *backend;
        (address, port, state, !is_local, !stays)
    });
    candidates.dedup_by_key(|(backend, _)| (backend.address, backend.port));
    let cluster: Arc<[Backend]> = candidates.iter().map(|(backend, _)| *backend).collect();
    let local = if candidates.iter().all(|(_, stays)| *stays) {
        Arc::clone(&cluster)
    } else {
        let stay = candidates.iter().filter(|(_, stays)| *stays);
        stay.map(|(backend, _)| *backend).collect()
    };
    Lists { cluster, local }
}

/// Whether endpoints of the slice stand behind any port of the Service.
pub(in super::super) fn serves(service: &ServiceFacts, slice: &EndpointSliceFacts) -> bool {
    let is_served = |port| slice.ports.iter().any(|of_slice| is(port, of_slice));
    service.ports.iter().any(is_served)
}

/// Whether endpoints of the slice's port stand behind the Service's. Numbers are not compared: whoever makes the slices has
/// resolved `targetPort`. A name that either does not have matches any.
fn is(port: &ServicePort, of_slice: &EndpointPort) -> bool {
    port.protocol == of_slice.protocol
        && (port.name.is_empty() || of_slice.name.is_empty() || port.name == of_slice.name)
}

fn candidate(endpoint: &Endpoint, port: &EndpointPort, node: &str, here: &NodeFacts) -> Candidate {
    let is_local = match endpoint.node.as_deref() {
        Some(of_endpoint) => of_endpoint == node,
        // Slices that people or programs outside the cluster write need not say it: the API server's own do not.
        None => is_here(endpoint.address, here),
    };
    let backend = Backend {
        address: endpoint.address,
        port: port.port,
        is_local,
        state: state(endpoint.state),
    };
    (backend, is_local || endpoint.node.is_none())
}

fn is_here(address: IpAddr, here: &NodeFacts) -> bool {
    here.internal_addresses.contains(&address)
        || here.pod_cidrs.iter().any(|cidr| cidr.contains(&address))
}

fn state(state: EndpointState) -> BackendState {
    match state {
        EndpointState::Active => BackendState::Active,
        EndpointState::Terminating => BackendState::Terminating,
        EndpointState::Maintenance | EndpointState::TerminatingNotServing => BackendState::Draining,
    }
}

pub(in super::super) fn has_family(address: IpAddr, family: IpFamily) -> bool {
    match family {
        IpFamily::Ipv4 => address.is_ipv4(),
        IpFamily::Ipv6 => address.is_ipv6(),
    }
}
