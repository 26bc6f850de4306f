use std::collections::BTreeSet;

use super::as_path::{narrow, prepend, put_sequence};
use super::*;
use crate::policy::Source;
use crate::wire::update::PeerKind;

/// A path of segments given as (kind, numbers).
fn path(segments: &[(u8, &[u32])]) -> Vec<u8> {
    let mut path = Vec::new();
    for (kind, asns) in segments {
        path.extend([*kind, u8::try_from(asns.len()).expect("short")]);
        path.extend(asns.iter().flat_map(|asn| asn.to_be_bytes()));
    }
    path
}

fn shown(path: &[u8]) -> String {
    AsPath::parse(path).expect("well-formed").to_string()
}

#[test]
fn a_path_is_shown_as_routers_do() {
    let long = path(&[
        (2, &[65001, 65002]),
        (1, &[1, 2]),
        (3, &[64512, 64513]),
        (4, &[5, 6]),
    ]);
    for (path, words) in [
        (&long[..], "65001 65002 {1,2} (64512 64513) [5,6]"),
        (&[][..], ""),
    ] {
        assert_eq!(shown(path), words);
    }
}

#[test]
fn rfc_4271_section_9_1_2_2_a_set_counts_one_and_rfc_5065_confederations_nothing() {
    let set_first = path(&[(1, &[7, 8]), (2, &[9, 7])]);
    let mixed = path(&[(2, &[65001, 7]), (1, &[7, 8, 9]), (3, &[7]), (4, &[7, 1])]);
    for (path, length, first, sevens) in [
        (&[][..], 0, None, 0),
        (&set_first, 3, None, 2),
        (&mixed, 3, Some(65001), 4),
    ] {
        let facts = PathFacts::of::<4>(path, 7).expect("well-formed");
        assert_eq!(
            (facts.length, facts.first, facts.occurrences),
            (length, first, sevens)
        );
    }
}

#[test]
fn rfc_7606_section_7_2_segments_must_be_known_filled_and_whole() {
    for value in [
        &[0, 1, 0, 0, 0, 1][..],
        &[5, 1, 0, 0, 0, 1],
        &[2, 0],
        &[2],
        &[2, 1, 0, 0, 1],
        &[2, 1, 0, 0, 0, 1, 9],
    ] {
        assert_eq!(AsPath::parse(value), None, "{value:?}");
    }
}

#[test]
fn rfc_4271_section_5_1_2_prepending_extends_a_sequence_or_opens_one() {
    for (before, after) in [
        (path(&[]), path(&[(2, &[1])])),
        (path(&[(2, &[2, 3])]), path(&[(2, &[1, 2, 3])])),
        (path(&[(1, &[2, 3])]), path(&[(2, &[1]), (1, &[2, 3])])),
        (path(&[(2, &[9; 255])]), path(&[(2, &[1]), (2, &[9; 255])])),
    ] {
        assert_eq!(prepend(&before, 1), after);
    }
}

#[test]
fn rfc_5065_section_4_1_what_is_prepended_for_outside_leaves_the_confederation_behind() {
    for (before, after) in [
        (path(&[(3, &[8, 9])]), path(&[(2, &[1])])),
        (path(&[(3, &[8]), (2, &[2])]), path(&[(2, &[1, 2])])),
        (
            path(&[(4, &[8]), (1, &[2]), (3, &[9])]),
            path(&[(2, &[1]), (1, &[2])]),
        ),
    ] {
        assert_eq!(prepend(&before, 1), after);
    }
}

#[test]
fn a_sequence_beyond_255_goes_into_several_segments() {
    let asns: Vec<u32> = (1..=600).collect();
    let mut long = Vec::new();
    put_sequence(&mut long, &asns);
    let parsed = AsPath::parse(&long).expect("well-formed");
    assert_eq!(
        parsed
            .segments()
            .map(|segment| segment.asns.len())
            .collect::<Vec<_>>(),
        [255, 255, 90]
    );
    assert_eq!(parsed.asns().collect::<Vec<_>>(), asns);
}

