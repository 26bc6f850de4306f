//! A source port that is used again while, or soon after, it leads to a backend: the backend cannot tell the two connections from each other.

use lb_abi::Reason;

use super::{HIGH, LOW, web_of};
use crate::fixture::services::number;
use crate::model::Verdict;
use crate::packet::{ACK, End, FIN, Packet, RST, SYN};
use crate::scene::{Row, Scene, tuple};

/// Ports of which about a third would lead to any one of three backends.
const PORTS: std::ops::Range<u16> = LOW..LOW + 40;

fn local(s: &Scene<'_, '_>) -> End {
    web_of(s.cast.local_pod)
}

/// Connects by the frontend `number` from a port that leads to the local pod already, and says whether it is led there again.
fn meets(s: &mut Scene<'_, '_>, port: u16, number: u8) -> bool {
    let syn = s.syn(port, s.web(number));
    s.arrives(&syn);
    s.forward(&syn).destination == local(s)
}

pub(crate) const ROWS: &[Row] = &[
    (
        "two frontends with one pod only: the later connection of a port wins",
        |s| {
            let one = s.syn(LOW, s.web(number::LOCAL));
            let two = s.syn(LOW, s.web(number::LOCAL_TOO));
            s.arrives(&one);
            s.arrives(&two);
            let reply = Packet::tcp(web_of(s.cast.local_pod), one.source, SYN | ACK);
            s.leaves(&reply)
                .passes_as(&reply.clone().from(two.destination));
        },
    ),
    (
        "two frontends with one pod only: the earlier one's SYN takes it back",
        |s| {
            let one = s.syn(LOW, s.web(number::LOCAL));
            let two = s.syn(LOW, s.web(number::LOCAL_TOO));
            s.arrives(&one);
            s.arrives(&two);
            s.seconds_pass(1);
            s.arrives(&one).counts(&[Reason::NewFlow]);
            let reply = Packet::tcp(web_of(s.cast.local_pod), one.source, SYN | ACK);
            s.leaves(&reply)
                .passes_as(&reply.clone().from(one.destination));
            assert!(s.flow(tuple(&one).forward()).is_some());
        },
    ),
    (
        "two frontends of three pods: no port meets itself at one",
        |s| {
            for number in [number::MIXED, number::RING] {
                for port in PORTS {
                    let one = s.syn(port, s.web(number::LOCAL));
                    s.arrives(&one);
                    assert!(!meets(s, port, number), "port {port}");
                    let reply = Packet::tcp(local(s), one.source, SYN | ACK);
                    s.leaves(&reply)
                        .passes_as(&reply.clone().from(one.destination));
                }
            }
        },
    ),
    ("two frontends of three pods: nor as a datagram", |s| {
        for port in PORTS {
            let one = s.datagram(port, s.dns(number::LOCAL));
            s.arrives(&one);
            for number in [number::MIXED, number::RING] {
                let two = s.datagram(port, s.dns(number));
                s.arrives(&two);
                assert_ne!(s.forward(&one).destination, s.forward(&two).destination);
            }
        }
    }),
    ("two frontends of three pods: nor from a pod", |s| {
        for port in PORTS {
            let from = (s.cast.other_local_pod, port);
            let one = Packet::tcp(from, (s.cast.cluster(number::LOCAL), 80), SYN);
            let two = Packet::tcp(from, (s.cast.cluster(number::MIXED), 80), SYN);
            s.pod_sends(&one);
            s.pod_sends(&two);
            assert_ne!(s.forward(&one).destination, s.forward(&two).destination);
        }
    }),
    (
        "two frontends of three pods: nor soon after it has ended",
        |s| {
            for port in PORTS {
                let one = s.syn(port, s.web(number::LOCAL));
                s.arrives(&one);
                s.arrives(&one.clone().flags(RST | ACK));
                assert!(!meets(s, port, number::MIXED), "port {port}");
            }
            let timeout = s.stage.model.tables.config.closing_timeout;
            s.seconds_pass(timeout + 1);
            let met = PORTS.filter(|port| meets(s, *port, number::RING)).count();
            assert!(met > 0, "what is forgotten is free");
        },
    ),
    ("a SYN that is repeated stays with its pod", |s| {
        for port in PORTS {
            let syn = s.syn(port, s.web(number::MIXED));
            s.arrives(&syn);
            let first = s.forward(&syn).destination;
            s.arrives(&syn);
            assert_eq!(s.forward(&syn).destination, first);
        }
    }),
    (
        "a client that connects again to the same frontend may get the same pod",
        |s| {
            for _ in 0..3 {
                let syn = s.syn(LOW, s.web(number::LOCAL));
                s.arrives(&syn).counts(&[Reason::NewFlow]);
                s.arrives(&syn.clone().flags(FIN | ACK));
            }
        },
    ),
    (
        "what a port led to is remembered after its next connection",
        |s| {
            for port in PORTS {
                let syn = s.syn(port, s.web(number::MIXED));
                let mut met = Vec::new();
                for _ in 0..6 {
                    s.arrives(&syn);
                    met.push(s.forward(&syn).destination);
                    s.arrives(&syn.clone().flags(RST));
                }
                if met.contains(&local(s)) {
                    assert!(!meets(s, port, number::RING), "port {port}");
                }
            }
        },
    ),
    (
        "a replaced port is remembered after the client's next connection",
        |s| {
            let [one, two] =
                [number::MIXED, number::REMOTE].map(|number| s.syn(HIGH, s.web(number)));
            let pod = web_of(s.cast.remote_pod);
            // By chance, and once in 10³⁵ times not.
            for _ in 0..200 {
                s.arrives(&one);
                let met = s.forward(&one).destination;
                s.arrives(&one.clone().flags(RST));
                if met == pod {
                    break;
                }
            }
            s.arrives(&one);
            s.arrives(&one.clone().flags(RST));
            s.arrives(&two);
            assert_eq!(s.forward(&two).destination, pod);
            assert_ne!(s.forward(&two).source, s.node_end(HIGH));
        },
    ),
    ("a replaced port is not the next client's at once", |s| {
        let old = s.syn(HIGH, s.web(number::REMOTE));
        s.arrives(&old);
        s.arrives(&old.clone().flags(RST));
        let new = old.clone().from((s.cast.other_client, HIGH));
        s.arrives(&new);
        assert_ne!(s.forward(&new).source, s.node_end(HIGH));
        assert!(s.flow(tuple(&old).forward()).is_some(), "it is left alone");
    }),
    (
        "a replaced port is the next client's when it is forgotten",
        |s| {
            let old = s.syn(HIGH, s.web(number::REMOTE));
            s.arrives(&old);
            s.arrives(&old.clone().flags(RST));
            let timeout = s.stage.model.tables.config.closing_timeout;
            s.seconds_pass(timeout + 1);
            let new = old.clone().from((s.cast.other_client, HIGH));
            s.arrives(&new);
            assert_eq!(s.forward(&new).source, s.node_end(HIGH));
        },
    ),
    ("a replaced port is the same client's again at once", |s| {
        let syn = s.syn(HIGH, s.web(number::REMOTE));
        for _ in 0..3 {
            s.arrives(&syn);
            assert_eq!(s.forward(&syn).source, s.node_end(HIGH));
            s.arrives(&syn.clone().flags(RST));
        }
    }),
    (
        "of replaced ports that are all taken the one that ended first is taken",
        |s| {
            super::snat::shrink(s, 4);
            let clients = [1000, 1001, 1002, 1003].map(|port| s.syn(port, s.web(number::REMOTE)));
            for syn in &clients {
                s.arrives(syn);
            }
            let ended = [2, 0, 3].map(|index: usize| &clients[index]);
            for syn in ended {
                s.arrives(&syn.clone().flags(RST));
                s.seconds_pass(1);
            }
            for old in ended {
                let port = s.forward(old).source;
                let new = old.clone().from((s.cast.other_client, old.source.1));
                assert_eq!(s.arrives(&new).verdict(), Verdict::Redirect);
                assert_eq!(s.forward(&new).source, port);
            }
        },
    ),
];
