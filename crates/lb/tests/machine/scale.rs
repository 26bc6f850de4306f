//! Ten thousand services with ten backends each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lb::{Backend, BackendState, Contents, FrontendAddress, Machine, Settings, Wish, capacity};

use crate::maps::Maps;
use crate::wishes::{address, frontend, kinds, random};

const SERVICES: u32 = 10_000;

fn service(number: u32, backends: u32) -> Arc<lb::Service> {
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
    random(vec![
        frontend(cluster, 80, &list),
        frontend(public, 80, &list),
        frontend(
            FrontendAddress::NodePort(lb::Family::Ipv4),
            20_000 + number as u16,
            &list,
        ),
    ])
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
