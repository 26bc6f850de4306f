//! Pods whose sockets are not translated.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_abi::{Reason, flow_flags};

use super::{HIGH, LOW, dns_of, web_of};
use crate::fixture::services::{NODE_PORT, number};
use crate::model::Verdict;
use crate::packet::{ACK, End, FIN, Packet, SYN};
use crate::scene::{Row, Scene, tuple};

fn pod_syn(s: &Scene<'_, '_>, to: End) -> Packet {
    Packet::tcp((s.cast.other_local_pod, LOW), to, SYN)
}

/// The pod behind `LOCAL` asks for itself.
fn self_syn(s: &Scene<'_, '_>) -> Packet {
    Packet::tcp(
        (s.cast.local_pod, HIGH),
        (s.cast.cluster(number::LOCAL), 80),
        SYN,
    )
}

pub(crate) const ROWS: &[Row] = &[
    (
        "a pod that has no address yet is translated, and left to the host's stack, which drops it",
        |s| {
            let nobody = match s.cast.local_pod {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            for (number, pod) in [
                (number::LOCAL, s.cast.local_pod),
                (number::REMOTE, s.cast.remote_pod),
            ] {
                let syn = pod_syn(s, (s.cast.cluster(number), 80)).from((nobody, LOW));
                s.pod_sends(&syn).passes_as(&syn.clone().to(web_of(pod)));
            }
            let direct = pod_syn(s, web_of(s.cast.lone_pod)).from((nobody, LOW));
            s.pod_sends(&direct).is_untouched();
            s.pod_sends(&direct.to((s.cast.router, 443))).is_untouched();
        },
    ),
    ("a pod reaches a pod of this node by the ClusterIP", |s| {
        let syn = pod_syn(s, (s.cast.cluster(number::LOCAL), 80));
        s.pod_sends(&syn)
            .passes_as(&syn.clone().to(web_of(s.cast.local_pod)))
            .counts(&[Reason::NewFlow]);
        let flow = s.forward(&syn);
        assert!(flow.has(flow_flags::INTERNAL) && flow.has(flow_flags::LOCAL));
    }),
    ("a pod reaches a pod elsewhere with its own address", |s| {
        let syn = pod_syn(s, (s.cast.cluster(number::REMOTE), 80));
        s.pod_sends(&syn)
            .passes_as(&syn.clone().to(web_of(s.cast.remote_pod)));
        let flow = s.forward(&syn);
        assert!(flow.has(flow_flags::INTERNAL) && !flow.has(flow_flags::SNAT));
    }),
    (
        "a pod that asks a pod elsewhere gets the ClusterIP's answer",
        |s| {
            let syn = pod_syn(s, (s.cast.cluster(number::REMOTE), 80));
            s.pod_sends(&syn);
            let reply = Packet::tcp(web_of(s.cast.remote_pod), syn.source, SYN | ACK);
            s.pod_gets(&reply)
                .passes_as(&reply.clone().from(syn.destination));
        },
    ),
    (
        "a pod that asks a pod here gets the ClusterIP's answer",
        |s| {
            let syn = pod_syn(s, (s.cast.cluster(number::LOCAL), 80));
            s.pod_sends(&syn);
            let reply = Packet::tcp(web_of(s.cast.local_pod), syn.source, SYN | ACK);
            s.pod_gets(&reply)
                .passes_as(&reply.clone().from(syn.destination));
        },
    ),
    ("a pod's datagrams", |s| {
        let to = (s.cast.cluster(number::REMOTE), 53);
        let question = Packet::udp((s.cast.other_local_pod, LOW), to);
        s.pod_sends(&question)
            .passes_as(&question.clone().to(dns_of(s.cast.remote_pod)));
        let answer = Packet::udp(dns_of(s.cast.remote_pod), question.source);
        s.pod_gets(&answer)
            .passes_as(&answer.clone().from(question.destination));
    }),
    ("a pod reaches a virtual address and a NodePort", |s| {
        for to in [s.web(number::REMOTE), s.node_end(NODE_PORT)] {
            let syn = pod_syn(s, to);
            s.pod_sends(&syn)
                .passes_as(&syn.clone().to(web_of(s.cast.remote_pod)));
            let reply = Packet::tcp(web_of(s.cast.remote_pod), syn.source, SYN | ACK);
            s.pod_gets(&reply).passes_as(&reply.clone().from(to));
        }
    }),
    ("a pod's established packet goes the same way", |s| {
        let syn = pod_syn(s, (s.cast.cluster(number::REMOTE), 80));
        s.pod_sends(&syn);
        let data = syn.flags(ACK).hop_limit(1);
        s.pod_sends(&data)
            .passes_as(&data.clone().to(web_of(s.cast.remote_pod)))
            .counts(&[]);
    }),
    ("a pod without backends to ask is dropped", |s| {
        let syn = pod_syn(s, s.web(number::EMPTY));
        s.pod_sends(&syn).is_dropped(Reason::NoBackend);
    }),
    ("a pod pings a virtual address", |s| {
        s.configure(|config| config.flags |= lb_abi::config_flags::PING);
        let ping = Packet::ping(s.cast.other_local_pod, s.cast.vip(number::LOCAL));
        assert_eq!(s.pod_sends(&ping).verdict(), Verdict::Redirect);
    }),
    (
        "a pod's packet that a frontend does not concern passes its neighbours' way",
        |s| {
            let to = s.cast.remote_pod;
            s.pod_sends(&Packet::udp((s.cast.other_local_pod, LOW), (to, 53)))
                .is_untouched();
        },
    ),
    (
        "a pod reaches itself through its Service, from another address",
        |s| {
            let syn = self_syn(s);
            let expected = syn
                .clone()
                .from((s.cast.hairpin, HIGH))
                .to(web_of(s.cast.local_pod))
                .ethernet_turned();
            s.pod_sends(&syn).is_redirected_as(&expected);
            assert!(s.forward(&syn).has(flow_flags::HAIRPIN));
        },
    ),
    ("a pod's answer to itself comes from its Service", |s| {
        let syn = self_syn(s);
        s.pod_sends(&syn);
        let reply = Packet::tcp(web_of(s.cast.local_pod), (s.cast.hairpin, HIGH), SYN | ACK);
        let expected = syn.turned().flags(SYN | ACK).ethernet_turned();
        s.pod_sends(&reply).is_redirected_as(&expected);
    }),
    ("a pod speaks with itself to the end", |s| {
        let syn = self_syn(s);
        s.pod_sends(&syn);
        let reply = Packet::tcp(web_of(s.cast.local_pod), (s.cast.hairpin, HIGH), SYN | ACK);
        s.pod_sends(&reply);
        let data = syn.clone().flags(ACK);
        let expected = data
            .clone()
            .from((s.cast.hairpin, HIGH))
            .to(web_of(s.cast.local_pod))
            .ethernet_turned();
        s.pod_sends(&data).is_redirected_as(&expected).counts(&[]);
        s.pod_sends(&reply.flags(FIN | ACK));
        assert!(s.forward(&syn).has(flow_flags::CLOSING));
    }),
    ("a pod's datagram to itself", |s| {
        let to = (s.cast.cluster(number::LOCAL), 53);
        let question = Packet::udp((s.cast.local_pod, HIGH), to);
        let expected = question
            .clone()
            .from((s.cast.hairpin, HIGH))
            .to(dns_of(s.cast.local_pod))
            .ethernet_turned();
        s.pod_sends(&question).is_redirected_as(&expected);
        let answer = Packet::udp(dns_of(s.cast.local_pod), (s.cast.hairpin, HIGH));
        s.pod_sends(&answer)
            .is_redirected_as(&question.turned().ethernet_turned());
    }),
    (
        "what nobody asked for goes nowhere at the address of those who ask themselves",
        |s| {
            let stray = Packet::tcp(web_of(s.cast.local_pod), (s.cast.hairpin, HIGH), SYN | ACK);
            assert_eq!(s.pod_sends(&stray).verdict(), Verdict::Drop);
        },
    ),
    (
        "a pod that asks a frontend and then the pod behind it is answered by that pod",
        |s| {
            let syn = pod_syn(s, (s.cast.cluster(number::LOCAL), 80));
            s.pod_sends(&syn);
            let direct = pod_syn(s, web_of(s.cast.local_pod));
            s.pod_sends(&direct)
                .passes_as(&direct)
                .counts(&[Reason::DirectTakeover]);
            let reply = Packet::tcp(web_of(s.cast.local_pod), syn.source, SYN | ACK);
            s.pod_gets(&reply).is_untouched();
        },
    ),
    (
        "a pod's answer to a client outside passes the pod's own hook as it is",
        |s| {
            let syn = s.syn(LOW, s.web(number::LOCAL));
            s.arrives(&syn);
            let reply = Packet::tcp(web_of(s.cast.local_pod), syn.source, SYN | ACK);
            s.pod_sends(&reply).is_untouched();
            s.leaves(&reply)
                .passes_as(&reply.clone().from(syn.destination));
        },
    ),
    (
        "a packet for a local backend is left alone on its way into the pod",
        |s| {
            let syn = s.syn(LOW, s.web(number::LOCAL));
            s.arrives(&syn);
            s.pod_gets(&syn.clone().to(web_of(s.cast.local_pod)))
                .is_untouched();
            assert_eq!(s.forward(&syn).packets, 1);
            assert!(s.flow(tuple(&syn).forward()).is_some());
        },
    ),
];
