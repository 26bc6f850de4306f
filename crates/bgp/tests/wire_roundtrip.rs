//! What is encoded is decoded, for every message and attribute, and no bytes make the decoder panic.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use bgp::policy::{LargeCommunity, Source};
use bgp::wire::attribute::{
    Aggregator, AsPath, Attribute, Attributes, ExportTransform, Origin, export,
};
use bgp::wire::nlri::{Ipv4Prefixes, Ipv6Prefixes, Prefix};
use bgp::wire::{
    AttributeBlock, AttributesBuilder, Capabilities, DecodeContext, DecodeError,
    EXTENDED_MAXIMUM_LENGTH, Framer, GracefulRestartCapability, HEADER_LENGTH, HostName,
    MAXIMUM_LENGTH, MessageKind, NextHop, Notification, Open, PeerKind, RouteRefresh, Treatment,
    keepalive, update,
};
use bgp::{Afi, Family};
use bytes::{Bytes, BytesMut};
use ipnet::{Ipv4Net, Ipv6Net};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![
        Just(Family::IPV4_UNICAST),
        Just(Family::IPV6_UNICAST),
        (any::<u16>(), any::<u8>()).prop_map(|(afi, safi)| Family {
            afi: afi.into(),
            safi: safi.into()
        }),
    ]
}

fn octets(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=most).prop_map(Bytes::from)
}

fn graceful_restart() -> impl Strategy<Value = GracefulRestartCapability> {
    (
        any::<bool>(),
        any::<bool>(),
        0..4096_u16,
        vec((family(), any::<bool>()), 0..20),
    )
        .prop_map(|(restarting, notification, restart_time, families)| {
            GracefulRestartCapability {
                restarting,
                notification,
                restart_time,
                families,
            }
        })
}

/// Capabilities as they come back: without repetition, and unknown ones really unknown.
fn capabilities() -> impl Strategy<Value = Capabilities> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let next_hops = btree_set((family(), any::<u16>().prop_map(Afi::from)), 0..10);
    let name =
        ("[a-zé.]{0,60}", "[a-z.]{0,60}").prop_map(|(host, domain)| HostName { host, domain });
    let unknown = vec((200..=255_u8, octets(255)), 0..4);
    let rest = (
        option::of(graceful_restart()),
        option::of(name),
        option::of("[ -~]{0,100}"),
        unknown,
    );
    (
        btree_set(family(), 0..10),
        flags,
        option::of(1..=u32::MAX),
        next_hops,
        rest,
    )
        .prop_map(
            |(
                families,
                flags,
                four_octet_asn,
                next_hops,
                (graceful_restart, host_name, software_version, unknown),
            )| {
                Capabilities {
                    multiprotocol: families.into_iter().collect(),
                    route_refresh: flags.0,
                    enhanced_route_refresh: flags.1,
                    extended_message: flags.2,
                    four_octet_asn,
                    extended_next_hop: next_hops.into_iter().collect(),
                    graceful_restart,
                    host_name,
                    software_version,
                    unknown,
                }
            },
        )
}

fn open() -> impl Strategy<Value = Open> {
    let hold_time = prop_oneof![Just(0), 3..=u16::MAX];
    (1..=u16::MAX, hold_time, 1..=u32::MAX, capabilities()).prop_map(
        |(asn, hold_time, router_id, capabilities)| Open {
            asn: capabilities.four_octet_asn.unwrap_or(u32::from(asn)),
            hold_time,
            router_id: Ipv4Addr::from_bits(router_id),
            capabilities,
        },
    )
}

fn ipv4_prefix() -> impl Strategy<Value = Ipv4Net> {
    (0..0xE000_0000_u32, 0..=32_u8)
        .prop_map(|(address, bits)| Ipv4Net::new_assert(Ipv4Addr::from_bits(address), bits).trunc())
}

fn ipv6_prefix() -> impl Strategy<Value = Ipv6Net> {
    (0..1_u128 << 126, 0..=128_u8)
        .prop_map(|(address, bits)| Ipv6Net::new_assert(Ipv6Addr::from_bits(address), bits).trunc())
}

fn host() -> impl Strategy<Value = Ipv4Addr> {
    (0x0100_0000..0xE000_0000_u32).prop_map(Ipv4Addr::from_bits)
}

