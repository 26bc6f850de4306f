//! Every event in every state: what RFC 4271 section 8.2.2 (with RFC 6608 and RFC 9687) wants, in one table.

use std::net::Ipv4Addr;

use super::*;
use crate::family::Family;
use crate::session::event::Stop;
use crate::wire::{DecodeContext, PeerKind};

const EVENTS: usize = 25;

fn negotiated(hold_time: u16) -> Box<Negotiated> {
    Box::new(Negotiated {
        kind: PeerKind::External,
        asn: 65000,
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        hold_time,
        keepalive: hold_time / 3,
        families: vec![Family::IPV4_UNICAST],
        four_octet: true,
        max_message: 4096,
        extended_next_hop: Vec::new(),
        enhanced_refresh: false,
        graceful_restart: None,
        decode: DecodeContext {
            four_octet: true,
            peer_kind: PeerKind::External,
            families: vec![Family::IPV4_UNICAST],
            local_asn: 65001,
            first_asn: None,
            reject_as_sets: true,
        },
    })
}

fn stop() -> Stop {
    Stop {
        notification: Some(Notification::cease(CeaseSubcode::PeerDeconfigured)),
        reason: DownReason::Reconfigured,
    }
}

fn notification(code: ErrorCode, subcode: u8) -> Notification {
    Notification::new(code, subcode, &[][..])
}

/// One of each; the match in [`number`] fails to compile when one is missing there.
fn events() -> [Event; EVENTS] {
    [
        Event::ManualStop(stop()),
        Event::AutomaticStart,
        Event::AutomaticStartPassive,
        Event::AutomaticStop(stop()),
        Event::ConnectRetryTimerExpires,
        Event::HoldTimerExpires,
        Event::KeepaliveTimerExpires,
        Event::IdleHoldTimerExpires,
        Event::TcpCrAcked,
        Event::TcpConnectionConfirmed,
        Event::TcpConnectionFails(Some(111)),
        Event::BgpOpen(negotiated(90)),
        Event::BgpHeaderErr(notification(ErrorCode::MessageHeader, 1)),
        Event::BgpOpenMsgErr(notification(ErrorCode::OpenMessage, 2)),
        Event::OpenCollisionDump,
        Event::NotifMsgVerErr(notification(ErrorCode::OpenMessage, 1)),
        Event::NotifMsg(notification(ErrorCode::Cease, 4)),
        Event::KeepAliveMsg,
        Event::UpdateMsg,
        Event::UpdateMsgErr(notification(ErrorCode::UpdateMessage, 1)),
        Event::SendHoldTimerExpires,
        Event::RouteRefreshMsg,
        Event::RouteRefreshMsgErr(notification(ErrorCode::RouteRefreshMessage, 1)),
        // Two of the NOTIFICATIONs that do not mean "come again".
        Event::NotifMsg(notification(ErrorCode::Cease, 1)),
        Event::NotifMsg(notification(ErrorCode::UpdateMessage, 3)),
    ]
}

/// The number in RFC 4271 section 8.1 and RFC 9687; ROUTE-REFRESH has none.
fn number(event: &Event) -> u8 {
    match event {
        Event::ManualStop(_) => 2,
        Event::AutomaticStart => 3,
        Event::AutomaticStartPassive => 5,
        Event::AutomaticStop(_) => 8,
        Event::ConnectRetryTimerExpires => 9,
        Event::HoldTimerExpires => 10,
        Event::KeepaliveTimerExpires => 11,
        Event::IdleHoldTimerExpires => 13,
        Event::TcpCrAcked => 16,
        Event::TcpConnectionConfirmed => 17,
        Event::TcpConnectionFails(_) => 18,
        Event::BgpOpen(_) => 19,
        Event::BgpHeaderErr(_) => 21,
        Event::BgpOpenMsgErr(_) => 22,
        Event::OpenCollisionDump => 23,
        Event::NotifMsgVerErr(_) => 24,
        Event::NotifMsg(_) => 25,
        Event::KeepAliveMsg => 26,
        Event::UpdateMsg => 27,
        Event::UpdateMsgErr(_) => 28,
        Event::SendHoldTimerExpires => 29,
        Event::RouteRefreshMsg | Event::RouteRefreshMsgErr(_) => 0,
    }
}

fn states(now: Instant) -> [State; 6] {
    let later = now + Duration::from_secs(1000);
    [
        State::Idle(Idle {
            restart_at: Some(later),
        }),
        State::Connect(Connect { retry_at: later }),
        State::Active(Active {
            retry_at: Some(later),
        }),
        State::OpenSent(OpenSent { hold_at: later }),
        State::OpenConfirm(OpenConfirm {
            negotiated: negotiated(90),
            hold_at: later,
            keepalive_at: Some(later),
        }),
        State::Established(Established {
            negotiated: negotiated(90),
            since: now,
            hold_at: Some(later),
            keepalive_at: Some(later),
        }),
    ]
}

