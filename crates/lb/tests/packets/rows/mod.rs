//! The claims, by subject.

pub(crate) mod connections;
pub(crate) mod datagrams;
pub(crate) mod direct;
pub(crate) mod foreign;
pub(crate) mod headers;
pub(crate) mod lifetime;
pub(crate) mod pods;
pub(crate) mod policy;
pub(crate) mod reuse;
pub(crate) mod routes;
pub(crate) mod selection;
pub(crate) mod snat;

use std::net::IpAddr;

use crate::fixture::services::number;
use crate::packet::{ACK, End, Packet, SYN};
use crate::scene::Scene;

/// A client's port that may be kept when its address is replaced.
const HIGH: u16 = 40_000;
/// One that may not.
const LOW: u16 = 4_000;

impl Scene<'_, '_> {
    /// A frontend's TCP port.
    fn web(&self, number: u8) -> End {
        (self.cast.vip(number), 80)
    }

    /// A frontend's UDP port.
    fn dns(&self, number: u8) -> End {
        (self.cast.vip(number), 53)
    }

    /// The client asks for a connection.
    fn syn(&self, port: u16, to: End) -> Packet {
        Packet::tcp((self.cast.client, port), to, SYN)
    }

    fn datagram(&self, port: u16, to: End) -> Packet {
        Packet::udp((self.cast.client, port), to)
    }

    fn node_end(&self, port: u16) -> End {
        (self.cast.node, port)
    }

    /// A connection to a pod elsewhere, answered.
    fn connect_remote(&mut self) -> Packet {
        let syn = self.syn(HIGH, self.web(number::REMOTE));
        self.arrives(&syn);
        self.arrives(&self.remote_reply());
        syn
    }

    fn remote_reply(&self) -> Packet {
        Packet::tcp(web_of(self.cast.remote_pod), self.node_end(HIGH), SYN | ACK)
    }
}

/// Where pods listen.
fn web_of(pod: IpAddr) -> End {
    (pod, 8080)
}

fn dns_of(pod: IpAddr) -> End {
    (pod, 5353)
}

/// Another address of the same network.
fn neighbour(address: IpAddr, last: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            [a, b, c, last].into()
        }
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[15] = last;
            octets.into()
        }
    }
}
