//! The routing information bases of one speaker.
//!
//! Each prefix is a destination with a stable number and a list of paths, which are the Adj-RIBs-In; the
//! first path of the list is the Loc-RIB's. An Adj-RIB-Out belongs to an export group: all peers to whom
//! everything means the same octets. What changes in the Loc-RIB is noted by destination, and encoded only
//! when a member of the group takes its next chunk: so changes coalesce while nobody reads, and no state
//! grows beyond the size of the table.

mod attributes;
mod bitset;
mod decision;
mod delivery;
mod encoding;
mod export;
mod feed;
mod group;
mod key;
mod learning;
mod membership;
mod path;
mod peers;
mod selection;
mod table;
mod view;

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::family::Family;
use crate::policy::ExportPolicy;
use crate::wire::PeerKind;

use attributes::{AttributeId, Attributes};
use decision::Candidate;
use feed::Feed;
use group::Group;
use key::family_index;
use peers::Peers;
use table::Tables;

pub use decision::SelectionReason;
pub use feed::{Learned, LearnedPath, select};
pub use view::{AdvertisedRoute, LearnedRoute, RouteSource, SelectedRoute};

/// Names a peer towards the RIB: small numbers, chosen by the speaker, below 2²⁴ − 1. A number may name
/// another peer once the one it named is down with [`Retain::Nothing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

/// What a RIB may be told beyond its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RibConfig {
    /// Which paths may share traffic with the best one.
    pub multipath: Multipath,
    /// Seed of the hash tables, so that a peer cannot choose prefixes that collide.
    pub hash_seed: u64,
    /// How much is encoded and kept at once.
    pub limits: Limits,
}

/// Bounds of the work and memory of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Destinations encoded at once, at least 1: enough to pack well, little enough to keep a step short.
    pub batch: usize,
    /// Octets of encoded changes kept for members of an export group that read more slowly than others. Those
    /// that have not read the oldest by then catch up from the table.
    pub log_octets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch: 4096,
            log_octets: 8 << 20,
        }
    }
}

/// Bounds of the multipath set, which holds paths that tie with the best up to the cost of the next hop and
/// have distinct next hops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Multipath {
    /// Most paths when the best is from an external peer; 1 is no multipath.
    pub external: u16,
    /// Most paths when the best is from an internal peer; 1 is no multipath.
    pub internal: u16,
    /// Accept paths through other neighbouring ASes (external) or with other AS_PATHs of the same length
    /// (internal).
    pub relax: bool,
}

impl Default for Multipath {
    fn default() -> Self {
        Self {
            external: 1,
            internal: 1,
            relax: false,
        }
    }
}

/// What an established session is, as far as the RIB needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerFacts {
    /// Internal or external.
    pub kind: PeerKind,
    /// The peer's AS.
    pub asn: u32,
    /// The peer's BGP identifier.
    pub router_id: Ipv4Addr,
    /// The peer's address.
    pub remote: IpAddr,
    /// Our address on the session: next hop of everything announced to the peer.
    pub local: IpAddr,
    /// Families negotiated.
    pub families: Vec<Family>,
    /// Whether the peer reads four-octet AS numbers (RFC 6793).
    pub four_octet: bool,
    /// Longest message we may send, 4096 or 65535 (RFC 8654).
    pub max_message: usize,
    /// Families of prefixes for which an IPv6 next hop was negotiated (RFC 8950).
    pub extended_next_hop: Vec<Family>,
    /// What is announced to the peer.
    pub policy: Arc<ExportPolicy>,
}

/// What stays of a peer's routes when its session ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retain {
    /// Nothing.
    Nothing,
    /// Those of these families, marked stale (RFC 4724 section 4.2).
    Stale(Vec<Family>),
}

/// Exact prefix counts of one peer and family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// In Adj-RIB-In, stale ones included.
    pub received: u32,
    /// Of those, eligible for selection.
    pub accepted: u32,
    /// In Adj-RIB-Out: encoded for the peer's group.
    pub advertised: u32,
}

/// The RIB of one speaker.
#[derive(Debug)]
pub struct Rib {
    local_asn: u32,
    router_id: Ipv4Addr,
    multipath: Multipath,
    limits: Limits,
    attributes: Attributes,
    tables: Tables,
    peers: Peers,
    groups: Vec<Option<Group>>,
    /// Peers that may have output, each once.
    ready: VecDeque<PeerId>,
    originated: BTreeSet<IpNet>,
    local_attributes: AttributeId,
    /// What is to be handed out of what is learned; `None` while nobody asks for it.
    feed: Option<Feed>,
    /// Room for one selection.
    candidates: Vec<Candidate>,
}

