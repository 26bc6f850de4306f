//! A peer takes its next chunk: from its own queue, its group's log, or by encoding what is next.

use bytes::{Bytes, BytesMut};

use super::attributes::AttributeId;
use super::encoding::{Encoder, cut, end_of_rib};
use super::export::{Announcement, Changes};
use super::group::{Group, LogEntry, OUTDATED, Position, Walk};
use super::key::{FAMILIES, FAMILY_AT};
use super::table::DestinationId;
use super::{PeerId, Rib};
use crate::wire::{RefreshSubtype, RouteRefresh};

/// Octets of attributes encoded at once: destinations with long ones come in smaller batches.
const BATCH_ATTRIBUTE_OCTETS: usize = 256 << 10;

/// What a prefix and its share of a message take, by and large.
const PREFIX_OCTETS: usize = 8;

impl Rib {
    /// The next octets for a peer: whole messages, at most 64 KiB. `None` when it has been told everything.
    /// Shared, not copied, among the peers of a group.
    pub fn next_chunk(&mut self, peer: PeerId) -> Option<Bytes> {
        loop {
            let member = self.peers.member_mut(peer)?;
            if let Some(chunk) = member.queue.pop_front() {
                return Some(chunk);
            }
            if !self.advance(peer) {
                return None;
            }
        }
    }

    /// Whether [`Rib::next_chunk`] has something to do; it may still give `None` where changes cancelled out.
    #[must_use]
    pub fn has_output(&self, peer: PeerId) -> bool {
        let Some(member) = self.peers.member(peer) else {
            return false;
        };
        let Some(group) = &self.groups[member.group] else {
            return false;
        };
        let behind = match &member.position {
            Position::Walking(_) => true,
            Position::Following { next } => *next < group.log.end() || group.has_pending(),
        };
        behind || !member.queue.is_empty() || member.end_of_rib_after.is_some()
    }

    /// Whether End-of-RIB was handed out for every family of the current session.
    #[must_use]
    pub fn end_of_rib_sent(&self, peer: PeerId) -> bool {
        self.peers
            .member(peer)
            .is_some_and(|member| member.end_of_rib_after.is_none())
    }

    /// Puts something into a member's queue, or at least gets closer to it; false if there is nothing left to
    /// tell.
    fn advance(&mut self, peer: PeerId) -> bool {
        let Some(member) = self.peers.member(peer) else {
            return false;
        };
        let index = member.group;
        let Some(mut group) = self.groups[index].take() else {
            return false;
        };
        let unread = match &member.position {
            Position::Walking(_) => None,
            Position::Following { next } => Some(*next).filter(|next| *next < group.log.end()),
        };
        let walking = matches!(member.position, Position::Walking(_));
        let progress =
            walking || unread.is_some() || group.has_pending() || member.end_of_rib_after.is_some();
        if walking {
            self.walk(&mut group, peer);
        } else if let Some(next) = unread {
            self.read_log(&mut group, peer, next);
        } else if !self.finish_initial_table(&group, peer) {
            self.flush(&mut group, peer);
        }
        self.groups[index] = Some(group);
        progress
    }

    fn read_log(&mut self, group: &mut Group, peer: PeerId, next: u64) {
        if let Some(chunks) = group.log.read(next)
            && let Some(member) = self.peers.member_mut(peer)
        {
            member.queue.extend(chunks);
            member.position = Position::Following { next: next + 1 };
        }
        self.trim(group);
    }

    /// Forgets what all members have read.
    pub(super) fn trim(&mut self, group: &mut Group) {
        while let Some(entry) = group.log.trim() {
            for id in entry.withdrawn {
                self.tables.release(entry.family, id);
            }
        }
    }

    /// Queues End-of-RIB if the member has been told all that was there when it joined.
    fn finish_initial_table(&mut self, group: &Group, peer: PeerId) -> bool {
        let Some(member) = self.peers.member_mut(peer) else {
            return false;
        };
        if !member
            .end_of_rib_after
            .is_some_and(|marked| group.has_settled(&marked))
        {
            return false;
        }
        let families = (0..FAMILIES).filter(|family| group.audience.negotiated[*family]);
        member.queue.extend(families.map(end_of_rib));
        member.end_of_rib_after = None;
        true
    }

