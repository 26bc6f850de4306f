//! Prefixes as small keys: what the tables are indexed by.

use std::fmt;
use std::hash::Hash;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::table::{Table, Tables};
use crate::family::Family;

/// Number of families the RIB knows; [`PrefixKey::INDEX`] is below it.
pub(super) const FAMILIES: usize = 2;

/// The family at each index, the inverse of [`family_index`].
pub(super) const FAMILY_AT: [Family; FAMILIES] = [Family::IPV4_UNICAST, Family::IPV6_UNICAST];

/// Where a family's table is; `None` for families the RIB does not carry.
pub(super) fn family_index(family: Family) -> Option<usize> {
    FAMILY_AT.iter().position(|known| *known == family)
}

/// Where a prefix's table is.
pub(super) fn net_index(net: &IpNet) -> usize {
    match net {
        IpNet::V4(_) => Ipv4Key::INDEX,
        IpNet::V6(_) => Ipv6Key::INDEX,
    }
}

/// A prefix of one family, host bits cleared.
pub(super) trait PrefixKey: Copy + Eq + Hash + fmt::Debug {
    /// Position of the family in arrays by family.
    const INDEX: usize;

    /// The prefix it stands for.
    fn net(self) -> IpNet;

    /// The family's table.
    fn table(tables: &Tables) -> &Table<Self>;

    /// The family's table.
    fn table_mut(tables: &mut Tables) -> &mut Table<Self>;
}

/// An IPv4 prefix: address in the upper bits, length in the lowest octet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Ipv4Key(u64);

/// An IPv6 prefix: two halves of the address, so that the alignment stays 8, and the length.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Ipv6Key {
    high: u64,
    low: u64,
    length: u8,
}

impl From<Ipv4Net> for Ipv4Key {
    fn from(net: Ipv4Net) -> Self {
        Self(u64::from(u32::from(net.network())) << 8 | u64::from(net.prefix_len()))
    }
}

impl From<Ipv6Net> for Ipv6Key {
    fn from(net: Ipv6Net) -> Self {
        let bits = u128::from(net.network());
        Self {
            high: (bits >> 64) as u64,
            low: bits as u64,
            length: net.prefix_len(),
        }
    }
}

impl Ipv4Key {
    /// The prefix, typed.
    pub(super) fn ipv4_net(self) -> Ipv4Net {
        Ipv4Net::new(Ipv4Addr::from((self.0 >> 8) as u32), self.0 as u8)
            .expect("key made from a valid prefix")
    }
}

impl Ipv6Key {
    /// The prefix, typed.
    pub(super) fn ipv6_net(self) -> Ipv6Net {
        let bits = u128::from(self.high) << 64 | u128::from(self.low);
        Ipv6Net::new(Ipv6Addr::from(bits), self.length).expect("key made from a valid prefix")
    }
}

impl PrefixKey for Ipv4Key {
    const INDEX: usize = 0;

    fn net(self) -> IpNet {
        IpNet::V4(self.ipv4_net())
    }

    fn table(tables: &Tables) -> &Table<Self> {
        &tables.ipv4
    }

    fn table_mut(tables: &mut Tables) -> &mut Table<Self> {
        &mut tables.ipv4
    }
}

impl PrefixKey for Ipv6Key {
    const INDEX: usize = 1;

    fn net(self) -> IpNet {
        IpNet::V6(self.ipv6_net())
    }

    fn table(tables: &Tables) -> &Table<Self> {
        &tables.ipv6
    }

    fn table_mut(tables: &mut Tables) -> &mut Table<Self> {
        &mut tables.ipv6
    }
}
