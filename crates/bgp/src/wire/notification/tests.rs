use super::*;

fn decoded(message: &Bytes) -> Notification {
    Notification::decode(&message[HEADER_LENGTH..]).expect("long enough")
}

#[test]
fn words_name_code_subcode_and_what_the_data_says() {
    let text = |subcode| Notification::cease_with_text(subcode, "bye \u{1b}[31m\"now\"");
    for (notification, words) in [
        (Notification::hold_timer_expired(), "Hold Timer Expired"),
        (
            Notification::send_hold_timer_expired(),
            "Send Hold Timer Expired",
        ),
        (
            Notification::open(OpenSubcode::BadPeerAs),
            "OPEN Message Error: Bad Peer AS",
        ),
        (
            Notification::open(OpenSubcode::Unspecific),
            "OPEN Message Error: Unspecific",
        ),
        (
            Notification::cease(CeaseSubcode::PeerDeconfigured),
            "Cease: Peer De-configured",
        ),
        (
            Notification::unexpected_message(FsmSubcode::UnexpectedInOpenSent, MessageKind::Update),
            "Finite State Machine Error: Receive Unexpected Message in OpenSent State",
        ),
        (
            text(CeaseSubcode::AdministrativeShutdown),
            "Cease: Administrative Shutdown (\"bye \\u{1b}[31m\\\"now\\\"\")",
        ),
        (
            Notification::hard_reset(&Notification::cease_with_text(
                CeaseSubcode::AdministrativeReset,
                "x",
            )),
            "Cease: Hard Reset (Cease: Administrative Reset (\"x\"))",
        ),
        (
            Notification {
                code: 6,
                subcode: 77,
                data: Bytes::new(),
            },
            "Cease: subcode 77",
        ),
        (
            Notification {
                code: 99,
                subcode: 0,
                data: Bytes::new(),
            },
            "error code 99",
        ),
        (
            Notification {
                code: 99,
                subcode: 3,
                data: Bytes::new(),
            },
            "error code 99: subcode 3",
        ),
    ] {
        assert_eq!(notification.to_string(), words);
    }
}

#[test]
fn what_is_encoded_is_decoded() {
    for notification in [
        Notification::hold_timer_expired(),
        Notification::cease_with_text(CeaseSubcode::AdministrativeShutdown, "maintenance"),
        Notification::maximum_prefixes(Family::IPV6_UNICAST, 7),
        Notification::hard_reset(&Notification::cease(CeaseSubcode::AdministrativeShutdown)),
        Notification {
            code: 200,
            subcode: 201,
            data: Bytes::from_static(&[1, 2, 3]),
        },
    ] {
        assert_eq!(decoded(&notification.encode()), notification);
    }
}

#[test]
fn rfc_4486_section_4_maximum_prefixes_tells_family_and_limit() {
    let message = Notification::maximum_prefixes(Family::IPV6_UNICAST, 0x0102_0304).encode();
    assert_eq!(message[16..], [0, 28, 3, 6, 1, 0, 2, 1, 1, 2, 3, 4]);
}

#[test]
fn rfc_9003_section_2_a_long_text_is_cut_at_a_character() {
    let notification =
        Notification::cease_with_text(CeaseSubcode::AdministrativeShutdown, &"ä".repeat(200));
    assert_eq!(notification.data[0], 254);
    assert_eq!(notification.text(), Some("ä".repeat(127).as_str()));
}

#[test]
fn rfc_9003_section_2_only_a_wellformed_text_counts() {
    let with = |subcode: u8, data: &'static [u8]| Notification {
        code: 6,
        subcode,
        data: Bytes::from_static(data),
    };
    for (notification, text) in [
        (with(2, b"\x02ok"), Some("ok")),
        (with(4, b"\x02ok"), Some("ok")),
        (with(2, b"\x02ok, and more"), Some("ok")),
        (with(3, b"\x02ok"), None),
        (with(2, b""), None),
        (with(2, b"\x00"), None),
        (with(2, b"\x03ok"), None),
        (with(2, b"\x01\xff"), None),
    ] {
        assert_eq!(notification.text(), text, "{notification:?}");
    }
}

#[test]
fn rfc_8538_section_3_1_a_hard_reset_carries_the_notification_proper() {
    let inner = Notification::cease_with_text(CeaseSubcode::AdministrativeShutdown, "gone");
    let outer = decoded(&Notification::hard_reset(&inner).encode());
    assert!(outer.is_hard_reset() && !inner.is_hard_reset());
    assert_eq!(outer.inside_hard_reset(), Some(inner.clone()));
    assert_eq!(inner.inside_hard_reset(), None);
    assert_eq!(
        Notification::cease(CeaseSubcode::HardReset).inside_hard_reset(),
        None
    );
}

#[test]
fn rfc_4271_section_4_1_a_notification_never_exceeds_4096_octets() {
    let notification = Notification::update(UpdateSubcode::AttributeLengthError, vec![7; 60_000]);
    assert_eq!(notification.encode().len(), MAXIMUM_LENGTH);
}

#[test]
fn a_body_without_subcode_is_a_bad_length() {
    assert_eq!(Notification::decode(&[6]), Err(DecodeError::BadLength(20)));
}

#[test]
fn hard_resets_nested_without_end_are_shown_one_deep() {
    let nested = Notification {
        code: 6,
        subcode: 9,
        data: Bytes::from([6, 9].repeat(30_000)),
    };
    assert_eq!(nested.to_string(), "Cease: Hard Reset (Cease: Hard Reset)");
}
