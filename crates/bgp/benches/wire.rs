//! How fast UPDATEs of 500 prefixes are read and written, and what one with few prefixes costs.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};

use bgp::Family;
use bgp::policy::Source;
use bgp::wire::attribute::{ExportTransform, Origin, export};
use bgp::wire::{
    AttributesBuilder, DecodeContext, EXTENDED_MAXIMUM_LENGTH, HEADER_LENGTH, NextHop, PeerKind,
    update,
};
use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ipnet::{Ipv4Net, Ipv6Net};

/// As from the internet: five hops and two communities.
fn attributes() -> AttributesBuilder {
    AttributesBuilder::new()
        .origin(Origin::Igp)
        .as_path(&[65001, 3356, 1299, 64500, 64501])
        .communities([65001 << 16 | 100, 65001 << 16 | 200])
}

fn ipv4(count: u32) -> Vec<Ipv4Net> {
    (0..count)
        .map(|index| Ipv4Net::new_assert(Ipv4Addr::from_bits(0x0B00_0000 + (index << 8)), 24))
        .collect()
}

fn ipv6(count: u32) -> Vec<Ipv6Net> {
    let address = |index: u32| Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(index) << 80);
    (0..count)
        .map(|index| Ipv6Net::new_assert(address(index), 48))
        .collect()
}

fn next_hop() -> NextHop {
    NextHop::Ipv6 {
        global: Ipv6Addr::from_bits(0x2001_0db8 << 96 | 1),
        link_local: None,
    }
}

fn encode_ipv4(out: &mut BytesMut, attributes: &[u8], prefixes: &[Ipv4Net]) {
    let mut prefixes = prefixes.iter().copied().peekable();
    update::announce_ipv4(out, EXTENDED_MAXIMUM_LENGTH, attributes, &mut prefixes).expect("room");
}

fn encode_ipv6(out: &mut BytesMut, attributes: &[u8], prefixes: &[Ipv6Net]) {
    let mut prefixes = prefixes.iter().copied().peekable();
    update::announce(
        out,
        EXTENDED_MAXIMUM_LENGTH,
        attributes,
        next_hop(),
        &mut prefixes,
    )
    .expect("room");
}

fn context() -> DecodeContext {
    DecodeContext {
        four_octet: true,
        peer_kind: PeerKind::External,
        families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
        local_asn: 65000,
        first_asn: Some(65001),
        reject_as_sets: true,
    }
}

fn decode(body: &[u8], context: &DecodeContext) -> (u64, usize) {
    let update = update::decode(body, context).expect("well-formed");
    let own = update.announced.map(black_box).count();
    let mp = match update.mp_reach.map(|reach| reach.nlri) {
        Some(bgp::wire::nlri::Nlri::Ipv6(prefixes)) => prefixes.map(black_box).count(),
        Some(bgp::wire::nlri::Nlri::Ipv4(_)) | None => 0,
    };
    (update.attributes.hash(), own + mp)
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    let context = context();
    let with_next_hop = attributes().next_hop(Ipv4Addr::new(192, 0, 2, 1)).build();
    for count in [3, 500] {
        let mut message = BytesMut::new();
        encode_ipv4(&mut message, &with_next_hop, &ipv4(count));
        let body = message.split_off(HEADER_LENGTH);
        group.throughput(Throughput::Elements(u64::from(count)));
        group.bench_function(format!("{count} IPv4 prefixes"), |bencher| {
            bencher.iter(|| decode(&body, &context));
        });
    }
    let mut message = BytesMut::new();
    encode_ipv6(&mut message, &attributes().build(), &ipv6(500));
    let body = message.split_off(HEADER_LENGTH);
    group.throughput(Throughput::Elements(500));
    group.bench_function("500 IPv6 prefixes", |bencher| {
        bencher.iter(|| decode(&body, &context));
    });
    group.finish();
}

fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(500));
    let (ipv4, ipv6) = (ipv4(500), ipv6(500));
    let with_next_hop: Bytes = attributes().next_hop(Ipv4Addr::new(192, 0, 2, 1)).build();
    let without = attributes().build();
    let mut out = BytesMut::with_capacity(EXTENDED_MAXIMUM_LENGTH);
    group.bench_function("500 IPv4 prefixes", |bencher| {
        bencher.iter(|| {
            out.clear();
            encode_ipv4(&mut out, &with_next_hop, &ipv4);
            out.len()
        });
    });
    group.bench_function("500 IPv6 prefixes", |bencher| {
        bencher.iter(|| {
            out.clear();
            encode_ipv6(&mut out, &without, &ipv6);
            out.len()
        });
    });
    group.finish();
}

fn exporting(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("export");
    let canonical = attributes().next_hop(Ipv4Addr::new(192, 0, 2, 1)).build();
    let (communities, large_communities) = (BTreeSet::from([65000 << 16 | 1]), BTreeSet::new());
    let transform = ExportTransform {
        source: Source::Learned,
        kind: PeerKind::External,
        local_asn: 65000,
        next_hop: Some(Ipv4Addr::new(198, 51, 100, 1)),
        local_pref: None,
        communities: &communities,
        large_communities: &large_communities,
        four_octet: true,
    };
    group.bench_function("one attribute set to an external peer", |bencher| {
        bencher.iter(|| export(black_box(&canonical), &transform));
    });
    group.finish();
}

criterion_group!(benches, decoding, encoding, exporting);
criterion_main!(benches);
