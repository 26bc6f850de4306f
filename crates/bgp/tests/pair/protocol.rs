//! What a speaker says and how it answers once OPENs are exchanged, message by message.

use std::time::Duration;

use bgp::report::{DownReason, SessionState};
use bgp::wire::iana::{CeaseSubcode, ErrorCode};
use bgp::wire::{MessageKind, Notification, Open, RefreshSubtype, RouteRefresh, keepalive};
use bgp::{Family, InstanceConfig, Output, PeerConfig};

use crate::conversation::{Conversation, Message, their_open};
use crate::simulation::{address, instance, peer};

fn update() -> Vec<u8> {
    // 10.8.0.0/24, ORIGIN IGP, AS_PATH 65002, NEXT_HOP 192.0.2.2.
    let mut message = vec![0xFF; 16];
    message.extend_from_slice(&[0, 47, 2, 0, 0, 0, 20]);
    message.extend_from_slice(&[
        0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xFD, 0xEA, 0x40, 3, 4, 192, 0, 2, 2,
    ]);
    message.extend_from_slice(&[24, 10, 8, 0]);
    message
}

/// RFC 6608: what a state does not expect is an error of the machine, and which message it was goes along.
#[test]
fn an_unexpected_message_names_the_state_and_the_message() {
    let refresh = RouteRefresh {
        family: Family::IPV4_UNICAST,
        subtype: RefreshSubtype::Request,
    }
    .encode();
    type SubcodeAndType = (u8, u8);
    let rows: &[(&str, SessionState, &[u8], SubcodeAndType)] = &[
        ("KEEPALIVE", SessionState::OpenSent, &keepalive(), (1, 4)),
        ("UPDATE", SessionState::OpenSent, &update(), (1, 2)),
        ("ROUTE-REFRESH", SessionState::OpenSent, &refresh, (1, 5)),
        ("UPDATE", SessionState::OpenConfirm, &update(), (2, 2)),
        (
            "OPEN",
            SessionState::OpenConfirm,
            &their_open().encode(),
            (2, 1),
        ),
        ("ROUTE-REFRESH", SessionState::OpenConfirm, &refresh, (2, 5)),
        (
            "OPEN",
            SessionState::Established,
            &their_open().encode(),
            (3, 1),
        ),
    ];
    for (label, state, bytes, (subcode, kind)) in rows {
        let mut conversation = Conversation::dialled();
        if *state > SessionState::OpenSent {
            conversation.say(&their_open().encode());
        }
        if *state > SessionState::OpenConfirm {
            conversation.say(&keepalive());
        }
        assert_eq!(conversation.report().state, *state);
        conversation.say(bytes);
        let told = conversation.last_word().expect(label);
        assert_eq!(
            (told.code, told.subcode, &told.data[..]),
            (5, *subcode, &[*kind][..]),
            "{label} in {state:?}"
        );
    }
}

/// RFC 4271 section 6.1, in every state that has a connection.
#[test]
fn a_broken_header_is_told_as_such_everywhere() {
    let marker = [0xFF; 16];
    let header = |length: u16, kind: u8| [&marker[..], &length.to_be_bytes(), &[kind]].concat();
    let rows: &[(&str, Vec<u8>, u8, &[u8])] = &[
        ("marker", [&[0; 16][..], &[0, 19, 4]].concat(), 1, &[]),
        ("too short", header(18, 4), 2, &[0, 18]),
        ("long KEEPALIVE", header(20, 4), 2, &[0, 20]),
        ("long OPEN", header(4097, 1), 2, &[16, 1]),
        ("type", header(19, 9), 3, &[9]),
    ];
    for said in 0..3 {
        for (label, bytes, subcode, data) in rows {
            let mut conversation = Conversation::dialled();
            let before: [&[u8]; 2] = [&their_open().encode(), &keepalive()];
            before
                .iter()
                .take(said)
                .for_each(|message| conversation.say(message));
            conversation.say(bytes);
            let told = conversation.last_word().expect(label);
            assert_eq!(
                (told.code, told.subcode, &told.data[..]),
                (1, *subcode, *data),
                "{label} after {said}"
            );
        }
    }
}

