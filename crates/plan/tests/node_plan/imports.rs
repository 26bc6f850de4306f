//! Which learned routes a node installs: what the rules of its imports say, and what no rule can have.

use std::sync::Arc;

use api::BGPRouteImport;
use ipnet::IpNet;
use plan::ServiceCidrFacts;
use plan::node::{ImportPlan, IpFamily, Refusal, RoutesPlan, Target};
use plan::rejected::{ImportProblem, Reason, RuleProblem};
use plan::snapshot::{Ingress, NamespacedName, ServiceFacts};
use serde_json::{Value, json};

use crate::world::{NODE, World};

pub(crate) const MAIN: Target = Target {
    table: 254,
    protocol: 215,
    metric: 30,
};

/// The published lab, in which an import may say something and every guard has something to guard.
pub(crate) fn guarded() -> World {
    let mut world = World::published();
    let networks = [
        ("lo", vec!["127.0.0.1/8", "::1/128"]),
        (
            "eth1",
            vec!["192.168.10.100/24", "fd00:10::100/64", "fe80::100/64"],
        ),
        ("wide", vec!["10.64.0.1/10"]),
        ("narrow", vec!["10.65.7.1/24"]),
        ("pods", vec!["172.20.0.1/24"]),
        ("dummy0", vec!["10.200.0.1/32"]),
    ];
    for (device, networks) in networks {
        let networks = networks.iter().map(|text| net(text)).collect();
        let device = device.to_owned();
        world.observed.interface_networks.insert(device, networks);
    }
    world.observed.far_ends = [net("10.201.0.2/32"), net("10.202.0.0/16")].into();
    let cidrs = vec![net("10.32.0.0/16"), net("fd00:96::/112")];
    let facts = Arc::new(ServiceCidrFacts { cidrs });
    world.snapshot.service_cidrs = [("kubernetes".to_owned(), facts)].into();
    let service = ServiceFacts {
        cluster_ips: vec![
            "10.32.0.10".parse().unwrap(),
            "198.51.100.1".parse().unwrap(),
        ],
        external_ips: vec!["198.51.100.9".parse().unwrap()],
        ingress: vec![
            Ingress::Address("172.16.1.1".parse().unwrap()),
            Ingress::Address("2001:db8:16::1".parse().unwrap()),
            Ingress::Foreign,
        ],
        ..ServiceFacts::default()
    };
    let name = NamespacedName {
        namespace: "default".into(),
        name: "web".into(),
    };
    world.snapshot.services.insert(name, Arc::new(service));
    world
}

