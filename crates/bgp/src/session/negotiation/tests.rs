use std::sync::Arc;

use super::*;
use crate::config::GracefulRestart;
use crate::policy::ExportPolicy;

const V4: Family = Family::IPV4_UNICAST;
const V6: Family = Family::IPV6_UNICAST;

fn instance() -> InstanceConfig {
    InstanceConfig {
        local_asn: 65001,
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        listens: false,
        host_name: None,
        restarting: false,
    }
}

fn config(families: &[Family]) -> PeerConfig {
    PeerConfig {
        address: Ipv4Addr::new(192, 0, 2, 1).into(),
        port: 179,
        local_address: None,
        peer_asn: None,
        hold_time: 90,
        keepalive: 30,
        connect_retry: Duration::from_secs(120),
        ebgp_ttl: 1,
        families: families.to_vec(),
        graceful_restart: Some(GracefulRestart { restart_time: 120 }),
        export: Arc::new(ExportPolicy::default()),
    }
}

fn theirs(capabilities: Capabilities) -> Open {
    Open {
        asn: 65002,
        hold_time: 180,
        router_id: Ipv4Addr::new(10, 0, 0, 2),
        capabilities,
    }
}

fn agreed(ours: &[Family], capabilities: Capabilities) -> Negotiated {
    negotiate(&instance(), &config(ours), &theirs(capabilities)).expect("agreement")
}

#[test]
fn families_are_what_both_offer_in_our_order() {
    let rows: &[(&[Family], &[Family], &[Family])] = &[
        (&[V4, V6], &[V6, V4], &[V4, V6]),
        (&[V6, V4], &[V4], &[V4]),
        (&[V4], &[V4, V6], &[V4]),
        // No multiprotocol capability implies IPv4 unicast (RFC 4760 section 8).
        (&[V4, V6], &[], &[V4]),
    ];
    for (ours, offered, common) in rows {
        let capabilities = Capabilities {
            multiprotocol: offered.to_vec(),
            ..Capabilities::default()
        };
        assert_eq!(agreed(ours, capabilities).families, *common);
    }
    for (ours, offered) in [(&[V6][..], vec![]), (&[V6], vec![V4]), (&[V4], vec![V6])] {
        let capabilities = Capabilities {
            multiprotocol: offered,
            ..Capabilities::default()
        };
        let error = negotiate(&instance(), &config(ours), &theirs(capabilities))
            .expect_err("nothing in common");
        assert_eq!(
            (error.code, error.subcode, error.data.len()),
            (2, 7, 6),
            "RFC 5492: the capability that was wanted"
        );
    }
}

/// RFC 8654: long messages go to those who offered to take them. RFC 6793, RFC 7313: likewise.
#[test]
fn what_the_peer_did_not_offer_is_not_used() {
    let plain = agreed(&[V4], Capabilities::default());
    assert_eq!(
        (plain.max_message, plain.four_octet, plain.enhanced_refresh),
        (4096, false, false)
    );
    assert!(
        plain.graceful_restart.is_none()
            && plain.extended_next_hop.is_empty()
            && !plain.survives_notification()
    );
    let offered = Capabilities {
        multiprotocol: vec![V4, V6],
        extended_message: true,
        four_octet_asn: Some(65002),
        enhanced_route_refresh: true,
        extended_next_hop: vec![(V4, Afi::Ipv6)],
        ..Capabilities::default()
    };
    let modern = agreed(&[V4, V6], offered);
    assert_eq!(
        (
            modern.max_message,
            modern.four_octet,
            modern.enhanced_refresh
        ),
        (65535, true, true)
    );
    assert_eq!(modern.extended_next_hop, [V4]);
}

/// RFC 4724, RFC 8538: both have to offer it, and only for families in use.
#[test]
fn graceful_restart_needs_both_sides() {
    let offered = |notification| Capabilities {
        multiprotocol: vec![V4],
        graceful_restart: Some(GracefulRestartCapability {
            restarting: true,
            notification,
            restart_time: 60,
            families: vec![(V4, true), (V6, true)],
        }),
        ..Capabilities::default()
    };
    for notification in [true, false] {
        let agreed = agreed(&[V4], offered(notification));
        let expected = PeerRestart {
            notification,
            restart_time: Duration::from_secs(60),
            families: vec![(V4, true)],
        };
        assert_eq!(agreed.graceful_restart, Some(expected));
        assert_eq!(agreed.survives_notification(), notification);
    }
    let silent = PeerConfig {
        graceful_restart: None,
        ..config(&[V4])
    };
    let agreed = negotiate(&instance(), &silent, &theirs(offered(true))).expect("agreement");
    assert_eq!(agreed.graceful_restart, None);
}

#[test]
fn the_kind_of_session_follows_from_the_as() {
    for (asn, kind, strict) in [
        (65001, PeerKind::Internal, false),
        (65002, PeerKind::External, true),
    ] {
        let open = Open {
            asn,
            ..theirs(Capabilities::default())
        };
        let agreed = negotiate(&instance(), &config(&[V4]), &open).expect("agreement");
        assert_eq!(
            (
                agreed.kind,
                agreed.decode.peer_kind,
                agreed.decode.reject_as_sets
            ),
            (kind, kind, strict)
        );
    }
}

/// RFC 9687 section 3.1.
#[test]
fn the_send_hold_time_is_eight_minutes_or_twice_the_hold_time() {
    for (hold_time, seconds) in [
        (0, 480),
        (9, 480),
        (180, 480),
        (240, 480),
        (241, 482),
        (65535, 131_070),
    ] {
        let negotiated = Negotiated {
            hold_time,
            ..agreed(&[V4], Capabilities::default())
        };
        assert_eq!(negotiated.send_hold(), Duration::from_secs(seconds));
    }
}
