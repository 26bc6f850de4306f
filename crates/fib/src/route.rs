//! The words of this crate's users: whose routes, to where, by which next hops, and why not.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;

use crate::error::Error;

/// Metric of an IPv6 route that names none: the kernel writes it where zero is asked (`IP6_RT_PRIO_USER`, `linux/ipv6_route.h`).
const IPV6_METRIC_UNSPECIFIED: u32 = 1024;

/// Tables that are not for routes of a routing daemon: unspecified, compatibility, default, local (`linux/rtnetlink.h`).
const REFUSED_TABLES: [u32; 4] = [0, 252, 253, 255];

/// Nexthop identifiers of all identities: the top three bits are 011, then 13 bits tell identities apart, then 16 count.
const NEXTHOP_SPACE: u32 = 0x6000_0000;

/// What marks a route as ours: all three together. Routes that differ in one of them are never changed or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The routing table, e.g. 254 for main. Not 0, 252, 253 or 255.
    pub table: u32,
    /// The protocol number (`rtm_protocol`), which tools show; from 5 up, since those below belong to the kernel and to people.
    pub protocol: u8,
    /// The metric. Lower wins against other routes to the same prefix. IPv6 has no metric 0: there the kernel makes it 1024.
    pub metric: u32,
}

impl Identity {
    /// The table `main`.
    pub const MAIN: u32 = 254;

    /// Whether routes can be owned by this mark.
    ///
    /// # Errors
    /// [`Error::Table`] and [`Error::Protocol`] for tables and protocol numbers that belong to the kernel or to people.
    pub fn check(self) -> Result<Self, Error> {
        let Self {
            table, protocol, ..
        } = self;
        if REFUSED_TABLES.contains(&table) {
            return Err(Error::Table { table });
        }
        if protocol <= 4 {
            return Err(Error::Protocol { protocol });
        }
        Ok(self)
    }

    /// The identifiers of the nexthop objects of this identity. Objects in it that carry our protocol number are ours.
    ///
    /// Ranges of different identities are told apart by 13 bits of a hash. Should two collide, neither removes what the other one
    /// uses without that being put back.
    pub fn nexthop_ids(&self) -> RangeInclusive<u32> {
        let words = [self.table, u32::from(self.protocol), self.metric];
        // FNV-1a: the same in every version of ours, as what was left by one must be found by the next.
        let hash = words
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .fold(0x811c_9dc5_u32, |hash, byte| {
                (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
            });
        let first = NEXTHOP_SPACE | ((hash ^ (hash >> 13)) & 0x1fff) << 16;
        first..=first | 0xffff
    }

    /// Whether a nexthop object may belong to some identity.
    pub(crate) fn may_number(id: u32) -> bool {
        id >> 29 == NEXTHOP_SPACE >> 29
    }

    /// The metric that the kernel shows for our routes of the prefix's family.
    pub(crate) fn metric_for(&self, prefix: IpNet) -> u32 {
        match prefix {
            IpNet::V6(_) if self.metric == 0 => IPV6_METRIC_UNSPECIFIED,
            IpNet::V4(_) | IpNet::V6(_) => self.metric,
        }
    }
}

/// One way out: a router's address, and the interface it is on where the address does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NextHop {
    /// The router's address. IPv4 prefixes may have IPv6 gateways (RFC 8950), not the other way round.
    pub gateway: IpAddr,
    /// The index of the interface. Without it, the routes of others decide: the address may be further away than a neighbour, and its
    /// neighbour and interface follow those routes. A link-local gateway needs it.
    pub interface: Option<u32>,
}

impl From<IpAddr> for NextHop {
    fn from(gateway: IpAddr) -> Self {
        Self {
            gateway,
            interface: None,
        }
    }
}

/// At least one next hop, each once, in one or more ranks; clones share it.
///
/// A route leads to the usable next hops of the first rank that has any: a route whose next hop cannot be reached takes no part in the
/// choice of the best (RFC 4271 section 9.1.2.1). When an earlier rank becomes usable, the route goes to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NextHopSet(Arc<[Member]>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Member {
    /// Ranks count from zero without gaps, so that sets of the same meaning are equal.
    rank: u32,
    next_hop: NextHop,
}

impl NextHopSet {
    /// The set of these, all of one rank; `None` when there are none.
    pub fn new(next_hops: impl IntoIterator<Item = NextHop>) -> Option<Self> {
        Self::ranked([next_hops])
    }

