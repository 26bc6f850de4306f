//! Export groups: peers to whom every route means the same bytes share one Adj-RIB-Out and one log of encoded
//! updates.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::attributes::AttributeId;
use super::bitset::IdSet;
use super::key::{FAMILIES, FAMILY_AT, Ipv4Key, PrefixKey};
use super::table::DestinationId;
use super::{PeerFacts, PeerId};
use crate::policy::ExportPolicy;
use crate::wire::PeerKind;

/// A peer has been told something other than what its policy says now.
pub(super) const OUTDATED: AttributeId = AttributeId(u32::MAX);

/// Everything that decides what a peer is told and in which octets: the key of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Audience {
    pub(super) kind: PeerKind,
    pub(super) four_octet: bool,
    pub(super) max_message: usize,
    /// Families negotiated: each gets an End-of-RIB.
    pub(super) negotiated: [bool; FAMILIES],
    /// Our address as the next hop of each family; `None` closes the family: nothing can be announced in it.
    pub(super) next_hops: [Option<IpAddr>; FAMILIES],
    pub(super) policy: Arc<ExportPolicy>,
}

impl Audience {
    pub(super) fn of(facts: &PeerFacts) -> Self {
        let negotiated = FAMILY_AT.map(|family| facts.families.contains(&family));
        let next_hops =
            std::array::from_fn(|family| next_hop(facts, family).filter(|_| negotiated[family]));
        Self {
            kind: facts.kind,
            four_octet: facts.four_octet,
            max_message: facts.max_message,
            negotiated,
            next_hops,
            policy: Arc::clone(&facts.policy),
        }
    }
}

/// Next hop self. IPv4 prefixes over IPv6 need RFC 8950; IPv6 prefixes over IPv4 get the IPv4-mapped address,
/// as with Cilium.
fn next_hop(facts: &PeerFacts, family: usize) -> Option<IpAddr> {
    match (family == Ipv4Key::INDEX, facts.local) {
        (true, IpAddr::V4(_)) | (false, IpAddr::V6(_)) => Some(facts.local),
        (true, IpAddr::V6(_)) => facts
            .extended_next_hop
            .contains(&FAMILY_AT[family])
            .then_some(facts.local),
        (false, IpAddr::V4(local)) => Some(local.to_ipv6_mapped().into()),
    }
}

/// One group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) audience: Audience,
    /// Whether the policy lets anything learned through.
    pub(super) announces_learned: bool,
    pub(super) members: Vec<PeerId>,
    pub(super) adj_out: [AdjOut; FAMILIES],
    pub(super) log: Log,
}

impl Group {
    pub(super) fn new(audience: Audience) -> Self {
        Self {
            announces_learned: audience.policy.announces_learned(),
            audience,
            members: Vec::new(),
            adj_out: Default::default(),
            log: Log::default(),
        }
    }

    /// The only member: what was learned from it is not sent back to it. Larger groups leave that to the
    /// receiver's loop check (RFC 4271 section 9.1.2), so that all members get the same bytes.
    pub(super) fn sole_member(&self) -> Option<PeerId> {
        match self.members[..] {
            [member] => Some(member),
            _ => None,
        }
    }

    pub(super) fn is_open(&self, family: usize) -> bool {
        self.audience.next_hops[family].is_some()
    }

    pub(super) fn has_pending(&self) -> bool {
        self.adj_out.iter().any(|adj_out| !adj_out.queue.is_empty())
    }

    /// How many changes were ever marked, by family: the End-of-RIB of a member that joins now follows them.
    pub(super) fn marked(&self) -> [u64; FAMILIES] {
        std::array::from_fn(|family| self.adj_out[family].marked)
    }

    /// Whether the changes marked by then have been encoded.
    pub(super) fn has_settled(&self, marked: &[u64; FAMILIES]) -> bool {
        self.adj_out
            .iter()
            .zip(marked)
            .all(|(adj_out, marked)| adj_out.marked - adj_out.queue.len() as u64 >= *marked)
    }
}

/// What a group's members have been told, or will have been once they have read the log, in one family.
#[derive(Debug, Default)]
pub(super) struct AdjOut {
    /// Attributes by destination: [`AttributeId::NONE`] where not announced, [`OUTDATED`] where announced
    /// otherwise.
    told: Vec<AttributeId>,
    advertised: u32,
    pending: IdSet,
    queue: VecDeque<DestinationId>,
    marked: u64,
}

impl AdjOut {
    pub(super) fn get(&self, id: DestinationId) -> AttributeId {
        self.told
            .get(id as usize)
            .copied()
            .unwrap_or(AttributeId::NONE)
    }

    /// Records what is told now; what was told before.
    pub(super) fn replace(&mut self, id: DestinationId, attributes: AttributeId) -> AttributeId {
        let index = id as usize;
        if index >= self.told.len() {
            self.told.resize(index + 1, AttributeId::NONE);
        }
        let before = std::mem::replace(&mut self.told[index], attributes);
        self.advertised += u32::from(attributes != AttributeId::NONE);
        self.advertised -= u32::from(before != AttributeId::NONE);
        before
    }

    /// Number of prefixes announced.
    pub(super) fn advertised(&self) -> u32 {
        self.advertised
    }