#[test]
fn a_notification_is_never_answered_and_its_text_is_kept() {
    let text =
        Notification::cease_with_text(CeaseSubcode::AdministrativeShutdown, "Wartung bis 14 Uhr");
    for said in 0..3 {
        let mut conversation = Conversation::dialled();
        let before: [&[u8]; 2] = [&their_open().encode(), &keepalive()];
        before
            .iter()
            .take(said)
            .for_each(|message| conversation.say(message));
        conversation.messages();
        conversation.say(&text.encode());
        assert!(conversation.closed && conversation.messages().is_empty());
        let [DownReason::NotificationReceived(told)] = &conversation.downs()[..] else {
            panic!("not told")
        };
        assert_eq!(told.text(), Some("Wartung bis 14 Uhr"));
        assert_eq!(
            conversation.report().last_down,
            Some(DownReason::NotificationReceived(told.clone()))
        );
    }
}

#[test]
fn any_cut_of_the_stream_means_the_same() {
    let stream = [
        &their_open().encode()[..],
        &keepalive(),
        &update(),
        &keepalive(),
    ]
    .concat();
    for size in [1, 2, 7, 19, 64, stream.len()] {
        let mut conversation = Conversation::dialled();
        stream
            .chunks(size)
            .for_each(|piece| conversation.say(piece));
        assert_eq!(
            conversation.report().families[0].received,
            1,
            "pieces of {size}"
        );
    }
}

#[test]
fn end_of_rib_follows_the_table_and_is_reported() {
    let mut conversation = Conversation::dialled();
    conversation.say(&their_open().encode());
    conversation.say(&keepalive());
    let kinds: Vec<(MessageKind, usize)> = conversation
        .messages()
        .iter()
        .map(|message| (message.kind, message.body.len()))
        .collect();
    let [
        (MessageKind::Open, _),
        (MessageKind::Keepalive, 0),
        (MessageKind::Update, routes),
        (MessageKind::Update, 4),
    ] = kinds[..]
    else {
        panic!("{kinds:?}")
    };
    assert!(routes > 4 && conversation.report().end_of_rib_sent);
}

/// A message longer than the hold time on a slow link is no silence; a message that stopped is.
#[test]
fn part_of_a_message_counts_as_life_once() {
    let mut conversation = Conversation::established();
    conversation.wait(Duration::from_secs(8));
    conversation.say(&update()[..30]);
    conversation.wait(Duration::from_secs(8));
    assert!(conversation.report().established_at.is_some());
    conversation.wait(Duration::from_secs(2));
    assert_eq!(conversation.downs(), [DownReason::HoldTimerExpired]);
    assert_eq!(
        conversation.last_word(),
        Some(Notification::hold_timer_expired())
    );
}

#[test]
fn keepalives_come_at_three_quarters_to_the_whole_interval_and_not_beside_updates() {
    let mut conversation = Conversation::established();
    for _ in 0..20 {
        conversation.say(&keepalive());
        conversation.wait(Duration::from_millis(2_240));
        assert!(conversation.messages().is_empty(), "too early");
        conversation.wait(Duration::from_millis(760));
        let [
            Message {
                kind: MessageKind::Keepalive,
                ..
            },
        ] = conversation.messages()[..]
        else {
            panic!("no KEEPALIVE")
        };
        // Start over at a known time.
        conversation
            .speaker
            .originate(&Default::default(), conversation.now);
        conversation.wait(Duration::ZERO);
        conversation.speaker.originate(
            &crate::simulation::prefixes(&["10.1.0.0/24"]),
            conversation.now,
        );
        conversation.say(&[]);
        conversation.messages();
    }
}