    /// The set of these ranks, the best first; `None` when no next hop is in any. A next hop of several ranks counts in its first, and
    /// ranks without next hops are passed over.
    pub fn ranked(
        ranks: impl IntoIterator<Item = impl IntoIterator<Item = NextHop>>,
    ) -> Option<Self> {
        let ranks = (0..).zip(ranks).flat_map(|(rank, next_hops)| {
            let next_hops = next_hops.into_iter();
            next_hops.map(move |next_hop| Member { rank, next_hop })
        });
        let mut members: Vec<Member> = ranks.collect();
        members.sort_unstable_by_key(|member| (member.next_hop, member.rank));
        members.dedup_by_key(|member| member.next_hop);
        members.sort_unstable();
        for (rank, members) in (0..).zip(members.chunk_by_mut(|one, next| one.rank == next.rank)) {
            members.iter_mut().for_each(|member| member.rank = rank);
        }
        (!members.is_empty()).then(|| Self(members.into()))
    }

    /// The next hops of all ranks: rank by rank, the best first, and in ascending order within each.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = NextHop> {
        self.0.iter().map(|member| member.next_hop)
    }

    /// The next hops of each rank in ascending order, the best rank first.
    pub fn ranks(&self) -> impl Iterator<Item = impl ExactSizeIterator<Item = NextHop>> {
        let ranks = self.0.chunk_by(|one, next| one.rank == next.rank);
        ranks.map(|members| members.iter().map(|member| member.next_hop))
    }

    /// Whether both are the same allocation, which is cheaper to know than whether they are equal.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl From<NextHop> for NextHopSet {
    fn from(next_hop: NextHop) -> Self {
        Self(Arc::from([Member { rank: 0, next_hop }]))
    }
}

/// One change of the wish. The latest for a prefix wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// This prefix shall be reached by these. Prefixes are taken without host bits.
    Set {
        /// The destination.
        prefix: IpNet,
        /// By which to reach it: those of the first rank with a usable one, sharing the load equally.
        next_hops: NextHopSet,
    },
    /// There shall be no route of ours to this prefix.
    Remove {
        /// The destination.
        prefix: IpNet,
    },
    /// All that is wished has been said once: what an earlier run left and nobody asked for since may go.
    Complete,
}

/// An error number of the kernel (`errno.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(pub i32);

impl fmt::Display for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(formatter)
    }
}

/// Why a wished route is not in the kernel, for now. Of next hops of several ranks, what is wrong with the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Withheld {
    /// An IPv6 prefix cannot be reached by an IPv4 gateway.
    #[error("an IPv6 prefix cannot have an IPv4 gateway")]
    GatewayFamily,
    /// No connected route, and no route of others that were not learned by BGP, leads to any of its gateways; default routes do not count.
    #[error("no route leads to its gateway")]
    GatewayUnreachable,
    /// The interfaces to its gateways are down, have no carrier, or do not exist.
    #[error("the interface to its gateway is down")]
    LinkDown,
    /// Somebody else's route has the same prefix and metric in this table. It is left alone; ours comes when it goes.
    #[error("a route of protocol {protocol} has the same prefix and metric in the same table")]
    ForeignRoute {
        /// The protocol number of that route.
        protocol: u8,
    },
    /// Somebody removes it again and again: it is put back at growing intervals.
    #[error("somebody keeps removing it")]
    Contested,
    /// The kernel refused it; it is tried again at growing intervals and when links change.
    #[error("the kernel refused it: {errno}")]
    Refused {
        /// Why.
        errno: Errno,
    },
}

/// How several next hops are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Form {
    /// By nexthop objects that all routes with the same next hops share (Linux 5.3).
    #[default]
    Objects,
    /// In each route itself.
    Inline,
}

/// What is true, as of when it was written.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Report {
    /// How many batches of commands have been taken in.
    pub batches: u64,
    /// Prefixes wished for.
    pub wished: usize,
    /// Of these, in the kernel as wished.
    pub installed: usize,
    /// Of these, not looked at yet. With none pending, everything said until `batches` is in the kernel or withheld.
    pub pending: usize,
    /// Routes of ours that are to be removed and are still there.
    pub removing: usize,
    /// Routes of an earlier run that nobody asked for yet; they stay until [`Command::Complete`].
    pub leftovers: usize,
    /// Whether [`Command::Complete`] has been said.
    pub complete: bool,
    /// Whether the kernel has been read.
    pub ready: bool,
    /// How many wished routes are withheld for which reason, and some of them.
    pub withheld: Vec<WithheldGroup>,
    /// How next hops are written.
    pub form: Form,
    /// Nexthop objects of ours in the kernel.
    pub nexthop_objects: usize,
    /// What has been done since the start.
    pub counters: Counters,
}

impl Report {
    /// The number of wished routes that are withheld.
    pub fn withheld_routes(&self) -> usize {
        self.withheld.iter().map(|group| group.routes).sum()
    }