impl World {
    /// Adds an import that accepts everything, with these changes to its spec.
    pub(crate) fn import(&mut self, name: &str, changes: Value) {
        let mut object = json!({
            "apiVersion": "tombolo.io/v1alpha1", "kind": "BGPRouteImport", "metadata": {"name": name},
            "spec": {"rules": [
                {"cidr": "0.0.0.0/0", "action": "Accept"}, {"cidr": "::/0", "action": "Accept"}]},
        });
        for (field, value) in changes.as_object().unwrap() {
            object["spec"][field] = value.clone();
        }
        let import: BGPRouteImport = serde_json::from_value(object).unwrap();
        self.snapshot
            .route_imports
            .insert(name.to_owned(), Arc::new(import));
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// The plan of the only import.
fn only(world: &World) -> (RoutesPlan, ImportPlan) {
    let plan = world.plan();
    assert_eq!(plan.rejected, []);
    let imports = &plan.routes.imports[&MAIN];
    assert_eq!(imports.len(), 1);
    let import = imports[0].clone();
    (plan.routes, import)
}

/// What becomes of each prefix under rules: nothing said is `Ok`.
pub(crate) fn check(world: &mut World, rules: Value, rows: &[(&str, Option<Refusal>)]) {
    world.import("all", json!({"rules": rules}));
    let (routes, import) = only(world);
    for (prefix, refusal) in rows {
        let verdict = routes.verdict(&import, &net(prefix));
        assert_eq!(verdict.err(), *refusal, "{prefix} under {rules}");
    }
}

#[test]
fn without_an_import_nothing_is_installed() {
    assert_eq!(guarded().plan().routes, RoutesPlan::default());
}

#[test]
fn what_an_import_does_not_say_has_its_default() {
    let mut world = World::published();
    world.import(
        "all",
        json!({"rules": [{"cidr": "10.0.0.0/8", "action": "Accept"}]}),
    );
    let (_, import) = only(&world);
    assert_eq!(
        (import.instances.as_ref(), import.peers.as_ref()),
        (None, None)
    );
    assert_eq!(import.families, [IpFamily::Ipv4, IpFamily::Ipv6].into());
    assert_eq!(import.maximum_paths.get(), 16);
    let rule = &import.rules[0];
    assert_eq!(
        (rule.min_length, rule.max_length, rule.accept),
        (8, 32, true)
    );
}

#[test]
fn what_an_import_says_is_planned() {
    let mut world = World::published();
    world.import(
        "some",
        json!({
            "instances": ["instance-65001"], "peers": ["tor-switch", "gateway"],
            "families": [{"afi": "ipv6", "safi": "unicast"}], "table": 100, "metric": 7, "protocol": 217,
            "maximumPaths": 2,
            "rules": [{"cidr": "2001:db8::/32", "minLength": 48, "maxLength": 64, "action": "Reject"}],
        }),
    );
    let plan = world.plan();
    let target = Target {
        table: 100,
        protocol: 217,
        metric: 7,
    };
    let import = &plan.routes.imports[&target][0];
    assert_eq!(import.name, "some");
    let names = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect());
    assert_eq!(import.instances, names(&["instance-65001"]));
    assert_eq!(import.peers, names(&["gateway", "tor-switch"]));
    assert_eq!(import.families, [IpFamily::Ipv6].into());
    assert_eq!(import.maximum_paths.get(), 2);
    let rule = &import.rules[0];
    assert_eq!(
        (rule.min_length, rule.max_length, rule.accept),
        (48, 64, false)
    );
}

#[test]
fn imports_of_one_target_come_in_order_of_their_names() {
    let mut world = World::published();
    for (name, metric) in [("b", 30), ("c", 40), ("a", 30)] {
        world.import(name, json!({"metric": metric}));
    }
    let imports = world.plan().routes.imports;
    let names: Vec<Vec<&str>> = imports
        .values()
        .map(|imports| imports.iter().map(|import| import.name.as_str()).collect())
        .collect();
    assert_eq!(names, [vec!["a", "b"], vec!["c"]]);
}

#[test]
fn an_import_is_for_the_nodes_that_its_selector_selects() {
    let rows = [
        (json!(null), true),
        (json!({}), true),
        (json!({"matchLabels": {"rack": "a"}}), true),
        (json!({"matchLabels": {"rack": "b"}}), false),
        (
            json!({"matchExpressions": [{"key": "edge", "operator": "DoesNotExist"}]}),
            true,
        ),
        (
            json!({"matchExpressions": [{"key": "rack", "operator": "NotIn", "values": ["a"]}]}),
            false,
        ),
    ];
    for (selector, selected) in rows {
        let mut world = World::published();
        let mut facts = world.snapshot.nodes[NODE].as_ref().clone();
        facts.labels.insert("rack".to_owned(), "a".to_owned());
        world
            .snapshot
            .nodes
            .insert(NODE.to_owned(), Arc::new(facts));
        world.import("all", json!({"nodeSelector": selector}));
        assert_eq!(
            !world.plan().routes.imports.is_empty(),
            selected,
            "{selector}"
        );
    }
}

#[test]
fn what_cannot_be_costs_that_import_and_is_named() {
    let rule = |problem| ImportProblem::Rule { index: 0, problem };
    let lengths = |prefix, min_length, max_length| {
        rule(RuleProblem::Lengths {
            prefix: net(prefix),
            min_length,
            max_length,
        })
    };
    let one = |cidr: &str, min: Value, max: Value| json!({"rules": [{"cidr": cidr, "minLength": min, "maxLength": max, "action": "Accept"}]});
    let rows = [
        (
            one("pods", json!(null), json!(null)),
            rule(RuleProblem::Cidr("pods".into())),
        ),
        (
            one("10.0.0.1/8", json!(null), json!(null)),
            rule(RuleProblem::BitsBehind(net("10.0.0.1/8"))),
        ),
        (
            one("10.0.0.0/8", json!(7), json!(null)),
            lengths("10.0.0.0/8", 7, 32),
        ),
        (
            one("10.0.0.0/8", json!(null), json!(7)),
            lengths("10.0.0.0/8", 8, 7),
        ),
        (
            one("10.0.0.0/8", json!(24), json!(23)),
            lengths("10.0.0.0/8", 24, 23),
        ),
        (
            one("10.0.0.0/8", json!(null), json!(33)),
            lengths("10.0.0.0/8", 8, 33),
        ),
        (json!({"table": 0}), ImportProblem::Table(0)),
        (json!({"table": 253}), ImportProblem::Table(253)),
        (json!({"protocol": 2}), ImportProblem::Protocol(2)),
        (json!({"protocol": 9}), ImportProblem::Protocol(9)),
        (json!({"metric": 0}), ImportProblem::Metric),
        (json!({"maximumPaths": 0}), ImportProblem::MaximumPaths),
    ];
    for (spec, problem) in rows {
        let mut world = World::published();
        world.import("wrong", spec.clone());
        world.import("right", json!({}));
        let plan = world.plan();
        let import = "wrong".to_owned();
        assert_eq!(
            world.reasons(),
            [Reason::RouteImportInvalid { import, problem }],
            "{spec}"
        );
        assert_eq!(plan.routes.imports[&MAIN].len(), 1, "{spec}");
        assert_eq!(plan.routes.imports[&MAIN][0].name, "right", "{spec}");
        assert_eq!(plan.instances.len(), 1, "the sessions stay");
    }
}

#[test]
fn an_invalid_selector_costs_that_import_and_the_message_says_where() {
    let mut world = World::published();
    world.import(
        "wrong",
        json!({"nodeSelector": {"matchExpressions": [{"key": "rack", "operator": "In"}]}}),
    );
    let plan = world.plan();
    assert_eq!(plan.routes, RoutesPlan::default());
    let messages: Vec<String> = plan.rejected.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "BGPRouteImport \"wrong\": spec.nodeSelector is invalid: label \"rack\": operators In and NotIn need at least one \
             value"
        ]
    );
}

