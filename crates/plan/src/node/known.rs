//! What is known of each Service from one plan to the next: what the load balancer is to do for it, what is announced of
//! it, and its addresses. A Service is looked at again when one of its objects has changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::CiliumBGPAdvertisement;

use super::Settings;
use super::datapath::nodes;
use super::datapath::service::{self, Here};
use super::datapath::{DatapathService, DatapathServices};
use super::import::GuardedServices;
use super::services::Entry;
use super::slices::{OfService, SlicesOfServices};
use crate::copy_on_write::CopyOnWrite;
use crate::in_order::differences;
use crate::snapshot::{EndpointSliceFacts, NamespacedName, NodeFacts, ServiceFacts, Snapshot};

/// All Services, as the last plan saw them.
#[derive(Debug, Default)]
pub(super) struct KnownServices {
    settings: Option<Settings>,
    here: Arc<NodeFacts>,
    advertisements: BTreeMap<String, Arc<CiliumBGPAdvertisement>>,
    sources: Option<Sources>,
    services: BTreeMap<Arc<NamespacedName>, Known>,
    planned: CopyOnWrite<DatapathServices>,
    entries: Vec<Entry>,
    /// Where there are imports that they are guarded from.
    guarded: Option<GuardedServices>,
}

/// A Service, and what is known of it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) name: Arc<NamespacedName>,
    pub(super) facts: Arc<ServiceFacts>,
    pub(super) slices: Box<[Arc<EndpointSliceFacts>]>,
    /// What the load balancer is to do for it, where there is one.
    pub(super) planned: Option<Arc<DatapathService>>,
}

/// What the Services were read from.
#[derive(Debug, Default)]
struct Sources {
    services: CopyOnWrite<BTreeMap<NamespacedName, Arc<ServiceFacts>>>,
    slices: CopyOnWrite<BTreeMap<NamespacedName, Arc<EndpointSliceFacts>>>,
}

impl KnownServices {
    /// Looks at what has changed since the last time.
    pub(super) fn follow(&mut self, snapshot: &Snapshot, settings: &Settings) {
        self.forget_unless(settings, nodes::this(snapshot, settings));
        self.follow_advertisements(snapshot, settings);
        self.follow_imports(snapshot);
        let Snapshot {
            services,
            endpoint_slices,
            ..
        } = snapshot;
        let same =
            |sources: &Sources| sources.services.is(services) && sources.slices.is(endpoint_slices);
        if !self.sources.as_ref().is_some_and(same) {
            self.follow_services(snapshot, settings);
            self.sources = Some(Sources {
                services: services.clone(),
                slices: endpoint_slices.clone(),
            });
        }
    }

    /// This node.
    pub(super) fn here(&self) -> &NodeFacts {
        &self.here
    }

    /// What the load balancer is to do for the Services that want something of it.
    pub(super) fn planned(&self) -> &CopyOnWrite<DatapathServices> {
        &self.planned
    }

    /// What is announced of them.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Their addresses, where there are imports.
    pub(super) fn guarded(&self) -> Option<&GuardedServices> {
        self.guarded.as_ref()
    }

    /// Forgets all Services where they were looked at under other circumstances.
    fn forget_unless(&mut self, settings: &Settings, here: Option<Arc<NodeFacts>>) {
        let here = here.unwrap_or_default();
        if self.settings.as_ref() != Some(settings) || self.here != here {
            *self = Self {
                settings: Some(settings.clone()),
                ..Self::default()
            };
        }
        self.here = here;
    }

    /// Where advertisements have changed, all entries are made anew.
    fn follow_advertisements(&mut self, snapshot: &Snapshot, settings: &Settings) {
        if self.advertisements == snapshot.advertisements {
            return;
        }
        self.advertisements.clone_from(&snapshot.advertisements);
        self.entries = Entry::all(&self.advertisements);
        for entry in &mut self.entries {
            for service in self.services.values() {
                entry.add(service, settings);
            }
        }
    }

    fn follow_imports(&mut self, snapshot: &Snapshot) {
        if snapshot.route_imports.is_empty() {
            self.guarded = None;
        } else if self.guarded.is_none() {
            let mut guarded = GuardedServices::default();
            for service in self.services.values() {
                guarded.replace(None, Some(&service.facts));
            }
            self.guarded = Some(guarded);
        }
    }

    /// Looks again at the Services of which an object is new, gone, or another one.
    fn follow_services(&mut self, snapshot: &Snapshot, settings: &Settings) {
        let before = self.sources.take().unwrap_or_default();
        let Snapshot {
            services,
            endpoint_slices,
            ..
        } = snapshot;
        let mut changed = SlicesOfServices::default();
        differences(&before.services, services, |name, _, _| changed.add(name));
        changed.add_changed(services, &before.slices, endpoint_slices);
        for OfService { name, slices } in changed.found_in(endpoint_slices) {
            let known = self.services.remove(name);
            if let Some(facts) = services.get(name) {
                let service = self.look(name, facts, slices, known.as_ref(), settings);
                self.services.insert(Arc::clone(&service.name), service);
            } else if let Some(gone) = known {
                self.remove(&gone, settings);
            }
        }
    }

    /// Looks at a Service that is new, or not what it was. What is planned for it keeps its `Arc` where it says what it said.
    fn look(
        &mut self,
        name: &NamespacedName,
        facts: &Arc<ServiceFacts>,
        slices: Vec<Arc<EndpointSliceFacts>>,
        before: Option<&Known>,
        settings: &Settings,
    ) -> Known {
        let datapath = settings.datapath.as_ref();
        let planned = datapath.map(|datapath| {
            let here = Here::new(settings, datapath, &self.here);
            service::plan(name, facts, &slices, &here)
        });
        let before_planned = before.and_then(|before| before.planned.clone());
        let planned = planned.map(|planned| match before_planned {
            Some(before) if *before == planned => before,
            Some(_) | None => Arc::new(planned),
        });
        let service = Known {
            name: before.map_or_else(|| Arc::new(name.clone()), |before| Arc::clone(&before.name)),
            facts: Arc::clone(facts),
            slices: slices.into(),
            planned,
        };
        self.replace(before, &service, settings);
        service
    }

    fn replace(&mut self, before: Option<&Known>, service: &Known, settings: &Settings) {
        let plan_of = |known: &Known| known.planned.as_ref().map(Arc::as_ptr);
        if before.map(plan_of) != Some(plan_of(service)) {
            match &service.planned {
                Some(planned) if wants_something(planned) => {
                    let name = Arc::clone(&service.name);
                    self.planned.insert(name, Arc::clone(planned));
                }
                Some(_) | None => self.unplan(&service.name),
            }
        }
        if let Some(guarded) = &mut self.guarded {
            let facts_before = before.map(|before| &*before.facts);
            guarded.replace(facts_before, Some(&service.facts));
        }
        for entry in &mut self.entries {
            if let Some(before) = before {
                entry.remove(before, settings);
            }
            entry.add(service, settings);
        }
    }

    fn remove(&mut self, service: &Known, settings: &Settings) {
        self.unplan(&service.name);
        if let Some(guarded) = &mut self.guarded {
            guarded.replace(Some(&service.facts), None);
        }
        for entry in &mut self.entries {
            entry.remove(service, settings);
        }
    }

    /// Whoever has the plans has a copy of them made only where there is something to take out.
    fn unplan(&mut self, name: &NamespacedName) {
        if self.planned.contains_key(name) {
            self.planned.remove(name);
        }
    }
}

/// Beside what it is to serve, faults are told of.
fn wants_something(planned: &DatapathService) -> bool {
    !planned.frontends.is_empty() || !planned.faults.is_empty()
}
