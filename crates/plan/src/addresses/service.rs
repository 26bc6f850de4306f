//! What a Service asks for, and whether it asks us.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::pools::Pool;
use super::sharing::{DifferentPods, Namespaces, Terms};
use super::{SERVICE_CONDITION, Settings};
use crate::snapshot::{BGP_CLASS, IpFamily, IpFamilyPolicy, L2_ANNOUNCER_CLASS};
use crate::{NamespacedName, ServiceFacts};

/// A setting that is an annotation: its name, and the older one that counts where the newer is absent.
struct Annotation(&'static str, &'static str);

const ADDRESSES: Annotation = Annotation("lbipam.cilium.io/ips", "io.cilium/lb-ipam-ips");
const SHARING_KEY: Annotation = Annotation(
    "lbipam.cilium.io/sharing-key",
    "io.cilium/lb-ipam-sharing-key",
);
const SHARING_CROSS_NAMESPACE: Annotation = Annotation(
    "lbipam.cilium.io/sharing-cross-namespace",
    "io.cilium/lb-ipam-sharing-cross-namespace",
);
const SHARING_PERMIT_DIFFERENT_PODS: Annotation = Annotation(
    "lbipam.cilium.io/sharing-permit-different-pods",
    "io.cilium/lb-ipam-sharing-permit-different-pods",
);

impl Annotation {
    fn of<'a>(&self, facts: &'a ServiceFacts) -> Option<&'a str> {
        let Self(name, older) = self;
        let annotations = &facts.annotations;
        let value = annotations.get(*name).or_else(|| annotations.get(*older));
        value.map(String::as_str)
    }
}

/// A Service that we have to do with, and what it has.
#[derive(Debug)]
pub(super) struct Service<'a> {
    pub(super) name: &'a NamespacedName,
    pub(super) facts: &'a Arc<ServiceFacts>,
    pub(super) role: Role,
    pub(super) request: Request,
    pub(super) terms: Terms<'a>,
    /// Its addresses, in the order of its status: first those it keeps, then new ones.
    pub(super) ingress: Vec<IpAddr>,
    held: Held,
}

/// The addresses of a Service as a set. Most have one, so a sorted list it is.
#[derive(Debug, Default)]
struct Held(Vec<IpAddr>);

/// How we stand to a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It is given what it asks for.
    Served,
    /// It is being deleted: it is given nothing and keeps what it has until it is gone.
    Going,
    /// It would be ours under other settings, and was once: it keeps what it has, and nothing is written.
    LeftAlone,
    /// It is not ours any more: it loses what it has, and our condition.
    Released,
}

/// What a Service asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// One address of each of these families.
    Families(Vec<IpFamily>),
    /// These addresses and no other.
    Addresses {
        in_order: Vec<IpAddr>,
        set: BTreeSet<IpAddr>,
    },
}

impl<'a> Service<'a> {
    /// A Service, unless it is none of our business. While there is no pool, those that we never dealt with are not:
    /// somebody else may serve them.
    pub(super) fn of(
        name: &'a NamespacedName,
        facts: &'a Arc<ServiceFacts>,
        settings: &Settings,
        pools: &[Pool<'_>],
    ) -> Option<Self> {
        let is_known = facts
            .conditions
            .iter()
            .any(|condition| condition.type_ == SERVICE_CONDITION);
        if !is_known && pools.is_empty() {
            return None;
        }
        let role = match (is_ours(facts, settings), is_known) {
            (true, _) if facts.is_being_deleted => Role::Going,
            (true, _) => Role::Served,
            (false, true) if may_be_ours(facts) => Role::LeftAlone,
            (false, true) => Role::Released,
            (false, false) => return None,
        };
        Some(Self {
            name,
            facts,
            role,
            request: Request::of(facts, settings),
            terms: terms(name, facts),
            ingress: Vec::new(),
            held: Held::default(),
        })
    }

    /// The addresses in its status, which may repeat themselves.
    pub(super) fn shown(&self) -> impl Iterator<Item = IpAddr> + use<'a> {
        self.facts.shown_addresses()
    }

