//! The EndpointSlices of each Service.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::snapshot::{EndpointSliceFacts, NamespacedName, Snapshot};

/// A slice that serves a Service, and the Service's namespace and name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slice<'a> {
    service: (&'a str, &'a str),
    pub(super) facts: &'a Arc<EndpointSliceFacts>,
}

/// All slices that serve a Service, in order of Services and of slices' names.
pub(super) fn in_order(snapshot: &Snapshot) -> Vec<Slice<'_>> {
    let slices = snapshot.endpoint_slices.iter();
    let mut slices: Vec<_> = slices
        .filter_map(|(name, facts)| {
            let service = (&*name.namespace, facts.service.as_deref()?);
            Some(Slice { service, facts })
        })
        .collect();
    // Stable, and fast on what is nearly in order: slices are named after their Services.
    slices.sort_by_key(|slice| slice.service);
    slices
}

/// A walk through all slices, to be asked for Services in order of their names, where each step is short.
pub(super) struct Walk<'s, 'a> {
    /// Those that are still to come.
    rest: &'s [Slice<'a>],
}

impl<'s, 'a> Walk<'s, 'a> {
    /// Through slices that are [`in_order`].
    pub(super) fn through(slices: &'s [Slice<'a>]) -> Self {
        Self { rest: slices }
    }

    /// The slices of the next Service that is asked for.
    pub(super) fn to(&mut self, name: &NamespacedName) -> &'s [Slice<'a>] {
        let wanted = (&*name.namespace, &*name.name);
        let (mut start, mut end) = (0, 0);
        for slice in self.rest {
            match slice.service.cmp(&wanted) {
                Ordering::Less => start += 1,
                Ordering::Equal => {}
                Ordering::Greater => break,
            }
            end += 1;
        }
        let (passed, rest) = self.rest.split_at(end);
        self.rest = rest;
        &passed[start..]
    }
}
