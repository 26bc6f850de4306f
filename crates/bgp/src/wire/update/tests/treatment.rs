//! RFC 7606, attribute by attribute.

use super::*;
use crate::wire::attribute::FaultReason::{self, *};

/// Decodes an UPDATE of the mandatory attributes and `more`, announcing a prefix.
fn treatment(more: &[u8], context: &DecodeContext) -> Treatment {
    let body = body(&[], &[&mandatory(), more].concat(), PREFIX);
    decode(&body, context).expect("no session reset").treatment
}

/// The same with one of the mandatory ones replaced.
fn replaced(code: u8, by: &[u8], context: &DecodeContext) -> Treatment {
    let kept = [(1, ORIGIN), (2, AS_PATH), (3, NEXT_HOP)];
    let others: Vec<u8> = kept
        .into_iter()
        .filter(|(own, _)| *own != code)
        .flat_map(|(_, bytes)| bytes.to_vec())
        .collect();
    let body = body(&[], &[by, &others].concat(), PREFIX);
    decode(&body, context).expect("no session reset").treatment
}

fn withdraw(code: u8, reason: FaultReason) -> Treatment {
    Treatment::Withdraw(AttributeFault { code, reason })
}

fn discard(code: u8, reason: FaultReason) -> Treatment {
    Treatment::Discard(vec![AttributeFault { code, reason }])
}

#[test]
fn rfc_7606_section_7_1_origin() {
    for value in 0..=2 {
        assert_eq!(
            replaced(1, &attribute(0x40, 1, &[value]), &external()),
            Treatment::Accept
        );
    }
    for (value, reason) in [
        (&[3][..], Origin),
        (&[255], Origin),
        (&[], Length),
        (&[0, 0], Length),
    ] {
        assert_eq!(
            replaced(1, &attribute(0x40, 1, value), &external()),
            withdraw(1, reason)
        );
    }
}

#[test]
fn rfc_7606_section_7_2_as_path() {
    let own = [2, 1, 0, 0, 0xFD, 0xE9];
    for (name, value, context, expected) in [
        (
            "unknown segment",
            vec![5, 1, 0, 0, 0xFD, 0xE9],
            external(),
            withdraw(2, Segments),
        ),
        (
            "empty segment",
            vec![2, 0],
            external(),
            withdraw(2, Segments),
        ),
        (
            "overrun",
            vec![2, 2, 0, 0, 0xFD, 0xE9],
            external(),
            withdraw(2, Segments),
        ),
        (
            "one octet left",
            [&own[..], &[2]].concat(),
            external(),
            withdraw(2, Segments),
        ),
        (
            "AS 0, RFC 7607",
            [&own[..], &[2, 1, 0, 0, 0, 0]].concat(),
            external(),
            withdraw(2, AsZero),
        ),
        (
            "confederation",
            [&own[..], &[3, 1, 0, 0, 0, 9]].concat(),
            external(),
            withdraw(2, ConfederationSegment),
        ),
        (
            "confederation set",
            [&own[..], &[4, 1, 0, 0, 0, 9]].concat(),
            external(),
            withdraw(2, ConfederationSegment),
        ),
        (
            "confederation inside",
            vec![3, 1, 0, 0, 0, 9],
            internal(),
            Treatment::Accept,
        ),
        (
            "AS_SET, RFC 9774",
            [&own[..], &[1, 1, 0, 0, 0, 9]].concat(),
            external(),
            withdraw(2, AsSet),
        ),
        (
            "AS_SET where allowed",
            vec![1, 1, 0, 0, 0, 9],
            internal(),
            Treatment::Accept,
        ),
        (
            "another first AS",
            vec![2, 1, 0, 0, 0xFD, 0xEA],
            external(),
            withdraw(2, FirstAs),
        ),
        (
            "empty from outside",
            vec![],
            external(),
            withdraw(2, FirstAs),
        ),
        ("empty from inside", vec![], internal(), Treatment::Accept),
        (
            "two octets, good",
            vec![2, 1, 0xFD, 0xE9],
            two_octet(),
            Treatment::Accept,
        ),
        (
            "two octets, overrun",
            vec![2, 2, 0xFD, 0xE9],
            two_octet(),
            withdraw(2, Segments),
        ),
        (
            "four octets where two are due",
            own.to_vec(),
            two_octet(),
            withdraw(2, Segments),
        ),
    ] {
        assert_eq!(
            replaced(2, &attribute(0x40, 2, &value), &context),
            expected,
            "{name}"
        );
    }
}

