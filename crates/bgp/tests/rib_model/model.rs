//! The naive RIB: maps, and everything computed anew when asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use bgp::policy::Source;
use bgp::rib::{PeerFacts, PeerId, Rib, RouteSource};
use bgp::wire::attribute::Origin;
use bgp::wire::iana::community;
use bgp::wire::{AttributesBuilder, DecodeContext, NextHop, PeerKind, update};
use bytes::{Bytes, BytesMut};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::router::Router;
use crate::scene::{ASN, FAMILIES, LOCAL_V4, LOCAL_V6, PEERS, Variant, facts, policy, prefixes};

/// One route in an Adj-RIB-In.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    variant: Variant,
    pub(crate) family: usize,
    pub(crate) stale: bool,
    pub(crate) unrefreshed: bool,
}

#[derive(Default)]
pub(crate) struct Model {
    learned: BTreeMap<(usize, IpNet), Route>,
    pub(crate) originated: BTreeSet<IpNet>,
    /// The policy of every peer that is up.
    up: BTreeMap<usize, usize>,
    policies: [usize; PEERS],
}

fn family_of(net: &IpNet) -> usize {
    usize::from(matches!(net, IpNet::V6(_)))
}

fn split(nets: &[IpNet]) -> (Vec<Ipv4Net>, Vec<Ipv6Net>) {
    let ipv4 = nets.iter().filter_map(|net| {
        if let IpNet::V4(net) = net {
            Some(*net)
        } else {
            None
        }
    });
    let ipv6 = nets.iter().filter_map(|net| {
        if let IpNet::V6(net) = net {
            Some(*net)
        } else {
            None
        }
    });
    (ipv4.collect(), ipv6.collect())
}

/// Cuts what one encoding made into the bodies of its messages.
fn bodies(encoded: &BytesMut) -> Vec<Vec<u8>> {
    let mut rest = &encoded[..];
    let mut bodies = Vec::new();
    while !rest.is_empty() {
        let (message, after) = rest.split_at(usize::from(u16::from_be_bytes([rest[16], rest[17]])));
        bodies.push(message[19..].to_vec());
        rest = after;
    }
    bodies
}

impl Model {
    pub(crate) fn id(peer: usize) -> PeerId {
        PeerId(peer as u32 + 1)
    }

    pub(crate) fn max_message(peer: usize) -> usize {
        facts(peer).max_message
    }

    pub(crate) fn is_up(&self, peer: usize) -> bool {
        self.up.contains_key(&peer)
    }

    /// How we read what the peer sends.
    fn our_context(peer: usize) -> DecodeContext {
        let facts = facts(peer);
        let first_asn = (facts.kind == PeerKind::External).then_some(facts.asn);
        let (peer_kind, families) = (facts.kind, FAMILIES.to_vec());
        DecodeContext {
            four_octet: true,
            peer_kind,
            families,
            local_asn: ASN,
            first_asn,
            reject_as_sets: false,
        }
    }

    /// How the peer reads what we send.
    pub(crate) fn their_context(peer: usize) -> DecodeContext {
        let facts = facts(peer);
        let first_asn = (facts.kind == PeerKind::External).then_some(ASN);
        DecodeContext {
            local_asn: facts.asn,
            first_asn,
            ..Self::our_context(peer)
        }
    }

    pub(crate) fn up(&mut self, peer: usize) -> PeerFacts {
        self.up.insert(peer, self.policies[peer]);
        PeerFacts {
            policy: policy(self.policies[peer]),
            ..facts(peer)
        }
    }

    pub(crate) fn down(&mut self, peer: usize, kept: &[usize]) {
        self.up.remove(&peer);
        self.remove(peer, |route| !kept.contains(&route.family) || route.stale);
        for (_, route) in self
            .learned
            .range_mut((peer, prefixes()[0])..)
            .filter(|((owner, _), _)| *owner == peer)
        {
            route.stale = true;
        }
    }

    pub(crate) fn remove(&mut self, peer: usize, gone: impl Fn(&Route) -> bool) {
        self.learned
            .retain(|(owner, _), route| *owner != peer || !gone(route));
    }

    pub(crate) fn begin_refresh(&mut self, peer: usize, family: usize) {
        for ((owner, _), route) in &mut self.learned {
            route.unrefreshed |= *owner == peer && route.family == family;
        }
    }

