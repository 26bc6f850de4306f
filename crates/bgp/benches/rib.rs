//! A full table from one peer into the RIB, and out of it again.

mod load;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bgp::Family;
use bgp::policy::{ExportPolicy, ExportRule, ExportVerdict, SetAttributes, Source};
use bgp::rib::{PeerFacts, PeerId, Retain, Rib, RibConfig};
use bgp::wire::{DecodeContext, Framer, MAXIMUM_LENGTH, PeerKind, update};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

use load::Table;

const PREFIXES: u32 = 1_000_000;
const INJECTOR: PeerId = PeerId(0);
const RECEIVER: PeerId = PeerId(1);

fn facts(number: u8, policy: ExportPolicy) -> PeerFacts {
    PeerFacts {
        kind: PeerKind::External,
        asn: 65000 + u32::from(number),
        router_id: Ipv4Addr::new(192, 0, 2, number),
        remote: Ipv4Addr::new(192, 0, 2, number).into(),
        local: Ipv4Addr::new(192, 0, 2, 254).into(),
        families: vec![Family::IPV4_UNICAST],
        four_octet: true,
        max_message: MAXIMUM_LENGTH,
        extended_next_hop: Vec::new(),
        policy: Arc::new(policy),
    }
}

fn accept_learned() -> ExportPolicy {
    let verdict = ExportVerdict::Accept(SetAttributes::default());
    ExportPolicy {
        rules: vec![ExportRule {
            source: Source::Learned,
            prefixes: None,
            verdict,
        }],
    }
}

fn receive(rib: &mut Rib, table: &Bytes) {
    let context = DecodeContext {
        four_octet: true,
        peer_kind: PeerKind::External,
        families: vec![Family::IPV4_UNICAST],
        local_asn: 65000,
        first_asn: Some(65001),
        reject_as_sets: false,
    };
    let mut framer = Framer::new();
    for read in table.chunks(65_536) {
        framer.push(read);
        while let Some(frame) = framer.next(MAXIMUM_LENGTH).expect("a valid stream") {
            rib.update(
                INJECTOR,
                &update::decode(frame.body, &context).expect("a valid UPDATE"),
            );
        }
    }
}

fn empty() -> Rib {
    let mut rib = Rib::new(65000, Ipv4Addr::new(192, 0, 2, 254), RibConfig::default());
    rib.peer_up(INJECTOR, facts(1, ExportPolicy::default()));
    rib
}

fn full(table: &Bytes) -> Rib {
    let mut rib = empty();
    rib.peer_up(RECEIVER, facts(2, accept_learned()));
    receive(&mut rib, table);
    rib
}

fn tables(criterion: &mut Criterion) {
    let shapes = [
        (
            "5 per update, 100k sets",
            Table {
                prefixes: PREFIXES,
                per_update: 5,
                sets: 100_000,
            },
        ),
        (
            "3 per update, 330k sets",
            Table {
                prefixes: PREFIXES,
                per_update: 3,
                sets: 333_334,
            },
        ),
    ];
    let mut group = criterion.benchmark_group("1M prefixes");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(10));
    group.throughput(Throughput::Elements(u64::from(PREFIXES)));
    for (name, shape) in shapes {
        let table = shape.encode(65001, Ipv4Addr::new(192, 0, 2, 1));
        group.bench_function(format!("in, {name}"), |bencher| {
            bencher.iter_batched_ref(empty, |rib| receive(rib, &table), BatchSize::PerIteration);
        });
        group.bench_function(format!("out, {name}"), |bencher| {
            bencher.iter_batched_ref(
                || full(&table),
                |rib| while rib.next_chunk(RECEIVER).is_some() {},
                BatchSize::PerIteration,
            );
        });
        group.bench_function(format!("peer down, {name}"), |bencher| {
            let told = || {
                let mut rib = full(&table);
                while rib.next_chunk(RECEIVER).is_some() {}
                rib
            };
            bencher.iter_batched_ref(
                told,
                |rib| rib.peer_down(INJECTOR, Retain::Nothing),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, tables);
criterion_main!(benches);