#[test]
fn rfc_6793_section_4_2_3_as4_path_completes_a_two_octet_path() {
    const TRANS: u32 = 23456;
    for (name, two_octet, as4_path, merged) in [
        (
            "equal lengths",
            path(&[(2, &[1, TRANS])]),
            path(&[(2, &[1, 70000])]),
            "1 70000",
        ),
        (
            "leading ones stay",
            path(&[(2, &[1, 2, TRANS])]),
            path(&[(2, &[70000])]),
            "1 2 70000",
        ),
        (
            "a longer one is ignored",
            path(&[(2, &[TRANS])]),
            path(&[(2, &[70000, 70001])]),
            "23456",
        ),
        (
            "a set counts one",
            path(&[(2, &[1, 2]), (1, &[3, TRANS])]),
            path(&[(2, &[2]), (1, &[3, 70000])]),
            "1 2 {3,70000}",
        ),
        (
            "a leading set stays",
            path(&[(1, &[8, 9]), (2, &[TRANS])]),
            path(&[(2, &[70000])]),
            "{8,9} 70000",
        ),
        (
            "confederations of the two-octet path stay",
            path(&[(3, &[5]), (2, &[1, TRANS])]),
            path(&[(2, &[70000])]),
            "(5) 1 70000",
        ),
        (
            "confederations of AS4_PATH do not",
            path(&[(2, &[1, TRANS])]),
            path(&[(3, &[5]), (2, &[70000])]),
            "1 70000",
        ),
    ] {
        assert_eq!(
            shown(&merge_as4_path(&two_octet, &as4_path)),
            merged,
            "{name}"
        );
    }
}

#[test]
fn rfc_6793_section_4_2_2_wide_numbers_become_as_trans_with_as4_path_beside() {
    assert_eq!(
        narrow(&path(&[(2, &[1, 2])])),
        (vec![2, 2, 0, 1, 0, 2], None)
    );
    let (two_octet, as4_path) = narrow(&path(&[(3, &[9]), (2, &[1, 70000]), (1, &[3])]));
    assert_eq!(two_octet, [3, 1, 0, 9, 2, 2, 0, 1, 0x5B, 0xA0, 1, 1, 0, 3]);
    assert_eq!(as4_path, Some(path(&[(2, &[1, 70000]), (1, &[3])])));
}

fn everything() -> AttributesBuilder {
    AttributesBuilder::new()
        .large_communities([LargeCommunity {
            global: 1,
            local1: 2,
            local2: 3,
        }])
        .origin(Origin::Egp)
        .as_path(&[65001, 70000])
        .next_hop(Ipv4Addr::new(192, 0, 2, 1))
        .multi_exit_disc(10)
        .local_pref(200)
        .atomic_aggregate()
        .aggregator(Aggregator {
            asn: 70000,
            address: Ipv4Addr::new(192, 0, 2, 9),
        })
        .communities([0xFFFF_FF01, 0xFDE9_0001])
        .originator_id(Ipv4Addr::new(1, 1, 1, 1))
        .cluster_list([Ipv4Addr::new(2, 2, 2, 2)])
        .extended_communities([[0, 2, 0, 1, 0, 0, 0, 1]])
        .ipv6_extended_communities([[7; 20]])
        .only_to_customer(65001)
        .raw(0xC0, 200, vec![1, 2, 3])
        .raw(0x80, 201, vec![4])
}

#[test]
fn rfc_4271_section_5_attributes_are_built_ascending() {
    let bytes = everything().build();
    let codes: Vec<u8> = Attributes::of(&bytes)
        .raw()
        .map(|attribute| attribute.code)
        .collect();
    assert_eq!(
        codes,
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 25, 32, 35, 200, 201]
    );
}

#[test]
fn empty_lists_are_left_out() {
    let built = everything()
        .communities([])
        .large_communities([])
        .cluster_list([])
        .extended_communities([]);
    let codes: Vec<u8> = Attributes::of(&built.build())
        .raw()
        .map(|attribute| attribute.code)
        .collect();
    assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 9, 25, 35, 200, 201]);
}

