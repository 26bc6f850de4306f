//! What the load balancer of a node must do.

mod backends;
mod frontends;
mod properties;
mod rules;
mod scale;
mod surroundings;

use std::net::IpAddr;
use std::sync::Arc;

use plan::node::datapath::{
    Algorithm, Backend, BackendState, DatapathService, Frontend, FrontendAddress, Transport,
};
use plan::node::{DatapathPlan, DatapathSettings};
use plan::snapshot::{
    EndpointPort, EndpointState, Ingress, IpFamily, Protocol, ServicePort, ServiceType,
};
use plan::{Endpoint, EndpointSliceFacts, NamespacedName, ServiceFacts};

use crate::world::{NODE, World};

pub(crate) const OTHER: &str = "k8s-w1";

pub(crate) fn named(name: &str) -> NamespacedName {
    NamespacedName {
        namespace: "default".into(),
        name: name.into(),
    }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn port(name: &str, port: u16, protocol: Protocol, node_port: u16) -> ServicePort {
    ServicePort {
        name: name.to_owned(),
        port,
        protocol,
        node_port: (node_port != 0).then_some(node_port),
    }
}

pub(crate) fn slice_port(name: &str, port: u16, protocol: Protocol) -> EndpointPort {
    EndpointPort {
        name: name.to_owned(),
        port,
        protocol,
    }
}

pub(crate) fn endpoint(address: &str, node: &str, state: EndpointState) -> Endpoint {
    Endpoint {
        address: ip(address),
        node: Some(node).filter(|node| !node.is_empty()).map(Into::into),
        state,
    }
}

/// A Service of type LoadBalancer with one address of each kind and one port.
pub(crate) fn web() -> ServiceFacts {
    ServiceFacts {
        service_type: ServiceType::LoadBalancer,
        ip_families: vec![IpFamily::Ipv4],
        cluster_ips: vec![ip("10.96.0.7")],
        external_ips: vec![ip("192.0.2.7")],
        ingress: vec![Ingress::Address(ip("172.16.1.7"))],
        ports: vec![port("http", 80, Protocol::Tcp, 30080)],
        ..ServiceFacts::default()
    }
}

/// An endpoint here and one elsewhere.
pub(crate) fn web_slice() -> EndpointSliceFacts {
    EndpointSliceFacts {
        service: Some("web".to_owned()),
        ports: vec![slice_port("http", 8080, Protocol::Tcp)],
        endpoints: vec![
            endpoint("172.20.0.1", NODE, EndpointState::Active),
            endpoint("172.20.1.2", OTHER, EndpointState::Active),
        ],
    }
}

/// A Service, its slices, and where they are seen from.
pub(crate) struct Scene {
    pub(crate) service: ServiceFacts,
    pub(crate) slices: Vec<EndpointSliceFacts>,
    pub(crate) world: World,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let mut world = World::published();
        world.settings.datapath = Some(DatapathSettings::default());
        Self {
            service: web(),
            slices: vec![web_slice()],
            world,
        }
    }

    pub(crate) fn annotate(&mut self, key: &str, value: &str) {
        let key = format!("service.cilium.io/{key}");
        self.service.annotations.insert(key, value.to_owned());
    }

    pub(crate) fn plan(&mut self) -> Arc<DatapathPlan> {
        let snapshot = &mut self.world.snapshot;
        let service = Arc::new(self.service.clone());
        snapshot.services.insert(named("web"), service);
        for (number, slice) in self.slices.iter().enumerate() {
            let name = named(&format!("web-{number}"));
            snapshot
                .endpoint_slices
                .insert(name, Arc::new(slice.clone()));
        }
        self.world.plan().datapath.unwrap()
    }

    pub(crate) fn service(&mut self) -> DatapathService {
        let plan = self.plan();
        let service = plan.services.get(&named("web"));
        service.map_or_else(DatapathService::default, |service| {
            DatapathService::clone(service)
        })
    }
}

/// A frontend as one line: kind, address, port, protocol, backends for outside and, where they differ, for inside.
pub(crate) fn shown(frontend: &Frontend) -> String {
    let Frontend {
        address,
        port,
        protocol,
        external,
        internal,
    } = frontend;
    let address = match address {
        FrontendAddress::ClusterIp(ip) => format!("cluster {ip}"),
        FrontendAddress::LoadBalancer(ip) => format!("balancer {ip}"),
        FrontendAddress::ExternalIp(ip) => format!("external {ip}"),
        FrontendAddress::NodePort(IpFamily::Ipv4) => "node4".to_owned(),
        FrontendAddress::NodePort(IpFamily::Ipv6) => "node6".to_owned(),
    };
    let protocol = match protocol {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    };
    let inside = if external == internal {
        String::new()
    } else {
        format!(" / {}", list(internal))
    };
    format!("{address} {port}/{protocol} {}{inside}", list(external))
}

/// `*` is here, `~` terminates, `!` drains.
pub(crate) fn list(backends: &[Backend]) -> String {
    let one = |backend: &Backend| {
        let here = if backend.is_local { "*" } else { "" };
        let state = match backend.state {
            BackendState::Active => "",
            BackendState::Terminating => "~",
            BackendState::Draining => "!",
        };
        format!("{}:{}{here}{state}", backend.address, backend.port)
    };
    let backends: Vec<_> = backends.iter().map(one).collect();
    format!("[{}]", backends.join(" "))
}

#[test]
fn a_published_service_has_all_its_frontends_and_one_list() {
    let service = Scene::new().service();
    let shown: Vec<_> = service.frontends.iter().map(shown).collect();
    let both = "[172.20.0.1:8080* 172.20.1.2:8080]";
    let expected = [
        format!("cluster 10.96.0.7 80/tcp {both}"),
        format!("balancer 172.16.1.7 80/tcp {both}"),
        format!("external 192.0.2.7 80/tcp {both}"),
        format!("node4 30080/tcp {both}"),
    ];
    assert_eq!(shown, expected);
    assert_eq!(
        (service.algorithm, service.faults),
        (Algorithm::Random, vec![])
    );
    let first = &service.frontends[0].external;
    let lists = service
        .frontends
        .iter()
        .flat_map(|frontend| [&frontend.external, &frontend.internal]);
    assert!(lists.into_iter().all(|list| Arc::ptr_eq(list, first)));
}
