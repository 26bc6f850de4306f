//! A routing table as one router would send it: IPv4 /24s in UPDATEs with ORIGIN, a path of five ASes,
//! NEXT_HOP and two communities.

use std::net::Ipv4Addr;

use bgp::wire::attribute::Origin;
use bgp::wire::{AttributesBuilder, MAXIMUM_LENGTH, update};
use bytes::{Bytes, BytesMut};
use ipnet::Ipv4Net;

/// The shape of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    /// Number of prefixes.
    pub(crate) prefixes: u32,
    /// Prefixes in each UPDATE.
    pub(crate) per_update: u32,
    /// Distinct sets of attributes, used in turn.
    pub(crate) sets: u32,
}

/// The /24 with this number.
pub(crate) fn prefix(number: u32) -> Ipv4Net {
    Ipv4Net::new(Ipv4Addr::from(0x0100_0000 + (number << 8)), 24).expect("24 bits are a length")
}

impl Table {
    /// All UPDATEs, encoded one after the other, as a router in `asn` with the address `next_hop` sends them.
    pub(crate) fn encode(&self, asn: u32, next_hop: Ipv4Addr) -> Bytes {
        let mut out = BytesMut::new();
        for (update, first) in (0..self.prefixes)
            .step_by(self.per_update as usize)
            .enumerate()
        {
            let set = update as u32 % self.sets;
            let attributes = AttributesBuilder::new()
                .origin(Origin::Igp)
                .as_path(&[asn, 100_000 + set % 1000, 200_000 + set / 1000, 3356, 1299])
                .next_hop(next_hop)
                .communities([asn << 16 | 1, (asn << 16) | (set % 1000)])
                .build();
            let last = (first + self.per_update).min(self.prefixes);
            let mut prefixes = (first..last).map(prefix).peekable();
            while update::announce_ipv4(&mut out, MAXIMUM_LENGTH, &attributes, &mut prefixes)
                .expect("attributes are short")
                > 0
            {}
        }
        out.freeze()
    }
}
