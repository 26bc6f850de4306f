//! From destinations to messages.

use std::net::{IpAddr, Ipv4Addr};

use bytes::{Bytes, BytesMut};

use super::attributes::{AttributeId, Attributes, DEFAULT_LOCAL_PREFERENCE, Summary};
use super::group::Audience;
use super::key::{FAMILY_AT, Ipv4Key, PrefixKey};
use super::table::{DestinationId, Tables};
use crate::policy::{SetAttributes, Source};
use crate::wire::attribute::{ExportTransform, Origin, export};
use crate::wire::nlri::Prefix;
use crate::wire::{self, AttributesBuilder, EncodeError, NextHop, update};

/// Most octets handed out at once; a message may be as long.
pub(super) const CHUNK_OCTETS: usize = 65_536;

/// Stores the attributes of what this speaker originates. They lack any next hop, which no learned route
/// does, and so are never equal to those of one.
pub(super) fn intern_local(attributes: &mut Attributes) -> AttributeId {
    let bytes = AttributesBuilder::new()
        .origin(Origin::Igp)
        .as_path(&[])
        .build();
    attributes.intern(&bytes, &[], || Summary {
        local_preference: DEFAULT_LOCAL_PREFERENCE,
        origin: 0,
        ..Summary::default()
    })
}

/// The stored summary of a decoded one.
pub(super) fn summarize(summary: &wire::Summary) -> Summary {
    let communities = summary.communities;
    Summary {
        local_preference: summary.local_pref.unwrap_or(DEFAULT_LOCAL_PREFERENCE),
        multi_exit_discriminator: summary.med.unwrap_or(0),
        neighbour_as: summary.neighbour_as.unwrap_or(0),
        originator_id: summary.originator_id.map_or(0, u32::from),
        as_path_length: summary.as_path_length,
        cluster_list_length: summary.cluster_list_length,
        origin: match summary.origin {
            Origin::Igp => 0,
            Origin::Egp => 1,
            Origin::Incomplete => 2,
        },
        no_export: communities.no_export || communities.no_export_subconfed,
        no_advertise: communities.no_advertise,
        graceful_shutdown: communities.graceful_shutdown,
    }
}

/// The octets of a next hop as MP_REACH_NLRI has them: how many, and they.
pub(super) fn next_hop_octets(next_hop: NextHop) -> ([u8; 32], usize) {
    let mut octets = [0; 32];
    match next_hop {
        NextHop::Ipv4(address) => {
            octets[..4].copy_from_slice(&address.octets());
            (octets, 4)
        }
        NextHop::Ipv6 {
            global,
            link_local: None,
        } => {
            octets[..16].copy_from_slice(&global.octets());
            (octets, 16)
        }
        NextHop::Ipv6 {
            global,
            link_local: Some(link_local),
        } => {
            octets[..16].copy_from_slice(&global.octets());
            octets[16..].copy_from_slice(&link_local.octets());
            (octets, 32)
        }
    }
}

/// Encodes for one audience in one family.
pub(super) struct Encoder<'a> {
    pub(super) audience: &'a Audience,
    pub(super) local_asn: u32,
    pub(super) family: usize,
    pub(super) next_hop: IpAddr,
}