    pub(crate) fn set_policy(&mut self, peer: usize, number: usize) {
        if let Some(current) = self.up.get_mut(&peer) {
            *current = number;
            self.policies[peer] = number;
        }
    }

    /// The messages that announce prefixes, recorded as received.
    pub(crate) fn announce(
        &mut self,
        peer: usize,
        variant: &Variant,
        nets: &[IpNet],
    ) -> Vec<Vec<u8>> {
        if !self.is_up(peer) {
            return Vec::new();
        }
        for net in nets {
            let route = Route {
                variant: variant.clone(),
                family: family_of(net),
                stale: false,
                unrefreshed: false,
            };
            self.learned.insert((peer, *net), route);
        }
        let (remote, builder) = (facts(peer).remote, variant.builder(peer));
        let (ipv4, ipv6) = split(nets);
        let mut out = BytesMut::new();
        let next_hop_v4 = if variant.ours {
            LOCAL_V4
        } else {
            Ipv4Addr::new(192, 0, 2, 100)
        };
        match (remote, variant.ours) {
            (IpAddr::V4(_), _) => {
                let attributes = builder.clone().next_hop(next_hop_v4).build();
                update::announce_ipv4(
                    &mut out,
                    4096,
                    &attributes,
                    &mut ipv4.into_iter().peekable(),
                )
                .unwrap();
            }
            (IpAddr::V6(_), ours) => {
                let next_hop = NextHop::from(if ours { IpAddr::V6(LOCAL_V6) } else { remote });
                let mut ipv4 = ipv4.into_iter().peekable();
                update::announce(
                    &mut out,
                    4096,
                    &builder.clone().build(),
                    next_hop,
                    &mut ipv4,
                )
                .unwrap();
            }
        }
        let ours = if facts(peer).local.is_ipv4() {
            LOCAL_V4.to_ipv6_mapped()
        } else {
            LOCAL_V6
        };
        let next_hop = NextHop::from(IpAddr::V6(if variant.ours {
            ours
        } else {
            "2001:db8::99".parse().unwrap()
        }));
        let mut ipv6 = ipv6.into_iter().peekable();
        update::announce(&mut out, 4096, &builder.build(), next_hop, &mut ipv6).unwrap();
        bodies(&out)
    }

    /// The messages that withdraw prefixes, recorded as received.
    pub(crate) fn withdraw(&mut self, peer: usize, nets: &[IpNet]) -> Vec<Vec<u8>> {
        if !self.is_up(peer) {
            return Vec::new();
        }
        for net in nets {
            self.learned.remove(&(peer, *net));
        }
        let (ipv4, ipv6) = split(nets);
        let mut out = BytesMut::new();
        update::withdraw_ipv4(&mut out, 4096, &mut ipv4.into_iter().peekable());
        update::withdraw(&mut out, 4096, &mut ipv6.into_iter().peekable());
        bodies(&out)
    }

    pub(crate) fn receive(&self, rib: &mut Rib, peer: usize, body: &[u8]) {
        rib.update(
            Self::id(peer),
            &update::decode(body, &Self::our_context(peer)).unwrap(),
        );
    }

    /// The best route to a prefix: `None` for the speaker's own.
    fn best(&self, net: &IpNet) -> Option<Option<usize>> {
        if self.originated.contains(net) {
            return Some(None);
        }
        let best = self.equally_good(net, |_| true).first().copied();
        best.map(Some)
    }

    /// By whose routes packets to a prefix can be forwarded.
    pub(crate) fn forwarding(&self, net: &IpNet) -> Vec<usize> {
        self.whose(net, Variant::forwards)
    }

    fn whose(&self, net: &IpNet, may: impl Fn(&Variant, usize) -> bool) -> Vec<usize> {
        let may = |peer: &usize| {
            let route = self.learned.get(&(*peer, *net));
            route.is_some_and(|route| may(&route.variant, *peer))
        };
        (0..PEERS).filter(may).collect()
    }

    /// By whose routes packets are forwarded if only those of some peers count: through our own AS only where there is no other way.
    pub(crate) fn forwarded_by(&self, net: &IpNet, allowed: impl Fn(usize) -> bool) -> Vec<usize> {
        let selected = self.equally_good(net, &allowed);
        if selected.is_empty() {
            let forwarding = self.forwarding(net).into_iter();
            return self.best_among(net, forwarding.filter(|peer| allowed(*peer)));
        }
        selected
    }

