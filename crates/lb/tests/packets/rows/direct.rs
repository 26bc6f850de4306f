//! A client that used a frontend and speaks to the backend itself from the same port, and the other way round: each is answered by whom it
//! asked.

use lb_abi::Reason;

use super::{HIGH, LOW, dns_of, web_of};
use crate::fixture::services::{HOST_PORT, number};
use crate::packet::{ACK, FIN, Packet, RST, SYN};
use crate::scene::Row;

pub(crate) const ROWS: &[Row] = &[
    ("first the frontend, then the pod of this node", |s| {
        let syn = s.syn(LOW, s.web(number::LOCAL));
        s.arrives(&syn);
        let reply = Packet::tcp(web_of(s.cast.local_pod), syn.source, SYN | ACK);
        s.leaves(&reply)
            .passes_as(&reply.clone().from(syn.destination));
        let direct = s.syn(LOW, web_of(s.cast.local_pod));
        s.arrives(&direct)
            .passes_as(&direct)
            .counts(&[Reason::DirectTakeover]);
        s.leaves(&reply).is_untouched();
        assert_eq!(s.flow_count(), 0);
    }),
    ("first the pod of this node, then the frontend", |s| {
        let direct = s.syn(LOW, web_of(s.cast.local_pod));
        s.arrives(&direct).is_untouched();
        let reply = Packet::tcp(web_of(s.cast.local_pod), direct.source, SYN | ACK);
        s.leaves(&reply).is_untouched();
        let syn = s.syn(LOW, s.web(number::LOCAL));
        s.arrives(&syn)
            .passes_as(&syn.clone().to(web_of(s.cast.local_pod)));
        s.leaves(&reply)
            .passes_as(&reply.clone().from(syn.destination));
    }),
    ("frontend, pod, frontend, pod", |s| {
        let syn = s.syn(LOW, s.web(number::LOCAL));
        let direct = s.syn(LOW, web_of(s.cast.local_pod));
        let reply = Packet::tcp(web_of(s.cast.local_pod), syn.source, SYN | ACK);
        for _ in 0..3 {
            s.arrives(&syn);
            s.leaves(&reply)
                .passes_as(&reply.clone().from(syn.destination));
            s.arrives(&direct);
            s.leaves(&reply).is_untouched();
        }
    }),
    ("the same after the frontend's connection has ended", |s| {
        let syn = s.syn(LOW, s.web(number::LOCAL));
        s.arrives(&syn);
        let reply = Packet::tcp(web_of(s.cast.local_pod), syn.source, SYN | ACK);
        s.leaves(&reply);
        s.arrives(&syn.flags(FIN | ACK));
        s.leaves(&reply.clone().flags(FIN | ACK));
        s.arrives(&s.syn(LOW, web_of(s.cast.local_pod)));
        s.leaves(&reply).is_untouched();
    }),
    ("a direct packet that is no SYN takes nothing over", |s| {
        let syn = s.syn(LOW, s.web(number::LOCAL));
        s.arrives(&syn);
        for flags in [ACK, SYN | ACK, FIN | ACK] {
            s.arrives(&s.syn(LOW, web_of(s.cast.local_pod)).flags(flags))
                .is_untouched();
        }
        let reply = Packet::tcp(web_of(s.cast.local_pod), syn.source, SYN | ACK);
        s.leaves(&reply)
            .passes_as(&reply.clone().from(syn.destination));
    }),
    (
        "another client's direct connection takes nothing over",
        |s| {
            let syn = s.syn(LOW, s.web(number::LOCAL));
            s.arrives(&syn);
            let other = Packet::tcp((s.cast.other_client, LOW), web_of(s.cast.local_pod), SYN);
            s.arrives(&other).is_untouched();
            s.arrives(&s.syn(LOW + 1, web_of(s.cast.local_pod)))
                .is_untouched();
            s.arrives(&s.syn(LOW, (s.cast.local_pod, 8081)))
                .is_untouched();
            assert_eq!(s.flow_count(), 2);
        },
    ),
    (
        "datagrams: first the frontend, then the pod of this node",
        |s| {
            let question = s.datagram(LOW, s.dns(number::LOCAL));
            s.arrives(&question);
            let direct = s.datagram(LOW, dns_of(s.cast.local_pod));
            s.arrives(&direct)
                .passes_as(&direct)
                .counts(&[Reason::DirectTakeover]);
            s.leaves(&Packet::udp(dns_of(s.cast.local_pod), question.source))
                .is_untouched();
        },
    ),
    (
        "datagrams: first the pod of this node, then the frontend",
        |s| {
            s.arrives(&s.datagram(LOW, dns_of(s.cast.local_pod)))
                .is_untouched();
            let question = s.datagram(LOW, s.dns(number::LOCAL));
            s.arrives(&question);
            let answer = Packet::udp(dns_of(s.cast.local_pod), question.source);
            s.leaves(&answer)
                .passes_as(&answer.clone().from(question.destination));
        },
    ),
    ("first the frontend, then the pod elsewhere", |s| {
        let syn = s.syn(HIGH, s.web(number::REMOTE));
        s.arrives(&syn);
        let direct = s.syn(HIGH, web_of(s.cast.remote_pod));
        s.arrives(&direct).is_untouched();
        let answer = Packet::tcp(web_of(s.cast.remote_pod), direct.source, SYN | ACK);
        s.arrives(&answer).is_untouched();
        let reply = Packet::tcp(web_of(s.cast.remote_pod), s.node_end(HIGH), SYN | ACK);
        s.arrives(&reply)
            .is_redirected_as(&syn.turned().flags(SYN | ACK).hop_limit(63));
    }),
    ("first the pod elsewhere, then the frontend", |s| {
        let direct = s.syn(HIGH, web_of(s.cast.remote_pod));
        s.arrives(&direct).is_untouched();
        let syn = s.syn(HIGH, s.web(number::REMOTE));
        s.arrives(&syn);
        let answer = Packet::tcp(web_of(s.cast.remote_pod), direct.source, SYN | ACK);
        s.arrives(&answer).is_untouched();
    }),
    ("a pod: first the frontend, then the pod elsewhere", |s| {
        let pod = (s.cast.other_local_pod, LOW);
        let syn = Packet::tcp(pod, (s.cast.cluster(number::REMOTE), 80), SYN);
        s.pod_sends(&syn)
            .passes_as(&syn.clone().to(web_of(s.cast.remote_pod)));
        let direct = Packet::tcp(pod, web_of(s.cast.remote_pod), SYN);
        s.pod_sends(&direct)
            .passes_as(&direct)
            .counts(&[Reason::DirectTakeover]);
        s.pod_gets(&direct.turned().flags(SYN | ACK)).is_untouched();
        assert_eq!(s.flow_count(), 0);
    }),
    (
        "a pod's datagrams: first the frontend, then the pod elsewhere",
        |s| {
            let pod = (s.cast.other_local_pod, LOW);
            let question = Packet::udp(pod, (s.cast.cluster(number::REMOTE), 53));
            s.pod_sends(&question);
            let direct = Packet::udp(pod, dns_of(s.cast.remote_pod));
            s.pod_sends(&direct)
                .passes_as(&direct)
                .counts(&[Reason::DirectTakeover]);
            s.pod_gets(&direct.turned()).is_untouched();
        },
    ),
    ("first the frontend, then the host's process", |s| {
        let syn = s.syn(LOW, s.web(number::HOST));
        s.arrives(&syn);
        let direct = s.syn(LOW, s.node_end(HOST_PORT));
        s.arrives(&direct).counts(&[Reason::DirectTakeover]);
        let reply = Packet::tcp(s.node_end(HOST_PORT), syn.source, SYN | ACK);
        s.leaves(&reply).is_untouched();
    }),
    (
        "a frontend's connection through a replaced client takes nothing from a direct one",
        |s| {
            let syn = s.syn(HIGH, s.web(number::REMOTE));
            s.arrives(&syn);
            let own = Packet::tcp(s.node_end(HIGH), web_of(s.cast.remote_pod), SYN);
            s.arrives(&own).is_untouched();
            assert_eq!(s.flow_count(), 2);
        },
    ),
    (
        "a connection of the host's own with the port of a client that has ended is the host's",
        |s| {
            let syn = s.connect_remote();
            s.arrives(&syn.clone().flags(RST));
            let own = Packet::tcp(s.node_end(HIGH), web_of(s.cast.remote_pod), SYN);
            s.host_sends(&own)
                .passes_as(&own)
                .counts(&[Reason::DirectTakeover]);
            s.arrives(&s.remote_reply()).is_untouched();
            s.host_sends(&own.clone().flags(ACK)).is_untouched();
            s.arrives(&s.remote_reply().flags(ACK)).is_untouched();
            assert_eq!(s.flow_count(), 0);
        },
    ),
    (
        "a connection of the host's own takes nothing from a client that goes on",
        |s| {
            let syn = s.connect_remote();
            let own = Packet::tcp(s.node_end(HIGH), web_of(s.cast.remote_pod), SYN);
            s.host_sends(&own).is_untouched();
            s.arrives(&s.remote_reply())
                .is_redirected_as(&syn.turned().flags(SYN | ACK).hop_limit(63));
        },
    ),
    (
        "datagrams of the host's own with the port of a client that has gone silent are the host's",
        |s| {
            let question = s.datagram(HIGH, s.dns(number::REMOTE));
            s.arrives(&question);
            let own = Packet::udp(s.node_end(HIGH), dns_of(s.cast.remote_pod));
            s.host_sends(&own).is_untouched();
            assert_eq!(s.flow_count(), 2, "it has only just spoken");
            let timeout = s.stage.model.tables.config.closing_timeout;
            s.seconds_pass(timeout + 1);
            s.host_sends(&own).counts(&[Reason::DirectTakeover]);
            s.arrives(&own.turned()).is_untouched();
            assert_eq!(s.flow_count(), 0);
        },
    ),
    (
        "a client's packet that leaves with the node's address is none of the host's",
        |s| {
            let syn = s.connect_remote();
            s.arrives(&syn.clone().flags(RST));
            let own = Packet::tcp(s.node_end(HIGH), web_of(s.cast.remote_pod), SYN);
            s.leaves(&own).is_untouched();
            assert_eq!(s.flow_count(), 2);
        },
    ),
    (
        "a packet that two programs see is no direct one to the second",
        |s| {
            let syn = s.syn(LOW, s.web(number::LOCAL));
            let question = s.datagram(LOW, s.dns(number::LOCAL));
            for (packet, to) in [
                (&syn, web_of(s.cast.local_pod)),
                (&question, dns_of(s.cast.local_pod)),
            ] {
                for _ in 0..2 {
                    s.arrives_twice(packet).passes_as(&packet.clone().to(to));
                }
            }
            let reply = Packet::tcp(web_of(s.cast.local_pod), syn.source, SYN | ACK);
            s.leaves(&reply)
                .passes_as(&reply.clone().from(syn.destination));
            assert_eq!(s.flow_count(), 4);
        },
    ),
    ("nor is a pod's packet that two programs see", |s| {
        let pod = (s.cast.other_local_pod, LOW);
        let syn = Packet::tcp(pod, (s.cast.cluster(number::REMOTE), 80), SYN);
        let question = Packet::udp(pod, (s.cast.cluster(number::REMOTE), 53));
        s.pod_sends_twice(&syn)
            .passes_as(&syn.clone().to(web_of(s.cast.remote_pod)));
        s.pod_sends_twice(&question)
            .passes_as(&question.clone().to(dns_of(s.cast.remote_pod)));
        assert_eq!(s.flow_count(), 4);
    }),
    (
        "a direct packet that two programs see takes over once",
        |s| {
            let syn = s.syn(LOW, s.web(number::LOCAL));
            s.arrives_twice(&syn);
            let direct = s.syn(LOW, web_of(s.cast.local_pod));
            s.arrives_twice(&direct)
                .passes_as(&direct)
                .counts(&[Reason::DirectTakeover]);
        },
    ),
];
