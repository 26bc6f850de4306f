//! TCP from the network: to pods here, to pods elsewhere, and back.

use lb_abi::{Reason, flow_flags};

use super::{HIGH, LOW, web_of};
use crate::fixture::services::{HOST_PORT, NODE_EXTERNAL_PORT, NODE_PORT, number};
use crate::packet::{ACK, PSH, Packet, SYN};
use crate::scene::{Row, tuple};

pub(crate) const ROWS: &[Row] = &[
    (
        "a SYN to a local backend gets its address and keeps the client's",
        |s| {
            let syn = s.syn(LOW, s.web(number::LOCAL));
            s.arrives(&syn)
                .passes_as(&syn.clone().to(web_of(s.cast.local_pod)))
                .counts(&[Reason::NewFlow]);
            let flow = s.forward(&syn);
            assert_eq!(flow.source, syn.source);
            assert_eq!(flow.destination, web_of(s.cast.local_pod));
            assert_eq!((flow.flags, flow.ifindex), (flow_flags::LOCAL, 0));
            assert_eq!((flow.packets, s.flow_count()), (1, 2));
        },
    ),
    (
        "what follows a SYN to a local backend goes the same way and makes nothing new",
        |s| {
            let syn = s.syn(LOW, s.web(number::LOCAL));
            s.arrives(&syn);
            let data = syn.flags(ACK | PSH).payload(b"GET / HTTP/1.1\r\n\r\n!");
            s.arrives(&data)
                .passes_as(&data.clone().to(web_of(s.cast.local_pod)))
                .counts(&[]);
            assert_eq!((s.forward(&data).packets, s.flow_count()), (2, 2));
        },
    ),
    ("a local backend's reply gets the frontend's address", |s| {
        let syn = s.syn(LOW, s.web(number::LOCAL));
        s.arrives(&syn);
        let reply = Packet::tcp(web_of(s.cast.local_pod), syn.source, SYN | ACK);
        s.leaves(&reply)
            .passes_as(&reply.clone().from(syn.destination));
        assert!(s.forward(&syn).has(flow_flags::ANSWERED));
    }),
    (
        "a local backend's reply is known at the other uplink too",
        |s| {
            let syn = Packet::tcp((s.cast.far_client, LOW), s.web(number::LOCAL), SYN);
            s.arrives_elsewhere(&syn)
                .passes_as(&syn.clone().to(web_of(s.cast.local_pod)));
            let reply = Packet::tcp(web_of(s.cast.local_pod), syn.source, SYN | ACK);
            s.leaves(&reply)
                .passes_as(&reply.clone().from(syn.destination));
        },
    ),
    ("a local backend's own connection keeps its address", |s| {
        let out = Packet::tcp((s.cast.local_pod, 8080), (s.cast.client, 80), SYN);
        s.leaves(&out).is_untouched();
        assert_eq!(s.flow_count(), 0);
    }),
    (
        "what a local backend says to another client keeps its address",
        |s| {
            s.arrives(&s.syn(LOW, s.web(number::LOCAL)));
            let other = Packet::tcp(web_of(s.cast.local_pod), (s.cast.other_client, LOW), ACK);
            s.leaves(&other).is_untouched();
        },
    ),
    (
        "what a local backend says from another port keeps its address",
        |s| {
            s.arrives(&s.syn(LOW, s.web(number::LOCAL)));
            let other = Packet::tcp((s.cast.local_pod, 8081), (s.cast.client, LOW), ACK);
            s.leaves(&other).is_untouched();
        },
    ),
    (
        "the other protocol of a flow's ports is another flow",
        |s| {
            s.arrives(&s.syn(LOW, s.web(number::LOCAL)));
            let other = Packet::udp(web_of(s.cast.local_pod), (s.cast.client, LOW));
            s.leaves(&other).is_untouched();
        },
    ),
    (
        "a SYN to a remote backend comes from this node and is a hop older",
        |s| {
            let syn = s.syn(HIGH, s.web(number::REMOTE));
            let expected = syn
                .clone()
                .from(s.node_end(HIGH))
                .to(web_of(s.cast.remote_pod))
                .hop_limit(63);
            s.arrives(&syn)
                .is_redirected_as(&expected)
                .counts(&[Reason::NewFlow]);
            let flow = s.forward(&syn);
            assert_eq!(flow.flags, flow_flags::SNAT);
            assert_eq!(flow.ifindex, s.stage.interfaces.uplink);
            assert_eq!(flow.next_hop, Some(s.cast.remote_node));
        },
    ),
    (
        "what follows a SYN to a remote backend goes the same way and makes nothing new",
        |s| {
            let syn = s.syn(HIGH, s.web(number::REMOTE));
            s.arrives(&syn);
            let data = syn.flags(ACK | PSH).hop_limit(17);
            let expected = data
                .clone()
                .from(s.node_end(HIGH))
                .to(web_of(s.cast.remote_pod))
                .hop_limit(16);
            s.arrives(&data).is_redirected_as(&expected).counts(&[]);
            assert_eq!(s.flow_count(), 2);
        },
    ),
    (
        "a remote backend's reply goes to the client as the frontend's",
        |s| {
            let syn = s.syn(HIGH, s.web(number::REMOTE));
            s.arrives(&syn);
            let reply = Packet::tcp(web_of(s.cast.remote_pod), s.node_end(HIGH), SYN | ACK);
            let expected = syn.turned().flags(SYN | ACK).hop_limit(63);
            s.arrives(&reply).is_redirected_as(&expected);
            let key = tuple(&reply).turned().reply();
            let flow = s.flow(key).unwrap();
            assert_eq!(flow.ifindex, s.stage.interfaces.uplink);
            assert_eq!(flow.next_hop, Some(s.cast.router));
            assert!(s.forward(&syn).has(flow_flags::ANSWERED));
        },
    ),
    (
        "a reply leaves by the uplink that leads to its client",
        |s| {
            let syn = Packet::tcp((s.cast.far_client, HIGH), s.web(number::REMOTE), SYN);
            s.arrives_elsewhere(&syn);
            let reply = Packet::tcp(web_of(s.cast.remote_pod), s.node_end(HIGH), SYN | ACK);
            s.arrives(&reply)
                .is_redirected_as(&syn.turned().flags(SYN | ACK).hop_limit(63));
            let flow = s.flow(tuple(&reply).turned().reply()).unwrap();
            assert_eq!(flow.ifindex, s.stage.interfaces.other_uplink);
            assert_eq!(flow.next_hop, Some(s.cast.other_router));
        },
    ),
    ("another port of the node is no reply", |s| {
        s.arrives(&s.syn(HIGH, s.web(number::REMOTE)));
        let reply = Packet::tcp(web_of(s.cast.remote_pod), s.node_end(HIGH + 1), SYN | ACK);
        s.arrives(&reply).is_untouched();
    }),
    ("a reply from another port is no reply", |s| {
        s.arrives(&s.syn(HIGH, s.web(number::REMOTE)));
        let reply = Packet::tcp((s.cast.remote_pod, 8081), s.node_end(HIGH), SYN | ACK);
        s.arrives(&reply).is_untouched();
    }),
    ("a reply whose client has no route is dropped", |s| {
        let syn = Packet::tcp((s.cast.lost_client, HIGH), s.web(number::REMOTE), SYN);
        s.arrives(&syn);
        let reply = Packet::tcp(web_of(s.cast.remote_pod), s.node_end(HIGH), SYN | ACK);
        s.arrives(&reply).is_dropped(Reason::NoRoute);
    }),
    ("a remote backend without a route is no backend", |s| {
        s.arrives(&s.syn(HIGH, s.web(number::LOST)))
            .is_dropped(Reason::NoRoute);
        assert_eq!(s.flow_count(), 0);
    }),
    (
        "a packet on its last hop is not sent on to a remote backend",
        |s| {
            let syn = s.syn(HIGH, s.web(number::REMOTE)).hop_limit(1);
            s.arrives(&syn)
                .is_dropped_for(&[Reason::NewFlow, Reason::HopLimit]);
        },
    ),
    (
        "an established packet on its last hop is not sent on to a remote backend",
        |s| {
            let syn = s.syn(HIGH, s.web(number::REMOTE));
            s.arrives(&syn);
            s.arrives(&syn.flags(ACK).hop_limit(1))
                .is_dropped(Reason::HopLimit);
        },
    ),
    ("a hop limit of zero is not wrapped around", |s| {
        let syn = s.syn(HIGH, s.web(number::REMOTE)).hop_limit(0);
        s.arrives(&syn)
            .is_dropped_for(&[Reason::NewFlow, Reason::HopLimit]);
        s.arrives(&syn).is_dropped(Reason::HopLimit);
    }),
    ("two hops are enough", |s| {
        let syn = s.syn(HIGH, s.web(number::REMOTE)).hop_limit(2);
        let expected = syn
            .clone()
            .from(s.node_end(HIGH))
            .to(web_of(s.cast.remote_pod))
            .hop_limit(1);
        s.arrives(&syn).is_redirected_as(&expected);
    }),
    (
        "a reply on its last hop is not sent on to the client",
        |s| {
            s.arrives(&s.syn(HIGH, s.web(number::REMOTE)));
            let reply = Packet::tcp(web_of(s.cast.remote_pod), s.node_end(HIGH), SYN | ACK);
            s.arrives(&reply.hop_limit(1)).is_dropped(Reason::HopLimit);
        },
    ),
    (
        "a packet on its last hop reaches a local backend, for the host counts that hop",
        |s| {
            let syn = s.syn(LOW, s.web(number::LOCAL)).hop_limit(1);
            s.arrives(&syn)
                .passes_as(&syn.clone().to(web_of(s.cast.local_pod)));
        },
    ),
    ("a NodePort leads to a remote backend", |s| {
        let syn = s.syn(HIGH, s.node_end(NODE_PORT));
        let expected = syn
            .clone()
            .from(s.node_end(HIGH))
            .to(web_of(s.cast.remote_pod))
            .hop_limit(63);
        s.arrives(&syn).is_redirected_as(&expected);
        let reply = Packet::tcp(web_of(s.cast.remote_pod), s.node_end(HIGH), SYN | ACK);
        s.arrives(&reply)
            .is_redirected_as(&syn.turned().flags(SYN | ACK).hop_limit(63));
    }),
    ("a NodePort answers at every address of the node", |s| {
        let syn = s.syn(HIGH, (s.cast.other_address, NODE_PORT));
        let expected = syn
            .clone()
            .from(s.node_end(HIGH))
            .to(web_of(s.cast.remote_pod))
            .hop_limit(63);
        s.arrives_elsewhere(&syn).is_redirected_as(&expected);
    }),
    ("an external address leads to its backend", |s| {
        let syn = s.syn(HIGH, (s.cast.external(number::EXTERNAL), 80));
        let expected = syn
            .clone()
            .from(s.node_end(HIGH))
            .to(web_of(s.cast.remote_pod))
            .hop_limit(63);
        s.arrives(&syn).is_redirected_as(&expected);
    }),
    ("an external address may be the node's own", |s| {
        let syn = s.syn(LOW, s.node_end(NODE_EXTERNAL_PORT));
        s.arrives(&syn)
            .passes_as(&syn.clone().to(web_of(s.cast.local_pod)));
        let reply = Packet::tcp(web_of(s.cast.local_pod), syn.source, SYN | ACK);
        s.leaves(&reply)
            .passes_as(&reply.clone().from(syn.destination));
    }),
    ("a process of the host is a local backend", |s| {
        let syn = s.syn(LOW, s.web(number::HOST));
        s.arrives(&syn)
            .passes_as(&syn.clone().to(s.node_end(HOST_PORT)));
        let reply = Packet::tcp(s.node_end(HOST_PORT), syn.source, SYN | ACK);
        s.leaves(&reply)
            .passes_as(&reply.clone().from(syn.destination));
    }),
    (
        "what the host says from a backend's address otherwise keeps it",
        |s| {
            s.arrives(&s.syn(LOW, s.web(number::HOST)));
            let other = Packet::tcp(s.node_end(22), s.syn(LOW, s.web(number::HOST)).source, ACK);
            s.leaves(&other).is_untouched();
        },
    ),
    (
        "a packet without its connection makes a flow, so that the backend answers it",
        |s| {
            let data = s.syn(LOW, s.web(number::LOCAL)).flags(ACK | PSH);
            s.arrives(&data)
                .passes_as(&data.clone().to(web_of(s.cast.local_pod)))
                .counts(&[Reason::NewFlow]);
        },
    ),
    ("two clients of one port do not disturb each other", |s| {
        let one = s.syn(LOW, s.web(number::LOCAL));
        let two = one.clone().from((s.cast.other_client, LOW));
        s.arrives(&one);
        s.arrives(&two)
            .passes_as(&two.clone().to(web_of(s.cast.local_pod)));
        let reply = Packet::tcp(web_of(s.cast.local_pod), two.source, SYN | ACK);
        s.leaves(&reply)
            .passes_as(&reply.clone().from(two.destination));
        assert_eq!(s.flow_count(), 4);
    }),
    ("packets and octets are counted in their direction", |s| {
        let syn = s.syn(LOW, s.web(number::LOCAL));
        s.arrives(&syn);
        s.arrives(&syn.clone().flags(ACK));
        let reply = Packet::tcp(web_of(s.cast.local_pod), syn.source, SYN | ACK);
        s.leaves(&reply);
        let forward = s.forward(&syn);
        let back = s.flow(tuple(&reply).turned().reply()).unwrap();
        let size = syn.bytes().len() as u64;
        assert_eq!((forward.packets, forward.bytes), (2, 2 * size));
        assert_eq!((back.packets, back.bytes), (1, size));
    }),
];