#[test]
fn a_block_summarises_its_attributes() {
    let bytes = everything().build();
    let block = AttributeBlock::of(&bytes, 70000);
    let expected = Summary {
        origin: Origin::Egp,
        local_pref: Some(200),
        med: Some(10),
        as_path_length: 2,
        neighbour_as: Some(65001),
        own_as_count: 1,
        next_hop: Some(Ipv4Addr::new(192, 0, 2, 1)),
        originator_id: Some(Ipv4Addr::new(1, 1, 1, 1)),
        cluster_list_length: 1,
        communities: WellKnownCommunities {
            no_export: true,
            ..Default::default()
        },
    };
    assert_eq!(*block.summary(), expected);
    assert_eq!(block.hash(), hash(&bytes));
    assert_eq!(block.iter().count(), 16);
}

fn transform<'a>(
    kind: PeerKind,
    communities: &'a BTreeSet<u32>,
    large_communities: &'a BTreeSet<LargeCommunity>,
) -> ExportTransform<'a> {
    ExportTransform {
        source: Source::Learned,
        kind,
        local_asn: 4_200_000_000,
        next_hop: Some(Ipv4Addr::new(198, 51, 100, 1)),
        local_pref: None,
        communities,
        large_communities,
        four_octet: true,
    }
}

/// `code=value` of everything in `bytes`, with the flags where they are not the code's own.
fn listed(bytes: &[u8]) -> String {
    let one = |raw: RawAttribute<'_>| match raw.typed() {
        Attribute::Origin(origin) => format!("origin {}", origin.number()),
        Attribute::AsPath(path) => format!("path {path}"),
        Attribute::NextHop(address) => format!("via {address}"),
        Attribute::MultiExitDisc(med) => format!("med {med}"),
        Attribute::LocalPref(local_pref) => format!("pref {local_pref}"),
        Attribute::AtomicAggregate => "atomic".to_owned(),
        Attribute::Aggregator(aggregator) => format!("aggregator {}", aggregator.asn),
        Attribute::Communities(list) => {
            format!("communities {:x?}", list.numbers().collect::<Vec<_>>())
        }
        Attribute::LargeCommunities(list) => format!("large {}", list.large_communities().count()),
        Attribute::OriginatorId(_) => "originator".to_owned(),
        Attribute::ClusterList(_) => "clusters".to_owned(),
        Attribute::ExtendedCommunities(_) => "extended".to_owned(),
        Attribute::Ipv6ExtendedCommunities(_) => "extended6".to_owned(),
        Attribute::OnlyToCustomer(asn) => format!("otc {asn}"),
        Attribute::Other(raw) => format!("{:x}/{}={:x?}", raw.flags, raw.code, raw.value),
    };
    Attributes::of(bytes)
        .raw()
        .map(one)
        .collect::<Vec<_>>()
        .join("; ")
}

#[test]
fn rfc_4271_section_5_1_an_external_peer_gets_the_path_and_not_what_is_internal() {
    let (communities, large) = (BTreeSet::from([0xFDE9_0000]), BTreeSet::new());
    let out = export(
        &everything().build(),
        &transform(PeerKind::External, &communities, &large),
    );
    assert_eq!(
        listed(&out),
        "origin 1; path 4200000000 65001 70000; via 198.51.100.1; atomic; aggregator 70000; \
         communities [fde90000, fde90001, ffffff01]; extended; extended6; large 1; otc 65001; e0/200=[1, 2, 3]"
    );
}

#[test]
fn rfc_4271_section_5_1_5_an_internal_peer_gets_local_pref_and_the_path_as_it_is() {
    let communities = BTreeSet::new();
    let large = BTreeSet::from([LargeCommunity {
        global: 1,
        local1: 0,
        local2: 0,
    }]);
    let internal = ExportTransform {
        local_pref: Some(77),
        ..transform(PeerKind::Internal, &communities, &large)
    };
    let out = export(&everything().build(), &internal);
    assert_eq!(
        listed(&out),
        "origin 1; path 65001 70000; via 198.51.100.1; med 10; pref 77; atomic; aggregator 70000; \
         communities [fde90001, ffffff01]; originator; clusters; extended; extended6; large 2; otc 65001; \
         e0/200=[1, 2, 3]"
    );
}

