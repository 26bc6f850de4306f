//! The EndpointSlices of each Service.

use std::cell::OnceCell;
use std::sync::Arc;

use crate::snapshot::{EndpointSliceFacts, NamespacedName, Snapshot};

/// A slice that serves a Service, and the Service's namespace and name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slice<'a> {
    service: (&'a str, &'a str),
    pub(super) facts: &'a Arc<EndpointSliceFacts>,
}

/// All slices that serve a Service, in order of Services and of slices' names; put in order when somebody first asks.
#[derive(Debug)]
pub(super) struct Slices<'a> {
    snapshot: &'a Snapshot,
    in_order: OnceCell<Vec<Slice<'a>>>,
}

impl<'a> Slices<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot,
            in_order: OnceCell::new(),
        }
    }

    fn in_order(&self) -> &[Slice<'a>] {
        self.in_order.get_or_init(|| Self::order(self.snapshot))
    }

    fn order(snapshot: &'a Snapshot) -> Vec<Slice<'a>> {
        let slices = snapshot.endpoint_slices.iter();
        let mut slices: Vec<_> = slices
            .filter_map(|(name, facts)| {
                let service = (name.namespace.as_str(), facts.service.as_deref()?);
                Some(Slice { service, facts })
            })
            .collect();
        // Stable, and fast on what is nearly in order: slices are named after their Services.
        slices.sort_by_key(|slice| slice.service);
        slices
    }

    /// Those of one Service.
    pub(super) fn of_service(&self, name: &NamespacedName) -> &[Slice<'a>] {
        let wanted = key(name);
        let slices = self.in_order();
        let start = slices.partition_point(|slice| slice.service < wanted);
        let rest = &slices[start..];
        &rest[..count(rest, wanted)]
    }

    /// To be asked for Services in order of their names: a walk through all, where each step is short.
    pub(super) fn walk(&self) -> Walk<'_, 'a> {
        Walk {
            rest: self.in_order(),
        }
    }
}

/// See [`Slices::walk`].
pub(super) struct Walk<'s, 'a> {
    rest: &'s [Slice<'a>],
}

impl<'s, 'a> Walk<'s, 'a> {
    /// The slices of the next Service that is asked for.
    pub(super) fn to(&mut self, name: &NamespacedName) -> &'s [Slice<'a>] {
        let wanted = key(name);
        let before = self.rest.iter();
        let before = before.take_while(|slice| slice.service < wanted).count();
        let rest = &self.rest[before..];
        let (found, rest) = rest.split_at(count(rest, wanted));
        self.rest = rest;
        found
    }
}

fn key(name: &NamespacedName) -> (&str, &str) {
    (&name.namespace, &name.name)
}

fn count(slices: &[Slice<'_>], wanted: (&str, &str)) -> usize {
    let same = slices.iter();
    same.take_while(|slice| slice.service == wanted).count()
}
