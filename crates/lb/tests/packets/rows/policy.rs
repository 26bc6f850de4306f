//! Who may ask what: traffic policies, ClusterIPs, ports that are not there, ping.

use lb_abi::{Reason, config_flags};

use super::{HIGH, LOW, dns_of, web_of};
use crate::fixture::services::number;
use crate::model::Verdict;
use crate::packet::{ACK, FIN, Packet, RST, SYN};
use crate::scene::Row;

pub(crate) const ROWS: &[Row] = &[
    (
        "externalTrafficPolicy Local: clients outside reach the pod of this node",
        |s| {
            for port in 1000..1008 {
                let syn = s.syn(port, s.web(number::EXTERNAL_LOCAL));
                s.arrives(&syn)
                    .passes_as(&syn.clone().to(web_of(s.cast.local_pod)));
            }
        },
    ),
    (
        "externalTrafficPolicy Local: clients inside reach the others",
        |s| {
            let syn = Packet::tcp(
                (s.cast.other_local_pod, LOW),
                s.web(number::EXTERNAL_LOCAL),
                SYN,
            );
            s.pod_sends(&syn)
                .passes_as(&syn.clone().to(web_of(s.cast.remote_pod)));
        },
    ),
    (
        "externalTrafficPolicy Local: without a pod here, clients outside are dropped",
        |s| {
            s.arrives(&s.syn(LOW, s.web(number::EXTERNAL_LOCAL_ELSEWHERE)))
                .is_dropped(Reason::NoBackend);
        },
    ),
    (
        "externalTrafficPolicy Local: without a pod here, clients inside are served",
        |s| {
            let to = s.web(number::EXTERNAL_LOCAL_ELSEWHERE);
            let syn = Packet::tcp((s.cast.other_local_pod, LOW), to, SYN);
            s.pod_sends(&syn)
                .passes_as(&syn.clone().to(web_of(s.cast.remote_pod)));
        },
    ),
    (
        "internalTrafficPolicy Local: without a pod here, clients inside are dropped",
        |s| {
            let to = s.web(number::INTERNAL_LOCAL_ELSEWHERE);
            let syn = Packet::tcp((s.cast.other_local_pod, LOW), to, SYN);
            s.pod_sends(&syn).is_dropped(Reason::NoBackend);
        },
    ),
    (
        "internalTrafficPolicy Local: without a pod here, clients outside are served",
        |s| {
            let syn = s.syn(HIGH, s.web(number::INTERNAL_LOCAL_ELSEWHERE));
            assert_eq!(s.arrives(&syn).verdict(), Verdict::Redirect);
            assert_eq!(s.forward(&syn).destination, web_of(s.cast.remote_pod));
        },
    ),
    ("a ClusterIP is closed to the outside", |s| {
        s.arrives(&s.syn(LOW, (s.cast.cluster(number::LOCAL), 80)))
            .is_dropped(Reason::NotRoutable);
        s.arrives(&s.datagram(LOW, (s.cast.cluster(number::LOCAL), 53)))
            .is_dropped(Reason::NotRoutable);
        assert_eq!(s.flow_count(), 0);
    }),
    (
        "a ClusterIP is open to the outside where it is so configured",
        |s| {
            s.configure(|config| config.flags |= config_flags::EXTERNAL_CLUSTER_IP);
            let syn = s.syn(LOW, (s.cast.cluster(number::LOCAL), 80));
            s.arrives(&syn)
                .passes_as(&syn.clone().to(web_of(s.cast.local_pod)));
            let syn = s.syn(HIGH, (s.cast.cluster(number::REMOTE), 80));
            assert_eq!(s.arrives(&syn).verdict(), Verdict::Redirect);
        },
    ),
    ("a ClusterIP is open to pods", |s| {
        let to = (s.cast.cluster(number::LOCAL), 80);
        let syn = Packet::tcp((s.cast.other_local_pod, LOW), to, SYN);
        s.pod_sends(&syn)
            .passes_as(&syn.clone().to(web_of(s.cast.local_pod)));
    }),
    ("a port that a virtual address has not is dropped", |s| {
        for port in [1, 22, 79, 81, 8080, 53, 65_535] {
            s.arrives(&s.syn(LOW, (s.cast.vip(number::LOCAL), port)))
                .is_dropped(Reason::NoService);
        }
        assert_eq!(s.flow_count(), 0);
    }),
    ("a closed port is dropped whatever the flags", |s| {
        for flags in [0, SYN, SYN | ACK, ACK, RST, FIN | ACK] {
            s.arrives(&s.syn(LOW, (s.cast.vip(number::LOCAL), 81)).flags(flags))
                .is_dropped(Reason::NoService);
        }
    }),
    ("a port of another protocol is dropped", |s| {
        s.arrives(&s.datagram(LOW, s.web(number::LOCAL)))
            .is_dropped(Reason::NoService);
        s.arrives(&s.syn(LOW, s.dns(number::LOCAL)))
            .is_dropped(Reason::NoService);
    }),
    ("a closed port of a ClusterIP is dropped", |s| {
        s.arrives(&s.syn(LOW, (s.cast.cluster(number::LOCAL), 81)))
            .is_dropped(Reason::NoService);
    }),
    ("a closed port of an external address is dropped", |s| {
        s.arrives(&s.syn(LOW, (s.cast.external(number::EXTERNAL), 81)))
            .is_dropped(Reason::NoService);
    }),
    ("a closed port of the node is the host's business", |s| {
        for port in [22, 80, 30_081, 32_767, 32_768, 50_000] {
            s.arrives(&s.syn(LOW, s.node_end(port))).is_untouched();
        }
    }),
    ("a pod's packet to a closed port is dropped too", |s| {
        let to = (s.cast.cluster(number::LOCAL), 81);
        s.pod_sends(&Packet::tcp((s.cast.other_local_pod, LOW), to, SYN))
            .is_dropped(Reason::NoService);
    }),
    ("a virtual address answers ping", |s| {
        s.configure(|config| config.flags |= config_flags::PING);
        for address in [s.cast.vip(number::LOCAL), s.cast.vip(number::EMPTY)] {
            let ping = Packet::ping(s.cast.client, address);
            let kind = if address.is_ipv4() { 0 } else { 129 };
            let pong = Packet::icmp(address, s.cast.client, kind, 0).ethernet_turned();
            s.arrives(&ping)
                .is_redirected_as(&pong)
                .counts(&[Reason::Ping]);
        }
        assert_eq!(s.flow_count(), 0);
    }),
    ("a long ping is answered in full", |s| {
        s.configure(|config| config.flags |= config_flags::PING);
        let address = s.cast.vip(number::LOCAL);
        let payload: Vec<u8> = (0..=255).cycle().take(1371).collect();
        let ping = Packet::ping(s.cast.client, address).payload(&payload);
        let kind = if address.is_ipv4() { 0 } else { 129 };
        let pong = Packet::icmp(address, s.cast.client, kind, 0)
            .payload(&payload)
            .ethernet_turned();
        s.arrives(&ping).is_redirected_as(&pong);
    }),
    (
        "a virtual address that must not answer ping drops it",
        |s| {
            s.configure(|config| config.flags &= !config_flags::PING);
            s.arrives(&Packet::ping(s.cast.client, s.cast.vip(number::LOCAL)))
                .is_dropped(Reason::NoService);
        },
    ),
    ("a ping of the node is the host's business", |s| {
        s.configure(|config| config.flags |= config_flags::PING);
        s.arrives(&Packet::ping(s.cast.client, s.cast.node))
            .is_untouched();
    }),
    ("a ping of a pod is the pod's business", |s| {
        s.configure(|config| config.flags |= config_flags::PING);
        s.arrives(&Packet::ping(s.cast.client, s.cast.local_pod))
            .is_untouched();
    }),
    ("an echo reply to a virtual address is no request", |s| {
        s.configure(|config| config.flags |= config_flags::PING);
        let kind = if s.cast.client.is_ipv4() { 0 } else { 129 };
        let reply = Packet::icmp(s.cast.client, s.cast.vip(number::LOCAL), kind, 0);
        s.arrives(&reply).is_untouched();
    }),
    ("an ICMP error to a virtual address goes to the host", |s| {
        let (kind, code) = if s.cast.client.is_ipv4() {
            (3, 4)
        } else {
            (2, 0)
        };
        let error = Packet::icmp(s.cast.client, s.cast.vip(number::LOCAL), kind, code);
        s.arrives(&error).is_untouched();
    }),
    ("a service that goes away takes its frontend with it", |s| {
        s.service("local", |service| service.frontends.clear());
        s.arrives(&s.syn(LOW, s.web(number::LOCAL))).is_untouched();
        s.arrives(&s.datagram(LOW, s.dns(number::LOCAL)))
            .is_untouched();
    }),
    ("a service that comes back serves", |s| {
        s.service("local", |service| service.frontends.clear());
        s.service("local", |_| ());
        let question = s.datagram(LOW, s.dns(number::LOCAL));
        s.arrives(&question)
            .passes_as(&question.clone().to(dns_of(s.cast.local_pod)));
    }),
];
