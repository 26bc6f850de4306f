//! Ports that replace a client's.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_abi::Reason;

use super::{HIGH, LOW, dns_of, neighbour, web_of};
use crate::fixture::services::{NODE_PORT, number};
use crate::model::{Tuple, Verdict};
use crate::packet::{ACK, FIN, Packet, RST, SYN, checksum};
use crate::scene::{Row, Scene, tuple};

/// Leaves only so many ports.
pub(super) fn shrink(s: &mut Scene<'_, '_>, count: u16) {
    s.configure(|config| {
        config.snat_port_min = 50_000;
        config.snat_port_max = 50_000 + count - 1;
    });
}

/// A client for whose packets to a frontend the addresses have the same sum before and after their translation: then nothing in the packet
/// tells whether its checksum is over the ports as well.
fn balanced_client(s: &Scene<'_, '_>, frontend: IpAddr) -> IpAddr {
    let sum = |address: IpAddr| u32::from(!checksum::of(&[&octets(address)]));
    let others = sum(with_last_word(s.cast.far_client, 0)) + sum(frontend);
    let wanted = sum(s.cast.node) + sum(s.cast.remote_pod) + 2 * 0xffff - others;
    with_last_word(s.cast.far_client, u16::try_from(wanted % 0xffff).unwrap())
}

fn with_last_word(address: IpAddr, word: u16) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            Ipv4Addr::from(u32::from(address) & !0xffff | u32::from(word)).into()
        }
        IpAddr::V6(address) => {
            Ipv6Addr::from(u128::from(address) & !0xffff | u128::from(word)).into()
        }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