    /// What is announced, ascending by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (DestinationId, AttributeId)> {
        let announced = |attributes: &AttributeId| *attributes != AttributeId::NONE;
        self.told
            .iter()
            .enumerate()
            .filter(move |(_, told)| announced(told))
            .map(|(id, told)| (id as u32, *told))
    }

    /// Notes that `id` must be looked at again; whether it was not noted already.
    pub(super) fn mark(&mut self, id: DestinationId) -> bool {
        let new = self.pending.insert(id);
        if new {
            self.queue.push_back(id);
            self.marked += 1;
        }
        new
    }

    /// What is noted, oldest first.
    pub(super) fn pending(&self) -> impl Iterator<Item = DestinationId> {
        self.queue.iter().copied()
    }

    /// Takes up to `limit` of what is noted, oldest first.
    pub(super) fn take_pending(&mut self, limit: usize) -> Vec<DestinationId> {
        let batch: Vec<_> = self.queue.drain(..limit.min(self.queue.len())).collect();
        for id in &batch {
            self.pending.remove(*id);
        }
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        batch
    }
}

/// One encoded batch of changes.
#[derive(Debug)]
pub(super) struct LogEntry {
    /// Whole messages, at most 64 KiB each.
    pub(super) chunks: Vec<Bytes>,
    pub(super) family: usize,
    /// Which destinations it announces and withdraws; the latter are held until it is read by all.
    pub(super) announced: Vec<DestinationId>,
    pub(super) withdrawn: Vec<DestinationId>,
    /// Members that have not read it.
    readers: usize,
}

impl LogEntry {
    pub(super) fn new(family: usize) -> Self {
        Self {
            chunks: Vec::new(),
            family,
            announced: Vec::new(),
            withdrawn: Vec::new(),
            readers: 0,
        }
    }

    /// Octets it takes, with what comes along with them.
    fn size(&self) -> usize {
        let ids = (self.announced.len() + self.withdrawn.len()) * size_of::<DestinationId>();
        self.chunks.iter().map(Bytes::len).sum::<usize>() + ids + size_of::<Self>()
    }
}

/// Encoded changes that at least one member has still to read, in order.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<LogEntry>,
    /// Number of the first entry.
    first: u64,
    octets: usize,
}

impl Log {
    /// Number the next entry will have: where a member that is up to date reads on.
    pub(super) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    /// Number of the oldest entry.
    pub(super) fn start(&self) -> u64 {
        self.first
    }

    /// Appends what `readers` > 0 members will read.
    pub(super) fn append(&mut self, mut entry: LogEntry, readers: usize) {
        entry.readers = readers;
        self.octets += entry.size();
        self.entries.push_back(entry);
    }

    /// The entries a member that reads on at `next` has not read.
    pub(super) fn unread(&self, next: u64) -> impl Iterator<Item = &LogEntry> {
        self.entries.iter().skip((next - self.first) as usize)
    }

    /// Reads one entry on behalf of a member.
    pub(super) fn read(&mut self, number: u64) -> Option<Vec<Bytes>> {
        let entry = self.entries.get_mut((number - self.first) as usize)?;
        entry.readers -= 1;
        Some(entry.chunks.clone())
    }

    /// Has a member read, or skip, all entries from `next` on.
    pub(super) fn skip(&mut self, next: u64) {
        for entry in self.entries.iter_mut().skip((next - self.first) as usize) {
            entry.readers -= 1;
        }
    }

    /// Takes the oldest entry off if all have read it.
    pub(super) fn trim(&mut self) -> Option<LogEntry> {
        let entry = self.entries.pop_front_if(|entry| entry.readers == 0)?;
        self.first += 1;
        self.octets -= entry.size();
        Some(entry)
    }
}

/// Where a member is in what its group tells.
#[derive(Debug)]
pub(super) enum Position {
    /// Reading the log; up to date when `next` is its end.
    Following {
        /// Number of the entry to read next.
        next: u64,
    },
    /// Catching up from the table: newly joined, fallen behind the log, or asked for a refresh.
    Walking(Box<[Walk; FAMILIES]>),
}

/// What is left to tell a member that catches up, in one family.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Destinations the member knows of, each held.
    pub(super) told: IdSet,
    /// Destinations where it may have to be told otherwise.
    pub(super) dirty: IdSet,
    /// Where the walk goes on.
    pub(super) cursor: DestinationId,
    /// Whether an End-of-RIB marker of RFC 7313 closes the walk.
    pub(super) refresh_end: bool,
}

/// A peer's membership in a group.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) group: usize,
    pub(super) position: Position,
    /// Chunks that are this member's next.
    pub(super) queue: VecDeque<Bytes>,
    /// The changes its End-of-RIB waits for; `None` once it was sent.
    pub(super) end_of_rib_after: Option<[u64; FAMILIES]>,
    /// Whether it is in the list of peers with output.
    pub(super) is_ready: bool,
}

impl Member {
    pub(super) fn new(group: usize, position: Position, end_of_rib_after: [u64; FAMILIES]) -> Self {
        Self {
            group,
            position,
            queue: VecDeque::new(),
            end_of_rib_after: Some(end_of_rib_after),
            is_ready: false,
        }
    }
}