#[test]
fn rfc_7606_section_7_3_next_hop() {
    for (value, expected) in [
        (&[10, 0, 0, 1][..], Treatment::Accept),
        (&[10, 0, 0], withdraw(3, Length)),
        (&[], withdraw(3, Length)),
        (&[10, 0, 0, 1, 0], withdraw(3, Length)),
        (&[0, 0, 0, 0], withdraw(3, NextHop)),
        (&[224, 0, 0, 5], withdraw(3, NextHop)),
        (&[255, 255, 255, 255], withdraw(3, NextHop)),
    ] {
        assert_eq!(
            replaced(3, &attribute(0x40, 3, value), &external()),
            expected
        );
    }
}

/// (section, flags, code, good value, bad value, context, what the bad one gets).
#[test]
fn rfc_7606_section_7_each_optional_attribute_has_its_length() {
    let discarded = |code| discard(code, Length);
    let withdrawn = |code| withdraw(code, Length);
    for (section, flags, code, good, bad, context, expected) in [
        (
            "7.4",
            0x80,
            4,
            4,
            &[0, 1, 3, 5, 8][..],
            external(),
            withdrawn(4),
        ),
        ("7.5", 0x40, 5, 4, &[0, 1, 3, 5], internal(), withdrawn(5)),
        ("7.6", 0x40, 6, 0, &[1, 4], external(), discarded(6)),
        ("7.7", 0xC0, 7, 8, &[0, 6, 7, 9], external(), discarded(7)),
        (
            "7.7 of two octets",
            0xC0,
            7,
            6,
            &[0, 5, 7, 8],
            two_octet(),
            discarded(7),
        ),
        (
            "7.8",
            0xC0,
            8,
            4,
            &[0, 1, 3, 5, 7],
            external(),
            withdrawn(8),
        ),
        ("7.9", 0x80, 9, 4, &[0, 3, 5], internal(), withdrawn(9)),
        ("7.10", 0x80, 10, 8, &[0, 3, 5], internal(), withdrawn(10)),
        (
            "7.14",
            0xC0,
            16,
            16,
            &[0, 4, 7, 9],
            external(),
            withdrawn(16),
        ),
        (
            "7.15",
            0xC0,
            25,
            20,
            &[0, 8, 19, 21],
            external(),
            withdrawn(25),
        ),
        (
            "RFC 8092 section 5",
            0xC0,
            32,
            12,
            &[0, 4, 11, 13],
            external(),
            withdrawn(32),
        ),
        (
            "RFC 9234 section 5",
            0xC0,
            35,
            4,
            &[0, 3, 5],
            external(),
            withdrawn(35),
        ),
    ] {
        let context = DecodeContext {
            first_asn: None,
            ..context
        };
        let path = if context.four_octet {
            AS_PATH
        } else {
            &[0x40, 2, 4, 2, 1, 0xFD, 0xE9]
        };
        let judged = |length: usize| {
            let block = [
                ORIGIN,
                path,
                NEXT_HOP,
                &attribute(flags, code, &vec![7; length]),
            ]
            .concat();
            decode(&body(&[], &block, PREFIX), &context)
                .expect("no reset")
                .treatment
        };
        assert_eq!(judged(good), Treatment::Accept, "{section}, {good} octets");
        for bad in bad {
            assert_eq!(judged(*bad), expected, "{section}, {bad} octets");
        }
    }
}

#[test]
fn rfc_7606_section_3_c_wrong_optional_or_transitive_bits_withdraw() {
    let rows = [
        (1, 0x40, 1),
        (2, 0x40, 0),
        (3, 0x40, 4),
        (4, 0x80, 4),
        (6, 0x40, 0),
        (7, 0xC0, 8),
        (8, 0xC0, 4),
    ];
    let more = [
        (16, 0xC0, 8),
        (25, 0xC0, 20),
        (32, 0xC0, 12),
        (35, 0xC0, 4),
        (128, 0xC0, 4),
    ];
    for (code, flags, length) in rows.into_iter().chain(more) {
        for wrong in [flags ^ 0x80, flags ^ 0x40, flags ^ 0xC0] {
            let treated = replaced(code, &attribute(wrong, code, &vec![0; length]), &external());
            assert_eq!(
                treated,
                withdraw(code, Flags),
                "attribute {code} with {wrong:#x}"
            );
        }
        let unused = attribute(flags | 0x2F, code, &vec![1; length]);
        assert!(!matches!(
            treatment(&unused, &external()),
            Treatment::Withdraw(AttributeFault { reason: Flags, .. })
        ));
    }
}