#[test]
fn the_first_rule_that_matches_decides() {
    let accept = |cidr: &str| json!({"cidr": cidr, "action": "Accept"});
    let reject = |cidr: &str| json!({"cidr": cidr, "action": "Reject"});
    let refused = Some(Refusal::NotAccepted);
    let mut world = World::published();
    check(
        &mut world,
        json!([
            reject("10.1.0.0/16"),
            accept("10.0.0.0/8"),
            reject("10.0.0.0/8"),
            accept("10.1.0.0/16")
        ]),
        &[
            ("10.0.0.0/8", None),
            ("10.1.0.0/16", refused),
            ("10.1.2.0/24", refused),
            ("10.2.0.0/16", None),
            ("10.0.0.0/7", refused),
            ("11.0.0.0/8", refused),
            ("2001:db8::/32", refused),
            ("::/0", refused),
        ],
    );
}

#[test]
fn a_rule_matches_lengths_from_its_least_to_its_greatest() {
    let rows = [
        (
            json!({}),
            vec![(15, false), (16, true), (17, true), (32, true)],
        ),
        (
            json!({"minLength": 24}),
            vec![(16, false), (23, false), (24, true), (32, true)],
        ),
        (
            json!({"maxLength": 24}),
            vec![(15, false), (16, true), (24, true), (25, false)],
        ),
        (
            json!({"minLength": 20, "maxLength": 24}),
            vec![(19, false), (20, true), (24, true), (25, false)],
        ),
        (
            json!({"minLength": 16, "maxLength": 16}),
            vec![(16, true), (17, false)],
        ),
        (json!({"minLength": 32}), vec![(31, false), (32, true)]),
    ];
    for (bounds, lengths) in rows {
        let mut rule = json!({"cidr": "10.1.0.0/16", "action": "Accept"});
        for (field, value) in bounds.as_object().unwrap() {
            rule[field] = value.clone();
        }
        for (length, accepted) in lengths {
            let prefix = IpNet::new([10, 1, 0, 0].into(), length).unwrap().trunc();
            let refusal = (!accepted).then_some(Refusal::NotAccepted);
            let mut world = World::published();
            check(&mut world, json!([rule]), &[(&prefix.to_string(), refusal)]);
        }
    }
}