fn next_hop() -> impl Strategy<Value = NextHop> {
    let ipv6 = || {
        (1..1_u128 << 126)
            .prop_map(Ipv6Addr::from_bits)
            .prop_filter("no IPv4", |address| address.to_ipv4().is_none())
    };
    (ipv6(), option::of(ipv6()))
        .prop_map(|(global, link_local)| NextHop::Ipv6 { global, link_local })
}

fn large_community() -> impl Strategy<Value = LargeCommunity> {
    any::<[u32; 3]>().prop_map(|[global, local1, local2]| LargeCommunity {
        global,
        local1,
        local2,
    })
}

/// Attributes an internal four-octet peer may send, without NEXT_HOP.
fn attributes() -> impl Strategy<Value = AttributesBuilder> {
    let first = (
        0..=2_u8,
        vec(1..=u32::MAX, 0..600),
        any::<[Option<u32>; 2]>(),
        any::<bool>(),
    );
    let second = (
        option::of((1..=u32::MAX, any::<u32>())),
        any::<Option<u32>>(),
        vec(any::<u32>(), 0..80),
    );
    let third = (
        vec(any::<u32>(), 0..5),
        vec(any::<[u8; 8]>(), 0..9),
        vec(any::<[u8; 20]>(), 0..4),
    );
    let fourth = (
        btree_set(large_community(), 0..40),
        any::<Option<u32>>(),
        option::of((129..=255_u8, octets(600))),
    );
    (first, second, third, fourth).prop_map(|(first, second, third, fourth)| {
        let (origin, path, [med, local_pref], atomic) = first;
        let mut builder = AttributesBuilder::new()
            .as_path(&path)
            .communities(second.2);
        builder = builder.origin(Origin::from_number(origin).expect("one of three"));
        builder = builder
            .cluster_list(third.0.into_iter().map(Ipv4Addr::from_bits))
            .extended_communities(third.1);
        builder = builder
            .ipv6_extended_communities(third.2)
            .large_communities(fourth.0);
        builder = med
            .into_iter()
            .fold(builder, AttributesBuilder::multi_exit_disc);
        builder = local_pref
            .into_iter()
            .fold(builder, AttributesBuilder::local_pref);
        builder = if atomic {
            builder.atomic_aggregate()
        } else {
            builder
        };
        let aggregator = second.0.map(|(asn, address)| Aggregator {
            asn,
            address: Ipv4Addr::from_bits(address),
        });
        builder = aggregator
            .into_iter()
            .fold(builder, AttributesBuilder::aggregator);
        builder = second
            .1
            .map(Ipv4Addr::from_bits)
            .into_iter()
            .fold(builder, AttributesBuilder::originator_id);
        builder = fourth
            .1
            .into_iter()
            .fold(builder, AttributesBuilder::only_to_customer);
        fourth
            .2
            .into_iter()
            .fold(builder, |builder, (code, value)| {
                builder.raw(0xE0, code, value.to_vec())
            })
    })
}

fn context(peer_kind: PeerKind, four_octet: bool) -> DecodeContext {
    DecodeContext {
        four_octet,
        peer_kind,
        families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
        local_asn: 65000,
        first_asn: None,
        reject_as_sets: false,
    }
}

/// The bodies of the UPDATEs in `out`.
fn bodies(out: &BytesMut, limit: usize) -> Vec<Vec<u8>> {
    let mut framer = Framer::new();
    framer.push(out);
    let mut bodies = Vec::new();
    while let Some(frame) = framer.next(limit).expect("well-framed") {
        assert_eq!(frame.kind, MessageKind::Update);
        bodies.push(frame.body.to_vec());
    }
    bodies
}