/// One step of a machine, in words: the next state, how long it waits there, and the actions in order.
fn step(state: State, event: Event, mode: Mode, now: Instant) -> String {
    let before = format!("{state:?}");
    let mut machine = Machine { state };
    let mut retry = Retry::new(Duration::from_secs(120));
    let fresh = format!("{retry:?}");
    let mut jitter = Jitter::new(3);
    let mut context = Context {
        now,
        mode,
        retry: &mut retry,
        jitter: &mut jitter,
        actions: Vec::new(),
    };
    machine.handle(event, &mut context);
    let actions: Vec<String> = std::mem::take(&mut context.actions)
        .iter()
        .map(action)
        .collect();
    if format!("{:?}", machine.state) == before {
        assert!(
            actions.is_empty(),
            "a state that does not move asks for nothing"
        );
        return "=".to_owned();
    }
    let damped = format!("{retry:?}") != fresh && format!("{retry:?}").contains("protocol: 1");
    let mut words = vec![place(&machine.state, now, damped)];
    words.extend(actions);
    words.join(" ")
}

fn place(state: &State, now: Instant, damped: bool) -> String {
    let wait = |at: Instant| match at.duration_since(now).as_millis() {
        0 => "now",
        750..=1000 if damped => "damped",
        375..=500 => "½s",
        750..=1000 => "1s",
        3750..=5000 => "5s",
        22_500..=30_000 => "30s",
        90_000 => "90s",
        240_000 => "240s",
        1_000_000 => "same",
        other => panic!("a wait of {other} ms"),
    };
    match state {
        State::Idle(Idle { restart_at: None }) => "Idle".to_owned(),
        State::Idle(Idle {
            restart_at: Some(at),
        }) => format!("Idle({})", wait(*at)),
        State::Connect(Connect { retry_at }) => format!("Connect({})", wait(*retry_at)),
        State::Active(Active { retry_at: None }) => "Active".to_owned(),
        State::Active(Active { retry_at: Some(at) }) => format!("Active({})", wait(*at)),
        State::OpenSent(OpenSent { hold_at }) => format!("OpenSent({})", wait(*hold_at)),
        State::OpenConfirm(OpenConfirm {
            negotiated: _,
            hold_at,
            keepalive_at,
        }) => {
            format!(
                "OpenConfirm({},{})",
                wait(*hold_at),
                keepalive_at.map_or("never", wait)
            )
        }
        State::Established(Established {
            negotiated: _,
            since: _,
            hold_at,
            keepalive_at,
        }) => {
            format!(
                "Established({},{})",
                hold_at.map_or("never", wait),
                keepalive_at.map_or("never", wait)
            )
        }
    }
}

fn action(action: &Action) -> String {
    match action {
        Action::Dial => "dial".to_owned(),
        Action::SendOpen => "open".to_owned(),
        Action::SendKeepalive => "keepalive".to_owned(),
        Action::Close(None) => "close".to_owned(),
        Action::Close(Some(told)) => format!("close:{}/{}", told.code, told.subcode),
        Action::Up => "up".to_owned(),
        Action::Lost(reason, _) => format!("lost:{}", cause(reason)),
        Action::Failed(reason) => format!("failed:{}", cause(reason)),
    }
}

fn cause(reason: &DownReason) -> &'static str {
    match reason {
        DownReason::ConnectFailed(Some(_)) => "refused",
        DownReason::ConnectFailed(None) => "timeout",
        DownReason::ConnectionLost => "tcp",
        DownReason::NotificationSent(_) => "sent",
        DownReason::NotificationReceived(_) => "received",
        DownReason::HoldTimerExpired => "hold",
        DownReason::SendHoldTimerExpired => "sendhold",
        DownReason::Reconfigured => "config",
        DownReason::Stopped => "stopped",
    }
}