    /// Whose routes to a prefix are as good as the best, that one's first, if only those of some peers count.
    pub(crate) fn equally_good(&self, net: &IpNet, allowed: impl Fn(usize) -> bool) -> Vec<usize> {
        let usable = self.whose(net, Variant::is_usable).into_iter();
        self.best_among(net, usable.filter(|peer| allowed(*peer)))
    }

    fn best_among(&self, net: &IpNet, peers: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut rest: Vec<(usize, &Route)> = peers
            .filter_map(|peer| Some((peer, self.learned.get(&(peer, *net))?)))
            .collect();
        let leaving = |route: &Route| route.variant.community == Some(community::GRACEFUL_SHUTDOWN);
        let internal = |peer: usize| facts(peer).kind == PeerKind::Internal;
        let preference = |(peer, route): &(usize, &Route)| match (internal(*peer), leaving(route)) {
            (true, _) => route.variant.local_pref.unwrap_or(100),
            (false, true) => 0,
            (false, false) => 100,
        };
        let length = |(peer, route): &(usize, &Route)| {
            route.variant.path.len() + usize::from(!internal(*peer))
        };
        let neighbour = |(peer, route): &(usize, &Route)| {
            if internal(*peer) {
                route.variant.path[0]
            } else {
                facts(*peer).asn
            }
        };
        let most = rest.iter().map(preference).max();
        rest.retain(|one| Some(preference(one)) == most);
        let least = rest.iter().map(length).min();
        rest.retain(|one| Some(length(one)) == least);
        let least = rest.iter().map(|(_, route)| route.variant.origin).min();
        rest.retain(|(_, route)| Some(route.variant.origin) == least);
        let med = |(_, route): &(usize, &Route)| route.variant.med.unwrap_or(0);
        let all = rest.clone();
        rest.retain(|one| {
            !all.iter()
                .any(|other| neighbour(other) == neighbour(one) && med(other) < med(one))
        });
        if rest.iter().any(|(peer, _)| !internal(*peer)) {
            rest.retain(|(peer, _)| !internal(*peer));
        }
        // Router IDs ascend with the numbers, and nobody's ORIGINATOR_ID is usable.
        rest.into_iter().map(|(peer, _)| peer).collect()
    }

    /// Whether the peers share an export group.
    fn alike(&self, one: usize, other: usize) -> bool {
        let audience = |peer: usize| {
            let facts = facts(peer);
            (
                facts.kind,
                facts.local,
                facts.max_message,
                facts.extended_next_hop,
                self.up.get(&peer),
            )
        };
        audience(one) == audience(other)
    }

    /// What a peer should know of a prefix.
    fn told(&self, peer: usize, net: &IpNet) -> Option<(Bytes, NextHop)> {
        let (facts, family) = (facts(peer), family_of(net));
        let next_hop = match (facts.local, family) {
            (IpAddr::V6(_), 0) if facts.extended_next_hop.is_empty() => return None,
            (IpAddr::V4(local), 1) => NextHop::from(IpAddr::V6(local.to_ipv6_mapped())),
            (local, _) => NextHop::from(local),
        };
        let internal = facts.kind == PeerKind::Internal;
        let best = self.best(net)?;
        let source = if best.is_some() {
            Source::Learned
        } else {
            Source::Local
        };
        let policy = policy(*self.up.get(&peer)?);
        let (_, changes) = policy.evaluate(net, source)?;
        let mut communities = changes.communities.clone();
        let mut path = if internal { vec![] } else { vec![ASN] };
        let (mut origin, mut med, mut local_pref) =
            (Origin::Igp, None, changes.local_preference.unwrap_or(100));
        if let Some(from) = best {
            let from_facts = crate::scene::facts(from);
            let route = &self.learned[&(from, *net)].variant;
            let alone = !(0..PEERS)
                .any(|other| other != peer && self.is_up(other) && self.alike(peer, other));
            let from_internal = from_facts.kind == PeerKind::Internal;
            let stays = route.community == Some(community::NO_ADVERTISE)
                || (!internal && route.community == Some(community::NO_EXPORT));
            if stays || (internal && from_internal) || (alone && from == peer) {
                return None;
            }
            communities.extend(route.community);
            path.extend(
                (!from_internal)
                    .then_some(from_facts.asn)
                    .into_iter()
                    .chain(route.path.iter().copied()),
            );
            (origin, med) = (route.origin, route.med.filter(|_| internal));
            if route.community == Some(community::GRACEFUL_SHUTDOWN) {
                local_pref = changes.local_preference.unwrap_or(0);
            }
        }
        let mut builder = AttributesBuilder::new()
            .origin(origin)
            .as_path(&path)
            .communities(communities);
        if let Some(med) = med {
            builder = builder.multi_exit_disc(med);
        }
        if internal {
            builder = builder.local_pref(local_pref);
        }
        if let NextHop::Ipv4(address) = next_hop {
            builder = builder.next_hop(address);
        }
        Some((builder.build(), next_hop))
    }