impl Rib {
    /// An empty RIB of the speaker with this AS and BGP identifier.
    #[must_use]
    pub fn new(local_asn: u32, router_id: Ipv4Addr, config: RibConfig) -> Self {
        let mut attributes = Attributes::new(config.hash_seed);
        let local_attributes = encoding::intern_local(&mut attributes);
        Self {
            local_asn,
            router_id,
            multipath: config.multipath,
            limits: config.limits,
            attributes,
            tables: Tables::new(config.hash_seed),
            peers: Peers::default(),
            groups: Vec::new(),
            ready: VecDeque::new(),
            originated: BTreeSet::new(),
            local_attributes,
            feed: None,
            candidates: Vec::new(),
        }
    }

    /// A session reached Established. Routes that were kept for the peer stay until [`Rib::end_of_rib`] or
    /// [`Rib::sweep`].
    pub fn peer_up(&mut self, peer: PeerId, facts: PeerFacts) {
        self.leave(peer);
        let before = self.peers.get(peer).map(|peer| standing(&peer.facts));
        let changed = before.is_some_and(|before| before != standing(&facts));
        self.peers.set_facts(peer, facts);
        if changed {
            self.reselect_all(peer);
        }
        self.join(peer);
    }

    /// The session ended. Where routes are kept that were stale already, those go: the peer restarted before
    /// it had sent them again (RFC 4724 section 4.2).
    pub fn peer_down(&mut self, peer: PeerId, retain: Retain) {
        self.leave(peer);
        let kept = match retain {
            Retain::Nothing => Vec::new(),
            Retain::Stale(families) => families,
        };
        for (index, family) in key::FAMILY_AT.iter().enumerate() {
            if kept.contains(family) {
                self.remove_paths(peer, index, path::Path::is_stale);
                self.mark_paths(peer, index, path::Path::mark_stale);
            } else {
                self.remove_paths(peer, index, |_| true);
            }
        }
        if kept.is_empty() {
            self.peers.remove(peer);
        }
    }

    /// Drops what is stale of a peer, in one family or all.
    pub fn sweep(&mut self, peer: PeerId, family: Option<Family>) {
        for (index, known) in key::FAMILY_AT.iter().enumerate() {
            if family.is_none_or(|family| family == *known) {
                self.remove_paths(peer, index, path::Path::is_stale);
            }
        }
    }

    /// The peer's End-of-RIB: what it did not announce again is gone (RFC 4724 section 4.2).
    pub fn end_of_rib(&mut self, peer: PeerId, family: Family) {
        self.sweep(peer, Some(family));
    }

    /// The peer's Beginning-of-RIB marker (RFC 7313 section 4).
    pub fn begin_refresh(&mut self, peer: PeerId, family: Family) {
        if let Some(index) = family_index(family) {
            self.mark_paths(peer, index, path::Path::mark_unrefreshed);
        }
    }

    /// The peer's End-of-RIB marker of RFC 7313, or the time for it ran out: what was not announced again is
    /// gone.
    pub fn end_refresh(&mut self, peer: PeerId, family: Family) {
        if let Some(index) = family_index(family) {
            self.remove_paths(peer, index, path::Path::is_unrefreshed);
        }
    }

    /// Sets what this speaker originates; the difference is computed here.
    pub fn originate(&mut self, prefixes: &BTreeSet<IpNet>) {
        let wanted: BTreeSet<IpNet> = prefixes.iter().map(IpNet::trunc).collect();
        let before = std::mem::take(&mut self.originated);
        for net in before.difference(&wanted) {
            self.set_local(*net, false);
        }
        for net in wanted.difference(&before) {
            self.set_local(*net, true);
        }
        self.originated = wanted;
    }

    /// Exact counts; zeros for a peer that is not known.
    #[must_use]
    pub fn counts(&self, peer: PeerId, family: Family) -> Counts {
        let (Some(peer), Some(index)) = (self.peers.get(peer), family_index(family)) else {
            return Counts::default();
        };
        let learned = peer.families[index];
        let group = peer
            .member
            .as_ref()
            .and_then(|member| self.groups[member.group].as_ref());
        Counts {
            received: learned.received,
            accepted: learned.accepted,
            advertised: group.map_or(0, |group| group.adj_out[index].advertised()),
        }
    }

    /// Number of distinct sets of path attributes stored.
    #[must_use]
    pub fn attribute_sets(&self) -> usize {
        self.attributes.len()
    }

    /// Number of prefixes of a family that have a number: known, or still to be withdrawn somewhere.
    #[must_use]
    pub fn destinations(&self, family: Family) -> usize {
        match family {
            Family::IPV4_UNICAST => self.tables.ipv4.len(),
            Family::IPV6_UNICAST => self.tables.ipv6.len(),
            _ => 0,
        }
    }
}

/// What selection and forwarding use of a peer.
fn standing(facts: &PeerFacts) -> (PeerKind, Ipv4Addr, IpAddr, IpAddr) {
    (facts.kind, facts.router_id, facts.remote, facts.local)
}