    /// Whether it has this address.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.held.0.binary_search(&address).is_ok()
    }

    /// Whether it has an address of this family.
    pub(super) fn has_one_of(&self, wanted: IpFamily) -> bool {
        self.held.0.iter().any(|address| family(*address) == wanted)
    }

    /// Lets it keep an address that it shows.
    pub(super) fn keep(&mut self, address: IpAddr) {
        if let Err(place) = self.held.0.binary_search(&address) {
            self.held.0.insert(place, address);
        }
    }

    /// Gives it an address that is new to it.
    pub(super) fn give(&mut self, address: IpAddr) {
        self.keep(address);
        self.ingress.push(address);
    }

    /// Takes those addresses that it shows, and keeps, as its ingress, and gives back those that it loses.
    pub(super) fn part(&mut self) -> Vec<IpAddr> {
        let mut lost = Vec::new();
        let mut seen = BTreeSet::new();
        let repeats = self.facts.ingress.len() > 1;
        for address in self
            .shown()
            .filter(|address| !repeats || seen.insert(*address))
        {
            if self.has(address) {
                self.ingress.push(address);
            } else {
                lost.push(address);
            }
        }
        lost
    }
}

fn is_ours(facts: &ServiceFacts, settings: &Settings) -> bool {
    facts.is_load_balancer()
        && match &facts.load_balancer_class {
            None => settings.classless,
            Some(class) => settings.classes.contains(class),
        }
}

/// Whether there are settings by which it is ours.
fn may_be_ours(facts: &ServiceFacts) -> bool {
    let class = facts.load_balancer_class.as_deref();
    facts.is_load_balancer()
        && class.is_none_or(|class| [BGP_CLASS, L2_ANNOUNCER_CLASS].contains(&class))
}

fn terms<'a>(name: &'a NamespacedName, facts: &'a ServiceFacts) -> Terms<'a> {
    let permits = match SHARING_CROSS_NAMESPACE.of(facts) {
        Some(list) => Namespaces::parse(list),
        None => Namespaces::Only(BTreeSet::new()),
    };
    // What Go's ParseBool takes for true.
    let different_pods = match SHARING_PERMIT_DIFFERENT_PODS.of(facts) {
        Some("1" | "t" | "T" | "TRUE" | "true" | "True") => DifferentPods::Permitted,
        Some(_) | None => DifferentPods::Refused,
    };
    Terms {
        key: SHARING_KEY.of(facts).filter(|key| !key.is_empty()),
        namespace: &name.namespace,
        permits,
        ports: &facts.ports,
        policy: facts.external_traffic_policy,
        pods: &facts.selector,
        different_pods,
    }
}

impl Request {
    /// `loadBalancerIP` and the annotation, in this order; where neither has an address, the families. Text that is no
    /// address is passed over.
    fn of(facts: &ServiceFacts, settings: &Settings) -> Self {
        let listed = ADDRESSES.of(facts).unwrap_or_default().split(',');
        let texts = facts.load_balancer_ip.as_deref().into_iter().chain(listed);
        let mut set = BTreeSet::new();
        let in_order: Vec<IpAddr> = texts
            .filter_map(|text| text.trim().parse().ok())
            .filter(|address| set.insert(*address))
            .collect();
        if in_order.is_empty() {
            Self::Families(families(facts, settings))
        } else {
            Self::Addresses { in_order, set }
        }
    }

    /// Whether this address is what it asks for.
    pub(super) fn admits(&self, address: IpAddr) -> bool {
        match self {
            Self::Families(families) => families.contains(&family(address)),
            Self::Addresses { set, .. } => set.contains(&address),
        }
    }
}

/// A single-stack Service that names its family has it even where the cluster does not: then no pool will have addresses
/// of it, and the condition says so. Cilium's operator decides alike.
fn families(facts: &ServiceFacts, settings: &Settings) -> Vec<IpFamily> {
    let enabled = [
        (settings.ipv4, IpFamily::Ipv4),
        (settings.ipv6, IpFamily::Ipv6),
    ];
    let enabled = enabled
        .into_iter()
        .filter_map(|(is_enabled, family)| is_enabled.then_some(family));
    let listed = &facts.ip_families;
    match facts.ip_family_policy {
        IpFamilyPolicy::SingleStack if listed.is_empty() => enabled.take(1).collect(),
        IpFamilyPolicy::SingleStack => listed.iter().copied().take(1).collect(),
        IpFamilyPolicy::PreferDualStack if !listed.is_empty() => {
            enabled.filter(|family| listed.contains(family)).collect()
        }
        IpFamilyPolicy::PreferDualStack | IpFamilyPolicy::RequireDualStack => enabled.collect(),
    }
}

pub(super) fn family(address: IpAddr) -> IpFamily {
    match address {
        IpAddr::V4(_) => IpFamily::Ipv4,
        IpAddr::V6(_) => IpFamily::Ipv6,
    }
}

#[cfg(test)]
mod tests;
