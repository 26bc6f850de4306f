//! Taking away what is ours, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use nix::libc::{ENOENT, ESRCH};

use crate::backlog::Backlog;
use crate::difference::RouteOp;
use crate::error::Error;
use crate::kernel::{Fact, KernelRoute, Nexthop, Via};
use crate::machine::Failure;
use crate::route::Identity;
use crate::socket::{ATTEMPTS, Outcome, Question, Requests};

/// What [`cleanup()`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Cleaned {
    /// Routes removed.
    pub routes: usize,
    /// Nexthop objects removed.
    pub nexthops: usize,
    /// Nexthop objects of ours left because somebody else's route leads to them and would go with them.
    pub kept: usize,
}

/// Routes in the kernel that carry the same marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marked {
    /// The marks.
    pub identity: Identity,
    /// How many routes there are.
    pub routes: usize,
    /// How many of them lead to a nexthop object that is numbered as only we do for these marks.
    pub proven: usize,
}

impl Marked {
    /// Whether these are routes of ours and not of another daemon with the same protocol number: one is proof, as nobody else
    /// writes routes with all marks of ours.
    pub fn is_ours(&self) -> bool {
        self.proven > 0
    }
}

/// What routes there are with a protocol number, in tables for routing daemons, by their marks in ascending order.
///
/// # Errors
/// [`Error::Protocol`] for a number that belongs to the kernel or to people, and whatever keeps the kernel from answering.
pub fn marked(protocol: u8) -> Result<Vec<Marked>, Error> {
    let main = Identity {
        table: Identity::MAIN,
        protocol,
        metric: 0,
    };
    main.check()?;
    let mut requests = Requests::open()?;
    let mut found: Counts = BTreeMap::new();
    for question in Question::routes(None, Some(protocol)) {
        let counts = requests.gather(question, |counts: &mut Counts, fact| {
            count(counts, protocol, fact);
        })?;
        for (marks, (routes, proven)) in counts {
            let of_both_families = found.entry(marks).or_default();
            of_both_families.0 += routes;
            of_both_families.1 += proven;
        }
    }
    let marked = |((table, metric), (routes, proven))| Marked {
        identity: Identity {
            table,
            metric,
            ..main
        },
        routes,
        proven,
    };
    Ok(found.into_iter().map(marked).collect())
}

/// By table and metric, how many routes there are and how many of them are proven.
type Counts = BTreeMap<(u32, u32), (usize, usize)>;

fn count(counts: &mut Counts, protocol: u8, fact: Fact) {
    let Fact::Route(route) = fact else {
        return;
    };
    let (identity, proven) = mark_of(&route);
    if route.protocol == protocol && !route.narrowed && identity.check().is_ok() {
        let (routes, ours) = counts.entry((identity.table, identity.metric)).or_default();
        *routes += 1;
        *ours += usize::from(proven);
    }
}

