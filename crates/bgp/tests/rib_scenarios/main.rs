//! What the RIB promises beyond being right: sharing, packing, bounded memory, and no message that says
//! nothing new.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;
mod learned;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use bgp::policy::{ExportPolicy, ExportRule, ExportVerdict, SetAttributes, Source};
use bgp::rib::{
    Limits, Multipath, PeerFacts, PeerId, Retain, RibConfig, RouteSource, SelectionReason,
};
use bgp::wire::attribute::Origin;
use bgp::wire::{AttributesBuilder, NextHop, PeerKind, update};
use bytes::{Bytes, BytesMut};
use ipnet::IpNet;

use harness::{
    V4, V6, accept, announce, chunks, everything, external, internal, net, octets, path, rebuild,
    receive, rib, rib_with, updates, withdraw,
};

/// Octets of the log where a test wants it to overflow.
const LOG_OCTETS: usize = 1 << 20;

#[test]
fn members_of_a_group_get_the_same_bytes_not_equal_ones() {
    let peers = [external(1), external(2), external(3), internal(4)];
    let mut rib = rib(&peers);
    for peer in 0..4 {
        chunks(&mut rib, peer);
    }
    announce(
        &mut rib,
        0,
        &peers[0],
        &path(&peers[0], &[64512]),
        (0..1000).map(net),
    );
    let [one, other, inside] = [1, 2, 3].map(|peer| chunks(&mut rib, peer));
    assert_eq!(
        one.iter().map(|chunk| chunk.as_ptr()).collect::<Vec<_>>(),
        other.iter().map(|chunk| chunk.as_ptr()).collect::<Vec<_>>()
    );
    assert_ne!(one[0], inside[0], "LOCAL_PREF in, AS_PATH as it was");
    assert_eq!(rib.counts(PeerId(3), V4).advertised, 1000);
}

#[test]
fn prefixes_with_equal_attributes_share_messages_and_withdrawals_come_first() {
    let peers = [external(1), external(2)];
    let mut rib = rib(&peers);
    announce(
        &mut rib,
        0,
        &peers[0],
        &path(&peers[0], &[64512]),
        (0..10).map(net),
    );
    chunks(&mut rib, 1);
    // Interleaved as they come; two sets as they go.
    for number in 10..1000 {
        let tail = if number % 2 == 0 { 64513 } else { 64514 };
        announce(
            &mut rib,
            0,
            &peers[0],
            &path(&peers[0], &[tail]),
            std::iter::once(net(number)),
        );
    }
    withdraw(&mut rib, 0, &peers[0], (0..10).map(net));
    let sent = updates(&chunks(&mut rib, 1), PeerKind::External);
    assert_eq!(sent, [(10, 0), (0, 495), (0, 495)]);
}

#[test]
fn what_changes_while_nobody_reads_is_sent_once() {
    let peers = [external(1), external(2)];
    let mut rib = rib(&peers);
    chunks(&mut rib, 1);
    for round in 0..50 {
        announce(
            &mut rib,
            0,
            &peers[0],
            &path(&peers[0], &[64512 + round % 7]),
            (0..500).map(net),
        );
    }
    withdraw(&mut rib, 0, &peers[0], (100..500).map(net));
    assert_eq!(
        updates(&chunks(&mut rib, 1), PeerKind::External),
        [(0, 100)],
        "neither 50 rounds nor what was never sent"
    );
    assert_eq!(rib.destinations(V4), 100);
}

