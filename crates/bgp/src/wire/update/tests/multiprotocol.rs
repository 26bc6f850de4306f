//! MP attributes, families, End-of-RIB, the canonical block.

use super::*;
use crate::wire::attribute::{Attribute, FaultReason};

fn mp(code: u8, value: &[u8]) -> Vec<u8> {
    attribute(0x80, code, value)
}

/// An MP_REACH of `afi` with this next hop and prefix octets.
fn reach(afi: u8, next_hop: &[u8], nlri: &[u8]) -> Vec<u8> {
    let length = u8::try_from(next_hop.len()).expect("short");
    mp(14, &[&[0, afi, 1, length], next_hop, &[0], nlri].concat())
}

const GLOBAL: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const LINK_LOCAL: [u8; 16] = [0xFE, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const MAPPED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 192, 0, 2, 1];

#[test]
fn rfc_2545_section_3_and_rfc_8950_section_3_next_hops_come_in_three_lengths() {
    let ipv6 = |global: [u8; 16], link_local: Option<[u8; 16]>| NextHop::Ipv6 {
        global: global.into(),
        link_local: link_local.map(Ipv6Addr::from),
    };
    let both = [GLOBAL, LINK_LOCAL].concat();
    for (afi, octets, expected, address) in [
        (
            1,
            &[192, 0, 2, 1][..],
            NextHop::Ipv4(Ipv4Addr::new(192, 0, 2, 1)),
            "192.0.2.1",
        ),
        (1, &GLOBAL, ipv6(GLOBAL, None), "2001:db8::1"),
        (1, &both, ipv6(GLOBAL, Some(LINK_LOCAL)), "2001:db8::1"),
        (2, &GLOBAL, ipv6(GLOBAL, None), "2001:db8::1"),
        (2, &both, ipv6(GLOBAL, Some(LINK_LOCAL)), "2001:db8::1"),
        (2, &LINK_LOCAL, ipv6(LINK_LOCAL, None), "fe80::2"),
        (2, &MAPPED, ipv6(MAPPED, None), "192.0.2.1"),
    ] {
        let update = body(
            &[],
            &[&reach(afi, octets, &[8, 10]), ORIGIN, AS_PATH].concat(),
            &[],
        );
        let update = decode(&update, &external()).expect("no reset");
        let reach = update.mp_reach.expect("there");
        assert_eq!(
            (update.treatment, reach.next_hop),
            (Treatment::Accept, expected)
        );
        assert_eq!(reach.next_hop.address().to_string(), address);
        assert_eq!(reach.nlri.count(), 1);
    }
}

#[test]
fn rfc_7606_section_7_11_a_next_hop_of_another_length_resets() {
    for (afi, length) in [
        (1, 0),
        (1, 3),
        (1, 5),
        (1, 15),
        (1, 24),
        (1, 33),
        (2, 0),
        (2, 4),
        (2, 24),
        (2, 48),
    ] {
        let attribute = reach(afi, &vec![1; length], &[8, 10]);
        let update = body(&[], &[&attribute, ORIGIN, AS_PATH].concat(), &[]);
        assert_eq!(
            reset(&update, &external()),
            (3, 9, attribute),
            "AFI {afi}, {length} octets"
        );
    }
}

#[test]
fn rfc_7606_sections_7_11_and_7_12_cut_mp_attributes_reset() {
    let rows = [
        mp(14, &[]),
        mp(14, &[0, 2, 1]),
        mp(14, &[0, 2, 1, 16, 1]),
        mp(14, &[0, 1, 1, 4, 1, 1, 1, 1]),
    ];
    for attribute in rows.into_iter().chain([mp(15, &[]), mp(15, &[0, 2])]) {
        let update = body(&[], &[&attribute, ORIGIN, AS_PATH].concat(), &[]);
        assert_eq!(reset(&update, &external()), (3, 9, attribute));
    }
}

