//! A route's attributes as one kind of peer must get them; computed once per attributes and export group.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use bytes::{Bytes, BytesMut};

use super::as_path::{narrow, narrow_asn, prepend};
use super::builder::{large_community_octets, put_attribute};
use super::{Attributes, RawAttribute};
use crate::policy::{Community, LargeCommunity, Source};
use crate::wire::iana::{AttributeCode, flag};
use crate::wire::update::PeerKind;

/// What changes between what we know and what a peer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportTransform<'a> {
    /// Whether the route was learned: only then MED stays behind (RFC 4271 section 5.1.4) and unknown attributes
    /// become partial (section 9).
    pub source: Source,
    /// External: our AS is prepended; LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST are not sent. Internal: the path
    /// stays and LOCAL_PREF is sent.
    pub kind: PeerKind,
    /// Our AS.
    pub local_asn: u32,
    /// NEXT_HOP for prefixes in the message's own field; `None` where MP_REACH_NLRI carries it.
    pub next_hop: Option<Ipv4Addr>,
    /// LOCAL_PREF towards internal peers, in place of whatever the route has; `None` keeps that, or sends 100.
    pub local_pref: Option<u32>,
    /// Communities added to the route's own. The union goes out sorted.
    pub communities: &'a BTreeSet<Community>,
    /// Large communities added likewise.
    pub large_communities: &'a BTreeSet<LargeCommunity>,
    /// Whether the peer takes four-octet AS numbers; else it gets AS4_PATH and AS4_AGGREGATOR where needed
    /// (RFC 6793 section 4.2.2).
    pub four_octet: bool,
}

/// LOCAL_PREF where nobody set one, as everywhere.
const DEFAULT_LOCAL_PREF: u32 = 100;

/// Attributes on their way out, by code.
struct Outgoing<'a>(Vec<(AttributeOrder, u8, Cow<'a, [u8]>)>);

/// Code, the order of attributes in a message.
type AttributeOrder = u8;

impl<'a> Outgoing<'a> {
    fn put(&mut self, code: AttributeCode, value: impl Into<Cow<'a, [u8]>>) {
        self.0.push((code.number(), code.flags(), value.into()));
    }
}

/// The attributes as a peer gets them, ascending by code (RFC 4271 section 5), from canonical bytes.
#[must_use]
pub fn export(canonical: &[u8], transform: &ExportTransform<'_>) -> Bytes {
    let mut outgoing = Outgoing(Vec::with_capacity(12));
    let mut local_pref = transform.local_pref;
    let mut communities = Cow::Borrowed(transform.communities);
    let mut large_communities = Cow::Borrowed(transform.large_communities);
    for attribute in Attributes::of(canonical).raw() {
        match AttributeCode::from_number(attribute.code) {
            Some(code) => match code {
                AttributeCode::NextHop => {}
                AttributeCode::LocalPref => {
                    local_pref = local_pref
                        .or_else(|| attribute.value.try_into().ok().map(u32::from_be_bytes));
                }
                AttributeCode::Communities => {
                    if let super::Attribute::Communities(own) = attribute.typed() {
                        communities.to_mut().extend(own.numbers());
                    }
                }
                AttributeCode::LargeCommunities => {
                    if let super::Attribute::LargeCommunities(own) = attribute.typed() {
                        large_communities.to_mut().extend(own.large_communities());
                    }
                }
                AttributeCode::AsPath => put_as_path(&mut outgoing, attribute.value, transform),
                AttributeCode::Aggregator => {
                    put_aggregator(&mut outgoing, attribute, transform.four_octet);
                }
                AttributeCode::MultiExitDisc
                | AttributeCode::OriginatorId
                | AttributeCode::ClusterList
                | AttributeCode::MpReachNlri
                | AttributeCode::MpUnreachNlri
                | AttributeCode::As4Path
                | AttributeCode::As4Aggregator
                | AttributeCode::Aigp
                | AttributeCode::Origin
                | AttributeCode::AtomicAggregate
                | AttributeCode::ExtendedCommunities
                | AttributeCode::Ipv6ExtendedCommunities
                | AttributeCode::OnlyToCustomer
                | AttributeCode::PrefixSid
                | AttributeCode::AttrSet => {
                    if passes(code, transform) {
                        outgoing
                            .0
                            .push((attribute.code, attribute.flags, attribute.value.into()));
                    }
                }
            },
            None => put_unknown(&mut outgoing, attribute, transform.source),
        }
    }
    put_ours(
        &mut outgoing,
        transform,
        local_pref,
        &communities,
        &large_communities,
    );
    write(outgoing)
}