    /// Encodes one batch of the group's pending changes for all its members, on behalf of one that is up to
    /// date.
    fn flush(&mut self, group: &mut Group, peer: PeerId) {
        let Some(family) =
            (0..FAMILIES).find(|family| group.adj_out[*family].pending().next().is_some())
        else {
            return;
        };
        let size = self.batch_size(group, family);
        let batch = group.adj_out[family].take_pending(size);
        let mut changes = self.evaluate(group, family, &batch);
        let mut entry = LogEntry::new(family);
        entry.chunks = self.encode(group, family, &mut changes, |id| {
            group.adj_out[family].get(id) != AttributeId::NONE
        });
        self.apply(&mut group.adj_out[family], family, &changes);
        entry.announced = changes
            .announced
            .iter()
            .map(|announcement| announcement.id)
            .collect();
        entry.withdrawn = changes.withdrawn;
        if !entry.chunks.is_empty() {
            self.deliver(group, peer, entry);
        }
        for id in batch {
            self.tables.release(family, id);
        }
    }

    /// How many of the pending destinations to encode at once, at least one.
    fn batch_size(&self, group: &Group, family: usize) -> usize {
        let mut octets = 0;
        let mut last = AttributeId::NONE;
        let fits = |id: &DestinationId| {
            let attributes = self
                .tables
                .best(family, *id)
                .map_or(AttributeId::NONE, |best| best.attributes);
            if attributes != std::mem::replace(&mut last, attributes) {
                octets += self.attributes.bytes(attributes).len();
            }
            octets <= BATCH_ATTRIBUTE_OCTETS
        };
        group.adj_out[family]
            .pending()
            .take(self.limits.batch)
            .take_while(fits)
            .count()
            .max(1)
    }

    /// Encodes changes; those that do not fit into a message are withdrawn if `told` of, else left out (RFC
    /// 8654 section 4).
    fn encode(
        &self,
        group: &Group,
        family: usize,
        changes: &mut Changes,
        told: impl Fn(DestinationId) -> bool,
    ) -> Vec<Bytes> {
        let Some(next_hop) = group.audience.next_hops[family] else {
            return Vec::new();
        };
        let encoder = Encoder {
            audience: &group.audience,
            local_asn: self.local_asn,
            family,
            next_hop,
        };
        let mut announcements = BytesMut::with_capacity(changes.announced.len() * PREFIX_OCTETS);
        let mut misfits = Vec::new();
        for bucket in changes.buckets() {
            if !self.encode_bucket(group, &encoder, bucket, &mut announcements) {
                misfits.push((bucket[0].attributes, bucket[0].rule));
            }
        }
        if !misfits.is_empty() {
            let misfit = |one: &Announcement| misfits.contains(&(one.attributes, one.rule));
            let unsent = changes
                .announced
                .extract_if(.., |one| misfit(one))
                .map(|one| one.id);
            changes.withdrawn.extend(unsent.filter(|id| told(*id)));
        }
        let mut withdrawals = BytesMut::new();
        encoder.withdraw(&mut withdrawals, &self.tables, &changes.withdrawn);
        let mut chunks = Vec::new();
        cut(withdrawals, &mut chunks);
        cut(announcements, &mut chunks);
        chunks
    }

    /// Whether the announcements, which share one encoding, could be encoded.
    fn encode_bucket(
        &self,
        group: &Group,
        encoder: &Encoder<'_>,
        bucket: &[Announcement],
        out: &mut BytesMut,
    ) -> bool {
        let Announcement { attributes, id, .. } = bucket[0];
        let Some((_, set)) = self.rule(group, encoder.family, id, attributes) else {
            return false;
        };
        let summary = self.attributes.summary(attributes);
        let canonical = self.attributes.bytes(attributes);
        let exported = encoder.attributes(canonical, self.source(attributes), summary, set);
        encoder
            .announce(
                out,
                &self.tables,
                &exported,
                bucket.iter().map(|one| one.id),
            )
            .is_ok()
    }

    /// Hands an encoded batch to the member that asked for it, and keeps it for the others.
    fn deliver(&mut self, group: &mut Group, peer: PeerId, entry: LogEntry) {
        let mut readers = 0;
        for other in group
            .members
            .iter()
            .copied()
            .filter(|member| *member != peer)
        {
            let Some(member) = self.peers.member_mut(other) else {
                continue;
            };
            match &mut member.position {
                Position::Following { .. } => readers += 1,
                Position::Walking(walk) => walk[entry.family].note(&entry),
            }
            self.wake(other);
        }
        if let Some(member) = self.peers.member_mut(peer) {
            member.queue.extend(entry.chunks.iter().cloned());
            let end = group.log.end() + u64::from(readers > 0);
            member.position = Position::Following { next: end };
        }
        if readers == 0 {
            for id in entry.withdrawn {
                self.tables.release(entry.family, id);
            }
            return;
        }
        group.log.append(entry, readers);
        while group.log.octets() > self.limits.log_octets {
            self.leave_behind(group);
        }
    }

    /// Members that have not read the oldest entry catch up from the table instead.
    fn leave_behind(&mut self, group: &mut Group) {
        let oldest = group.log.start();
        for index in 0..group.members.len() {
            let peer = group.members[index];
            let position = self.peers.member(peer).map(|member| &member.position);
            if matches!(position, Some(Position::Following { next }) if *next == oldest) {
                self.start_walk(group, peer);
            }
        }
        self.trim(group);
    }

