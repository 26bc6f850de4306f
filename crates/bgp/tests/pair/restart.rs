//! Graceful restart between two speakers (RFC 4724, RFC 8538): which routes stay over which loss, and for how long.

use std::time::Duration;

use bgp::report::DownReason;
use bgp::wire::Notification;
use bgp::wire::iana::{CeaseSubcode, ErrorCode};
use bgp::{Goodbye, InstanceConfig, PeerConfig};

use crate::simulation::{self, Network, converged, pair, pair_with, prefixes};

fn up(mut network: Network) -> Network {
    assert!(network.run_until(Duration::from_secs(5), converged));
    network.run(Duration::from_secs(10));
    network
}

fn without_restart(peer: &mut PeerConfig) {
    peer.graceful_restart = None;
}

/// Node 1 comes back as a new process that took over, and originates `list`.
fn come_back(network: &mut Network, list: &[&str]) {
    network.replace(
        1,
        InstanceConfig {
            restarting: true,
            ..simulation::instance(1)
        },
    );
    network.originate(1, list);
    network.configure(1, vec![(0, simulation::peer(0))]);
}

#[test]
fn routes_of_a_killed_process_stay_and_those_not_repeated_go_with_end_of_rib() {
    let mut network = up(pair(1));
    network.originate(1, &["10.2.0.0/24", "10.3.0.0/24"]);
    network.run(Duration::from_secs(1));
    network.kill(1);
    network.run(Duration::from_secs(1));
    assert_eq!(
        network.nodes[0].learned(),
        prefixes(&["10.2.0.0/24", "10.3.0.0/24"])
    );
    assert_eq!(network.nodes[0].stale(), 2);
    come_back(&mut network, &["10.2.0.0/24"]);
    assert!(network.run_until(Duration::from_secs(2), |network| {
        assert!(
            network.nodes[0]
                .learned()
                .contains(&"10.2.0.0/24".parse().expect("a prefix")),
            "never dropped"
        );
        network.nodes[0].learned() == prefixes(&["10.2.0.0/24"]) && network.nodes[0].stale() == 0
    }));
}

#[test]
fn routes_go_when_the_restart_time_is_over() {
    let mut network = up(pair(2));
    network.kill(1);
    network.run(Duration::from_millis(14_900));
    assert_eq!(
        network.nodes[0].stale(),
        1,
        "kept for the 15 s that the peer asked for"
    );
    network.run(Duration::from_millis(200));
    assert!(network.nodes[0].learned().is_empty());
}

#[test]
fn a_peer_that_is_back_without_the_family_or_its_forwarding_state_loses_its_routes_at_once() {
    let mut network = up(pair(3));
    network.kill(1);
    network.run(Duration::from_secs(1));
    // Back without graceful restart: nothing says that the old routes still forward.
    network.replace(1, simulation::instance(1));
    network.configure(
        1,
        vec![(
            0,
            PeerConfig {
                graceful_restart: None,
                ..simulation::peer(0)
            },
        )],
    );
    assert!(network.run_until(Duration::from_secs(3), |network| network.nodes[0].is_up()));
    assert!(network.nodes[0].learned().is_empty());
}

/// RFC 4724 section 4.2: what was stale already when the peer restarts once more is not kept again.
#[test]
fn a_second_restart_before_end_of_rib_purges_what_was_stale() {
    let mut network = up(pair(4));
    network.kill(1);
    network.run(Duration::from_secs(1));
    come_back(&mut network, &["10.7.0.0/24"]);
    assert!(network.run_until(Duration::from_secs(3), |network| network.nodes[0].is_up()));
    network.kill(1);
    network.run(Duration::from_secs(1));
    assert!(
        !network.nodes[0]
            .learned()
            .contains(&"10.2.0.0/24".parse().expect("a prefix"))
    );
}

