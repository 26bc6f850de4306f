//! What a speaker hands to whoever forwards by it, and when it says that it knows all (RFC 4724 section 4.1).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bgp::{DEFERRAL, PeerName};
use ipnet::IpNet;

use crate::simulation::{self, Network, converged, named, pair, pair_with, prefixes};

/// What somebody knows who takes all news of node 0 and applies them.
#[derive(Default)]
struct Forwarder(BTreeMap<IpNet, Vec<PeerName>>);

impl Forwarder {
    fn take(&mut self, network: &mut Network) -> BTreeSet<IpNet> {
        for learned in network.nodes[0].speaker.poll_learned(usize::MAX) {
            let peers: Vec<PeerName> = learned.paths.into_iter().map(|path| path.peer).collect();
            if peers.is_empty() {
                self.0.remove(&learned.prefix);
            } else {
                self.0.insert(learned.prefix, peers);
            }
        }
        self.0.keys().copied().collect()
    }
}

fn replay(network: &mut Network) {
    let now = network.now;
    network.nodes[0].speaker.replay_learned(now);
}

#[test]
fn routes_come_and_go_and_come_again_on_demand() {
    let mut network = pair(1);
    assert!(network.run_until(Duration::from_secs(5), converged));
    assert!(
        !network.nodes[0].speaker.has_learned_news(),
        "nobody has asked"
    );
    replay(&mut network);
    let mut forwarder = Forwarder::default();
    assert_eq!(forwarder.take(&mut network), prefixes(&["10.2.0.0/24"]));
    assert_eq!(forwarder.0.values().next(), Some(&vec![named(1)]));
    network.originate(1, &["10.3.0.0/24"]);
    network.run(Duration::from_secs(1));
    assert_eq!(forwarder.take(&mut network), prefixes(&["10.3.0.0/24"]));
    replay(&mut network);
    assert_eq!(
        Forwarder::default().take(&mut network),
        prefixes(&["10.3.0.0/24"])
    );
    network.nodes[0].speaker.forget_learned();
    network.originate(1, &["10.4.0.0/24"]);
    network.run(Duration::from_secs(1));
    assert!(!network.nodes[0].speaker.has_learned_news());
}

/// Who forwards decides what becomes of it.
#[test]
fn what_this_speaker_originates_too_is_handed_out_as_the_others_have_it() {
    let mut network = pair(2);
    assert!(network.run_until(Duration::from_secs(5), converged));
    replay(&mut network);
    let mut forwarder = Forwarder::default();
    network.originate(0, &["10.1.0.0/24", "10.2.0.0/24"]);
    network.run(Duration::from_secs(1));
    assert_eq!(forwarder.take(&mut network), prefixes(&["10.2.0.0/24"]));
}

/// RFC 4724 section 4.2: routes of a peer that restarts forward until its End-of-RIB, or until its time is over.
#[test]
fn routes_of_a_restarting_peer_stay_until_they_are_swept() {
    let mut network = pair(3);
    assert!(network.run_until(Duration::from_secs(5), converged));
    replay(&mut network);
    let mut forwarder = Forwarder::default();
    forwarder.take(&mut network);
    network.kill(1);
    network.run(Duration::from_millis(14_900));
    assert!(!network.nodes[0].speaker.has_learned_news());
    network.run(Duration::from_millis(200));
    assert_eq!(forwarder.take(&mut network), prefixes(&[]));
}

#[test]
fn with_end_of_rib_of_all_peers_the_speaker_knows_all() {
    let mut network = pair(4);
    replay(&mut network);
    assert!(!network.nodes[0].speaker.has_converged());
    assert!(network.run_until(Duration::from_secs(5), |network| {
        network.nodes[0].speaker.has_converged()
    }));
    let mut forwarder = Forwarder::default();
    assert_eq!(
        forwarder.take(&mut network),
        prefixes(&["10.2.0.0/24"]),
        "End-of-RIB comes behind the routes"
    );
    network.kill(1);
    network.run(Duration::from_secs(60));
    assert!(network.nodes[0].speaker.has_converged(), "it stays so");
}

#[test]
fn it_is_known_too_when_nobody_asks_before_the_sessions_are_up() {
    let mut network = pair(5);
    assert!(network.run_until(Duration::from_secs(5), converged));
    network.run(Duration::from_secs(1));
    replay(&mut network);
    assert!(network.nodes[0].speaker.has_converged());
}

#[test]
fn a_peer_that_does_not_come_is_waited_for_until_the_deferral_is_over() {
    let mut network = pair_with(6, |_| {}, |_| {});
    network.configure(0, vec![(1, simulation::peer(1)), (7, simulation::peer(7))]);
    replay(&mut network);
    assert!(network.run_until(Duration::from_secs(10), |network| {
        network.nodes[0].learned() == prefixes(&["10.2.0.0/24"])
    }));
    let begin = network.now;
    let limit = DEFERRAL + Duration::from_secs(1);
    assert!(network.run_until(limit, |network| network.nodes[0].speaker.has_converged()));
    assert!(network.now - begin > DEFERRAL - Duration::from_secs(10));
}

#[test]
fn a_peer_that_is_removed_is_not_waited_for() {
    let mut network = pair(7);
    network.configure(0, vec![(1, simulation::peer(1)), (7, simulation::peer(7))]);
    replay(&mut network);
    network.run(Duration::from_secs(10));
    assert!(!network.nodes[0].speaker.has_converged());
    network.configure(0, vec![(1, simulation::peer(1))]);
    assert!(network.nodes[0].speaker.has_converged());
}
