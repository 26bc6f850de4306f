//! What configuration does to sessions: timers, AS numbers, and changes while up.

use std::sync::Arc;
use std::time::Duration;

use bgp::policy::ExportPolicy;
use bgp::report::{DownReason, SessionState};
use bgp::{Family, InstanceConfig, Output, PeerConfig};

use crate::simulation::{self, Network, Node, converged, pair, pair_with, socket};

fn up(mut network: Network) -> Network {
    assert!(network.run_until(Duration::from_secs(5), converged));
    network.run(Duration::from_secs(10));
    network
}

/// Hold and keepalive configured on both sides, and what node 0 applies (RFC 4271 sections 4.2 and 4.4).
#[test]
fn hold_and_keepalive_are_negotiated() {
    type Timers = (u16, u16);
    let rows: &[(Timers, u16, Timers)] = &[
        ((90, 30), 90, (90, 30)),
        ((9, 3), 90, (9, 3)),
        ((9, 2), 90, (9, 2)),
        ((90, 30), 9, (9, 3)),
        ((90, 1), 9, (9, 1)),
        ((3, 1), 90, (3, 1)),
        ((90, 30), 3, (3, 1)),
        ((90, 30), 4, (4, 1)),
        ((0, 0), 90, (0, 0)),
        ((90, 30), 0, (0, 0)),
        ((30, 0), 30, (30, 10)),
        ((9, 9), 9, (9, 9)),
    ];
    for ((hold, keepalive), theirs, applied) in rows {
        let mut network = pair(1);
        let ours = PeerConfig {
            hold_time: *hold,
            keepalive: *keepalive,
            ..simulation::peer(1)
        };
        network.configure(0, vec![(1, ours)]);
        network.configure(
            1,
            vec![(
                0,
                PeerConfig {
                    hold_time: *theirs,
                    ..simulation::peer(0)
                },
            )],
        );
        assert!(
            network.run_until(Duration::from_secs(5), converged),
            "{hold} and {theirs}"
        );
        let report = network.nodes[0].only();
        assert_eq!(
            (report.hold_time, report.keepalive),
            (Some(applied.0), Some(applied.1)),
            "{hold} and {theirs}"
        );
    }
}

#[test]
fn an_idle_session_lives_on_keepalives_alone() {
    for hold_time in [3, 9, 90] {
        let mut network = up(pair_with(
            2,
            |_| {},
            |peer| {
                (peer.hold_time, peer.keepalive) = (hold_time, hold_time / 3);
            },
        ));
        network.run(Duration::from_secs(3600));
        assert!(
            converged(&network) && network.nodes.iter().all(|node| node.only().flaps == 0),
            "{hold_time}"
        );
    }
}

#[test]
fn silence_is_noticed_at_the_hold_time_and_never_without_one() {
    for hold_time in [3u16, 9, 90] {
        let mut network = up(pair_with(3, |_| {}, |peer| peer.hold_time = hold_time));
        network.power_off(1);
        let silent_since = network.now;
        assert!(network.run_until(Duration::from_secs(400), |network| {
            !network.nodes[0].is_up()
        }));
        let waited = (network.now - silent_since).as_secs_f64();
        let hold = f64::from(hold_time);
        assert!(
            waited <= hold && waited >= hold - 3.1,
            "{waited} s at a hold time of {hold_time}"
        );
        assert_eq!(network.nodes[0].downs(), [DownReason::HoldTimerExpired]);
    }
    let mut network = up(pair_with(3, |_| {}, |peer| peer.hold_time = 0));
    network.power_off(1);
    network.run(Duration::from_secs(86_400));
    assert!(network.nodes[0].is_up());
}

#[test]
fn an_unconfigured_as_is_learned_and_decides_the_kind_of_session() {
    for (asn, ttl) in [(65002, Some(7)), (65001, Some(7))] {
        let mut network = Network::new(4);
        network.add(simulation::instance(0));
        network.add(InstanceConfig {
            local_asn: asn,
            ..simulation::instance(1)
        });
        network.originate(0, &["10.1.0.0/24"]);
        network.originate(1, &["10.2.0.0/24"]);
        network.configure(
            0,
            vec![(
                1,
                PeerConfig {
                    peer_asn: None,
                    ebgp_ttl: 7,
                    ..simulation::peer(1)
                },
            )],
        );
        assert_eq!(network.nodes[0].only().asn, None);
        network.configure(1, vec![(0, simulation::peer(0))]);
        assert!(network.run_until(Duration::from_secs(5), converged));
        assert_eq!(network.nodes[0].only().asn, Some(asn));
        assert_eq!(
            dialled_ttl(&network.nodes[0]),
            ttl,
            "an unknown AS counts as external"
        );
    }
}

