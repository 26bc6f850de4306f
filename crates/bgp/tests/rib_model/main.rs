//! The RIB against a naive one: after any sequence of operations its Adj-RIBs-In, Loc-RIB and counts are the
//! model's, and what each peer rebuilds from the octets it was sent is what the model's policy says it should
//! know.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod feed;
mod model;
mod router;
mod scene;

use std::collections::BTreeSet;

use bgp::rib::{Limits, Multipath, Retain, Rib, RibConfig};
use ipnet::IpNet;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use feed::Forwarder;
use model::Model;
use router::Router;
use scene::{ASN, FAMILIES, PEERS, ROUTER_ID, Variant, policy, prefixes, variants};

/// One thing that happens to a RIB.
#[derive(Debug, Clone)]
enum Operation {
    Up(usize),
    Down(usize, bool, Vec<usize>),
    Announce(usize, Variant, Vec<IpNet>),
    Withdraw(usize, Vec<IpNet>),
    EndOfRib(usize, usize),
    Sweep(usize),
    BeginRefresh(usize, usize),
    EndRefresh(usize, usize),
    Refresh(usize, usize, bool),
    Originate(Vec<IpNet>),
    SetPolicy(usize, usize),
    Pull(usize, usize),
    Feed(bool),
    Poll(usize),
}

fn some_prefixes() -> impl Strategy<Value = Vec<IpNet>> {
    let all = prefixes();
    let most = all.len();
    subsequence(all, 1..=most)
}

fn operation() -> impl Strategy<Value = Operation> {
    let peer = 0..PEERS;
    prop_oneof![
        3 => peer.clone().prop_map(Operation::Up),
        1 => (peer.clone(), any::<bool>(), subsequence(vec![0, 1], 0..=2))
            .prop_map(|(peer, keep, families)| Operation::Down(peer, keep, families)),
        8 => (peer.clone(), select(variants()), some_prefixes())
            .prop_map(|(peer, variant, nets)| Operation::Announce(peer, variant, nets)),
        4 => (peer.clone(), some_prefixes()).prop_map(|(peer, nets)| Operation::Withdraw(peer, nets)),
        1 => (peer.clone(), 0..2usize).prop_map(|(peer, family)| Operation::EndOfRib(peer, family)),
        1 => peer.clone().prop_map(Operation::Sweep),
        1 => (peer.clone(), 0..2usize).prop_map(|(peer, family)| Operation::BeginRefresh(peer, family)),
        1 => (peer.clone(), 0..2usize).prop_map(|(peer, family)| Operation::EndRefresh(peer, family)),
        1 => (peer.clone(), 0..2usize, any::<bool>())
            .prop_map(|(peer, family, enhanced)| Operation::Refresh(peer, family, enhanced)),
        2 => some_prefixes().prop_map(Operation::Originate),
        2 => (peer.clone(), 0..6usize).prop_map(|(peer, policy)| Operation::SetPolicy(peer, policy)),
        1 => any::<bool>().prop_map(Operation::Feed),
        3 => (1..4usize).prop_map(Operation::Poll),
        6 => (peer, 1..4usize).prop_map(|(peer, chunks)| Operation::Pull(peer, chunks)),
    ]
}

/// A RIB, its model, and the routers at the other ends of its sessions.
struct Trial {
    rib: Rib,
    model: Model,
    routers: Vec<Router>,
    forwarder: Forwarder,
}

impl Trial {
    fn new(limits: Limits) -> Self {
        let multipath = Multipath {
            external: 4,
            internal: 4,
            relax: true,
        };
        let config = RibConfig {
            multipath,
            hash_seed: 7,
            limits,
        };
        Self {
            rib: Rib::new(ASN, ROUTER_ID, config),
            model: Model::default(),
            routers: (0..PEERS).map(Router::new).collect(),
            forwarder: Forwarder::default(),
        }
    }

