//! One Service: its frontends, and which backends each has for whom.

use std::net::IpAddr;
use std::sync::Arc;

use super::annotations::{self, Fault};
use super::backends::{self, Lists};
use super::{Algorithm, DatapathService, DatapathSettings, Frontend, FrontendAddress, Transport};
use crate::node::Settings;
use crate::snapshot::{
    EndpointSliceFacts, IpFamily, NamespacedName, NodeFacts, Protocol, ServiceFacts, ServicePort,
    ServiceType, TrafficPolicy,
};

/// Label of Services that belong to another proxy (Kubernetes).
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Label of Services that are headless whatever addresses they have (Kubernetes).
const HEADLESS: &str = "service.kubernetes.io/headless";

/// The node that is planned for.
pub(in crate::node) struct Here<'a> {
    node: &'a str,
    facts: &'a NodeFacts,
    algorithm: Algorithm,
    proxy_name: Option<&'a str>,
}

impl<'a> Here<'a> {
    pub(in crate::node) fn new(
        settings: &'a Settings,
        datapath: &'a DatapathSettings,
        facts: &'a NodeFacts,
    ) -> Self {
        Self {
            node: &settings.node,
            facts,
            algorithm: datapath.algorithm,
            proxy_name: datapath.service_proxy_name.as_deref(),
        }
    }
}

/// Plans one Service. One that is not for this node, this proxy or any proxy has nothing to do.
pub(in crate::node) fn plan(
    name: &NamespacedName,
    facts: &ServiceFacts,
    slices: &[Arc<EndpointSliceFacts>],
    here: &Here<'_>,
) -> DatapathService {
    let mut plan = DatapathService {
        algorithm: here.algorithm,
        ..DatapathService::default()
    };
    let is_ours = facts.label(name, PROXY_NAME) == here.proxy_name
        && facts.label(name, HEADLESS).is_none()
        && facts.service_type != ServiceType::ExternalName;
    if !is_ours || !annotations::wants_node(facts, &here.facts.labels, &mut plan.faults) {
        return plan;
    }
    plan.algorithm = annotations::algorithm(facts, here.algorithm, &mut plan.faults);
    let exposure = annotations::exposure(facts, &mut plan.faults);
    plan.faults.extend(annotations::unsupported_ports(facts));
    let wanted = addresses(facts, exposure, &mut plan.faults);
    for port in &facts.ports {
        if let Some(protocol) = transport(port.protocol) {
            let mut of_port = Port {
                facts,
                port,
                protocol,
                lists: [None, None],
                slices,
                here,
            };
            let frontends = wanted
                .iter()
                .filter_map(|address| of_port.frontend(*address));
            plan.frontends.extend(frontends);
        }
    }
    plan
}

fn transport(protocol: Protocol) -> Option<Transport> {
    match protocol {
        Protocol::Tcp => Some(Transport::Tcp),
        Protocol::Udp => Some(Transport::Udp),
        Protocol::Sctp => None,
    }
}

/// Where the Service is asked, each address once: what it is first is what it is.
fn addresses(
    facts: &ServiceFacts,
    exposure: Option<ServiceType>,
    faults: &mut Vec<Fault>,
) -> Vec<FrontendAddress> {
    let is_exposed = |kind| exposure.is_none_or(|only| only == kind);
    let mut wanted: Vec<FrontendAddress> = Vec::new();
    let mut add = |address: FrontendAddress| {
        if !wanted
            .iter()
            .any(|known| known.ip().is_some() && known.ip() == address.ip())
        {
            wanted.push(address);
        }
    };
    if is_exposed(ServiceType::ClusterIp) {
        let addresses = facts.cluster_ips.iter().map(IpAddr::to_canonical);
        addresses.map(FrontendAddress::ClusterIp).for_each(&mut add);
    }
    if is_exposed(ServiceType::LoadBalancer) && facts.is_load_balancer() {
        if facts.has_source_ranges {
            faults.push(Fault::SourceRanges);
        } else {
            facts
                .ingress_addresses()
                .map(|address| FrontendAddress::LoadBalancer(address.to_canonical()))
                .for_each(&mut add);
        }
    }
    let addresses = facts.external_ips.iter().map(IpAddr::to_canonical);
    addresses
        .map(FrontendAddress::ExternalIp)
        .for_each(&mut add);
    let has_node_ports = match facts.service_type {
        ServiceType::NodePort | ServiceType::LoadBalancer => is_exposed(ServiceType::NodePort),
        ServiceType::ClusterIp | ServiceType::ExternalName => false,
    };
    if has_node_ports {
        wanted.extend(families(facts).into_iter().map(FrontendAddress::NodePort));
    }
    wanted
}

/// `ipFamilies`, else those of the cluster addresses.
fn families(facts: &ServiceFacts) -> Vec<IpFamily> {
    let mut families = facts.ip_families.clone();
    if families.is_empty() {
        families.extend(facts.cluster_ips.iter().map(|address| family(*address)));
    }
    families.sort_unstable();
    families.dedup();
    families
}

fn family(address: IpAddr) -> IpFamily {
    match address {
        IpAddr::V4(_) => IpFamily::Ipv4,
        IpAddr::V6(_) => IpFamily::Ipv6,
    }
}

/// A port of the Service, with its backends in each family once they were needed.
struct Port<'a> {
    facts: &'a ServiceFacts,
    port: &'a ServicePort,
    protocol: Transport,
    lists: [Option<Lists>; 2],
    slices: &'a [Arc<EndpointSliceFacts>],
    here: &'a Here<'a>,
}

impl Port<'_> {
    /// The frontend at an address; none where that is the nodes' and the port has no NodePort.
    fn frontend(&mut self, address: FrontendAddress) -> Option<Frontend> {
        let (family, port) = match address {
            FrontendAddress::ClusterIp(ip)
            | FrontendAddress::LoadBalancer(ip)
            | FrontendAddress::ExternalIp(ip) => (family(ip), self.port.port),
            FrontendAddress::NodePort(family) => (family, self.port.node_port?),
        };
        let internal = self.facts.internal_traffic_policy;
        let external = self.external(address);
        let lists = self.lists(family);
        Some(Frontend {
            address,
            port,
            protocol: self.protocol,
            external: lists.of(external),
            internal: lists.of(internal),
        })
    }

    /// The policy for those who ask from outside. A cluster address is the inside's, whoever asks.
    fn external(&self, address: FrontendAddress) -> TrafficPolicy {
        match address {
            FrontendAddress::ClusterIp(_) => self.facts.internal_traffic_policy,
            FrontendAddress::LoadBalancer(_)
            | FrontendAddress::ExternalIp(_)
            | FrontendAddress::NodePort(_) => self.facts.external_traffic_policy,
        }
    }

    fn lists(&mut self, family: IpFamily) -> Lists {
        let place = match family {
            IpFamily::Ipv4 => 0,
            IpFamily::Ipv6 => 1,
        };
        let (port, slices, here) = (self.port, self.slices, self.here);
        self.lists[place]
            .get_or_insert_with(|| backends::lists(port, family, slices, here.node, here.facts))
            .clone()
    }
}
