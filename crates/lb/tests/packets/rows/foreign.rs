//! What is not ours passes as it came, octet for octet.

use lb_abi::Reason;

use super::{HIGH, LOW, web_of};
use crate::fixture::services::number;
use crate::packet::{ACK, Packet, RST, SYN};
use crate::scene::Row;

pub(crate) const ROWS: &[Row] = &[
    ("a connection to the node", |s| {
        s.arrives(&s.syn(LOW, s.node_end(6443))).is_untouched();
        s.arrives(&s.syn(LOW, s.node_end(6443)).flags(ACK))
            .is_untouched();
    }),
    ("a connection to a local pod", |s| {
        s.arrives(&s.syn(LOW, (s.cast.local_pod, 8080)))
            .is_untouched();
        s.arrives(&s.syn(LOW, (s.cast.local_pod, 8080)).flags(ACK))
            .is_untouched();
    }),
    ("a connection that the node only forwards", |s| {
        s.arrives(&s.syn(LOW, (s.cast.remote_pod, 8080)))
            .is_untouched();
        s.arrives(&s.syn(LOW, (s.cast.far_client, 443)))
            .is_untouched();
    }),
    ("a packet on its last hop that is not ours", |s| {
        s.arrives(&s.syn(LOW, (s.cast.remote_pod, 8080)).hop_limit(1))
            .is_untouched();
    }),
    ("datagrams to node, pod and others", |s| {
        for address in [
            s.cast.node,
            s.cast.local_pod,
            s.cast.remote_pod,
            s.cast.router,
        ] {
            s.arrives(&s.datagram(LOW, (address, 53))).is_untouched();
        }
    }),
    ("an answer to a connection of the node's own", |s| {
        let answer = Packet::tcp((s.cast.client, 443), s.node_end(HIGH), SYN | ACK);
        s.arrives(&answer).is_untouched();
    }),
    ("a reset to a port of the range", |s| {
        let reset = Packet::tcp(web_of(s.cast.remote_pod), s.node_end(HIGH), RST);
        s.arrives(&reset).is_untouched();
    }),
    ("protocols without ports", |s| {
        for protocol in [2, 4, 41, 47, 50, 89, 132, 253] {
            s.arrives(&Packet::other(s.cast.client, s.cast.node, protocol))
                .is_untouched();
            s.arrives(&Packet::other(s.cast.client, s.cast.local_pod, protocol))
                .is_untouched();
        }
    }),
    ("protocols without ports, to a virtual address", |s| {
        for protocol in [47, 50, 132] {
            let packet = Packet::other(s.cast.client, s.cast.vip(number::LOCAL), protocol);
            s.arrives(&packet).is_untouched();
        }
    }),
    ("frames for another host", |s| {
        let syn = s.syn(LOW, s.web(number::LOCAL));
        let mut frame = syn.bytes();
        frame[5] = 9;
        s.arrives_raw(frame).is_untouched();
        let mut frame = Packet::ping(s.cast.client, s.cast.vip(number::LOCAL)).bytes();
        frame[5] = 9;
        s.arrives_raw(frame).is_untouched();
        s.arrives(&syn).counts(&[Reason::NewFlow]);
        let mut answer = s.remote_reply().bytes();
        answer[5] = 9;
        s.connect_remote();
        s.arrives_raw(answer).is_untouched();
    }),
    ("tagged frames", |s| {
        s.arrives(&s.syn(LOW, s.web(number::LOCAL)).vlan(100))
            .is_untouched();
        s.leaves(&s.syn(LOW, s.web(number::LOCAL)).vlan(100))
            .is_untouched();
    }),
    ("ICMP of all kinds to the node", |s| {
        for kind in 0..=255 {
            s.arrives(&Packet::icmp(s.cast.client, s.cast.node, kind, 0))
                .is_untouched();
        }
        assert_eq!(s.flow_count(), 0);
    }),
    ("ICMP of all kinds out of the node", |s| {
        for kind in 0..=255 {
            s.leaves(&Packet::icmp(s.cast.node, s.cast.client, kind, 0))
                .is_untouched();
        }
    }),
    ("frames of other types", |s| {
        for kind in [
            [8, 6],
            [0x88, 0xcc],
            [0x88, 0x8e],
            [0x88, 0xa8],
            [0, 4],
            [0x81, 0],
        ] {
            let mut frame = s.syn(LOW, s.web(number::LOCAL)).bytes();
            frame[12..14].copy_from_slice(&kind);
            s.arrives_raw(frame.clone()).is_untouched();
            s.leaves_raw(frame).is_untouched();
        }
    }),
    ("frames of other types from a pod", |s| {
        let mut frame = s.syn(LOW, s.web(number::LOCAL)).bytes();
        frame[12..14].copy_from_slice(&[8, 6]);
        s.pod_sends_raw(frame).is_untouched();
    }),
    ("what the node sends", |s| {
        s.leaves(&Packet::tcp(s.node_end(HIGH), (s.cast.client, 443), SYN))
            .is_untouched();
        s.leaves(&Packet::udp(s.node_end(HIGH), (s.cast.router, 53)))
            .is_untouched();
    }),
    ("what a pod sends", |s| {
        let syn = Packet::tcp((s.cast.local_pod, HIGH), (s.cast.client, 443), SYN);
        s.pod_sends(&syn).is_untouched();
        s.pod_sends(&syn.clone().to(web_of(s.cast.remote_pod)))
            .is_untouched();
        s.pod_sends(&syn.to(s.node_end(10_250))).is_untouched();
    }),
    ("what a pod receives", |s| {
        let syn = Packet::tcp((s.cast.client, HIGH), web_of(s.cast.local_pod), SYN);
        s.pod_gets(&syn).is_untouched();
        let answer = Packet::tcp((s.cast.client, 443), (s.cast.local_pod, HIGH), SYN | ACK);
        s.pod_gets(&answer).is_untouched();
    }),
    ("a frame that ends within its IP header", |s| {
        let whole = s.syn(LOW, s.node_end(22)).bytes();
        let header = if s.cast.client.is_ipv4() { 20 } else { 40 };
        for length in 14 + header..whole.len() {
            s.arrives_raw(whole[..length].to_vec()).is_untouched();
        }
    }),
    (
        "a frame to a virtual address that ends within its TCP header",
        |s| {
            let whole = s.syn(LOW, s.web(number::LOCAL)).payload(b"").bytes();
            for short in 1..=20 {
                s.arrives_raw(whole[..whole.len() - short].to_vec())
                    .is_dropped(Reason::Malformed);
            }
        },
    ),
    (
        "a frame to a virtual address that ends within its UDP header",
        |s| {
            let whole = s.datagram(LOW, s.dns(number::LOCAL)).payload(b"").bytes();
            for short in 1..=8 {
                s.arrives_raw(whole[..whole.len() - short].to_vec())
                    .is_dropped(Reason::Malformed);
            }
        },
    ),
    (
        "a ping of a virtual address that ends within its header",
        |s| {
            let whole = Packet::ping(s.cast.client, s.cast.vip(number::LOCAL))
                .payload(b"")
                .bytes();
            for short in 1..=8 {
                s.arrives_raw(whole[..whole.len() - short].to_vec())
                    .is_dropped(Reason::Malformed);
            }
        },
    ),
    ("another version in the header", |s| {
        for version in [0, 3, 5, 7, 15] {
            let mut frame = s.syn(LOW, s.node_end(22)).bytes();
            frame[14] = version << 4 | frame[14] & 15;
            s.arrives_raw(frame).is_untouched();
            let mut frame = s.syn(LOW, s.web(number::LOCAL)).bytes();
            frame[14] = version << 4 | frame[14] & 15;
            s.arrives_raw(frame).is_dropped(Reason::Malformed);
        }
    }),
    ("trailing octets after the packet stay", |s| {
        let syn = s.syn(LOW, s.web(number::LOCAL)).payload(b"");
        let padded = |packet: &Packet| [packet.bytes(), vec![0xee; 6]].concat();
        let expected = padded(&syn.clone().to(web_of(s.cast.local_pod)));
        s.arrives_raw(padded(&syn)).passes_as_bytes(&expected);
    }),
];

