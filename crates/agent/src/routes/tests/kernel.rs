//! The task against the kernel: routes follow the plan, and outlive the process.

use plan::node::{Refusal, RoutesPlan, Target};

use super::place::{Place, Running};
use super::{TARGET, given, import, net, plan, route};
use crate::interfaces::Devices;

const PREFIXES: [&str; 3] = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"];

#[test]
fn what_the_plan_accepts_is_installed_and_what_it_no_longer_accepts_goes() {
    let Some(place) = Place::make("plan") else {
        return;
    };
    place
        .node
        .ip("route add 100.64.0.0/10 via 10.0.1.2 proto static")
        .expect("a route");
    let foreign = place.routes("static");
    place.on_node(async || {
        let mut running = Running::start(plan(vec![import("i", &["0.0.0.0/0"])]));
        assert_eq!(running.demanded().await, Some(1));
        let one = given(&[("router", "10.0.1.2")]);
        let two = given(&[("router", "10.0.1.2"), ("other", "10.0.1.3")]);
        let pods = route("10.244.0.0/25", &one);
        let routes = [route(PREFIXES[0], &one), route(PREFIXES[1], &two), pods];
        running.learn(&routes, true).await;
        let observed = running
            .sees("both", |routes| routes.installed == 2 && routes.ready)
            .await;
        assert_eq!((observed.pending, observed.problem), (0, None));
        assert_eq!(observed.refused[&Refusal::PodCidr].routes, 1);
        assert_eq!(
            observed.refused[&Refusal::PodCidr].examples,
            [net("10.244.0.0/25")]
        );
        place.has(&PREFIXES[..2]).await;
        assert!(
            place
                .routes("186")
                .iter()
                .any(|line| line.contains("via 10.0.1.3"))
        );

        running.plan(plan(vec![import("i", &["198.51.100.0/24"])]));
        assert_eq!(
            running.demanded().await,
            Some(2),
            "with another plan everything is asked for anew"
        );
        running.learn(&routes, true).await;
        let observed = running.sees("one", |routes| routes.installed == 1).await;
        assert_eq!(observed.refused[&Refusal::NotAccepted].routes, 2);
        place.has(&PREFIXES[1..2]).await;

        running.learn(&[route(PREFIXES[1], &[])], false).await;
        running.sees("none", |routes| routes.installed == 0).await;
        place.has(&[]).await;
        running.learn(&[route(PREFIXES[1], &one)], false).await;
        place.has(&PREFIXES[1..2]).await;

        running.plan(RoutesPlan::default());
        assert_eq!(
            running.demanded().await,
            None,
            "without an import nothing is asked for"
        );
        place.has(&[]).await;
        assert!(running.imports.borrow_and_update().is_empty());
    });
    assert_eq!(place.routes("static"), foreign);
}

#[test]
fn routes_outlive_the_task_and_its_successor_prunes_them_only_when_it_knows_all() {
    let Some(place) = Place::make("successor") else {
        return;
    };
    place.on_node(async || {
        let all = || plan(vec![import("i", &["0.0.0.0/0"])]);
        let one = given(&[("router", "10.0.1.2")]);
        let mut first = Running::start(all());
        first.demanded().await;
        let routes = PREFIXES.map(|prefix| route(prefix, &one));
        first.learn(&routes, true).await;
        first.sees("all", |routes| routes.installed == 3).await;
        first.task.abort();
        assert!(first.task.await.expect_err("aborted").is_cancelled());
        place.has(&PREFIXES).await;

        let mut second = Running::start(all());
        second.demanded().await;
        second.learn(&routes[..1], false).await;
        second.sees("adopted", |routes| routes.installed == 1).await;
        second.learn(&[route(PREFIXES[1], &[])], false).await;
        second.learn(&[route("10.99.0.0/16", &one)], false).await;
        let observed = second
            .sees("one more", |routes| routes.installed == 2)
            .await;
        assert!(!observed.ready);
        place
            .has(&["10.99.0.0/16", PREFIXES[0], PREFIXES[1], PREFIXES[2]])
            .await;
        second.learn(&[], true).await;
        second.sees("pruned", |routes| routes.ready).await;
        place.has(&["10.99.0.0/16", PREFIXES[0]]).await;
    });
}

/// An answer to an older demand says nothing about what the newer one will bring.
#[test]
fn that_all_is_known_counts_only_in_answer_to_the_latest_demand() {
    let Some(place) = Place::make("demand") else {
        return;
    };
    place.on_node(async || {
        let mut running = Running::start(plan(vec![import("i", &["192.0.2.0/24"])]));
        running.demanded().await;
        running.plan(plan(vec![import("i", &["0.0.0.0/0"])]));
        assert_eq!(running.demanded().await, Some(2));
        let one = given(&[("router", "10.0.1.2")]);
        let old = crate::routes::Batch {
            replay: 1,
            routes: vec![route(PREFIXES[0], &one)],
            complete: true,
        };
        running.batches.send(old).await.expect("the task runs");
        let observed = running
            .sees("installed", |routes| routes.installed == 1)
            .await;
        assert!(!observed.ready);
        running.learn(&[], true).await;
        running.sees("all is known", |routes| routes.ready).await;
    });
}