pub(crate) const ROWS: &[Row] = &[
    (
        "checksums are right where the sum of the addresses stays the same",
        |s| {
            let client = balanced_client(s, s.cast.vip(number::REMOTE));
            let syn = s.syn(LOW, s.web(number::REMOTE)).from((client, LOW));
            let question = s.datagram(LOW, s.dns(number::REMOTE)).from((client, LOW));
            for (packet, to) in [
                (syn, web_of(s.cast.remote_pod)),
                (question, dns_of(s.cast.remote_pod)),
            ] {
                s.arrives(&packet);
                let source = s.forward(&packet).source;
                let expected = packet.clone().from(source).to(to).hop_limit(63);
                s.arrives(&packet).is_redirected_as(&expected);
            }
        },
    ),
    ("a client's port within the range is kept", |s| {
        let syn = s.syn(HIGH, s.web(number::REMOTE));
        s.arrives(&syn);
        assert_eq!(s.forward(&syn).source, s.node_end(HIGH));
    }),
    ("the range's ends are within it", |s| {
        for port in [32_768, 65_535] {
            let syn = s.syn(port, s.web(number::REMOTE));
            s.arrives(&syn);
            assert_eq!(s.forward(&syn).source, s.node_end(port));
        }
    }),
    (
        "a client's port outside the range is replaced, and given back to the reply",
        |s| {
            let syn = s.syn(LOW, s.web(number::REMOTE));
            assert_eq!(s.arrives(&syn).verdict(), Verdict::Redirect);
            let (address, port) = s.forward(&syn).source;
            assert_eq!(address, s.cast.node);
            assert!(port >= 32_768, "{port}");
            let reply = Packet::tcp(web_of(s.cast.remote_pod), (address, port), SYN | ACK);
            s.arrives(&reply)
                .is_redirected_as(&syn.turned().flags(SYN | ACK).hop_limit(63));
        },
    ),
    ("two clients of one port get two ports", |s| {
        let one = s.syn(HIGH, s.web(number::REMOTE));
        let two = one.clone().from((s.cast.other_client, HIGH));
        s.arrives(&one);
        s.arrives(&two);
        let (first, second) = (s.forward(&one).source, s.forward(&two).source);
        assert_eq!(first, s.node_end(HIGH));
        assert_ne!(first, second);
        for (syn, source) in [(&one, first), (&two, second)] {
            let reply = Packet::tcp(web_of(s.cast.remote_pod), source, SYN | ACK);
            let expected = syn.turned().flags(SYN | ACK).hop_limit(63);
            s.arrives(&reply).is_redirected_as(&expected);
        }
    }),
    ("a hundred clients of one port get a hundred ports", |s| {
        let mut ports = BTreeSet::new();
        for number in 1..=100 {
            let syn = s
                .syn(HIGH, s.web(number::REMOTE))
                .from((neighbour(s.cast.client, number), HIGH));
            assert_eq!(
                s.arrives(&syn).verdict(),
                Verdict::Redirect,
                "client {number}"
            );
            ports.insert(s.forward(&syn).source.1);
        }
        assert_eq!(ports.len(), 100);
    }),
    ("one port serves two backends", |s| {
        let one = s.syn(HIGH, s.web(number::REMOTE));
        s.arrives(&one);
        s.endpoints(
            "mixed",
            &[crate::fixture::services::remote(
                s.cast.other_remote_pod,
                8080,
            )],
        );
        let two = s.syn(HIGH, s.web(number::MIXED));
        s.arrives(&two);
        assert_eq!(s.forward(&two).source, s.node_end(HIGH));
    }),
    (
        "one client reaches one backend by two frontends at once",
        |s| {
            let one = s.syn(HIGH, s.web(number::REMOTE));
            let two = s.syn(HIGH, s.node_end(NODE_PORT));
            s.arrives(&one);
            s.arrives(&two);
            assert_ne!(s.forward(&one).source, s.forward(&two).source);
            for syn in [one, two] {
                let source = s.forward(&syn).source;
                let reply = Packet::tcp(web_of(s.cast.remote_pod), source, SYN | ACK);
                let expected = syn.turned().flags(SYN | ACK).hop_limit(63);
                s.arrives(&reply).is_redirected_as(&expected);
            }
        },
    ),
    ("TCP and UDP have ports of their own", |s| {
        let tcp = s.syn(HIGH, s.web(number::REMOTE));
        let udp = s.datagram(HIGH, s.dns(number::REMOTE));
        s.arrives(&tcp);
        s.arrives(&udp);
        assert_eq!(s.forward(&tcp).source, s.node_end(HIGH));
        assert_eq!(s.forward(&udp).source, s.node_end(HIGH));
        let answer = Packet::udp(dns_of(s.cast.remote_pod), s.node_end(HIGH));
        s.arrives(&answer)
            .is_redirected_as(&udp.turned().hop_limit(63));
    }),
    ("eight ports serve eight clients and no ninth", |s| {
        shrink(s, 8);
        let mut ports = BTreeSet::new();
        for client in 0..8 {
            let syn = s.syn(1000 + client, s.web(number::REMOTE));
            assert_eq!(s.arrives(&syn).verdict(), Verdict::Redirect);
            ports.insert(s.forward(&syn).source.1);
        }
        assert_eq!(ports, (50_000..50_008).collect());
        s.arrives(&s.syn(1008, s.web(number::REMOTE)))
            .is_dropped(Reason::NoSnatPort);
        assert_eq!(s.flow_count(), 16);
    }),
    ("a full range for one backend is none for another", |s| {
        shrink(s, 1);
        s.arrives(&s.syn(1000, s.web(number::REMOTE)));
        s.arrives(&s.syn(1001, s.web(number::REMOTE)))
            .is_dropped(Reason::NoSnatPort);
        let udp = s.datagram(1001, s.dns(number::REMOTE));
        assert_eq!(s.arrives(&udp).verdict(), Verdict::Redirect);
    }),
    ("a port whose flow is expired is taken over", |s| {
        shrink(s, 1);
        let old = s.syn(1000, s.web(number::REMOTE));
        s.arrives(&old);
        let timeout = s.stage.model.tables.config.syn_timeout;
        s.seconds_pass(timeout + 1);
        let new = s.syn(1001, s.web(number::REMOTE));
        assert_eq!(s.arrives(&new).verdict(), Verdict::Redirect);
        assert_eq!(s.forward(&new).source.1, 50_000);
        let reply = Packet::tcp(web_of(s.cast.remote_pod), s.node_end(50_000), SYN | ACK);
        let expected = new.turned().flags(SYN | ACK).hop_limit(63);
        s.arrives(&reply).is_redirected_as(&expected);
    }),
    ("a port whose flow was reset is free at once", |s| {
        shrink(s, 1);
        let old = s.syn(1000, s.web(number::REMOTE));
        s.arrives(&old);
        s.arrives(&old.clone().flags(RST));
        let new = s.syn(1001, s.web(number::REMOTE));
        assert_eq!(s.arrives(&new).verdict(), Verdict::Redirect);
        assert!(s.flow(tuple(&old).forward()).is_none());
    }),
    (
        "a port whose flow one side has ended is not yet free",
        |s| {
            shrink(s, 1);
            let old = s.syn(1000, s.web(number::REMOTE));
            s.arrives(&old);
            s.arrives(&old.clone().flags(FIN | ACK));
            s.arrives(&s.syn(1001, s.web(number::REMOTE)))
                .is_dropped(Reason::NoSnatPort);
            let reply = Packet::tcp(web_of(s.cast.remote_pod), s.node_end(50_000), FIN | ACK);
            s.arrives(&reply);
            let new = s.syn(1001, s.web(number::REMOTE));
            assert_eq!(s.arrives(&new).verdict(), Verdict::Redirect);
        },
    ),
    ("an answered connection keeps its port for hours", |s| {
        shrink(s, 1);
        let old = s.syn(1000, s.web(number::REMOTE));
        s.arrives(&old);
        let reply = Packet::tcp(web_of(s.cast.remote_pod), s.node_end(50_000), SYN | ACK);
        s.arrives(&reply);
        let timeout = s.stage.model.tables.config.syn_timeout;
        s.seconds_pass(timeout + 1);
        s.arrives(&s.syn(1001, s.web(number::REMOTE)))
            .is_dropped(Reason::NoSnatPort);
        s.arrives(&old.flags(ACK)).counts(&[]);
    }),
    (
        "the loser of a taken port does not speak for its new owner",
        |s| {
            shrink(s, 1);
            let old = s.syn(1000, s.web(number::REMOTE));
            s.arrives(&old);
            let timeout = s.stage.model.tables.config.syn_timeout;
            s.seconds_pass(timeout + 1);
            let new = s.syn(1001, s.web(number::REMOTE));
            s.arrives(&new);
            assert!(s.flow(tuple(&old).forward()).is_none());
            s.arrives(&old.flags(ACK)).is_dropped(Reason::NoSnatPort);
            let reply = Packet::tcp(web_of(s.cast.remote_pod), s.node_end(50_000), SYN | ACK);
            let expected = new.turned().flags(SYN | ACK).hop_limit(63);
            s.arrives(&reply).is_redirected_as(&expected);
        },
    ),
    ("a socket of the host keeps its port", |s| {
        let backend = dns_of(s.cast.remote_pod);
        let socket = std::net::UdpSocket::bind(s.node_end(HIGH)).unwrap();
        socket.connect(backend).unwrap();
        s.stage.model.sockets.push(Tuple {
            source: s.node_end(HIGH),
            destination: backend,
            protocol: lb_abi::UDP,
        });
        let question = s.datagram(HIGH, s.dns(number::REMOTE));
        s.arrives(&question);
        assert_ne!(s.forward(&question).source, s.node_end(HIGH));
        let syn = s.syn(HIGH, s.web(number::REMOTE));
        s.arrives(&syn);
        assert_eq!(
            s.forward(&syn).source,
            s.node_end(HIGH),
            "a port of the other protocol"
        );
    }),
];