    /// Takes a member off the log: it knows what was told, except for what it has not read. Nothing changes
    /// for one that catches up already.
    pub(super) fn start_walk(&mut self, group: &mut Group, peer: PeerId) {
        let Some(member) = self.peers.member_mut(peer) else {
            return;
        };
        let Position::Following { next } = member.position else {
            return;
        };
        let mut walks: Box<[Walk; FAMILIES]> = Box::default();
        for (walk, adj_out) in walks.iter_mut().zip(&group.adj_out) {
            for (id, _) in adj_out.iter() {
                walk.told.insert(id);
            }
        }
        for entry in group.log.unread(next) {
            for id in entry.announced.iter().chain(&entry.withdrawn) {
                walks[entry.family].told.insert(*id);
                walks[entry.family].dirty.insert(*id);
            }
        }
        for (family, walk) in walks.iter().enumerate() {
            for id in walk.told.iter() {
                self.tables.hold(family, id);
            }
        }
        group.log.skip(next);
        member.position = Position::Walking(walks);
        self.trim(group);
    }

    /// One step of catching up: a batch of what the member has to be told, or its return to the log.
    fn walk(&mut self, group: &mut Group, peer: PeerId) {
        let Some(member) = self.peers.member_mut(peer) else {
            return;
        };
        let end = Position::Following {
            next: group.log.end(),
        };
        let Position::Walking(mut walks) = std::mem::replace(&mut member.position, end) else {
            return;
        };
        match (0..FAMILIES).find(|family| !walks[*family].dirty.is_empty()) {
            Some(family) => {
                let chunks = self.walk_batch(group, family, &mut walks[family]);
                if let Some(member) = self.peers.member_mut(peer) {
                    member.queue.extend(chunks);
                    member.position = Position::Walking(walks);
                }
            }
            None => self.end_walk(peer, &walks),
        }
    }

    fn walk_batch(&mut self, group: &Group, family: usize, walk: &mut Walk) -> Vec<Bytes> {
        let mut changes = Changes::default();
        let mut octets = 0;
        while changes.announced.len() + changes.withdrawn.len() < self.limits.batch
            && octets <= BATCH_ATTRIBUTE_OCTETS
        {
            let Some(id) = walk.dirty.next_cyclic(walk.cursor) else {
                break;
            };
            walk.dirty.remove(id);
            walk.cursor = id + 1;
            match group.adj_out[family].get(id) {
                // Still pending in the group: its outcome will be noted for this walk, or be in the log after
                // it.
                OUTDATED => {}
                AttributeId::NONE if walk.told.contains(id) => changes.withdrawn.push(id),
                AttributeId::NONE => {}
                attributes => {
                    let rule = self
                        .rule(group, family, id, attributes)
                        .map_or(u32::MAX, |(rule, _)| rule);
                    if changes
                        .announced
                        .last()
                        .is_none_or(|last| last.attributes != attributes)
                    {
                        octets += self.attributes.bytes(attributes).len();
                    }
                    changes.announced.push(Announcement {
                        attributes,
                        rule,
                        id,
                    });
                }
            }
        }
        changes.announced.sort_unstable();
        let chunks = self.encode(group, family, &mut changes, |id| walk.told.contains(id));
        for announcement in &changes.announced {
            if walk.told.insert(announcement.id) {
                self.tables.hold(family, announcement.id);
            }
        }
        for id in &changes.withdrawn {
            walk.told.remove(*id);
            self.tables.release(family, *id);
        }
        chunks
    }

    /// The member knows what the group knows.
    fn end_walk(&mut self, peer: PeerId, walks: &[Walk; FAMILIES]) {
        for (family, walk) in walks.iter().enumerate() {
            self.forget_told(family, walk);
            if walk.refresh_end
                && let Some(member) = self.peers.member_mut(peer)
            {
                let marker = RouteRefresh {
                    family: FAMILY_AT[family],
                    subtype: RefreshSubtype::End,
                };
                member.queue.push_back(marker.encode());
            }
        }
    }

    /// Releases what a walk holds.
    pub(super) fn forget_told(&mut self, family: usize, walk: &Walk) {
        for id in walk.told.iter() {
            self.tables.release(family, id);
        }
    }
}

impl Walk {
    /// The group has been told something new.
    fn note(&mut self, entry: &LogEntry) {
        for id in &entry.announced {
            self.dirty.insert(*id);
        }
        for id in &entry.withdrawn {
            if self.told.contains(*id) {
                self.dirty.insert(*id);
            } else {
                self.dirty.remove(*id);
            }
        }
    }
}
