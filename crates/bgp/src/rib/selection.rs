//! Paths come, change and go; the best of each destination is kept first in its list.

use ipnet::IpNet;

use super::decision::{Candidate, CandidatePeer, Decision, decide};
use super::key::{FAMILIES, Ipv4Key, Ipv6Key, PrefixKey};
use super::path::Path;
use super::peers::LearnedCounts;
use super::table::DestinationId;
use super::{PeerId, Rib};
use crate::wire::PeerKind;

impl Rib {
    /// Adds or replaces the path of its source; takes over one reference to its attributes.
    pub(super) fn insert<K: PrefixKey>(&mut self, key: K, path: Path) {
        let table = K::table_mut(&mut self.tables);
        let id = table.find_or_insert(key);
        let best = table.best(id);
        let before = match table
            .paths(id)
            .iter()
            .position(|known| known.same_source(path))
        {
            Some(position) => Some(std::mem::replace(&mut table.paths_mut(id)[position], path)),
            None => {
                table.push(id, path);
                None
            }
        };
        self.count::<K>(path, |counts| {
            counts.received += u32::from(before.is_none());
            counts.accepted += u32::from(path.is_eligible());
            counts.accepted -= u32::from(before.is_some_and(Path::is_eligible));
        });
        if let Some(before) = before {
            self.attributes.release(before.attributes);
            if before.attributes == path.attributes && before.same_admission(path) {
                return;
            }
        }
        self.reselect::<K>(id, best);
    }

    /// Removes the path of a source, if there is one.
    pub(super) fn withdraw<K: PrefixKey>(&mut self, key: K, source: impl Fn(Path) -> bool) {
        if let Some(id) = K::table(&self.tables).find(key) {
            self.remove_where::<K>(id, source);
        }
    }

    /// Removes the first path of a destination for which `gone` holds: one per source at most.
    fn remove_where<K: PrefixKey>(&mut self, id: DestinationId, gone: impl Fn(Path) -> bool) {
        let table = K::table_mut(&mut self.tables);
        let Some(position) = table.paths(id).iter().position(|path| gone(*path)) else {
            return;
        };
        let best = table.best(id);
        let path = table.paths(id)[position];
        table.swap_remove(id, position);
        self.attributes.release(path.attributes);
        self.count::<K>(path, |counts| {
            counts.received -= 1;
            counts.accepted -= u32::from(path.is_eligible());
        });
        self.reselect::<K>(id, best);
        K::table_mut(&mut self.tables).free_unused(id);
    }

    fn count<K: PrefixKey>(&mut self, path: Path, change: impl Fn(&mut LearnedCounts)) {
        if let Some(peer) = path.peer().and_then(|peer| self.peers.get_mut(peer)) {
            change(&mut peer.families[K::INDEX]);
        }
    }

