//! Which frontends a Service has, and whose backends each scope sees.

use plan::node::datapath::{Algorithm, Fault};
use plan::snapshot::{Ingress, IpFamily, Protocol, ServiceType, TrafficPolicy};

use super::{Scene, ip, port, shown};

type Change = fn(&mut Scene);

const BOTH: &str = "[172.20.0.1:8080* 172.20.1.2:8080]";
const HERE: &str = "[172.20.0.1:8080*]";

/// Frontends without their backends.
fn places(scene: &mut Scene) -> Vec<String> {
    let service = scene.service();
    let shown = service.frontends.iter().map(shown);
    shown
        .map(|line| line.split(" [").next().unwrap().to_owned())
        .collect()
}

const CLUSTER: &str = "cluster 10.96.0.7 80/tcp";
const BALANCER: &str = "balancer 172.16.1.7 80/tcp";
const EXTERNAL: &str = "external 192.0.2.7 80/tcp";
const NODE4: &str = "node4 30080/tcp";

#[test]
fn frontends_follow_type_addresses_labels_and_annotations() {
    let rows: [(&str, Change, &[&str]); 32] = [
        (
            "type LoadBalancer has all",
            |_| {},
            &[CLUSTER, BALANCER, EXTERNAL, NODE4],
        ),
        (
            "type NodePort has no LoadBalancer address, whatever the status says",
            |s| s.service.service_type = ServiceType::NodePort,
            &[CLUSTER, EXTERNAL, NODE4],
        ),
        (
            "type ClusterIP has no port of nodes",
            |s| s.service.service_type = ServiceType::ClusterIp,
            &[CLUSTER, EXTERNAL],
        ),
        (
            "a name has nothing",
            |s| s.service.service_type = ServiceType::ExternalName,
            &[],
        ),
        (
            "a port without NodePort",
            |s| s.service.ports[0].node_port = None,
            &[CLUSTER, BALANCER, EXTERNAL],
        ),
        (
            "no cluster address: only what others gave",
            |s| s.service.cluster_ips.clear(),
            &[BALANCER, EXTERNAL, NODE4],
        ),
        (
            "headless and nothing else",
            |s| {
                s.service.service_type = ServiceType::ClusterIp;
                s.service.cluster_ips.clear();
                s.service.external_ips.clear();
            },
            &[],
        ),
        (
            "labelled headless, whatever addresses it has",
            |s| s.label("service.kubernetes.io/headless", ""),
            &[],
        ),
        (
            "another proxy's",
            |s| s.label("service.kubernetes.io/service-proxy-name", "other"),
            &[],
        ),
        (
            "ours by name",
            |s| {
                s.label("service.kubernetes.io/service-proxy-name", "ours");
                s.datapath().service_proxy_name = Some("ours".to_owned());
            },
            &[CLUSTER, BALANCER, EXTERNAL, NODE4],
        ),
        (
            "nobody's, and we serve those with our name",
            |s| s.datapath().service_proxy_name = Some("ours".to_owned()),
            &[],
        ),
        (
            "an ingress entry of a proxy",
            |s| s.service.ingress = vec![Ingress::Foreign],
            &[CLUSTER, EXTERNAL, NODE4],
        ),
        (
            "several LoadBalancer addresses",
            |s| {
                s.service.ingress.push(Ingress::Address(ip("172.16.1.8")));
            },
            &[
                CLUSTER,
                BALANCER,
                "balancer 172.16.1.8 80/tcp",
                EXTERNAL,
                NODE4,
            ],
        ),
        (
            "one address twice is what it is first",
            |s| s.service.external_ips = vec![ip("172.16.1.7"), ip("10.96.0.7")],
            &[CLUSTER, BALANCER, NODE4],
        ),
        (
            "a mapped address is the IPv4 one",
            |s| s.service.external_ips = vec![ip("::ffff:192.0.2.7")],
            &[CLUSTER, BALANCER, EXTERNAL, NODE4],
        ),
        (
            "both families",
            |s| {
                s.service.cluster_ips.push(ip("fd00:96::7"));
                s.service.ip_families = vec![IpFamily::Ipv6, IpFamily::Ipv4];
            },
            &[
                CLUSTER,
                "cluster fd00:96::7 80/tcp",
                BALANCER,
                EXTERNAL,
                NODE4,
                "node6 30080/tcp",
            ],
        ),
        (
            "families that are not said are those of the cluster addresses",
            |s| {
                s.service.cluster_ips = vec![ip("fd00:96::7")];
                s.service.ip_families.clear();
            },
            &[
                "cluster fd00:96::7 80/tcp",
                BALANCER,
                EXTERNAL,
                "node6 30080/tcp",
            ],
        ),
        (
            "each port of each protocol",
            |s| s.service.ports.push(port("dns", 53, Protocol::Udp, 30053)),
            &[
                CLUSTER,
                BALANCER,
                EXTERNAL,
                NODE4,
                "cluster 10.96.0.7 53/udp",
                "balancer 172.16.1.7 53/udp",
                "external 192.0.2.7 53/udp",
                "node4 30053/udp",
            ],
        ),
        (
            "SCTP is not balanced, and costs its port only",
            |s| s.service.ports.push(port("sctp", 9, Protocol::Sctp, 30009)),
            &[CLUSTER, BALANCER, EXTERNAL, NODE4],
        ),
        (
            "type annotation ClusterIP keeps external addresses",
            |s| s.annotate("type", "ClusterIP"),
            &[CLUSTER, EXTERNAL],
        ),
        (
            "type annotation NodePort",
            |s| s.annotate("type", "NodePort"),
            &[EXTERNAL, NODE4],
        ),
        (
            "type annotation LoadBalancer",
            |s| s.annotate("type", "LoadBalancer"),
            &[BALANCER, EXTERNAL],
        ),
        (
            "type annotation that the type has not",
            |s| {
                s.service.service_type = ServiceType::ClusterIp;
                s.annotate("type", "LoadBalancer");
            },
            &[EXTERNAL],
        ),
        (
            "a type in other letters counts as none",
            |s| s.annotate("type", "loadbalancer"),
            &[CLUSTER, BALANCER, EXTERNAL, NODE4],
        ),
        (
            "source ranges take the LoadBalancer addresses away",
            |s| s.service.has_source_ranges = true,
            &[CLUSTER, EXTERNAL, NODE4],
        ),
        (
            "a node's Service, on another",
            |s| s.annotate("node", "edge"),
            &[],
        ),
        (
            "a node's Service, there",
            |s| {
                s.annotate("node", "edge");
                s.node_label("service.cilium.io/node", "edge");
            },
            &[CLUSTER, BALANCER, EXTERNAL, NODE4],
        ),
        (
            "a selector is stronger than a node's name",
            |s| {
                s.annotate("node", "edge");
                s.annotate("node-selector", "rack in (a, b), !spare, zone!=z2");
                s.node_label("rack", "b");
            },
            &[CLUSTER, BALANCER, EXTERNAL, NODE4],
        ),
        (
            "a selector that this node does not meet",
            |s| {
                s.annotate("node-selector", "rack=a");
                s.node_label("rack", "b");
            },
            &[],
        ),
        (
            "a selector that excludes this node",
            |s| {
                s.annotate("node-selector", "rack notin (b),rack");
                s.node_label("rack", "b");
            },
            &[],
        ),
        (
            "a selector that is none counts as none",
            |s| s.annotate("node-selector", "rack in (a"),
            &[CLUSTER, BALANCER, EXTERNAL, NODE4],
        ),
        ("no ports", |s| s.service.ports.clear(), &[]),
    ];
    for (what, change, expected) in rows {
        let mut scene = Scene::new();
        change(&mut scene);
        assert_eq!(places(&mut scene), expected, "{what}");
    }
}