#[test]
fn a_family_that_is_not_imported_is_not_accepted() {
    let mut world = World::published();
    world.import(
        "all",
        json!({"families": [{"afi": "ipv6", "safi": "unicast"}]}),
    );
    let (routes, import) = only(&world);
    let verdict = |prefix| routes.verdict(&import, &net(prefix));
    assert_eq!(verdict("203.0.113.0/24"), Err(Refusal::NotAccepted));
    assert_eq!(verdict("2001:db8::/32"), Ok(()));
}

#[test]
fn what_a_cluster_lives_on_is_refused_whatever_the_rules_say() {
    use Refusal::{
        Connected, DefaultRoute, LinkLocal, Loopback, Multicast, NodeAddress, PodCidr,
        ServiceAddress, ServiceCidr,
    };
    let rules =
        json!([{"cidr": "0.0.0.0/0", "action": "Accept"}, {"cidr": "::/0", "action": "Accept"}]);
    let rows = [
        // This node's pods: the CIDR and its parts, but not what it lies in, which other nodes' pods lie in too.
        ("172.20.0.0/24", Some(PodCidr)),
        ("172.20.0.0/25", Some(PodCidr)),
        ("172.20.0.7/32", Some(PodCidr)),
        ("172.20.1.0/24", None),
        ("172.20.0.0/23", None),
        ("172.20.0.0/16", None),
        ("fd00:20::/64", Some(PodCidr)),
        ("fd00:20::7/128", Some(PodCidr)),
        ("fd00:20:0:1::/64", None),
        ("fd00:20::/63", None),
        // Services: the CIDR and its parts.
        ("10.32.0.0/16", Some(ServiceCidr)),
        ("10.32.128.0/17", Some(ServiceCidr)),
        ("10.32.0.11/32", Some(ServiceCidr)),
        ("10.32.0.0/15", None),
        ("fd00:96::/112", Some(ServiceCidr)),
        ("fd00:96::1/128", Some(ServiceCidr)),
        ("fd00:96::/111", None),
        // Addresses of Services, of which others' may lie in the same range.
        ("10.32.0.10/32", Some(ServiceAddress)),
        ("198.51.100.1/32", Some(ServiceAddress)),
        ("198.51.100.9/32", Some(ServiceAddress)),
        ("172.16.1.1/32", Some(ServiceAddress)),
        ("2001:db8:16::1/128", Some(ServiceAddress)),
        ("172.16.1.2/32", None),
        ("172.16.1.0/24", None),
        ("172.16.1.0/31", None),
        // Addresses of this node, from its devices and from the cluster.
        ("192.168.10.100/32", Some(NodeAddress)),
        ("fd00:10::100/128", Some(NodeAddress)),
        ("10.200.0.1/32", Some(NodeAddress)),
        ("172.20.0.1/32", Some(NodeAddress)),
        ("192.168.20.100/32", None),
        ("10.200.0.0/31", None),
        // Networks it is connected to, and parts of them.
        ("192.168.10.0/24", Some(Connected)),
        ("192.168.10.128/25", Some(Connected)),
        ("192.168.10.200/32", Some(Connected)),
        ("192.168.10.0/23", None),
        ("192.168.20.0/24", None),
        ("fd00:10::/64", Some(Connected)),
        ("fd00:10::200/128", Some(Connected)),
        ("10.64.0.0/10", Some(Connected)),
        ("10.65.0.0/16", Some(Connected)),
        ("10.65.7.0/24", Some(Connected)),
        ("10.127.255.0/24", Some(Connected)),
        ("10.128.0.0/10", None),
        // What lies at the other end of an address that has one.
        ("10.201.0.2/32", Some(Connected)),
        ("10.201.0.3/32", None),
        ("10.202.1.0/24", Some(Connected)),
        ("10.10.1.0/24", None),
        // What no unicast table is for.
        ("127.0.0.0/8", Some(Loopback)),
        ("127.1.2.3/32", Some(Loopback)),
        ("::1/128", Some(Loopback)),
        ("126.0.0.0/7", Some(DefaultRoute)),
        ("0.0.0.0/1", Some(DefaultRoute)),
        ("128.0.0.0/1", Some(DefaultRoute)),
        ("126.0.0.0/8", None),
        ("2000::/3", Some(DefaultRoute)),
        ("fc00::/7", None),
        ("169.254.0.0/16", Some(LinkLocal)),
        ("169.254.169.254/32", Some(LinkLocal)),
        ("fe80::/64", Some(LinkLocal)),
        ("fe80::/10", Some(LinkLocal)),
        ("febf::/16", Some(LinkLocal)),
        ("fec0::/10", None),
        ("169.253.0.0/16", None),
        ("224.0.0.0/4", Some(Multicast)),
        ("239.1.2.3/32", Some(Multicast)),
        ("ff02::/16", Some(Multicast)),
        ("ff00::/8", Some(Multicast)),
        ("223.255.255.0/24", None),
        ("203.0.113.0/24", None),
        ("2001:db8::/32", None),
    ];
    check(&mut guarded(), rules, &rows);
}

