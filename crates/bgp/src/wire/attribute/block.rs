//! The canonical attributes of a route as one value: bytes, hash, and what selection asks of them.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher};
use std::net::Ipv4Addr;

use foldhash::fast::FixedState;

use super::{Attribute, Attributes, Origin, PathFacts, Records};
use crate::wire::iana::community;

/// Attributes in canonical form, with their hash and summary. Borrowed from the message where it was canonical
/// already.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttributeBlock<'a> {
    bytes: Cow<'a, [u8]>,
    hash: u64,
    summary: Summary,
}

impl<'a> AttributeBlock<'a> {
    /// Canonical bytes, as [`super::AttributesBuilder`] and [`AttributeBlock::bytes`] give them. `local_asn` is what
    /// [`Summary::own_as_count`] counts.
    #[must_use]
    pub fn of(bytes: &'a [u8], local_asn: u32) -> Self {
        let mut summary = Summary::default();
        for attribute in Attributes::of(bytes) {
            summary.note(attribute, local_asn);
        }
        Self {
            bytes: Cow::Borrowed(bytes),
            hash: hash(bytes),
            summary,
        }
    }

    pub(in crate::wire) fn new(bytes: Cow<'a, [u8]>, summary: Summary) -> Self {
        Self {
            hash: hash(&bytes),
            bytes,
            summary,
        }
    }

    /// The canonical bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// [`hash()`] of the bytes.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// What selection asks.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The attributes, typed.
    #[must_use]
    pub fn iter(&self) -> Attributes<'_> {
        Attributes::of(&self.bytes)
    }
}

/// The hash under which canonical attributes are interned: equal on every peer and for what is built here.
#[must_use]
pub fn hash(canonical: &[u8]) -> u64 {
    // Any number: it only keeps the hash from being that of other users of the function.
    const SEED: u64 = 0x7072_6566_6978_6573;
    let mut hasher = FixedState::with_seed(SEED).build_hasher();
    hasher.write(canonical);
    hasher.finish()
}

/// What selection, policy and loop checks ask of attributes, found in the decoding pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Summary {
    /// ORIGIN.
    pub origin: Origin,
    /// LOCAL_PREF, from internal peers.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// AS_PATH length as selection counts it: a set is one, confederations are nothing (RFC 4271 section 9.1.2.2,
    /// RFC 5065 section 5.3).
    pub as_path_length: u16,
    /// The first AS of the path where it begins with a sequence: the neighbouring AS that MED is compared within.
    pub neighbour_as: Option<u32>,
    /// How often our own AS is in the path.
    pub own_as_count: u16,
    /// NEXT_HOP, of the prefixes outside MP_REACH_NLRI.
    pub next_hop: Option<Ipv4Addr>,
    /// ORIGINATOR_ID, from internal peers.
    pub originator_id: Option<Ipv4Addr>,
    /// How many clusters a route was reflected through.
    pub cluster_list_length: u16,
    /// Well-known communities present.
    pub communities: WellKnownCommunities,
}

impl Summary {
    #[inline]
    pub(in crate::wire) fn note(&mut self, attribute: Attribute<'_>, local_asn: u32) {
        match attribute {
            Attribute::Origin(origin) => self.origin = origin,
            Attribute::AsPath(path) => {
                self.note_path(PathFacts::of::<4>(path.as_bytes(), local_asn).unwrap_or_default());
            }
            Attribute::NextHop(address) => self.next_hop = Some(address),
            Attribute::MultiExitDisc(med) => self.med = Some(med),
            Attribute::LocalPref(local_pref) => self.local_pref = Some(local_pref),
            Attribute::Communities(communities) => {
                self.communities = WellKnownCommunities::of(communities);
            }
            Attribute::OriginatorId(router_id) => self.originator_id = Some(router_id),
            Attribute::ClusterList(clusters) => {
                self.cluster_list_length =
                    u16::try_from(clusters.octets().len()).unwrap_or(u16::MAX);
            }
            Attribute::AtomicAggregate
            | Attribute::Aggregator(_)
            | Attribute::ExtendedCommunities(_)
            | Attribute::Ipv6ExtendedCommunities(_)
            | Attribute::LargeCommunities(_)
            | Attribute::OnlyToCustomer(_)
            | Attribute::Other(_) => {}
        }
    }

    #[inline]
    pub(in crate::wire) fn note_path(&mut self, facts: PathFacts) {
        self.as_path_length = facts.length;
        self.neighbour_as = facts.first;
        self.own_as_count = facts.occurrences;
    }
}

/// Which well-known communities a route carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct WellKnownCommunities {
    /// NO_EXPORT (RFC 1997).
    pub no_export: bool,
    /// NO_ADVERTISE (RFC 1997).
    pub no_advertise: bool,
    /// NO_EXPORT_SUBCONFED (RFC 1997).
    pub no_export_subconfed: bool,
    /// GRACEFUL_SHUTDOWN (RFC 8326).
    pub graceful_shutdown: bool,
    /// BLACKHOLE (RFC 7999).
    pub blackhole: bool,
    /// LLGR_STALE (RFC 9494).
    pub llgr_stale: bool,
    /// NO_LLGR (RFC 9494).
    pub no_llgr: bool,
}

impl WellKnownCommunities {
    /// Those among `communities`.
    #[must_use]
    pub fn of(communities: Records<'_, 4>) -> Self {
        let mut found = Self::default();
        for community in communities.numbers() {
            match community {
                community::NO_EXPORT => found.no_export = true,
                community::NO_ADVERTISE => found.no_advertise = true,
                community::NO_EXPORT_SUBCONFED => found.no_export_subconfed = true,
                community::GRACEFUL_SHUTDOWN => found.graceful_shutdown = true,
                community::BLACKHOLE => found.blackhole = true,
                community::LLGR_STALE => found.llgr_stale = true,
                community::NO_LLGR => found.no_llgr = true,
                _ => {}
            }
        }
        found
    }
}
