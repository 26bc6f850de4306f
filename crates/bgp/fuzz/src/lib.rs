//! What fuzz targets check.

pub mod world;

use std::collections::BTreeSet;

use bgp::Family;
use bgp::policy::Source;
use bgp::wire::attribute::{Attributes, ExportTransform, export};
use bgp::wire::{
    AttributeBlock, DecodeContext, EXTENDED_MAXIMUM_LENGTH, Framer, HEADER_LENGTH, MessageKind,
    NextHop, PeerKind, Treatment, Update, update,
};
use bytes::BytesMut;
use ipnet::Ipv4Net;

/// A context out of one octet.
pub fn context(flags: u8) -> DecodeContext {
    let set = |bit: u8| flags & 1 << bit != 0;
    let families = [
        (Family::IPV4_UNICAST, !set(4)),
        (Family::IPV6_UNICAST, !set(5)),
    ];
    DecodeContext {
        four_octet: !set(0),
        peer_kind: if set(1) {
            PeerKind::Internal
        } else {
            PeerKind::External
        },
        families: families
            .into_iter()
            .filter(|(_, has)| *has)
            .map(|(family, _)| family)
            .collect(),
        local_asn: 65000,
        first_asn: set(2).then_some(65001),
        reject_as_sets: set(3),
    }
}

/// Decodes an UPDATE and checks what must hold of any that is no error: its prefixes can be walked, its attributes are
/// canonical, and their export to either kind of peer is an UPDATE that this decoder accepts.
pub fn check_update(body: &[u8], context: &DecodeContext) {
    let update = match update::decode(body, context) {
        Ok(update) => update,
        Err(error) => {
            assert_eq!(error.notification().code, 3, "{error}");
            assert!(error.notification().encode().len() <= 4096);
            return;
        }
    };
    let own = update.announced.count() + update.withdrawn.count();
    let mp = update
        .mp_unreach
        .into_iter()
        .chain(update.mp_reach.map(|reach| reach.nlri))
        .flatten()
        .count();
    assert!(own + mp <= body.len());
    for attribute in update.attributes.iter() {
        assert!(!format!("{attribute:?}").is_empty());
    }
    let announces = !update.announced.is_empty() || update.mp_reach.is_some();
    if announces && !matches!(update.treatment, Treatment::Withdraw(_)) {
        check_canonical(&update, context);
        check_export(update.attributes.bytes());
    }
}

fn check_canonical(update: &Update<'_>, context: &DecodeContext) {
    let block = update.attributes.bytes();
    assert_eq!(
        update.attributes.summary(),
        AttributeBlock::of(block, context.local_asn).summary()
    );
    let context = DecodeContext {
        four_octet: true,
        families: vec![Family::IPV4_UNICAST],
        ..context.clone()
    };
    let body = announced(block, update.attributes.summary().next_hop.is_some());
    if let Some(body) = body {
        let again = update::decode(&body, &context).expect("canonical attributes");
        assert_eq!(again.treatment, Treatment::Accept);
        assert_eq!(
            (again.attributes.bytes(), again.attributes.hash()),
            (block, update.attributes.hash())
        );
    }
}

/// Exports to all kinds of peers and reads that as they would; a two-octet peer must learn the same route.
fn check_export(canonical: &[u8]) {
    let (communities, large_communities) = (BTreeSet::from([7]), BTreeSet::new());
    for kind in [PeerKind::External, PeerKind::Internal] {
        let mut paths = Vec::new();
        for four_octet in [true, false] {
            let transform = ExportTransform {
                source: Source::Learned,
                kind,
                local_asn: 4_200_000_000,
                next_hop: Some([192, 0, 2, 1].into()),
                local_pref: None,
                communities: &communities,
                large_communities: &large_communities,
                four_octet,
            };
            let Some(body) = announced(&export(canonical, &transform), true) else {
                continue;
            };
            let mut context = context(0);
            context.four_octet = four_octet;
            context.peer_kind = kind;
            let update = update::decode(&body, &context).expect("our own UPDATE");
            // Confederation segments are passed on inside the AS, and an external peer would not have them.
            if let Treatment::Accept = update.treatment {
                let codes = Attributes::of(update.attributes.bytes())
                    .raw()
                    .map(|raw| raw.code);
                assert!(codes.is_sorted_by(|one, next| one < next));
                paths.push(update.attributes.summary().as_path_length);
            }
        }
        paths.dedup();
        assert!(paths.len() <= 1, "{paths:?}");
    }
}

/// The body of an UPDATE that announces a default route with these attributes; `None` where they are too long.
fn announced(attributes: &[u8], has_next_hop: bool) -> Option<Vec<u8>> {
    let mut out = BytesMut::new();
    let mut prefixes = std::iter::once(Ipv4Net::default()).peekable();
    let next_hop = NextHop::Ipv4([192, 0, 2, 1].into());
    let taken = if has_next_hop {
        update::announce_ipv4(&mut out, EXTENDED_MAXIMUM_LENGTH, attributes, &mut prefixes)
    } else {
        update::announce(
            &mut out,
            EXTENDED_MAXIMUM_LENGTH,
            attributes,
            next_hop,
            &mut prefixes,
        )
    };
    taken.ok().map(|_| out[HEADER_LENGTH..].to_vec())
}

/// Takes a stream of ours apart, and decodes what is in it.
pub(crate) fn messages(
    framer: &mut Framer,
    bytes: &[u8],
    mut each: impl FnMut(MessageKind, &[u8]),
) {
    framer.push(bytes);
    while let Some(frame) = framer
        .next(EXTENDED_MAXIMUM_LENGTH)
        .expect("our own stream")
    {
        each(frame.kind, frame.body);
    }
}