/// Marks of ours whose routes nobody wants: all that routes in the kernel prove but `wanted`. Where every nexthop object is wanted, no
/// route is looked at.
///
/// # Errors
/// Whatever keeps the kernel from answering.
pub fn abandoned(wanted: &BTreeSet<Identity>) -> Result<Vec<Identity>, Error> {
    let is_wanted = |id: u32, protocol: u8| {
        let mut wanted = wanted.iter();
        wanted.any(|it| it.protocol == protocol && it.nexthop_ids().contains(&id))
    };
    let gathered =
        Requests::open()?.gather(Question::Nexthops, |protocols: &mut BTreeSet<u8>, fact| {
            if let Fact::Nexthop { id, protocol, .. } = fact
                && Identity::may_number(id)
                && !is_wanted(id, protocol)
            {
                protocols.insert(protocol);
            }
        });
    let protocols = match gathered {
        // A kernel without nexthop objects proves nothing.
        Err(Error::Refused(_)) => return Ok(Vec::new()),
        gathered => gathered?,
    };
    let mut found = Vec::new();
    for protocol in protocols {
        match marked(protocol) {
            Ok(marked) => found.extend(marked.into_iter().filter(Marked::is_ours)),
            // Somebody else numbers objects as we do, with a protocol number that we never use.
            Err(Error::Protocol { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let identities = found.into_iter().map(|marked| marked.identity);
    Ok(identities.filter(|it| !wanted.contains(it)).collect())
}

/// The marks of a route, and whether its nexthop object proves them. An IPv6 route of ours that was to have no metric shows
/// one.
fn mark_of(route: &KernelRoute) -> (Identity, bool) {
    let shown = Identity {
        table: route.table,
        protocol: route.protocol,
        metric: route.metric,
    };
    let unspecified = Identity { metric: 0, ..shown };
    let leads_to = |identity: Identity| match route.via {
        Via::Object(id) => identity.nexthop_ids().contains(&id),
        Via::Hops(_) | Via::OnLink(_) | Via::Other => false,
    };
    if unspecified.metric_for(route.prefix) == route.metric && leads_to(unspecified) {
        return (unspecified, true);
    }
    (shown, leads_to(shown))
}

/// Removes the routes of an identity and its nexthop objects from the network namespace of this thread. Nobody must be putting them
/// back meanwhile. Doing it twice does no harm.
///
/// # Errors
/// [`Error::Table`] and [`Error::Protocol`] for an identity that cannot be owned, [`Error::NotPermitted`] without `CAP_NET_ADMIN`,
/// [`Error::NotRemoved`] when something is left although everything has been tried, and whatever keeps the kernel from answering.
pub fn cleanup(identity: Identity) -> Result<Cleaned, Error> {
    let identity = identity.check()?;
    let mut requests = Requests::open()?;
    requests.probe(&identity)?;
    let routes = remove_routes(&mut requests, &identity);
    let nexthops = remove_nexthops(&mut requests, &identity);
    let (routes, (nexthops, kept)) = (routes?, nexthops?);
    Ok(Cleaned {
        routes,
        nexthops,
        kept,
    })
}

fn remove_routes(requests: &mut Requests, identity: &Identity) -> Result<usize, Error> {
    let mut ours = Backlog::default();
    for question in Question::routes(Some(identity.table), Some(identity.protocol)) {
        let prefixes = requests.gather(question, |prefixes: &mut Vec<IpNet>, fact| {
            if let Fact::Route(route) = fact
                && route.table == identity.table
                && route.protocol == identity.protocol
                && route.metric == identity.metric_for(route.prefix)
                && !route.narrowed
            {
                prefixes.push(route.prefix);
            }
        })?;
        prefixes.into_iter().for_each(|prefix| ours.push(prefix));
    }
    let ops = std::iter::from_fn(|| ours.pop()).map(|prefix| RouteOp::Delete { prefix });
    let ops: Vec<RouteOp> = ops.collect();
    write(requests, identity, &ops)
}

/// Groups first, then hops.
fn remove_nexthops(requests: &mut Requests, identity: &Identity) -> Result<(usize, usize), Error> {
    let gathered = requests.gather(Question::Nexthops, |objects: &mut Objects, fact| {
        objects.learn(identity, fact);
    });
    let Objects {
        groups,
        mut singles,
        mut used,
    } = match gathered {
        // A kernel without nexthop objects has none of ours.
        Err(Error::Refused(_)) => return Ok((0, 0)),
        gathered => gathered?,
    };
    for question in Question::routes(None, None) {
        used.extend(requests.gather(question, |used: &mut BTreeSet<u32>, fact| {
            if let Fact::Route(route) = fact {
                used.extend(route.object);
            }
        })?);
    }
    let (kept_groups, groups): (Vec<_>, Vec<_>) =
        groups.into_iter().partition(|(id, _)| used.contains(id));
    for (_, members) in &kept_groups {
        used.extend(members.iter().copied());
    }
    let before = singles.len();
    singles.retain(|id| !used.contains(id));
    let kept = kept_groups.len() + before - singles.len();
    let groups = groups.into_iter().map(|(id, _)| id);
    let ops = groups
        .chain(singles)
        .map(|id| RouteOp::DeleteNexthop { id });
    let ops: Vec<RouteOp> = ops.collect();
    Ok((write(requests, identity, &ops)?, kept))
}

/// Nexthop objects, as far as a cleanup has to know them.
#[derive(Default)]
struct Objects {
    /// Groups of ours and their members.
    groups: Vec<(u32, Arc<[u32]>)>,
    /// What else is ours.
    singles: BTreeSet<u32>,
    /// Members of other people's groups.
    used: BTreeSet<u32>,
}

impl Objects {
    fn learn(&mut self, identity: &Identity, fact: Fact) {
        let Fact::Nexthop {
            id,
            protocol,
            nexthop,
        } = fact
        else {
            return;
        };
        let ours = identity.nexthop_ids().contains(&id) && protocol == identity.protocol;
        match nexthop {
            Nexthop::Group(members) if ours => self.groups.push((id, members)),
            Nexthop::Group(members) => self.used.extend(members.iter().copied()),
            Nexthop::Hop(_) | Nexthop::Other if ours => {
                self.singles.insert(id);
            }
            Nexthop::Hop(_) | Nexthop::Other => {}
        }
    }
}

/// How many steps were done. What is gone already does not count. Where answers are lost, all steps are taken again: that does no harm.
fn write(requests: &mut Requests, identity: &Identity, ops: &[RouteOp]) -> Result<usize, Error> {
    for _ in 0..ATTEMPTS {
        match requests.write(identity, ops)? {
            Outcome::Written(failures) => return removed(ops.len(), &failures),
            Outcome::Lost => {}
        }
    }
    Err(Error::Interrupted)
}

fn removed(steps: usize, failures: &[Failure]) -> Result<usize, Error> {
    let refused = |(_, errno): &&Failure| !matches!(errno.0, ENOENT | ESRCH);
    let mut left = failures.iter().filter(refused);
    match left.next() {
        None => Ok(steps - failures.len()),
        Some((_, errno)) => Err(Error::NotRemoved {
            left: 1 + left.count(),
            errno: *errno,
        }),
    }
}

#[cfg(test)]
mod tests {
    use nix::libc::{EBUSY, ENOMEM};

    use super::*;
    use crate::route::Errno;

    #[test]
    fn only_what_is_gone_already_may_fail_to_be_removed() {
        for (errnos, wanted) in [
            (&[][..], Ok(5)),
            (&[ENOENT, ESRCH], Ok(3)),
            (&[ENOMEM], Err((1, ENOMEM))),
            (&[ESRCH, EBUSY, ENOENT, ENOMEM], Err((2, EBUSY))),
        ] {
            let failures = (0..).zip(errnos.iter().map(|errno| Errno(*errno)));
            let failures: Vec<Failure> = failures.collect();
            let outcome = removed(5, &failures).map_err(|error| match error {
                Error::NotRemoved { left, errno } => (left, errno.0),
                error => panic!("{error}"),
            });
            assert_eq!(outcome, wanted, "{errnos:?}");
        }
    }
}
