//! How soon a change of one service among many is in the maps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lb::{
    Algorithm, Backend, BackendState, Frontend, FrontendAddress, Options, Protocol, Service, Wish,
};

use crate::Claim;
use crate::place::{NODE, at_a_node};

const SERVICES: u16 = 2000;
const CHANGES: usize = 40;

pub(crate) fn claims() -> Vec<Claim> {
    vec![(
        "one_change_among_two_thousand_services_is_quick",
        one_change,
    )]
}

/// A service with a ring and this many backends elsewhere.
fn service(number: u16, backends: u8) -> Arc<Service> {
    let [high, low] = number.to_be_bytes();
    let backends: Arc<[Backend]> = (1..=backends)
        .map(|last| Backend {
            address: [10, 200 + high, low, last].into(),
            port: 8080,
            is_local: false,
            state: BackendState::Active,
        })
        .collect();
    Arc::new(Service {
        algorithm: Algorithm::Maglev,
        frontends: vec![Frontend {
            address: FrontendAddress::ClusterIp([10, 96 + high, low, 1].into()),
            port: 80,
            protocol: Protocol::Tcp,
            external: Arc::clone(&backends),
            internal: backends,
        }],
    })
}

fn one_change() {
    at_a_node("change", |place| {
        let options = Options {
            memory: Some(4 << 30),
            ..place.options()
        };
        let mut ours = place.start(options);
        let name = |number: u16| -> Arc<str> { format!("default/{number:05}").into() };
        let services = (0..SERVICES).map(|number| (name(number), service(number, 2)));
        let mut wish = Wish {
            services: services.collect(),
            node_addresses: [NODE.parse().unwrap()].into(),
            ..Wish::default()
        };
        let usual = 2 * usize::from(SERVICES);
        let begin = Instant::now();
        ours.balancer.wish(wish.clone());
        let cold = ours.until("all are there", |report| {
            report.ready && report.backends == usual
        });
        println!(
            "{SERVICES} services with rings: {:?}, {} bytes of maps",
            begin.elapsed(),
            cold.memory
        );
        let mut times: Vec<Duration> = Vec::new();
        for change in 0..CHANGES {
            let (backends, expected) = match change % 2 {
                0 => (3, usual + 1),
                _ => (2, usual),
            };
            wish.services.insert(name(1000), service(1000, backends));
            let next = wish.clone();
            let begin = Instant::now();
            ours.balancer.wish(next);
            ours.until("the change is there", |report| report.backends == expected);
            times.push(begin.elapsed());
        }
        times.sort();
        let (median, slowest) = (times[CHANGES / 2], times[CHANGES - 1]);
        println!("one change: median {median:?}, slowest {slowest:?}");
        assert!(median < Duration::from_millis(50), "{times:?}");
        ours.stop();
    });
}