/// Columns: Idle, Connect, Active, OpenSent, OpenConfirm, Established. `=` changes nothing. In brackets the timers the
/// state starts: restart, retry, hold, or hold and keepalive.
#[rustfmt::skip]
const TABLE: [(u8, &str, [&str; 6]); EVENTS] = [
    (2, "ManualStop", [
        "Idle", "Idle close", "Idle close",
        "Idle close:6/3", "Idle close:6/3", "Idle lost:config close:6/3",
    ]),
    (3, "AutomaticStart", [
        "Connect(5s) dial", "=", "=",
        "=", "=", "=",
    ]),
    (5, "AutomaticStartPassive", [
        "Active", "=", "=",
        "=", "=", "=",
    ]),
    (8, "AutomaticStop", [
        "Idle(now)", "Idle(now) close", "Idle(now) close",
        "Idle(now) close:6/3", "Idle(now) close:6/3", "Idle(now) lost:config close:6/3",
    ]),
    (9, "ConnectRetryTimer", [
        "=", "Connect(5s) failed:timeout close dial", "Connect(5s) dial",
        "Idle(damped) failed:sent close:5/0", "Idle(damped) failed:sent close:5/0", "Idle(damped) lost:sent close:5/0",
    ]),
    (10, "HoldTimer", [
        "=", "Idle(damped) close", "Idle(damped) close",
        "Idle(½s) failed:sent close:4/0", "Idle(½s) failed:sent close:4/0", "Idle(½s) lost:hold close:4/0",
    ]),
    (11, "KeepaliveTimer", [
        "=", "Idle(damped) close", "Idle(damped) close",
        "Idle(damped) failed:sent close:5/0", "OpenConfirm(same,30s) keepalive", "Established(same,30s) keepalive",
    ]),
    (13, "IdleHoldTimer", [
        "Connect(5s) dial", "Idle(damped) close", "Idle(damped) close",
        "Idle(damped) failed:sent close:5/0", "Idle(damped) failed:sent close:5/0", "Idle(damped) lost:sent close:5/0",
    ]),
    (16, "Tcp_CR_Acked", [
        "=", "OpenSent(240s) open", "OpenSent(240s) open",
        "=", "=", "=",
    ]),
    (17, "TcpConnectionConfirmed", [
        "=", "OpenSent(240s) open", "OpenSent(240s) open",
        "=", "=", "=",
    ]),
    (18, "TcpConnectionFails", [
        "=", "Active(½s) failed:refused close", "Idle(½s) close",
        "Active(½s) failed:tcp close", "Idle(½s) failed:tcp close", "Idle(½s) lost:tcp close",
    ]),
    (19, "BGPOpen", [
        "=", "Idle(damped) close", "Idle(damped) close",
        "OpenConfirm(90s,30s) keepalive", "Idle(damped) failed:sent close:5/2", "Idle(damped) lost:sent close:5/3",
    ]),
    (21, "BGPHeaderErr", [
        "=", "Idle(damped) close", "Idle(damped) close",
        "Idle(damped) failed:sent close:1/1", "Idle(damped) failed:sent close:1/1", "Idle(damped) lost:sent close:1/1",
    ]),
    (22, "BGPOpenMsgErr", [
        "=", "Idle(damped) close", "Idle(damped) close",
        "Idle(damped) failed:sent close:2/2", "Idle(damped) failed:sent close:2/2", "Idle(damped) lost:sent close:5/3",
    ]),
    (23, "OpenCollisionDump", [
        "=", "Idle(1s) close:6/7", "Idle(1s) close:6/7",
        "Idle(1s) close:6/7", "Idle(1s) close:6/7", "Idle(1s) lost:sent close:6/7",
    ]),
    (24, "NotifMsgVerErr", [
        "=", "Idle(damped) failed:received close", "Idle(damped) failed:received close",
        "Idle(damped) failed:received close", "Idle(damped) failed:received close", "Idle(damped) lost:received close",
    ]),
    (25, "NotifMsg (Cease/4)", [
        "=", "Idle(1s) failed:received close", "Idle(1s) failed:received close",
        "Idle(1s) failed:received close", "Idle(1s) failed:received close", "Idle(½s) lost:received close",
    ]),
    (26, "KeepAliveMsg", [
        "=", "Idle(damped) close", "Idle(damped) close",
        "Idle(damped) failed:sent close:5/1", "Established(90s,same) up", "Established(90s,same)",
    ]),
    (27, "UpdateMsg", [
        "=", "Idle(damped) close", "Idle(damped) close",
        "Idle(damped) failed:sent close:5/1", "Idle(damped) failed:sent close:5/2", "Established(90s,same)",
    ]),
    (28, "UpdateMsgErr", [
        "=", "Idle(damped) close", "Idle(damped) close",
        "Idle(damped) failed:sent close:5/1", "Idle(damped) failed:sent close:5/2", "Idle(damped) lost:sent close:3/1",
    ]),
    (29, "SendHoldTimer", [
        "=", "Idle(damped) close", "Idle(damped) close",
        "=", "=", "Idle(½s) lost:sendhold close:8/0",
    ]),
    (0, "RouteRefreshMsg", [
        "=", "Idle(damped) close", "Idle(damped) close",
        "Idle(damped) failed:sent close:5/1", "Idle(damped) failed:sent close:5/2", "Established(90s,same)",
    ]),
    (0, "RouteRefreshMsgErr", [
        "=", "Idle(damped) close", "Idle(damped) close",
        "Idle(damped) failed:sent close:5/1", "Idle(damped) failed:sent close:5/2", "Idle(damped) lost:sent close:7/1",
    ]),
    (25, "NotifMsg (Cease/1)", [
        "=", "Idle(damped) failed:received close", "Idle(damped) failed:received close",
        "Idle(damped) failed:received close", "Idle(damped) failed:received close", "Idle(damped) lost:received close",
    ]),
    (25, "NotifMsg (UPDATE error)", [
        "=", "Idle(damped) failed:received close", "Idle(damped) failed:received close",
        "Idle(damped) failed:received close", "Idle(damped) failed:received close", "Idle(damped) lost:received close",
    ]),
];

