use std::sync::OnceLock;

use super::*;
use crate::snapshot::ServiceType;

fn settings(ipv4: bool, ipv6: bool) -> Settings {
    Settings {
        ipv4,
        ipv6,
        classless: true,
        classes: ["io.cilium/bgp-control-plane".to_owned()].into(),
    }
}

#[test]
fn the_families_are_those_of_the_policy_and_the_cluster() {
    use IpFamily::{Ipv4, Ipv6};
    use IpFamilyPolicy::{PreferDualStack, RequireDualStack, SingleStack};
    // Policy, listed families; then what is asked for in a cluster with both, with IPv4 only, with IPv6 only.
    type Families = &'static [IpFamily];
    let rows: [(IpFamilyPolicy, Families, [Families; 3]); 13] = [
        (SingleStack, &[], [&[Ipv4], &[Ipv4], &[Ipv6]]),
        (SingleStack, &[Ipv4], [&[Ipv4], &[Ipv4], &[Ipv4]]),
        (SingleStack, &[Ipv6], [&[Ipv6], &[Ipv6], &[Ipv6]]),
        (SingleStack, &[Ipv6, Ipv4], [&[Ipv6], &[Ipv6], &[Ipv6]]),
        (PreferDualStack, &[], [&[Ipv4, Ipv6], &[Ipv4], &[Ipv6]]),
        (PreferDualStack, &[Ipv4], [&[Ipv4], &[Ipv4], &[]]),
        (PreferDualStack, &[Ipv6], [&[Ipv6], &[], &[Ipv6]]),
        (
            PreferDualStack,
            &[Ipv4, Ipv6],
            [&[Ipv4, Ipv6], &[Ipv4], &[Ipv6]],
        ),
        (
            PreferDualStack,
            &[Ipv6, Ipv4],
            [&[Ipv4, Ipv6], &[Ipv4], &[Ipv6]],
        ),
        (RequireDualStack, &[], [&[Ipv4, Ipv6], &[Ipv4], &[Ipv6]]),
        (RequireDualStack, &[Ipv4], [&[Ipv4, Ipv6], &[Ipv4], &[Ipv6]]),
        (RequireDualStack, &[Ipv6], [&[Ipv4, Ipv6], &[Ipv4], &[Ipv6]]),
        (
            RequireDualStack,
            &[Ipv6, Ipv4],
            [&[Ipv4, Ipv6], &[Ipv4], &[Ipv6]],
        ),
    ];
    let clusters = [
        settings(true, true),
        settings(true, false),
        settings(false, true),
    ];
    for (policy, listed, expected) in rows {
        let facts = ServiceFacts {
            ip_family_policy: policy,
            ip_families: listed.to_vec(),
            ..ServiceFacts::default()
        };
        for (settings, expected) in clusters.iter().zip(expected) {
            assert_eq!(
                Request::of(&facts, settings),
                Request::Families(expected.to_vec()),
                "{policy:?} {listed:?} {settings:?}"
            );
        }
    }
}

type Annotations = &'static [(&'static str, &'static str)];

fn facts(load_balancer_ip: &str, annotations: &[(&str, &str)]) -> ServiceFacts {
    let annotations = annotations
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ServiceFacts {
        load_balancer_ip: (!load_balancer_ip.is_empty()).then(|| load_balancer_ip.to_owned()),
        annotations: annotations.collect(),
        ..ServiceFacts::default()
    }
}

const IPS: &str = "lbipam.cilium.io/ips";
const OLDER_IPS: &str = "io.cilium/lb-ipam-ips";

#[test]
fn specific_addresses_are_read_in_order_from_the_field_and_the_annotation() {
    let rows: [(&str, Annotations, &[&str]); 12] = [
        ("10.0.0.1", &[], &["10.0.0.1"]),
        ("", &[(IPS, "10.0.0.1")], &["10.0.0.1"]),
        ("", &[(OLDER_IPS, "10.0.0.1")], &["10.0.0.1"]),
        (
            "10.0.0.9",
            &[(IPS, "10.0.0.1,fd00::1")],
            &["10.0.0.9", "10.0.0.1", "fd00::1"],
        ),
        (
            "",
            &[(IPS, " 10.0.0.2 , 10.0.0.1 ")],
            &["10.0.0.2", "10.0.0.1"],
        ),
        (
            "",
            &[(IPS, "10.0.0.1"), (OLDER_IPS, "10.0.0.2")],
            &["10.0.0.1"],
        ),
        ("", &[(IPS, ""), (OLDER_IPS, "10.0.0.2")], &[]),
        (
            "10.0.0.1",
            &[(IPS, "10.0.0.2,10.0.0.1,10.0.0.2")],
            &["10.0.0.1", "10.0.0.2"],
        ),
        ("", &[(IPS, "10.0.0.1,junk,10.0.0.0/24,")], &["10.0.0.1"]),
        ("junk", &[(IPS, "10.0.0.1")], &["10.0.0.1"]),
        ("junk", &[(IPS, "10.0.0.300,x")], &[]),
        ("", &[], &[]),
    ];
    for (load_balancer_ip, annotations, expected) in rows {
        let request = Request::of(&facts(load_balancer_ip, annotations), &settings(true, true));
        let addresses: Vec<String> = match request {
            Request::Families(_) => Vec::new(),
            Request::Addresses { in_order, .. } => {
                in_order.iter().map(ToString::to_string).collect()
            }
        };
        assert_eq!(addresses, expected, "{load_balancer_ip:?} {annotations:?}");
    }
}

