//! What the status says of learned routes.

use std::collections::BTreeMap;

use api::condition::Condition;
use ipnet::IpNet;
use jiff::Timestamp;
use plan::node::status::{ROUTES_IMPORTED, status};
use plan::node::{
    Observed, ObservedRoutes, Refusal, RefusedRoutes, RoutesProblem, Target, WithheldRoutes,
};
use serde_json::json;

use crate::imports::MAIN;
use crate::world::World;

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn refused(routes: u64, examples: &[&str]) -> RefusedRoutes {
    RefusedRoutes {
        routes,
        examples: nets(examples),
    }
}

fn withheld(reason: &str, routes: u64, examples: &[&str]) -> WithheldRoutes {
    WithheldRoutes {
        reason: reason.to_owned(),
        routes,
        examples: nets(examples),
    }
}

/// All is well with so many routes.
fn settled(installed: u64) -> ObservedRoutes {
    ObservedRoutes {
        installed,
        ready: true,
        ..ObservedRoutes::default()
    }
}

fn conditions(world: &World, previous: &[Condition], second: i64) -> Vec<Condition> {
    let now = Timestamp::from_second(second).unwrap();
    status(&world.plan(), &world.observed, previous, now).conditions
}

/// The condition on routes: status, reason, message.
fn said(world: &World) -> Option<(String, String, String)> {
    let conditions = conditions(world, &[], 0);
    let mut ours = conditions
        .into_iter()
        .filter(|condition| condition.type_ == ROUTES_IMPORTED);
    let said = ours.next();
    assert_eq!(ours.next(), None, "one condition of a type");
    said.map(|said| (said.status, said.reason, said.message))
}

#[test]
fn without_an_import_that_selects_the_node_there_is_no_condition() {
    let mut world = World::published();
    assert_eq!(said(&world), None);
    world.import(
        "others",
        json!({"nodeSelector": {"matchLabels": {"rack": "b"}}}),
    );
    world.observed.imports = [(MAIN, settled(3))].into();
    assert_eq!(said(&world), None);
}

#[test]
fn the_condition_says_how_many_routes_are_installed_and_which_are_not() {
    let rows = [
        (
            None,
            "False",
            "Pending",
            r#"no route installed yet by import "all""#,
        ),
        (
            Some(ObservedRoutes {
                pending: 12,
                ..ObservedRoutes::default()
            }),
            "False",
            "Pending",
            r#"0 routes installed by import "all"; the first complete set of routes is still to come; 12 on their way"#,
        ),
        (
            Some(settled(0)),
            "True",
            "Installed",
            r#"0 routes installed by import "all""#,
        ),
        (
            Some(settled(1)),
            "True",
            "Installed",
            r#"1 route installed by import "all""#,
        ),
        (
            Some(ObservedRoutes {
                pending: 3,
                ..settled(12)
            }),
            "True",
            "Installed",
            r#"12 routes installed by import "all"; 3 on their way"#,
        ),
        (
            Some(ObservedRoutes {
                refused: [
                    (Refusal::DefaultRoute, refused(1, &["0.0.0.0/0"])),
                    (Refusal::PodCidr, refused(1, &["10.244.0.0/24"])),
                ]
                .into(),
                ..settled(12)
            }),
            "True",
            "InstalledExceptRefused",
            r#"12 routes installed by import "all"; refused: default route 1 (0.0.0.0/0), pod CIDR of this node 1 (10.244.0.0/24)"#,
        ),
        (
            Some(ObservedRoutes {
                refused: [(
                    Refusal::NotAccepted,
                    refused(900, &["10.2.0.0/16", "10.1.0.0/16", "9.0.0.0/8"]),
                )]
                .into(),
                ..settled(12)
            }),
            "True",
            "Installed",
            r#"12 routes installed by import "all"; refused: accepted by no rule 900 (9.0.0.0/8, 10.1.0.0/16, 10.2.0.0/16, ...)"#,
        ),
        (
            Some(ObservedRoutes {
                withheld: vec![
                    withheld(
                        "the interface to its gateway is down",
                        2,
                        &["10.2.0.0/16", "10.1.0.0/16"],
                    ),
                    withheld("somebody keeps removing it", 1, &["10.3.0.0/16"]),
                ],
                refused: [(Refusal::Multicast, refused(1, &[]))].into(),
                ..settled(12)
            }),
            "False",
            "Withheld",
            r#"12 routes installed by import "all"; withheld: somebody keeps removing it 1 (10.3.0.0/16), the interface to its gateway is down 2 (10.1.0.0/16, 10.2.0.0/16); refused: multicast 1"#,
        ),
        (
            Some(ObservedRoutes {
                problem: Some(RoutesProblem::NetAdminMissing),
                ..ObservedRoutes::default()
            }),
            "False",
            "PrivilegeMissing",
            r#"no route installed by import "all"; the agent lacks the capability NET_ADMIN, which the chart gives it with tombolo.profile=routes; what an agent before it may have left stays (tombolo-agent cleanup removes it)"#,
        ),
        (
            Some(ObservedRoutes {
                problem: Some(RoutesProblem::Failed("no netlink".to_owned())),
                withheld: vec![withheld("somebody keeps removing it", 1, &["10.3.0.0/16"])],
                ..settled(7)
            }),
            "False",
            "Failed",
            r#"7 routes installed by import "all"; the kernel's routes cannot be taken care of: no netlink; withheld: somebody keeps removing it 1 (10.3.0.0/16)"#,
        ),
    ];
    for (routes, status, reason, message) in rows {
        let mut world = World::published();
        world.import("all", json!({}));
        world.observed.imports = routes.into_iter().map(|routes| (MAIN, routes)).collect();
        let expected = (status.to_owned(), reason.to_owned(), message.to_owned());
        assert_eq!(said(&world), Some(expected));
    }
}