#[test]
fn rfc_4271_section_5_1_4_only_our_own_med_leaves_the_as() {
    let (communities, large) = (BTreeSet::new(), BTreeSet::new());
    let bytes = AttributesBuilder::new()
        .origin(Origin::Igp)
        .as_path(&[])
        .multi_exit_disc(5)
        .raw(0xC0, 99, vec![])
        .build();
    let learned = ExportTransform {
        next_hop: None,
        ..transform(PeerKind::External, &communities, &large)
    };
    let local = ExportTransform {
        source: Source::Local,
        ..learned
    };
    assert_eq!(
        listed(&export(&bytes, &learned)),
        "origin 0; path 4200000000; e0/99=[]"
    );
    assert_eq!(
        listed(&export(&bytes, &local)),
        "origin 0; path 4200000000; med 5; c0/99=[]"
    );
}

#[test]
fn an_internal_peer_always_gets_a_local_pref() {
    let (communities, large) = (BTreeSet::new(), BTreeSet::new());
    let plain = AttributesBuilder::new().origin(Origin::Igp).as_path(&[]);
    let internal = ExportTransform {
        next_hop: None,
        ..transform(PeerKind::Internal, &communities, &large)
    };
    for (wanted, own, sent) in [
        (None, None, 100),
        (None, Some(50), 50),
        (Some(7), Some(50), 7),
        (Some(0), None, 0),
    ] {
        let bytes = own
            .map_or_else(|| plain.clone(), |own| plain.clone().local_pref(own))
            .build();
        let out = export(
            &bytes,
            &ExportTransform {
                local_pref: wanted,
                ..internal
            },
        );
        assert_eq!(listed(&out), format!("origin 0; path ; pref {sent}"));
    }
}

#[test]
fn rfc_6793_section_4_2_2_a_two_octet_peer_gets_both_paths_and_aggregators() {
    let (communities, large) = (BTreeSet::new(), BTreeSet::new());
    let bytes = AttributesBuilder::new()
        .origin(Origin::Igp)
        .as_path(&[65001])
        .aggregator(Aggregator {
            asn: 70000,
            address: Ipv4Addr::new(192, 0, 2, 9),
        })
        .build();
    let narrow = ExportTransform {
        four_octet: false,
        next_hop: None,
        ..transform(PeerKind::External, &communities, &large)
    };
    let out = export(&bytes, &narrow);
    assert_eq!(
        out[..],
        [
            &[0x40, 1, 1, 0][..],
            &[0x40, 2, 6, 2, 2, 0x5B, 0xA0, 0xFD, 0xE9],
            &[0xC0, 7, 6, 0x5B, 0xA0, 192, 0, 2, 9],
            &[0xC0, 17, 10, 2, 2, 0xFA, 0x56, 0xEA, 0, 0, 0, 0xFD, 0xE9],
            &[0xC0, 18, 8, 0, 1, 0x11, 0x70, 192, 0, 2, 9],
        ]
        .concat()
    );
    let small = ExportTransform {
        local_asn: 64512,
        ..narrow
    };
    let bytes = AttributesBuilder::new().as_path(&[65001]).build();
    assert_eq!(
        export(&bytes, &small)[..],
        [0x40, 2, 6, 2, 2, 0xFC, 0, 0xFD, 0xE9]
    );
}

#[test]
fn long_attributes_take_the_long_length() {
    let bytes = AttributesBuilder::new().communities(0..100).build();
    assert_eq!(bytes[..4], [0xD0, 8, 1, 144]);
    assert_eq!(Attributes::of(&bytes).count(), 1);
}

#[test]
fn each_fault_reads_as_a_sentence() {
    for (code, reason, words) in [
        (1, FaultReason::Origin, "ORIGIN is none of the three"),
        (
            2,
            FaultReason::FirstAs,
            "AS_PATH does not begin with the peer's AS",
        ),
        (77, FaultReason::Cut, "attribute 77 is cut"),
    ] {
        assert_eq!(AttributeFault { code, reason }.to_string(), words);
    }
}
