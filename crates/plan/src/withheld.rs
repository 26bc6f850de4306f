//! What is right and yet not done now, with the reason.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::net::IpAddr;
use std::sync::Arc;

use crate::snapshot::{IpFamily, NamespacedName};

/// How many examples are told.
const EXAMPLES: usize = 3;

/// Things of one kind that wait for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    /// What they are.
    pub subject: Subject,
    /// How many.
    pub count: usize,
    /// Some of them, in words.
    pub examples: Vec<String>,
    /// Why.
    pub reason: Reason,
}

/// What waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Addresses of Services, to be announced.
    Address,
    /// Services, to be balanced.
    Service,
    /// Interfaces, by which clients come.
    Interface,
    /// Sockets of this node's processes, to be given backends.
    Sockets,
}

/// Why something waits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Reason {
    /// The load balancer cannot run on this node; why, in the system's words.
    #[error("the load balancer does not run: {0}")]
    DatapathUnavailable(Arc<str>),
    /// The load balancer has not said anything yet.
    #[error("the load balancer starts")]
    DatapathStarting,
    /// It runs, and has not programmed an address.
    #[error("the load balancer has not programmed it")]
    NotProgrammed,
    /// The Service restricts its clients.
    #[error("loadBalancerSourceRanges is not supported by this version of Tombolo")]
    SourceRanges,
    /// Another Service has an address, port and protocol that this one wants too.
    #[error("another Service has the address, port and protocol")]
    FrontendTaken,
    /// A table of the load balancer has no room.
    #[error("the table of {0} is full")]
    TableFull(Table),
    /// The system does not let the load balancer in; in its words.
    #[error("{0}")]
    Refused(Arc<str>),
}

/// A table of the load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Frontends of a family.
    Frontends(IpFamily),
    /// Groups of backends.
    Groups,
    /// Lists of backends.
    Lists,
    /// Maglev rings.
    Rings,
    /// Backends.
    Backends,
}

impl Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Frontends(IpFamily::Ipv4) => "IPv4 frontends",
            Self::Frontends(IpFamily::Ipv6) => "IPv6 frontends",
            Self::Groups => "backend groups",
            Self::Lists => "backend lists",
            Self::Rings => "Maglev rings",
            Self::Backends => "backends",
        })
    }
}

impl Display for Withheld {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            subject,
            count,
            examples,
            reason,
        } = self;
        let (one, many) = match subject {
            Subject::Address => (
                "address of a Service is not announced",
                "addresses of Services are not announced",
            ),
            Subject::Service => (
                "Service is not wholly balanced",
                "Services are not wholly balanced",
            ),
            Subject::Interface => (
                "interface is not attached to",
                "interfaces are not attached to",
            ),
            Subject::Sockets => return write!(formatter, "sockets are not translated: {reason}"),
        };
        write!(
            formatter,
            "{count} {}",
            if *count == 1 { one } else { many }
        )?;
        if !examples.is_empty() {
            let more = if *count > examples.len() { ", ..." } else { "" };
            write!(formatter, " ({}{more})", examples.join(", "))?;
        }
        write!(formatter, ": {reason}")
    }
}

/// Addresses that wait, each once for each reason.
#[derive(Debug, Default)]
pub(crate) struct Addresses<'a>(BTreeMap<Reason, BTreeMap<IpAddr, &'a NamespacedName>>);

impl<'a> Addresses<'a> {
    pub(crate) fn add(&mut self, reason: Reason, address: IpAddr, service: &'a NamespacedName) {
        self.0
            .entry(reason)
            .or_default()
            .entry(address)
            .or_insert(service);
    }

    /// Those that wait for one reason.
    pub(crate) fn of(&self, reason: &Reason) -> impl Iterator<Item = IpAddr> {
        let waiting = self.0.get(reason).into_iter();
        waiting.flat_map(|addresses| addresses.keys().copied())
    }

    pub(crate) fn into_withheld(self) -> Vec<Withheld> {
        let withheld = self.0.into_iter().map(|(reason, addresses)| Withheld {
            subject: Subject::Address,
            count: addresses.len(),
            examples: addresses
                .iter()
                .take(EXAMPLES)
                .map(|(address, service)| format!("{address} of {service}"))
                .collect(),
            reason,
        });
        withheld.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_told_in_one_sentence_with_examples_and_reason() {
        let rows = [
            (
                (Subject::Address, 1, &["172.16.1.1 of default/web"][..]),
                Reason::NotProgrammed,
                "1 address of a Service is not announced (172.16.1.1 of default/web): the load balancer has not programmed it",
            ),
            (
                (
                    Subject::Address,
                    9,
                    &["10.0.0.1 of a/b", "10.0.0.2 of a/c"][..],
                ),
                Reason::DatapathUnavailable("CAP_BPF is missing".into()),
                "9 addresses of Services are not announced (10.0.0.1 of a/b, 10.0.0.2 of a/c, ...): the load balancer does \
                 not run: CAP_BPF is missing",
            ),
            (
                (Subject::Service, 2, &["a/b", "a/c"][..]),
                Reason::TableFull(Table::Frontends(IpFamily::Ipv6)),
                "2 Services are not wholly balanced (a/b, a/c): the table of IPv6 frontends is full",
            ),
            (
                (Subject::Interface, 1, &["eth1"][..]),
                Reason::Refused("EOPNOTSUPP".into()),
                "1 interface is not attached to (eth1): EOPNOTSUPP",
            ),
            (
                (Subject::Sockets, 1, &[][..]),
                Reason::Refused("no cgroup2".into()),
                "sockets are not translated: no cgroup2",
            ),
        ];
        for ((subject, count, examples), reason, expected) in rows {
            let withheld = Withheld {
                subject,
                count,
                examples: examples.iter().map(|text| (*text).to_owned()).collect(),
                reason,
            };
            assert_eq!(withheld.to_string(), expected);
        }
    }
}
