//! One pass over the attributes of an UPDATE: RFC 7606's verdict, the canonical bytes, and the summary.

use std::net::Ipv4Addr;

use bytes::Bytes;

use super::{DecodeContext, MpReach, PeerKind, Treatment};
use crate::wire::attribute::{
    AttributeBlock, AttributeFault, FaultReason, Origin, PathFacts, PathFault, RawAttribute,
    Records, Summary, WellKnownCommunities, merge_as4_path, widen,
};
use crate::wire::error::DecodeError;
use crate::wire::iana::{AS_TRANS, AttributeCode, flag};
use crate::wire::nlri::{Ipv4Prefixes, Nlri};

use super::as4::As4;
use super::canonical::{Canonical, Seen};
use super::multiprotocol::{is_host, read_reach, read_unreach};

/// The pass.
pub(super) struct Scan<'a, 'c> {
    context: &'c DecodeContext,
    /// Whether NEXT_HOP has prefixes to serve.
    serves_next_hop: bool,
    block: &'a [u8],
    seen: Seen,
    as4: As4<'a>,
    canonical: Canonical<'a>,
    summary: Summary,
    mp_reach: Option<MpReach<'a>>,
    mp_unreach: Option<Nlri<'a>>,
    discarded: Vec<AttributeFault>,
    /// The first fault that withdraws, with the attribute.
    withdraw: Option<(AttributeFault, &'a [u8])>,
    /// A fault of a NEXT_HOP that serves nothing: it only counts where MP_REACH_NLRI does not supersede it.
    idle_next_hop: Option<(AttributeFault, &'a [u8])>,
}

/// What the pass found.
pub(super) struct Scanned<'a> {
    pub(super) attributes: AttributeBlock<'a>,
    pub(super) mp_reach: Option<MpReach<'a>>,
    pub(super) mp_unreach: Option<Nlri<'a>>,
    /// The block held MP_UNREACH_NLRI and no other attribute.
    pub(super) nothing_but_unreach: bool,
    pub(super) treatment: Treatment,
}

/// What becomes of one attribute.
enum Verdict {
    /// It stands in the canonical block as it is.
    Keep,
    /// It is dealt with, or nobody's business.
    Drop,
    /// It stands there with this value.
    Replace(Vec<u8>),
    /// RFC 7606 attribute discard.
    Discard(FaultReason),
    /// RFC 7606 treat-as-withdraw.
    Withdraw(FaultReason),
}

impl<'a, 'c> Scan<'a, 'c> {
    pub(super) fn new(
        block: &'a [u8],
        context: &'c DecodeContext,
        announced: &Ipv4Prefixes<'_>,
    ) -> Self {
        Self {
            context,
            serves_next_hop: !announced.is_empty(),
            block,
            seen: Seen::default(),
            as4: if context.four_octet {
                As4::default()
            } else {
                As4::find(block)
            },
            canonical: Canonical::new(block),
            summary: Summary::default(),
            mp_reach: None,
            mp_unreach: None,
            discarded: Vec::new(),
            withdraw: None,
            idle_next_hop: None,
        }
    }

    /// Walks the block. `announces` says whether the message's own field announces prefixes, of whatever family.
    pub(super) fn run(mut self, announces: bool) -> Result<Scanned<'a>, DecodeError> {
        let mut rest = self.block;
        while let Some(&[_, code]) = rest.first_chunk::<2>() {
            let start = self.block.len() - rest.len();
            let Some(attribute) = RawAttribute::take(&mut rest) else {
                self.fault(code, FaultReason::Cut, &[]);
                self.seen.others = true;
                break;
            };
            let at = start..start + attribute.whole.len();
            if !self.seen.insert(code) {
                self.refuse_second(code)?;
                continue;
            }
            match self.examine(&attribute)? {
                Verdict::Keep => self.canonical.keep(at),
                Verdict::Drop => {}
                Verdict::Replace(value) => self.canonical.replace(attribute.flags, code, &value),
                Verdict::Discard(reason) => self.discarded.push(AttributeFault { code, reason }),
                Verdict::Withdraw(reason) => self.fault(code, reason, attribute.whole),
            }
        }
        if rest.len() == 1 {
            self.fault(0, FaultReason::Cut, &[]);
            self.seen.others = true;
        }
        self.conclude(announces)
    }