/// What we say ourselves: next hop, preference, and the communities with ours among them.
fn put_ours(
    outgoing: &mut Outgoing<'_>,
    transform: &ExportTransform<'_>,
    local_pref: Option<u32>,
    communities: &BTreeSet<Community>,
    large_communities: &BTreeSet<LargeCommunity>,
) {
    if let Some(next_hop) = transform.next_hop {
        outgoing.put(AttributeCode::NextHop, next_hop.octets().to_vec());
    }
    if transform.kind == PeerKind::Internal {
        let local_pref = local_pref.unwrap_or(DEFAULT_LOCAL_PREF);
        outgoing.put(AttributeCode::LocalPref, local_pref.to_be_bytes().to_vec());
    }
    if !communities.is_empty() {
        let value: Vec<u8> = communities
            .iter()
            .flat_map(|community| community.to_be_bytes())
            .collect();
        outgoing.put(AttributeCode::Communities, value);
    }
    if !large_communities.is_empty() {
        let value: Vec<u8> = large_communities
            .iter()
            .copied()
            .flat_map(large_community_octets)
            .collect();
        outgoing.put(AttributeCode::LargeCommunities, value);
    }
}

/// Whether an attribute that is not rewritten goes out at all.
fn passes(code: AttributeCode, transform: &ExportTransform<'_>) -> bool {
    match (code, transform.kind) {
        (AttributeCode::MultiExitDisc, PeerKind::External) => transform.source == Source::Local,
        (AttributeCode::OriginatorId | AttributeCode::ClusterList, PeerKind::External)
        | (
            AttributeCode::MpReachNlri
            | AttributeCode::MpUnreachNlri
            | AttributeCode::As4Path
            | AttributeCode::As4Aggregator
            | AttributeCode::Aigp
            | AttributeCode::NextHop
            | AttributeCode::LocalPref,
            _,
        ) => false,
        (
            AttributeCode::MultiExitDisc
            | AttributeCode::OriginatorId
            | AttributeCode::ClusterList
            | AttributeCode::Origin
            | AttributeCode::AsPath
            | AttributeCode::AtomicAggregate
            | AttributeCode::Aggregator
            | AttributeCode::Communities
            | AttributeCode::ExtendedCommunities
            | AttributeCode::Ipv6ExtendedCommunities
            | AttributeCode::LargeCommunities
            | AttributeCode::OnlyToCustomer
            | AttributeCode::PrefixSid
            | AttributeCode::AttrSet,
            _,
        ) => true,
    }
}

fn put_as_path<'a>(outgoing: &mut Outgoing<'a>, path: &'a [u8], transform: &ExportTransform<'_>) {
    let path = match transform.kind {
        PeerKind::External => Cow::Owned(prepend(path, transform.local_asn)),
        PeerKind::Internal => Cow::Borrowed(path),
    };
    if transform.four_octet {
        outgoing.put(AttributeCode::AsPath, path);
        return;
    }
    let (narrow, as4_path) = narrow(&path);
    outgoing.put(AttributeCode::AsPath, narrow);
    if let Some(as4_path) = as4_path {
        outgoing.put(AttributeCode::As4Path, as4_path);
    }
}

fn put_aggregator<'a>(outgoing: &mut Outgoing<'a>, attribute: RawAttribute<'a>, four_octet: bool) {
    let number = AttributeCode::Aggregator.number();
    match attribute.value {
        [a, b, c, d, address @ ..] if !four_octet => {
            let asn = u32::from_be_bytes([*a, *b, *c, *d]);
            let mut value = narrow_asn(asn).to_be_bytes().to_vec();
            value.extend_from_slice(address);
            outgoing.0.push((number, attribute.flags, value.into()));
            if u16::try_from(asn).is_err() {
                outgoing.put(AttributeCode::As4Aggregator, attribute.value);
            }
        }
        value => outgoing.0.push((number, attribute.flags, value.into())),
    }
}

/// Optional transitive attributes nobody here knows pass, marked partial (RFC 4271 section 9); others do not.
fn put_unknown<'a>(outgoing: &mut Outgoing<'a>, attribute: RawAttribute<'a>, source: Source) {
    let partial = match source {
        Source::Learned => flag::PARTIAL,
        Source::Local => 0,
    };
    if attribute.flags & flag::TRANSITIVE != 0 {
        outgoing.0.push((
            attribute.code,
            attribute.flags | partial,
            attribute.value.into(),
        ));
    }
}

fn write(mut outgoing: Outgoing<'_>) -> Bytes {
    outgoing.0.sort_by_key(|(code, _, _)| *code);
    let mut out =
        BytesMut::with_capacity(outgoing.0.iter().map(|(_, _, value)| value.len() + 4).sum());
    for (code, flags, value) in &outgoing.0 {
        put_attribute(&mut out, *flags, *code, value);
    }
    out.freeze()
}
