//! Flows that end, heal, move on or lose their backend.

use lb::BackendState;
use lb_abi::{Reason, flow_flags};

use super::{HIGH, LOW, dns_of, web_of};
use crate::fixture::clock::steady_second;
use crate::fixture::services::{in_state, local, number, remote};
use crate::packet::{ACK, FIN, Packet, RST, SYN};
use crate::scene::{Row, Scene, tuple};

/// A connection to a pod of this node, answered.
fn connect(s: &mut Scene<'_, '_>) -> Packet {
    let syn = s.syn(LOW, s.web(number::LOCAL));
    s.arrives(&syn);
    s.leaves(&Packet::tcp(
        web_of(s.cast.local_pod),
        syn.source,
        SYN | ACK,
    ));
    syn
}

/// A connection to the pod that no other Service has, answered.
fn connect_alone(s: &mut Scene<'_, '_>) -> Packet {
    let syn = s.syn(LOW, s.web(number::LONE));
    s.arrives(&syn);
    s.leaves(&Packet::tcp(web_of(s.cast.lone_pod), syn.source, SYN | ACK));
    syn
}

pub(crate) const CLOSING: &[Row] = &[
    ("a client's FIN closes both entries", |s| {
        let syn = connect(s);
        s.arrives(&syn.clone().flags(FIN | ACK));
        assert!(s.forward(&syn).has(flow_flags::CLOSING));
        assert!(s.flow(s.twin(&syn)).unwrap().has(flow_flags::CLOSING));
    }),
    ("a backend's FIN closes both entries", |s| {
        let syn = connect(s);
        s.leaves(&Packet::tcp(
            web_of(s.cast.local_pod),
            syn.source,
            FIN | ACK,
        ));
        assert!(s.forward(&syn).has(flow_flags::CLOSING));
        assert!(s.flow(s.twin(&syn)).unwrap().has(flow_flags::CLOSING));
    }),
    ("a remote backend's RST closes both entries", |s| {
        let syn = s.connect_remote();
        s.arrives(&s.remote_reply().flags(RST));
        assert!(s.forward(&syn).has(flow_flags::CLOSING));
        assert!(s.flow(s.twin(&syn)).unwrap().has(flow_flags::CLOSING));
    }),
    ("a closing connection still goes both ways", |s| {
        let syn = connect(s);
        s.arrives(&syn.clone().flags(FIN | ACK));
        let ack = syn.clone().flags(ACK);
        s.arrives(&ack)
            .passes_as(&ack.clone().to(web_of(s.cast.local_pod)))
            .counts(&[]);
        let reply = Packet::tcp(web_of(s.cast.local_pod), syn.source, FIN | ACK);
        s.leaves(&reply)
            .passes_as(&reply.clone().from(syn.destination));
    }),
    ("a SYN after a FIN chooses anew", |s| {
        let syn = connect(s);
        s.arrives(&syn.clone().flags(FIN | ACK));
        s.endpoints("local", &[local(s.cast.other_local_pod, 8080)]);
        s.arrives(&syn)
            .passes_as(&syn.clone().to(web_of(s.cast.other_local_pod)))
            .counts(&[Reason::NewFlow]);
        assert!(!s.forward(&syn).has(flow_flags::CLOSING));
        assert_eq!(s.flow_count(), 2, "nothing is left of the old one");
    }),
    (
        "a SYN after a FIN keeps the port that replaces the client's",
        |s| {
            let syn = s.connect_remote();
            s.arrives(&syn.clone().flags(FIN | ACK));
            s.arrives(&syn).counts(&[Reason::NewFlow]);
            assert_eq!(s.forward(&syn).source, s.node_end(HIGH));
            assert_eq!(s.flow_count(), 2);
        },
    ),
    ("a SYN that is sent again keeps its backend", |s| {
        let syn = s.syn(LOW, s.web(number::LOCAL));
        s.arrives(&syn);
        s.endpoints(
            "local",
            &[
                local(s.cast.local_pod, 8080),
                local(s.cast.other_local_pod, 8080),
            ],
        );
        for _ in 0..8 {
            s.arrives(&syn)
                .passes_as(&syn.clone().to(web_of(s.cast.local_pod)))
                .counts(&[]);
        }
    }),
    ("a SYN with ACK is no new connection", |s| {
        let syn = connect(s);
        s.arrives(&syn.clone().flags(FIN | ACK));
        s.arrives(&syn.flags(SYN | ACK)).counts(&[]);
    }),
    ("an unanswered connection is soon forgotten", |s| {
        let syn = s.syn(LOW, s.web(number::LOCAL));
        s.arrives(&syn);
        let timeout = s.stage.model.tables.config.syn_timeout;
        s.seconds_pass(timeout + 1);
        s.arrives(&syn.clone().flags(ACK))
            .counts(&[Reason::NewFlow]);
        assert_eq!(s.forward(&syn).packets, 1);
    }),
    ("an answered connection is not", |s| {
        let syn = connect(s);
        let timeout = s.stage.model.tables.config.syn_timeout;
        s.seconds_pass(timeout + 1);
        s.arrives(&syn.flags(ACK)).counts(&[]);
    }),
    (
        "an answered connection is not, seen from the backend either",
        |s| {
            let syn = connect(s);
            let timeout = s.stage.model.tables.config.syn_timeout;
            s.seconds_pass(timeout + 1);
            let reply = Packet::tcp(web_of(s.cast.local_pod), syn.source, ACK);
            s.leaves(&reply)
                .passes_as(&reply.clone().from(syn.destination));
        },
    ),
    ("a SYN that is only repeated is no answer", |s| {
        let syn = s.syn(LOW, s.web(number::LOCAL));
        s.arrives(&syn);
        s.arrives(&syn);
        assert!(!s.flow(s.twin(&syn)).unwrap().has(flow_flags::ANSWERED));
    }),
    (
        "a backend that opens a connection from the flow's port has that one alone",
        |s| {
            let syn = connect(s);
            let own = Packet::tcp(web_of(s.cast.local_pod), syn.source, SYN);
            s.leaves(&own)
                .passes_as(&own)
                .counts(&[Reason::DirectTakeover]);
            s.leaves(&own.clone().flags(ACK)).is_untouched();
            assert_eq!(s.flow_count(), 0);
        },
    ),
    ("a SYN from afar ends no flow of a replaced client", |s| {
        let syn = s.connect_remote();
        s.arrives(&s.remote_reply().flags(SYN)).is_untouched();
        s.arrives(&s.remote_reply())
            .is_redirected_as(&syn.turned().flags(SYN | ACK).hop_limit(63));
    }),
    (
        "a flow that is opened again is closed by the FINs of its own",
        |s| {
            let syn = connect(s);
            let reply = Packet::tcp(web_of(s.cast.local_pod), syn.source, SYN | ACK);
            s.arrives(&syn.clone().flags(FIN | ACK));
            s.leaves(&reply.clone().flags(FIN | ACK));
            assert!(s.forward(&syn).has(flow_flags::CLOSED));
            for first in [&syn, &reply] {
                s.arrives(&syn).counts(&[Reason::NewFlow]);
                s.leaves(&reply);
                let send = |s: &mut Scene<'_, '_>, packet: &Packet| {
                    let packet = packet.clone().flags(FIN | ACK);
                    if packet.source == syn.source {
                        s.arrives(&packet);
                    } else {
                        s.leaves(&packet);
                    }
                };
                send(s, first);
                assert!(s.forward(&syn).has(flow_flags::CLOSING));
                assert!(!s.forward(&syn).has(flow_flags::CLOSED), "one side only");
                let second = if first.source == syn.source {
                    &reply
                } else {
                    &syn
                };
                send(s, second);
                assert!(s.forward(&syn).has(flow_flags::CLOSED));
            }
        },
    ),
    (
        "a FIN or RST that opens a flow anew is its end already",
        |s| {
            for (number, to) in [
                (number::LOCAL, s.cast.local_pod),
                (number::REMOTE, s.cast.remote_pod),
            ] {
                let fin = s.syn(HIGH, s.web(number)).flags(FIN | ACK);
                s.arrives(&fin);
                assert!(s.forward(&fin).has(flow_flags::CLOSING));
                assert!(!s.forward(&fin).has(flow_flags::CLOSED));
                if to == s.cast.local_pod {
                    s.leaves(&Packet::tcp(web_of(to), fin.source, FIN | ACK));
                } else {
                    s.arrives(&s.remote_reply().flags(FIN | ACK));
                }
                assert!(s.forward(&fin).has(flow_flags::CLOSED));
                let rst = s.syn(LOW, s.web(number)).flags(RST);
                s.arrives(&rst);
                assert!(s.forward(&rst).has(flow_flags::CLOSED));
            }
        },
    ),
    ("a FIN that finds one half of its flow ends it", |s| {
        let syn = s.connect_remote();
        s.arrives(&s.remote_reply().flags(FIN | ACK));
        s.evict(tuple(&syn).forward());
        s.arrives(&syn.clone().flags(FIN | ACK))
            .counts(&[Reason::Healed]);
        assert!(s.forward(&syn).has(flow_flags::CLOSED));
        assert!(s.flow(s.twin(&syn)).unwrap().has(flow_flags::CLOSED));
    }),
    (
        "an entry that a processor whose clock is ahead has seen is not old",
        |s| {
            let syn = connect(s);
            s.seconds_pass(5_u32.wrapping_neg());
            s.arrives(&syn.flags(ACK)).counts(&[]);
        },
    ),
    ("even that one ends", |s| {
        let syn = connect(s);
        let timeout = s.stage.model.tables.config.tcp_timeout;
        s.seconds_pass(timeout + 1);
        s.arrives(&syn.flags(ACK)).counts(&[Reason::NewFlow]);
    }),
    (
        "a closed connection's reply is nobody's after a while",
        |s| {
            let syn = connect(s);
            s.arrives(&syn.clone().flags(RST));
            let timeout = s.stage.model.tables.config.closing_timeout;
            s.seconds_pass(timeout + 1);
            s.leaves(&Packet::tcp(web_of(s.cast.local_pod), syn.source, ACK))
                .is_untouched();
        },
    ),
];

