//! Peers join, leave and change their export group.

use std::sync::Arc;

use super::attributes::AttributeId;
use super::bitset::IdSet;
use super::group::{AdjOut, Audience, Group, Member, OUTDATED, Position, Walk};
use super::key::{FAMILIES, family_index, net_index};
use super::table::DestinationId;
use super::{PeerId, Rib};
use crate::family::Family;
use crate::policy::ExportPolicy;
use crate::wire::{RefreshSubtype, RouteRefresh};

impl Rib {
    /// Puts a peer that came up into the group of its audience.
    pub(super) fn join(&mut self, peer: PeerId) {
        let Some(known) = self.peers.get(peer) else {
            return;
        };
        let audience = Audience::of(&known.facts);
        let index = match self.find_group(&audience) {
            Some(index) => index,
            None => self.add_group(Group::new(audience)),
        };
        let Some(group) = &self.groups[index] else {
            return;
        };
        let mut walks: [Walk; FAMILIES] = Default::default();
        for (walk, adj_out) in walks.iter_mut().zip(&group.adj_out) {
            walk.dirty = ids_of(adj_out);
        }
        self.enter(peer, index, walks);
        if self.groups[index].as_ref().and_then(Group::sole_member) == Some(peer) {
            self.mark_all(index);
        }
        let marked = self.groups[index]
            .as_ref()
            .map(Group::marked)
            .unwrap_or_default();
        if let Some(member) = self.peers.member_mut(peer) {
            member.end_of_rib_after = Some(marked);
        }
        self.wake(peer);
    }

    fn find_group(&self, audience: &Audience) -> Option<usize> {
        self.groups.iter().position(|group| {
            group
                .as_ref()
                .is_some_and(|group| group.audience == *audience)
        })
    }

    fn add_group(&mut self, group: Group) -> usize {
        match self.groups.iter().position(Option::is_none) {
            Some(index) => {
                self.groups[index] = Some(group);
                index
            }
            None => {
                self.groups.push(Some(group));
                self.groups.len() - 1
            }
        }
    }

    /// Makes a peer a member that has to be told what `walks` say, and nothing else of what the log has so
    /// far.
    fn enter(&mut self, peer: PeerId, index: usize, walks: [Walk; FAMILIES]) {
        let Some(group) = &mut self.groups[index] else {
            return;
        };
        let alone = group.sole_member();
        group.members.push(peer);
        let position = if walks
            .iter()
            .all(|walk| walk.dirty.is_empty() && !walk.refresh_end)
        {
            Position::Following {
                next: group.log.end(),
            }
        } else {
            for (family, walk) in walks.iter().enumerate() {
                for id in walk.told.iter() {
                    self.tables.hold(family, id);
                }
            }
            Position::Walking(Box::new(walks))
        };
        let member = Member::new(index, position, group.marked());
        if let Some(known) = self.peers.get_mut(peer) {
            known.member = Some(member);
        }
        if let Some(first) = alone {
            self.mark_learned_from(index, first);
        }
    }

    /// Takes a peer out of its group, which ends with its last member.
    pub(super) fn leave(&mut self, peer: PeerId) {
        let Some(member) = self.peers.get_mut(peer).and_then(|peer| peer.member.take()) else {
            return;
        };
        let index = member.group;
        let Some(mut group) = self.groups[index].take() else {
            return;
        };
        group.members.retain(|member| *member != peer);
        match &member.position {
            Position::Following { next } => {
                group.log.skip(*next);
                self.trim(&mut group);
            }
            Position::Walking(walks) => {
                for (family, walk) in walks.iter().enumerate() {
                    self.forget_told(family, walk);
                }
            }
        }
        self.put_back(group, index);
    }

    fn dissolve(&mut self, group: &Group) {
        for (family, adj_out) in group.adj_out.iter().enumerate() {
            for (id, told) in adj_out.iter() {
                self.release_told(told);
                self.tables.release(family, id);
            }
            for id in adj_out.pending() {
                self.tables.release(family, id);
            }
        }
    }

