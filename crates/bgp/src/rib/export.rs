//! What each group is to be told about a destination.

use super::attributes::AttributeId;
use super::group::{AdjOut, Group, OUTDATED};
use super::path::Path;
use super::table::DestinationId;
use super::{PeerId, Rib};
use crate::policy::{SetAttributes, Source};
use crate::wire::PeerKind;

/// What one batch changes for those who are told.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) withdrawn: Vec<DestinationId>,
    pub(super) announced: Vec<Announcement>,
}

/// A destination to announce. Ordered so that what shares one encoding stands together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Announcement {
    pub(super) attributes: AttributeId,
    /// The policy's rule that accepts it.
    pub(super) rule: u32,
    pub(super) id: DestinationId,
}

impl Changes {
    /// Announcements by shared encoding.
    pub(super) fn buckets(&self) -> impl Iterator<Item = &[Announcement]> {
        self.announced
            .chunk_by(|one, other| (one.attributes, one.rule) == (other.attributes, other.rule))
    }
}

impl Rib {
    /// A destination's best path is another one: notes it for every group that may have to tell.
    pub(super) fn best_changed(
        &mut self,
        family: usize,
        id: DestinationId,
        before: Option<Path>,
        after: Option<Path>,
    ) {
        let ours = before.is_some_and(Path::is_local) || after.is_some_and(Path::is_local);
        for index in 0..self.groups.len() {
            let Some(group) = &self.groups[index] else {
                continue;
            };
            let untold = after.is_none() && group.adj_out[family].get(id) == AttributeId::NONE;
            if (ours || group.announces_learned) && !untold {
                self.mark(index, family, id);
            }
        }
    }

    /// Notes that a group must look at a destination again, and wakes its members if they were idle.
    pub(super) fn mark(&mut self, group_index: usize, family: usize, id: DestinationId) {
        let Some(group) = &mut self.groups[group_index] else {
            return;
        };
        if !group.is_open(family) {
            return;
        }
        let idle = !group.has_pending();
        if group.adj_out[family].mark(id) {
            self.tables.hold(family, id);
        }
        if idle {
            for member in 0..group.members.len() {
                let Some(group) = &self.groups[group_index] else {
                    return;
                };
                self.wake(group.members[member]);
            }
        }
    }

    /// Notes a peer as having output.
    pub(super) fn wake(&mut self, peer: PeerId) {
        if let Some(member) = self.peers.member_mut(peer)
            && !std::mem::replace(&mut member.is_ready, true)
        {
            self.ready.push_back(peer);
        }
    }

    /// The next peer that may have output since it was last named here; `None` when there is none. Each is to
    /// be asked for its [`Rib::next_chunk`] whenever its connection can take one, until there is none.
    pub fn take_ready(&mut self) -> Option<PeerId> {
        loop {
            let peer = self.ready.pop_front()?;
            if let Some(member) = self.peers.member_mut(peer) {
                member.is_ready = false;
                return Some(peer);
            }
        }
    }

    /// What a group is to be told about a destination now: the best path's attributes and the rule that
    /// accepts it.
    pub(super) fn wanted(
        &self,
        group: &Group,
        family: usize,
        id: DestinationId,
    ) -> Option<(AttributeId, u32)> {
        let best = self.tables.best(family, id)?;
        if let Some(peer) = best.peer()
            && !self.may_pass(group, peer, best.attributes)
        {
            return None;
        }
        let (rule, _) = self.rule(group, family, id, best.attributes)?;
        Some((best.attributes, rule))
    }

    /// Whether what was learned may be told at all, whatever the policy says.
    fn may_pass(&self, group: &Group, from: PeerId, attributes: AttributeId) -> bool {
        let summary = self.attributes.summary(attributes);
        let internal = group.audience.kind == PeerKind::Internal;
        let learned_inside = self
            .peers
            .get(from)
            .is_some_and(|peer| peer.facts.kind == PeerKind::Internal);
        // RFC 1997: the well-known communities. RFC 4271 section 9.2: nothing internal to internal peers.
        group.announces_learned
            && !summary.no_advertise
            && (internal || !summary.no_export)
            && !(internal && learned_inside)
            && group.sole_member() != Some(from)
    }

    /// The rule of the group's policy that accepts a route with these attributes, and its changes.
    pub(super) fn rule<'g>(
        &self,
        group: &'g Group,
        family: usize,
        id: DestinationId,
        attributes: AttributeId,
    ) -> Option<(u32, &'g SetAttributes)> {
        let net = self.tables.net(family, id);
        let (rule, changes) = group
            .audience
            .policy
            .evaluate(&net, self.source(attributes))?;
        Some((rule as u32, changes))
    }

    /// Where a route with these attributes came from.
    pub(super) fn source(&self, attributes: AttributeId) -> Source {
        if attributes == self.local_attributes {
            Source::Local
        } else {
            Source::Learned
        }
    }

    /// What a group has to be told about the destinations of a batch.
    pub(super) fn evaluate(
        &self,
        group: &Group,
        family: usize,
        batch: &[DestinationId],
    ) -> Changes {
        let adj_out = &group.adj_out[family];
        let mut changes = Changes::default();
        for id in batch {
            let told = adj_out.get(*id);
            match self.wanted(group, family, *id) {
                None if told != AttributeId::NONE => changes.withdrawn.push(*id),
                Some((attributes, rule)) if told != attributes => {
                    changes.announced.push(Announcement {
                        attributes,
                        rule,
                        id: *id,
                    });
                }
                None | Some(_) => {}
            }
        }
        changes.announced.sort_unstable();
        changes
    }

    /// Records what a group has been told. Ids of withdrawn destinations stay held: for the log, or until the
    /// caller releases them.
    pub(super) fn apply(&mut self, adj_out: &mut AdjOut, family: usize, changes: &Changes) {
        for id in &changes.withdrawn {
            let before = adj_out.replace(*id, AttributeId::NONE);
            self.release_told(before);
        }
        for announcement in &changes.announced {
            self.attributes.retain(announcement.attributes);
            let before = adj_out.replace(announcement.id, announcement.attributes);
            if before == AttributeId::NONE {
                self.tables.hold(family, announcement.id);
            }
            self.release_told(before);
        }
    }

    /// Releases the attributes an Adj-RIB-Out referred to.
    pub(super) fn release_told(&mut self, told: AttributeId) {
        if told != AttributeId::NONE && told != OUTDATED {
            self.attributes.release(told);
        }
    }
}