pub(crate) const ROWS_IPV4: &[Row] = &[
    ("an ARP question", |s| {
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend([
            2, 0, 0, 0, 0, 1, 10, 10, 1, 7, 0, 0, 0, 0, 0, 0, 172, 16, 1, 1,
        ]);
        s.arrives_raw(frame.clone()).is_untouched();
        s.leaves_raw(frame).is_untouched();
    }),
    ("a header shorter than a header can be", |s| {
        for words in 0..5 {
            let mut frame = s.syn(LOW, s.node_end(22)).bytes();
            frame[14] = 0x40 | words;
            s.arrives_raw(frame).is_untouched();
            let mut frame = s.syn(LOW, s.web(number::LOCAL)).bytes();
            frame[14] = 0x40 | words;
            s.arrives_raw(frame).is_dropped(Reason::Malformed);
        }
    }),
    ("a header longer than the frame", |s| {
        let mut frame = s.syn(LOW, s.web(number::LOCAL)).payload(b"").bytes();
        frame[14] = 0x4f;
        s.arrives_raw(frame).is_dropped(Reason::Malformed);
    }),
];

pub(crate) const ROWS_IPV6: &[Row] = &[
    (
        "neighbour and router discovery, even for a virtual address",
        |s| {
            for kind in 133..=137 {
                for address in [s.cast.node, s.cast.vip(number::LOCAL)] {
                    let packet = Packet::icmp(s.cast.router, address, kind, 0).hop_limit(255);
                    s.arrives(&packet).is_untouched();
                    s.leaves(&packet).is_untouched();
                }
            }
        },
    ),
    ("multicast", |s| {
        let group = "ff02::1:ff00:1".parse().unwrap();
        s.arrives(&Packet::icmp(s.cast.router, group, 135, 0))
            .is_untouched();
        s.arrives(&s.datagram(LOW, ("ff02::fb".parse().unwrap(), 5353)))
            .is_untouched();
    }),
];
