//! What a router says about its neighbours and routes, in one vocabulary for all three daemons.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// An address family; the subsequent family is always unicast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Afi {
    /// AFI 1.
    Ipv4,
    /// AFI 2.
    Ipv6,
}

impl Afi {
    /// Both families.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The family of a prefix.
    #[must_use]
    pub fn of(prefix: &IpNet) -> Self {
        match prefix {
            IpNet::V4(_) => Self::Ipv4,
            IpNet::V6(_) => Self::Ipv6,
        }
    }
}

impl fmt::Display for Afi {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        })
    }
}

/// The state of a session (RFC 4271 §8.2.2). What a daemon adds of its own (closing, disabled) is
/// [`State::Idle`]: there is no session and none is being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// No session is attempted.
    Idle,
    /// A connection is being made.
    Connect,
    /// The router waits for a connection, or for its next attempt.
    Active,
    /// OPEN was sent.
    OpenSent,
    /// OPEN was accepted.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

impl State {
    /// Reads the names that FRR and BIRD print.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name {
            "Connect" => Self::Connect,
            "Active" => Self::Active,
            "OpenSent" => Self::OpenSent,
            "OpenConfirm" => Self::OpenConfirm,
            "Established" => Self::Established,
            _ => Self::Idle,
        }
    }
}

/// Prefixes exchanged with a neighbour in one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Prefixes {
    /// Accepted from the neighbour.
    pub received: u64,
    /// Announced to it.
    pub sent: u64,
}

/// A router's view of one neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbor {
    /// The neighbour's address.
    pub address: IpAddr,
    /// Its AS number.
    pub asn: u32,
    /// Where the session stands.
    pub state: State,
    /// How many sessions have been established since the daemon started; `None` where it does not count them (only
    /// FRR does).
    pub sessions: Option<u64>,
    /// What is exchanged, in the families that are configured.
    pub prefixes: BTreeMap<Afi, Prefixes>,
}

impl Neighbor {
    /// Whether the session is established.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.state == State::Established
    }

    /// Prefixes received in all families.
    #[must_use]
    pub fn prefixes_received(&self) -> u64 {
        self.prefixes
            .values()
            .map(|prefixes| prefixes.received)
            .sum()
    }

    /// Prefixes sent in all families.
    #[must_use]
    pub fn prefixes_sent(&self) -> u64 {
        self.prefixes.values().map(|prefixes| prefixes.sent).sum()
    }
}

/// One path in a router's table; a prefix learned from two neighbours has two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destination.
    pub prefix: IpNet,
    /// The neighbour it came from; `None` for what the router originates.
    pub from: Option<IpAddr>,
    /// The global next hop, and a link-local one where the neighbour sent both (RFC 2545 §3).
    pub next_hops: Vec<IpAddr>,
    /// The AS_PATH, segments joined.
    pub as_path: Vec<u32>,
    /// LOCAL_PREF; `None` where the router has none for the path.
    pub local_pref: Option<u32>,
    /// Communities (RFC 1997), sorted.
    pub communities: Vec<Community>,
    /// Large communities (RFC 8092), sorted.
    pub large_communities: Vec<LargeCommunity>,
    /// Whether the router chose the path (alone, or as one of several).
    pub best: bool,
    /// Whether it is kept only for a neighbour that restarts (RFC 4724 §4.2).
    pub stale: bool,
}

/// A community (RFC 1997).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

/// The names that FRR's JSON gives to well-known communities (IANA "BGP Well-known Communities").
const WELL_KNOWN: [(&str, u32); 15] = [
    ("internet", 0x0000_0000),
    ("gracefulShutdown", 0xffff_0000),
    ("acceptOwn", 0xffff_0001),
    ("routeFilterTranslatedV4", 0xffff_0002),
    ("routeFilterV4", 0xffff_0003),
    ("routeFilterTranslatedV6", 0xffff_0004),
    ("routeFilterV6", 0xffff_0005),
    ("llgrStale", 0xffff_0006),
    ("noLlgr", 0xffff_0007),
    ("acceptOwnNexthop", 0xffff_0008),
    ("blackhole", 0xffff_029a),
    ("noExport", 0xffff_ff01),
    ("noAdvertise", 0xffff_ff02),
    ("localAs", 0xffff_ff03),
    ("noPeer", 0xffff_ff04),
];

impl Community {
    /// Reads `65001:7`, and the names that FRR gives to well-known ones.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((_, value)) = WELL_KNOWN.iter().find(|(name, _)| *name == text) {
            return Some(Self(*value));
        }
        let (high, low) = text.split_once(':')?;
        Some(Self(
            u32::from(high.parse::<u16>().ok()?) << 16 | u32::from(low.parse::<u16>().ok()?),
        ))
    }
}

impl fmt::Display for Community {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// A large community (RFC 8092): the administrator's number and two of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity(pub u32, pub u32, pub u32);

impl LargeCommunity {
    /// Reads `65001:1:2`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':').map(|part| part.parse().ok());
        let community = Self(parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(community)
    }
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_are_read_by_number_and_by_name() {
        for (text, expected) in [
            ("65001:7", Some(65001 << 16 | 7)),
            ("noExport", Some(0xffff_ff01)),
            ("blackhole", Some(0xffff_029a)),
            ("65536:1", None),
            ("1:2:3", None),
        ] {
            assert_eq!(Community::parse(text), expected.map(Community), "{text}");
        }
        assert_eq!(Community(0xffff_ff01).to_string(), "65535:65281");
        assert_eq!(
            LargeCommunity::parse("4200000000:1:2"),
            Some(LargeCommunity(4_200_000_000, 1, 2))
        );
        assert_eq!(LargeCommunity::parse("1:2:3:4"), None);
    }
}