/// One member reads, the other does not, and a table of 20,000 prefixes changes a hundred times.
#[test]
fn a_member_that_does_not_read_costs_the_log_and_is_brought_up_to_date_from_the_table() {
    let limits = Limits {
        log_octets: LOG_OCTETS,
        ..Limits::default()
    };
    let silent = PeerFacts {
        policy: Arc::default(),
        ..external(1)
    };
    let peers = [silent, external(2), external(3)];
    let mut rib = rib_with(
        RibConfig {
            limits,
            ..RibConfig::default()
        },
        &peers,
    );
    let (mut fast, mut slow) = (Vec::new(), Vec::new());
    for round in 0..100 {
        for block in 0..20 {
            let nets = (block * 1000..(block + 1) * 1000).map(net);
            announce(
                &mut rib,
                0,
                &peers[0],
                &path(&peers[0], &[64512 + round, block + 1]),
                nets,
            );
        }
        let nets = (20_000 + round * 100..20_100 + round * 100).map(net);
        announce(
            &mut rib,
            0,
            &peers[0],
            &path(&peers[0], &[64512]),
            nets.clone(),
        );
        fast.extend(chunks(&mut rib, 1));
        withdraw(&mut rib, 0, &peers[0], nets);
        fast.extend(chunks(&mut rib, 1));
    }
    slow.extend(chunks(&mut rib, 2));
    let table = octets(&fast) / 100;
    assert!(
        octets(&slow) < LOG_OCTETS + 3 * table,
        "{} octets, not {}",
        octets(&slow),
        octets(&fast)
    );
    let view = |chunks: &[Bytes]| rebuild(chunks);
    assert_eq!(view(&slow), view(&fast));
    assert_eq!(view(&slow).len(), 20_000);
    assert_eq!(
        rib.destinations(V4),
        20_000,
        "nothing is held for a member that is up to date"
    );
}

/// RFC 4724 section 4.2: forwarding goes on as before, so nobody is told anything.
#[test]
fn a_restart_with_the_same_routes_is_invisible_to_others() {
    let peers = [external(1), external(2)];
    let mut rib = rib(&peers);
    announce(
        &mut rib,
        0,
        &peers[0],
        &path(&peers[0], &[64512]),
        (0..10).map(net),
    );
    chunks(&mut rib, 1);
    rib.peer_down(PeerId(0), Retain::Stale(vec![V4]));
    assert!(
        rib.adj_in(PeerId(0), V4)
            .all(|route| route.stale && route.best)
    );
    rib.peer_up(PeerId(0), peers[0].clone());
    announce(
        &mut rib,
        0,
        &peers[0],
        &path(&peers[0], &[64512]),
        (0..7).map(net),
    );
    assert!(chunks(&mut rib, 1).is_empty());
    rib.end_of_rib(PeerId(0), V4);
    assert_eq!(updates(&chunks(&mut rib, 1), PeerKind::External), [(3, 0)]);
    assert_eq!(rib.counts(PeerId(0), V4).received, 7);
}

/// RFC 4724 section 4.2: routes marked stale by an earlier restart go when the session ends again.
#[test]
fn a_second_restart_drops_what_the_first_left_stale() {
    let peers = [external(1), external(2)];
    let mut rib = rib(&peers);
    announce(
        &mut rib,
        0,
        &peers[0],
        &path(&peers[0], &[64512]),
        (0..10).map(net),
    );
    rib.peer_down(PeerId(0), Retain::Stale(vec![V4]));
    rib.peer_up(PeerId(0), peers[0].clone());
    announce(
        &mut rib,
        0,
        &peers[0],
        &path(&peers[0], &[64512]),
        (0..4).map(net),
    );
    rib.peer_down(PeerId(0), Retain::Stale(vec![V4]));
    assert_eq!(rib.counts(PeerId(0), V4).received, 4);
    rib.sweep(PeerId(0), None);
    chunks(&mut rib, 1);
    assert_eq!(rib.counts(PeerId(0), V4).received, 0);
    assert_eq!(rib.destinations(V4), 0);
}

