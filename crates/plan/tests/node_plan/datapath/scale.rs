//! 10,000 Services with 10 backends each, of which 2,000 are announced.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use plan::node::observed::DatapathState;
use plan::node::{DatapathSettings, Memory, ObservedDatapath, replan};
use plan::snapshot::{EndpointState, Ingress, IpFamily, Protocol, ServiceType};
use plan::{Endpoint, EndpointSliceFacts, NamespacedName, ServiceFacts};
use serde_json::json;

use super::{port, slice_port};
use crate::world::{NODE, World};

const SERVICES: u32 = 10_000;
const BACKENDS: u32 = 10;
const ANNOUNCED: u32 = 2_000;

fn name(number: u32, suffix: &str) -> NamespacedName {
    NamespacedName {
        namespace: format!("namespace-{}", number % 20).into(),
        name: format!("service-{number}{suffix}").into(),
    }
}

fn address(net: u32, number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(net + number))
}

fn vip(number: u32) -> IpAddr {
    address(0xac10_0000, number)
}

fn service(number: u32) -> ServiceFacts {
    let is_announced = number < ANNOUNCED;
    ServiceFacts {
        labels: [("app".to_owned(), format!("app-{number}"))].into(),
        service_type: if is_announced {
            ServiceType::LoadBalancer
        } else {
            ServiceType::ClusterIp
        },
        ip_families: vec![IpFamily::Ipv4],
        cluster_ips: vec![address(0x0a60_0000, number)],
        ingress: Some(Ingress::Address(vip(number)))
            .filter(|_| is_announced)
            .into_iter()
            .collect(),
        ports: vec![port("http", 80, Protocol::Tcp, 0)],
        ..ServiceFacts::default()
    }
}

fn slice(number: u32, nodes: &[Arc<str>], state: EndpointState) -> EndpointSliceFacts {
    let endpoints = (0..BACKENDS).map(|backend| Endpoint {
        address: address(0x0a00_0000, number * BACKENDS + backend),
        node: Some(Arc::clone(&nodes[backend as usize % nodes.len()])),
        state,
    });
    EndpointSliceFacts {
        service: Some(name(number, "").name.to_string()),
        ports: vec![slice_port("http", 8080, Protocol::Tcp)],
        endpoints: endpoints.collect(),
    }
}

/// Kilobytes of memory that the process has, where the system says it.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

#[test]
fn one_change_among_ten_thousand_services_is_one_service_planned() {
    let start = resident();
    let mut world = World::published();
    world.settings.datapath = Some(DatapathSettings::default());
    world.advertisement(
        "services",
        json!([{"advertisementType": "Service", "selector": {}, "service": {"addresses": ["LoadBalancerIP"]}}]),
    );
    let nodes: Vec<Arc<str>> = [NODE, "k8s-w1", "k8s-w2"].map(Into::into).into();
    for number in 0..SERVICES {
        let slice = slice(number, &nodes, EndpointState::Active);
        let snapshot = &mut world.snapshot;
        snapshot
            .services
            .insert(name(number, ""), Arc::new(service(number)));
        snapshot
            .endpoint_slices
            .insert(name(number, "-x7k2p"), Arc::new(slice));
    }
    world.observed.datapath = Some(ObservedDatapath {
        state: DatapathState::Ready,
        programmed: Arc::new((0..ANNOUNCED).map(vip).collect()),
        withheld: Vec::new(),
    });
    let read = resident();
    let mut memory = Memory::default();
    let timed = |world: &World, memory: &mut Memory| {
        let start = Instant::now();
        let plan = replan(&world.snapshot, &world.settings, &world.observed, memory);
        (plan, start.elapsed())
    };
    let (first, cold) = timed(&world, &mut memory);
    let planned = resident();
    assert_eq!(
        first.instances["instance-65001"].originate.len() as u32,
        ANNOUNCED + 1
    );
    let mut fastest = cold;
    for round in 0..20 {
        let changed = name(4711 + round, "-x7k2p");
        let other = slice(4711 + round, &nodes, EndpointState::Terminating);
        let slices = &mut world.snapshot.endpoint_slices;
        slices.insert(changed, Arc::new(other));
        let (_, warm) = timed(&world, &mut memory);
        fastest = fastest.min(warm);
    }
    let (last, _) = timed(&world, &mut memory);
    let copying = Instant::now();
    let mut copy = world.snapshot.clone();
    copy.endpoint_slices.remove(&name(1, "-x7k2p"));
    let copied = copying.elapsed();
    drop(copy);
    println!(
        "the next snapshot {copied:?}, and away {:?}",
        copying.elapsed() - copied
    );
    println!(
        "first plan {cold:?}, one change {fastest:?}; {} bytes for each Service read, {} planned",
        (read - start) * 1024 / SERVICES as usize,
        (planned - read) * 1024 / SERVICES as usize
    );
    let (first, last) = (first.datapath.unwrap(), last.datapath.unwrap());
    let changed = first.services.iter().filter(|(name, service)| {
        let now = &last.services[*name];
        !Arc::ptr_eq(service, now)
    });
    assert_eq!(changed.count(), 20);
    assert_eq!(last.services.len() as u32, SERVICES);
}
