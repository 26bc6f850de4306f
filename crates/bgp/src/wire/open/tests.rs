use super::*;
use crate::family::{Afi, Family, Safi};
use crate::wire::capability::{GracefulRestartCapability, HostName};
use crate::wire::framing::HEADER_LENGTH;

/// A body with these optional parameters, their length octet included.
fn body(parameters: &[u8]) -> Vec<u8> {
    [&[4, 0xFD, 0xE9, 0, 90, 10, 0, 0, 1][..], parameters].concat()
}

/// A body whose only parameter holds these capabilities.
fn with_capabilities(capabilities: &[u8]) -> Vec<u8> {
    let length = u8::try_from(capabilities.len()).expect("short");
    body(&[&[length + 2, 2, length], capabilities].concat())
}

fn plain(capabilities: Capabilities) -> Open {
    Open {
        asn: 65001,
        hold_time: 90,
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        capabilities,
    }
}

fn everything() -> Capabilities {
    let vpn = Family {
        afi: Afi::Ipv4,
        safi: Safi::Other(128),
    };
    Capabilities {
        multiprotocol: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST, vpn],
        route_refresh: true,
        enhanced_route_refresh: true,
        extended_message: true,
        four_octet_asn: Some(4_200_000_000),
        extended_next_hop: vec![(Family::IPV4_UNICAST, Afi::Ipv6)],
        graceful_restart: Some(GracefulRestartCapability {
            restarting: true,
            notification: true,
            restart_time: 4095,
            families: vec![(Family::IPV4_UNICAST, true), (Family::IPV6_UNICAST, false)],
        }),
        host_name: Some(HostName {
            host: "node-1".into(),
            domain: "example.org".into(),
        }),
        software_version: Some("tombolo/0.0.0".into()),
        unknown: vec![(9, Bytes::from_static(&[3])), (200, Bytes::new())],
    }
}

#[test]
fn what_is_encoded_is_decoded() {
    let open = Open {
        asn: 4_200_000_000,
        ..plain(everything())
    };
    assert_eq!(Open::decode(&open.encode()[HEADER_LENGTH..]), Ok(open));
    let bare = plain(Capabilities::default());
    assert_eq!(Open::decode(&bare.encode()[HEADER_LENGTH..]), Ok(bare));
}

#[test]
fn rfc_6793_section_9_a_wide_as_leaves_as_trans_in_the_fixed_field() {
    let open = Open {
        asn: 4_200_000_000,
        ..plain(everything())
    };
    assert_eq!(
        open.encode()[HEADER_LENGTH + 1..HEADER_LENGTH + 3],
        23456_u16.to_be_bytes()
    );
}

#[test]
fn rfc_4271_section_6_2_each_fault_has_its_subcode() {
    let changed = |at: usize, value: u8| {
        let mut body = body(&[0]);
        body[at] = value;
        body
    };
    let no_as = {
        let mut body = body(&[0]);
        body[1..3].fill(0);
        body
    };
    let no_identifier = {
        let mut body = body(&[0]);
        body[5..9].fill(0);
        body
    };
    for (name, body, subcode, data) in [
        ("version 3", changed(0, 3), 1, &[0, 4][..]),
        ("version 5", changed(0, 5), 1, &[0, 4]),
        ("AS 0, RFC 7607 section 2", no_as, 2, &[]),
        (
            "AS 0 in capability 65, RFC 7607 section 2",
            with_capabilities(&[65, 4, 0, 0, 0, 0]),
            2,
            &[],
        ),
        ("identifier 0, RFC 6286 section 2.2", no_identifier, 3, &[]),
        (
            "parameter 1, deprecated by RFC 5492",
            body(&[3, 1, 1, 0]),
            4,
            &[],
        ),
        ("hold time 1", changed(4, 1), 6, &[]),
        ("hold time 2", changed(4, 2), 6, &[]),
        (
            "parameters longer than the message",
            body(&[5, 2, 0]),
            0,
            &[],
        ),
        (
            "parameters shorter than the message",
            body(&[2, 2, 0, 9]),
            0,
            &[],
        ),
        ("parameter overruns", body(&[4, 2, 9, 2, 0]), 0, &[]),
        ("parameter without length", body(&[1, 2]), 0, &[]),
        (
            "capability overruns",
            with_capabilities(&[1, 9, 0, 1]),
            0,
            &[],
        ),
        (
            "capability without length",
            with_capabilities(&[2, 0, 2]),
            0,
            &[],
        ),
        (
            "multiprotocol of 3 octets",
            with_capabilities(&[1, 3, 0, 1, 1]),
            0,
            &[],
        ),
        (
            "route refresh of 1 octet",
            with_capabilities(&[2, 1, 0]),
            0,
            &[],
        ),
        (
            "extended message of 1 octet",
            with_capabilities(&[6, 1, 0]),
            0,
            &[],
        ),
        (
            "enhanced route refresh of 1 octet",
            with_capabilities(&[70, 1, 0]),
            0,
            &[],
        ),
        ("AS of 2 octets", with_capabilities(&[65, 2, 0, 1]), 0, &[]),
        (
            "graceful restart of 1 octet",
            with_capabilities(&[64, 1, 0]),
            0,
            &[],
        ),
        (
            "graceful restart with half a family",
            with_capabilities(&[64, 4, 0, 1, 0, 1]),
            0,
            &[],
        ),
        (
            "extended next hop of 5 octets",
            with_capabilities(&[5, 5, 0, 1, 0, 1, 0]),
            0,
            &[],
        ),
        (
            "RFC 9072 length too long",
            body(&[255, 255, 0, 9, 2, 0, 0]),
            0,
            &[],
        ),
        ("RFC 9072 without length", body(&[255, 255, 0]), 0, &[]),
    ] {
        let notification = Open::decode(&body).expect_err(name).notification();
        assert_eq!(
            (
                notification.code,
                notification.subcode,
                &notification.data[..]
            ),
            (2, subcode, data),
            "{name}"
        );
    }
}