#[test]
fn another_policy_sends_only_the_difference() {
    let peers = [external(1)];
    let mut rib = rib(&peers);
    let originated: BTreeSet<IpNet> = (0..100).map(|number| net(number).into()).collect();
    rib.originate(&originated);
    assert_eq!(
        updates(&chunks(&mut rib, 0), PeerKind::External),
        [(0, 100)]
    );
    let tagged = SetAttributes {
        communities: BTreeSet::from([7]),
        ..SetAttributes::default()
    };
    let one = BTreeSet::from([bgp::policy::PrefixMatch {
        prefix: net(5).into(),
        min_length: 24,
        max_length: 24,
    }]);
    let mut policy = ExportPolicy::clone(&everything());
    policy.rules.insert(
        0,
        ExportRule {
            source: Source::Local,
            prefixes: Some(one),
            verdict: ExportVerdict::Accept(tagged),
        },
    );
    rib.set_policy(PeerId(0), Arc::new(policy));
    assert_eq!(updates(&chunks(&mut rib, 0), PeerKind::External), [(0, 1)]);
    rib.set_policy(PeerId(0), everything());
    assert_eq!(updates(&chunks(&mut rib, 0), PeerKind::External), [(0, 1)]);
    rib.set_policy(PeerId(0), Arc::new(ExportPolicy::default()));
    assert_eq!(
        updates(&chunks(&mut rib, 0), PeerKind::External),
        [(100, 0)]
    );
    assert_eq!(rib.counts(PeerId(0), V4).advertised, 0);
}

/// RFC 8950 section 4: no IPv4 over an IPv6 next hop unless both sides said so.
#[test]
fn ipv4_over_ipv6_is_closed_without_extended_next_hop() {
    let over_ipv6 = PeerFacts {
        local: Ipv6Addr::LOCALHOST.into(),
        ..external(1)
    };
    let extended = PeerFacts {
        extended_next_hop: vec![V4],
        ..over_ipv6.clone()
    };
    let mut rib = rib(&[over_ipv6, extended]);
    rib.originate(&BTreeSet::from([
        net(1).into(),
        "2001:db8::/64".parse().unwrap(),
    ]));
    let sent = [0, 1].map(|peer| updates(&chunks(&mut rib, peer), PeerKind::External));
    assert_eq!(sent, [vec![(0, 1)], vec![(0, 1), (0, 1)]]);
    let advertised =
        [0, 1].map(|peer| [V4, V6].map(|family| rib.counts(PeerId(peer), family).advertised));
    assert_eq!(advertised, [[0, 1], [1, 1]]);
    assert!(rib.end_of_rib_sent(PeerId(0)) && rib.end_of_rib_sent(PeerId(1)));
}

/// RFC 8654 section 4: a route that does not fit is not sent, and not fatal.
#[test]
fn a_route_too_long_for_a_peer_is_withdrawn_from_it() {
    let peers = [
        external(1),
        external(2),
        PeerFacts {
            max_message: 65_535,
            ..external(3)
        },
    ];
    let mut rib = rib(&peers);
    announce(
        &mut rib,
        0,
        &peers[0],
        &path(&peers[0], &[64512]),
        std::iter::once(net(1)),
    );
    for peer in 1..3 {
        chunks(&mut rib, peer);
    }
    let long = &path(&peers[0], &[64512]).communities(0..1500);
    announce(&mut rib, 0, &peers[0], long, [net(1), net(2)].into_iter());
    assert_eq!(updates(&chunks(&mut rib, 1), PeerKind::External), [(1, 0)]);
    assert_eq!(updates(&chunks(&mut rib, 2), PeerKind::External), [(0, 2)]);
    assert_eq!(
        [1, 2].map(|peer| rib.counts(PeerId(peer), V4).advertised),
        [0, 2]
    );
}

#[test]
fn what_is_learned_stays_here_unless_a_rule_says_otherwise() {
    let quiet = PeerFacts {
        policy: accept(&[Source::Local], &SetAttributes::default()),
        ..external(2)
    };
    let peers = [external(1), quiet];
    let mut rib = rib(&peers);
    announce(
        &mut rib,
        0,
        &peers[0],
        &path(&peers[0], &[64512]),
        (0..10).map(net),
    );
    rib.originate(&BTreeSet::from([net(3).into()]));
    assert_eq!(updates(&chunks(&mut rib, 1), PeerKind::External), [(0, 1)]);
    rib.originate(&BTreeSet::new());
    assert_eq!(
        updates(&chunks(&mut rib, 1), PeerKind::External),
        [(1, 0)],
        "the learned route in its place is not told"
    );
}

