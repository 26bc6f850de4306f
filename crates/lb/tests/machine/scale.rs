//! Ten thousand services with ten backends each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lb::{Backend, BackendState, Contents, FrontendAddress, Machine, Settings, Wish, capacity};

use nix::time::{ClockId, clock_gettime};

use crate::maps::Maps;
use crate::wishes::{address, frontend, kinds, maglev, random};

const SERVICES: u32 = 10_000;

fn service(number: u32, backends: u32) -> Arc<lb::Service> {
    random(frontends(number, backends))
}

fn frontends(number: u32, backends: u32) -> Vec<lb::Frontend> {
    let octets = |number: u32| format!("{}.{}", number >> 8 & 0xff, number & 0xff);
    let backend = |index: u32| Backend {
        address: address(&format!("10.{}.{}", 100 + index, octets(number))),
        port: 8080,
        is_local: index == 0,
        state: BackendState::Active,
    };
    let list: Arc<[Backend]> = (0..backends).map(backend).collect();
    let cluster = FrontendAddress::ClusterIp(address(&format!("10.96.{}", octets(number))));
    let public = FrontendAddress::LoadBalancer(address(&format!("172.16.{}", octets(number))));
    vec![
        frontend(cluster, 80, &list),
        frontend(public, 80, &list),
        frontend(
            FrontendAddress::NodePort(lb::Family::Ipv4),
            20_000 + number as u16,
            &list,
        ),
    ]
}

/// The bounds are those of an unoptimised build on a busy machine; what an optimised one takes is printed by it.
#[test]
fn ten_thousand_services_are_one_second_and_one_change_is_nothing() {
    let capacity = capacity(24 << 30);
    let mut wish = Wish::default();
    for number in 0..SERVICES {
        let name = format!("namespace/service-{number}");
        wish.services.insert(name.into(), service(number, 10));
    }
    wish.node_addresses.insert(address("10.0.0.1"));
    let mut machine = Machine::new(capacity, &Settings::default(), &Contents::default());
    let mut maps = Maps::new(capacity);
    let mut timed = |what: &str, wish: &Wish, machine: &mut Machine| {
        let start = Instant::now();
        let ops = machine.apply(wish, start);
        let took = start.elapsed();
        println!("{what}: {} steps in {took:?}", ops.len());
        maps.perform_unwatched(&ops);
        (ops, took)
    };
    let (_, cold) = timed("cold", &wish, &mut machine);
    assert!(cold < Duration::from_secs(20));
    assert_eq!(machine.report().backends, 100_000);
    assert_eq!(machine.report().frontends, 30_000);
    assert_eq!(machine.report().withheld, []);
    wish.services
        .insert("namespace/service-7".into(), service(7, 9));
    let (ops, change) = timed("one endpoint", &wish, &mut machine);
    assert_eq!(kinds(&ops), ["slots", "group", "grace", "free", "epoch"]);
    assert!(change < Duration::from_millis(100));
    let start = Instant::now();
    let contents = maps.restart();
    println!("contents of the model: {:?}", start.elapsed());
    let start = Instant::now();
    let mut machine = Machine::new(capacity, &Settings::default(), &contents);
    println!("adopted in {:?}", start.elapsed());
    let mut timed = |wish: &Wish| {
        let start = Instant::now();
        let ops = machine.apply(wish, start);
        println!("first wish after a restart: {:?}", start.elapsed());
        ops
    };
    assert_eq!(kinds(&timed(&wish)), ["epoch"]);
}

fn ringed(services: u32, backends: u32) -> Wish {
    let named = (0..services).map(|number| {
        let name: Arc<str> = format!("namespace/service-{number}").into();
        (name, maglev(frontends(number, backends)))
    });
    Wish {
        services: named.collect(),
        node_addresses: [address("10.0.0.1")].into(),
        ..Wish::default()
    }
}

#[test]
fn ten_thousand_services_have_their_rings_on_a_node_of_eight_gibibytes() {
    let capacity = capacity(8 << 30);
    let mut machine = Machine::new(capacity, &Settings::default(), &Contents::default());
    let mut wish = ringed(SERVICES, 10);
    let ops = machine.apply(&wish, Instant::now());
    let rings = ops.iter().filter_map(|op| match op {
        lb::MapOp::Ring { recipe, .. } => Some(recipe.ordinals().len()),
        _ => None,
    });
    assert_eq!(rings.filter(|length| *length == 1021).count(), 10_000);
    assert_eq!(machine.report().withheld, []);
    let (mut walls, mut works) = (Vec::new(), Vec::new());
    for change in 0..200 {
        let name = format!("namespace/service-{}", 37 * change);
        let other = maglev(frontends(37 * change, 9));
        wish.services.insert(name.into(), other);
        let (start, begin) = (Instant::now(), worked());
        let ops = machine.apply(&wish, start);
        let rings = ops.iter().filter_map(|op| match op {
            lb::MapOp::Ring { recipe, .. } => Some(recipe.ordinals()),
            _ => None,
        });
        assert_eq!(rings.count(), 1);
        walls.push(start.elapsed());
        works.push(worked() - begin);
        assert!(!machine.is_unsettled());
    }
    for (what, times) in [("wall", &mut walls), ("processor", &mut works)] {
        times.sort();
        println!(
            "one endpoint, {what}: p50 {:?}, p99 {:?}",
            times[100], times[198]
        );
    }
    assert!(works[198] < Duration::from_millis(50), "{works:?}");
}

/// Time that this thread has had a processor for.
fn worked() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .expect("every thread has such a clock")
        .into()
}

/// With 4 GiB there are rings for most of them. The bound is that of an unoptimised build on a busy machine.
#[test]
fn where_rings_are_short_all_are_served_and_one_change_is_nothing() {
    let capacity = capacity(4 << 30);
    let mut wish = ringed(6_500, 10);
    let mut machine = Machine::new(capacity, &Settings::default(), &Contents::default());
    let mut maps = Maps::new(capacity);
    maps.perform_unwatched(&machine.apply(&wish, Instant::now()));
    let report = machine.report();
    assert_eq!(report.programmed.len(), 13_000, "all are served");
    let [withheld] = &report.withheld[..] else {
        panic!("{:?}", report.withheld);
    };
    let reason = withheld.reason.to_string();
    assert_eq!(reason, "the table of Maglev rings is full");
    let short = withheld.count;
    assert!((3 * 1_000..3 * 2_000).contains(&short), "{short}");
    let mut times = Vec::new();
    for change in 0..40 {
        let name = format!("namespace/service-{}", 5 * change);
        wish.services
            .insert(name.into(), maglev(frontends(5 * change, 9)));
        let start = Instant::now();
        let ops = machine.apply(&wish, start);
        times.push(start.elapsed());
        maps.perform_unwatched(&ops);
        assert!(ops.len() < 20, "change {change}: {ops:#?}");
    }
    times.sort();
    let (median, slowest) = (times[20], times[39]);
    println!("{short} withheld; one endpoint: median {median:?}, slowest {slowest:?}");
    assert!(median < Duration::from_millis(50), "{times:?}");
}