    /// Selects anew after the paths of `id` changed, and tells the groups if the best is another one than
    /// `before`.
    fn reselect<K: PrefixKey>(&mut self, id: DestinationId, before: Option<Path>) {
        self.note_learned(K::INDEX, id);
        if K::table(&self.tables).paths(id).len() > 1
            && let Some(decision) = self.select(K::INDEX, id)
        {
            K::table_mut(&mut self.tables)
                .paths_mut(id)
                .swap(0, decision.position);
        }
        let after = K::table(&self.tables).best(id);
        let same = match (before, after) {
            (Some(before), Some(after)) => {
                before.attributes == after.attributes && before.same_source(after)
            }
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !same {
            self.best_changed(K::INDEX, id, before, after);
        }
    }

    /// Runs the decision process over the eligible paths of a destination.
    fn select(&mut self, family: usize, id: DestinationId) -> Option<Decision> {
        let mut candidates = std::mem::take(&mut self.candidates);
        self.collect_candidates(family, id, &mut candidates);
        let decision = decide(&mut candidates);
        self.candidates = candidates;
        decision
    }

    /// Fills `candidates` with the eligible paths of a destination.
    pub(super) fn collect_candidates(
        &self,
        family: usize,
        id: DestinationId,
        candidates: &mut Vec<Candidate>,
    ) {
        let paths = self.tables.paths(family, id).iter().enumerate();
        candidates.clear();
        candidates.extend(
            paths
                .filter(|(_, path)| path.is_eligible())
                .map(|(position, path)| self.candidate(position, *path)),
        );
    }

    /// What the decision knows of a path.
    pub(super) fn candidate(&self, position: usize, path: Path) -> Candidate {
        let from = path
            .peer()
            .and_then(|id| Some((id, &self.peers.get(id)?.facts)));
        let from = from.map(|(id, facts)| CandidatePeer {
            external: facts.kind == PeerKind::External,
            router_id: facts.router_id.into(),
            address: facts.remote,
            id: id.0,
        });
        let mut summary = *self.attributes.summary(path.attributes);
        // RFC 8326 section 4.2: what an external peer is about to withdraw is the last choice.
        if summary.graceful_shutdown && from.is_some_and(|peer| peer.external) {
            summary.local_preference = 0;
        }
        Candidate {
            position,
            summary,
            from,
        }
    }

    /// Removes the paths of a peer in one family for which `gone` holds.
    pub(super) fn remove_paths(
        &mut self,
        peer: PeerId,
        family: usize,
        gone: impl Fn(Path) -> bool,
    ) {
        match family {
            Ipv4Key::INDEX => self.remove_paths_of::<Ipv4Key>(peer, gone),
            _ => self.remove_paths_of::<Ipv6Key>(peer, gone),
        }
    }

    fn remove_paths_of<K: PrefixKey>(&mut self, peer: PeerId, gone: impl Fn(Path) -> bool) {
        let gone = |path: Path| path.peer() == Some(peer) && gone(path);
        let mut id = 0;
        while self.has_learned(peer, K::INDEX) && id < K::table(&self.tables).id_bound() {
            self.remove_where::<K>(id, gone);
            id += 1;
        }
    }

    /// Marks all paths of a peer in one family.
    pub(super) fn mark_paths(&mut self, peer: PeerId, family: usize, mark: impl Fn(&mut Path)) {
        match family {
            Ipv4Key::INDEX => self.mark_paths_of::<Ipv4Key>(peer, mark),
            _ => self.mark_paths_of::<Ipv6Key>(peer, mark),
        }
    }

    fn mark_paths_of<K: PrefixKey>(&mut self, peer: PeerId, mark: impl Fn(&mut Path)) {
        if !self.has_learned(peer, K::INDEX) {
            return;
        }
        let table = K::table_mut(&mut self.tables);
        for id in 0..table.id_bound() {
            for path in table
                .paths_mut(id)
                .iter_mut()
                .filter(|path| path.peer() == Some(peer))
            {
                mark(path);
            }
        }
    }

    /// Selects anew wherever the peer has a path: what ranks it has changed.
    pub(super) fn reselect_all(&mut self, peer: PeerId) {
        for family in 0..FAMILIES {
            if !self.has_learned(peer, family) {
                continue;
            }
            for id in 0..self.tables.id_bound(family) {
                let best = self.tables.best(family, id);
                if self
                    .tables
                    .paths(family, id)
                    .iter()
                    .any(|path| path.peer() == Some(peer))
                {
                    match family {
                        Ipv4Key::INDEX => self.reselect::<Ipv4Key>(id, best),
                        _ => self.reselect::<Ipv6Key>(id, best),
                    }
                }
            }
        }
    }

    pub(super) fn has_learned(&self, peer: PeerId, family: usize) -> bool {
        self.peers
            .get(peer)
            .is_some_and(|peer| peer.families[family].received > 0)
    }

    /// Adds or removes our own path to a prefix.
    pub(super) fn set_local(&mut self, net: IpNet, present: bool) {
        match net {
            IpNet::V4(net) => self.set_local_path::<Ipv4Key>(net.into(), present),
            IpNet::V6(net) => self.set_local_path::<Ipv6Key>(net.into(), present),
        }
    }

    fn set_local_path<K: PrefixKey>(&mut self, key: K, present: bool) {
        if present {
            self.attributes.retain(self.local_attributes);
            self.insert(key, Path::local(self.local_attributes));
        } else {
            self.withdraw(key, Path::is_local);
        }
    }
}
