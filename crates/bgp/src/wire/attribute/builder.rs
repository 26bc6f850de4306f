//! Canonical attributes from typed values.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use bytes::{BufMut, Bytes, BytesMut};

use super::as_path::put_sequence;
use super::{Aggregator, Origin};
use crate::policy::{Community, LargeCommunity};
use crate::wire::iana::{AttributeCode, flag};

/// Builds a canonical block: each attribute at most once, ascending by code (RFC 4271 section 5). Setting one again
/// replaces it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttributesBuilder {
    attributes: BTreeMap<u8, (u8, Vec<u8>)>,
}

impl AttributesBuilder {
    /// With no attributes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// ORIGIN.
    #[must_use]
    pub fn origin(self, origin: Origin) -> Self {
        self.known(AttributeCode::Origin, vec![origin.number()])
    }

    /// AS_PATH of one sequence, nearest AS first; an empty one is an empty path.
    #[must_use]
    pub fn as_path(self, asns: &[u32]) -> Self {
        let mut path = Vec::with_capacity(2 + asns.len() * 4);
        put_sequence(&mut path, asns);
        self.known(AttributeCode::AsPath, path)
    }

    /// NEXT_HOP.
    #[must_use]
    pub fn next_hop(self, address: Ipv4Addr) -> Self {
        self.known(AttributeCode::NextHop, address.octets().to_vec())
    }

    /// MULTI_EXIT_DISC.
    #[must_use]
    pub fn multi_exit_disc(self, med: u32) -> Self {
        self.known(AttributeCode::MultiExitDisc, med.to_be_bytes().to_vec())
    }

    /// LOCAL_PREF.
    #[must_use]
    pub fn local_pref(self, local_pref: u32) -> Self {
        self.known(AttributeCode::LocalPref, local_pref.to_be_bytes().to_vec())
    }

    /// ATOMIC_AGGREGATE.
    #[must_use]
    pub fn atomic_aggregate(self) -> Self {
        self.known(AttributeCode::AtomicAggregate, Vec::new())
    }

    /// AGGREGATOR.
    #[must_use]
    pub fn aggregator(self, aggregator: Aggregator) -> Self {
        let mut value = aggregator.asn.to_be_bytes().to_vec();
        value.extend(aggregator.address.octets());
        self.known(AttributeCode::Aggregator, value)
    }

    /// COMMUNITIES; none leaves the attribute out, since it may not be empty.
    #[must_use]
    pub fn communities(self, communities: impl IntoIterator<Item = Community>) -> Self {
        self.list(
            AttributeCode::Communities,
            communities.into_iter().flat_map(u32::to_be_bytes).collect(),
        )
    }

    /// ORIGINATOR_ID.
    #[must_use]
    pub fn originator_id(self, router_id: Ipv4Addr) -> Self {
        self.known(AttributeCode::OriginatorId, router_id.octets().to_vec())
    }

    /// CLUSTER_LIST; none leaves it out.
    #[must_use]
    pub fn cluster_list(self, clusters: impl IntoIterator<Item = Ipv4Addr>) -> Self {
        self.list(
            AttributeCode::ClusterList,
            clusters
                .into_iter()
                .flat_map(|cluster| cluster.octets())
                .collect(),
        )
    }

    /// EXTENDED_COMMUNITIES; none leaves it out.
    #[must_use]
    pub fn extended_communities(self, communities: impl IntoIterator<Item = [u8; 8]>) -> Self {
        self.list(
            AttributeCode::ExtendedCommunities,
            communities.into_iter().flatten().collect(),
        )
    }

    /// IPV6_EXTENDED_COMMUNITIES; none leaves it out.
    #[must_use]
    pub fn ipv6_extended_communities(
        self,
        communities: impl IntoIterator<Item = [u8; 20]>,
    ) -> Self {
        self.list(
            AttributeCode::Ipv6ExtendedCommunities,
            communities.into_iter().flatten().collect(),
        )
    }

    /// LARGE_COMMUNITIES; none leaves it out.
    #[must_use]
    pub fn large_communities(self, communities: impl IntoIterator<Item = LargeCommunity>) -> Self {
        let value = communities
            .into_iter()
            .flat_map(large_community_octets)
            .collect();
        self.list(AttributeCode::LargeCommunities, value)
    }

    /// ONLY_TO_CUSTOMER.
    #[must_use]
    pub fn only_to_customer(self, asn: u32) -> Self {
        self.known(AttributeCode::OnlyToCustomer, asn.to_be_bytes().to_vec())
    }

    /// Any attribute; the Extended Length bit of `flags` is set by the value's length, at most 65535 octets of which
    /// are taken.
    #[must_use]
    pub fn raw(mut self, flags: u8, code: u8, mut value: Vec<u8>) -> Self {
        value.truncate(usize::from(u16::MAX));
        self.attributes.insert(code, (flags, value));
        self
    }

    /// The canonical bytes.
    #[must_use]
    pub fn build(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(
            self.attributes
                .values()
                .map(|(_, value)| value.len() + 4)
                .sum(),
        );
        for (code, (flags, value)) in &self.attributes {
            put_attribute(&mut out, *flags, *code, value);
        }
        out.freeze()
    }

    fn known(self, code: AttributeCode, value: Vec<u8>) -> Self {
        self.raw(code.flags(), code.number(), value)
    }

    fn list(mut self, code: AttributeCode, value: Vec<u8>) -> Self {
        if value.is_empty() {
            self.attributes.remove(&code.number());
            return self;
        }
        self.known(code, value)
    }
}

pub(super) fn large_community_octets(community: LargeCommunity) -> impl Iterator<Item = u8> {
    let LargeCommunity {
        global,
        local1,
        local2,
    } = community;
    [global, local1, local2]
        .into_iter()
        .flat_map(u32::to_be_bytes)
}

/// Appends one attribute with the shortest length field; the unused flag bits go out as zero (RFC 4271 section 4.3).
pub(in crate::wire) fn put_attribute(out: &mut impl BufMut, flags: u8, code: u8, value: &[u8]) {
    let flags = flags & (flag::OPTIONAL | flag::TRANSITIVE | flag::PARTIAL);
    match u8::try_from(value.len()) {
        Ok(length) => out.put_slice(&[flags, code, length]),
        Err(_) => {
            out.put_slice(&[flags | flag::EXTENDED_LENGTH, code]);
            out.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        }
    }
    out.put_slice(value);
}
