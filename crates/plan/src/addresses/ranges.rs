//! What the blocks of a pool mean.
//!
//! An address is an `IpAddr` throughout: its order puts IPv4 before IPv6 and addresses of a family by number, so that
//! comparisons between the ends of a range keep the families apart.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::load_balancer_ip_pool::{AllowFirstLastIPs, Block};
use ipnet::IpNet;

use super::rejected::BlockFault;

/// The block of IPv4-mapped IPv6 addresses (RFC 4291 section 2.5.5.2). The API server refuses them in a status.
const MAPPED: Range = Range {
    first: IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0)),
    last: IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0xffff, 0xffff)),
};

/// What is never handed out: beside the mapped ones, the addresses that mean "none" (RFC 1122 section 3.2.1.3, RFC 4291
/// section 2.5.2).
const UNUSABLE: [Range; 3] = [
    Range::single(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
    Range::single(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    MAPPED,
];

/// Whether no Service can have this address, whatever the pools say.
pub(super) fn is_unusable(address: IpAddr) -> bool {
    UNUSABLE.iter().any(|range| range.contains(address))
}

/// Addresses from `first` to `last`, both included, of one family. Displayed as `first - last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    pub(super) first: IpAddr,
    pub(super) last: IpAddr,
}

impl Range {
    pub(super) const fn single(address: IpAddr) -> Self {
        Self {
            first: address,
            last: address,
        }
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.first <= address && address <= self.last
    }

    pub(super) fn intersection(&self, other: &Self) -> Option<Self> {
        let both = Self {
            first: self.first.max(other.first),
            last: self.last.min(other.last),
        };
        (both.first <= both.last).then_some(both)
    }

    /// How many addresses; of 2^128 one less.
    pub(super) fn size(&self) -> u128 {
        (number(self.last) - number(self.first)).saturating_add(1)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} - {}", self.first, self.last)
    }
}

/// A valid block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockRange {
    pub(super) range: Range,
    /// Whether the first and the last address are reserved.
    ends: Ends,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Given,
    Reserved,
}

impl BlockRange {
    /// What the block means, `cidr` before `start` and `stop`. Empty text is as good as none.
    pub(super) fn parse(
        block: &Block,
        allow: Option<AllowFirstLastIPs>,
    ) -> Result<Self, BlockFault> {
        let Block { cidr, start, stop } = block;
        let parsed = match (written(cidr), written(start), written(stop)) {
            (Some(cidr), _, _) => Self::of_cidr(cidr, allow)?,
            (None, Some(start), stop) => Self::of_ends(start, stop)?,
            (None, None, Some(_)) => return Err(BlockFault::StartMissing),
            (None, None, None) => return Err(BlockFault::Empty),
        };
        match parsed.range.intersection(&MAPPED) {
            Some(mapped) if mapped == parsed.range => Err(BlockFault::Ipv4Mapped),
            Some(_) | None => Ok(parsed),
        }
    }

    fn of_cidr(cidr: &str, allow: Option<AllowFirstLastIPs>) -> Result<Self, BlockFault> {
        let network: IpNet = cidr
            .parse()
            .map_err(|_| BlockFault::Cidr(cidr.to_owned()))?;
        let range = Range {
            first: network.network(),
            last: network.broadcast(),
        };
        let ends = match allow {
            Some(AllowFirstLastIPs::No) if range.size() > 2 => Ends::Reserved,
            Some(AllowFirstLastIPs::No | AllowFirstLastIPs::Yes) | None => Ends::Given,
        };
        Ok(Self { range, ends })
    }

    fn of_ends(start: &str, stop: Option<&str>) -> Result<Self, BlockFault> {
        let first: IpAddr = start
            .parse()
            .map_err(|_| BlockFault::Start(start.to_owned()))?;
        let last = match stop {
            None => first,
            Some(stop) => stop
                .parse()
                .map_err(|_| BlockFault::Stop(stop.to_owned()))?,
        };
        let (start, stop) = (first, last);
        if first.is_ipv4() != last.is_ipv4() {
            return Err(BlockFault::Families { start, stop });
        }
        if first > last {
            return Err(BlockFault::Reversed { start, stop });
        }
        Ok(Self {
            range: Range { first, last },
            ends: Ends::Given,
        })
    }

    /// The addresses of the block that are not handed out. They may overlap.
    pub(super) fn reserved(&self) -> Vec<Range> {
        let ends = match self.ends {
            Ends::Given => None,
            Ends::Reserved => Some([
                Range::single(self.range.first),
                Range::single(self.range.last),
            ]),
        };
        let unusable = UNUSABLE
            .iter()
            .filter_map(|range| range.intersection(&self.range));
        ends.into_iter().flatten().chain(unusable).collect()
    }

    pub(super) fn is_reserved(&self, address: IpAddr) -> bool {
        let is_end = address == self.range.first || address == self.range.last;
        match self.ends {
            Ends::Reserved if is_end => true,
            Ends::Reserved | Ends::Given => is_unusable(address),
        }
    }
}

fn written(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

/// The same addresses in ranges that do not overlap, in order.
pub(super) fn union(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(before) if range.first <= before.last => before.last = before.last.max(range.last),
            Some(_) | None => merged.push(range),
        }
    }
    merged
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The next address. Wraps at the end of the family, where no caller asks.
pub(super) fn after(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().wrapping_add(1)).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits().wrapping_add(1)).into(),
    }
}

/// The address before. Wraps at the beginning of the family, where no caller asks.
pub(super) fn before(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().wrapping_sub(1)).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits().wrapping_sub(1)).into(),
    }
}

#[cfg(test)]
mod tests;
