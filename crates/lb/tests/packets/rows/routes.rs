//! Flows on their way: the routing table says where packets leave, and which of the node's addresses they leave with.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lb_abi::{Reason, flow_flags};

use super::{HIGH, LOW, dns_of, neighbour, web_of};
use crate::fixture::services::number;
use crate::model::Verdict;
use crate::packet::{ACK, Packet, SYN};
use crate::scene::{Row, Scene, tuple};

/// A backend's answer to an address of the node reaches the client, whichever uplink it comes in by.
fn is_answered(s: &mut Scene<'_, '_>, syn: &Packet, source: IpAddr) {
    let answer = Packet::tcp(web_of(s.cast.remote_pod), (source, HIGH), SYN | ACK);
    let expected = syn.turned().flags(SYN | ACK).hop_limit(63);
    let uplinks = s.stage.interfaces;
    for uplink in [uplinks.uplink, uplinks.other_uplink, uplinks.foreign_uplink] {
        s.arrives_at(uplink, &answer).is_redirected_as(&expected);
    }
}

pub(crate) const ROWS: &[Row] = &[
    (
        "of two ways to a backend a connection keeps the one it got, and that way's source",
        |s| {
            s.stage.add_way(s.cast.remote_pod, s.cast.other_router);
            let mut sources = BTreeSet::new();
            for client in 1..=32 {
                let client = neighbour(s.cast.client, client);
                let syn = s.syn(HIGH, s.web(number::REMOTE)).from((client, HIGH));
                s.arrives(&syn);
                let source = s.forward(&syn).source;
                sources.insert(source.0);
                let reply = Packet::tcp(web_of(s.cast.remote_pod), source, SYN | ACK);
                let expected = syn.turned().flags(SYN | ACK).hop_limit(63);
                s.arrives(&reply).is_redirected_as(&expected);
                for _ in 0..3 {
                    s.seconds_pass(1);
                    s.arrives(&syn.clone().flags(ACK)).counts(&[]);
                    assert_eq!(s.forward(&syn).source, source);
                }
            }
            assert_eq!(sources, [s.cast.node, s.cast.other_address].into());
        },
    ),
    (
        "of two ways to a backend datagrams keep the one they got, and that way's source",
        |s| {
            s.stage.add_way(s.cast.remote_pod, s.cast.other_router);
            let mut sources = BTreeSet::new();
            for client in 1..=32 {
                let client = neighbour(s.cast.client, client);
                let question = s.datagram(LOW, s.dns(number::REMOTE)).from((client, LOW));
                s.arrives(&question);
                let source = s.forward(&question).source;
                sources.insert(source.0);
                for _ in 0..3 {
                    s.seconds_pass(1);
                    s.arrives(&question).counts(&[]);
                    s.raise_epoch();
                    s.arrives(&question).counts(&[]);
                    assert_eq!(s.forward(&question).source, source);
                }
                let answer = Packet::udp(dns_of(s.cast.remote_pod), source);
                s.arrives(&answer)
                    .is_redirected_as(&question.turned().hop_limit(63));
            }
            assert_eq!(sources, [s.cast.node, s.cast.other_address].into());
        },
    ),
    (
        "a way that is gone is left for the other, by a connection with the source it has",
        |s| {
            s.stage.add_way(s.cast.remote_pod, s.cast.other_router);
            let clients = (1..=32).map(|client| {
                let client = neighbour(s.cast.client, client);
                s.syn(HIGH, s.web(number::REMOTE)).from((client, HIGH))
            });
            for syn in clients.collect::<Vec<_>>() {
                s.arrives(&syn);
                let source = s.forward(&syn).source;
                s.arrives(&Packet::tcp(web_of(s.cast.remote_pod), source, SYN | ACK));
                s.stage.reroute(s.cast.remote_pod, s.cast.other_router);
                s.raise_epoch();
                let data = syn.clone().flags(ACK);
                let expected = data.clone().from(source).to(web_of(s.cast.remote_pod));
                s.arrives(&data).is_redirected_as(&expected.hop_limit(63));
                assert_eq!(s.forward(&syn).next_hop, Some(s.cast.other_router));
                s.stage.restore_routes();
                s.stage.add_way(s.cast.remote_pod, s.cast.other_router);
            }
        },
    ),
    (
        "a route that changes moves established flows with the epoch",
        |s| {
            let syn = s.connect_remote();
            s.stage.reroute(s.cast.remote_pod, s.cast.other_remote_node);
            s.raise_epoch();
            s.arrives(&syn.clone().flags(ACK));
            assert_eq!(s.forward(&syn).next_hop, Some(s.cast.other_remote_node));
            s.stage.reroute(s.cast.remote_pod, s.cast.remote_node);
            s.raise_epoch();
            s.arrives(&syn.clone().flags(ACK));
            assert_eq!(s.forward(&syn).next_hop, Some(s.cast.remote_node));
        },
    ),
    (
        "a route that changes moves established flows within a second",
        |s| {
            let syn = s.connect_remote();
            s.stage.reroute(s.cast.remote_pod, s.cast.other_remote_node);
            s.seconds_pass(1);
            s.arrives(&syn.clone().flags(ACK));
            assert_eq!(s.forward(&syn).next_hop, Some(s.cast.other_remote_node));
        },
    ),
    (
        "a client's route that changes moves replies within a second, whichever direction comes first",
        |s| {
            let syn = s.connect_remote();
            let (data, reply) = (syn.clone().flags(ACK), s.remote_reply().flags(ACK));
            s.stage.reroute(s.cast.client, s.cast.other_router);
            s.seconds_pass(1);
            s.arrives(&data);
            s.arrives(&reply);
            let moved = s.flow(s.twin(&syn)).unwrap();
            assert_eq!(moved.next_hop, Some(s.cast.other_router));
            assert_eq!(moved.ifindex, s.stage.interfaces.other_uplink);
        },
    ),
    (
        "a backend's route that changes moves packets within a second, whichever direction comes first",
        |s| {
            let syn = s.connect_remote();
            let (data, reply) = (syn.clone().flags(ACK), s.remote_reply().flags(ACK));
            s.stage.reroute(s.cast.remote_pod, s.cast.other_router);
            s.seconds_pass(1);
            s.arrives(&reply);
            s.arrives(&data);
            assert_eq!(s.forward(&syn).next_hop, Some(s.cast.other_router));
        },
    ),
    (
        "a direction looks at its way once a second and no more",
        |s| {
            let syn = s.connect_remote();
            s.seconds_pass(1);
            let (data, reply) = (syn.clone().flags(ACK), s.remote_reply().flags(ACK));
            s.arrives(&data);
            s.arrives(&reply);
            let epoch = s.stage.model.tables.config.epoch;
            assert_eq!(s.forward(&syn).epoch, epoch);
            assert_eq!(s.flow(s.twin(&syn)).unwrap().epoch, epoch);
        },
    ),
    (
        "a flow to a backend that has lost its route is dropped until it is back",
        |s| {
            let syn = s.connect_remote();
            s.stage.unroute(s.cast.remote_pod);
            s.raise_epoch();
            s.arrives(&syn.clone().flags(ACK))
                .is_dropped(Reason::NoRoute);
            assert!(s.flow(tuple(&syn).forward()).is_some());
            s.stage.restore_routes();
            assert_eq!(s.arrives(&syn.flags(ACK)).verdict(), Verdict::Redirect);
        },
    ),
    (
        "the source is the route's where the agent knows it as the node's",
        |s| {
            s.stage.reroute(s.cast.remote_pod, s.cast.other_router);
            let syn = s.syn(HIGH, s.web(number::REMOTE));
            let expected = syn
                .clone()
                .from((s.cast.other_address, HIGH))
                .to(web_of(s.cast.remote_pod))
                .hop_limit(63);
            s.arrives(&syn).is_redirected_as(&expected);
            is_answered(s, &syn, s.cast.other_address);
        },
    ),
    (
        "a route over an interface whose address is not the node's gets an address that is",
        |s| {
            s.stage.reroute(s.cast.remote_pod, s.cast.foreign_router);
            let syn = s.syn(HIGH, s.web(number::REMOTE));
            let expected = syn
                .clone()
                .from(s.node_end(HIGH))
                .to(web_of(s.cast.remote_pod))
                .hop_limit(63);
            s.arrives(&syn).is_redirected_as(&expected);
            let flow = s.forward(&syn);
            assert_eq!(flow.next_hop, Some(s.cast.foreign_router));
            assert_eq!(flow.ifindex, s.stage.interfaces.foreign_uplink);
            is_answered(s, &syn, s.cast.node);
        },
    ),
    (
        "datagrams over such an interface get an address of the node too",
        |s| {
            s.stage.reroute(s.cast.remote_pod, s.cast.foreign_router);
            let question = s.datagram(HIGH, s.dns(number::REMOTE));
            s.arrives(&question);
            assert_eq!(s.forward(&question).source, s.node_end(HIGH));
            let answer = Packet::udp(dns_of(s.cast.remote_pod), s.node_end(HIGH));
            s.arrives_elsewhere(&answer)
                .is_redirected_as(&question.turned().hop_limit(63));
        },
    ),
    (
        "another node's address on an interface is none of this one's",
        |s| {
            let other = s.cast.foreign_address;
            s.stage.add_other_node(other);
            s.stage.reroute(s.cast.remote_pod, s.cast.foreign_router);
            let syn = s.syn(HIGH, s.web(number::REMOTE));
            s.arrives(&syn);
            assert_eq!(s.forward(&syn).source, s.node_end(HIGH));
        },
    ),
    (
        "without any address of the node nothing goes to other nodes",
        |s| {
            s.configure(|config| {
                config.snat_address4 = [0; 4];
                config.snat_address6 = [0; 16];
            });
            s.stage.reroute(s.cast.remote_pod, s.cast.foreign_router);
            s.arrives(&s.syn(HIGH, s.web(number::REMOTE)))
                .is_dropped(Reason::NoSnatAddress);
            assert_eq!(s.flow_count(), 0);
        },
    ),
    (
        "a SYN that is sent again after the route moved gets the source of the new one",
        |s| {
            let syn = s.syn(HIGH, s.web(number::REMOTE));
            s.arrives(&syn);
            assert_eq!(s.forward(&syn).source, s.node_end(HIGH));
            s.stage.reroute(s.cast.remote_pod, s.cast.other_router);
            s.arrives(&syn).counts(&[Reason::NewFlow]);
            assert_eq!(s.forward(&syn).source, (s.cast.other_address, HIGH));
            assert_eq!(s.flow_count(), 2, "nothing is left of the old one");
            is_answered(s, &syn, s.cast.other_address);
        },
    ),
    (
        "a SYN that is sent again after the route left an interface without an address of the node",
        |s| {
            s.stage.reroute(s.cast.remote_pod, s.cast.foreign_router);
            let syn = s.syn(HIGH, s.web(number::REMOTE));
            s.arrives(&syn);
            s.stage.reroute(s.cast.remote_pod, s.cast.other_router);
            s.seconds_pass(1);
            s.arrives(&syn).counts(&[Reason::NewFlow]);
            is_answered(s, &syn, s.cast.other_address);
        },
    ),
    (
        "a SYN that is sent again keeps its source where the new route has none of the node's",
        |s| {
            let syn = s.syn(HIGH, s.web(number::REMOTE));
            s.arrives(&syn);
            s.stage.reroute(s.cast.remote_pod, s.cast.foreign_router);
            s.arrives(&syn).counts(&[]);
            assert_eq!(s.forward(&syn).next_hop, Some(s.cast.foreign_router));
            is_answered(s, &syn, s.cast.node);
        },
    ),
    ("datagrams get the source of the route that moved", |s| {
        let question = s.datagram(HIGH, s.dns(number::REMOTE));
        s.arrives(&question);
        let answer = Packet::udp(dns_of(s.cast.remote_pod), s.node_end(HIGH));
        s.arrives(&answer);
        s.stage.reroute(s.cast.remote_pod, s.cast.other_router);
        s.raise_epoch();
        s.arrives(&question).counts(&[Reason::NewFlow]);
        assert_eq!(s.forward(&question).source, (s.cast.other_address, HIGH));
        assert_eq!(s.flow_count(), 2, "nothing is left of the old one");
    }),
    (
        "an answered connection keeps its source and follows the route",
        |s| {
            let syn = s.connect_remote();
            assert!(s.forward(&syn).has(flow_flags::ANSWERED));
            s.stage.reroute(s.cast.remote_pod, s.cast.other_router);
            s.raise_epoch();
            s.arrives(&syn.clone().flags(ACK)).counts(&[]);
            let flow = s.forward(&syn);
            assert_eq!(flow.source, s.node_end(HIGH));
            assert_eq!(flow.next_hop, Some(s.cast.other_router));
            is_answered(s, &syn, s.cast.node);
        },
    ),
];

/// An IPv4 route may have an IPv6 gateway (RFC 8950).
pub(crate) const ROWS_IPV4: &[Row] = &[(
    "a gateway of the other family is left to the kernel, packet by packet",
    |s| {
        let syn = s.connect_remote();
        let gateway = "fd00:10::102".parse().unwrap();
        s.stage.reroute(s.cast.remote_pod, gateway);
        s.raise_epoch();
        let verdict = s.arrives(&syn.clone().flags(ACK)).verdict();
        assert_eq!(
            (verdict, s.forward(&syn).next_hop),
            (Verdict::Redirect, None)
        );
    },
)];
