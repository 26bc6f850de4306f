//! The RIB's side of each peer.

use super::group::Member;
use super::key::FAMILIES;
use super::{PeerFacts, PeerId};

/// A peer whose session is up, or whose routes are kept for its return.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) facts: PeerFacts,
    /// Its place in an export group; `None` while the session is down.
    pub(super) member: Option<Member>,
    pub(super) families: [LearnedCounts; FAMILIES],
}

/// What a peer's Adj-RIB-In holds in one family.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LearnedCounts {
    pub(super) received: u32,
    pub(super) accepted: u32,
}

/// All peers, by id.
#[derive(Debug, Default)]
pub(super) struct Peers {
    slots: Vec<Option<Peer>>,
}

impl Peers {
    pub(super) fn get(&self, id: PeerId) -> Option<&Peer> {
        self.slots.get(id.0 as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.slots.get_mut(id.0 as usize)?.as_mut()
    }

    pub(super) fn member(&self, id: PeerId) -> Option<&Member> {
        self.get(id)?.member.as_ref()
    }

    pub(super) fn member_mut(&mut self, id: PeerId) -> Option<&mut Member> {
        self.get_mut(id)?.member.as_mut()
    }

    /// Adds a peer without routes, or gives a known one new facts.
    pub(super) fn set_facts(&mut self, id: PeerId, facts: PeerFacts) -> &mut Peer {
        let index = id.0 as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        let slot = &mut self.slots[index];
        let families = slot.as_ref().map(|peer| peer.families).unwrap_or_default();
        slot.insert(Peer {
            facts,
            member: None,
            families,
        })
    }

    pub(super) fn remove(&mut self, id: PeerId) {
        if let Some(slot) = self.slots.get_mut(id.0 as usize) {
            *slot = None;
        }
    }
}
