//! What is learned, for whoever forwards by it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp::rib::{PeerFacts, PeerId};
use bgp::wire::attribute::Origin;
use bgp::wire::{AttributesBuilder, NextHop, update};
use bytes::BytesMut;

use crate::harness::{V4, announce, external, net, path, receive, rib, withdraw};

/// RFC 2545 section 3: a link-local next hop comes behind the global one, or alone; it counts on the session's link.
#[test]
fn what_is_learned_is_handed_out_with_both_next_hops_and_the_session_they_belong_to() {
    let facts = PeerFacts {
        local: "2001:db8::fe".parse::<IpAddr>().unwrap(),
        ..external(1)
    };
    let (global, link_local) = ("2001:db8::1", "fe80::1");
    let both = NextHop::Ipv6 {
        global: global.parse().unwrap(),
        link_local: Some(link_local.parse().unwrap()),
    };
    let rows = [
        (
            NextHop::from(global.parse::<IpAddr>().unwrap()),
            global,
            None,
        ),
        (both, global, Some(link_local)),
        (
            NextHop::from(link_local.parse::<IpAddr>().unwrap()),
            link_local,
            None,
        ),
    ];
    for (next_hop, expected, expected_link_local) in rows {
        let mut rib = rib(std::slice::from_ref(&facts));
        rib.replay_learned();
        let attributes = AttributesBuilder::new()
            .origin(Origin::Igp)
            .as_path(&[facts.asn])
            .build();
        let mut out = BytesMut::new();
        let mut nets = ["2001:db8:9::/48".parse::<ipnet::Ipv6Net>().unwrap()]
            .into_iter()
            .peekable();
        update::announce(&mut out, 4096, &attributes, next_hop, &mut nets).unwrap();
        receive(&mut rib, 0, &facts, &out);
        let news = rib.poll_learned(9, |_| Some("peer".into()));
        let [path] = &news[0].paths[..] else {
            panic!("{news:?}")
        };
        assert_eq!(path.next_hop, expected.parse::<IpAddr>().unwrap());
        assert_eq!(
            path.link_local,
            expected_link_local.map(|text| text.parse().unwrap())
        );
        assert_eq!(path.local, facts.local);
    }
}

#[test]
fn a_prefix_that_came_and_went_between_two_polls_is_told_once_and_forgotten() {
    let facts = PeerFacts {
        policy: Arc::default(),
        ..external(1)
    };
    let mut rib = rib(std::slice::from_ref(&facts));
    rib.replay_learned();
    for _ in 0..3 {
        announce(
            &mut rib,
            0,
            &facts,
            &path(&facts, &[]),
            std::iter::once(net(1)),
        );
        withdraw(&mut rib, 0, &facts, std::iter::once(net(1)));
    }
    let news = rib.poll_learned(9, |_| Some("peer".into()));
    assert_eq!(news.len(), 1);
    assert!(news[0].paths.is_empty() && news[0].prefix == net(1).into());
    assert_eq!(rib.destinations(V4), 0, "nothing is kept for what is gone");
}

#[test]
fn paths_that_share_traffic_are_as_good_lead_elsewhere_and_are_of_peers_that_count() {
    let peers = [external(1), external(2), external(3), external(4)];
    let mut rib = rib(&peers);
    rib.replay_learned();
    let longer = [false, false, false, true];
    for (number, facts) in peers.iter().enumerate() {
        let tail: &[u32] = if longer[number] { &[64_512] } else { &[] };
        // The third one has the second one's next hop.
        let next_hop = Ipv4Addr::new(192, 0, 2, [1, 2, 2, 4][number]);
        let attributes = path(facts, tail).next_hop(next_hop);
        announce(
            &mut rib,
            number as u32,
            facts,
            &attributes,
            std::iter::once(net(1)),
        );
    }
    let name = |peer: PeerId| Some(bgp::PeerName::from(peer.0.to_string().as_str()));
    let paths = rib.poll_learned(9, name).remove(0).paths;
    let rows: [(&[&str], u16, &[&str]); 6] = [
        (&["0", "1", "2", "3"], 8, &["0", "1"]),
        (&["0", "1", "2", "3"], 1, &["0"]),
        (&["2", "3"], 8, &["2"]),
        (&["1", "2"], 8, &["1"]),
        (&["3"], 8, &["3"]),
        (&[], 8, &[]),
    ];
    for (peers, most, expected) in rows {
        let allowed = |name: &bgp::PeerName| peers.contains(&&*name.0);
        let chosen = bgp::rib::select(&paths, allowed, most.try_into().unwrap());
        let names: Vec<&str> = chosen.iter().map(|path| &*path.peer.0).collect();
        assert_eq!(names, expected, "of {peers:?}, {most} at most");
    }
}
