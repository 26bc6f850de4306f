//! The router at the other end of a session: it knows what it was sent, and nothing else.

use std::collections::BTreeMap;

use bgp::wire::update::{self, MpReach};
use bgp::wire::{
    EXTENDED_MAXIMUM_LENGTH, Framer, MessageKind, NextHop, RefreshSubtype, RouteRefresh, Update,
};
use ipnet::IpNet;

use crate::model::Model;
use crate::scene::FAMILIES;

/// What a router makes of one route: the attributes as they came, and the next hop.
pub(crate) type Known = (Vec<u8>, NextHop);

/// One router.
pub(crate) struct Router {
    peer: usize,
    framer: Framer,
    /// Its view of what we announce.
    pub(crate) routes: BTreeMap<IpNet, Known>,
    /// End-of-RIB markers seen, by family.
    pub(crate) ends_of_rib: [usize; 2],
    /// Whether it has yet to be told that there is no more.
    pub(crate) reading: bool,
    /// Routes not repeated since BoRR, by family, while a refresh is going on.
    refreshing: [Option<Vec<IpNet>>; 2],
}

impl Router {
    pub(crate) fn new(peer: usize) -> Self {
        Self {
            peer,
            framer: Framer::new(),
            routes: BTreeMap::new(),
            ends_of_rib: [0; 2],
            reading: false,
            refreshing: [None, None],
        }
    }

    /// Reads a chunk, which holds whole messages.
    pub(crate) fn read(&mut self, chunk: &[u8]) {
        assert!(chunk.len() <= 65_536);
        self.framer.push(chunk);
        let limit = Model::max_message(self.peer).min(EXTENDED_MAXIMUM_LENGTH);
        let mut messages = Vec::new();
        while let Some(frame) = self.framer.next(limit).unwrap() {
            messages.push((frame.kind, frame.body.to_vec()));
        }
        for (kind, body) in messages {
            match kind {
                MessageKind::Update => {
                    let context = Model::their_context(self.peer);
                    self.update(&update::decode(&body, &context).unwrap());
                }
                MessageKind::RouteRefresh => self.refresh(RouteRefresh::decode(&body).unwrap()),
                other => panic!("the RIB sent {other:?}"),
            }
        }
        assert_eq!(self.framer.pending(), 0, "a chunk ends with a message");
    }

    fn update(&mut self, update: &Update<'_>) {
        assert_eq!(update.treatment, bgp::wire::Treatment::Accept);
        for net in update
            .withdrawn
            .map(IpNet::from)
            .chain(update.mp_unreach.into_iter().flatten())
        {
            self.routes.remove(&net);
        }
        let attributes = update.attributes.bytes().to_vec();
        for net in update.announced {
            let next_hop = NextHop::Ipv4(update.attributes.summary().next_hop.unwrap());
            self.learn(net.into(), (attributes.clone(), next_hop));
        }
        if let Some(MpReach { next_hop, nlri }) = update.mp_reach {
            nlri.for_each(|net| self.learn(net, (attributes.clone(), next_hop)));
        }
        if let Some(family) = update.end_of_rib {
            self.ends_of_rib[FAMILIES.iter().position(|known| *known == family).unwrap()] += 1;
        }
    }

    fn learn(&mut self, net: IpNet, known: Known) {
        for unrefreshed in self.refreshing.iter_mut().flatten() {
            unrefreshed.retain(|other| *other != net);
        }
        self.routes.insert(net, known);
    }

    fn refresh(&mut self, refresh: RouteRefresh) {
        let family = FAMILIES
            .iter()
            .position(|known| *known == refresh.family)
            .unwrap();
        match refresh.subtype {
            RefreshSubtype::Begin => {
                let of_family = |net: &&IpNet| matches!(net, IpNet::V6(_)) == (family == 1);
                let routes = self.routes.keys().filter(of_family).copied().collect();
                assert!(
                    self.refreshing[family].replace(routes).is_none(),
                    "RFC 7313 section 4: no BoRR inside another"
                );
            }
            RefreshSubtype::End => {
                for net in self.refreshing[family]
                    .take()
                    .expect("an EoRR follows a BoRR")
                {
                    self.routes.remove(&net);
                }
            }
            other => panic!("the RIB sent {other:?}"),
        }
    }
}
