//! Path attributes, each distinct set stored once for the whole instance.

use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as IndexEntry;

/// Names a stored set for as long as it is referenced.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct AttributeId(pub(super) u32);

impl AttributeId {
    /// No set.
    pub(super) const NONE: Self = Self(0);
}

/// What selection and export ask of a set, read once when it is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Summary {
    /// LOCAL_PREF, 100 where absent (RFC 4271 section 9.1.1 leaves the default to the speaker).
    pub(super) local_preference: u32,
    /// MULTI_EXIT_DISC, 0 where absent (RFC 4271 section 9.1.2.2 c).
    pub(super) multi_exit_discriminator: u32,
    /// First AS of the path; 0 for an empty path or one that begins with a set.
    pub(super) neighbour_as: u32,
    /// ORIGINATOR_ID; 0 where absent.
    pub(super) originator_id: u32,
    /// AS_PATH length, a set counting 1.
    pub(super) as_path_length: u16,
    /// CLUSTER_LIST length.
    pub(super) cluster_list_length: u16,
    /// ORIGIN: 0 IGP, 1 EGP, 2 INCOMPLETE.
    pub(super) origin: u8,
    /// Carries NO_EXPORT or NO_EXPORT_SUBCONFED (RFC 1997).
    pub(super) no_export: bool,
    /// Carries NO_ADVERTISE (RFC 1997).
    pub(super) no_advertise: bool,
    /// Carries GRACEFUL_SHUTDOWN (RFC 8326).
    pub(super) graceful_shutdown: bool,
}

/// LOCAL_PREF of a path that carries none.
pub(super) const DEFAULT_LOCAL_PREFERENCE: u32 = 100;

/// One stored set.
#[derive(Debug)]
struct Stored {
    /// Canonical attributes, then the octets of the next hop that MP_REACH_NLRI brought.
    bytes: Box<[u8]>,
    /// How many of them are the next hop's.
    next_hop_length: u8,
    references: u32,
    summary: Summary,
}

/// All sets, found by content.
#[derive(Debug)]
pub(super) struct Attributes {
    stored: Vec<Stored>,
    /// 32 bits of the hash beside the id: growing needs no bytes, and a probe compares few.
    index: HashTable<(u32, AttributeId)>,
    free: Vec<AttributeId>,
    hasher: FixedState,
}

impl Attributes {
    pub(super) fn new(seed: u64) -> Self {
        let vacant = Stored {
            bytes: Box::default(),
            next_hop_length: 0,
            references: 0,
            summary: Summary::default(),
        };
        Self {
            stored: vec![vacant],
            index: HashTable::new(),
            free: Vec::new(),
            hasher: FixedState::with_seed(seed),
        }
    }

    /// The id of this set, stored if it is new; the caller owns one reference to it.
    pub(super) fn intern(
        &mut self,
        attributes: &[u8],
        next_hop: &[u8],
        summary: impl FnOnce() -> Summary,
    ) -> AttributeId {
        let short = self.short_hash(attributes, next_hop);
        let Self {
            stored,
            index,
            free,
            ..
        } = self;
        let entry = index.entry(
            spread(short),
            |(hash, id)| *hash == short && stored[id.0 as usize].is(attributes, next_hop),
            |(hash, _)| spread(*hash),
        );
        let id = match entry {
            IndexEntry::Occupied(entry) => entry.get().1,
            IndexEntry::Vacant(entry) => {
                let new = Stored {
                    bytes: [attributes, next_hop].concat().into_boxed_slice(),
                    next_hop_length: next_hop.len() as u8,
                    references: 0,
                    summary: summary(),
                };
                let id = match free.pop() {
                    Some(id) => {
                        stored[id.0 as usize] = new;
                        id
                    }
                    None => {
                        let id = u32::try_from(stored.len())
                            .expect("fewer than 2^32 sets fit into memory");
                        stored.push(new);
                        AttributeId(id)
                    }
                };
                entry.insert((short, id));
                id
            }
        };
        self.retain(id);
        id
    }