/// A loss of a standing session and whether node 0 keeps what it learned from node 1, with the N bit (which we always
/// set) and without graceful restart.
#[test]
fn which_losses_keep_routes() {
    type Loss = fn(&mut Network);
    let rows: &[(&str, Loss, bool)] = &[
        ("TCP reset", |network| network.reset(0), true),
        (
            "silent goodbye",
            |network| network.goodbye(1, Goodbye::Silent),
            true,
        ),
        (
            "goodbye with Cease, a Hard Reset",
            |network| network.goodbye(1, Goodbye::Cease),
            false,
        ),
        (
            "removed from the peer's configuration, a Hard Reset",
            |network| network.configure(1, vec![]),
            false,
        ),
        (
            "administrative reset",
            |network| {
                network.inject(
                    0,
                    &Notification::cease(CeaseSubcode::AdministrativeReset).encode(),
                );
            },
            true,
        ),
        (
            "a Hard Reset received",
            |network| {
                let inner = Notification::cease(CeaseSubcode::AdministrativeShutdown);
                network.inject(0, &Notification::hard_reset(&inner).encode());
            },
            false,
        ),
        (
            "an error of ours that the peer tells",
            |network| {
                network.inject(
                    0,
                    &Notification::new(ErrorCode::UpdateMessage, 1, &[][..]).encode(),
                );
            },
            true,
        ),
        (
            "an error of the peer that we tell",
            |network| network.inject(0, &[0; 19]),
            true,
        ),
        (
            "timers changed on the other side",
            |network| {
                network.configure(
                    1,
                    vec![(
                        0,
                        PeerConfig {
                            hold_time: 30,
                            ..simulation::peer(0)
                        },
                    )],
                );
            },
            true,
        ),
        (
            "timers changed on this side",
            |network| {
                network.configure(
                    0,
                    vec![(
                        1,
                        PeerConfig {
                            hold_time: 30,
                            ..simulation::peer(1)
                        },
                    )],
                );
            },
            true,
        ),
        (
            "hold time",
            |network| {
                network.power_off(1);
                network.run(Duration::from_secs(9));
            },
            true,
        ),
    ];
    for (label, loss, kept) in rows {
        for (graceful, peers) in [
            (true, (|_| {}) as fn(&mut PeerConfig)),
            (false, without_restart),
        ] {
            let mut network = up(pair_with(5, |_| {}, peers));
            loss(&mut network);
            let lost = |network: &Network| network.nodes[0].only().flaps == 1;
            assert!(
                network.run_until(Duration::from_millis(20), lost),
                "{label}"
            );
            let learned = !network.nodes[0].learned().is_empty();
            assert_eq!(
                learned,
                *kept && graceful,
                "{label}, graceful restart {graceful}"
            );
        }
    }
}

/// RFC 9003: why the peer went is told in words.
#[test]
fn a_goodbye_carries_its_reason() {
    let mut network = up(pair(6));
    network.goodbye(1, Goodbye::Cease);
    network.run(Duration::from_secs(1));
    assert!(network.nodes[1].speaker.finished());
    let Some(DownReason::NotificationReceived(told)) = network.nodes[0].downs().into_iter().next()
    else {
        panic!("no NOTIFICATION")
    };
    let inner = told.inside_hard_reset().expect("a Hard Reset");
    assert_eq!(inner.text(), Some("this speaker leaves the node"));
    assert_eq!(
        told.to_string(),
        "Cease: Hard Reset (Cease: Administrative Shutdown (\"this speaker leaves the node\"))"
    );
}

#[test]
fn after_a_goodbye_nothing_is_dialled_or_taken() {
    for goodbye in [Goodbye::Silent, Goodbye::Cease] {
        let mut network = up(pair(7));
        network.goodbye(1, goodbye);
        let told = network.nodes[1].told.len();
        network.run(Duration::from_secs(20));
        assert!(network.nodes[1].speaker.finished() && !network.nodes[1].is_up());
        assert_eq!(
            network.nodes[1].told.len(),
            told,
            "no attempt after the goodbye"
        );
        assert_eq!(network.nodes[1].speaker.next_deadline(), None);
    }
}
