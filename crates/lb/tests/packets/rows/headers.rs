//! Options, extension headers and fragments.

use lb_abi::Reason;

use super::{HIGH, LOW, dns_of, web_of};
use crate::fixture::services::number;
use crate::packet::{ACK, Extension, Packet, SYN};
use crate::scene::Row;

pub(crate) const ROWS: &[Row] = &[
    (
        "a first fragment to a virtual address is dropped, for the others could not follow it",
        |s| {
            let first = s.datagram(LOW, s.dns(number::LOCAL)).fragment(0, true);
            s.arrives(&first).is_dropped(Reason::Fragment);
            assert_eq!(s.flow_count(), 0);
        },
    ),
    (
        "a packet that could have been a fragment is translated",
        |s| {
            let whole = s.datagram(LOW, s.dns(number::LOCAL)).fragment(0, false);
            s.arrives(&whole)
                .passes_as(&whole.clone().to(dns_of(s.cast.local_pod)));
        },
    ),
    ("a later fragment to a virtual address is dropped", |s| {
        for more in [false, true] {
            let later = s.datagram(LOW, s.dns(number::LOCAL)).fragment(185, more);
            s.arrives(&later).is_dropped(Reason::Fragment);
        }
        let later = s.syn(LOW, s.web(number::LOCAL)).fragment(1, false);
        s.arrives(&later).is_dropped(Reason::Fragment);
    }),
    (
        "a later fragment of a ping to a virtual address is dropped",
        |s| {
            let later = Packet::ping(s.cast.client, s.cast.vip(number::LOCAL)).fragment(185, false);
            s.arrives(&later).is_dropped(Reason::Fragment);
        },
    ),
    ("a later fragment to anybody else passes", |s| {
        for address in [s.cast.node, s.cast.local_pod, s.cast.remote_pod] {
            let later = s.datagram(LOW, (address, 0)).fragment(185, false);
            s.arrives(&later).is_untouched();
        }
    }),
    ("a later fragment from a backend passes", |s| {
        s.arrives(&s.datagram(LOW, s.dns(number::LOCAL)));
        let later =
            Packet::udp(dns_of(s.cast.local_pod), (s.cast.client, LOW)).fragment(185, false);
        s.leaves(&later).is_untouched();
    }),
];

pub(crate) const ROWS_IPV4: &[Row] = &[
    ("options are kept on the way to a local backend", |s| {
        for words in 1..=10 {
            let syn = s
                .syn(LOW, s.web(number::LOCAL))
                .options(&vec![1; words * 4]);
            s.arrives(&syn)
                .passes_as(&syn.clone().to(web_of(s.cast.local_pod)));
        }
    }),
    (
        "options are kept on the way to a remote backend and back",
        |s| {
            let options = [0x94, 4, 0, 0];
            let syn = s.syn(HIGH, s.web(number::REMOTE)).options(&options);
            let expected = syn
                .clone()
                .from(s.node_end(HIGH))
                .to(web_of(s.cast.remote_pod))
                .hop_limit(63);
            s.arrives(&syn).is_redirected_as(&expected);
            let reply = Packet::tcp(web_of(s.cast.remote_pod), s.node_end(HIGH), SYN | ACK)
                .options(&options);
            s.arrives(&reply)
                .is_redirected_as(&syn.turned().flags(SYN | ACK).hop_limit(63));
        },
    ),
    ("options of datagrams and of replies here", |s| {
        let question = s.datagram(LOW, s.dns(number::LOCAL)).options(&[1; 12]);
        s.arrives(&question)
            .passes_as(&question.clone().to(dns_of(s.cast.local_pod)));
        let answer = Packet::udp(dns_of(s.cast.local_pod), question.source).options(&[1; 40]);
        s.leaves(&answer)
            .passes_as(&answer.clone().from(question.destination));
    }),
    (
        "a ping with options to a virtual address is neither answered nor forwarded",
        |s| {
            for options in [&[1; 4][..], &[7, 39, 4, 0], &[0x94, 4, 0, 0], &[1; 40]] {
                let ping = Packet::ping(s.cast.client, s.cast.vip(number::LOCAL)).options(options);
                s.arrives(&ping).is_dropped(Reason::NoService);
                let ping = ping.from((s.cast.other_local_pod, 0));
                s.pod_sends(&ping).is_dropped(Reason::NoService);
                let ping = Packet::ping(s.cast.client, s.cast.node).options(options);
                s.arrives(&ping).is_untouched();
            }
        },
    ),
    ("a ping with options that ends within its header", |s| {
        let ping = Packet::ping(s.cast.client, s.cast.vip(number::LOCAL)).options(&[1; 8]);
        let whole = ping.payload(b"").bytes();
        for short in 1..=8 {
            s.arrives_raw(whole[..whole.len() - short].to_vec())
                .is_dropped(Reason::Malformed);
        }
    }),
    ("an echo reply with options is no request", |s| {
        let reply = Packet::icmp(s.cast.client, s.cast.vip(number::LOCAL), 0, 0).options(&[1; 4]);
        s.arrives(&reply).is_untouched();
    }),
    ("what is not ours passes with its options", |s| {
        s.arrives(&s.syn(LOW, s.node_end(22)).options(&[1; 8]))
            .is_untouched();
        s.arrives(&s.syn(LOW, (s.cast.local_pod, 22)).options(&[1; 8]))
            .is_untouched();
    }),
];