    /// One more reference.
    pub(super) fn retain(&mut self, id: AttributeId) {
        self.stored[id.0 as usize].references += 1;
    }

    /// One reference less; the last one frees the set.
    pub(super) fn release(&mut self, id: AttributeId) {
        let stored = &mut self.stored[id.0 as usize];
        debug_assert!(stored.references > 0, "released more often than retained");
        stored.references -= 1;
        if stored.references == 0 {
            let bytes = std::mem::take(&mut stored.bytes);
            let (attributes, next_hop) =
                bytes.split_at(bytes.len() - stored.next_hop_length as usize);
            let short = self.short_hash(attributes, next_hop);
            if let Ok(entry) = self
                .index
                .find_entry(spread(short), |(_, other)| *other == id)
            {
                entry.remove();
            }
            self.free.push(id);
        }
        if self.index.is_empty() {
            self.stored.truncate(1);
            self.stored.shrink_to_fit();
            self.index = HashTable::new();
            self.free = Vec::new();
        }
    }

    pub(super) fn summary(&self, id: AttributeId) -> &Summary {
        &self.stored[id.0 as usize].summary
    }

    /// The canonical attributes, without the next hop of MP_REACH_NLRI.
    pub(super) fn bytes(&self, id: AttributeId) -> &[u8] {
        self.stored[id.0 as usize].split().0
    }

    /// The octets of the next hop that MP_REACH_NLRI brought; empty where the NEXT_HOP attribute has it.
    pub(super) fn next_hop_octets(&self, id: AttributeId) -> &[u8] {
        self.stored[id.0 as usize].split().1
    }

    /// Number of distinct sets.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    fn short_hash(&self, attributes: &[u8], next_hop: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(attributes);
        hasher.write(next_hop);
        let hash = hasher.finish();
        (hash ^ hash >> 32) as u32
    }
}

impl Stored {
    fn split(&self) -> (&[u8], &[u8]) {
        self.bytes
            .split_at(self.bytes.len() - self.next_hop_length as usize)
    }

    fn is(&self, attributes: &[u8], next_hop: &[u8]) -> bool {
        self.split() == (attributes, next_hop)
    }
}

/// Both ends of a table hash from 32 bits: the lowest choose the bucket, the highest tag it.
fn spread(short: u32) -> u64 {
    u64::from(short).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The global address in the octets of an MP_REACH_NLRI next hop: 4, 16, or 32 with a link-local one behind
/// it (RFC 2545 section 3).
pub(super) fn global_next_hop(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets)
            .ok()
            .map(|octets| Ipv4Addr::from(octets).into()),
        16 | 32 => <[u8; 16]>::try_from(&octets[..16])
            .ok()
            .map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

/// The link-local address behind the global one in the octets of an MP_REACH_NLRI next hop.
pub(super) fn link_local_next_hop(octets: &[u8]) -> Option<Ipv6Addr> {
    let behind = octets.get(16..32)?;
    <[u8; 16]>::try_from(behind).ok().map(Ipv6Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_are_stored_once_and_freed_with_their_last_reference() {
        let mut attributes = Attributes::new(1);
        let summary = Summary::default;
        let first = attributes.intern(b"origin", b"", summary);
        let other = attributes.intern(b"orig", b"in", summary);
        assert_ne!(
            first, other,
            "the next hop is part of the set, but not of its attributes"
        );
        assert_eq!(attributes.intern(b"origin", b"", summary), first);
        assert_eq!(
            (attributes.bytes(other), attributes.next_hop_octets(other)),
            (&b"orig"[..], &b"in"[..])
        );
        attributes.release(first);
        assert_eq!(attributes.len(), 2);
        attributes.release(first);
        assert_eq!(attributes.len(), 1);
        assert_eq!(
            attributes.intern(b"another", b"", summary),
            first,
            "ids are used again"
        );
    }
}
