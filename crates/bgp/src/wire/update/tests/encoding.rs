//! What we send, read back.

use bytes::BytesMut;
use ipnet::{Ipv4Net, Ipv6Net};

use super::*;
use crate::wire::attribute::{AttributesBuilder, Origin};
use crate::wire::error::EncodeError;
use crate::wire::framing::{EXTENDED_MAXIMUM_LENGTH, Framer, MAXIMUM_LENGTH};
use crate::wire::iana::MessageKind;

fn ipv4(count: u32) -> impl Iterator<Item = Ipv4Net> {
    (0..count).map(|index| Ipv4Net::new_assert(Ipv4Addr::from_bits(0x0A00_0000 + (index << 8)), 24))
}

fn ipv6(count: u32) -> impl Iterator<Item = Ipv6Net> {
    (0..u128::from(count))
        .map(|index| Ipv6Net::new_assert(Ipv6Addr::from_bits(0x2001_0db8 << 96 | index << 64), 64))
}

fn attributes() -> AttributesBuilder {
    AttributesBuilder::new()
        .origin(Origin::Igp)
        .as_path(&[65001])
}

/// The bodies of the messages in `out`, each within `limit`.
fn bodies(out: &BytesMut, limit: usize) -> Vec<Vec<u8>> {
    let mut framer = Framer::new();
    framer.push(out);
    let mut bodies = Vec::new();
    while let Some(frame) = framer.next(limit).expect("well-framed") {
        assert_eq!(frame.kind, MessageKind::Update);
        bodies.push(frame.body.to_vec());
    }
    assert_eq!(framer.pending(), 0);
    bodies
}

#[test]
fn announcements_are_packed_into_as_few_messages_as_the_limit_allows() {
    let block = attributes().next_hop(Ipv4Addr::new(192, 0, 2, 1)).build();
    for (limit, messages) in [(MAXIMUM_LENGTH, 5), (EXTENDED_MAXIMUM_LENGTH, 1)] {
        let mut out = BytesMut::new();
        let mut prefixes = ipv4(5000).peekable();
        while announce_ipv4(&mut out, limit, &block, &mut prefixes).expect("room") > 0 {}
        let bodies = bodies(&out, limit);
        assert_eq!(bodies.len(), messages);
        let mut seen = Vec::new();
        for body in &bodies {
            let update = decode(body, &external()).expect("well-formed");
            assert_eq!(
                (update.treatment, update.attributes.bytes()),
                (Treatment::Accept, &block[..])
            );
            seen.extend(update.announced);
        }
        assert!(seen.into_iter().eq(ipv4(5000)));
    }
}

#[test]
fn rfc_7606_section_5_1_mp_reach_comes_first_and_alone() {
    let block = attributes().build();
    let global = Ipv6Addr::from_bits(0x2001_0db8 << 96 | 1);
    let link_local = Some(Ipv6Addr::from_bits(0xFE80 << 112 | 2));
    for next_hop in [
        NextHop::Ipv6 { global, link_local },
        NextHop::Ipv6 {
            global,
            link_local: None,
        },
    ] {
        let mut out = BytesMut::new();
        let mut prefixes = ipv6(2000).peekable();
        while announce(&mut out, MAXIMUM_LENGTH, &block, next_hop, &mut prefixes).expect("room") > 0
        {
        }
        let mut seen = Vec::new();
        for body in bodies(&out, MAXIMUM_LENGTH) {
            assert_eq!(body[5], 14);
            let update = decode(&body, &external()).expect("well-formed");
            let reach = update.mp_reach.expect("there");
            assert_eq!(
                (reach.next_hop, update.attributes.bytes()),
                (next_hop, &block[..])
            );
            assert!(
                update.withdrawn.is_empty()
                    && update.announced.is_empty()
                    && update.mp_unreach.is_none()
            );
            seen.extend(strings(reach.nlri));
        }
        assert_eq!(seen, strings(ipv6(2000)));
    }
}

#[test]
fn rfc_8950_section_3_ipv4_prefixes_go_over_ipv6_and_rfc_4291_ipv6_over_ipv4_mapped() {
    let mut out = BytesMut::new();
    let ipv6_hop = NextHop::from(IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | 1)));
    let ipv4_hop = NextHop::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    let block = attributes().build();
    assert_eq!(
        announce(&mut out, 4096, &block, ipv6_hop, &mut ipv4(3).peekable()),
        Ok(3)
    );
    assert_eq!(
        announce(&mut out, 4096, &block, ipv4_hop, &mut ipv6(3).peekable()),
        Ok(3)
    );
    assert_eq!(
        announce(&mut out, 4096, &block, ipv4_hop, &mut ipv4(3).peekable()),
        Ok(3)
    );
    let bodies = bodies(&out, 4096);
    let reaches: Vec<_> = bodies
        .iter()
        .map(|body| {
            let reach = decode(body, &external())
                .expect("well-formed")
                .mp_reach
                .expect("there");
            (reach.nlri.family(), reach.next_hop.address().to_string())
        })
        .collect();
    let expected = [
        (Family::IPV4_UNICAST, "2001:db8::1".to_owned()),
        (Family::IPV6_UNICAST, "192.0.2.1".to_owned()),
        (Family::IPV4_UNICAST, "192.0.2.1".to_owned()),
    ];
    assert_eq!(reaches, expected);
}

