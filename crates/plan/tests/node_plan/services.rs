//! Which addresses of Services a node announces.

use std::net::IpAddr;
use std::sync::Arc;

use plan::node::WithoutEndpoints;
use plan::rejected::Reason;
use plan::snapshot::{
    EndpointPort, EndpointState, Ingress, Protocol, ServicePort, ServiceType, TrafficPolicy,
};
use plan::{Endpoint, EndpointSliceFacts, NamespacedName, ServiceFacts};
use serde_json::{Value, json};

use crate::world::{NODE, World};

/// Endpoints of a Service: where, and whether ready.
type Endpoints<'a> = &'a [(Option<&'a str>, bool)];

fn named(name: &str) -> NamespacedName {
    NamespacedName {
        namespace: "default".into(),
        name: name.into(),
    }
}

fn web_port(name: &str) -> ServicePort {
    ServicePort {
        name: name.to_owned(),
        port: 80,
        protocol: Protocol::Tcp,
        node_port: None,
    }
}

fn of_slice(name: &str) -> EndpointPort {
    EndpointPort {
        name: name.to_owned(),
        port: 8080,
        protocol: Protocol::Tcp,
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A Service with one address of each type in each family.
fn web() -> ServiceFacts {
    ServiceFacts {
        labels: [("app".to_owned(), "web".to_owned())].into(),
        service_type: ServiceType::LoadBalancer,
        ports: vec![web_port("")],
        cluster_ips: vec![address("10.96.0.7"), address("fd00:96::7")],
        external_ips: vec![address("192.0.2.7"), address("2001:db8::7")],
        ingress: vec![
            Ingress::Foreign,
            Ingress::Address(address("172.16.1.7")),
            Ingress::Address(address("fd00:16::7")),
        ],
        ..ServiceFacts::default()
    }
}

/// Announces Services by one entry, to a peer with both families.
fn world(entry: &Value) -> World {
    let mut world = World::published();
    world.peer_config(json!({"families": [
        {"afi": "ipv4", "safi": "unicast", "advertisements": {}},
        {"afi": "ipv6", "safi": "unicast", "advertisements": {}}]}));
    world.advertisement("pods", json!([entry]));
    world.service("web", web());
    world
}

fn of(addresses: &[&str]) -> Value {
    json!({"advertisementType": "Service", "service": {"addresses": addresses}, "selector": {}})
}

impl World {
    fn service(&mut self, name: &str, facts: ServiceFacts) {
        self.snapshot.services.insert(named(name), Arc::new(facts));
    }

    /// Of both families, a slice each.
    fn endpoints(&mut self, service: &str, endpoints: Endpoints<'_>) {
        for address in ["172.20.0.7", "fd00:20::7"] {
            self.slice(service, address, endpoints, vec![of_slice("")]);
        }
    }

    fn slice(
        &mut self,
        service: &str,
        of_endpoints: &str,
        endpoints: Endpoints<'_>,
        ports: Vec<EndpointPort>,
    ) {
        let endpoints = endpoints.iter().map(|(node, is_ready)| Endpoint {
            address: address(of_endpoints),
            node: node.map(Into::into),
            state: if *is_ready {
                EndpointState::Active
            } else {
                EndpointState::Maintenance
            },
        });
        let slice = EndpointSliceFacts {
            service: Some(service.to_owned()),
            ports,
            endpoints: endpoints.collect(),
        };
        let name = named(&format!("{service}-{of_endpoints}"));
        self.snapshot.endpoint_slices.insert(name, Arc::new(slice));
    }

    fn announced(&self) -> Vec<String> {
        let plan = self.plan();
        let instance = &plan.instances["instance-65001"];
        let originate = instance.originate.iter().map(ToString::to_string);
        originate.collect()
    }
}

#[test]
fn each_type_of_address_is_announced_alone_and_together() {
    let rows: [(&[&str], &[&str]); 4] = [
        (&["LoadBalancerIP"], &["172.16.1.7/32", "fd00:16::7/128"]),
        (&["ClusterIP"], &["10.96.0.7/32", "fd00:96::7/128"]),
        (&["ExternalIP"], &["192.0.2.7/32", "2001:db8::7/128"]),
        (
            &["ClusterIP", "ExternalIP", "LoadBalancerIP"],
            &[
                "10.96.0.7/32",
                "172.16.1.7/32",
                "192.0.2.7/32",
                "2001:db8::7/128",
                "fd00:16::7/128",
                "fd00:96::7/128",
            ],
        ),
    ];
    for (types, expected) in rows {
        assert_eq!(world(&of(types)).announced(), expected, "{types:?}");
    }
}

#[test]
fn selectors_see_labels_name_and_namespace_and_an_absent_one_selects_nothing() {
    let rows = [
        (json!({}), true),
        (Value::Null, false),
        (json!({"matchLabels": {"app": "web"}}), true),
        (json!({"matchLabels": {"app": "db"}}), false),
        (
            json!({"matchLabels": {"io.kubernetes.service.name": "web"}}),
            true,
        ),
        (
            json!({"matchLabels": {"io.kubernetes.service.namespace": "other"}}),
            false,
        ),
        (
            json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["never-used-value"]}]}),
            true,
        ),
    ];
    for (selector, announced) in rows {
        let mut entry = of(&["LoadBalancerIP"]);
        entry["selector"] = selector.clone();
        assert_eq!(
            !world(&entry).announced().is_empty(),
            announced,
            "{selector}"
        );
    }
}

