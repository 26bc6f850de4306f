//! One who forwards by what is learned: it knows what it was handed, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use bgp::PeerName;
use bgp::rib::{LearnedPath, PeerId, Rib, RouteSource, select};
use ipnet::IpNet;

use crate::model::Model;
use crate::scene::{FAMILIES, prefixes};

#[derive(Debug, Default)]
pub(crate) struct Forwarder {
    routes: BTreeMap<IpNet, Vec<LearnedPath>>,
}

fn named(peer: PeerId) -> PeerName {
    PeerName::from(format!("{}", peer.0).as_str())
}

fn number(path: &LearnedPath) -> usize {
    path.peer.0.parse::<usize>().unwrap() - 1
}

impl Forwarder {
    /// Takes some news; whether there were any.
    pub(crate) fn poll(&mut self, rib: &mut Rib, most: usize) -> bool {
        let expected = rib.has_learned_news();
        let news = rib.poll_learned(most, |peer| Some(named(peer)));
        assert!(news.len() <= most && news.is_empty() != expected);
        for learned in news {
            if learned.paths.is_empty() {
                self.routes.remove(&learned.prefix);
            } else {
                self.routes.insert(learned.prefix, learned.paths);
            }
        }
        expected
    }

    /// With all news taken it knows the routes that the model says are learned and can be used, and chooses among them as
    /// the Loc-RIB does.
    pub(crate) fn check(&mut self, rib: &mut Rib, model: &Model) {
        while self.poll(rib, 3) {}
        for net in prefixes() {
            let known = self.routes.get(&net).map(Vec::as_slice).unwrap_or_default();
            let mut peers: Vec<usize> = known.iter().map(number).collect();
            peers.sort_unstable();
            assert_eq!(peers, model.forwarding(&net), "paths to {net}");
            assert_eq!(known, rib.learned(net, |peer| Some(named(peer))));
            let four = NonZeroU16::new(4).unwrap();
            for count in 0..1usize << peers.len() {
                let some: BTreeSet<usize> = (0..peers.len())
                    .filter(|bit| count >> bit & 1 == 1)
                    .map(|bit| peers[bit])
                    .collect();
                let allowed =
                    |name: &PeerName| some.contains(&(name.0.parse::<usize>().unwrap() - 1));
                let chosen: Vec<usize> = select(known, allowed, four)
                    .into_iter()
                    .map(number)
                    .collect();
                let mut ways = BTreeSet::new();
                let way = |peer: &usize| {
                    known
                        .iter()
                        .find(|path| number(path) == *peer)
                        .unwrap()
                        .next_hop
                };
                let mut good = model.forwarded_by(&net, |peer| some.contains(&peer));
                good.retain(|peer| ways.insert(way(peer)));
                good.truncate(4);
                assert_eq!(chosen, good, "{net} by {some:?}");
            }
        }
        self.check_all_allowed(rib);
    }

    fn check_all_allowed(&self, rib: &Rib) {
        let selected = FAMILIES.iter().flat_map(|family| rib.loc(*family));
        let selected = selected.filter(|route| route.source != RouteSource::Local);
        let loc: BTreeMap<IpNet, Vec<RouteSource>> = selected
            .map(|route| (route.prefix, route.multipath))
            .collect();
        let source = |path: &&LearnedPath| RouteSource::Peer(PeerId(path.peer.0.parse().unwrap()));
        for (net, selected) in loc {
            let paths = self.routes.get(&net).map(Vec::as_slice).unwrap_or_default();
            let chosen = select(paths, |_| true, NonZeroU16::new(4).unwrap());
            let chosen: Vec<RouteSource> = chosen.iter().map(source).collect();
            assert_eq!(selected, chosen, "what forwards is what is selected");
        }
    }
}
