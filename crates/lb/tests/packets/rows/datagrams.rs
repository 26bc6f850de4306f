//! UDP from the network.

use lb_abi::{Reason, flow_flags};

use super::{HIGH, LOW, dns_of};
use crate::fixture::services::{NODE_PORT_UDP, number};
use crate::packet::Packet;
use crate::scene::{Row, tuple};

pub(crate) const ROWS: &[Row] = &[
    ("a datagram to a local backend gets its address", |s| {
        let question = s.datagram(LOW, s.dns(number::LOCAL));
        s.arrives(&question)
            .passes_as(&question.clone().to(dns_of(s.cast.local_pod)))
            .counts(&[Reason::NewFlow]);
        let answer = Packet::udp(dns_of(s.cast.local_pod), question.source);
        s.leaves(&answer)
            .passes_as(&answer.clone().from(question.destination));
    }),
    ("a datagram to a remote backend comes from this node", |s| {
        let question = s.datagram(HIGH, s.dns(number::REMOTE));
        let expected = question
            .clone()
            .from(s.node_end(HIGH))
            .to(dns_of(s.cast.remote_pod))
            .hop_limit(63);
        s.arrives(&question).is_redirected_as(&expected);
        s.arrives(&question).is_redirected_as(&expected).counts(&[]);
        let answer = Packet::udp(dns_of(s.cast.remote_pod), s.node_end(HIGH));
        s.arrives(&answer)
            .is_redirected_as(&question.turned().hop_limit(63));
    }),
    ("a NodePort takes datagrams", |s| {
        let question = s.datagram(HIGH, s.node_end(NODE_PORT_UDP));
        let expected = question
            .clone()
            .from(s.node_end(HIGH))
            .to(dns_of(s.cast.remote_pod))
            .hop_limit(63);
        s.arrives(&question).is_redirected_as(&expected);
    }),
    ("one port leads elsewhere by its protocol", |s| {
        let (address, port) = s.dns(number::TWO_PROTOCOLS);
        let tcp = s.syn(LOW, (address, port));
        s.arrives(&tcp)
            .passes_as(&tcp.clone().to((s.cast.local_pod, 1053)));
        let udp = s.datagram(HIGH, (address, port));
        let expected = udp
            .clone()
            .from(s.node_end(HIGH))
            .to((s.cast.remote_pod, 2053))
            .hop_limit(63);
        s.arrives(&udp).is_redirected_as(&expected);
    }),
    ("an empty datagram is translated", |s| {
        let question = s.datagram(LOW, s.dns(number::LOCAL)).payload(b"");
        s.arrives(&question)
            .passes_as(&question.clone().to(dns_of(s.cast.local_pod)));
    }),
    ("a datagram of odd length is translated", |s| {
        let question = s.datagram(LOW, s.dns(number::LOCAL)).payload(b"odd");
        s.arrives(&question)
            .passes_as(&question.clone().to(dns_of(s.cast.local_pod)));
    }),
    ("a checksum that comes out as zero is sent as ones", |s| {
        // The last word of the payload is what makes the translated packet's sum zero.
        let blank = s.datagram(LOW, s.dns(number::LOCAL)).payload(&[0; 2]);
        let translated = blank.clone().to(dns_of(s.cast.local_pod)).bytes();
        let checksum = &translated[translated.len() - 4..translated.len() - 2];
        let question = blank.payload(checksum);
        let expected = question.clone().to(dns_of(s.cast.local_pod));
        let bytes = expected.bytes();
        assert_eq!(bytes[bytes.len() - 4..bytes.len() - 2], [0xff, 0xff]);
        s.arrives(&question).passes_as(&expected);
    }),
    ("a wrong checksum stays wrong", |s| {
        let mut frame = s.datagram(LOW, s.dns(number::LOCAL)).bytes();
        let last = frame.len() - 1;
        frame[last] ^= 0x55;
        let sent = s.arrives_raw(frame);
        let right = s
            .datagram(LOW, s.dns(number::LOCAL))
            .to(dns_of(s.cast.local_pod));
        let mut expected = right.bytes();
        expected[last] ^= 0x55;
        sent.passes_as_bytes(&expected);
    }),
    ("a closing flag means nothing to datagrams", |s| {
        let question = s.datagram(LOW, s.dns(number::LOCAL));
        s.arrives(&question);
        assert_eq!(s.forward(&question).flags & flow_flags::CLOSING, 0);
    }),
    ("a datagram after a long silence makes a new flow", |s| {
        let question = s.datagram(LOW, s.dns(number::LOCAL));
        s.arrives(&question);
        let timeout = s.stage.model.tables.config.udp_timeout;
        s.seconds_pass(timeout + 1);
        s.arrives(&question).counts(&[Reason::NewFlow]);
        assert_eq!(s.forward(&question).packets, 1);
    }),
    ("a datagram before that does not", |s| {
        let question = s.datagram(LOW, s.dns(number::LOCAL));
        s.arrives(&question);
        let timeout = s.stage.model.tables.config.udp_timeout;
        s.seconds_pass(timeout);
        s.arrives(&question).counts(&[]);
        assert_eq!(s.forward(&question).packets, 2);
    }),
    ("an answer after a long silence is nobody's", |s| {
        let question = s.datagram(LOW, s.dns(number::LOCAL));
        s.arrives(&question);
        let timeout = s.stage.model.tables.config.udp_timeout;
        s.seconds_pass(timeout + 1);
        let answer = Packet::udp(dns_of(s.cast.local_pod), question.source);
        s.leaves(&answer).is_untouched();
    }),
    ("an answer keeps both entries young", |s| {
        let question = s.datagram(HIGH, s.dns(number::REMOTE));
        s.arrives(&question);
        s.seconds_pass(5);
        let answer = Packet::udp(dns_of(s.cast.remote_pod), s.node_end(HIGH));
        s.arrives(&answer);
        let reply = s.flow(tuple(&answer).turned().reply()).unwrap();
        assert_eq!(reply.last_seen, s.forward(&question).last_seen);
        s.seconds_pass(5);
        s.arrives(&question);
        let reply = s.flow(tuple(&answer).turned().reply()).unwrap();
        assert_eq!(reply.last_seen, s.forward(&question).last_seen);
    }),
];

/// IPv6 has no datagrams without a checksum (RFC 8200 §8.1).
pub(crate) const ROWS_IPV4: &[Row] = &[
    ("a datagram without a checksum gets none", |s| {
        let question = s.datagram(LOW, s.dns(number::LOCAL)).without_checksum();
        s.arrives(&question)
            .passes_as(&question.clone().to(dns_of(s.cast.local_pod)));
        let answer = Packet::udp(dns_of(s.cast.local_pod), question.source).without_checksum();
        s.leaves(&answer)
            .passes_as(&answer.clone().from(question.destination));
    }),
    (
        "a datagram without a checksum gets none on its way to a remote backend",
        |s| {
            let question = s.datagram(HIGH, s.dns(number::REMOTE)).without_checksum();
            let expected = question
                .clone()
                .from(s.node_end(HIGH))
                .to(dns_of(s.cast.remote_pod))
                .hop_limit(63);
            s.arrives(&question).is_redirected_as(&expected);
        },
    ),
];
