//! What is remembered makes a plan cheaper and changes nothing in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use plan::node::datapath::Algorithm;
use plan::node::observed::DatapathState;
use plan::node::{DatapathSettings, Memory, ObservedDatapath, WithoutEndpoints, replan};
use plan::snapshot::{EndpointState, Ingress, IpFamily, Protocol, ServiceType, TrafficPolicy};
use plan::{EndpointSliceFacts, NamespacedName, ServiceFacts, Snapshot};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use super::{OTHER, endpoint, ip, port, slice_port};
use crate::world::{NODE, World};

fn name() -> impl Strategy<Value = NamespacedName> {
    (select(vec!["a", "b"]), select(vec!["web", "web-1", "api"])).prop_map(|(namespace, name)| {
        NamespacedName {
            namespace: namespace.into(),
            name: name.into(),
        }
    })
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local])
}

fn service() -> impl Strategy<Value = ServiceFacts> {
    let annotation = select(vec![
        ("type", "NodePort"),
        ("type", "nonsense"),
        ("lb-algorithm", "maglev"),
        ("node-selector", "rack=a"),
        ("node", "edge"),
        ("none", ""),
    ]);
    let types = select(vec![
        ServiceType::ClusterIp,
        ServiceType::NodePort,
        ServiceType::LoadBalancer,
        ServiceType::ExternalName,
    ]);
    let ports = prop::collection::vec(
        (
            select(vec!["", "http", "dns"]),
            1..4_u16,
            select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp]),
        ),
        0..3,
    );
    (
        types,
        annotation,
        policy(),
        policy(),
        ports,
        1..4_u8,
        any::<[bool; 2]>(),
        prop::bool::weighted(0.2),
    )
        .prop_map(
            |(
                service_type,
                (key, value),
                external,
                internal,
                ports,
                last,
                [dual, is_front],
                restricted,
            )| {
                let tier = if is_front { "front" } else { "back" };
                let mut facts = ServiceFacts {
                    service_type,
                    labels: [("tier".to_owned(), tier.to_owned())].into(),
                    has_source_ranges: restricted,
                    external_traffic_policy: external,
                    internal_traffic_policy: internal,
                    cluster_ips: vec![ip(&format!("10.96.0.{last}"))],
                    ip_families: vec![IpFamily::Ipv4],
                    ingress: vec![Ingress::Address(ip(&format!("172.16.1.{last}")))],
                    ports: ports
                        .into_iter()
                        .map(|(name, number, protocol)| {
                            port(name, number, protocol, number + 30000)
                        })
                        .collect(),
                    annotations: [(format!("service.cilium.io/{key}"), value.to_owned())].into(),
                    ..ServiceFacts::default()
                };
                if dual {
                    facts.cluster_ips.push(ip("fd00:96::1"));
                    facts.ip_families.push(IpFamily::Ipv6);
                }
                facts
            },
        )
}

fn slice() -> impl Strategy<Value = EndpointSliceFacts> {
    let states = select(vec![
        EndpointState::Active,
        EndpointState::Terminating,
        EndpointState::Maintenance,
        EndpointState::TerminatingNotServing,
    ]);
    let endpoints = (
        select(vec!["172.20.0.1", "172.20.0.2", "172.20.1.1", "fd00:20::1"]),
        select(vec![NODE, OTHER, ""]),
        states,
    );
    let services = select(vec![None, Some("web"), Some("web-1"), Some("api")]);
    (
        services,
        prop::collection::vec(endpoints, 0..4),
        select(vec!["", "http"]),
    )
        .prop_map(|(service, endpoints, name)| EndpointSliceFacts {
            service: service.map(str::to_owned),
            ports: vec![
                slice_port(name, 8080, Protocol::Tcp),
                slice_port("dns", 53, Protocol::Udp),
            ],
            endpoints: endpoints
                .into_iter()
                .map(|(address, node, state)| endpoint(address, node, state))
                .collect(),
        })
}

