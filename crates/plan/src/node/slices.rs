//! The EndpointSlices of Services.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::in_order::differences;
use crate::snapshot::{EndpointSliceFacts, NamespacedName, ServiceFacts};

type Services = BTreeMap<NamespacedName, Arc<ServiceFacts>>;
type Slices = BTreeMap<NamespacedName, Arc<EndpointSliceFacts>>;

/// Some Services, each with the slices that serve it.
#[derive(Debug, Default)]
pub(super) struct SlicesOfServices<'a>(BTreeMap<(&'a str, &'a str), OfService<'a>>);

/// A Service, and its slices in order of their names.
#[derive(Debug)]
pub(super) struct OfService<'a> {
    pub(super) name: &'a NamespacedName,
    pub(super) slices: Vec<Arc<EndpointSliceFacts>>,
}

impl<'a> SlicesOfServices<'a> {
    /// Adds a Service, without its slices.
    pub(super) fn add(&mut self, name: &'a NamespacedName) {
        let key = (&*name.namespace, &*name.name);
        let slices = Vec::new();
        self.0.entry(key).or_insert(OfService { name, slices });
    }

    /// Adds those of `services` of which a slice is new, gone, or another one.
    pub(super) fn add_changed(&mut self, services: &'a Services, before: &Slices, now: &Slices) {
        differences(before, now, |name, before, now| {
            let slices = before.into_iter().chain(now);
            for service in slices.filter_map(|facts| facts.service.as_deref()) {
                let service = NamespacedName {
                    namespace: Arc::clone(&name.namespace),
                    name: service.into(),
                };
                if let Some((name, _)) = services.get_key_value(&service) {
                    self.add(name);
                }
            }
        });
    }

    /// The Services with their slices, in order of their names.
    pub(super) fn found_in(
        mut self,
        slices: &'a Slices,
    ) -> impl Iterator<Item = OfService<'a>> + use<'a> {
        for (name, facts) in slices {
            let service = facts.service.as_deref();
            let key = service.map(|service| (&*name.namespace, service));
            if let Some(found) = key.and_then(|key| self.0.get_mut(&key)) {
                found.slices.push(Arc::clone(facts));
            }
        }
        self.0.into_values()
    }
}
