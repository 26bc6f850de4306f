//! What was learned, handed out destination by destination to whoever forwards by it.
//!
//! Only which destinations have changed is noted, one bit each: what is handed out is read from the table then, so that the
//! latest state wins and nothing queues up. Without a reader there is no feed and no cost.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;

use ipnet::IpNet;

use super::attributes::link_local_next_hop;
use super::bitset::IdSet;
use super::decision::{Candidate, equally_preferred};
use super::key::FAMILIES;
use super::path::Path;
use super::table::DestinationId;
use super::{PeerId, Rib};
use crate::config::PeerName;

/// A destination whose learned paths are others than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// Its prefix.
    pub prefix: IpNet,
    /// All paths that packets may be forwarded by, in no particular order; none where nothing usable is learned.
    /// Paths through our own AS are among them, although they are never selected nor passed on (RFC 4271 section 9.1.2).
    pub paths: Vec<LearnedPath>,
}

/// One usable path to a destination, as far as forwarding needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearnedPath {
    /// From whom.
    pub peer: PeerName,
    /// The next hop: the global address where there is a link-local one as well (RFC 2545 section 3).
    pub next_hop: IpAddr,
    /// The link-local address that came with it.
    pub link_local: Option<Ipv6Addr>,
    /// Our address on the session with the peer, which tells on which link a link-local next hop is.
    pub local: IpAddr,
    /// It has not been in our AS before.
    selectable: bool,
    candidate: Candidate,
}

impl LearnedPath {
    /// Whether both lead to the same router on the same link.
    fn leads_like(&self, other: &Self) -> bool {
        let way = |path: &Self| (path.next_hop, path.link_local);
        let on_link = self.link_local.is_some()
            || matches!(self.next_hop, IpAddr::V6(address) if address.is_unicast_link_local());
        way(self) == way(other) && (!on_link || self.local == other.local)
    }
}

/// Chooses among the paths of the `allowed` peers those that share the traffic, the best one first, `most` at most.
///
/// They tie with the best through all steps before the identifier's (RFC 4271 section 9.1.2.2) and have distinct next hops.
/// AS_PATHs of equal length need not be the same: who only forwards by them passes none on. Paths through our own AS serve where there are
/// no others.
#[must_use]
pub fn select(
    paths: &[LearnedPath],
    allowed: impl Fn(&PeerName) -> bool,
    most: NonZeroU16,
) -> Vec<&LearnedPath> {
    let permitted = || {
        let paths = paths.iter().enumerate();
        paths.filter(|(_, path)| allowed(&path.peer))
    };
    let selectable = permitted().any(|(_, path)| path.selectable);
    let permitted = permitted().filter(|(_, path)| path.selectable == selectable);
    let mut candidates: Vec<Candidate> = permitted
        .map(|(position, path)| Candidate {
            position,
            ..path.candidate
        })
        .collect();
    equally_preferred(&mut candidates);
    let mut chosen: Vec<&LearnedPath> = Vec::new();
    for candidate in &candidates {
        let path = &paths[candidate.position];
        if chosen.len() < usize::from(most.get()) && !chosen.iter().any(|one| one.leads_like(path))
        {
            chosen.push(path);
        }
    }
    chosen
}

/// Which destinations are to be handed out. Each is held until it has been.
#[derive(Debug, Default)]
pub(super) struct Feed {
    dirty: [IdSet; FAMILIES],
    cursors: [DestinationId; FAMILIES],
    /// The family that comes first next time, so that none waits for the other to come to rest.
    first: usize,
}

impl Feed {
    fn is_empty(&self) -> bool {
        self.dirty.iter().all(IdSet::is_empty)
    }

    fn take(&mut self, family: usize) -> Option<DestinationId> {
        let id = self.dirty[family].next_cyclic(self.cursors[family])?;
        self.dirty[family].remove(id);
        self.cursors[family] = id + 1;
        Some(id)
    }
}

impl Rib {
    /// From now on what is learned is noted; all that is known is noted at once, also if it was handed out before.
    pub fn replay_learned(&mut self) {
        self.feed.get_or_insert_default();
        for family in 0..FAMILIES {
            for id in 0..self.tables.id_bound(family) {
                let mut paths = self.tables.paths(family, id).iter();
                if paths.any(|path| path.forwards()) {
                    self.note_learned(family, id);
                }
            }
        }
    }

    /// Nothing is noted any more.
    pub fn forget_learned(&mut self) {
        let Some(feed) = self.feed.take() else {
            return;
        };
        for (family, dirty) in feed.dirty.iter().enumerate() {
            for id in dirty.iter() {
                self.tables.release(family, id);
            }
        }
    }

    /// Whether what is learned is noted at all.
    #[must_use]
    pub fn feeds(&self) -> bool {
        self.feed.is_some()
    }

    /// Whether [`Rib::poll_learned`] has something.
    #[must_use]
    pub fn has_learned_news(&self) -> bool {
        self.feed.as_ref().is_some_and(|feed| !feed.is_empty())
    }

    /// Up to `most` destinations whose learned paths may be others than when they were last handed out, with the paths
    /// of now. `name` knows all peers.
    pub fn poll_learned(
        &mut self,
        most: usize,
        name: impl Fn(PeerId) -> Option<PeerName>,
    ) -> Vec<Learned> {
        let Some(mut feed) = self.feed.take() else {
            return Vec::new();
        };
        let mut news = Vec::new();
        for family in [feed.first, 1 - feed.first] {
            while news.len() < most
                && let Some(id) = feed.take(family)
            {
                news.push(Learned {
                    prefix: self.tables.net(family, id),
                    paths: self.learned_at(family, id, &name),
                });
                self.tables.release(family, id);
            }
        }
        feed.first = 1 - feed.first;
        self.feed = Some(feed);
        news
    }

    /// All usable paths to a prefix, as [`Rib::poll_learned`] hands them out.
    #[must_use]
    pub fn learned(
        &self,
        prefix: IpNet,
        name: impl Fn(PeerId) -> Option<PeerName>,
    ) -> Vec<LearnedPath> {
        let id = self.tables.find(prefix.trunc());
        id.map(|id| self.learned_at(super::key::net_index(&prefix), id, &name))
            .unwrap_or_default()
    }

    /// The paths of a destination are others.
    pub(super) fn note_learned(&mut self, family: usize, id: DestinationId) {
        if let Some(feed) = &mut self.feed
            && feed.dirty[family].insert(id)
        {
            self.tables.hold(family, id);
        }
    }

    fn learned_at(
        &self,
        family: usize,
        id: DestinationId,
        name: &impl Fn(PeerId) -> Option<PeerName>,
    ) -> Vec<LearnedPath> {
        let paths = self.tables.paths(family, id);
        let forwarding = paths.iter().filter(|path| path.forwards());
        forwarding
            .filter_map(|path| self.learned_path(*path, name))
            .collect()
    }

    fn learned_path(
        &self,
        path: Path,
        name: &impl Fn(PeerId) -> Option<PeerName>,
    ) -> Option<LearnedPath> {
        let peer = path.peer()?;
        Some(LearnedPath {
            peer: name(peer)?,
            next_hop: self.next_hop(path.attributes)?,
            link_local: link_local_next_hop(self.attributes.next_hop_octets(path.attributes)),
            local: self.peers.get(peer)?.facts.local,
            selectable: path.is_eligible(),
            candidate: self.candidate(0, path),
        })
    }
}