pub(crate) const BACKENDS: &[Row] = &[
    (
        "a connection outlives its terminating backend's readiness",
        |s| {
            let syn = connect_alone(s);
            s.endpoints(
                "lone",
                &[
                    in_state(BackendState::Terminating, local(s.cast.lone_pod, 8080)),
                    local(s.cast.other_local_pod, 8080),
                ],
            );
            s.raise_epoch();
            let data = syn.clone().flags(ACK);
            s.arrives(&data)
                .passes_as(&data.clone().to(web_of(s.cast.lone_pod)));
            let reply = Packet::tcp(web_of(s.cast.lone_pod), syn.source, ACK);
            s.leaves(&reply)
                .passes_as(&reply.clone().from(syn.destination));
        },
    ),
    (
        "a connection outlives its draining backend's readiness",
        |s| {
            let syn = connect_alone(s);
            s.endpoints(
                "lone",
                &[
                    in_state(BackendState::Draining, local(s.cast.lone_pod, 8080)),
                    local(s.cast.other_local_pod, 8080),
                ],
            );
            s.raise_epoch();
            let data = syn.flags(ACK);
            s.arrives(&data)
                .passes_as(&data.clone().to(web_of(s.cast.lone_pod)));
        },
    ),
    (
        "a SYN on a terminating backend's flow goes to another",
        |s| {
            let syn = connect_alone(s);
            s.endpoints(
                "lone",
                &[
                    in_state(BackendState::Terminating, local(s.cast.lone_pod, 8080)),
                    local(s.cast.other_local_pod, 8080),
                ],
            );
            s.arrives(&syn)
                .passes_as(&syn.clone().to(web_of(s.cast.other_local_pod)))
                .counts(&[Reason::NewFlow]);
        },
    ),
    ("datagrams stay with a terminating backend", |s| {
        let question = s.datagram(LOW, s.dns(number::LONE));
        s.arrives(&question);
        s.endpoints(
            "lone",
            &[
                in_state(BackendState::Terminating, local(s.cast.lone_pod, 8080)),
                local(s.cast.other_local_pod, 8080),
            ],
        );
        s.raise_epoch();
        s.arrives(&question)
            .passes_as(&question.clone().to(dns_of(s.cast.lone_pod)));
    }),
    (
        "a connection whose backend is gone is left to its end",
        |s| {
            let syn = connect_alone(s);
            s.endpoints("lone", &[local(s.cast.other_local_pod, 8080)]);
            s.raise_epoch();
            let data = syn.clone().flags(ACK);
            s.arrives(&data)
                .passes_as(&data.clone().to(web_of(s.cast.lone_pod)))
                .counts(&[]);
        },
    ),
    (
        "a SYN on a flow whose backend is gone goes to another",
        |s| {
            let syn = connect_alone(s);
            s.endpoints("lone", &[local(s.cast.other_local_pod, 8080)]);
            s.arrives(&syn)
                .passes_as(&syn.clone().to(web_of(s.cast.other_local_pod)))
                .counts(&[Reason::NewFlow]);
            assert_eq!(s.flow_count(), 2);
        },
    ),
    ("datagrams leave a backend that is gone at once", |s| {
        let question = s.datagram(LOW, s.dns(number::LONE));
        s.arrives(&question);
        s.endpoints("lone", &[local(s.cast.other_local_pod, 8080)]);
        s.raise_epoch();
        s.arrives(&question)
            .passes_as(&question.clone().to(dns_of(s.cast.other_local_pod)))
            .counts(&[Reason::NewFlow]);
        assert_eq!(s.flow_count(), 2);
    }),
    (
        "datagrams leave a backend that takes none any more at once",
        |s| {
            let question = s.datagram(LOW, s.dns(number::LONE));
            s.arrives(&question);
            s.endpoints(
                "lone",
                &[
                    in_state(BackendState::Draining, local(s.cast.lone_pod, 8080)),
                    local(s.cast.other_local_pod, 8080),
                ],
            );
            s.raise_epoch();
            s.arrives(&question)
                .passes_as(&question.clone().to(dns_of(s.cast.other_local_pod)))
                .counts(&[Reason::NewFlow]);
        },
    ),
    (
        "datagrams leave a remote backend that is gone at once",
        |s| {
            let question = s.datagram(HIGH, s.dns(number::LONE_REMOTE));
            s.arrives(&question);
            s.endpoints("lone-remote", &[remote(s.cast.other_remote_pod, 8080)]);
            s.raise_epoch();
            let expected = question
                .clone()
                .from(s.node_end(HIGH))
                .to(dns_of(s.cast.other_remote_pod))
                .hop_limit(63);
            s.arrives(&question).is_redirected_as(&expected);
            assert_eq!(s.flow_count(), 2);
        },
    ),
    ("datagrams whose last backend is gone are dropped", |s| {
        let question = s.datagram(LOW, s.dns(number::LONE));
        s.arrives(&question);
        s.endpoints("lone", &[]);
        s.raise_epoch();
        s.arrives(&question).is_dropped(Reason::NoBackend);
    }),
    ("a SYN when the last backend is gone is dropped", |s| {
        let syn = connect_alone(s);
        s.endpoints("lone", &[]);
        s.arrives(&syn).is_dropped(Reason::NoBackend);
    }),
    ("an id that is used again is another backend", |s| {
        let question = s.datagram(LOW, s.dns(number::LONE));
        s.arrives(&question);
        s.endpoints("lone", &[]);
        s.endpoints("lone", &[local(s.cast.other_local_pod, 8080)]);
        s.raise_epoch();
        s.arrives(&question)
            .passes_as(&question.clone().to(dns_of(s.cast.other_local_pod)));
    }),
    (
        "a reply of a backend that is gone is still the frontend's",
        |s| {
            let syn = connect_alone(s);
            s.endpoints(
                "lone",
                &[
                    in_state(BackendState::Draining, local(s.cast.lone_pod, 8080)),
                    local(s.cast.other_local_pod, 8080),
                ],
            );
            s.raise_epoch();
            let reply = Packet::tcp(web_of(s.cast.lone_pod), syn.source, FIN | ACK);
            s.leaves(&reply)
                .passes_as(&reply.clone().from(syn.destination));
        },
    ),
];

