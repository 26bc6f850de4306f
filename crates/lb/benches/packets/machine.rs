//! What a wish costs.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lb::{
    Algorithm, Backend, BackendState, Capacity, Frontend, FrontendAddress, Protocol, Service, Wish,
};
use lb_abi::{RING_SIZES, RING_SLOTS_PER_CHUNK, SLOTS_PER_CHUNK};

use crate::fixture::agent;
use crate::fixture::kernel::CAPACITY;

/// Services and backends of the machine's rows.
const SERVICES: usize = 10_000;
const BACKENDS: usize = 10;

pub(crate) fn run() {
    println!("Rings, best of 9");
    for size in &RING_SIZES[1..] {
        let count = usize::try_from(size / 100).unwrap().clamp(2, 1000);
        let names: Vec<[u8; 8]> = (0..count).map(usize::to_be_bytes).collect();
        let best = (0..9)
            .map(|_| timed(|| lb::ring(*size, 7, &names)).1)
            .min()
            .unwrap();
        println!("  {size:>6} ordinals, {count:>4} backends: {best:>10.1?}");
    }
    let capacity = Capacity {
        frontends: 65_536,
        groups: 65_536,
        backends: 1 << 18,
        slots: 512 * SLOTS_PER_CHUNK,
        ring_slots: 8192 * RING_SLOTS_PER_CHUNK,
        ..CAPACITY
    };
    for algorithm in [Algorithm::Random, Algorithm::Maglev] {
        let mut wish = big_wish(algorithm);
        let mut machine = agent::machine(capacity);
        let (steps, cold) = timed(|| agent::steps(&mut machine, &wish));
        println!("{SERVICES} services of {BACKENDS} backends, {algorithm:?}");
        println!("  cold: {cold:?}, {} steps", steps.len());
        assert_eq!(machine.report().withheld, [], "the tables are large enough");
        let (again, nothing) = timed(|| agent::steps(&mut machine, &wish));
        println!("  the same again: {nothing:?}, {} steps", again.len());
        let mut times: Vec<Duration> = (0..200)
            .map(|number| {
                change(&mut wish, number);
                timed(|| agent::steps(&mut machine, &wish)).1
            })
            .collect();
        times.sort_unstable();
        println!("  one endpoint: p50 {:?}, p99 {:?}", times[100], times[197]);
    }
}

fn timed<T>(function: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let result = function();
    (result, begin.elapsed())
}

fn big_wish(algorithm: Algorithm) -> Wish {
    let service = |number: usize| {
        let backends: Vec<Backend> = (0..BACKENDS).map(|pod| endpoint(number, pod)).collect();
        let backends: Arc<[Backend]> = backends.into();
        let address = Ipv4Addr::from(0x0a60_0000 + u32::try_from(number).unwrap());
        let frontend = Frontend {
            address: FrontendAddress::LoadBalancer(address.into()),
            port: 80,
            protocol: Protocol::Tcp,
            external: backends.clone(),
            internal: backends,
        };
        let service = Service {
            algorithm,
            frontends: vec![frontend],
        };
        (name_of(number), Arc::new(service))
    };
    Wish {
        services: (0..SERVICES).map(service).collect::<BTreeMap<_, _>>(),
        ..Wish::default()
    }
}

fn name_of(number: usize) -> Arc<str> {
    format!("space/service-{number}").into()
}

fn endpoint(service: usize, pod: usize) -> Backend {
    let number = u32::try_from(service * 16 + pod).unwrap();
    Backend {
        address: Ipv4Addr::from(0x0aa0_0000 + number).into(),
        port: 8080,
        is_local: pod == 0,
        state: BackendState::Active,
    }
}

/// One endpoint of one service becomes another.
fn change(wish: &mut Wish, number: usize) {
    let name = name_of(number * 37 % SERVICES);
    let mut service = Service::clone(&wish.services[&name]);
    let mut backends = service.frontends[0].external.to_vec();
    backends[3] = endpoint(number * 37 % SERVICES, 12);
    let backends: Arc<[Backend]> = backends.into();
    service.frontends[0].external = backends.clone();
    service.frontends[0].internal = backends;
    wish.services.insert(name, Arc::new(service));
}
