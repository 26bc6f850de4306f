//! The steps of one difference, in the order in which they are safe.

use std::collections::{BTreeMap, BTreeSet};

use lb_abi::Frontend;

use crate::op::{FrontendKey, MapOp};

/// Steps by phase. A field stands before another where its writes must be done first.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// Before the backends: as soon as one is known to be local its replies must be looked at.
    pub(super) filters: Vec<MapOp>,
    pub(super) backends: Vec<MapOp>,
    pub(super) node_addresses: Vec<MapOp>,
    pub(super) slots: Vec<MapOp>,
    pub(super) rings: Vec<MapOp>,
    pub(super) groups: Vec<MapOp>,
    /// Before the rows that say there is one. Of a row that changes hands more than once only the last is written.
    pub(super) internals: BTreeMap<FrontendKey, Frontend>,
    pub(super) externals: BTreeMap<FrontendKey, Frontend>,
    /// After the rows that they are the rest of.
    pub(super) wildcards: Vec<MapOp>,

    pub(super) wildcards_gone: Vec<MapOp>,
    pub(super) externals_gone: Vec<MapOp>,
    pub(super) filters_cleared: Vec<MapOp>,

    /// Something that packets under way may still see was unpublished: its room is used again after the grace period.
    pub(super) unpublished: bool,

    pub(super) internals_gone: BTreeSet<FrontendKey>,
    pub(super) groups_gone: Vec<MapOp>,
    pub(super) backends_gone: Vec<MapOp>,

    /// Room was made that the next difference may use.
    pub(super) freed: bool,
    /// Those of `internals` that the map does not have yet. If one is given up again, nothing is written of it.
    pub(super) internals_new: BTreeSet<FrontendKey>,
}

impl Steps {
    pub(super) fn into_ops(self, raise_epoch: bool) -> Vec<MapOp> {
        let grace = self.unpublished
            || !self.internals_gone.is_empty()
            || !self.groups_gone.is_empty()
            || !self.backends_gone.is_empty();
        let raise_epoch = raise_epoch || !self.backends_gone.is_empty();
        let set = |(key, frontend)| MapOp::SetFrontend { key, frontend };
        let mut ops = self.filters;
        ops.extend(self.backends);
        ops.extend(self.node_addresses);
        ops.extend(self.slots);
        ops.extend(self.rings);
        ops.extend(self.groups);
        ops.extend(self.internals.into_iter().map(set));
        ops.extend(self.externals.into_iter().map(set));
        ops.extend(self.wildcards);
        ops.extend(self.wildcards_gone);
        ops.extend(self.externals_gone);
        ops.extend(self.filters_cleared);
        if grace {
            ops.push(MapOp::Grace);
        }
        let erase = |key| MapOp::RemoveFrontend { key };
        ops.extend(self.internals_gone.into_iter().map(erase));
        ops.extend(self.groups_gone);
        ops.extend(self.backends_gone);
        if raise_epoch {
            ops.push(MapOp::RaiseEpoch);
        }
        ops
    }
}