/// A KEEPALIVE or NOTIFICATION waits for the message before it, never behind routes that come after.
#[test]
fn messages_of_the_session_go_before_routes() {
    let mut conversation = Conversation::established();
    conversation.reading = false;
    conversation.speaker.originate(
        &crate::simulation::prefixes(&["10.1.0.0/24", "10.2.0.0/24"]),
        conversation.now,
    );
    conversation.say(&[]);
    assert_eq!(conversation.messages().len(), 1);
    conversation.speaker.originate(
        &crate::simulation::prefixes(&["10.3.0.0/24"]),
        conversation.now,
    );
    for _ in 0..3 {
        conversation.say(&keepalive());
        conversation.wait(Duration::from_secs(3));
    }
    assert!(conversation.messages().is_empty(), "one piece at a time");
    conversation.read();
    let kinds: Vec<MessageKind> = conversation
        .messages()
        .iter()
        .map(|message| message.kind)
        .collect();
    assert_eq!(kinds.first(), Some(&MessageKind::Keepalive), "{kinds:?}");
    assert_eq!(
        kinds
            .iter()
            .filter(|kind| **kind == MessageKind::Keepalive)
            .count(),
        1,
        "one says it all"
    );
}

/// RFC 9687 section 3.1: twice the hold time where that is longer than eight minutes, from when the peer last took
/// something.
#[test]
fn a_peer_that_talks_but_does_not_read_is_let_go() {
    for (hold_time, patience) in [(9, 480), (300, 600)] {
        let config = PeerConfig {
            hold_time,
            keepalive: hold_time / 3,
            ..peer(1)
        };
        let mut conversation = Conversation::with(instance(0), config);
        conversation.establish(&Open {
            hold_time,
            ..their_open()
        });
        conversation.wait(Duration::from_secs(1));
        conversation.reading = false;
        conversation
            .speaker
            .originate(&Default::default(), conversation.now);
        for waited in 0..patience {
            assert!(conversation.downs().is_empty(), "after {waited} s");
            conversation.say(&keepalive());
            conversation.wait(Duration::from_secs(1));
        }
        assert_eq!(conversation.downs(), [DownReason::SendHoldTimerExpired]);
    }
}

#[test]
fn the_last_word_waits_a_second_for_room() {
    for read in [true, false] {
        let mut conversation = Conversation::established();
        conversation.reading = false;
        conversation
            .speaker
            .originate(&Default::default(), conversation.now);
        conversation.say(&[0; 19]);
        assert!(!conversation.closed && conversation.messages().len() == 1);
        if read {
            conversation.read();
            assert_eq!(
                conversation
                    .last_word()
                    .map(|told| (told.code, told.subcode)),
                Some((1, 1))
            );
        } else {
            conversation.wait(Duration::from_secs(1));
            assert!(conversation.messages().is_empty());
        }
        assert!(conversation.closed);
    }
}

/// RFC 2918 and RFC 7313: the family again, between markers where both sides know them.
#[test]
fn a_route_refresh_brings_the_family_again() {
    let request = RouteRefresh {
        family: Family::IPV4_UNICAST,
        subtype: RefreshSubtype::Request,
    }
    .encode();
    let mut conversation = Conversation::established();
    conversation.say(&request);
    let kinds: Vec<MessageKind> = conversation
        .messages()
        .iter()
        .map(|message| message.kind)
        .collect();
    assert_eq!(
        kinds,
        [
            MessageKind::RouteRefresh,
            MessageKind::Update,
            MessageKind::RouteRefresh
        ]
    );

    let mut conversation = Conversation::dialled();
    let mut open = their_open();
    open.capabilities.enhanced_route_refresh = false;
    conversation.establish(&open);
    conversation.say(&request);
    let kinds: Vec<MessageKind> = conversation
        .messages()
        .iter()
        .map(|message| message.kind)
        .collect();
    assert_eq!(kinds, [MessageKind::Update]);
    let unknown = RouteRefresh {
        family: Family::IPV6_UNICAST,
        subtype: RefreshSubtype::Request,
    };
    conversation.say(&unknown.encode());
    assert!(
        conversation.messages().is_empty() && !conversation.closed,
        "not negotiated: ignored"
    );
}

