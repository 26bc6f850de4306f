use std::net::Ipv4Addr;

use super::*;
use crate::session::negotiation::PeerRestart;
use crate::wire::iana::{CeaseSubcode, ErrorCode};
use crate::wire::{DecodeContext, Notification, PeerKind};

const V4: Family = Family::IPV4_UNICAST;
const V6: Family = Family::IPV6_UNICAST;

/// Families with their F bits.
type Preserved<'a> = &'a [(Family, bool)];

fn session(restart: Option<(bool, u64, Preserved<'_>)>) -> Negotiated {
    Negotiated {
        kind: PeerKind::External,
        asn: 65000,
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        hold_time: 90,
        keepalive: 30,
        families: vec![V4, V6],
        four_octet: true,
        max_message: 4096,
        extended_next_hop: Vec::new(),
        enhanced_refresh: false,
        graceful_restart: restart.map(|(notification, seconds, families)| PeerRestart {
            notification,
            restart_time: Duration::from_secs(seconds),
            families: families.to_vec(),
        }),
        decode: DecodeContext {
            four_octet: true,
            peer_kind: PeerKind::External,
            families: vec![V4, V6],
            local_asn: 65001,
            first_asn: None,
            reject_as_sets: true,
        },
    }
}

const BOTH: Preserved<'_> = &[(V4, true), (V6, true)];

/// Every reason: without graceful restart, with it, and with the N bit.
#[test]
fn which_loss_keeps_routes_under_which_agreement() {
    let cease = Notification::cease(CeaseSubcode::AdministrativeReset);
    let hard = Notification::hard_reset(&cease);
    let broken = Notification::new(ErrorCode::UpdateMessage, 1, &[][..]);
    let rows = [
        (DownReason::ConnectionLost, [false, true, true]),
        (DownReason::HoldTimerExpired, [false, false, true]),
        (DownReason::SendHoldTimerExpired, [false, false, true]),
        (
            DownReason::NotificationSent(broken.clone()),
            [false, false, true],
        ),
        (
            DownReason::NotificationReceived(broken),
            [false, false, true],
        ),
        (
            DownReason::NotificationSent(cease.clone()),
            [false, false, true],
        ),
        (
            DownReason::NotificationReceived(cease),
            [false, false, true],
        ),
        (
            DownReason::NotificationSent(hard.clone()),
            [false, false, false],
        ),
        (
            DownReason::NotificationReceived(hard),
            [false, false, false],
        ),
        (DownReason::Reconfigured, [false, false, true]),
        (DownReason::Stopped, [false, false, false]),
        (DownReason::ConnectFailed(None), [false, false, false]),
    ];
    let agreements = [None, Some((false, 60, BOTH)), Some((true, 60, BOTH))];
    for (reason, kept) in rows {
        for (agreement, kept) in agreements.into_iter().zip(kept) {
            let retain = Helper::Quiet.lost(&session(agreement), &reason, Instant::now());
            let expected = if kept {
                Retain::Stale(vec![V4, V6])
            } else {
                Retain::Nothing
            };
            assert_eq!(retain, expected, "{reason:?} under {agreement:?}");
        }
    }
}

#[test]
fn a_restart_time_or_families_of_none_keep_nothing() {
    for agreement in [(true, 0, BOTH), (true, 60, &[][..])] {
        let mut helper = Helper::Quiet;
        let retain = helper.lost(
            &session(Some(agreement)),
            &DownReason::ConnectionLost,
            Instant::now(),
        );
        assert_eq!((retain, helper), (Retain::Nothing, Helper::Quiet));
    }
}

fn waiting(now: Instant) -> Helper {
    let mut helper = Helper::Quiet;
    helper.lost(
        &session(Some((true, 60, BOTH))),
        &DownReason::ConnectionLost,
        now,
    );
    helper
}

/// RFC 4724 section 4.2: a family that is missing, or whose F bit is clear, has lost its forwarding state.
#[test]
fn a_returning_peer_keeps_what_it_preserved() {
    let now = Instant::now();
    let rows: &[(Option<Preserved<'_>>, &[Family], &[Family])] = &[
        (Some(BOTH), &[], &[V4, V6]),
        (Some(&[(V4, true), (V6, false)]), &[V6], &[V4]),
        (Some(&[(V6, true)]), &[V4], &[V6]),
        (Some(&[]), &[V4, V6], &[]),
        (None, &[V4, V6], &[]),
    ];
    for (capability, swept, kept) in rows {
        let mut helper = waiting(now);
        let back = session(capability.map(|families| (true, 60, families)));
        assert_eq!(helper.up(&back, now), *swept);
        let expected = match kept {
            [] => Helper::Quiet,
            kept => Helper::Confirming {
                families: kept.to_vec(),
                until: now + END_OF_RIB_MAXIMUM,
            },
        };
        assert_eq!(helper, expected);
    }
    assert!(
        Helper::Quiet
            .up(&session(Some((true, 60, BOTH))), now)
            .is_empty(),
        "nothing was stale"
    );
}

#[test]
fn end_of_rib_settles_family_by_family() {
    let now = Instant::now();
    let mut helper = waiting(now);
    helper.end_of_rib(V4);
    assert_eq!(helper, waiting(now), "no session, no End-of-RIB");
    helper.up(&session(Some((true, 60, BOTH))), now);
    helper.end_of_rib(V4);
    assert_eq!(
        helper,
        Helper::Confirming {
            families: vec![V6],
            until: now + END_OF_RIB_MAXIMUM
        }
    );
    helper.end_of_rib(V6);
    assert_eq!(helper, Helper::Quiet);
}

#[test]
fn patience_ends_at_the_restart_time_and_six_minutes_after_the_return() {
    let now = Instant::now();
    let mut helper = waiting(now);
    assert_eq!(helper.next_deadline(), Some(now + Duration::from_secs(60)));
    assert!(helper.expired(now + Duration::from_secs(59)).is_empty());
    assert_eq!(helper.expired(now + Duration::from_secs(60)), [V4, V6]);
    assert_eq!((helper.next_deadline(), helper), (None, Helper::Quiet));
    let mut helper = waiting(now);
    helper.up(&session(Some((true, 60, BOTH))), now);
    assert!(helper.expired(now + Duration::from_secs(359)).is_empty());
    assert_eq!(helper.expired(now + Duration::from_secs(360)), [V4, V6]);
}

/// RFC 4724 section 4.2: consecutive restarts start over; the RIB drops what was stale before.
#[test]
fn a_second_loss_waits_anew() {
    let now = Instant::now();
    let mut helper = waiting(now);
    helper.up(&session(Some((true, 60, BOTH))), now);
    let later = now + Duration::from_secs(5);
    helper.lost(
        &session(Some((true, 10, &[(V4, true)]))),
        &DownReason::ConnectionLost,
        later,
    );
    assert_eq!(
        helper,
        Helper::Waiting {
            families: vec![V4],
            until: later + Duration::from_secs(10)
        }
    );
    helper.lost(&session(None), &DownReason::ConnectionLost, later);
    assert_eq!(helper, Helper::Quiet);
}