#[test]
fn every_event_in_every_state_does_what_the_table_says() {
    let now = Instant::now();
    let mut wrong = Vec::new();
    for (event, (numbered, name, row)) in events().into_iter().zip(TABLE) {
        assert_eq!(number(&event), numbered);
        for (state, expected) in states(now).into_iter().zip(row) {
            let place = place(&state, now, false);
            let found = step(state, event.clone(), Mode::Dial, now);
            if found != expected {
                wrong.push(format!("{name} in {place}: {found}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The side that waits to be dialled: the same table, but it never dials, and only an error it found itself keeps it
/// from listening on.
#[test]
fn a_listening_machine_differs_only_in_where_it_waits() {
    let now = Instant::now();
    let rows: &[(usize, Event, &str)] = &[
        (0, Event::IdleHoldTimerExpires, "Active"),
        (0, Event::AutomaticStartPassive, "Active"),
        (2, Event::TcpConnectionConfirmed, "OpenSent(240s) open"),
        (
            3,
            Event::TcpConnectionFails(None),
            "Active failed:tcp close",
        ),
        (
            3,
            Event::HoldTimerExpires,
            "Idle(now) failed:sent close:4/0",
        ),
        (3, Event::OpenCollisionDump, "Idle(now) close:6/7"),
        (
            3,
            Event::NotifMsg(notification(ErrorCode::Cease, 5)),
            "Idle(now) failed:received close",
        ),
        (
            3,
            Event::NotifMsg(notification(ErrorCode::OpenMessage, 2)),
            "Idle(now) failed:received close",
        ),
        (3, Event::KeepAliveMsg, "Idle(damped) failed:sent close:5/1"),
        (
            3,
            Event::BgpOpenMsgErr(notification(ErrorCode::OpenMessage, 2)),
            "Idle(damped) failed:sent close:2/2",
        ),
        (
            4,
            Event::TcpConnectionFails(None),
            "Idle(now) failed:tcp close",
        ),
        (4, Event::OpenCollisionDump, "Idle(now) close:6/7"),
        (4, Event::UpdateMsg, "Idle(damped) failed:sent close:5/2"),
    ];
    for (index, event, expected) in rows {
        let state = states(now)[*index].clone();
        assert_eq!(
            step(state, event.clone(), Mode::Listen, now),
            *expected,
            "{event:?}"
        );
    }
}

/// RFC 4271 section 4.2: a hold time of zero starts neither timer; we still do not wait for ever for the first
/// KEEPALIVE.
#[test]
fn without_a_hold_time_no_timer_runs() {
    let now = Instant::now();
    let sent = State::OpenSent(OpenSent { hold_at: now });
    assert_eq!(
        step(sent, Event::BgpOpen(negotiated(0)), Mode::Dial, now),
        "OpenConfirm(240s,never) keepalive"
    );
    let confirm = State::OpenConfirm(OpenConfirm {
        negotiated: negotiated(0),
        hold_at: now,
        keepalive_at: None,
    });
    assert_eq!(
        step(confirm, Event::KeepAliveMsg, Mode::Dial, now),
        "Established(never,never) up"
    );
}

#[test]
fn bytes_count_as_life_and_an_update_sent_as_a_keepalive() {
    let now = Instant::now();
    let [.., established] = states(now);
    let mut machine = Machine { state: established };
    machine.update_sent(now, &mut Jitter::new(1));
    machine.heard(now + Duration::from_secs(950));
    let up = machine.established().expect("established");
    assert_eq!(up.hold_at, Some(now + Duration::from_secs(1040)));
    assert!(
        up.keepalive_at
            .is_some_and(|at| at <= now + Duration::from_secs(30))
    );
    machine.heard(now);
    assert_eq!(
        machine
            .due(now + Duration::from_secs(30))
            .map(|event| number(&event)),
        Some(11)
    );
    assert_eq!(
        machine
            .due(now + Duration::from_secs(1040))
            .map(|event| number(&event)),
        Some(10)
    );
}