#[test]
fn several_targets_share_the_condition_and_the_worst_of_them_decides() {
    let mut world = World::published();
    for (name, metric) in [("a", 30), ("b", 30), ("c", 40), ("d", 50)] {
        world.import(name, json!({"metric": metric}));
    }
    let target = |metric| Target { metric, ..MAIN };
    let down = ObservedRoutes {
        withheld: vec![withheld("no permission", 1, &["10.0.0.0/8"])],
        ..settled(0)
    };
    let all: BTreeMap<_, _> = [
        (target(30), settled(2)),
        (target(40), down),
        (target(50), settled(1)),
    ]
    .into();
    world.observed.imports = all;
    let message = "2 routes installed by imports \"a\", \"b\"\n0 routes installed by import \"c\"; withheld: no permission 1 \
                   (10.0.0.0/8)\n1 route installed by import \"d\"";
    let expected = (
        "False".to_owned(),
        "Withheld".to_owned(),
        message.to_owned(),
    );
    assert_eq!(said(&world), Some(expected));
}

#[test]
fn an_import_that_cannot_be_is_told_beside_what_else_cannot() {
    let mut world = World::published();
    world.import("wrong", json!({"table": 253}));
    let conditions = conditions(&world, &[], 0);
    let told: Vec<_> = conditions
        .iter()
        .map(|condition| {
            (
                condition.type_.as_str(),
                condition.status.as_str(),
                condition.message.as_str(),
            )
        })
        .collect();
    let message = "BGPRouteImport \"wrong\": spec.table: table 253 is not for learned routes";
    assert_eq!(told, [("cilium.io/BGPReconcileError", "True", message)]);
}

#[test]
fn equal_observations_say_equal_words_and_a_status_that_stays_keeps_its_time() {
    let mut world = World::published();
    world.import("all", json!({}));
    let mut routes = settled(5);
    let examples = ["10.3.0.0/16", "10.1.0.0/16", "10.2.0.0/16"];
    routes
        .refused
        .insert(Refusal::Connected, refused(3, &examples));
    world.observed.imports.insert(MAIN, routes.clone());
    let first = conditions(&world, &[], 100);
    routes
        .refused
        .get_mut(&Refusal::Connected)
        .unwrap()
        .examples
        .reverse();
    world.observed.imports.insert(MAIN, routes.clone());
    assert_eq!(
        conditions(&world, &first, 200),
        first,
        "the order of examples is no news"
    );

    routes.installed = 6;
    world.observed.imports.insert(MAIN, routes);
    let second = conditions(&world, &first, 300);
    assert_ne!(second, first);
    assert_eq!(
        second[1].last_transition_time,
        first[1].last_transition_time
    );

    world.observed = Observed::default();
    let third = conditions(&world, &second, 400);
    assert_eq!(third[1].status, "False");
    assert_eq!(third[1].last_transition_time.0.as_second(), 400);
    assert_eq!(
        third[0].last_transition_time.0.as_second(),
        100,
        "the other is as it was"
    );
}