#[test]
fn rfc_7606_section_5_3_mp_prefixes_that_cannot_be_parsed_reset() {
    for attribute in [
        reach(2, &GLOBAL, &[129]),
        reach(2, &GLOBAL, &[48, 1]),
        mp(15, &[0, 2, 1, 129]),
        mp(15, &[0, 1, 1, 33]),
    ] {
        assert_eq!(
            reset(&body(&[], &attribute, &[]), &external()),
            (3, 10, vec![])
        );
    }
}

#[test]
fn rfc_7606_section_3_g_a_second_mp_attribute_resets() {
    for attribute in [reach(2, &GLOBAL, &[]), mp(15, &[0, 2, 1])] {
        let block = [&attribute[..], ORIGIN, &attribute].concat();
        assert_eq!(reset(&body(&[], &block, &[]), &external()), (3, 1, vec![]));
    }
}

#[test]
fn an_unusable_next_hop_withdraws_its_prefixes() {
    let zero_with_link_local = [[0; 16], LINK_LOCAL].concat();
    let multicast = [[0xFF, 2].as_slice(), &[0; 14]].concat();
    let withdraw = Treatment::Withdraw(AttributeFault {
        code: 14,
        reason: FaultReason::NextHop,
    });
    for (afi, next_hop, expected) in [
        (1, &[0, 0, 0, 0][..], &withdraw),
        (1, &[224, 0, 0, 1], &withdraw),
        (2, &[0; 16], &withdraw),
        (2, &multicast, &withdraw),
        (2, &zero_with_link_local, &Treatment::Accept),
    ] {
        let update = body(
            &[],
            &[&reach(afi, next_hop, &[8, 10]), ORIGIN, AS_PATH].concat(),
            &[],
        );
        let update = decode(&update, &external()).expect("no reset");
        assert_eq!(update.treatment, *expected);
        assert_eq!(update.mp_reach.expect("there").nlri.count(), 1);
    }
}

#[test]
fn rfc_7606_section_3_c_wrong_flags_of_an_mp_attribute_withdraw_its_prefixes() {
    let mut wrong = MP_REACH.to_vec();
    wrong[0] = 0xC0;
    let update = body(&[], &[&wrong, ORIGIN, AS_PATH].concat(), &[]);
    let update = decode(&update, &external()).expect("no reset");
    let expected = AttributeFault {
        code: 14,
        reason: FaultReason::Flags,
    };
    assert_eq!(update.treatment, Treatment::Withdraw(expected));
    assert_eq!(
        strings(update.mp_reach.expect("there").nlri),
        ["2001:db8:1::/48"]
    );
}

#[test]
fn rfc_4760_section_7_families_not_negotiated_are_ignored() {
    let vpn = mp(
        14,
        &[
            0, 1, 128, 12, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1, 0, 255, 255,
        ],
    );
    let flow = mp(15, &[0, 1, 133, 255, 255, 255]);
    let block = [&vpn[..], &flow, ORIGIN, AS_PATH, NEXT_HOP].concat();
    let update = body(PREFIX, &block, PREFIX);
    let accepted = decode(&update, &external()).expect("no reset");
    assert_eq!(
        (accepted.mp_reach, accepted.mp_unreach, accepted.treatment),
        (None, None, Treatment::Accept)
    );
    let neither = DecodeContext {
        families: vec![],
        ..external()
    };
    let ignored = decode(&update, &neither).expect("no reset");
    assert!(ignored.announced.is_empty() && ignored.withdrawn.is_empty());
    assert_eq!(ignored.end_of_rib, None);
}

