//! What RFC 7606 leaves as a session reset.

use super::*;
use crate::wire::attribute::FaultReason;

#[test]
fn rfc_7606_section_5_2_a_fault_without_prefixes_resets_and_says_which() {
    for (name, block, subcode, data) in [
        (
            "ORIGIN 9",
            attribute(0x40, 1, &[9]),
            6,
            attribute(0x40, 1, &[9]),
        ),
        (
            "flags",
            attribute(0xC0, 1, &[0]),
            4,
            attribute(0xC0, 1, &[0]),
        ),
        (
            "length",
            attribute(0x80, 4, &[0]),
            5,
            attribute(0x80, 4, &[0]),
        ),
        ("path", attribute(0x40, 2, &[9, 9]), 11, vec![]),
        (
            "next hop",
            attribute(0x40, 3, &[0; 4]),
            8,
            attribute(0x40, 3, &[0; 4]),
        ),
        (
            "next hop's length",
            attribute(0x40, 3, &[0; 3]),
            5,
            attribute(0x40, 3, &[0; 3]),
        ),
        ("cut", vec![0x40, 1, 9], 1, vec![]),
        ("a single octet", vec![0x40], 1, vec![]),
        (
            "parts",
            attribute(0xC0, 128, &[0, 0, 0, 1, 9]),
            9,
            attribute(0xC0, 128, &[0, 0, 0, 1, 9]),
        ),
    ] {
        assert_eq!(
            reset(&body(&[], &block, &[]), &external()),
            (3, subcode, data),
            "{name}"
        );
    }
    let discarded_only = body(&[], &attribute(0x40, 6, &[1]), &[]);
    assert_eq!(
        decode(&discarded_only, &external())
            .expect("no reset")
            .treatment,
        Treatment::Discard(vec![AttributeFault {
            code: 6,
            reason: FaultReason::Length
        }])
    );
    let with_unreach = [&attribute(0x40, 1, &[9])[..], &[0x80, 15, 3, 0, 2, 1]].concat();
    assert_eq!(reset(&body(&[], &with_unreach, &[]), &external()).1, 6);
}

#[test]
fn rfc_4271_section_6_3_unknown_attributes_follow_their_flags() {
    let with = |flags| {
        body(
            &[],
            &[&mandatory()[..], &attribute(flags, 200, &[1])].concat(),
            PREFIX,
        )
    };
    for (flags, kept) in [(0xC0, 4), (0xE0, 4), (0x80, 3), (0xA0, 3)] {
        let update = with(flags);
        let update = decode(&update, &external()).expect("no reset");
        assert_eq!(
            (update.treatment, update.attributes.iter().count()),
            (Treatment::Accept, kept)
        );
    }
    for flags in [0x00, 0x40] {
        assert_eq!(
            reset(&with(flags), &external()),
            (3, 2, attribute(flags, 200, &[1]))
        );
    }
}

#[test]
fn rfc_7606_section_3_b_lengths_that_overrun_the_message_reset() {
    for body in [
        &[][..],
        &[0],
        &[0, 1],
        &[0, 0],
        &[0, 0, 0],
        &[0, 0, 0, 1],
        &[0, 2, 0, 0, 0],
        &[0xFF, 0xFF, 0, 0],
    ] {
        assert_eq!(reset(body, &external()), (3, 1, vec![]), "{body:?}");
    }
}

#[test]
fn rfc_7606_section_5_3_prefixes_that_cannot_be_parsed_reset() {
    for (withdrawn, announced) in [
        (&[33, 1, 2, 3, 4, 5][..], &[][..]),
        (&[24, 1], &[]),
        (&[], &[33]),
        (&[], &[32, 1, 2, 3]),
    ] {
        assert_eq!(
            reset(&body(withdrawn, &mandatory(), announced), &external()),
            (3, 10, vec![])
        );
    }
}