fn dialled_ttl(node: &Node) -> Option<u8> {
    node.told
        .iter()
        .find_map(|(_, output)| match output {
            Output::Connect { ttl, .. } => Some(*ttl),
            Output::Send { .. }
            | Output::Close { .. }
            | Output::Up { .. }
            | Output::Down { .. } => None,
        })
        .expect("it dialled")
}

#[test]
fn only_external_peers_get_a_ttl() {
    for (asn, ttl) in [(65001, None), (65002, Some(1))] {
        let mut network = pair(5);
        network.configure(
            0,
            vec![(
                1,
                PeerConfig {
                    peer_asn: Some(asn),
                    ..simulation::peer(0)
                },
            )],
        );
        let connects = network.nodes[0]
            .told
            .iter()
            .rev()
            .find_map(|(_, output)| match output {
                Output::Connect { ttl, .. } => Some(*ttl),
                Output::Send { .. }
                | Output::Close { .. }
                | Output::Up { .. }
                | Output::Down { .. } => None,
            });
        assert_eq!(connects, Some(ttl));

        let node = &mut network.nodes[0];
        let accepted = node
            .speaker
            .accept(socket(0, 50_000), socket(1, 179), network.now);
        assert_eq!(
            accepted.map(|accepted| accepted.ttl),
            Some(ttl),
            "whoever dialled"
        );
    }
}

#[test]
fn a_wrong_as_is_refused_with_damping_and_told_once() {
    let mut network = pair(6);
    network.configure(
        0,
        vec![(
            1,
            PeerConfig {
                peer_asn: Some(64999),
                ..simulation::peer(1)
            },
        )],
    );
    network.run(Duration::from_secs(120));
    let downs = network.nodes[0].downs();
    let [DownReason::NotificationSent(told)] = &downs[..] else {
        panic!("{downs:?}")
    };
    assert_eq!((told.code, told.subcode), (2, 2));
    let attempts = network.nodes[0]
        .told
        .iter()
        .filter(|(_, output)| matches!(output, Output::Connect { .. }))
        .count();
    assert!(
        (6..25).contains(&attempts),
        "{attempts} attempts in two minutes"
    );
    // The mistake corrected, the session is up without waiting for any timer.
    network.configure(0, vec![(1, simulation::peer(1))]);
    assert!(network.run_until(Duration::from_secs(2), converged));
}

#[test]
fn equal_configuration_changes_nothing_and_export_changes_in_place() {
    let mut network = up(pair(7));
    let told = network.nodes[0].told.len();
    network.configure(0, vec![(1, simulation::peer(1))]);
    network.configure(
        0,
        vec![(
            1,
            PeerConfig {
                connect_retry: Duration::from_secs(7),
                ..simulation::peer(1)
            },
        )],
    );
    network.configure(
        0,
        vec![(
            1,
            PeerConfig {
                export: Arc::new(ExportPolicy::default()),
                ..simulation::peer(1)
            },
        )],
    );
    network.run(Duration::from_secs(1));
    assert!(
        network.nodes[1].learned().is_empty(),
        "no rule, no route (RFC 8212)"
    );
    network.configure(0, vec![(1, simulation::peer(1))]);
    network.run(Duration::from_secs(1));
    assert!(converged(&network));
    assert_eq!(
        network.nodes[0].told.len(),
        told,
        "the session was left alone"
    );
}