pub(crate) const HEALING: &[Row] = &[
    (
        "a lost Reply entry is made anew by the next second's packet",
        |s| {
            let syn = connect(s);
            s.evict(s.twin(&syn));
            s.seconds_pass(1);
            s.arrives(&syn.clone().flags(ACK)).counts(&[Reason::Healed]);
            let reply = Packet::tcp(web_of(s.cast.local_pod), syn.source, ACK);
            s.leaves(&reply)
                .passes_as(&reply.clone().from(syn.destination));
        },
    ),
    (
        "a lost Reply entry of a replaced client is made anew",
        |s| {
            let syn = s.connect_remote();
            s.evict(s.twin(&syn));
            s.seconds_pass(1);
            s.arrives(&syn.clone().flags(ACK)).counts(&[Reason::Healed]);
            s.arrives(&s.remote_reply())
                .is_redirected_as(&syn.turned().flags(SYN | ACK).hop_limit(63));
        },
    ),
    (
        "a lost Forward entry is made anew by the next second's reply",
        |s| {
            let syn = connect(s);
            s.evict(tuple(&syn).forward());
            s.seconds_pass(1);
            s.leaves(&Packet::tcp(web_of(s.cast.local_pod), syn.source, ACK))
                .counts(&[Reason::Healed]);
            let data = syn.flags(ACK);
            s.arrives(&data)
                .passes_as(&data.clone().to(web_of(s.cast.local_pod)))
                .counts(&[]);
        },
    ),
    (
        "a lost Forward entry of a replaced client is made anew, with its path",
        |s| {
            let syn = s.connect_remote();
            s.evict(tuple(&syn).forward());
            s.seconds_pass(1);
            s.arrives(&s.remote_reply()).counts(&[Reason::Healed]);
            let data = syn.flags(ACK);
            let expected = data
                .clone()
                .from(s.node_end(HIGH))
                .to(web_of(s.cast.remote_pod))
                .hop_limit(63);
            s.arrives(&data).is_redirected_as(&expected).counts(&[]);
        },
    ),
    (
        "a lost Forward entry of a replaced client is made anew by the client's packet",
        |s| {
            for port in [HIGH, LOW] {
                let syn = s.syn(port, s.web(number::REMOTE));
                s.arrives(&syn);
                let source = s.forward(&syn).source;
                let pod = web_of(s.cast.remote_pod);
                s.arrives(&Packet::tcp(pod, source, SYN | ACK));
                s.evict(tuple(&syn).forward());
                s.seconds_pass(5);
                let data = syn.clone().flags(ACK);
                let expected = data.clone().from(source).to(pod).hop_limit(63);
                s.arrives(&data)
                    .is_redirected_as(&expected)
                    .counts(&[Reason::Healed]);
                assert!(s.forward(&syn).has(flow_flags::ANSWERED));
                s.arrives(&Packet::tcp(pod, source, ACK))
                    .is_redirected_as(&data.turned().hop_limit(63));
            }
            assert_eq!(s.flow_count(), 4);
        },
    ),
    (
        "a lost Forward entry of a replaced client's datagrams is made anew by the client's",
        |s| {
            for port in [HIGH, LOW] {
                let question = s.datagram(port, s.dns(number::REMOTE));
                s.arrives(&question);
                let source = s.forward(&question).source;
                s.evict(tuple(&question).forward());
                s.arrives(&question).counts(&[Reason::Healed]);
                assert_eq!(s.forward(&question).source, source);
            }
            assert_eq!(s.flow_count(), 4);
        },
    ),
    (
        "a SYN without a Forward entry is a connection of its own, with a port of its own",
        |s| {
            let syn = s.connect_remote();
            s.evict(tuple(&syn).forward());
            s.arrives(&syn).counts(&[Reason::NewFlow]);
            assert_ne!(s.forward(&syn).source, s.node_end(HIGH));
        },
    ),
    (
        "a lost Forward entry is not made anew from that of another client",
        |s| {
            let syn = s.connect_remote();
            s.evict(tuple(&syn).forward());
            let other = syn.clone().from((s.cast.other_client, HIGH)).flags(ACK);
            s.arrives(&other).counts(&[Reason::NewFlow]);
            assert_ne!(s.forward(&other).source, s.node_end(HIGH));
        },
    ),
    ("nothing is looked for twice in a second", |s| {
        let syn = connect(s);
        s.evict(s.twin(&syn));
        let now = steady_second();
        s.edit(tuple(&syn).forward(), |flow| flow.last_seen = now);
        s.arrives(&syn.flags(ACK)).counts(&[]);
        assert_eq!(s.flow_count(), 1);
    }),
    ("the epoch is stored with the check", |s| {
        let syn = connect(s);
        s.raise_epoch();
        let epoch = s.stage.model.tables.config.epoch;
        assert_ne!(s.forward(&syn).epoch, epoch);
        s.arrives(&syn.clone().flags(ACK));
        assert_eq!(s.forward(&syn).epoch, epoch);
    }),
];