pub(crate) const ROWS_IPV6: &[Row] = &[
    ("up to four extension headers are seen through", |s| {
        use Extension::{Destination, HopByHop, Routing};
        for extensions in [
            &[HopByHop][..],
            &[Destination],
            &[Routing],
            &[HopByHop, Destination],
            &[HopByHop, Destination, Routing],
            &[HopByHop, Destination, Routing, Destination],
        ] {
            let syn = s.syn(LOW, s.web(number::LOCAL)).extensions(extensions);
            s.arrives(&syn)
                .passes_as(&syn.clone().to(web_of(s.cast.local_pod)));
        }
    }),
    ("more than four are left alone", |s| {
        let many = [Extension::Destination; 5];
        s.arrives(&s.syn(LOW, s.web(number::LOCAL)).extensions(&many))
            .is_untouched();
    }),
    (
        "extension headers on the way to a remote backend and back",
        |s| {
            let extensions = [Extension::Destination];
            let syn = s.syn(HIGH, s.web(number::REMOTE)).extensions(&extensions);
            let expected = syn
                .clone()
                .from(s.node_end(HIGH))
                .to(web_of(s.cast.remote_pod))
                .hop_limit(63);
            s.arrives(&syn).is_redirected_as(&expected);
            let reply = Packet::tcp(web_of(s.cast.remote_pod), s.node_end(HIGH), SYN | ACK)
                .extensions(&extensions);
            s.arrives(&reply)
                .is_redirected_as(&syn.turned().flags(SYN | ACK).hop_limit(63));
        },
    ),
    ("a datagram behind extension headers, and its answer", |s| {
        let extensions = [Extension::HopByHop, Extension::Destination];
        let question = s
            .datagram(LOW, s.dns(number::LOCAL))
            .extensions(&extensions);
        s.arrives(&question)
            .passes_as(&question.clone().to(dns_of(s.cast.local_pod)));
        let answer = Packet::udp(dns_of(s.cast.local_pod), question.source).extensions(&extensions);
        s.leaves(&answer)
            .passes_as(&answer.clone().from(question.destination));
    }),
    (
        "extension headers before a fragment header of a whole packet",
        |s| {
            let first = s
                .datagram(LOW, s.dns(number::LOCAL))
                .extensions(&[Extension::Destination])
                .fragment(0, false);
            s.arrives(&first)
                .passes_as(&first.clone().to(dns_of(s.cast.local_pod)));
        },
    ),
    (
        "a ping behind extension headers to a virtual address is neither answered nor forwarded",
        |s| {
            for extensions in [&[Extension::Destination][..], &[Extension::HopByHop; 4]] {
                let ping =
                    Packet::ping(s.cast.client, s.cast.vip(number::LOCAL)).extensions(extensions);
                s.arrives(&ping).is_dropped(Reason::NoService);
                let ping = Packet::ping(s.cast.client, s.cast.node).extensions(extensions);
                s.arrives(&ping).is_untouched();
            }
        },
    ),
    ("a long extension header is seen through", |s| {
        let syn = s
            .syn(LOW, s.web(number::LOCAL))
            .extensions(&[Extension::Destination]);
        let longer = |packet: &Packet| {
            let mut frame = packet.bytes();
            frame[55] = 2;
            frame.splice(62..62, [1, 14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            let length = u16::from_be_bytes([frame[18], frame[19]]) + 16;
            frame[18..20].copy_from_slice(&length.to_be_bytes());
            frame
        };
        let expected = longer(&syn.clone().to(web_of(s.cast.local_pod)));
        s.arrives_raw(longer(&syn)).passes_as_bytes(&expected);
    }),
    (
        "an extension header that leads out of the frame is malformed",
        |s| {
            let mut frame = s
                .syn(LOW, s.web(number::LOCAL))
                .flags(ACK)
                .extensions(&[Extension::Destination])
                .bytes();
            frame[55] = 255;
            s.arrives_raw(frame.clone()).is_dropped(Reason::Malformed);
            frame.truncate(58);
            s.arrives_raw(frame).is_dropped(Reason::Malformed);
        },
    ),
    ("no next header is nothing to translate", |s| {
        s.arrives(&Packet::other(s.cast.client, s.cast.vip(number::LOCAL), 59))
            .is_untouched();
    }),
];
