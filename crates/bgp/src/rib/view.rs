//! The RIBs as their reader sees them.

use std::net::IpAddr;

use bytes::Bytes;
use ipnet::IpNet;

use super::attributes::{AttributeId, global_next_hop};
use super::decision::{Candidate, SelectionReason, decide, equally_preferred};
use super::encoding::Encoder;
use super::group::OUTDATED;
use super::key::family_index;
use super::path::Path;
use super::table::DestinationId;
use super::{PeerId, Rib};
use crate::family::Family;
use crate::wire::attribute::{Attribute, Attributes};

/// Where a route came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteSource {
    /// This speaker originates it.
    Local,
    /// Learned from this peer.
    Peer(PeerId),
}

/// A route of an Adj-RIB-In.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearnedRoute<'a> {
    /// Its prefix.
    pub prefix: IpNet,
    /// Its attributes in canonical form, without MP_REACH_NLRI.
    pub attributes: &'a [u8],
    /// Its next hop: the global address where there is a link-local one as well.
    pub next_hop: Option<IpAddr>,
    /// Whether it can be selected.
    pub accepted: bool,
    /// Whether it is.
    pub best: bool,
    /// Whether it is kept for a peer that restarts (RFC 4724).
    pub stale: bool,
}

/// A route of the Loc-RIB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedRoute<'a> {
    /// Its prefix.
    pub prefix: IpNet,
    /// Whose path it is.
    pub source: RouteSource,
    /// Its attributes in canonical form, without MP_REACH_NLRI.
    pub attributes: &'a [u8],
    /// Its next hop; `None` for what this speaker originates.
    pub next_hop: Option<IpAddr>,
    /// Why it is the best.
    pub reason: SelectionReason,
    /// Whose paths share the traffic, the best one first; one without multipath.
    pub multipath: Vec<RouteSource>,
}

/// A route of an Adj-RIB-Out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdvertisedRoute {
    /// Its prefix.
    pub prefix: IpNet,
    /// Its attributes as the peer got them, without MP_REACH_NLRI.
    pub attributes: Bytes,
    /// The next hop it was announced with.
    pub next_hop: IpAddr,
}

impl Rib {
    /// What a peer announced, in no particular order.
    pub fn adj_in(&self, peer: PeerId, family: Family) -> impl Iterator<Item = LearnedRoute<'_>> {
        let index = family_index(family).filter(|index| self.has_learned(peer, *index));
        index.into_iter().flat_map(move |index| {
            (0..self.tables.id_bound(index)).filter_map(move |id| {
                let paths = self.tables.paths(index, id);
                let position = paths.iter().position(|path| path.peer() == Some(peer))?;
                let path = paths[position];
                Some(LearnedRoute {
                    prefix: self.tables.net(index, id),
                    attributes: self.attributes.bytes(path.attributes),
                    next_hop: self.next_hop(path.attributes),
                    accepted: path.is_eligible(),
                    best: position == 0 && path.is_eligible(),
                    stale: path.is_stale(),
                })
            })
        })
    }

    /// What is selected, in no particular order.
    pub fn loc(&self, family: Family) -> impl Iterator<Item = SelectedRoute<'_>> {
        family_index(family).into_iter().flat_map(move |index| {
            (0..self.tables.id_bound(index)).filter_map(move |id| self.selected(index, id))
        })
    }

    fn selected(&self, family: usize, id: DestinationId) -> Option<SelectedRoute<'_>> {
        let mut candidates = Vec::new();
        self.collect_candidates(family, id, &mut candidates);
        let mut equal = candidates.clone();
        let decision = decide(&mut candidates)?;
        let best = self.tables.paths(family, id)[decision.position];
        Some(SelectedRoute {
            prefix: self.tables.net(family, id),
            source: source_of(best),
            attributes: self.attributes.bytes(best.attributes),
            next_hop: self.next_hop(best.attributes),
            reason: decision.reason,
            multipath: self.multipath(family, id, best, &mut equal),
        })
    }

    /// The paths that may share traffic with the best one.
    fn multipath(
        &self,
        family: usize,
        id: DestinationId,
        best: Path,
        equal: &mut Vec<Candidate>,
    ) -> Vec<RouteSource> {
        let external = equal
            .iter()
            .any(|candidate| candidate.from.is_some_and(|peer| peer.external));
        equally_preferred(equal);
        let most = if external {
            self.multipath.external
        } else {
            self.multipath.internal
        };
        let mut members: Vec<Path> = vec![best];
        for candidate in equal {
            let path = self.tables.paths(family, id)[candidate.position];
            let distinct = members
                .iter()
                .all(|one| self.next_hop(one.attributes) != self.next_hop(path.attributes));
            if members.len() < usize::from(most)
                && distinct
                && self.shares_path(best, path, external)
            {
                members.push(path);
            }
        }
        members.into_iter().map(source_of).collect()
    }

    fn shares_path(&self, best: Path, path: Path, external: bool) -> bool {
        if self.multipath.relax {
            return true;
        }
        if external {
            let neighbour = |path: Path| self.attributes.summary(path.attributes).neighbour_as;
            return neighbour(best) == neighbour(path);
        }
        self.as_path(best.attributes) == self.as_path(path.attributes)
    }

    fn as_path(&self, attributes: AttributeId) -> Option<&[u8]> {
        Attributes::of(self.attributes.bytes(attributes)).find_map(|attribute| match attribute {
            Attribute::AsPath(path) => Some(path.as_bytes()),
            _ => None,
        })
    }

    /// The next hop of stored attributes.
    pub(super) fn next_hop(&self, attributes: AttributeId) -> Option<IpAddr> {
        global_next_hop(self.attributes.next_hop_octets(attributes)).or_else(|| {
            Attributes::of(self.attributes.bytes(attributes)).find_map(
                |attribute| match attribute {
                    Attribute::NextHop(address) => Some(IpAddr::V4(address)),
                    _ => None,
                },
            )
        })
    }

    /// What a peer has been told, or will have been by the chunks it is about to take; in no particular
    /// order. Routes whose policy has just changed are left out until they are sent anew.
    pub fn adj_out(&self, peer: PeerId, family: Family) -> impl Iterator<Item = AdvertisedRoute> {
        let group = self
            .peers
            .member(peer)
            .and_then(|member| self.groups[member.group].as_ref());
        group
            .zip(family_index(family))
            .into_iter()
            .flat_map(move |(group, family)| {
                group.adj_out[family]
                    .iter()
                    .filter(|(_, told)| *told != OUTDATED)
                    .filter_map(move |(id, told)| {
                        let next_hop = group.audience.next_hops[family]?;
                        let (_, changes) = self.rule(group, family, id, told)?;
                        let encoder = Encoder {
                            audience: &group.audience,
                            local_asn: self.local_asn,
                            family,
                            next_hop,
                        };
                        let (canonical, summary) =
                            (self.attributes.bytes(told), self.attributes.summary(told));
                        let attributes =
                            encoder.attributes(canonical, self.source(told), summary, changes);
                        Some(AdvertisedRoute {
                            prefix: self.tables.net(family, id),
                            attributes,
                            next_hop,
                        })
                    })
            })
    }
}

fn source_of(path: Path) -> RouteSource {
    path.peer().map_or(RouteSource::Local, RouteSource::Peer)
}