/// Takes a block apart and builds it again from what the typed view says.
fn rebuilt(bytes: &[u8]) -> Bytes {
    let mut builder = AttributesBuilder::new();
    for (attribute, raw) in Attributes::of(bytes).zip(Attributes::of(bytes).raw()) {
        builder = match attribute {
            Attribute::Origin(origin) => builder.origin(origin),
            Attribute::AsPath(path) => builder.as_path(&path.asns().collect::<Vec<_>>()),
            Attribute::NextHop(address) => builder.next_hop(address),
            Attribute::MultiExitDisc(med) => builder.multi_exit_disc(med),
            Attribute::LocalPref(local_pref) => builder.local_pref(local_pref),
            Attribute::AtomicAggregate => builder.atomic_aggregate(),
            Attribute::Aggregator(aggregator) => builder.aggregator(aggregator),
            Attribute::Communities(list) => builder.communities(list.numbers()),
            Attribute::OriginatorId(router_id) => builder.originator_id(router_id),
            Attribute::ClusterList(list) => {
                builder.cluster_list(list.numbers().map(Ipv4Addr::from_bits))
            }
            Attribute::ExtendedCommunities(list) => {
                builder.extended_communities(list.octets().iter().copied())
            }
            Attribute::Ipv6ExtendedCommunities(list) => {
                builder.ipv6_extended_communities(list.octets().iter().copied())
            }
            Attribute::LargeCommunities(list) => {
                builder.large_communities(list.large_communities())
            }
            Attribute::OnlyToCustomer(asn) => builder.only_to_customer(asn),
            Attribute::Other(other) => {
                assert_eq!(other, raw);
                builder.raw(other.flags, other.code, other.value.to_vec())
            }
        };
    }
    builder.build()
}

/// Announces `prefixes` in as many messages as it takes, and reads them back.
fn announced<P: Prefix + Ord>(
    attributes: &[u8],
    next_hop: NextHop,
    prefixes: &BTreeSet<P>,
    limit: usize,
) -> Vec<String> {
    let mut out = BytesMut::new();
    let mut left = prefixes.iter().copied().peekable();
    while update::announce(&mut out, limit, attributes, next_hop, &mut left).expect("room") > 0 {}
    let context = context(PeerKind::Internal, true);
    let mut seen = Vec::new();
    for body in bodies(&out, limit) {
        let update = update::decode(&body, &context).expect("well-formed");
        assert_eq!(
            (&update.treatment, update.attributes.bytes()),
            (&Treatment::Accept, attributes)
        );
        let reach = update.mp_reach.expect("there");
        assert_eq!(reach.next_hop, next_hop);
        seen.extend(reach.nlri.map(|prefix| prefix.to_string()));
    }
    seen
}

