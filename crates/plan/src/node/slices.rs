//! The EndpointSlices of each Service.

use std::cell::OnceCell;
use std::cmp::Ordering;
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
                let service = (&*name.namespace, facts.service.as_deref()?);
                Some(Slice { service, facts })
            })
            .collect();
        // Stable, and fast on what is nearly in order: slices are named after their Services.
        slices.sort_by_key(|slice| slice.service);
        slices
    }

    /// To be asked for Services in order of their names: a walk through all, where each step is short.
    pub(super) fn walk(&self) -> Walk<'_, 'a> {
        Walk {
            slices: self,
            rest: None,
        }
    }
}

/// See [`Slices::walk`].
pub(super) struct Walk<'s, 'a> {
    slices: &'s Slices<'a>,
    /// Those that are still to come; `None` before somebody has asked.
    rest: Option<&'s [Slice<'a>]>,
}

impl<'s, 'a> Walk<'s, 'a> {
    /// The slices of the next Service that is asked for.
    pub(super) fn to(&mut self, name: &NamespacedName) -> &'s [Slice<'a>] {
        let wanted = (&*name.namespace, &*name.name);
        let rest = self.rest.unwrap_or_else(|| self.slices.in_order());
        let (mut start, mut end) = (0, 0);
        for slice in rest {
            match slice.service.cmp(&wanted) {
                Ordering::Less => start += 1,
                Ordering::Equal => {}
                Ordering::Greater => break,
            }
            end += 1;
        }
        let (passed, rest) = rest.split_at(end);
        self.rest = Some(rest);
        &passed[start..]
    }
}