#[test]
fn a_part_of_a_connected_network_is_installed_by_a_rule_that_lies_in_it() {
    let refused = Some(Refusal::Connected);
    let rows = [
        ("10.0.0.0/8", "10.70.0.0/16", refused),
        ("10.64.0.0/10", "10.70.0.0/16", None),
        ("10.70.0.0/16", "10.70.0.0/16", None),
        ("10.70.0.0/16", "10.70.1.0/24", None),
        ("10.64.0.0/10", "10.64.0.0/10", refused),
        // The innermost network counts.
        ("10.64.0.0/10", "10.65.7.128/25", refused),
        ("10.65.0.0/16", "10.65.7.128/25", refused),
        ("10.65.7.0/24", "10.65.7.128/25", None),
        ("10.65.7.0/24", "10.65.7.0/24", refused),
        ("10.64.0.0/10", "10.65.6.0/24", None),
        // What lies around it is not hurt.
        ("10.0.0.0/8", "10.128.0.0/16", None),
        ("10.0.0.0/8", "10.0.0.0/8", None),
        // It lifts no other guard.
        ("10.32.0.0/16", "10.32.1.0/24", Some(Refusal::ServiceCidr)),
        (
            "192.168.10.0/24",
            "192.168.10.100/32",
            Some(Refusal::NodeAddress),
        ),
    ];
    for (rule, prefix, refusal) in rows {
        let rules = json!([{"cidr": rule, "action": "Accept"}]);
        check(&mut guarded(), rules, &[(prefix, refusal)]);
    }
}

#[test]
fn what_is_neither_accepted_nor_allowed_is_not_accepted() {
    let rows = [
        ("127.0.0.0/8", Some(Refusal::NotAccepted)),
        ("0.0.0.0/0", Some(Refusal::NotAccepted)),
    ];
    check(
        &mut guarded(),
        json!([{"cidr": "10.0.0.0/8", "action": "Accept"}]),
        &rows,
    );
}

#[test]
fn the_pods_of_a_node_are_those_that_cilium_says_where_it_says_any() {
    let mut world = World::published();
    let facts = plan::NodeFacts {
        pod_cidrs: vec![net("10.244.7.9/24")],
        internal_addresses: vec!["198.51.100.7".parse().unwrap()],
        ..plan::NodeFacts::default()
    };
    world.snapshot.cilium_nodes = Some([(NODE.to_owned(), Arc::new(facts))].into());
    let rules = json!([{"cidr": "0.0.0.0/0", "action": "Accept"}]);
    let rows = [
        ("10.244.7.0/24", Some(Refusal::PodCidr)),
        ("172.20.0.0/24", None),
        // The node has the addresses that either says.
        ("198.51.100.7/32", Some(Refusal::NodeAddress)),
        ("192.168.10.100/32", Some(Refusal::NodeAddress)),
    ];
    check(&mut world, rules, &rows);
}

#[test]
fn without_service_cidrs_the_addresses_of_services_are_still_guarded() {
    let mut world = guarded();
    world.snapshot.service_cidrs.clear();
    world.observed.interface_networks.clear();
    let rules = json!([{"cidr": "0.0.0.0/0", "action": "Accept"}]);
    let rows = [
        ("10.32.0.10/32", Some(Refusal::ServiceAddress)),
        ("10.32.0.11/32", None),
    ];
    check(&mut world, rules, &rows);
}