    fn apply(&mut self, operation: Operation) {
        let id = Model::id;
        match operation {
            Operation::Up(peer) => {
                if !self.model.is_up(peer) {
                    self.rib.peer_up(id(peer), self.model.up(peer));
                    self.routers[peer] = Router::new(peer);
                }
            }
            Operation::Down(peer, keep, families) => {
                if self.model.is_up(peer) {
                    let families = if keep { families } else { Vec::new() };
                    let kept = families.iter().map(|family| FAMILIES[*family]).collect();
                    self.rib.peer_down(
                        id(peer),
                        if keep {
                            Retain::Stale(kept)
                        } else {
                            Retain::Nothing
                        },
                    );
                    self.model.down(peer, &families);
                }
            }
            Operation::Announce(peer, variant, nets) => {
                for message in self.model.announce(peer, &variant, &nets) {
                    self.model.receive(&mut self.rib, peer, &message);
                }
            }
            Operation::Withdraw(peer, nets) => {
                for message in self.model.withdraw(peer, &nets) {
                    self.model.receive(&mut self.rib, peer, &message);
                }
            }
            Operation::EndOfRib(peer, family) => {
                self.rib.end_of_rib(id(peer), FAMILIES[family]);
                self.model
                    .remove(peer, |route| route.family == family && route.stale);
            }
            Operation::Sweep(peer) => {
                self.rib.sweep(id(peer), None);
                self.model.remove(peer, |route| route.stale);
            }
            Operation::BeginRefresh(peer, family) => {
                self.rib.begin_refresh(id(peer), FAMILIES[family]);
                self.model.begin_refresh(peer, family);
            }
            Operation::EndRefresh(peer, family) => {
                self.rib.end_refresh(id(peer), FAMILIES[family]);
                self.model
                    .remove(peer, |route| route.family == family && route.unrefreshed);
            }
            Operation::Refresh(peer, family, enhanced) => {
                self.rib.refresh(id(peer), FAMILIES[family], enhanced);
            }
            Operation::Originate(nets) => {
                let nets: BTreeSet<IpNet> = nets.into_iter().collect();
                self.rib.originate(&nets);
                self.model.originated = nets;
            }
            Operation::SetPolicy(peer, number) => {
                self.rib.set_policy(id(peer), policy(number));
                self.model.set_policy(peer, number);
            }
            Operation::Pull(peer, chunks) => self.pull(peer, chunks),
            Operation::Feed(true) => self.rib.replay_learned(),
            Operation::Feed(false) => {
                self.rib.forget_learned();
                self.forwarder = Forwarder::default();
            }
            Operation::Poll(most) => drop(self.forwarder.poll(&mut self.rib, most)),
        }
    }

    fn pull(&mut self, peer: usize, chunks: usize) {
        for _ in 0..chunks {
            let chunk = self.rib.next_chunk(Model::id(peer));
            self.routers[peer].reading = chunk.is_some();
            let Some(chunk) = chunk else { break };
            self.routers[peer].read(&chunk);
        }
    }

    /// Every session that has output gets to send it; those that were in the middle of it go on by
    /// themselves.
    fn drain(&mut self) {
        for peer in 0..PEERS {
            if self.routers[peer].reading && self.model.is_up(peer) {
                self.pull(peer, usize::MAX);
            }
        }
        while let Some(peer) = self.rib.take_ready() {
            self.pull(peer.0 as usize - 1, usize::MAX);
        }
    }

    fn check(&mut self) {
        if self.rib.feeds() {
            self.forwarder.check(&mut self.rib, &self.model);
        }
        for peer in 0..PEERS {
            self.model.check_learned(&self.rib, peer);
            self.model.check_told(&self.rib, peer, &self.routers[peer]);
        }
        self.model.check_selected(&self.rib);
    }

    /// With everybody gone nothing is left: no destination, no attributes but our own.
    fn check_nothing_leaks(&mut self) {
        for peer in 0..PEERS {
            self.rib.peer_down(Model::id(peer), Retain::Nothing);
        }
        self.rib.originate(&BTreeSet::new());
        self.rib.forget_learned();
        assert_eq!(FAMILIES.map(|family| self.rib.destinations(family)), [0, 0]);
        assert_eq!(self.rib.attribute_sets(), 1);
    }
}

fn run(operations: Vec<Operation>, limits: Limits) {
    let mut trial = Trial::new(limits);
    for operation in operations {
        trial.apply(operation);
    }
    trial.drain();
    trial.check();
    trial.check_nothing_leaks();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_rib_is_its_model(operations in prop::collection::vec(operation(), 1..80)) {
        run(operations, Limits::default());
    }

    /// Steps of two destinations and logs of a few: members fall behind all the time.
    #[test]
    fn small_limits_change_nothing(operations in prop::collection::vec(operation(), 1..80)) {
        run(operations, Limits { batch: 2, log_octets: 600 });
    }
}
