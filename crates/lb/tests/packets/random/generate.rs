//! What happens next.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_abi::config_flags::{EXTERNAL_CLUSTER_IP, PING};
use lb_abi::{FlowKind, TCP, flow_flags};

use super::Event;
use crate::fixture::cast::Cast;
use crate::fixture::services::{
    BOTH, HOST_PORT, NODE_EXTERNAL_PORT, NODE_PORT, NODE_PORT_UDP, number,
};
use crate::model::{Flow, FlowKey, Hook};
use crate::packet::{ACK, End, Extension, FIN, NODE, PSH, Packet, RST, SYN};

/// xorshift64* (Vigna 2016): the same everywhere, for ever.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn octet(&mut self) -> u8 {
        u8::try_from(self.next() >> 56).unwrap()
    }
}

/// Makes events, many of them about flows that are there.
pub(crate) struct Generator<'a> {
    random: &'a mut Random,
    casts: [Cast; 2],
}

const FLAGS: [u8; 10] = [
    SYN,
    SYN,
    SYN | ACK,
    ACK,
    ACK,
    ACK | PSH,
    FIN | ACK,
    RST,
    RST | ACK,
    0,
];
const NUMBERS: [u8; 18] = [
    number::LOCAL,
    number::REMOTE,
    number::MIXED,
    number::RING,
    number::EXTERNAL_LOCAL,
    number::EXTERNAL_LOCAL_ELSEWHERE,
    number::INTERNAL_LOCAL_ELSEWHERE,
    number::EMPTY,
    number::TERMINATING,
    number::DRAINING,
    number::HALF_TERMINATING,
    number::HOST,
    number::EXTERNAL,
    number::LOST,
    number::LOCAL_TOO,
    number::LONE,
    number::LONE_REMOTE,
    number::TWO_PROTOCOLS,
];

impl<'a> Generator<'a> {
    pub(crate) fn new(random: &'a mut Random) -> Self {
        Self {
            random,
            casts: BOTH.map(Cast::of),
        }
    }

    pub(crate) fn event(&mut self, flows: &BTreeMap<FlowKey, Flow>) -> Event {
        match self.random.below(1000) {
            0..4 => Event::Seconds(self.random.pick(&[1, 1, 2, 11, 61, 8001])),
            4..8 => match self.some_flow(flows) {
                Some((key, _)) => Event::Evict(key),
                None => Event::Seconds(1),
            },
            8..10 => {
                let flags = [PING, PING, 0, PING | EXTERNAL_CLUSTER_IP];
                Event::Settings(self.random.pick(&flags))
            }
            10..12 => Event::Backends(self.random.octet()),
            12..14 => self.route(),
            14..300 => self.of_flow(flows),
            300..340 => self.noise(),
            _ => self.of_anybody(),
        }
    }

    /// Another way to a client or a backend, over any uplink.
    fn route(&mut self) -> Event {
        let cast = self.random.pick(&self.casts);
        Event::Route {
            inside: self.random.pick(&[cast.client, cast.remote_pod]),
            gateway: self.random.pick(&[
                cast.router,
                cast.remote_node,
                cast.other_router,
                cast.foreign_router,
            ]),
        }
    }

    fn some_flow(&mut self, flows: &BTreeMap<FlowKey, Flow>) -> Option<(FlowKey, Flow)> {
        let place = self.random.below(flows.len().max(1));
        flows.iter().nth(place).map(|(key, flow)| (*key, *flow))
    }

    /// A packet of a flow that is there, of either direction.
    fn of_flow(&mut self, flows: &BTreeMap<FlowKey, Flow>) -> Event {
        let Some(((tuple, kind), flow)) = self.some_flow(flows) else {
            return self.of_anybody();
        };
        let internal = flow.has(flow_flags::INTERNAL);
        let is_of_reply = kind == FlowKind::Reply as u8;
        if is_of_reply && flow.has(flow_flags::SNAT) && self.random.one_in(8) {
            // The host has chosen the port as well.
            let packet = self.packet_between(tuple.protocol, tuple.source, tuple.destination);
            return self.finish(Hook::HostOut, packet);
        }
        let (source, destination, hook) = if kind == FlowKind::Forward as u8 {
            let hook = if internal {
                Hook::PodIn
            } else {
                Hook::UplinkIn
            };
            (tuple.source, tuple.destination, hook)
        } else {
            let hook = if flow.has(flow_flags::HAIRPIN) {
                Hook::PodIn
            } else if internal {
                Hook::PodOut
            } else if flow.has(flow_flags::SNAT) {
                Hook::UplinkIn
            } else {
                Hook::UplinkOut
            };
            (tuple.destination, tuple.source, hook)
        };
        let packet = self.packet_between(tuple.protocol, source, destination);
        self.finish(hook, packet)
    }

    fn packet_between(&mut self, protocol: u8, source: End, destination: End) -> Packet {
        if protocol == TCP {
            Packet::tcp(source, destination, self.random.pick(&FLAGS))
        } else {
            Packet::udp(source, destination)
        }
    }

