//! Who and what there is: our peers, the prefixes, the policies, and what routes may look like.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use bgp::Family;
use bgp::policy::{ExportPolicy, ExportRule, ExportVerdict, PrefixMatch, SetAttributes, Source};
use bgp::rib::PeerFacts;
use bgp::wire::attribute::Origin;
use bgp::wire::iana::community;
use bgp::wire::{AttributesBuilder, PeerKind};
use ipnet::IpNet;

pub(crate) const ASN: u32 = 65000;
pub(crate) const ROUTER_ID: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);
pub(crate) const FAMILIES: [Family; 2] = [Family::IPV4_UNICAST, Family::IPV6_UNICAST];
pub(crate) const PEERS: usize = 6;

pub(crate) const LOCAL_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const LOCAL_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// Peers 0 and 1 differ in nothing that matters to export; 2 and 3 are internal; 4 takes IPv4 over IPv6, 5
/// does not.
pub(crate) fn facts(peer: usize) -> PeerFacts {
    let over_ipv6 = peer >= 4;
    let internal = peer == 2 || peer == 3;
    let number = peer as u8 + 1;
    let remote_v6 = Ipv6Addr::from(u128::from(LOCAL_V6) + u128::from(number));
    PeerFacts {
        kind: if internal {
            PeerKind::Internal
        } else {
            PeerKind::External
        },
        asn: if internal {
            ASN
        } else {
            65000 + u32::from(number)
        },
        router_id: Ipv4Addr::new(10, 255, 1, number),
        remote: if over_ipv6 {
            remote_v6.into()
        } else {
            Ipv4Addr::new(192, 0, 2, 10 + number).into()
        },
        local: if over_ipv6 {
            LOCAL_V6.into()
        } else {
            LOCAL_V4.into()
        },
        families: FAMILIES.to_vec(),
        four_octet: true,
        max_message: if peer == 3 { 65_535 } else { 4096 },
        extended_next_hop: if peer == 4 {
            vec![Family::IPV4_UNICAST]
        } else {
            Vec::new()
        },
        policy: policy(0),
    }
}

pub(crate) fn prefixes() -> Vec<IpNet> {
    let texts = [
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.2.0/24",
        "10.1.3.0/24",
        "172.16.0.0/12",
        "203.0.113.7/32",
        "::/0",
        "2001:db8:1::/48",
        "2001:db8:2::/64",
        "fd00::1/128",
    ];
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(crate) fn policy(number: usize) -> Arc<ExportPolicy> {
    let accept = |source, prefixes: Option<&str>, changes| ExportRule {
        source,
        prefixes: prefixes.map(|text| {
            BTreeSet::from([PrefixMatch {
                prefix: text.parse().unwrap(),
                min_length: 0,
                max_length: 32,
            }])
        }),
        verdict: ExportVerdict::Accept(changes),
    };
    let tagged = SetAttributes {
        local_preference: Some(150),
        communities: BTreeSet::from([0xfde8_0001, 0xfde8_0000]),
        ..SetAttributes::default()
    };
    let plain = SetAttributes::default;
    let rules = match number {
        0 => vec![accept(Source::Local, None, plain())],
        1 => vec![],
        2 => vec![
            accept(Source::Local, Some("10.0.0.0/8"), tagged.clone()),
            accept(Source::Learned, None, plain()),
        ],
        3 => vec![
            accept(Source::Local, None, plain()),
            accept(Source::Learned, Some("10.1.0.0/16"), tagged),
        ],
        // As the one before, of another prefix: what such a change leaves alone is not looked at.
        4 => vec![
            accept(Source::Local, None, plain()),
            accept(Source::Learned, Some("10.1.2.0/24"), tagged),
        ],
        _ => vec![
            ExportRule {
                verdict: ExportVerdict::Reject,
                ..accept(Source::Learned, Some("10.1.2.0/24"), plain())
            },
            accept(Source::Learned, None, plain()),
        ],
    };
    Arc::new(ExportPolicy { rules })
}

/// What a peer may announce a prefix with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variant {
    /// Behind the peer's own AS.
    pub(crate) path: Vec<u32>,
    pub(crate) origin: Origin,
    pub(crate) med: Option<u32>,
    pub(crate) local_pref: Option<u32>,
    pub(crate) community: Option<u32>,
    /// Announced with our own address as next hop.
    pub(crate) ours: bool,
    pub(crate) originator: bool,
}

pub(crate) fn variants() -> Vec<Variant> {
    let plain = Variant {
        path: vec![64512],
        origin: Origin::Igp,
        med: None,
        local_pref: None,
        community: None,
        ours: false,
        originator: false,
    };
    vec![
        plain.clone(),
        Variant {
            path: vec![64512, 64513],
            ..plain.clone()
        },
        Variant {
            path: vec![ASN],
            ..plain.clone()
        },
        Variant {
            med: Some(20),
            ..plain.clone()
        },
        Variant {
            origin: Origin::Incomplete,
            ..plain.clone()
        },
        Variant {
            local_pref: Some(200),
            ..plain.clone()
        },
        Variant {
            community: Some(community::NO_EXPORT),
            ..plain.clone()
        },
        Variant {
            community: Some(community::NO_ADVERTISE),
            ..plain.clone()
        },
        Variant {
            community: Some(community::GRACEFUL_SHUTDOWN),
            ..plain.clone()
        },
        Variant {
            ours: true,
            ..plain.clone()
        },
        Variant {
            originator: true,
            ..plain
        },
    ]
}

impl Variant {
    pub(crate) fn builder(&self, peer: usize) -> AttributesBuilder {
        let facts = facts(peer);
        let internal = facts.kind == PeerKind::Internal;
        let path: Vec<u32> = (!internal)
            .then_some(facts.asn)
            .into_iter()
            .chain(self.path.iter().copied())
            .collect();
        let mut builder = AttributesBuilder::new()
            .origin(self.origin)
            .as_path(&path)
            .communities(self.community);
        if let Some(med) = self.med {
            builder = builder.multi_exit_disc(med);
        }
        if internal {
            builder = builder.local_pref(self.local_pref.unwrap_or(100));
            if self.originator {
                builder = builder.originator_id(ROUTER_ID);
            }
        }
        builder
    }

    pub(crate) fn is_usable(&self, peer: usize) -> bool {
        self.forwards(peer) && !self.path.contains(&ASN)
    }

    /// Whether packets may be forwarded by it: also through our own AS (RFC 4271 section 9.1.2 is about what is passed on).
    pub(crate) fn forwards(&self, peer: usize) -> bool {
        let reflected = self.originator && facts(peer).kind == PeerKind::Internal;
        !self.ours && !reflected
    }
}