    pub(crate) fn check_learned(&self, rib: &Rib, peer: usize) {
        for (family, afi) in FAMILIES.iter().enumerate() {
            let of_peer = self
                .learned
                .iter()
                .filter(|((owner, _), route)| *owner == peer && route.family == family);
            let expected: BTreeMap<IpNet, (bool, bool, bool)> = of_peer
                .map(|((_, net), route)| {
                    (
                        *net,
                        (
                            route.variant.is_usable(peer),
                            route.stale,
                            self.best(net) == Some(Some(peer)),
                        ),
                    )
                })
                .collect();
            let found = rib.adj_in(Self::id(peer), *afi);
            let found = found
                .map(|route| (route.prefix, (route.accepted, route.stale, route.best)))
                .collect();
            assert_eq!(expected, found, "Adj-RIB-In of peer {peer}, {afi}");
            let counts = rib.counts(Self::id(peer), *afi);
            let accepted = expected
                .values()
                .filter(|(accepted, _, _)| *accepted)
                .count();
            assert_eq!(
                (counts.received as usize, counts.accepted as usize),
                (expected.len(), accepted)
            );
        }
    }

    pub(crate) fn check_selected(&self, rib: &Rib) {
        let source = |best: Option<usize>| {
            best.map_or(RouteSource::Local, |peer| RouteSource::Peer(Self::id(peer)))
        };
        let expected: BTreeMap<IpNet, RouteSource> = prefixes()
            .into_iter()
            .filter_map(|net| Some((net, source(self.best(&net)?))))
            .collect();
        let found = FAMILIES.iter().flat_map(|family| rib.loc(*family));
        let found = found.inspect(|route| assert_eq!(route.multipath[0], route.source));
        assert_eq!(
            expected,
            found.map(|route| (route.prefix, route.source)).collect(),
            "Loc-RIB"
        );
    }

    pub(crate) fn check_told(&self, rib: &Rib, peer: usize, router: &Router) {
        if !self.is_up(peer) {
            assert_eq!(
                FAMILIES.map(|family| rib.counts(Self::id(peer), family).advertised),
                [0, 0]
            );
            return;
        }
        assert!(!rib.has_output(Self::id(peer)) && rib.end_of_rib_sent(Self::id(peer)));
        assert_eq!(router.ends_of_rib, [1, 1], "peer {peer}");
        let told = |net: IpNet| {
            self.told(peer, &net)
                .map(|(attributes, next_hop)| (net, (attributes.to_vec(), next_hop)))
        };
        let expected: BTreeMap<_, _> = prefixes().into_iter().filter_map(told).collect();
        assert_eq!(expected, router.routes, "what peer {peer} knows");
        for (index, family) in FAMILIES.iter().enumerate() {
            let of_family = expected.iter().filter(|(net, _)| family_of(net) == index);
            let of_family: BTreeMap<IpNet, Vec<u8>> = of_family
                .map(|(net, known)| (*net, known.0.clone()))
                .collect();
            let adj_out = rib.adj_out(Self::id(peer), *family);
            let adj_out = adj_out
                .map(|route| (route.prefix, route.attributes.to_vec()))
                .collect();
            assert_eq!(of_family, adj_out, "Adj-RIB-Out of peer {peer}, {family}");
            assert_eq!(
                rib.counts(Self::id(peer), *family).advertised as usize,
                of_family.len()
            );
        }
    }
}