#[test]
fn rfc_7606_sections_7_5_7_9_7_10_internal_attributes_from_outside_are_discarded_good_or_bad() {
    for (code, flags) in [(5, 0x40), (9, 0x80), (10, 0x80), (40, 0xC0)] {
        for (flags, length) in [(flags, 4), (flags, 3), (flags ^ 0xC0, 4)] {
            let treated = treatment(&attribute(flags, code, &vec![1; length]), &external());
            assert_eq!(treated, discard(code, FromExternal), "attribute {code}");
        }
    }
}

#[test]
fn rfc_6793_section_4_1_a_four_octet_peer_has_no_business_with_as4_attributes() {
    assert_eq!(
        treatment(&attribute(0xC0, 17, &[2, 1, 0, 0, 0, 1]), &external()),
        discard(17, FromFourOctet)
    );
    assert_eq!(
        treatment(&attribute(0xC0, 18, &[0; 8]), &external()),
        discard(18, FromFourOctet)
    );
}

#[test]
fn rfc_6793_section_6_malformed_as4_attributes_are_discarded() {
    let path: &[u8] = &[0x40, 2, 4, 2, 1, 0xFD, 0xE9];
    for (more, expected) in [
        (attribute(0xC0, 17, &[2, 1, 0, 1, 1, 1]), Treatment::Accept),
        (attribute(0xC0, 17, &[2, 1, 0, 1, 1]), discard(17, Segments)),
        (attribute(0xC0, 17, &[2, 0]), discard(17, Segments)),
        (attribute(0xC0, 17, &[]), discard(17, Segments)),
        (
            attribute(0xC0, 18, &[0, 1, 1, 1, 10, 0, 0, 1]),
            Treatment::Accept,
        ),
        (
            attribute(0xC0, 18, &[0, 1, 1, 1, 10, 0, 0]),
            discard(18, Length),
        ),
    ] {
        let context = DecodeContext {
            first_asn: None,
            ..two_octet()
        };
        let body = body(&[], &[ORIGIN, path, NEXT_HOP, &more].concat(), PREFIX);
        assert_eq!(
            decode(&body, &context).expect("no reset").treatment,
            expected,
            "{more:?}"
        );
    }
}

#[test]
fn rfc_7606_section_7_16_and_rfc_8669_what_is_passed_on_unread_must_still_hang_together() {
    for (code, value, context, expected) in [
        (
            128,
            &[0, 0, 0, 1, 0x40, 1, 1, 0][..],
            external(),
            Treatment::Accept,
        ),
        (128, &[0, 0, 0, 1], external(), Treatment::Accept),
        (128, &[0, 0, 0], external(), withdraw(128, Length)),
        (
            128,
            &[0, 0, 0, 1, 0x40, 1, 2, 0],
            external(),
            withdraw(128, Value),
        ),
        (40, &[1, 0, 2, 9, 9], internal(), Treatment::Accept),
        (40, &[1, 0, 3, 9, 9], internal(), discard(40, Value)),
        (40, &[], internal(), discard(40, Value)),
        (40, &[1, 0], internal(), discard(40, Value)),
    ] {
        assert_eq!(
            treatment(&attribute(0xC0, code, value), &context),
            expected,
            "{code} {value:?}"
        );
    }
}

#[test]
fn rfc_7607_section_2_as_0_in_aggregator_is_discarded() {
    assert_eq!(
        treatment(&attribute(0xC0, 7, &[0, 0, 0, 0, 10, 0, 0, 1]), &external()),
        discard(7, Value)
    );
}