#[test]
fn rfc_4271_section_4_2_hold_times_0_and_3_are_fine() {
    for hold in [0, 3] {
        let mut body = body(&[0]);
        body[4] = hold;
        assert_eq!(
            Open::decode(&body).map(|open| open.hold_time),
            Ok(u16::from(hold))
        );
    }
}

#[test]
fn rfc_5492_section_4_capabilities_add_up_over_parameters_and_repetition() {
    let body = body(&[
        20, 2, 6, 1, 4, 0, 1, 0, 1, 2, 8, 2, 0, 1, 4, 0, 1, 0, 1, 2, 0,
    ]);
    let open = Open::decode(&body).expect("well-formed");
    let capabilities = Capabilities {
        multiprotocol: vec![Family::IPV4_UNICAST],
        route_refresh: true,
        ..Capabilities::default()
    };
    assert_eq!(open, plain(capabilities));
}

#[test]
fn rfc_4724_section_3_the_last_graceful_restart_counts() {
    let open =
        Open::decode(&with_capabilities(&[64, 2, 0x80, 1, 64, 2, 0x40, 2])).expect("well-formed");
    let expected = GracefulRestartCapability {
        notification: true,
        restart_time: 2,
        ..Default::default()
    };
    assert_eq!(open.capabilities.graceful_restart, Some(expected));
}

#[test]
fn informing_capabilities_never_cost_a_session() {
    for capability in [
        &[73, 0][..],
        &[73, 2, 9, 65],
        &[73, 2, 1, 65],
        &[75, 0],
        &[75, 2, 9, 65],
    ] {
        let open = Open::decode(&with_capabilities(capability)).expect("a session");
        assert_eq!(
            (
                open.capabilities.host_name,
                open.capabilities.software_version
            ),
            (None, None)
        );
    }
    let odd = Open::decode(&with_capabilities(&[75, 2, 1, 0xFF])).expect("a session");
    assert_eq!(
        odd.capabilities.software_version.as_deref(),
        Some("\u{FFFD}")
    );
}

#[test]
fn rfc_4760_section_8_no_multiprotocol_capability_means_ipv4_unicast() {
    let families = |capabilities: Capabilities| capabilities.families().to_vec();
    assert_eq!(families(Capabilities::default()), [Family::IPV4_UNICAST]);
    let only_ipv6 = Capabilities {
        multiprotocol: vec![Family::IPV6_UNICAST],
        ..Capabilities::default()
    };
    assert_eq!(families(only_ipv6), [Family::IPV6_UNICAST]);
}

#[test]
fn rfc_9072_section_2_extended_parameters_are_taken_whatever_the_length_octet_says() {
    for length in [1, 255] {
        let body = body(&[length, 255, 0, 8, 2, 0, 2, 2, 0, 2, 0, 0]);
        let open = Open::decode(&body).expect("well-formed");
        assert!(open.capabilities.route_refresh);
    }
}

#[test]
fn rfc_9072_section_2_the_extended_form_is_used_only_when_needed() {
    for (octets, extended) in [(250, false), (251, true), (255, true)] {
        let unknown = vec![(200, Bytes::from(vec![7; octets]))];
        let open = plain(Capabilities {
            unknown,
            ..Capabilities::default()
        });
        let encoded = open.encode();
        let long = encoded[HEADER_LENGTH + 9..HEADER_LENGTH + 11] == [255, 255];
        assert_eq!(long, extended, "{octets} octets");
        assert_eq!(Open::decode(&encoded[HEADER_LENGTH..]), Ok(open));
    }
}

#[test]
fn many_capabilities_survive_the_extended_form() {
    let unknown = (0..14)
        .map(|code| (code + 200, Bytes::from(vec![code; 200])))
        .collect();
    let open = Open {
        asn: 4_200_000_000,
        ..plain(Capabilities {
            unknown,
            ..everything()
        })
    };
    assert_eq!(Open::decode(&open.encode()[HEADER_LENGTH..]), Ok(open));
}

#[test]
fn names_too_long_for_a_capability_are_cut_and_families_left_out() {
    let many = (0..100)
        .map(|number| {
            (
                Family {
                    afi: Afi::Other(1000 + number),
                    safi: Safi::Unicast,
                },
                true,
            )
        })
        .collect();
    let next_hops = (0..100)
        .map(|number| {
            (
                Family {
                    afi: Afi::Other(1000 + number),
                    safi: Safi::Unicast,
                },
                Afi::Ipv6,
            )
        })
        .collect();
    let capabilities = Capabilities {
        host_name: Some(HostName {
            host: "h".repeat(200),
            domain: "d".repeat(200),
        }),
        software_version: Some("v".repeat(300)),
        graceful_restart: Some(GracefulRestartCapability {
            families: many,
            ..Default::default()
        }),
        extended_next_hop: next_hops,
        ..Capabilities::default()
    };
    let open = Open::decode(&plain(capabilities).encode()[HEADER_LENGTH..])
        .expect("well-formed")
        .capabilities;
    let host_name = open.host_name.expect("kept");
    assert_eq!((host_name.host.len(), host_name.domain.len()), (200, 53));
    assert_eq!(
        open.software_version.map(|version| version.len()),
        Some(254)
    );
    assert_eq!(
        open.graceful_restart.map(|restart| restart.families.len()),
        Some(63)
    );
    assert_eq!(open.extended_next_hop.len(), 42);
}