#[test]
fn the_selection_says_why() {
    let peers = [external(1), external(2), internal(3)];
    let multipath = Multipath {
        external: 2,
        internal: 2,
        relax: true,
    };
    let mut rib = rib_with(
        RibConfig {
            multipath,
            ..RibConfig::default()
        },
        &peers,
    );
    announce(
        &mut rib,
        0,
        &peers[0],
        &path(&peers[0], &[64512]),
        (0..5).map(net),
    );
    announce(
        &mut rib,
        1,
        &peers[1],
        &path(&peers[1], &[64513]),
        (1..5).map(net),
    );
    announce(
        &mut rib,
        1,
        &peers[1],
        &path(&peers[1], &[64513, 64514]),
        std::iter::once(net(2)),
    );
    announce(
        &mut rib,
        2,
        &peers[2],
        &path(&peers[2], &[64515, 64516]).local_pref(200),
        (3..5).map(net),
    );
    rib.originate(&BTreeSet::from([net(4).into()]));
    let from = |peer| RouteSource::Peer(PeerId(peer));
    let rows = [
        (0, from(0), SelectionReason::OnlyPath, vec![from(0)]),
        (
            1,
            from(0),
            SelectionReason::RouterId,
            vec![from(0), from(1)],
        ),
        (2, from(0), SelectionReason::AsPathLength, vec![from(0)]),
        (3, from(2), SelectionReason::LocalPreference, vec![from(2)]),
        (
            4,
            RouteSource::Local,
            SelectionReason::LocallyOriginated,
            vec![RouteSource::Local],
        ),
    ];
    for (number, source, reason, multipath) in rows {
        let route = rib
            .loc(V4)
            .find(|route| route.prefix == IpNet::from(net(number)))
            .unwrap();
        assert_eq!(
            (route.source, route.reason, route.multipath),
            (source, reason, multipath),
            "{}",
            net(number)
        );
    }
}

#[test]
fn next_hops_that_cannot_be_used_make_a_route_ineligible() {
    let (v4, v6) = (
        external(1),
        PeerFacts {
            local: "2001:db8::fe".parse::<IpAddr>().unwrap(),
            ..external(1)
        },
    );
    let rows = [
        (&v4, "192.0.2.9", true),
        (&v4, "192.0.2.254", false),
        (&v4, "127.0.0.1", false),
        (&v4, "::ffff:192.0.2.9", true),
        (&v4, "::ffff:192.0.2.254", false),
        (&v6, "2001:db8::1", true),
        (&v6, "2001:db8::fe", false),
        (&v6, "::1", false),
        (&v6, "fe80::1", true),
    ];
    for (facts, next_hop, usable) in rows {
        let mut rib = rib(std::slice::from_ref(facts));
        let attributes = AttributesBuilder::new()
            .origin(Origin::Igp)
            .as_path(&[facts.asn])
            .build();
        let mut out = BytesMut::new();
        let nets = ["2001:db8:9::/48".parse::<ipnet::Ipv6Net>().unwrap()];
        let next_hop: IpAddr = next_hop.parse().unwrap();
        match next_hop {
            IpAddr::V6(_) => {
                update::announce(
                    &mut out,
                    4096,
                    &attributes,
                    NextHop::from(next_hop),
                    &mut nets.into_iter().peekable(),
                )
                .unwrap();
                receive(&mut rib, 0, facts, &out);
            }
            IpAddr::V4(next_hop) => {
                announce(
                    &mut rib,
                    0,
                    facts,
                    &path(facts, &[]).next_hop(next_hop),
                    std::iter::once(net(1)),
                );
            }
        }
        let counts = [V4, V6].map(|family| rib.counts(PeerId(0), family));
        assert_eq!(counts[0].received + counts[1].received, 1, "{next_hop}");
        assert_eq!(
            counts[0].accepted + counts[1].accepted,
            u32::from(usable),
            "{next_hop}"
        );
    }
}