/// A two-octet peer's AGGREGATOR is then the one that counts.
#[test]
fn rfc_7607_section_2_as_0_in_as4_aggregator_is_discarded_alone() {
    let context = DecodeContext {
        four_octet: false,
        ..external()
    };
    let as_path = attribute(0x40, 2, &[2, 1, 0xFD, 0xE9]);
    let trans = attribute(0xC0, 7, &[0x5B, 0xA0, 10, 0, 0, 1]);
    let nobody = attribute(0xC0, 18, &[0, 0, 0, 0, 10, 0, 0, 2]);
    let block = [ORIGIN.to_vec(), as_path, NEXT_HOP.to_vec(), trans, nobody].concat();
    let update = body(&[], &block, PREFIX);
    let update = decode(&update, &context).expect("no reset");
    assert_eq!(update.treatment, discard(18, Value));
    let aggregators: Vec<u32> = update
        .attributes
        .iter()
        .filter_map(|attribute| match attribute {
            crate::wire::attribute::Attribute::Aggregator(aggregator) => Some(aggregator.asn),
            _ => None,
        })
        .collect();
    assert_eq!(aggregators, [23456]);
}

#[test]
fn rfc_7311_section_3_3_aigp_is_ignored_good_or_bad() {
    for flags in [0x80, 0xC0] {
        assert_eq!(
            treatment(&attribute(flags, 26, &[1]), &external()),
            Treatment::Accept
        );
    }
}

#[test]
fn rfc_7606_section_3_d_a_missing_mandatory_attribute_withdraws() {
    let rows = [
        (1, [AS_PATH, NEXT_HOP].concat()),
        (2, [ORIGIN, NEXT_HOP].concat()),
        (3, [ORIGIN, AS_PATH].concat()),
    ];
    for (code, block) in rows.into_iter().chain([(1, vec![])]) {
        let update = body(&[], &block, PREFIX);
        assert_eq!(
            decode(&update, &external()).expect("no reset").treatment,
            withdraw(code, Missing)
        );
    }
    let without_local_pref = decode(&body(&[], &mandatory(), PREFIX), &internal())
        .expect("no reset")
        .treatment;
    assert_eq!(without_local_pref, Treatment::Accept);
}

#[test]
fn rfc_7606_section_4_a_cut_attribute_list_withdraws_and_prefixes_are_found_by_the_total_length() {
    for cut in [
        &[0xC0][..],
        &[0xC0, 8],
        &[0xC0, 8, 4, 0, 0, 0],
        &[0xD0, 8, 0],
        &[0xD0, 8, 0, 4, 1],
    ] {
        let update = body(&[], &[&mandatory(), cut].concat(), PREFIX);
        let update = decode(&update, &external()).expect("no reset");
        let code = cut.get(1).copied().unwrap_or(0);
        assert_eq!(update.treatment, withdraw(code, Cut), "{cut:?}");
        assert_eq!(strings(update.announced), ["198.51.100.0/24"]);
    }
}

#[test]
fn rfc_7606_section_3_g_of_equal_attributes_the_first_counts() {
    let update = body(
        &[],
        &[
            &mandatory()[..],
            &[0x80, 4, 4, 0, 0, 0, 1],
            &[0x80, 4, 4, 0, 0, 0, 2],
        ]
        .concat(),
        PREFIX,
    );
    let update = decode(&update, &external()).expect("no reset");
    assert_eq!(
        (update.treatment, update.attributes.summary().med),
        (Treatment::Accept, Some(1))
    );
    assert_eq!(update.attributes.iter().count(), 4);
    let malformed_second = [&mandatory()[..], &[0x40, 1, 1, 9]].concat();
    assert_eq!(
        decode(&body(&[], &malformed_second, PREFIX), &external())
            .expect("no reset")
            .treatment,
        Treatment::Accept
    );
}

#[test]
fn rfc_7606_section_3_h_the_strongest_treatment_wins() {
    let discarded = attribute(0x40, 5, &[0; 4]);
    let withdrawn = attribute(0xC0, 8, &[0; 3]);
    let both = [&discarded[..], &withdrawn].concat();
    assert_eq!(treatment(&both, &external()), withdraw(8, Length));
    let resetting = [&withdrawn[..], &[0x00, 200, 0]].concat();
    let update = body(&[], &[&mandatory()[..], &resetting].concat(), PREFIX);
    assert_eq!(reset(&update, &external()), (3, 2, vec![0, 200, 0]));
}