#[test]
fn withdrawals_are_packed_likewise() {
    let mut out = BytesMut::new();
    let mut prefixes = ipv4(3000).peekable();
    while withdraw_ipv4(&mut out, MAXIMUM_LENGTH, &mut prefixes) > 0 {}
    let mut prefixes = ipv6(3000).peekable();
    while withdraw(&mut out, MAXIMUM_LENGTH, &mut prefixes) > 0 {}
    let mut prefixes = ipv4(3000).peekable();
    while withdraw(&mut out, MAXIMUM_LENGTH, &mut prefixes) > 0 {}
    let (mut own, mut mp) = (Vec::new(), Vec::new());
    let bodies = bodies(&out, MAXIMUM_LENGTH);
    assert_eq!(bodies.len(), 3 + 7 + 3);
    for body in &bodies {
        let update = decode(body, &external()).expect("well-formed");
        assert!(update.end_of_rib.is_none());
        own.extend(strings(update.withdrawn));
        mp.extend(update.mp_unreach.map(strings).unwrap_or_default());
    }
    assert_eq!(own, strings(ipv4(3000)));
    assert_eq!(mp, [strings(ipv6(3000)), strings(ipv4(3000))].concat());
}

#[test]
fn nothing_to_say_says_nothing() {
    let mut out = BytesMut::new();
    let block = attributes().build();
    let next_hop = NextHop::Ipv4(Ipv4Addr::new(192, 0, 2, 1));
    assert_eq!(
        announce_ipv4(&mut out, 4096, &block, &mut ipv4(0).peekable()),
        Ok(0)
    );
    assert_eq!(
        announce(&mut out, 4096, &block, next_hop, &mut ipv4(0).peekable()),
        Ok(0)
    );
    assert_eq!(withdraw_ipv4(&mut out, 4096, &mut ipv4(0).peekable()), 0);
    assert_eq!(withdraw(&mut out, 4096, &mut ipv6(0).peekable()), 0);
    assert!(out.is_empty());
}

#[test]
fn rfc_8654_section_4_a_route_too_long_for_the_peer_is_refused_and_not_taken() {
    let huge = attributes().raw(0xC0, 200, vec![0; 5000]).build();
    let next_hop = NextHop::Ipv4(Ipv4Addr::new(192, 0, 2, 1));
    let refused = Err(EncodeError::AttributesTooLong {
        octets: huge.len(),
        limit: 4096,
    });
    let mut out = BytesMut::new();
    let mut prefixes = ipv4(2).peekable();
    assert_eq!(announce_ipv4(&mut out, 4096, &huge, &mut prefixes), refused);
    assert_eq!(
        announce(&mut out, 4096, &huge, next_hop, &mut prefixes),
        refused
    );
    assert!(out.is_empty());
    assert_eq!(announce_ipv4(&mut out, 65535, &huge, &mut prefixes), Ok(2));
}

#[test]
fn a_message_may_fill_its_limit_exactly() {
    let exact = attributes().raw(0xC0, 200, vec![0; 100]).build();
    let limit = 23 + exact.len() + 4;
    let mut out = BytesMut::new();
    assert_eq!(
        announce_ipv4(&mut out, limit, &exact, &mut ipv4(2).peekable()),
        Ok(1)
    );
    assert_eq!(out.len(), limit);
    let refused = Err(EncodeError::AttributesTooLong {
        octets: exact.len(),
        limit: limit - 1,
    });
    assert_eq!(
        announce_ipv4(&mut out, limit - 1, &exact, &mut ipv4(2).peekable()),
        refused
    );
}

#[test]
fn rfc_4724_section_2_end_of_rib_is_what_we_recognise() {
    for (family, length) in [(Family::IPV4_UNICAST, 23), (Family::IPV6_UNICAST, 30)] {
        let mut out = BytesMut::new();
        end_of_rib(&mut out, family);
        assert_eq!(out.len(), length);
        let bodies = bodies(&out, 4096);
        assert_eq!(
            decode(&bodies[0], &external())
                .expect("well-formed")
                .end_of_rib,
            Some(family)
        );
    }
}
