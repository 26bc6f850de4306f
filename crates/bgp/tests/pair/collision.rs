//! Two speakers that dial each other: whatever the order of packets, one session, and it stays (RFC 4271 section 6.8).

use std::time::Duration;

use crate::simulation::{self, Network, converged, pair_with};
use bgp::report::DownReason;
use bgp::{InstanceConfig, PeerConfig};

/// Runs a pair for 30 s and checks that it came up once and nothing else happened.
fn one_session(seed: u64, mut network: Network) {
    assert!(
        network.run_until(Duration::from_secs(5), converged),
        "seed {seed}: not up within 5 s"
    );
    network.run(Duration::from_secs(30));
    assert!(converged(&network), "seed {seed}: did not stay");
    for node in &network.nodes {
        assert_eq!(node.ups(), 1, "seed {seed}");
        assert_eq!(node.only().flaps, 0, "seed {seed}");
        assert_eq!(node.downs(), [], "seed {seed}: a collision is no failure");
    }
    for node in 0..2 {
        assert_eq!(
            network.ends_of(node).len(),
            1,
            "seed {seed}: connections of node {node}"
        );
    }
}

#[test]
fn simultaneous_open_ends_in_one_session_whatever_the_delays() {
    let mut crossed = 0;
    for seed in 1..=1000 {
        let mut network = pair_with(seed, |_| {}, |_| {});
        // From a LAN to links where the handshakes of both connections overlap in every way.
        network.delay = (50, 50 + network.random(400_000));
        assert!(
            network.run_until(Duration::from_secs(5), converged),
            "seed {seed}: not up within 5 s"
        );
        if network.accepted > 1 {
            crossed += 1;
        }
        one_session(seed, network);
    }
    assert!(
        crossed > 500,
        "only {crossed} of 1000 runs had two connections"
    );
}

#[test]
fn equal_identifiers_are_decided_by_the_as() {
    for seed in 1..=200 {
        let same = |instance: &mut InstanceConfig| instance.router_id = [10, 9, 9, 9].into();
        let mut network = pair_with(seed, same, |_| {});
        network.delay = (50, 50 + network.random(100_000));
        one_session(seed, network);
    }
}

#[test]
fn sides_that_start_apart_do_not_disturb_each_other() {
    for seed in 1..=300 {
        let mut network = Network::new(seed);
        for node in 0..2 {
            network.add(simulation::instance(node));
            network.originate(
                node,
                &[if node == 0 {
                    "10.1.0.0/24"
                } else {
                    "10.2.0.0/24"
                }],
            );
        }
        let first = usize::from(seed % 2 == 0);
        network.delay = (50, 30_000);
        network.configure(first, vec![(1 - first, simulation::peer(1 - first))]);
        let apart = network.random(1_500_000);
        network.run(Duration::from_micros(apart));
        network.configure(1 - first, vec![(first, simulation::peer(first))]);
        assert!(
            network.run_until(Duration::from_secs(5), converged),
            "seed {seed}: not up within 5 s"
        );
        network.run(Duration::from_secs(20));
        assert!(
            converged(&network) && network.nodes.iter().all(|node| node.only().flaps == 0),
            "seed {seed}"
        );
    }
}

#[test]
fn a_listener_is_no_condition() {
    for (first, second) in [(true, false), (false, true)] {
        let mut network = Network::new(7);
        for (node, listens) in [(0, first), (1, second)] {
            network.add(InstanceConfig {
                listens,
                ..simulation::instance(node)
            });
            network.originate(
                node,
                &[if node == 0 {
                    "10.1.0.0/24"
                } else {
                    "10.2.0.0/24"
                }],
            );
        }
        for node in 0..2 {
            network.configure(node, vec![(1 - node, simulation::peer(1 - node))]);
        }
        one_session(7, network);
    }
}

/// RFC 4724 section 5: a second connection from a peer with graceful restart means that it restarted without our
/// noticing. The session moves over, and its routes stay all the while.
#[test]
fn a_peer_that_lost_power_is_taken_back_before_the_hold_time() {
    let long = |peer: &mut PeerConfig| peer.hold_time = 240;
    let mut network = pair_with(3, |_| {}, long);
    assert!(network.run_until(Duration::from_secs(5), converged));
    network.run(Duration::from_secs(30));
    network.power_off(1);
    network.run(Duration::from_secs(2));
    network.replace(1, simulation::instance(1));
    network.originate(1, &["10.2.0.0/24"]);
    network.configure(
        1,
        vec![(
            0,
            PeerConfig {
                hold_time: 240,
                ..simulation::peer(0)
            },
        )],
    );
    let began = network.now;
    assert!(network.run_until(Duration::from_secs(5), |network| {
        assert!(
            !network.nodes[0].learned().is_empty(),
            "routes were dropped"
        );
        converged(network) && network.nodes[0].ups() == 2
    }));
    assert!(network.now - began < Duration::from_secs(2));
    assert_eq!(network.nodes[0].downs(), [DownReason::ConnectionLost]);
}

/// Without graceful restart the old session has to time out; until then the peer is told why it is turned away.
#[test]
fn without_graceful_restart_the_established_session_wins() {
    let plain = |peer: &mut PeerConfig| peer.graceful_restart = None;
    let mut network = pair_with(3, |_| {}, plain);
    assert!(network.run_until(Duration::from_secs(5), converged));
    network.run(Duration::from_secs(30));
    network.power_off(1);
    network.run(Duration::from_millis(500));
    network.replace(
        1,
        InstanceConfig {
            listens: false,
            ..simulation::instance(1)
        },
    );
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
    network.run(Duration::from_secs(3));
    assert!(network.nodes[0].is_up() && !network.nodes[1].is_up());
    let [DownReason::NotificationReceived(told)] = &network.nodes[1].downs()[..] else {
        panic!("told {:?}", network.nodes[1].downs())
    };
    assert_eq!((told.code, told.subcode), (6, 7));
    assert!(network.run_until(Duration::from_secs(10), |network| network.nodes[1].is_up()));
    assert_eq!(
        network.nodes[0].downs().first(),
        Some(&DownReason::HoldTimerExpired)
    );
}