/// RFC 7313 section 4: what is not repeated between the markers goes, or when the second one never comes.
#[test]
fn an_enhanced_refresh_sweeps_what_it_does_not_repeat() {
    let marker = |subtype| {
        RouteRefresh {
            family: Family::IPV4_UNICAST,
            subtype,
        }
        .encode()
    };
    for (repeat, left) in [(true, 1), (false, 0)] {
        let mut conversation = Conversation::established();
        conversation.say(&update());
        conversation.say(&marker(RefreshSubtype::End));
        assert_eq!(
            conversation.report().families[0].received,
            1,
            "an end without a beginning"
        );
        conversation.say(&marker(RefreshSubtype::Begin));
        if repeat {
            conversation.say(&update());
        }
        conversation.say(&marker(RefreshSubtype::End));
        assert_eq!(conversation.report().families[0].received, left);
    }
    let mut conversation = Conversation::established();
    conversation.say(&update());
    conversation.say(&marker(RefreshSubtype::Begin));
    for _ in 0..60 {
        assert_eq!(conversation.report().families[0].received, 1);
        conversation.wait(Duration::from_secs(5));
        conversation.say(&keepalive());
    }
    assert_eq!(
        conversation.report().families[0].received,
        0,
        "given up after five minutes"
    );
    conversation.say(&[&[0xFF; 16][..], &[0, 20, 5, 0]].concat());
    assert_eq!(
        conversation.last_word().map(|told| told.code),
        Some(ErrorCode::RouteRefreshMessage.number())
    );
}

#[test]
fn only_peers_are_taken_and_only_where_the_instance_listens() {
    let mut conversation = Conversation::dialled();
    assert_eq!(conversation.dial_from(address(5)), None);
    assert!(conversation.dial().is_some());
    let [
        Message {
            kind: MessageKind::Open,
            ..
        },
    ] = conversation.messages()[..]
    else {
        panic!("no OPEN")
    };
    let mut deaf = Conversation::with(
        InstanceConfig {
            listens: false,
            ..instance(0)
        },
        peer(1),
    );
    assert_eq!(deaf.dial(), None);
}

/// RFC 4271 section 6.8: the newcomer is turned away by name while the session is established.
#[test]
fn a_second_connection_beside_a_young_session_gets_cease() {
    let mut conversation = Conversation::established();
    assert!(conversation.dial().is_some());
    assert!(conversation.closed);
    assert_eq!(
        conversation.last_word(),
        Some(Notification::cease(CeaseSubcode::ConnectionCollision))
    );
    assert!(conversation.report().established_at.is_some() && conversation.downs().is_empty());
}

/// A connection that comes while the other is in OpenConfirm says nothing until that one is decided; whatever the peer
/// said meanwhile is heard then.
#[test]
fn a_held_connection_speaks_when_the_other_handshake_failed() {
    let mut conversation = Conversation::dialled();
    conversation.say(&their_open().encode());
    let first = conversation.connection;
    assert!(conversation.dial().is_some());
    conversation.say(&their_open().encode());
    assert!(conversation.messages().is_empty(), "held");
    conversation
        .speaker
        .handle(bgp::Input::Closed { connection: first }, conversation.now);
    conversation.say(&[]);
    let kinds: Vec<MessageKind> = conversation
        .messages()
        .iter()
        .map(|message| message.kind)
        .collect();
    assert_eq!(kinds, [MessageKind::Open, MessageKind::Keepalive]);
    conversation.say(&keepalive());
    assert!(
        conversation
            .told
            .iter()
            .any(|output| matches!(output, Output::Up { .. }))
    );
}