#[derive(Debug, Clone)]
enum Change {
    Service(NamespacedName, Option<Arc<ServiceFacts>>),
    Slice(NamespacedName, Option<Arc<EndpointSliceFacts>>),
    /// The same objects, read again: other `Arc`s that say the same.
    Relisted,
    Rack(&'static str),
    Algorithm(Option<Algorithm>),
    WithoutEndpoints(WithoutEndpoints),
    /// One bit for each address that Services have.
    Programmed(u8),
    /// What another advertisement selects; `None` where there is none.
    Selects(Option<serde_json::Value>),
    /// What instances depend on beside Services.
    HoldTime(u16),
    PodCidr(&'static str),
    Interface(&'static str),
    Preference(u32),
    Selected(&'static str),
    Peer(&'static str),
    Import(bool),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (name(), prop::option::weighted(0.8, service())).prop_map(|(name, facts)| Change::Service(name, facts.map(Arc::new))),
        4 => (name(), prop::option::weighted(0.8, slice())).prop_map(|(name, facts)| Change::Slice(name, facts.map(Arc::new))),
        1 => Just(Change::Relisted),
        1 => select(vec!["a", "b"]).prop_map(Change::Rack),
        1 => select(vec![None, Some(Algorithm::Random), Some(Algorithm::Maglev)]).prop_map(Change::Algorithm),
        1 => select(vec![WithoutEndpoints::Announce, WithoutEndpoints::Withhold]).prop_map(Change::WithoutEndpoints),
        2 => any::<u8>().prop_map(Change::Programmed),
        1 => select(selectors()).prop_map(Change::Selects),
        1 => select(vec![9, 90]).prop_map(Change::HoldTime),
        1 => select(vec!["172.20.0.0/24", "172.20.7.0/24"]).prop_map(Change::PodCidr),
        1 => select(vec!["192.0.2.10", "192.0.2.11"]).prop_map(Change::Interface),
        1 => select(vec![100, 200]).prop_map(Change::Preference),
        1 => select(vec!["bgp", "else"]).prop_map(Change::Selected),
        1 => select(vec!["192.0.2.1", "192.0.2.2"]).prop_map(Change::Peer),
        1 => any::<bool>().prop_map(Change::Import),
    ]
}

fn apply(world: &mut World, change: Change) {
    let Snapshot {
        services,
        endpoint_slices,
        nodes,
        ..
    } = &mut world.snapshot;
    match change {
        Change::Service(name, facts) => set(services, name, facts),
        Change::Slice(name, facts) => set(endpoint_slices, name, facts),
        Change::Relisted => {
            for facts in services.values_mut() {
                *facts = Arc::new(ServiceFacts::clone(facts));
            }
        }
        Change::Rack(rack) => {
            let node = Arc::make_mut(nodes.get_mut(NODE).unwrap());
            node.labels.insert("rack".to_owned(), rack.to_owned());
        }
        Change::Algorithm(algorithm) => {
            world.settings.datapath = algorithm.map(|algorithm| DatapathSettings {
                algorithm,
                ..DatapathSettings::default()
            });
        }
        Change::WithoutEndpoints(without) => world.settings.without_endpoints = without,
        Change::Programmed(bits) => {
            let programmed = ["10.96.0", "172.16.1"].into_iter().flat_map(|net| {
                let hosts = (1..4).map(move |last| ip(&format!("{net}.{last}")));
                hosts.chain([ip("192.0.2.7")])
            });
            let programmed = programmed.enumerate().filter(|(bit, _)| bits & (1 << bit) != 0);
            world.observed.datapath = Some(ObservedDatapath {
                state: DatapathState::Ready,
                programmed: Arc::new(programmed.map(|(_, address)| address).collect()),
                withheld: Vec::new(),
            });
        }
        Change::Selects(selector) => match selector {
            Some(selector) => world.advertisement(
                "others",
                json!([{"advertisementType": "PodCIDR"},
                    {"advertisementType": "Service", "selector": selector,
                    "service": {"addresses": ["ClusterIP"], "aggregationLengthIPv4": 31}}]),
            ),
            None => drop(world.snapshot.advertisements.remove("others")),
        },
        Change::HoldTime(seconds) => world.peer_config(peer_config("bgp", seconds)),
        Change::Selected(label) => world.peer_config(peer_config(label, 9)),
        Change::PodCidr(cidr) => {
            let node = Arc::make_mut(nodes.get_mut(NODE).unwrap());
            node.pod_cidrs = vec![cidr.parse().unwrap()];
        }
        Change::Interface(address) => {
            let interfaces = &mut world.observed.interfaces;
            interfaces.insert("eth0".to_owned(), vec![ip(address)]);
        }
        Change::Preference(preference) => world.advertisement(
            "services",
            json!([{"advertisementType": "Service", "selector": {}, "service": {"addresses": ["LoadBalancerIP", "ClusterIP"]},
                "attributes": {"localPreference": preference}}]),
        ),
        Change::Import(true) => world.import("all", json!({})),
        Change::Import(false) => world.snapshot.route_imports.clear(),
        Change::Peer(address) => world.peer(json!({"peerAddress": address})),
    }
}

/// The last is one that the schema admits and that means nothing.
fn selectors() -> Vec<Option<serde_json::Value>> {
    let front = json!({"matchLabels": {"tier": "front"}});
    let invalid = json!({"matchExpressions": [{"key": "tier", "operator": "In"}]});
    vec![None, Some(json!({})), Some(front), Some(invalid)]
}

fn peer_config(selected: &str, hold_time: u16) -> serde_json::Value {
    json!({
        "timers": {"holdTimeSeconds": hold_time, "keepAliveTimeSeconds": 3},
        "transport": {"sourceInterface": "eth0"},
        "families": [{"afi": "ipv4", "safi": "unicast", "advertisements": {"matchLabels": {"advertise": selected}}}],
    })
}

fn set<T>(map: &mut BTreeMap<NamespacedName, Arc<T>>, name: NamespacedName, value: Option<Arc<T>>) {
    match value {
        Some(value) => drop(map.insert(name, value)),
        None => drop(map.remove(&name)),
    }
}

proptest! {
    #[test]
    fn a_plan_with_memory_is_the_plan_without(changes in prop::collection::vec(change(), 1..40)) {
        let mut world = World::published();
        world.settings.datapath = Some(DatapathSettings::default());
        world.advertisement("services", json!([{"advertisementType": "Service", "selector": {},
            "service": {"addresses": ["LoadBalancerIP", "ClusterIP"]}}]));
        world.import("all", json!({}));
        let mut memory = Memory::default();
        for change in changes {
            let is_relisted = matches!(change, Change::Relisted);
            let before = replan(&world.snapshot, &world.settings, &world.observed, &mut memory);
            apply(&mut world, change);
            let plan = replan(&world.snapshot, &world.settings, &world.observed, &mut memory);
            prop_assert_eq!(&plan, &world.plan());
            let same = before.instances.is(&plan.instances);
            prop_assert_eq!(same, before.instances == plan.instances);
            let (Some(before), Some(after)) = (before.datapath, plan.datapath) else {
                continue;
            };
            for (name, service) in &after.services {
                let known = before.services.get(name);
                let same = known.is_some_and(|known| Arc::ptr_eq(known, service));
                let equal = known.is_some_and(|known| known == service);
                prop_assert!(!is_relisted || same, "{} says what it said", name);
                prop_assert!(!same || equal);
            }
        }
    }
}