#[test]
fn a_label_cannot_pretend_another_name_or_namespace() {
    let mut entry = of(&["LoadBalancerIP"]);
    entry["selector"] = json!({"matchLabels": {"io.kubernetes.service.namespace": "kube-system"}});
    let mut world = world(&entry);
    let mut web = web();
    web.labels.insert(
        "io.kubernetes.service.namespace".into(),
        "kube-system".into(),
    );
    world.service("web", web);
    assert!(world.announced().is_empty());
}

#[test]
fn an_invalid_selector_costs_its_entry_and_is_named_once() {
    let mut entry = of(&["LoadBalancerIP"]);
    entry["selector"] = json!({"matchExpressions": [{"key": "app", "operator": "In"}]});
    let mut world = world(&entry);
    world.advertisement("sound", json!([of(&["ExternalIP"])]));
    assert_eq!(world.announced(), ["192.0.2.7/32", "2001:db8::7/128"]);
    let reasons = world.reasons();
    assert!(
        matches!(&reasons[..], [Reason::AdvertisementSelectorInvalid { advertisement, .. }] if advertisement == "pods"),
        "{reasons:?}"
    );
}

#[test]
fn load_balancer_addresses_are_those_of_our_class_while_the_type_is_load_balancer() {
    let rows = [
        (ServiceType::LoadBalancer, None, true),
        (
            ServiceType::LoadBalancer,
            Some("io.cilium/bgp-control-plane"),
            true,
        ),
        (
            ServiceType::LoadBalancer,
            Some("io.cilium/l2-announcer"),
            false,
        ),
        (
            ServiceType::LoadBalancer,
            Some("service.k8s.aws/nlb"),
            false,
        ),
        (ServiceType::NodePort, None, false),
    ];
    for (service_type, class, announced) in rows {
        let mut world = world(&of(&["LoadBalancerIP"]));
        world.service(
            "web",
            ServiceFacts {
                service_type,
                load_balancer_class: class.map(str::to_owned),
                ..web()
            },
        );
        assert_eq!(
            !world.announced().is_empty(),
            announced,
            "{service_type:?} {class:?}"
        );
    }
}

