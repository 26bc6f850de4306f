//! What becomes of one learned prefix at one target: the plan's verdict applied to the paths that its imports may use.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp::PeerName;
use bgp::rib::{LearnedPath, select};
use fib::NextHop;
use plan::node::{ImportPlan, Refusal, RoutesPlan};

use super::{LearnedRoute, Offer};

/// No device has this number: a gateway on it is withheld until its link is known.
const UNKNOWN_LINK: u32 = 0;
/// How many ranks of next hops a route has: the best, and what takes over while they cannot be used.
const RANKS: u8 = 4;

/// The outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes into the kernel.
    Install {
        /// By these: those of the least rank of which one can be used (RFC 4271 section 9.1.2.1). Ranks are in order.
        next_hops: Vec<(u8, NextHop)>,
        /// Whether one of them was put on a link by our address there.
        on_link: bool,
    },
    /// No import takes it, for this reason.
    Refused(Refusal),
    /// No import's peers have a path to it.
    Nothing,
}

impl Verdict {
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused(reason) => Some(*reason),
            Self::Install { .. } | Self::Nothing => None,
        }
    }
}

/// Asks the imports of a target in order of their names. The first that the plan lets install the prefix decides by which
/// paths: those from peers it allows. Where none may, the first
/// guard that stood in the way is the reason, else that no rule accepts.
///
/// `links` are device numbers by our addresses on them.
pub(super) fn verdict(
    plan: &RoutesPlan,
    imports: &[ImportPlan],
    route: &LearnedRoute,
    links: &BTreeMap<IpAddr, u32>,
) -> Verdict {
    let mut refusal = None;
    for import in imports {
        let paths = ranks(import, &route.offers);
        if paths.is_empty() {
            continue;
        }
        match (plan.verdict(import, &route.prefix), refusal) {
            (Ok(()), _) => return install(&paths, links),
            (Err(reason), None | Some(Refusal::NotAccepted)) => refusal = Some(reason),
            (Err(_), Some(_)) => {}
        }
    }
    refusal.map_or(Verdict::Nothing, Verdict::Refused)
}

/// The paths an import may use, in ranks: those that share the traffic, then those that would without them, and so on. Those of
/// the first instance, in order of names, stand before those of the next.
fn ranks<'a>(import: &ImportPlan, offers: &'a [Offer]) -> Vec<(u8, &'a LearnedPath)> {
    let counts = |names: &Option<BTreeSet<String>>, name: &str| {
        names.as_ref().is_none_or(|names| names.contains(name))
    };
    let of_instances = offers
        .iter()
        .filter(|offer| counts(&import.instances, &offer.instance));
    let mut ranked: Vec<(u8, &LearnedPath)> = Vec::new();
    let mut rank = 0;
    for offer in of_instances {
        let begin = ranked.len();
        while rank < RANKS && ranked.len() - begin < offer.paths.len() {
            let is_left = |peer: &PeerName| {
                let mut before = ranked[begin..].iter();
                counts(&import.peers, &peer.0) && !before.any(|(_, path)| path.peer == *peer)
            };
            let chosen = select(&offer.paths, is_left, import.maximum_paths);
            if chosen.is_empty() {
                break;
            }
            ranked.extend(chosen.into_iter().map(|path| (rank, path)));
            rank += 1;
        }
    }
    ranked
}

fn install(ranked: &[(u8, &LearnedPath)], links: &BTreeMap<IpAddr, u32>) -> Verdict {
    let next_hops = ranked
        .iter()
        .map(|(rank, path)| (*rank, next_hop(path, links)));
    let on_link = ranked.iter().any(|(_, path)| link_local(path).is_some());
    Verdict::Install {
        next_hops: next_hops.collect(),
        on_link,
    }
}

/// The next hop of a path as the kernel needs it. A link-local address counts on the link of the session, and there it is
/// the surer one (RFC 2545 section 3 has it only where both ends share a link); where that link is not known, the global one.
fn next_hop(path: &LearnedPath, links: &BTreeMap<IpAddr, u32>) -> NextHop {
    let link = links.get(&path.local).copied();
    match (link_local(path), link) {
        (Some(gateway), Some(link)) => NextHop {
            gateway,
            interface: Some(link),
        },
        (Some(gateway), None) if gateway == path.next_hop => NextHop {
            gateway,
            interface: Some(UNKNOWN_LINK),
        },
        (Some(_) | None, _) => NextHop::from(path.next_hop),
    }
}

fn link_local(path: &LearnedPath) -> Option<IpAddr> {
    let alone = match path.next_hop {
        IpAddr::V6(address) => address.is_unicast_link_local().then_some(address),
        IpAddr::V4(_) => None,
    };
    path.link_local.or(alone).map(IpAddr::V6)
}