    /// Notes everything a new group may have to tell.
    fn mark_all(&mut self, index: usize) {
        let Some(group) = &self.groups[index] else {
            return;
        };
        if group.announces_learned {
            for family in 0..FAMILIES {
                for id in 0..self.tables.id_bound(family) {
                    if self.tables.best(family, id).is_some() {
                        self.mark(index, family, id);
                    }
                }
            }
            return;
        }
        let originated = std::mem::take(&mut self.originated);
        for net in &originated {
            if let Some(id) = self.tables.find(*net) {
                self.mark(index, net_index(net), id);
            }
        }
        self.originated = originated;
    }

    /// A group got its second member, or has one left: what was learned from the first is told from now on,
    /// or no more.
    fn mark_learned_from(&mut self, index: usize, peer: PeerId) {
        if !self.groups[index]
            .as_ref()
            .is_some_and(|group| group.announces_learned)
        {
            return;
        }
        for family in 0..FAMILIES {
            if !self.has_learned(peer, family) {
                continue;
            }
            for id in 0..self.tables.id_bound(family) {
                if self
                    .tables
                    .best(family, id)
                    .and_then(super::path::Path::peer)
                    == Some(peer)
                {
                    self.mark(index, family, id);
                }
            }
        }
    }

    /// The peer asks for a family again (RFC 2918); with BoRR and EoRR around it where `enhanced` refresh was
    /// negotiated (RFC 7313).
    pub fn refresh(&mut self, peer: PeerId, family: Family, enhanced: bool) {
        let (Some(member), Some(index)) = (self.peers.member(peer), family_index(family)) else {
            return;
        };
        let slot = member.group;
        let Some(mut group) = self.groups[slot].take() else {
            return;
        };
        self.start_walk(&mut group, peer);
        if let Some(member) = self.peers.member_mut(peer)
            && let Position::Walking(walks) = &mut member.position
        {
            let walk = &mut walks[index];
            for (id, _) in group.adj_out[index].iter() {
                walk.dirty.insert(id);
            }
            if enhanced && !std::mem::replace(&mut walk.refresh_end, true) {
                let marker = RouteRefresh {
                    family,
                    subtype: RefreshSubtype::Begin,
                };
                member.queue.push_back(marker.encode());
            }
        }
        self.groups[slot] = Some(group);
        self.wake(peer);
    }

    /// Gives a peer another policy. Only what it changes is sent.
    pub fn set_policy(&mut self, peer: PeerId, policy: Arc<ExportPolicy>) {
        let Some(known) = self.peers.get_mut(peer) else {
            return;
        };
        if *known.facts.policy == *policy {
            return;
        }
        known.facts.policy = policy;
        let audience = Audience::of(&known.facts);
        let Some(index) = known.member.as_ref().map(|member| member.group) else {
            return;
        };
        let alone = self.groups[index]
            .as_ref()
            .and_then(Group::sole_member)
            .is_some();
        match self.find_group(&audience) {
            Some(target) => self.move_member(peer, index, target),
            None if alone => self.rekey(index, audience),
            None => {
                let target = self.split(peer, index);
                self.rekey(target, audience);
            }
        }
        self.wake(peer);
    }

    /// Replaces the policy of a group in place: what it decides otherwise is noted.
    fn rekey(&mut self, index: usize, audience: Audience) {
        let Some(mut group) = self.groups[index].take() else {
            return;
        };
        let successor = Group::new(audience);
        let (before, after) = (&group.audience.policy, &successor.audience.policy);
        let difference = before.difference(after);
        let mut noted = Vec::new();
        for family in 0..FAMILIES {
            for id in 0..self.tables.id_bound(family) {
                let told = group.adj_out[family].get(id);
                let is_told = told != AttributeId::NONE && told != OUTDATED;
                if !is_told && self.tables.best(family, id).is_none() {
                    continue;
                }
                if told != OUTDATED && !difference.concerns(&self.tables.net(family, id)) {
                    continue;
                }
                if is_told {
                    if self.rules_agree(&group, &successor, family, id, told) {
                        continue;
                    }
                    group.adj_out[family].replace(id, OUTDATED);
                    self.release_told(told);
                }
                noted.push((family, id));
            }
        }
        group.announces_learned = successor.announces_learned;
        group.audience = successor.audience;
        self.groups[index] = Some(group);
        for (family, id) in noted {
            self.mark(index, family, id);
        }
    }