#[test]
fn each_scope_has_the_backends_that_its_policy_allows() {
    use TrafficPolicy::{Cluster, Local};
    // External and internal policy; cluster address; every other address from outside, and from inside.
    let rows = [
        ((Cluster, Cluster), BOTH, BOTH, BOTH),
        ((Local, Cluster), BOTH, HERE, BOTH),
        ((Cluster, Local), HERE, BOTH, HERE),
        ((Local, Local), HERE, HERE, HERE),
    ];
    for ((external, internal), cluster, outside, inside) in rows {
        let mut scene = Scene::new();
        scene.service.external_traffic_policy = external;
        scene.service.internal_traffic_policy = internal;
        let shown: Vec<_> = scene.service().frontends.iter().map(shown).collect();
        let two = if outside == inside {
            outside.to_owned()
        } else {
            format!("{outside} / {inside}")
        };
        let expected = [
            format!("{CLUSTER} {cluster}"),
            format!("{BALANCER} {two}"),
            format!("{EXTERNAL} {two}"),
            format!("{NODE4} {two}"),
        ];
        assert_eq!(
            shown, expected,
            "external {external:?}, internal {internal:?}"
        );
    }
}

#[test]
fn the_algorithm_is_the_service_s_else_the_node_s() {
    use Algorithm::{Maglev, Random};
    let rows = [
        (None, Random, Random),
        (None, Maglev, Maglev),
        (Some("maglev"), Random, Maglev),
        (Some("random"), Maglev, Random),
        (Some("Maglev"), Random, Random),
        (Some(""), Maglev, Maglev),
    ];
    for (annotation, default, expected) in rows {
        let mut scene = Scene::new();
        scene.datapath().algorithm = default;
        if let Some(word) = annotation {
            scene.annotate("lb-algorithm", word);
        }
        let found = scene.service().algorithm;
        assert_eq!(found, expected, "{annotation:?}, default {default:?}");
    }
}

#[test]
fn what_is_not_carried_out_is_named() {
    let rows: [(Change, Fault); 5] = [
        (
            |s| s.annotate("lb-algorithm", "least"),
            Fault::Algorithm("least".to_owned()),
        ),
        (
            |s| s.annotate("type", "ExternalName"),
            Fault::Type("ExternalName".to_owned()),
        ),
        (
            |s| s.annotate("node-selector", "a>1"),
            Fault::NodeSelector("a>1".to_owned()),
        ),
        (
            |s| s.service.ports.push(port("sctp", 9, Protocol::Sctp, 0)),
            Fault::Protocol(9),
        ),
        (|s| s.service.has_source_ranges = true, Fault::SourceRanges),
    ];
    for (change, fault) in rows {
        let mut scene = Scene::new();
        change(&mut scene);
        assert_eq!(scene.service().faults, [fault]);
    }
}

#[test]
fn text_that_is_no_selector_is_a_fault_and_selects_all_nodes() {
    for text in ["a=", "", "a,b", "!a", "a == b", "a in (b)"] {
        let mut scene = Scene::new();
        scene.annotate("node-selector", text);
        assert_eq!(scene.service().faults, [], "{text:?} is a selector");
    }
    for text in [
        "a in",
        "a in b",
        "(a)",
        "a in (b))",
        "a b",
        ",",
        "a,,b",
        "a like (b)",
        "=a",
    ] {
        let mut scene = Scene::new();
        scene.annotate("node-selector", text);
        let service = scene.service();
        assert_eq!(service.faults, [Fault::NodeSelector(text.to_owned())]);
        assert_eq!(service.frontends.len(), 4, "{text:?}");
    }
}