#[test]
fn a_route_over_a_link_that_is_found_later_is_asked_for_again() {
    let Some(place) = Place::make("links") else {
        return;
    };
    place.on_node(async || {
        let mut running = Running::start(plan(vec![import("i", &["::/0"])]));
        running.demanded().await;
        let local = "2001:db8:1::1".parse().expect("an address");
        let gateway = "fe80::99".parse::<std::net::IpAddr>().expect("an address");
        let paths = super::learned(&[super::Given {
            peer: "router",
            next_hop: bgp::wire::NextHop::from(gateway),
            local,
        }]);
        let routes = [route("2001:db8:9::/48", &paths)];
        running.learn(&routes, true).await;
        let withheld = |routes: &plan::node::ObservedRoutes| {
            routes
                .withheld
                .iter()
                .map(|group| group.routes)
                .sum::<u64>()
        };
        running
            .sees("withheld", |routes| withheld(routes) == 1)
            .await;
        let output = place.node.exec("ip", ["-o", "link", "show", "a0"]);
        let line = output.expect("ip runs").stdout;
        let number = line
            .split(':')
            .next()
            .and_then(|number| number.parse().ok());
        let number: u32 = number.expect("the number comes first");
        running.devices.send_replace(Devices {
            links: std::sync::Arc::new([(local, number)].into()),
            ..Devices::default()
        });
        assert_eq!(running.demanded().await, Some(2));
        running.learn(&routes, true).await;
        running
            .sees("installed", |routes| routes.installed == 1)
            .await;
        place.has(&["2001:db8:9::/48"]).await;
        assert!(place.routes("186")[0].contains("via fe80::99 dev a0"));
    });
}

#[test]
fn an_import_that_moves_keeps_its_routes_until_they_are_at_the_new_place() {
    let Some(place) = Place::make("moves") else {
        return;
    };
    let import = || vec![import("i", &["0.0.0.0/0"])];
    let moved = RoutesPlan {
        imports: [(
            Target {
                metric: 40,
                ..TARGET
            },
            import(),
        )]
        .into(),
        ..RoutesPlan::default()
    };
    let is_there = |metric: &str| {
        let routes = place.routes("186");
        routes
            .iter()
            .any(|line| line.starts_with(PREFIXES[0]) && line.contains(metric))
    };
    place.on_node(async || {
        let mut running = Running::start(plan(import()));
        assert_eq!(running.demanded().await, Some(1));
        let one = given(&[("router", "10.0.1.2")]);
        let routes = [route(PREFIXES[0], &one)];
        running.learn(&routes, true).await;
        running
            .sees("installed", |routes| routes.installed == 1 && routes.ready)
            .await;
        for (number, (plan, before, after)) in [
            (moved.clone(), "metric 30", "metric 40"),
            (plan(import()), "metric 40", "metric 30"),
        ]
        .into_iter()
        .enumerate()
        {
            running.plan(plan);
            assert_eq!(running.demanded().await, Some(2 + number as u64));
            assert!(
                is_there(before),
                "nothing is there instead yet: {:?}",
                place.routes("186")
            );
            running.learn(&routes, true).await;
            place.has(&PREFIXES[..1]).await;
            while is_there(before) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            assert!(is_there(after));
        }
    });
}

#[test]
fn routes_of_an_import_that_went_while_nobody_ran_go_too() {
    let Some(place) = Place::make("abandoned") else {
        return;
    };
    let theirs = "route add 198.51.100.0/24 via 10.0.1.2 proto 186 metric 20";
    place.node.ip(theirs).expect("a route");
    let foreign = place.routes("186");
    place.on_node(async || {
        let mut running = Running::start(plan(vec![import("i", &["0.0.0.0/0"])]));
        running.demanded().await;
        let one = given(&[("router", "10.0.1.2")]);
        running.learn(&[route(PREFIXES[0], &one)], true).await;
        running
            .sees("installed", |routes| routes.installed == 1)
            .await;
        running.task.abort();
        assert!(running.task.await.expect_err("aborted").is_cancelled());
        let _successor = Running::start(RoutesPlan::default());
        place.has(&["198.51.100.0/24"]).await;
    });
    assert_eq!(place.routes("186"), foreign);
}

#[test]
fn cleanup_removes_what_is_provably_ours_and_leaves_what_may_be_somebody_elses() {
    let Some(place) = Place::make("cleanup") else {
        return;
    };
    let theirs = "route add 198.51.100.0/24 via 10.0.1.2 proto 186 metric 20";
    place.node.ip(theirs).expect("a route");
    place.on_node(async || {
        let mut running = Running::start(plan(vec![import("i", &["0.0.0.0/0", "::/0"])]));
        running.demanded().await;
        let one = given(&[("router", "10.0.1.2")]);
        running.learn(&[route(PREFIXES[0], &one)], true).await;
        running
            .sees("installed", |routes| routes.installed == 1)
            .await;
        running.task.abort();
        assert!(running.task.await.expect_err("aborted").is_cancelled());
    });
    let clean = |arguments: &crate::cleanup::Arguments| {
        let outcome = place.node.run(|| crate::cleanup::run(arguments));
        outcome.expect("the namespace is entered").expect("cleaned")
    };
    let by_proof = crate::cleanup::Arguments {
        protocol: 186,
        table: None,
        metric: None,
        // Nobody pins anything there.
        pins: "/sys/fs/bpf/tombolo-of-no-test".into(),
    };
    let outcome = clean(&by_proof);
    let [(identity, cleaned)] = outcome.removed[..] else {
        panic!("{outcome}")
    };
    assert_eq!(
        (identity.metric, cleaned.routes, cleaned.nexthops),
        (30, 1, 1)
    );
    assert_eq!(
        place.routes("186"),
        ["198.51.100.0/24 via 10.0.1.2 dev a0 metric 20"]
    );
    assert_eq!(outcome.kept.len(), 1);
    assert!(clean(&by_proof).removed.is_empty(), "twice does no harm");
    let named = crate::cleanup::Arguments {
        metric: Some(20),
        ..by_proof
    };
    assert_eq!(clean(&named).removed.len(), 1);
    assert_eq!(place.routes("186"), [""; 0]);
}