#[test]
fn any_other_change_renegotiates_that_session_alone_and_keeps_its_routes() {
    type Edit = fn(&mut PeerConfig);
    let edits: &[(&str, Edit)] = &[
        ("hold time", |peer| peer.hold_time = 30),
        ("keepalive", |peer| peer.keepalive = 2),
        ("families", |peer| peer.families.push(Family::IPV6_UNICAST)),
        ("TTL", |peer| peer.ebgp_ttl = 2),
        ("restart time", |peer| {
            peer.graceful_restart = Some(bgp::GracefulRestart { restart_time: 30 });
        }),
        ("source address", |peer| {
            peer.local_address = Some(simulation::address(0));
        }),
    ];
    for (label, edit) in edits {
        for seed in 1..=20 {
            let mut network = three(seed);
            let mut changed = simulation::peer(1);
            edit(&mut changed);
            network.configure(0, vec![(1, changed), (2, simulation::peer(2))]);
            let began = network.now;
            assert!(
                network.run_until(Duration::from_secs(3), |network| {
                    assert!(
                        !network.nodes[1].learned().is_empty(),
                        "{label}: the peer keeps our routes"
                    );
                    network.nodes[1].ups() == 1 && network.nodes.iter().all(all_up)
                }),
                "{label}: not back"
            );
            assert!(
                network.now - began < Duration::from_secs(2),
                "{label}: back after {:?}",
                network.now - began
            );
            assert!(
                network.nodes[2].told.is_empty(),
                "{label}: the other session was left alone"
            );
            assert_eq!(network.nodes[0].downs(), [DownReason::Reconfigured]);
            let [DownReason::NotificationReceived(told)] = &network.nodes[1].downs()[..] else {
                panic!("{label}")
            };
            assert_eq!((told.code, told.subcode), (6, 6), "{label}");
        }
    }
}

fn all_up(node: &Node) -> bool {
    node.speaker
        .report()
        .iter()
        .all(|report| report.state == SessionState::Established)
}

/// Node 0 with two peers that do not know each other.
fn three(seed: u64) -> Network {
    let mut network = Network::new(seed);
    for node in 0..3 {
        network.add(simulation::instance(node));
        network.originate(node, &[["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"][node]]);
    }
    network.configure(0, vec![(1, simulation::peer(1)), (2, simulation::peer(2))]);
    network.configure(1, vec![(0, simulation::peer(0))]);
    network.configure(2, vec![(0, simulation::peer(0))]);
    assert!(network.run_until(Duration::from_secs(5), |network| {
        network.nodes.iter().all(all_up)
    }));
    network.run(Duration::from_secs(10));
    network.nodes.iter_mut().for_each(|node| node.told.clear());
    network
}

#[test]
fn a_peer_removed_and_added_again_is_a_new_peer() {
    let mut network = up(pair(8));
    network.configure(0, vec![]);
    assert!(network.nodes[0].speaker.report().is_empty());
    network.run(Duration::from_millis(100));
    let [DownReason::NotificationReceived(told)] = &network.nodes[1].downs()[..] else {
        panic!("no NOTIFICATION")
    };
    let inner = told
        .inside_hard_reset()
        .expect("a Hard Reset: the routes have to go at once");
    assert_eq!((inner.code, inner.subcode), (6, 3));
    assert!(network.nodes[1].learned().is_empty());
    network.configure(0, vec![(1, simulation::peer(1))]);
    assert!(network.run_until(Duration::from_secs(3), converged));
    assert_eq!(network.nodes[0].only().flaps, 0);
}

#[test]
fn another_address_is_another_peer() {
    let mut network = three(9);
    network.configure(
        0,
        vec![(
            1,
            PeerConfig {
                address: simulation::address(2),
                ..simulation::peer(1)
            },
        )],
    );
    network.run(Duration::from_secs(1));
    let Some(DownReason::NotificationReceived(told)) = network.nodes[1].downs().into_iter().next()
    else {
        panic!("no NOTIFICATION")
    };
    assert_eq!(told.inside_hard_reset().map(|inner| inner.subcode), Some(3));
}

#[test]
fn counts_and_times_in_the_report_are_true() {
    let mut network = up(pair(10));
    network.originate(0, &["10.1.0.0/24", "10.4.0.0/24", "10.5.0.0/24"]);
    let before = network.nodes[1].speaker.revision();
    network.run(Duration::from_secs(1));
    assert!(network.nodes[1].speaker.revision() > before);
    for (node, received, advertised) in [(0, 1, 3), (1, 3, 1)] {
        let report = network.nodes[node].only();
        assert_eq!(report.established_at, network.nodes[node].up_at());
        assert!(report.end_of_rib_sent);
        let [family] = &report.families[..] else {
            panic!("one family")
        };
        assert_eq!(
            (family.received, family.accepted, family.advertised),
            (received, received, advertised)
        );
    }
    network.originate(0, &[]);
    network.run(Duration::from_secs(1));
    assert_eq!(network.nodes[1].only().families[0].received, 0);
    assert_eq!(network.nodes[0].only().families[0].advertised, 0);
}
