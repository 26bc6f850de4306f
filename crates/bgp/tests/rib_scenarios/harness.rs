//! Peers, tables and what they send, as short as tests want them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bgp::Family;
use bgp::policy::{ExportPolicy, ExportRule, ExportVerdict, SetAttributes, Source};
use bgp::rib::{PeerFacts, PeerId, Rib, RibConfig};
use bgp::wire::attribute::Origin;
use bgp::wire::{AttributesBuilder, DecodeContext, Framer, MessageKind, PeerKind, update};
use bytes::{Bytes, BytesMut};
use ipnet::{IpNet, Ipv4Net};

pub(crate) const ASN: u32 = 65000;
pub(crate) const V4: Family = Family::IPV4_UNICAST;
pub(crate) const V6: Family = Family::IPV6_UNICAST;

pub(crate) fn accept(sources: &[Source], changes: &SetAttributes) -> Arc<ExportPolicy> {
    let rule = |source: &Source| ExportRule {
        source: *source,
        prefixes: None,
        verdict: ExportVerdict::Accept(changes.clone()),
    };
    Arc::new(ExportPolicy {
        rules: sources.iter().map(rule).collect(),
    })
}

pub(crate) fn everything() -> Arc<ExportPolicy> {
    accept(&[Source::Local, Source::Learned], &SetAttributes::default())
}

pub(crate) fn external(number: u8) -> PeerFacts {
    PeerFacts {
        kind: PeerKind::External,
        asn: ASN + u32::from(number),
        router_id: Ipv4Addr::new(10, 0, 0, number),
        remote: Ipv4Addr::new(192, 0, 2, number).into(),
        local: Ipv4Addr::new(192, 0, 2, 254).into(),
        families: vec![V4, V6],
        four_octet: true,
        max_message: 4096,
        extended_next_hop: Vec::new(),
        policy: everything(),
    }
}

pub(crate) fn internal(number: u8) -> PeerFacts {
    PeerFacts {
        kind: PeerKind::Internal,
        asn: ASN,
        ..external(number)
    }
}

pub(crate) fn rib_with(config: RibConfig, peers: &[PeerFacts]) -> Rib {
    let mut rib = Rib::new(ASN, Ipv4Addr::new(10, 0, 0, 254), config);
    for (number, facts) in peers.iter().enumerate() {
        rib.peer_up(PeerId(number as u32), facts.clone());
    }
    rib
}

pub(crate) fn rib(peers: &[PeerFacts]) -> Rib {
    rib_with(RibConfig::default(), peers)
}

/// The /24 with this number.
pub(crate) fn net(number: u32) -> Ipv4Net {
    Ipv4Net::new(Ipv4Addr::from(0x1400_0000 + (number << 8)), 24).unwrap()
}

pub(crate) fn path(facts: &PeerFacts, tail: &[u32]) -> AttributesBuilder {
    let own = (facts.kind == PeerKind::External).then_some(facts.asn);
    let path: Vec<u32> = own.into_iter().chain(tail.iter().copied()).collect();
    AttributesBuilder::new()
        .origin(Origin::Igp)
        .as_path(&path)
        .next_hop(Ipv4Addr::new(192, 0, 2, facts.router_id.octets()[3]))
}

/// Has a peer send encoded messages.
pub(crate) fn receive(rib: &mut Rib, peer: u32, facts: &PeerFacts, messages: &BytesMut) {
    let context = DecodeContext {
        four_octet: true,
        peer_kind: facts.kind,
        families: vec![V4, V6],
        local_asn: ASN,
        first_asn: None,
        reject_as_sets: false,
    };
    let mut framer = Framer::new();
    framer.push(messages);
    while let Some(frame) = framer.next(65_535).unwrap() {
        rib.update(PeerId(peer), &update::decode(frame.body, &context).unwrap());
    }
}

pub(crate) fn announce(
    rib: &mut Rib,
    peer: u32,
    facts: &PeerFacts,
    attributes: &AttributesBuilder,
    nets: impl Iterator<Item = Ipv4Net>,
) {
    let (mut out, attributes, mut nets) = (BytesMut::new(), attributes.build(), nets.peekable());
    while update::announce_ipv4(&mut out, 65_535, &attributes, &mut nets).unwrap() > 0 {}
    receive(rib, peer, facts, &out);
}

pub(crate) fn withdraw(
    rib: &mut Rib,
    peer: u32,
    facts: &PeerFacts,
    nets: impl Iterator<Item = Ipv4Net>,
) {
    let (mut out, mut nets) = (BytesMut::new(), nets.peekable());
    while update::withdraw_ipv4(&mut out, 4096, &mut nets) > 0 {}
    receive(rib, peer, facts, &out);
}

pub(crate) fn chunks(rib: &mut Rib, peer: u32) -> Vec<Bytes> {
    std::iter::from_fn(|| rib.next_chunk(PeerId(peer))).collect()
}

/// The UPDATEs in chunks: how many prefixes each withdraws and announces.
pub(crate) fn updates(chunks: &[Bytes], kind: PeerKind) -> Vec<(usize, usize)> {
    let context = DecodeContext {
        four_octet: true,
        peer_kind: kind,
        families: vec![V4, V6],
        local_asn: 1,
        first_asn: None,
        reject_as_sets: false,
    };
    let mut found = Vec::new();
    for chunk in chunks {
        let mut framer = Framer::new();
        framer.push(chunk);
        while let Some(frame) = framer.next(65_535).unwrap() {
            if frame.kind == MessageKind::Update {
                let update = update::decode(frame.body, &context).unwrap();
                let withdrawn =
                    update.withdrawn.count() + update.mp_unreach.into_iter().flatten().count();
                let announced = update.announced.count()
                    + update
                        .mp_reach
                        .into_iter()
                        .flat_map(|reach| reach.nlri)
                        .count();
                if update.end_of_rib.is_none() {
                    found.push((withdrawn, announced));
                }
            }
        }
    }
    found
}

pub(crate) fn octets(chunks: &[Bytes]) -> usize {
    chunks.iter().map(Bytes::len).sum()
}

/// What a router knows after reading chunks: attributes by prefix.
pub(crate) fn rebuild(chunks: &[Bytes]) -> BTreeMap<IpNet, Vec<u8>> {
    let context = DecodeContext {
        four_octet: true,
        peer_kind: PeerKind::External,
        families: vec![V4],
        local_asn: 1,
        first_asn: None,
        reject_as_sets: false,
    };
    let mut view = BTreeMap::new();
    let mut framer = Framer::new();
    for chunk in chunks {
        framer.push(chunk);
        while let Some(frame) = framer.next(65_535).unwrap() {
            let update = update::decode(frame.body, &context).unwrap();
            for net in update.withdrawn {
                view.remove(&IpNet::from(net));
            }
            for net in update.announced {
                view.insert(net.into(), update.attributes.bytes().to_vec());
            }
        }
    }
    view
}