    /// Whether two groups' policies make the same of a route.
    fn rules_agree(
        &self,
        one: &Group,
        other: &Group,
        family: usize,
        id: DestinationId,
        told: AttributeId,
    ) -> bool {
        let changes = |group| {
            self.rule(group, family, id, told)
                .map(|(_, changes)| changes)
        };
        changes(one) == changes(other)
    }

    /// Moves a member into a group of its own that has told what its old one has; the new group's index.
    fn split(&mut self, peer: PeerId, index: usize) -> usize {
        let Some(group) = &self.groups[index] else {
            return index;
        };
        let mut successor = Group::new(group.audience.clone());
        for (family, adj_out) in group.adj_out.iter().enumerate() {
            for (id, told) in adj_out.iter() {
                if told != OUTDATED {
                    self.attributes.retain(told);
                }
                self.tables.hold(family, id);
                successor.adj_out[family].replace(id, told);
            }
            for id in adj_out.pending() {
                if successor.adj_out[family].mark(id) {
                    self.tables.hold(family, id);
                }
            }
        }
        let target = self.add_group(successor);
        self.move_member(peer, index, target);
        target
    }

    /// Moves a member between groups that differ in their policy only: it has to be told where they have told
    /// differently.
    fn move_member(&mut self, peer: PeerId, index: usize, target: usize) {
        let Some(mut group) = self.groups[index].take() else {
            return;
        };
        self.start_walk(&mut group, peer);
        self.groups[index] = Some(group);
        let Some(member) = self.peers.member_mut(peer) else {
            return;
        };
        let Position::Walking(mut walks) =
            std::mem::replace(&mut member.position, Position::Following { next: 0 })
        else {
            return;
        };
        let queue = std::mem::take(&mut member.queue);
        let owes_end_of_rib = member.end_of_rib_after.is_some();
        for (family, walk) in walks.iter_mut().enumerate() {
            self.note_differences(index, target, family, walk);
        }
        let held: [IdSet; FAMILIES] = std::array::from_fn(|family| walks[family].told.clone());
        self.enter(peer, target, *walks);
        if let Some(member) = self.peers.member_mut(peer) {
            member.queue = queue;
            if !owes_end_of_rib {
                member.end_of_rib_after = None;
            }
        }
        self.abandon(peer, index);
        for (family, told) in held.iter().enumerate() {
            for id in told.iter() {
                self.tables.release(family, id);
            }
        }
    }

    /// Adds to a walk where the member has been told something else than the members of the target group.
    fn note_differences(&self, index: usize, target: usize, family: usize, walk: &mut Walk) {
        let (Some(from), Some(to)) = (&self.groups[index], &self.groups[target]) else {
            return;
        };
        for id in 0..self.tables.id_bound(family) {
            let (told, wanted) = (from.adj_out[family].get(id), to.adj_out[family].get(id));
            let known = told != OUTDATED && wanted != OUTDATED;
            let same = told == wanted && known && !walk.dirty.contains(id);
            let agreed =
                same && (told == AttributeId::NONE || self.rules_agree(from, to, family, id, told));
            if !agreed && (walk.told.contains(id) || wanted != AttributeId::NONE) {
                walk.dirty.insert(id);
            }
        }
    }

    /// Strikes a member that has entered another group off its old one.
    fn abandon(&mut self, peer: PeerId, index: usize) {
        let Some(mut group) = self.groups[index].take() else {
            return;
        };
        group.members.retain(|member| *member != peer);
        self.put_back(group, index);
    }

    /// Puts a group that has lost a member back in its place, unless it was the last.
    fn put_back(&mut self, group: Group, index: usize) {
        if group.members.is_empty() {
            self.dissolve(&group);
            return;
        }
        let alone = group.sole_member();
        self.groups[index] = Some(group);
        if let Some(last) = alone {
            self.mark_learned_from(index, last);
        }
    }
}

fn ids_of(adj_out: &AdjOut) -> IdSet {
    let mut ids = IdSet::default();
    for (id, _) in adj_out.iter() {
        ids.insert(id);
    }
    ids
}
