//! What the maps hold of the kernel's memory, as the kernel says it of each (`memlock` in `/proc/self/fdinfo`).

use std::sync::Arc;
use std::time::Instant;

use lb::{
    Algorithm, Backend, BackendState, Contents, Family, Frontend, FrontendAddress, Machine, Object,
    Protocol, Service, Settings, Wish, capacity,
};

use crate::Claim;

/// A node of ordinary size.
const NODE: u64 = 24 << 30;

pub(crate) fn claims() -> Vec<Claim> {
    vec![(
        "maps_hold_a_hundred_megabytes_and_ten_thousand_services",
        maps_hold_a_hundred_megabytes_and_ten_thousand_services,
    )]
}

/// A ClusterIP, a LoadBalancer address and a NodePort for the same backends.
fn service(number: u16, backends: u8) -> Arc<Service> {
    let [high, low] = number.to_be_bytes();
    let backends: Arc<[Backend]> = (1..=backends)
        .map(|pod| Backend {
            address: [10, 100 + pod, high, low].into(),
            port: 8080,
            is_local: pod == 1,
            state: BackendState::Active,
        })
        .collect();
    let frontend = |address, port| Frontend {
        address,
        port,
        protocol: Protocol::Tcp,
        external: Arc::clone(&backends),
        internal: Arc::clone(&backends),
    };
    let cluster = FrontendAddress::ClusterIp([10, 96, high, low].into());
    let public = FrontendAddress::LoadBalancer([172, 16, high, low].into());
    Arc::new(Service {
        algorithm: Algorithm::Maglev,
        frontends: vec![
            frontend(cluster, 80),
            frontend(public, 80),
            frontend(FrontendAddress::NodePort(Family::Ipv4), 20_000 + number),
        ],
    })
}

fn services(count: u16) -> Wish {
    let name = |number: u16| -> Arc<str> { format!("default/{number:05}").into() };
    let services = (0..count).map(|number| (name(number), service(number, 10)));
    Wish {
        services: services.collect(),
        node_addresses: [[10, 0, 1, 1].into()].into(),
        ..Wish::default()
    }
}

fn maps_hold_a_hundred_megabytes_and_ten_thousand_services() {
    const MEGABYTE: u64 = 1_000_000;
    let object = Object::load(&capacity(NODE)).unwrap();
    let maps = object.maps();
    let mut machine = Machine::new(maps.capacity(), &Settings::default(), &Contents::default());
    let empty = maps.memory().unwrap();
    println!("empty: {empty} bytes");
    assert!(empty <= 100 * MEGABYTE, "{empty}");
    for (count, most) in [(2_000, 10 * MEGABYTE), (10_000, 50 * MEGABYTE)] {
        let begin = Instant::now();
        let steps = machine.apply(&services(count), begin);
        assert_eq!(maps.perform(&steps), []);
        let took = begin.elapsed();
        let more = maps.memory().unwrap() - empty;
        println!("{count} services of 10 backends with rings: {more} bytes more, in {took:?}");
        assert!(more <= most, "{more}");
        let report = machine.report();
        assert_eq!(report.withheld, []);
        assert_eq!(report.backends, 10 * usize::from(count));
    }
}