#[test]
fn rfc_4724_section_2_an_end_of_rib_names_its_family() {
    let ipv6 = mp(15, &[0, 2, 1]);
    let long = [0x90, 15, 0, 3, 0, 2, 1];
    let ipv4 = mp(15, &[0, 1, 1]);
    let vpn = mp(15, &[0, 1, 128]);
    for (name, bytes, expected) in [
        ("23 octets", body(&[], &[], &[]), Some(Family::IPV4_UNICAST)),
        (
            "MP_UNREACH",
            body(&[], &ipv6, &[]),
            Some(Family::IPV6_UNICAST),
        ),
        (
            "long length",
            body(&[], &long, &[]),
            Some(Family::IPV6_UNICAST),
        ),
        (
            "MP_UNREACH of IPv4",
            body(&[], &ipv4, &[]),
            Some(Family::IPV4_UNICAST),
        ),
        ("not negotiated", body(&[], &vpn, &[]), None),
        ("with a withdrawal", body(PREFIX, &ipv6, &[]), None),
        (
            "with another attribute",
            body(&[], &[&ipv6, ORIGIN].concat(), &[]),
            None,
        ),
        ("withdrawals only", body(PREFIX, &[], &[]), None),
        (
            "MP withdrawals",
            body(&[], &mp(15, &[0, 2, 1, 0]), &[]),
            None,
        ),
    ] {
        assert_eq!(
            decode(&bytes, &external()).expect("no reset").end_of_rib,
            expected,
            "{name}"
        );
    }
}

#[test]
fn one_update_may_carry_everything_in_any_order() {
    let unreach = mp(15, &[0, 2, 1, 32, 0x20, 1, 0xd, 0xb8]);
    let bytes = body(
        &[8, 10],
        &[ORIGIN, &unreach, NEXT_HOP, AS_PATH, MP_REACH].concat(),
        PREFIX,
    );
    let update = decode(&bytes, &external()).expect("no reset");
    assert_eq!(strings(update.withdrawn), ["10.0.0.0/8"]);
    assert_eq!(strings(update.announced), ["198.51.100.0/24"]);
    assert_eq!(
        strings(update.mp_reach.expect("there").nlri),
        ["2001:db8:1::/48"]
    );
    assert_eq!(
        strings(update.mp_unreach.expect("there")),
        ["2001:db8::/32"]
    );
    assert_eq!(
        update.attributes.bytes(),
        [ORIGIN, NEXT_HOP, AS_PATH].concat()
    );
}

/// Whether the canonical bytes lie inside the message.
fn is_borrowed(update: &Update<'_>, message: &[u8]) -> bool {
    message
        .as_ptr_range()
        .contains(&update.attributes.bytes().as_ptr())
}

#[test]
fn attributes_are_borrowed_where_the_message_is_canonical() {
    let next_hop_between = [MP_REACH, ORIGIN, NEXT_HOP, AS_PATH].concat();
    let aigp_between = [ORIGIN, &attribute(0x80, 26, &[1]), AS_PATH, NEXT_HOP].concat();
    for (block, announced, canonical, borrowed) in [
        (mandatory(), PREFIX, mandatory(), true),
        (
            [MP_REACH, ORIGIN, AS_PATH].concat(),
            &[][..],
            [ORIGIN, AS_PATH].concat(),
            true,
        ),
        (
            [ORIGIN, AS_PATH, MP_REACH].concat(),
            &[],
            [ORIGIN, AS_PATH].concat(),
            true,
        ),
        (next_hop_between, &[], [ORIGIN, AS_PATH].concat(), false),
        (aigp_between, PREFIX, mandatory(), false),
    ] {
        let message = body(&[], &block, announced);
        let update = decode(&message, &external()).expect("no reset");
        assert_eq!(update.attributes.bytes(), canonical);
        assert_eq!(is_borrowed(&update, &message), borrowed);
        assert_eq!(update.attributes, AttributeBlock::of(&canonical, 65000));
    }
}

#[test]
fn rfc_4760_section_3_next_hop_without_prefixes_of_its_own_is_ignored_good_or_bad() {
    for next_hop in [NEXT_HOP, &[0x40, 3, 3, 0, 0, 0], &[0x40, 3, 4, 0, 0, 0, 0]] {
        let bytes = body(&[], &[MP_REACH, ORIGIN, AS_PATH, next_hop].concat(), &[]);
        let update = decode(&bytes, &external()).expect("no reset");
        assert_eq!(
            (update.treatment, update.attributes.summary().next_hop),
            (Treatment::Accept, None)
        );
    }
}