fn terms_of(annotations: &[(&str, &str)]) -> (Option<String>, DifferentPods) {
    static NAME: OnceLock<NamespacedName> = OnceLock::new();
    let facts = facts("", annotations);
    let terms = terms(NAME.get_or_init(NamespacedName::default), &facts);
    (terms.key.map(str::to_owned), terms.different_pods)
}

#[test]
fn the_sharing_key_may_have_its_older_name_and_empty_is_none() {
    const NEW: &str = "lbipam.cilium.io/sharing-key";
    const OLDER: &str = "io.cilium/lb-ipam-sharing-key";
    let rows: [(Annotations, Option<&str>); 6] = [
        (&[], None),
        (&[(NEW, "k")], Some("k")),
        (&[(OLDER, "k")], Some("k")),
        (&[(NEW, "k"), (OLDER, "l")], Some("k")),
        (&[(NEW, ""), (OLDER, "l")], None),
        (&[(NEW, "")], None),
    ];
    for (annotations, expected) in rows {
        assert_eq!(
            terms_of(annotations).0.as_deref(),
            expected,
            "{annotations:?}"
        );
    }
}

#[test]
fn different_pods_are_permitted_by_what_go_takes_for_true() {
    let key = "lbipam.cilium.io/sharing-permit-different-pods";
    for yes in ["1", "t", "T", "TRUE", "true", "True"] {
        assert_eq!(
            terms_of(&[(key, yes)]).1,
            DifferentPods::Permitted,
            "{yes:?}"
        );
    }
    for no in ["", "0", "yes", "tRUE", "false", " true"] {
        assert_eq!(terms_of(&[(key, no)]).1, DifferentPods::Refused, "{no:?}");
    }
}

#[test]
fn a_service_is_ours_by_its_type_and_class() {
    let class = |class: &str| Some(class.to_owned());
    // Class, then whether it is ours where classless Services are, and where they are not.
    let rows = [
        (None, [true, false]),
        (class("io.cilium/bgp-control-plane"), [true, true]),
        (class("io.cilium/l2-announcer"), [false, false]),
        (class("io.cilium/node"), [false, false]),
        (class("example.com/other"), [false, false]),
        (class(""), [false, false]),
    ];
    for (load_balancer_class, expected) in rows {
        for (classless, expected) in [true, false].into_iter().zip(expected) {
            let mut facts = ServiceFacts {
                service_type: ServiceType::LoadBalancer,
                load_balancer_class: load_balancer_class.clone(),
                ..ServiceFacts::default()
            };
            let settings = Settings {
                classless,
                ..settings(true, true)
            };
            assert_eq!(
                is_ours(&facts, &settings),
                expected,
                "{load_balancer_class:?}"
            );
            facts.service_type = ServiceType::ClusterIp;
            assert!(!is_ours(&facts, &settings));
        }
    }
}

#[test]
fn namespace_and_name_are_labels_that_cannot_be_forged() {
    let name = NamespacedName {
        namespace: "real".into(),
        name: "web".into(),
    };
    let labels = [
        ("io.kubernetes.service.namespace", "forged"),
        ("io.kubernetes.service.name", "x"),
        ("app", "a"),
    ];
    let facts = ServiceFacts {
        labels: labels
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..ServiceFacts::default()
    };
    let rows = [
        ("io.kubernetes.service.namespace", Some("real")),
        ("io.kubernetes.service.name", Some("web")),
        ("app", Some("a")),
        ("absent", None),
    ];
    for (key, value) in rows {
        assert_eq!(facts.label(&name, key), value, "{key}");
    }
}