    /// A packet from somebody to somebody.
    fn of_anybody(&mut self) -> Event {
        let cast = self.random.pick(&self.casts.clone());
        let inside = self.random.one_in(4);
        let source = if inside {
            self.random.pick(&[cast.local_pod, cast.other_local_pod])
        } else {
            let clients = [
                cast.client,
                cast.client,
                cast.other_client,
                cast.far_client,
                cast.lost_client,
            ];
            self.random.pick(&clients)
        };
        let destination = self.destination(&cast);
        let hook = match (inside, self.random.below(20)) {
            (_, 0) => Hook::UplinkOut,
            (_, 1) => Hook::PodOut,
            (true, _) => Hook::PodIn,
            (false, _) => Hook::UplinkIn,
        };
        let port = self
            .random
            .pick(&[1024, 4000, 32_767, 32_768, 40_000, 65_535]);
        let from = (source, port);
        let packet = match self.random.below(24) {
            0 => Packet::ping(source, destination.0),
            1 => Packet::icmp(source, destination.0, self.random.octet(), 0),
            2 => Packet::other(source, destination.0, self.random.octet()),
            3..9 => Packet::udp(from, destination),
            _ => Packet::tcp(from, destination, self.random.pick(&FLAGS)),
        };
        self.finish(hook, packet)
    }

    fn destination(&mut self, cast: &Cast) -> End {
        let number = self.random.pick(&NUMBERS);
        let port = self.random.pick(&[80, 80, 80, 53, 53, 81]);
        match self.random.below(16) {
            0..8 => (cast.vip(number), port),
            8..11 => (cast.cluster(self.random.pick(&[1, 2, 3])), port),
            11 => (cast.external(number::EXTERNAL), 80),
            12 | 13 => {
                let ports = [
                    NODE_PORT,
                    NODE_PORT_UDP,
                    NODE_EXTERNAL_PORT,
                    HOST_PORT,
                    22,
                    40_000,
                ];
                (
                    self.random.pick(&[cast.node, cast.other_address]),
                    self.random.pick(&ports),
                )
            }
            _ => {
                let pods: [IpAddr; 5] = [
                    cast.local_pod,
                    cast.other_local_pod,
                    cast.remote_pod,
                    cast.router,
                    cast.hairpin,
                ];
                (
                    self.random.pick(&pods),
                    self.random.pick(&[8080, 5353, 443]),
                )
            }
        }
    }

    /// Rare forms and mutations.
    fn finish(&mut self, hook: Hook, mut packet: Packet) -> Event {
        packet.hop_limit = self.random.pick(&[64, 64, 64, 64, 255, 3, 2, 1, 0]);
        let length = self.random.below(40);
        packet.payload = (0..length).map(|_| self.random.octet()).collect();
        if self.random.one_in(12) {
            if packet.source.0.is_ipv4() {
                packet.options = vec![1; 4 * (1 + self.random.below(10))];
            } else {
                let kinds = [
                    Extension::HopByHop,
                    Extension::Routing,
                    Extension::Destination,
                ];
                let count = 1 + self.random.below(5);
                packet.extensions = (0..count).map(|_| self.random.pick(&kinds)).collect();
            }
        }
        if self.random.one_in(40) {
            let offset = u16::from(self.random.octet());
            packet = packet.fragment(offset, self.random.one_in(2));
        }
        if self.random.one_in(40) {
            packet = packet.vlan(7);
        }
        if self.random.one_in(8) && packet.source.0.is_ipv4() && is_udp(&packet) {
            packet = packet.without_checksum();
        }
        let mut frame = packet.bytes();
        if self.random.one_in(3) {
            self.mutate(&mut frame);
        }
        Event::Packet { hook, frame }
    }

    fn mutate(&mut self, frame: &mut Vec<u8>) {
        for _ in 0..1 + self.random.below(3) {
            let length = frame.len();
            match self.random.below(10) {
                0 => frame.truncate(SHORTEST.max(self.random.below(length + 1))),
                1 => frame.extend([0; 7]),
                2 => frame[14] = frame[14] & 0xf0 | self.random.octet() & 0x0f,
                3 => frame[20] = self.random.octet(),
                4 => {
                    // Anywhere in the headers.
                    let place = 12 + self.random.below(60.min(length - 12));
                    frame[place] = self.random.octet();
                }
                5 => {
                    let from = self.random.below(length);
                    let to = self.random.below(length);
                    frame[to] = frame[from];
                }
                _ => {
                    let place = self.random.below(length);
                    frame[place] ^= 1 << self.random.below(8);
                }
            }
        }
    }

    /// Octets with the type of an IP packet in front.
    fn noise(&mut self) -> Event {
        let length = SHORTEST + self.random.below(100);
        let mut frame: Vec<u8> = (0..length).map(|_| self.random.octet()).collect();
        let kind = self.random.pick(&[[8, 0], [0x86, 0xdd], [8, 6]]);
        frame[12..14].copy_from_slice(&kind);
        if !self.random.one_in(8) {
            frame[..6].copy_from_slice(&NODE);
        }
        let hook = self.random.pick(&Hook::ALL);
        Event::Packet { hook, frame }
    }
}

/// `BPF_PROG_TEST_RUN` takes no frame that ends within its Ethernet or IP header: 14 octets and those of an IPv6 header are enough for it.
const SHORTEST: usize = 54;

fn is_udp(packet: &Packet) -> bool {
    matches!(packet.transport, crate::packet::Transport::Udp { .. })
}
