//! OPEN: what ours offers, and how the peer's is judged.

use std::net::Ipv4Addr;
use std::time::Duration;

use bgp::report::DownReason;
use bgp::wire::iana::CeaseSubcode;
use bgp::wire::{
    Capabilities, GracefulRestartCapability, HostName, MessageKind, Notification, Open,
};
use bgp::{Afi, Family, GracefulRestart, InstanceConfig, PeerConfig};

use crate::conversation::{Conversation, their_open};
use crate::simulation::{instance, peer};

fn opened(conversation: &mut Conversation) -> Open {
    let [message] = conversation.messages().try_into().expect("one message");
    assert_eq!(message.kind, MessageKind::Open);
    Open::decode(&message.body).expect("a valid OPEN")
}

#[test]
fn our_open_offers_what_cilium_offers_and_more() {
    let config = PeerConfig {
        families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
        ..peer(1)
    };
    let mut conversation = Conversation::with(
        InstanceConfig {
            host_name: Some("k8s-w1".into()),
            ..instance(0)
        },
        config,
    );
    let both = vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST];
    let expected = Open {
        asn: 65001,
        hold_time: 9,
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        capabilities: Capabilities {
            multiprotocol: both.clone(),
            route_refresh: true,
            enhanced_route_refresh: true,
            extended_message: true,
            four_octet_asn: Some(65001),
            extended_next_hop: vec![(Family::IPV4_UNICAST, Afi::Ipv6)],
            graceful_restart: Some(GracefulRestartCapability {
                restarting: false,
                notification: true,
                restart_time: 15,
                families: both.iter().map(|&family| (family, true)).collect(),
            }),
            host_name: Some(HostName {
                host: "k8s-w1".into(),
                domain: String::new(),
            }),
            software_version: Some("tombolo".into()),
            unknown: Vec::new(),
        },
    };
    assert_eq!(opened(&mut conversation), expected);
}

#[test]
fn without_ipv4_no_extended_next_hop_and_without_configuration_no_graceful_restart() {
    let config = PeerConfig {
        families: vec![Family::IPV6_UNICAST],
        graceful_restart: None,
        ..peer(1)
    };
    let open = opened(&mut Conversation::with(instance(0), config));
    assert!(
        open.capabilities.extended_next_hop.is_empty()
            && open.capabilities.graceful_restart.is_none()
    );
}

/// RFC 4724 sections 3 and 4.1: the R bit until this peer has our whole table, and only within the restart time.
#[test]
fn the_restarting_bit_lasts_until_end_of_rib() {
    let restarted = || InstanceConfig {
        restarting: true,
        ..instance(0)
    };
    let bit = |conversation: &mut Conversation| {
        opened(conversation)
            .capabilities
            .graceful_restart
            .expect("graceful restart")
            .restarting
    };
    let mut conversation = Conversation::with(restarted(), peer(1));
    assert!(bit(&mut conversation));
    conversation.say(&Notification::cease(CeaseSubcode::ConnectionRejected).encode());
    conversation.redialled();
    assert!(bit(&mut conversation), "nothing was announced yet");
    conversation.establish(&their_open());
    conversation.say(&Notification::cease(CeaseSubcode::AdministrativeReset).encode());
    conversation.redialled();
    assert!(!bit(&mut conversation));

    let long = PeerConfig {
        graceful_restart: Some(GracefulRestart { restart_time: 1 }),
        ..peer(1)
    };
    let mut conversation = Conversation::with(restarted(), long);
    assert!(bit(&mut conversation));
    conversation.wait(Duration::from_secs(2));
    conversation.say(&Notification::cease(CeaseSubcode::ConnectionRejected).encode());
    conversation.redialled();
    assert!(
        !bit(&mut conversation),
        "the peer dropped our routes by now"
    );
}

/// RFC 4271 section 6.2, RFC 5492 section 3, RFC 6286 section 2.2, RFC 7607 section 2.
#[test]
fn an_open_that_cannot_be_is_answered_with_its_error() {
    type Edit = fn(&mut Open);
    let capability = [1, 4, 0, 1, 0, 1];
    let rows: &[(&str, u8, &[u8], Edit)] = &[
        ("another AS", 2, &[], |open| {
            (open.asn, open.capabilities.four_octet_asn) = (65009, Some(65009));
        }),
        ("AS 0", 2, &[], |open| {
            (open.asn, open.capabilities.four_octet_asn) = (0, Some(0));
        }),
        ("identifier 0", 3, &[], |open| {
            open.router_id = Ipv4Addr::UNSPECIFIED;
        }),
        ("hold time 1", 6, &[], |open| open.hold_time = 1),
        ("hold time 2", 6, &[], |open| open.hold_time = 2),
        ("no common family", 7, &capability, |open| {
            open.capabilities.multiprotocol = vec![Family::IPV6_UNICAST];
        }),
        ("AS before identifier", 2, &[], |open| {
            (open.asn, open.capabilities.four_octet_asn) = (0, None);
            open.router_id = Ipv4Addr::UNSPECIFIED;
        }),
    ];
    for (label, subcode, data, edit) in rows {
        let mut conversation = Conversation::dialled();
        let mut open = their_open();
        edit(&mut open);
        conversation.say(&open.encode());
        let told = conversation.last_word().expect(label);
        assert_eq!(
            (told.code, told.subcode, &told.data[..]),
            (2, *subcode, *data),
            "{label}"
        );
        assert!(conversation.closed, "{label}");
        assert_eq!(
            conversation.downs(),
            [DownReason::NotificationSent(told)],
            "{label}"
        );
    }
}

#[test]
fn an_internal_peer_must_not_have_our_identifier_but_an_external_one_may() {
    for (asn, accepted) in [(65001, false), (65002, true)] {
        let mut conversation = Conversation::with(
            instance(0),
            PeerConfig {
                peer_asn: Some(asn),
                ..peer(1)
            },
        );
        let mut open = their_open();
        (open.asn, open.capabilities.four_octet_asn) = (asn, Some(asn));
        open.router_id = instance(0).router_id;
        conversation.say(&open.encode());
        assert_eq!(conversation.closed, !accepted);
        assert_eq!(
            conversation
                .last_word()
                .map(|told| (told.code, told.subcode)),
            (!accepted).then_some((2, 3))
        );
    }
}

/// RFC 4760 section 8, RFC 6793, RFC 8654: a speaker of 1995 is still understood.
#[test]
fn a_peer_without_capabilities_speaks_ipv4_in_two_octets() {
    let mut conversation = Conversation::dialled();
    conversation.establish(&Open {
        capabilities: Capabilities::default(),
        ..their_open()
    });
    let families: Vec<Family> = conversation
        .report()
        .families
        .iter()
        .map(|family| family.family)
        .collect();
    assert_eq!(families, [Family::IPV4_UNICAST]);
}
