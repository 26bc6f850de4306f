//! "Announced only when programmed".

use std::collections::{BTreeSet, btree_map};
use std::iter::Peekable;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::datapath::{DatapathPlan, DatapathService};
use super::observed::{DatapathState, ObservedDatapath};
use crate::in_order::next_named;
use crate::snapshot::{NamespacedName, ServiceFacts};
use crate::withheld::{Addresses, Reason, Withheld};

/// Lets addresses of Services pass that the load balancer of this node serves, and all where it has none. What has to wait
/// is noted with the reason. An address that the node is not to serve at all (another node's Service, another proxy's)
/// neither passes nor waits.
pub(super) struct Gate<'a> {
    rule: Option<Rule<'a>>,
    waiting: Addresses<'a>,
}

struct Rule<'a> {
    plan: &'a DatapathPlan,
    observed: &'a ObservedDatapath,
}

impl<'a> Gate<'a> {
    pub(super) fn new(
        plan: Option<&'a DatapathPlan>,
        observed: Option<&'a ObservedDatapath>,
    ) -> Self {
        Self {
            rule: plan
                .zip(observed)
                .map(|(plan, observed)| Rule { plan, observed }),
            waiting: Addresses::default(),
        }
    }

    /// To be asked for Services in order of their names.
    pub(super) fn walk(&self) -> Walk<'a> {
        let rule = self.rule.as_ref();
        let services = rule.map(|rule| rule.plan.services.iter().peekable());
        Walk(services)
    }

    /// Whether the address of a Service passes, of which this is `planned`, see [`Gate::walk`].
    pub(super) fn admits(
        &mut self,
        name: &'a NamespacedName,
        service: &ServiceFacts,
        planned: Option<&DatapathService>,
        address: IpAddr,
    ) -> bool {
        let Some(Rule { observed, .. }) = &self.rule else {
            return true;
        };
        let address = address.to_canonical();
        let is_served = planned.is_some_and(|planned| planned.has(address));
        let reason = match (is_served, &observed.state) {
            (false, _) if service.has_source_ranges => Reason::SourceRanges,
            (false, _) => return false,
            (true, DatapathState::Ready) if observed.programmed.contains(&address) => return true,
            (true, DatapathState::Ready) => Reason::NotProgrammed,
            (true, DatapathState::Starting) => Reason::DatapathStarting,
            (true, DatapathState::Unavailable(why)) => Reason::DatapathUnavailable(Arc::clone(why)),
        };
        self.waiting.add(reason, address, name);
        false
    }

    /// The addresses that pass as soon as the load balancer has programmed them.
    pub(super) fn awaited(&self) -> BTreeSet<IpNet> {
        let waiting = self.waiting.of(&Reason::NotProgrammed);
        waiting.map(IpNet::from).collect()
    }

    pub(super) fn into_withheld(self) -> Vec<Withheld> {
        self.waiting.into_withheld()
    }
}

/// A walk through what the load balancer of the node is to do, where each step is short.
pub(super) struct Walk<'a>(
    Option<Peekable<btree_map::Iter<'a, Arc<NamespacedName>, Arc<DatapathService>>>>,
);

impl<'a> Walk<'a> {
    /// What it is to do for the next Service that is asked for.
    pub(super) fn to(&mut self, name: &NamespacedName) -> Option<&'a DatapathService> {
        let services = self.0.as_mut()?;
        let (_, planned) = next_named(services, name, |(planned, _)| planned.as_ref())?;
        Some(planned.as_ref())
    }
}