    /// Why a prefix is withheld, if it is and stands among the examples.
    pub fn why(&self, prefix: IpNet) -> Option<Withheld> {
        let mut groups = self.withheld.iter();
        groups
            .find(|group| group.examples.contains(&prefix))
            .map(|group| group.reason)
    }

    /// Whether all that was said is done, and all that must go has gone.
    pub fn is_settled(&self) -> bool {
        self.ready && self.pending == 0 && self.removing == 0
    }
}

/// Routes withheld for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithheldGroup {
    /// The reason.
    pub reason: Withheld,
    /// How many there are.
    pub routes: usize,
    /// Some of them, at most [`WithheldGroup::EXAMPLES`].
    pub examples: Vec<IpNet>,
}

impl WithheldGroup {
    /// How many prefixes a report names per reason: enough for a status, and a report of a million withheld routes stays small.
    pub const EXAMPLES: usize = 64;
}

/// Counts of what was done; they only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// Routes created.
    pub created: u64,
    /// Routes replaced.
    pub replaced: u64,
    /// Routes deleted.
    pub deleted: u64,
    /// Nexthop objects created, replaced and deleted.
    pub nexthop_writes: u64,
    /// Routes and nexthop objects of ours that somebody else removed or changed.
    pub disturbed: u64,
    /// What the kernel refused.
    pub refused: u64,
    /// How often the kernel was read as a whole.
    pub reads: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_have_nexthop_ranges_of_their_own() {
        let identity = Identity {
            table: 254,
            protocol: 186,
            metric: 20,
        };
        let ids = identity.nexthop_ids();
        assert_eq!(ids.end() - ids.start(), 0xffff);
        assert_eq!(
            *ids.start() >> 29,
            0b011,
            "a space that tools which count from one do not reach"
        );
        for other in [
            Identity {
                table: 100,
                ..identity
            },
            Identity {
                protocol: 200,
                ..identity
            },
            Identity {
                metric: 30,
                ..identity
            },
        ] {
            assert_ne!(other.nexthop_ids(), ids, "{other:?}");
        }
    }

    #[test]
    fn tables_and_protocols_of_the_kernel_are_refused() {
        let identity = |table, protocol| Identity {
            table,
            protocol,
            metric: 20,
        };
        for (table, protocol, wanted) in [
            (254, 186, true),
            (1000, 250, true),
            (0, 186, false),
            (253, 186, false),
            (255, 186, false),
            (254, 2, false),
            (254, 4, false),
        ] {
            assert_eq!(
                identity(table, protocol).check().is_ok(),
                wanted,
                "{table} {protocol}"
            );
        }
    }

    #[test]
    fn a_set_of_next_hops_is_sorted_and_never_empty() {
        let hop = |text: &str| NextHop::from(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(NextHopSet::new([]), None);
        let set = NextHopSet::new([hop("10.0.0.2"), hop("10.0.0.1"), hop("10.0.0.2")]);
        let listed: Vec<NextHop> = set.expect("some").iter().collect();
        assert_eq!(listed, [hop("10.0.0.1"), hop("10.0.0.2")]);
    }

    #[test]
    fn ranks_keep_their_order_and_a_next_hop_counts_in_its_first() {
        let set = |ranks: &[&[u8]]| {
            let hop = |last: &u8| NextHop::from(IpAddr::from([10, 0, 0, *last]));
            NextHopSet::ranked(ranks.iter().map(|rank| rank.iter().map(hop)))
        };
        for (ranks, same) in [
            (&[&[2, 1, 2][..]][..], &[&[1, 2][..]][..]),
            (&[&[2], &[1]], &[&[2], &[1]]),
            (&[&[], &[2], &[], &[1]], &[&[2], &[1]]),
            (&[&[2, 3], &[1, 2], &[3], &[4, 1]], &[&[2, 3], &[1], &[4]]),
        ] {
            let ranked = set(ranks).expect("some");
            assert_eq!(Some(&ranked), set(same).as_ref(), "{ranks:?}");
            let last = |hop: NextHop| match hop.gateway {
                IpAddr::V4(address) => address.octets()[3],
                IpAddr::V6(address) => panic!("{address}"),
            };
            let listed: Vec<Vec<u8>> = ranked
                .ranks()
                .map(|rank| rank.map(last).collect())
                .collect();
            assert_eq!(listed, same);
            assert_eq!(ranked.iter().map(last).collect::<Vec<u8>>(), same.concat());
        }
        assert_ne!(set(&[&[1], &[2]]), set(&[&[2], &[1]]));
        assert_ne!(set(&[&[1], &[2]]), set(&[&[1, 2]]));
        assert_eq!(set(&[]), None);
        assert_eq!(set(&[&[], &[]]), None);
    }
}
