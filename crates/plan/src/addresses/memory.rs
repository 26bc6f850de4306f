//! What a plan remembers for the next, so that one change among many Services costs no look at the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::CiliumLoadBalancerIPPool;

use super::ledger::Ledger;
use super::pools::{self, Pool};
use super::satisfy::{Satisfaction, Settled};
use super::service::{Role, Service};
use super::stock::Stock;
use super::{ServiceOp, Settings};
use crate::{NamespacedName, ServiceFacts, Snapshot, next_named};

/// Which Services were at rest when the last plan was made. It changes nothing of what the next one says.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    settings: Option<Settings>,
    pools: BTreeMap<String, Arc<CiliumLoadBalancerIPPool>>,
    services: BTreeMap<NamespacedName, AtRest>,
    stock: Stock,
}

/// A Service that shows what it asks for, shares with nobody, and of which nothing is to be written; or one that is none of
/// our business. So it stays until it changes, or a pool does, or another Service shows one of its addresses.
#[derive(Debug, Clone)]
struct AtRest {
    facts: Arc<ServiceFacts>,
    is_ours: bool,
}

impl Memory {
    /// Begins a plan: who has what at rest, and the Services that are to be looked at, by name.
    pub(super) fn open<'a>(
        &mut self,
        snapshot: &'a Snapshot,
        settings: &Settings,
    ) -> (Ledger<'a>, Vec<Service<'a>>) {
        let pools = pools::pools(snapshot);
        self.forget_unless(settings, snapshot, &pools);
        let mut ledger = Ledger::of(pools, std::mem::take(&mut self.stock));
        self.wake(self.changed(snapshot), &mut ledger);
        let services = self.awake(snapshot, settings, &ledger);
        let shown = services.iter().flat_map(Service::shown);
        let owners: Vec<NamespacedName> = shown
            .filter_map(|address| ledger.at_rest_with(address).cloned())
            .collect();
        if owners.is_empty() {
            return (ledger, services);
        }
        self.wake(owners, &mut ledger);
        let services = self.awake(snapshot, settings, &ledger);
        (ledger, services)
    }

    /// Ends a plan that says so of these Services.
    pub(super) fn close(
        &mut self,
        mut ledger: Ledger<'_>,
        settled: &[Settled<'_>],
        ops: &[ServiceOp],
    ) {
        ledger.put_all_back();
        let written: BTreeSet<&NamespacedName> = ops.iter().map(|op| &op.name).collect();
        let at_rest = settled.iter().filter(|settled| {
            let Service {
                name, role, terms, ..
            } = &settled.service;
            *role == Role::Served
                && settled.satisfaction == Satisfaction::Satisfied
                && terms.key.is_none()
                && !written.contains(name)
        });
        for settled in at_rest {
            let service = &settled.service;
            for address in service.shown() {
                ledger.lay(address, service.name);
            }
            self.remember(service.name, service.facts, true);
        }
        self.stock = ledger.into_stock();
    }

    /// How many Services of ours are at rest.
    pub(super) fn served(&self) -> usize {
        let services = self.services.values();
        services.filter(|service| service.is_ours).count()
    }

    fn forget_unless(&mut self, settings: &Settings, snapshot: &Snapshot, pools: &[Pool<'_>]) {
        if self.settings.as_ref() != Some(settings) || !give_alike(&self.pools, &snapshot.pools) {
            self.services.clear();
            self.stock = Stock::of(pools);
            self.settings = Some(settings.clone());
        }
        self.pools.clone_from(&snapshot.pools);
    }

    /// Services at rest that are gone, or not what they were.
    fn changed(&self, snapshot: &Snapshot) -> Vec<NamespacedName> {
        let mut present = snapshot.services.iter().peekable();
        let known = self.services.iter();
        let changed = known.filter(|(name, known)| {
            let present = next_named(&mut present, *name, |(name, _)| *name);
            present.is_none_or(|(_, facts)| !Arc::ptr_eq(facts, &known.facts))
        });
        changed.map(|(name, _)| name.clone()).collect()
    }

    fn wake(&mut self, names: Vec<NamespacedName>, ledger: &mut Ledger<'_>) {
        for name in names {
            if let Some(AtRest { facts, is_ours }) = self.services.remove(&name)
                && is_ours
            {
                facts
                    .shown_addresses()
                    .for_each(|address| ledger.lift(address));
            }
        }
    }

    /// Those of the Services not at rest that we have to do with; the others are put to rest.
    fn awake<'a>(
        &mut self,
        snapshot: &'a Snapshot,
        settings: &Settings,
        ledger: &Ledger<'a>,
    ) -> Vec<Service<'a>> {
        let (mut services, mut foreign) = (Vec::new(), Vec::new());
        let mut known = self.services.keys().peekable();
        for (name, facts) in &snapshot.services {
            if next_named(&mut known, name, |known| *known).is_some() {
                continue;
            }
            match Service::of(name, facts, settings, ledger.pools()) {
                Some(service) => services.push(service),
                None => foreign.push((name, facts)),
            }
        }
        for (name, facts) in foreign {
            self.remember(name, facts, false);
        }
        services
    }

    fn remember(&mut self, name: &NamespacedName, facts: &Arc<ServiceFacts>, is_ours: bool) {
        let facts = Arc::clone(facts);
        let at_rest = AtRest { facts, is_ours };
        self.services.insert(name.clone(), at_rest);
    }
}

type Pools = BTreeMap<String, Arc<CiliumLoadBalancerIPPool>>;

/// Whether pools differ in nothing but what they say of themselves.
fn give_alike(a: &Pools, b: &Pools) -> bool {
    let alike = |a: &Arc<CiliumLoadBalancerIPPool>, b: &Arc<CiliumLoadBalancerIPPool>| {
        let (of_a, of_b) = (&a.metadata, &b.metadata);
        Arc::ptr_eq(a, b)
            || (a.spec == b.spec
                && of_a.creation_timestamp == of_b.creation_timestamp
                && of_a.deletion_timestamp == of_b.deletion_timestamp)
    };
    let mut pairs = a.iter().zip(b);
    a.len() == b.len() && pairs.all(|((a_name, a), (b_name, b))| a_name == b_name && alike(a, b))
}

#[cfg(test)]
mod tests;