#[test]
fn rfc_6793_section_4_2_3_a_two_octet_peer_is_read_as_a_four_octet_one() {
    let path: &[u8] = &[0x40, 2, 6, 2, 2, 0xFD, 0xE9, 0x5B, 0xA0];
    let as4_path = attribute(0xC0, 17, &[2, 1, 0, 1, 0x11, 0x70]);
    let trans = attribute(0xC0, 7, &[0x5B, 0xA0, 10, 0, 0, 1]);
    let narrow = attribute(0xC0, 7, &[0, 9, 10, 0, 0, 1]);
    let as4_aggregator = attribute(0xC0, 18, &[0, 1, 0x11, 0x70, 10, 0, 0, 2]);
    for (name, more, shown, aggregator) in [
        ("neither", vec![], "65001 23456", None),
        ("AS4_PATH", vec![&as4_path], "65001 70000", None),
        (
            "both",
            vec![&trans, &as4_path, &as4_aggregator],
            "65001 70000",
            Some(70000),
        ),
        (
            "an AGGREGATOR alone",
            vec![&as4_path, &narrow],
            "65001 70000",
            Some(9),
        ),
        (
            "an AGGREGATOR that voids both",
            vec![&as4_path, &narrow, &as4_aggregator],
            "65001 23456",
            Some(9),
        ),
        (
            "AS_TRANS without more",
            vec![&trans],
            "65001 23456",
            Some(23456),
        ),
    ] {
        let more: Vec<u8> = more.into_iter().flatten().copied().collect();
        let bytes = body(&[], &[ORIGIN, path, NEXT_HOP, &more].concat(), PREFIX);
        let update = decode(&bytes, &two_octet()).expect("no reset");
        assert_eq!(update.treatment, Treatment::Accept, "{name}");
        let mut found = (String::new(), None);
        for attribute in update.attributes.iter() {
            match attribute {
                Attribute::AsPath(path) => found.0 = path.to_string(),
                Attribute::Aggregator(aggregator) => found.1 = Some(aggregator.asn),
                Attribute::Origin(_) | Attribute::NextHop(_) => {}
                other => panic!("{name}: {other:?}"),
            }
        }
        assert_eq!(found, (shown.to_owned(), aggregator), "{name}");
    }
}

#[test]
fn rfc_8092_section_5_repeated_large_communities_are_removed() {
    let [a, b] = [[1; 12], [2; 12]];
    let once = attribute(0xC0, 32, &[a, b].concat());
    let twice = attribute(0xC0, 32, &[a, b, a, b, b].concat());
    let bytes = body(&[], &[&mandatory()[..], &twice].concat(), PREFIX);
    let update = decode(&bytes, &external()).expect("no reset");
    assert_eq!(
        update.attributes.bytes(),
        [&mandatory()[..], &once].concat()
    );
}

#[test]
fn the_summary_of_the_pass_is_that_of_the_canonical_bytes() {
    let path = attribute(
        0x40,
        2,
        &[2, 2, 0, 0, 0xFD, 0xE9, 0, 0, 0xFD, 0xE8, 1, 1, 0, 0, 0, 5],
    );
    let communities = attribute(0xC0, 8, &[0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 2]);
    let rest = [
        attribute(0x80, 4, &[0, 0, 0, 9]),
        attribute(0x40, 5, &[0, 0, 0, 100]),
        attribute(0x80, 9, &[1, 2, 3, 4]),
        attribute(0x80, 10, &[0; 12]),
    ];
    let bytes = body(
        &[],
        &[ORIGIN, &path, NEXT_HOP, &communities, &rest.concat()].concat(),
        PREFIX,
    );
    let update = decode(&bytes, &internal()).expect("no reset");
    assert_eq!(
        *update.attributes.summary(),
        *AttributeBlock::of(update.attributes.bytes(), 65000).summary()
    );
    let summary = update.attributes.summary();
    assert_eq!(
        (
            summary.own_as_count,
            summary.as_path_length,
            summary.cluster_list_length
        ),
        (1, 3, 3)
    );
    assert!(summary.communities.graceful_shutdown && summary.communities.no_advertise);
}