impl Encoder<'_> {
    /// NEXT_HOP, for IPv4 prefixes with an IPv4 next hop: they do not need MP_REACH_NLRI.
    fn plain_next_hop(&self) -> Option<Ipv4Addr> {
        match self.next_hop {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }

    /// The attributes of a route as this audience gets them.
    pub(super) fn attributes(
        &self,
        canonical: &[u8],
        source: Source,
        summary: &Summary,
        changes: &SetAttributes,
    ) -> Bytes {
        // RFC 8326 section 4.2: what an external peer is about to withdraw is the least preferred inside our
        // AS too.
        let leaving = (source == Source::Learned && summary.graceful_shutdown).then_some(0);
        export(
            canonical,
            &ExportTransform {
                source,
                kind: self.audience.kind,
                local_asn: self.local_asn,
                next_hop: self.plain_next_hop(),
                local_pref: changes.local_preference.or(leaving),
                communities: &changes.communities,
                large_communities: &changes.large_communities,
                four_octet: self.audience.four_octet,
            },
        )
    }

    /// Appends the announcement of destinations that share attributes: of all or none.
    ///
    /// # Errors
    /// The attributes leave no room for a prefix in the longest message the peer takes (RFC 8654 section 4).
    pub(super) fn announce(
        &self,
        out: &mut BytesMut,
        tables: &Tables,
        attributes: &[u8],
        ids: impl Iterator<Item = DestinationId>,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        let outcome = self.append(out, tables, attributes, ids);
        if outcome.is_err() {
            out.truncate(start);
        }
        outcome
    }

    fn append(
        &self,
        out: &mut BytesMut,
        tables: &Tables,
        attributes: &[u8],
        ids: impl Iterator<Item = DestinationId>,
    ) -> Result<(), EncodeError> {
        let limit = self.audience.max_message;
        let next_hop = NextHop::from(self.next_hop);
        if self.family != Ipv4Key::INDEX {
            let mut nets = ids.map(|id| tables.ipv6.key(id).ipv6_net()).peekable();
            while update::announce(out, limit, attributes, next_hop, &mut nets)? > 0 {}
            return Ok(());
        }
        let mut nets = ids.map(|id| tables.ipv4.key(id).ipv4_net()).peekable();
        match self.plain_next_hop() {
            Some(_) => while update::announce_ipv4(out, limit, attributes, &mut nets)? > 0 {},
            None => while update::announce(out, limit, attributes, next_hop, &mut nets)? > 0 {},
        }
        Ok(())
    }

    /// Appends the withdrawal of destinations: where their announcements are, MP_REACH_NLRI or not.
    pub(super) fn withdraw(&self, out: &mut BytesMut, tables: &Tables, ids: &[DestinationId]) {
        let limit = self.audience.max_message;
        if self.family != Ipv4Key::INDEX {
            drain(
                &mut ids
                    .iter()
                    .map(|id| tables.ipv6.key(*id).ipv6_net())
                    .peekable(),
                |nets| update::withdraw(out, limit, nets),
            );
            return;
        }
        let mut nets = ids
            .iter()
            .map(|id| tables.ipv4.key(*id).ipv4_net())
            .peekable();
        match self.plain_next_hop() {
            Some(_) => drain(&mut nets, |nets| update::withdraw_ipv4(out, limit, nets)),
            None => drain(&mut nets, |nets| update::withdraw(out, limit, nets)),
        }
    }
}

fn drain<P: Prefix, I: Iterator<Item = P>>(
    nets: &mut std::iter::Peekable<I>,
    mut message: impl FnMut(&mut std::iter::Peekable<I>) -> usize,
) {
    while message(nets) > 0 {}
}

/// End-of-RIB of one family (RFC 4724 section 2).
pub(super) fn end_of_rib(family: usize) -> Bytes {
    let mut out = BytesMut::new();
    update::end_of_rib(&mut out, FAMILY_AT[family]);
    out.freeze()
}

/// Cuts encoded messages between messages into chunks of at most [`CHUNK_OCTETS`], appended to `chunks`.
pub(super) fn cut(messages: BytesMut, chunks: &mut Vec<Bytes>) {
    let mut rest = messages.freeze();
    while rest.len() > CHUNK_OCTETS {
        let mut end = 0;
        while let Some(length) =
            message_length(&rest[end..]).filter(|length| end + length <= CHUNK_OCTETS)
        {
            end += length;
        }
        chunks.push(rest.split_to(end));
    }
    if !rest.is_empty() {
        chunks.push(rest);
    }
}

fn message_length(message: &[u8]) -> Option<usize> {
    let &[high, low] = message.get(16..18)?.first_chunk::<2>()?;
    Some(usize::from(u16::from_be_bytes([high, low])))
}
