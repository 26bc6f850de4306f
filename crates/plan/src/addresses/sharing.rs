//! Which Services may have one address together.

use std::collections::{BTreeMap, BTreeSet};

use crate::snapshot::{ServicePort, TrafficPolicy, TransportPort};

/// On what terms a Service shares its addresses.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Terms<'a> {
    /// The sharing key; without one, the Service shares with nobody.
    pub(super) key: Option<&'a str>,
    pub(super) namespace: &'a str,
    /// Namespaces it shares with beside its own.
    pub(super) permits: Namespaces<'a>,
    pub(super) ports: &'a [ServicePort],
    pub(super) policy: TrafficPolicy,
    pub(super) pods: &'a BTreeMap<String, String>,
    pub(super) different_pods: DifferentPods,
}

/// Namespaces that a Service, or each of several, shares with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Namespaces<'a> {
    All,
    Only(BTreeSet<&'a str>),
}

/// Whether a Service with external traffic policy Local shares with one that has other pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DifferentPods {
    Refused,
    Permitted,
}

/// Why two Services cannot have one address together. Displayed in Cilium's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(super) enum Incompatible {
    #[error("different sharing key")]
    Key,
    #[error("different and not permitted namespace")]
    Namespace,
    #[error("same port and protocol")]
    Port,
    #[error("different ExternalTrafficPolicy")]
    TrafficPolicy,
    #[error("compatible ExternalTrafficPolicy local but selecting different set of pods")]
    Pods,
}

/// The Services that have one address together, as far as it matters to the next that wants to join. Each fact is about
/// all members, so that joining does not take longer the more they are.
#[derive(Debug, Clone)]
pub(super) struct Group<'a> {
    key: Option<&'a str>,
    /// Namespaces of members, each with what all members in it permit.
    namespaces: BTreeMap<&'a str, Namespaces<'a>>,
    ports: BTreeSet<TransportPort>,
    policy: TrafficPolicy,
    /// The pods of those that refuse to share with others; they are the same for all of those.
    pods_of_refusing: Option<&'a BTreeMap<String, String>>,
    /// The pods of a member, if all members have the same.
    pods_of_all: Option<&'a BTreeMap<String, String>>,
    has_member_without_pods: bool,
}

impl<'a> Group<'a> {
    pub(super) fn of(terms: &Terms<'a>) -> Self {
        let mut group = Self {
            key: terms.key,
            namespaces: BTreeMap::new(),
            ports: BTreeSet::new(),
            policy: terms.policy,
            pods_of_refusing: None,
            pods_of_all: Some(terms.pods),
            has_member_without_pods: false,
        };
        if terms.key.is_some() {
            group.join(terms);
        }
        group
    }

    pub(super) fn key(&self) -> Option<&'a str> {
        self.key
    }

    pub(super) fn has_port(&self, port: &ServicePort) -> bool {
        self.ports.contains(&port.transport())
    }

    /// Whether a Service can join, that is, is compatible with every member.
    pub(super) fn admits(&self, terms: &Terms<'a>) -> Result<(), Incompatible> {
        if terms.key.is_none() || terms.key != self.key {
            Err(Incompatible::Key)
        } else if !self.permits(terms) {
            Err(Incompatible::Namespace)
        } else if terms.ports.iter().any(|port| self.has_port(port)) {
            Err(Incompatible::Port)
        } else if terms.policy != self.policy {
            Err(Incompatible::TrafficPolicy)
        } else if !self.agrees_on_pods(terms) {
            Err(Incompatible::Pods)
        } else {
            Ok(())
        }
    }

    fn permits(&self, terms: &Terms<'a>) -> bool {
        let mut others = self
            .namespaces
            .iter()
            .filter(|(namespace, _)| **namespace != terms.namespace);
        others.all(|(namespace, permitted)| {
            terms.permits.contains(namespace) && permitted.contains(terms.namespace)
        })
    }

    /// With policy Cluster any node answers for any member. With Local only those that have its pods do, and an address
    /// is announced by the nodes of all members alike.
    fn agrees_on_pods(&self, terms: &Terms<'a>) -> bool {
        match (self.policy, terms.different_pods) {
            (TrafficPolicy::Cluster, _) => true,
            (TrafficPolicy::Local, _) if terms.pods.is_empty() || self.has_member_without_pods => {
                false
            }
            (TrafficPolicy::Local, DifferentPods::Refused) => self.pods_of_all == Some(terms.pods),
            (TrafficPolicy::Local, DifferentPods::Permitted) => {
                self.pods_of_refusing.is_none_or(|pods| pods == terms.pods)
            }
        }
    }

    /// Adds a member that is admitted.
    pub(super) fn join(&mut self, terms: &Terms<'a>) {
        let permitted = self.namespaces.remove(terms.namespace);
        let permitted = permitted.map_or_else(
            || terms.permits.clone(),
            |permitted| permitted.intersection(&terms.permits),
        );
        self.namespaces.insert(terms.namespace, permitted);
        self.ports
            .extend(terms.ports.iter().map(ServicePort::transport));
        self.pods_of_all = self.pods_of_all.filter(|pods| *pods == terms.pods);
        self.has_member_without_pods |= terms.pods.is_empty();
        match terms.different_pods {
            DifferentPods::Refused => self.pods_of_refusing = Some(terms.pods),
            DifferentPods::Permitted => {}
        }
    }
}

impl<'a> Namespaces<'a> {
    /// From a comma separated list; `*` in it means all.
    pub(super) fn parse(list: &'a str) -> Self {
        let names: BTreeSet<&str> = list.split(',').map(str::trim).collect();
        if names.contains("*") {
            Self::All
        } else {
            Self::Only(names)
        }
    }

    fn contains(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(namespace),
        }
    }

    fn intersection(self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, other) => other.clone(),
            (Self::Only(names), Self::All) => Self::Only(names),
            (Self::Only(names), Self::Only(others)) => {
                Self::Only(names.intersection(others).copied().collect())
            }
        }
    }
}

#[cfg(test)]
mod tests;