proptest! {
    #[test]
    fn open_comes_back(open in open()) {
        let encoded = open.encode();
        prop_assert!(encoded.len() <= MAXIMUM_LENGTH);
        prop_assert_eq!(Open::decode(&encoded[HEADER_LENGTH..]), Ok(open));
    }

    #[test]
    fn notification_comes_back(code in any::<u8>(), subcode in any::<u8>(), data in octets(4075)) {
        let notification = Notification { code, subcode, data };
        prop_assert!(!notification.to_string().is_empty());
        prop_assert_eq!(Notification::decode(&notification.encode()[HEADER_LENGTH..]), Ok(notification));
    }

    #[test]
    fn route_refresh_comes_back(family in family(), subtype in any::<u8>()) {
        let refresh = RouteRefresh { family, subtype: subtype.into() };
        prop_assert_eq!(RouteRefresh::decode(&refresh.encode()[HEADER_LENGTH..]), Ok(refresh));
    }

    #[test]
    fn a_stream_is_the_same_messages_however_it_is_cut(
        messages in vec(prop_oneof![open().prop_map(|open| open.encode()), Just(keepalive())], 1..8),
        cuts in vec(1..200_usize, 1..50),
    ) {
        let stream = messages.concat();
        let (mut framer, mut seen, mut rest) = (Framer::new(), Vec::new(), &stream[..]);
        for cut in cuts.into_iter().cycle() {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            framer.push(piece);
            while let Some(frame) = framer.next(MAXIMUM_LENGTH).expect("well-framed") {
                seen.push(frame.body.to_vec());
            }
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(seen.into_iter().eq(messages.iter().map(|message| message[HEADER_LENGTH..].to_vec())));
    }

    #[test]
    fn every_attribute_comes_back(attributes in attributes(), address in host()) {
        let bytes = attributes.next_hop(address).build();
        prop_assert_eq!(rebuilt(&bytes), bytes);
    }

    #[test]
    fn ipv4_prefixes_come_back(prefixes in btree_set(ipv4_prefix(), 0..2000), attributes in attributes(), address in host()) {
        let bytes = attributes.next_hop(address).build();
        let mut out = BytesMut::new();
        let limit = EXTENDED_MAXIMUM_LENGTH;
        let mut left = prefixes.iter().copied().peekable();
        while update::announce_ipv4(&mut out, limit, &bytes, &mut left).expect("room") > 0 {}
        let (mut seen, context) = (Vec::new(), context(PeerKind::Internal, true));
        for body in bodies(&out, limit) {
            let update = update::decode(&body, &context).expect("well-formed");
            prop_assert_eq!(update.treatment, Treatment::Accept);
            prop_assert_eq!(&update.attributes, &AttributeBlock::of(&bytes, 65000));
            seen.extend(update.announced);
        }
        prop_assert!(seen.iter().eq(prefixes.iter()));
        let mut field = BytesMut::new();
        prefixes.iter().for_each(|prefix| prefix.write(&mut field));
        prop_assert!(Ipv4Prefixes::parse(&field).expect("parseable").eq(prefixes));
    }

    #[test]
    fn mp_prefixes_come_back(
        ipv6 in btree_set(ipv6_prefix(), 0..400),
        ipv4 in btree_set(ipv4_prefix(), 0..400),
        attributes in attributes(),
        next_hop in next_hop(),
        limit in 8000..=EXTENDED_MAXIMUM_LENGTH,
    ) {
        let bytes = attributes.build();
        prop_assert!(announced(&bytes, next_hop, &ipv6, limit).into_iter().eq(ipv6.iter().map(ToString::to_string)));
        prop_assert!(announced(&bytes, next_hop, &ipv4, limit).into_iter().eq(ipv4.iter().map(ToString::to_string)));
        let mut field = BytesMut::new();
        ipv6.iter().for_each(|prefix| prefix.write(&mut field));
        prop_assert!(Ipv6Prefixes::parse(&field).expect("parseable").eq(ipv6));
    }

    #[test]
    fn withdrawals_come_back(ipv4 in btree_set(ipv4_prefix(), 0..2000), ipv6 in btree_set(ipv6_prefix(), 0..2000)) {
        let mut out = BytesMut::new();
        let mut left = ipv4.iter().copied().peekable();
        while update::withdraw_ipv4(&mut out, MAXIMUM_LENGTH, &mut left) > 0 {}
        let mut left = ipv6.iter().copied().peekable();
        while update::withdraw(&mut out, MAXIMUM_LENGTH, &mut left) > 0 {}
        let context = context(PeerKind::External, true);
        let mut seen = Vec::new();
        for body in bodies(&out, MAXIMUM_LENGTH) {
            let update = update::decode(&body, &context).expect("well-formed");
            seen.extend(update.withdrawn.map(|prefix| prefix.to_string()));
            seen.extend(update.mp_unreach.into_iter().flatten().map(|prefix| prefix.to_string()));
        }
        let expected = ipv4.iter().map(ToString::to_string).chain(ipv6.iter().map(ToString::to_string));
        prop_assert!(seen.into_iter().eq(expected));
    }

    /// RFC 6793: a two-octet session loses nothing of a route.
    #[test]
    fn a_two_octet_peer_hands_on_what_a_four_octet_one_would(attributes in attributes(), kind in any::<bool>(), address in host()) {
        let (communities, large_communities) = (BTreeSet::new(), BTreeSet::new());
        let kind = if kind { PeerKind::External } else { PeerKind::Internal };
        let wide = ExportTransform {
            source: Source::Learned,
            kind,
            local_asn: 4_200_000_000,
            next_hop: Some(address),
            local_pref: None,
            communities: &communities,
            large_communities: &large_communities,
            four_octet: true,
        };
        let canonical = attributes.build();
        let read = |four_octet: bool| {
            let bytes = export(&canonical, &ExportTransform { four_octet, ..wide });
            let mut out = BytesMut::new();
            let mut prefixes = std::iter::once(Ipv4Net::default()).peekable();
            update::announce_ipv4(&mut out, EXTENDED_MAXIMUM_LENGTH, &bytes, &mut prefixes).expect("room");
            let bodies = bodies(&out, EXTENDED_MAXIMUM_LENGTH);
            let update = update::decode(&bodies[0], &context(kind, four_octet)).expect("well-formed");
            assert_eq!(update.treatment, Treatment::Accept);
            update.attributes.bytes().to_vec()
        };
        let (from_narrow, from_wide) = (read(false), read(true));
        for (narrow, wide) in Attributes::of(&from_narrow).zip(Attributes::of(&from_wide)) {
            match (narrow, wide) {
                // Segments may be joined differently; the path is the same.
                (Attribute::AsPath(narrow), Attribute::AsPath(wide)) => {
                    prop_assert!(narrow.asns().eq(wide.asns()));
                }
                (narrow, wide) => prop_assert_eq!(narrow, wide),
            }
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(body in octets(300), flags in any::<[bool; 5]>()) {
        drop((Open::decode(&body), Notification::decode(&body).map(|one| one.to_string()), RouteRefresh::decode(&body)));
        drop(AsPath::parse(&body).map(|path| path.to_string()));
        prop_assert_eq!(viewed(&body), Attributes::of(&body).raw().count());
        let mut framer = Framer::new();
        framer.push(&body);
        drop(framer.next(MAXIMUM_LENGTH));
        drop(survives(&body, flags));
    }

    /// A good UPDATE with some octets changed: what is accepted is canonical, and decodes to itself.
    #[test]
    fn what_survives_corruption_is_canonical(
        attributes in attributes(),
        address in host(),
        prefixes in vec(ipv4_prefix(), 1..5),
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        flags in any::<[bool; 5]>(),
    ) {
        let mut out = BytesMut::new();
        let bytes = attributes.next_hop(address).build();
        let mut left = prefixes.into_iter().peekable();
        update::announce_ipv4(&mut out, EXTENDED_MAXIMUM_LENGTH, &bytes, &mut left).expect("room");
        let mut body = out[HEADER_LENGTH..].to_vec();
        for (at, octet) in changes {
            let at = at.index(body.len());
            body[at] = octet;
        }
        drop(survives(&body, flags));
    }
}

/// How many attributes bytes that are no block have in the typed view, each of which can be shown.
fn viewed(bytes: &[u8]) -> usize {
    Attributes::of(bytes)
        .filter(|attribute| !format!("{attribute:?}").is_empty())
        .count()
}

/// Decodes; when the routes are accepted, their attributes must be canonical: decoding them again changes nothing.
fn survives(
    body: &[u8],
    [four_octet, external, strict, ipv4, ipv6]: [bool; 5],
) -> Result<(), DecodeError> {
    let kind = if external {
        PeerKind::External
    } else {
        PeerKind::Internal
    };
    let mut context = context(kind, four_octet);
    context.reject_as_sets = strict;
    context.families.retain(|family| {
        if *family == Family::IPV4_UNICAST {
            ipv4
        } else {
            ipv6
        }
    });
    let update = update::decode(body, &context)
        .inspect_err(|error| assert!(error.notification().code > 0))?;
    let own = update.announced.count() + update.withdrawn.count();
    let mp = update
        .mp_unreach
        .into_iter()
        .chain(update.mp_reach.map(|reach| reach.nlri))
        .flatten()
        .count();
    assert!(own + mp <= body.len());
    if matches!(update.treatment, Treatment::Withdraw(_)) || update.attributes.bytes().is_empty() {
        return Ok(());
    }
    let block = update.attributes.bytes();
    assert_eq!(
        update.attributes.summary(),
        AttributeBlock::of(block, 65000).summary()
    );
    let mut out = BytesMut::new();
    let mut default_route = std::iter::once(Ipv4Net::default()).peekable();
    let limit = EXTENDED_MAXIMUM_LENGTH;
    if update.attributes.summary().next_hop.is_some() {
        update::announce_ipv4(&mut out, limit, block, &mut default_route).expect("room");
    } else {
        let next_hop = NextHop::Ipv4(Ipv4Addr::new(192, 0, 2, 1));
        update::announce(&mut out, limit, block, next_hop, &mut default_route).expect("room");
    }
    let context = DecodeContext {
        four_octet: true,
        families: vec![Family::IPV4_UNICAST],
        ..context
    };
    for body in bodies(&out, EXTENDED_MAXIMUM_LENGTH) {
        let again = update::decode(&body, &context).expect("canonical attributes");
        // An UPDATE that only withdraws may lack what announcing needs.
        if again.treatment == Treatment::Accept {
            assert_eq!(again.attributes.bytes(), block);
        }
    }
    Ok(())
}