#[test]
fn the_policy_local_wants_a_ready_endpoint_on_this_node() {
    let other = Some("k8s-w1");
    let here = Some(NODE);
    // Endpoints; announced with policy Local, with Cluster, with Cluster where a Service without endpoints is withheld.
    let rows: [(Endpoints<'_>, [bool; 3]); 6] = [
        (&[(here, true)], [true, true, true]),
        (&[(here, false), (other, true)], [false, true, true]),
        (&[(other, true)], [false, true, true]),
        (&[(None, true)], [false, true, true]),
        (&[(here, false), (other, false)], [false, true, false]),
        (&[], [false, true, false]),
    ];
    let ways = [
        (TrafficPolicy::Local, WithoutEndpoints::Announce),
        (TrafficPolicy::Cluster, WithoutEndpoints::Announce),
        (TrafficPolicy::Cluster, WithoutEndpoints::Withhold),
    ];
    for (endpoints, expected) in rows {
        for ((policy, without_endpoints), announced) in ways.into_iter().zip(expected) {
            let mut world = world(&of(&["LoadBalancerIP"]));
            world.settings.without_endpoints = without_endpoints;
            world.service(
                "web",
                ServiceFacts {
                    external_traffic_policy: policy,
                    ..web()
                },
            );
            world.endpoints("web", endpoints);
            assert_eq!(
                !world.announced().is_empty(),
                announced,
                "{policy:?} {without_endpoints:?} {endpoints:?}"
            );
        }
    }
}

#[test]
fn cluster_addresses_follow_the_internal_policy_and_the_others_the_external_one() {
    let mut world = world(&of(&["ClusterIP", "ExternalIP", "LoadBalancerIP"]));
    let internal = ServiceFacts {
        internal_traffic_policy: TrafficPolicy::Local,
        ..web()
    };
    world.service("web", internal);
    assert_eq!(
        world.announced(),
        [
            "172.16.1.7/32",
            "192.0.2.7/32",
            "2001:db8::7/128",
            "fd00:16::7/128"
        ]
    );
    let external = ServiceFacts {
        external_traffic_policy: TrafficPolicy::Local,
        ..web()
    };
    world.service("web", external);
    assert_eq!(world.announced(), ["10.96.0.7/32", "fd00:96::7/128"]);
}

#[test]
fn an_address_of_several_services_stays_while_one_of_them_qualifies() {
    let mut world = world(&of(&["LoadBalancerIP"]));
    let local = ServiceFacts {
        external_traffic_policy: TrafficPolicy::Local,
        ..web()
    };
    world.service("web", local.clone());
    world.service("also-web", local);
    world.endpoints("web", &[(Some("k8s-w1"), true)]);
    assert!(world.announced().is_empty());
    world.endpoints("also-web", &[(Some(NODE), true)]);
    assert_eq!(world.announced(), ["172.16.1.7/32", "fd00:16::7/128"]);
}

#[test]
fn aggregates_stand_for_addresses_whose_policy_is_cluster() {
    let mut entry = of(&["LoadBalancerIP"]);
    entry["service"]["aggregationLengthIPv4"] = json!(24);
    entry["service"]["aggregationLengthIPv6"] = json!(64);
    let mut world = world(&entry);
    assert_eq!(world.announced(), ["172.16.1.0/24", "fd00:16::/64"]);
    world.advertisement("exact", json!([of(&["LoadBalancerIP"])]));
    assert_eq!(
        world.announced(),
        [
            "172.16.1.0/24",
            "172.16.1.7/32",
            "fd00:16::/64",
            "fd00:16::7/128"
        ]
    );
    world.service(
        "web",
        ServiceFacts {
            external_traffic_policy: TrafficPolicy::Local,
            ..web()
        },
    );
    world.endpoints("web", &[(Some(NODE), true)]);
    assert_eq!(world.announced(), ["172.16.1.7/32", "fd00:16::7/128"]);
}

#[test]
fn an_address_needs_endpoints_of_its_own_family_and_of_its_ports() {
    let local = ServiceFacts {
        external_traffic_policy: TrafficPolicy::Local,
        ports: vec![web_port("web"), web_port("admin")],
        ..web()
    };
    let mut world = world(&of(&["LoadBalancerIP"]));
    world.service("web", local);
    let here: Endpoints<'_> = &[(Some(NODE), true)];
    world.slice("web", "fd00:20::7", here, Vec::new());
    assert_eq!(world.announced(), [] as [&str; 0], "no port");
    world.slice("web", "172.20.0.7", here, vec![of_slice("other")]);
    assert_eq!(world.announced(), [] as [&str; 0], "another port");
    world.slice("web", "172.20.0.7", here, vec![of_slice("admin")]);
    assert_eq!(world.announced(), ["172.16.1.7/32"], "IPv4 alone");
    world.slice("web", "fd00:20::7", here, vec![of_slice("web")]);
    assert_eq!(world.announced(), ["172.16.1.7/32", "fd00:16::7/128"]);
}

#[test]
fn what_a_family_that_is_not_carried_out_selects_is_not_announced_as_unicast() {
    let mut world = world(&of(&["LoadBalancerIP"]));
    world.peer_config(json!({"families": [
        {"afi": "ipv4", "safi": "unicast"},
        {"afi": "ipv4", "safi": "multicast", "advertisements": {}}]}));
    assert_eq!(world.announced(), [] as [&str; 0]);
}

#[test]
fn attributes_are_those_of_the_entries_that_name_the_address() {
    let mut entry = of(&["LoadBalancerIP"]);
    entry["attributes"] =
        json!({"communities": {"standard": ["65000:99"]}, "localPreference": 250});
    let world = world(&entry);
    let plan = world.plan();
    let peer = &plan.instances["instance-65001"].peers["tor-switch"];
    let attributes = &peer.announce[&"172.16.1.7/32".parse().unwrap()];
    assert_eq!(attributes.local_preference, Some(250));
    assert_eq!(attributes.communities, [65000 << 16 | 99].into());
}
