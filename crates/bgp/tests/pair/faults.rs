//! Broken networks: how soon a session is back, and that it is back in the end.

use std::time::Duration;

use bgp::report::DownReason;
use bgp::wire::Notification;
use bgp::wire::iana::CeaseSubcode;
use bgp::{InstanceConfig, Output};

use crate::simulation::{self, Network, converged, pair, pair_with};

fn up(mut network: Network) -> Network {
    assert!(network.run_until(Duration::from_secs(5), converged));
    network.run(Duration::from_secs(10));
    network
}

fn dial_out(seed: u64) -> Network {
    let mut network = Network::new(seed);
    network.add(InstanceConfig {
        listens: false,
        ..simulation::instance(0)
    });
    network.add(simulation::instance(1));
    network.originate(0, &["10.1.0.0/24"]);
    network.originate(1, &["10.2.0.0/24"]);
    network.configure(0, vec![(1, simulation::peer(1))]);
    network.configure(1, vec![(0, simulation::peer(0))]);
    network
}

#[test]
fn the_first_session_is_up_after_a_few_round_trips() {
    let mut network = dial_out(1);
    assert!(network.run_until(Duration::from_millis(100), converged));
}

/// However the session ended, as long as the router is there it is back within 2 s, also where only we dial.
#[test]
fn a_session_that_was_lost_or_cleared_is_back_within_two_seconds() {
    type Loss = fn(&mut Network);
    let rows: &[(&str, Loss)] = &[
        ("TCP reset", |network| network.reset(0)),
        ("cleared by the router", |network| {
            let clear = Notification::cease(CeaseSubcode::AdministrativeReset).encode();
            network.inject(0, &clear);
        }),
        ("protocol error", |network| network.inject(1, &[0; 19])),
    ];
    for (label, loss) in rows {
        for seed in 1..=100 {
            let mut network = up(dial_out(seed));
            loss(&mut network);
            let began = network.now;
            assert!(
                network.run_until(Duration::from_secs(1), |network| !network.nodes[0].is_up()),
                "{label}"
            );
            assert!(
                network.run_until(Duration::from_secs(5), converged),
                "{label}: not back"
            );
            assert!(
                network.now - began <= Duration::from_secs(2),
                "{label}: back after {:?}",
                network.now - began
            );
        }
    }
}

/// While a router restarts its port is closed. It is dialled at least every 2 s, without a storm.
#[test]
fn a_closed_port_is_tried_every_two_seconds() {
    let mut network = up(dial_out(2));
    network.kill(1);
    network.run(Duration::from_secs(60));
    // Nobody answers a dead node's SYN here, so let one answer that refuses.
    network.replace(
        1,
        InstanceConfig {
            listens: false,
            ..simulation::instance(1)
        },
    );
    network.run(Duration::from_secs(10));
    let from = network.now;
    network.run(Duration::from_secs(60));
    let times: Vec<_> = network.nodes[0]
        .told
        .iter()
        .filter(|(at, output)| *at >= from && matches!(output, Output::Connect { .. }))
        .map(|(at, _)| *at)
        .collect();
    assert!(
        (30..=45).contains(&times.len()),
        "{} attempts in a minute",
        times.len()
    );
    assert!(
        times
            .windows(2)
            .all(|pair| pair[1] - pair[0] <= Duration::from_millis(2_050))
    );
    let refused = network.nodes[0]
        .downs()
        .iter()
        .filter(|reason| **reason == DownReason::ConnectFailed(Some(111)))
        .count();
    assert_eq!(refused, 1, "told once");
    network.replace(1, simulation::instance(1));
    network.originate(1, &["10.2.0.0/24"]);
    network.configure(1, vec![(0, simulation::peer(0))]);
    assert!(network.run_until(Duration::from_secs(3), converged));
}

/// Where SYNs vanish an attempt is given up after 5 s at most, so that a host that returns is met soon.
#[test]
fn attempts_into_the_void_are_renewed() {
    let mut network = dial_out(3);
    network.partitioned = true;
    network.run(Duration::from_secs(300));
    network.partitioned = false;
    assert!(network.run_until(Duration::from_secs(5), converged));
}

/// RFC 9687: a peer that reads nothing is let go after eight minutes, although it still talks.
#[test]
fn a_peer_that_does_not_read_is_let_go() {
    let mut network = up(pair_with(4, |_| {}, |peer| peer.hold_time = 0));
    network.stall(0);
    network.originate(0, &["10.1.0.0/24", "10.9.0.0/24"]);
    network.run(Duration::from_millis(479_900));
    assert!(network.nodes[0].is_up());
    network.run(Duration::from_millis(200));
    assert_eq!(network.nodes[0].downs(), [DownReason::SendHoldTimerExpired]);
}

/// Minutes of resets, lost machines and partitions: when it ends, all is as if nothing had been.
#[test]
fn whatever_happened_the_pair_converges_afterwards() {
    for seed in 1..=100 {
        let mut network = pair(seed);
        network.delay = (50, 150_000);
        for _ in 0..30 {
            let pause = network.random(4_000);
            network.run(Duration::from_millis(pause));
            match network.random(6) {
                0 | 1 => network.reset(0),
                2 => network.partitioned = !network.partitioned,
                3 => {
                    network.kill(1);
                    network.replace(
                        1,
                        InstanceConfig {
                            restarting: true,
                            ..simulation::instance(1)
                        },
                    );
                    network.originate(1, &["10.2.0.0/24"]);
                    network.configure(1, vec![(0, simulation::peer(0))]);
                }
                4 => network.stall(1),
                _ => {
                    network.power_off(1);
                    network.replace(1, simulation::instance(1));
                    network.originate(1, &["10.2.0.0/24"]);
                    network.configure(1, vec![(0, simulation::peer(0))]);
                }
            }
        }
        network.partitioned = false;
        assert!(
            network.run_until(Duration::from_secs(40), converged),
            "seed {seed}"
        );
        network.run(Duration::from_secs(10));
        let flaps = network.nodes[0].only().flaps;
        network.run(Duration::from_secs(60));
        assert!(converged(&network), "seed {seed}");
        assert_eq!(
            network.nodes[0].only().flaps,
            flaps,
            "seed {seed}: still flapping"
        );
    }
}