    /// RFC 7606 section 3, g: a second MP attribute resets, any other is dropped.
    fn refuse_second(&self, code: u8) -> Result<(), DecodeError> {
        match AttributeCode::from_number(code) {
            Some(code @ (AttributeCode::MpReachNlri | AttributeCode::MpUnreachNlri)) => {
                Err(DecodeError::DuplicateMultiprotocol(code))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn fault(&mut self, code: u8, reason: FaultReason, whole: &'a [u8]) {
        self.withdraw
            .get_or_insert((AttributeFault { code, reason }, whole));
    }

    fn conclude(mut self, announces: bool) -> Result<Scanned<'a>, DecodeError> {
        let reaches = announces || self.seen.has(AttributeCode::MpReachNlri);
        if !self.seen.has(AttributeCode::MpReachNlri)
            && let Some((fault, whole)) = self.idle_next_hop
        {
            self.fault(fault.code, fault.reason, whole);
        }
        if let Some(missing) = self.missing().filter(|_| reaches) {
            self.fault(missing.number(), FaultReason::Missing, &[]);
        }
        // RFC 7606 section 5.2: nothing tells which routes a fault would withdraw.
        if let Some((fault, whole)) = self.withdraw
            && !reaches
            && self.seen.others
        {
            return Err(DecodeError::FaultWithoutPrefixes {
                fault,
                attribute: Bytes::copy_from_slice(whole),
            });
        }
        let (attributes, treatment) = match self.withdraw {
            Some((fault, _)) => (AttributeBlock::default(), Treatment::Withdraw(fault)),
            None => {
                let attributes = AttributeBlock::new(self.canonical.finish(), self.summary);
                let accepted = self.discarded.is_empty();
                (
                    attributes,
                    if accepted {
                        Treatment::Accept
                    } else {
                        Treatment::Discard(self.discarded)
                    },
                )
            }
        };
        Ok(Scanned {
            attributes,
            mp_reach: self.mp_reach,
            mp_unreach: self.mp_unreach,
            nothing_but_unreach: !self.seen.others,
            treatment,
        })
    }

    /// The first mandatory attribute that is not there (RFC 4271 section 5; NEXT_HOP only for prefixes outside MP
    /// attributes, RFC 4760 section 3). LOCAL_PREF is not among them: without it, an internal route has the default.
    fn missing(&self) -> Option<AttributeCode> {
        let mandatory = [
            (AttributeCode::Origin, true),
            (AttributeCode::AsPath, true),
            (AttributeCode::NextHop, self.serves_next_hop),
        ];
        mandatory
            .into_iter()
            .find(|(code, needed)| *needed && !self.seen.has(*code))
            .map(|(code, _)| code)
    }

    /// The verdict on one attribute: RFC 7606 section 7, and the documents of younger attributes.
    fn examine(&mut self, attribute: &RawAttribute<'a>) -> Result<Verdict, DecodeError> {
        let Some(code) = AttributeCode::from_number(attribute.code) else {
            return unknown(attribute);
        };
        if let Some(verdict) = self.unwanted(code) {
            return Ok(verdict);
        }
        let flags_fit = attribute.flags & (flag::OPTIONAL | flag::TRANSITIVE) == code.flags();
        if !flags_fit {
            self.fault(attribute.code, FaultReason::Flags, attribute.whole);
        }
        let value = attribute.value;
        let verdict = match code {
            // Parsed even with wrong flags: their prefixes are what is to be withdrawn.
            AttributeCode::MpReachNlri => return self.mp_reach(attribute),
            AttributeCode::MpUnreachNlri => return self.mp_unreach(attribute),
            _ if !flags_fit => Verdict::Drop,
            AttributeCode::Origin => self.origin(value),
            AttributeCode::AsPath => self.as_path(value),
            AttributeCode::NextHop => self.next_hop(attribute),
            AttributeCode::MultiExitDisc => number(value, |med| self.summary.med = Some(med)),
            AttributeCode::LocalPref => number(value, |local_pref| {
                self.summary.local_pref = Some(local_pref);
            }),
            AttributeCode::AtomicAggregate if value.is_empty() => Verdict::Keep,
            AttributeCode::AtomicAggregate => Verdict::Discard(FaultReason::Length),
            AttributeCode::Aggregator => self.aggregator(value),
            AttributeCode::Communities => self.communities(value),
            AttributeCode::OriginatorId => number(value, |router_id| {
                self.summary.originator_id = Some(Ipv4Addr::from_bits(router_id));
            }),
            AttributeCode::ClusterList => self.cluster_list(value),
            AttributeCode::ExtendedCommunities => records::<8>(value),
            AttributeCode::Ipv6ExtendedCommunities => records::<20>(value),
            AttributeCode::LargeCommunities => large_communities(value),
            AttributeCode::OnlyToCustomer => number(value, |_| {}),
            // RFC 6793 section 6: a malformed one is ignored; `As4` has used a good one.
            AttributeCode::As4Path if self.as4.path.is_none() => {
                Verdict::Discard(FaultReason::Segments)
            }
            AttributeCode::As4Aggregator if value.len() != 8 => {
                Verdict::Discard(FaultReason::Length)
            }
            // RFC 7607 section 2.
            AttributeCode::As4Aggregator if value[..4] == [0; 4] => {
                Verdict::Discard(FaultReason::Value)
            }
            AttributeCode::As4Path | AttributeCode::As4Aggregator | AttributeCode::Aigp => {
                Verdict::Drop
            }
            AttributeCode::PrefixSid if tlvs_fit(value) => Verdict::Keep,
            AttributeCode::PrefixSid => Verdict::Discard(FaultReason::Value),
            AttributeCode::AttrSet => attr_set(value),
        };
        Ok(verdict)
    }

    /// Attributes this peer, or any, may send but we do not take, well-formed or not.
    fn unwanted(&self, code: AttributeCode) -> Option<Verdict> {
        let external = self.context.peer_kind == PeerKind::External;
        match code {
            // RFC 7606 sections 7.5, 7.9, 7.10; RFC 8669 section 4: only from within our own domain.
            AttributeCode::LocalPref
            | AttributeCode::OriginatorId
            | AttributeCode::ClusterList
            | AttributeCode::PrefixSid => {
                external.then_some(Verdict::Discard(FaultReason::FromExternal))
            }
            // RFC 6793 section 4.1.
            AttributeCode::As4Path | AttributeCode::As4Aggregator => self
                .context
                .four_octet
                .then_some(Verdict::Discard(FaultReason::FromFourOctet)),
            // RFC 7311 section 3.3: not enabled for any session, so ignored and not passed on.
            AttributeCode::Aigp => Some(Verdict::Drop),
            AttributeCode::Origin
            | AttributeCode::AsPath
            | AttributeCode::NextHop
            | AttributeCode::MultiExitDisc
            | AttributeCode::AtomicAggregate
            | AttributeCode::Aggregator
            | AttributeCode::Communities
            | AttributeCode::MpReachNlri
            | AttributeCode::MpUnreachNlri
            | AttributeCode::ExtendedCommunities
            | AttributeCode::Ipv6ExtendedCommunities
            | AttributeCode::LargeCommunities
            | AttributeCode::OnlyToCustomer
            | AttributeCode::AttrSet => None,
        }
    }

    fn origin(&mut self, value: &[u8]) -> Verdict {
        let [number] = value else {
            return Verdict::Withdraw(FaultReason::Length);
        };
        match Origin::from_number(*number) {
            Some(origin) => {
                self.summary.origin = origin;
                Verdict::Keep
            }
            None => Verdict::Withdraw(FaultReason::Origin),
        }
    }

    fn as_path(&mut self, value: &[u8]) -> Verdict {
        let local_asn = self.context.local_asn;
        if self.context.four_octet {
            return match PathFacts::of::<4>(value, local_asn) {
                Ok(facts) => self
                    .judge_path(facts)
                    .map_or(Verdict::Keep, Verdict::Withdraw),
                Err(PathFault) => Verdict::Withdraw(FaultReason::Segments),
            };
        }
        if PathFacts::of::<2>(value, 0).is_err() {
            return Verdict::Withdraw(FaultReason::Segments);
        }
        let wide = widen(value);
        let path = match self.as4.path {
            Some(as4_path) if !self.as4.ignored => merge_as4_path(&wide, as4_path),
            Some(_) | None => wide,
        };
        match PathFacts::of::<4>(&path, local_asn) {
            Ok(facts) => self
                .judge_path(facts)
                .map_or(Verdict::Replace(path), Verdict::Withdraw),
            Err(PathFault) => Verdict::Withdraw(FaultReason::Segments),
        }
    }

    fn judge_path(&mut self, facts: PathFacts) -> Option<FaultReason> {
        self.summary.note_path(facts);
        let external = self.context.peer_kind == PeerKind::External;
        if facts.has_zero {
            Some(FaultReason::AsZero)
        } else if facts.has_confederation && external {
            Some(FaultReason::ConfederationSegment)
        } else if facts.has_set && self.context.reject_as_sets {
            Some(FaultReason::AsSet)
        } else if self.context.first_asn.is_some() && self.context.first_asn != facts.first {
            Some(FaultReason::FirstAs)
        } else {
            None
        }
    }

    fn next_hop(&mut self, attribute: &RawAttribute<'a>) -> Verdict {
        let reason = match attribute
            .value
            .try_into()
            .map(u32::from_be_bytes)
            .map(Ipv4Addr::from_bits)
        {
            Ok(address) if is_host(address) => {
                self.summary.next_hop = self.serves_next_hop.then_some(address);
                return if self.serves_next_hop {
                    Verdict::Keep
                } else {
                    Verdict::Drop
                };
            }
            Ok(_) => FaultReason::NextHop,
            Err(_) => FaultReason::Length,
        };
        if self.serves_next_hop {
            return Verdict::Withdraw(reason);
        }
        self.idle_next_hop = Some((
            AttributeFault {
                code: attribute.code,
                reason,
            },
            attribute.whole,
        ));
        Verdict::Drop
    }

    /// RFC 7606 section 7.7; RFC 7607 section 2 for AS 0.
    fn aggregator(&self, value: &[u8]) -> Verdict {
        match (self.context.four_octet, value) {
            (true, [0, 0, 0, 0, _, _, _, _]) | (false, [0, 0, _, _, _, _]) => {
                Verdict::Discard(FaultReason::Value)
            }
            (true, [_, _, _, _, _, _, _, _]) => Verdict::Keep,
            (false, [high, low, address @ ..]) if address.len() == 4 => {
                let trans = u16::from_be_bytes([*high, *low]) == AS_TRANS;
                match self.as4.aggregator.filter(|_| trans) {
                    Some(aggregator) => Verdict::Replace(aggregator.to_vec()),
                    None => Verdict::Replace([&[0, 0, *high, *low], address].concat()),
                }
            }
            (true | false, _) => Verdict::Discard(FaultReason::Length),
        }
    }

    fn communities(&mut self, value: &[u8]) -> Verdict {
        match Records::<4>::parse(value) {
            Some(communities) if !value.is_empty() => {
                self.summary.communities = WellKnownCommunities::of(communities);
                Verdict::Keep
            }
            Some(_) | None => Verdict::Withdraw(FaultReason::Length),
        }
    }

    fn cluster_list(&mut self, value: &[u8]) -> Verdict {
        self.summary.cluster_list_length = u16::try_from(value.len() / 4).unwrap_or(u16::MAX);
        records::<4>(value)
    }

    fn mp_reach(&mut self, attribute: &RawAttribute<'a>) -> Result<Verdict, DecodeError> {
        let Some((reach, usable)) = read_reach(attribute, &self.context.families)? else {
            return Ok(Verdict::Drop);
        };
        self.mp_reach = Some(reach);
        Ok(if usable {
            Verdict::Drop
        } else {
            Verdict::Withdraw(FaultReason::NextHop)
        })
    }

    fn mp_unreach(&mut self, attribute: &RawAttribute<'a>) -> Result<Verdict, DecodeError> {
        self.mp_unreach = read_unreach(attribute, &self.context.families)?;
        Ok(Verdict::Drop)
    }
}

/// Attributes without a row of their own (RFC 4271 sections 6.3 and 9).
fn unknown(attribute: &RawAttribute<'_>) -> Result<Verdict, DecodeError> {
    if attribute.flags & flag::OPTIONAL == 0 {
        return Err(DecodeError::UnrecognizedWellKnown {
            attribute: Bytes::copy_from_slice(attribute.whole),
        });
    }
    Ok(if attribute.flags & flag::TRANSITIVE == 0 {
        Verdict::Drop
    } else {
        Verdict::Keep
    })
}

fn number(value: &[u8], note: impl FnOnce(u32)) -> Verdict {
    match value.try_into() {
        Ok(octets) => {
            note(u32::from_be_bytes(octets));
            Verdict::Keep
        }
        Err(_) => Verdict::Withdraw(FaultReason::Length),
    }
}

fn records<const N: usize>(value: &[u8]) -> Verdict {
    if value.is_empty() || !value.len().is_multiple_of(N) {
        Verdict::Withdraw(FaultReason::Length)
    } else {
        Verdict::Keep
    }
}

/// RFC 8092 sections 3 and 5: repeated values are removed.
fn large_communities(value: &[u8]) -> Verdict {
    let (communities, []) = value.as_chunks::<12>() else {
        return Verdict::Withdraw(FaultReason::Length);
    };
    if communities.is_empty() {
        return Verdict::Withdraw(FaultReason::Length);
    }
    let mut sorted: Vec<(&[u8; 12], usize)> = communities.iter().zip(0..).collect();
    sorted.sort_unstable();
    sorted.dedup_by_key(|(community, _)| *community);
    if sorted.len() == communities.len() {
        return Verdict::Keep;
    }
    sorted.sort_unstable_by_key(|(_, index)| *index);
    Verdict::Replace(
        sorted
            .iter()
            .flat_map(|(community, _)| community.iter().copied())
            .collect(),
    )
}

/// RFC 8669 section 3: TLVs of a type octet and a two-octet length, filling the attribute.
fn tlvs_fit(mut value: &[u8]) -> bool {
    let empty = value.is_empty();
    while let Some((&[_, high, low], after)) = value.split_first_chunk::<3>() {
        let Some(rest) = after.get(usize::from(u16::from_be_bytes([high, low]))..) else {
            return false;
        };
        value = rest;
    }
    value.is_empty() && !empty
}

/// RFC 7606 section 7.16 (RFC 6368 section 5): the AS, then whole attributes.
fn attr_set(value: &[u8]) -> Verdict {
    let Some((_, mut attributes)) = value.split_first_chunk::<4>() else {
        return Verdict::Withdraw(FaultReason::Length);
    };
    while RawAttribute::take(&mut attributes).is_some() {}
    if attributes.is_empty() {
        Verdict::Keep
    } else {
        Verdict::Withdraw(FaultReason::Value)
    }
}
