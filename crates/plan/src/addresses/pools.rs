//! Pools as they are to be used: valid ranges, conflicts marked, the oldest first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use api::{CiliumLoadBalancerIPPool, Selector};

use super::ranges::{BlockRange, Range};
use super::rejected::Rejected;
use super::service::{Service, family};
use crate::Snapshot;
use crate::snapshot::IpFamily;

/// A pool.
#[derive(Debug)]
pub(super) struct Pool<'a> {
    pub(super) name: &'a str,
    pub(super) object: &'a CiliumLoadBalancerIPPool,
    /// Its valid blocks, in order.
    pub(super) blocks: Vec<BlockRange>,
    pub(super) rejected: Vec<Rejected>,
    pub(super) conflict: Option<Conflict<'a>>,
    selects: Selects,
    /// Families of its blocks.
    families: BTreeSet<IpFamily>,
}

/// Which Services may draw from a pool.
#[derive(Debug)]
enum Selects {
    All,
    Some(Selector),
    /// The selector is invalid. Until it is repaired, everything stays as it is.
    Unknown,
}

/// That a pool has addresses which another, or the same, has too. Displayed in Cilium's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Conflict<'a> {
    own: Range,
    other: Range,
    /// The pool of the other range.
    pool: &'a str,
}

impl fmt::Display for Conflict<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { own, other, pool } = self;
        write!(
            formatter,
            "Pool conflicts since range '{own}' overlaps range '{other}' from IP Pool '{pool}'"
        )
    }
}

/// All pools: by creation, then by name, which is the order in which they are drawn from.
pub(super) fn pools(snapshot: &Snapshot) -> Vec<Pool<'_>> {
    let mut pools: Vec<_> = snapshot
        .pools
        .iter()
        .map(|(name, object)| Pool::of(name, object))
        .collect();
    pools.sort_by_key(|pool| {
        let created = pool.object.metadata.creation_timestamp.as_ref();
        (created.map(|time| time.0), pool.name)
    });
    mark_conflicts(&mut pools);
    pools
}

/// Of two pools that overlap, the younger is in conflict; one that overlaps itself is, too. A pool in conflict does not
/// put others in conflict.
fn mark_conflicts(pools: &mut [Pool<'_>]) {
    let mut settled = Disjoint::default();
    for pool in pools {
        pool.conflict = pool
            .conflict_with_itself()
            .or_else(|| pool.conflict_with(&settled));
        if pool.conflict.is_none() {
            for block in &pool.blocks {
                settled.insert(block.range, pool.name);
            }
        }
    }
}

/// Ranges that do not overlap, each with its pool.
#[derive(Debug, Default)]
struct Disjoint<'a> {
    /// By first address.
    ranges: BTreeMap<IpAddr, (Range, &'a str)>,
}

impl<'a> Disjoint<'a> {
    fn insert(&mut self, range: Range, pool: &'a str) {
        self.ranges.insert(range.first, (range, pool));
    }

    fn overlapping(&self, range: Range) -> Option<(Range, &'a str)> {
        let (_, (before, pool)) = self.ranges.range(..=range.last).next_back()?;
        before.intersection(&range).map(|_| (*before, *pool))
    }
}

impl<'a> Pool<'a> {
    fn of(name: &'a str, object: &'a CiliumLoadBalancerIPPool) -> Self {
        let spec = &object.spec;
        let mut rejected = Vec::new();
        let selects = match &spec.service_selector {
            None => Selects::All,
            Some(selector) => match selector.parse() {
                Ok(selector) if selector == Selector::default() => Selects::All,
                Ok(selector) => Selects::Some(selector),
                Err(invalid) => {
                    rejected.push(Rejected::ServiceSelector(invalid));
                    Selects::Unknown
                }
            },
        };
        let mut blocks = Vec::with_capacity(spec.blocks.len());
        for (index, block) in spec.blocks.iter().enumerate() {
            match BlockRange::parse(block, spec.allow_first_last_ips) {
                Ok(block) => blocks.push(block),
                Err(fault) => rejected.push(Rejected::Block { index, fault }),
            }
        }
        let families = blocks.iter().map(|block| family(block.range.first));
        Self {
            name,
            object,
            families: families.collect(),
            blocks,
            rejected,
            conflict: None,
            selects,
        }
    }

    /// Whether new addresses are given out.
    pub(super) fn is_open(&self) -> bool {
        let is_being_deleted = self.object.metadata.deletion_timestamp.is_some();
        self.conflict.is_none() && !self.object.spec.disabled && !is_being_deleted
    }

    /// Whether a Service may have new addresses of an open pool.
    pub(super) fn gives_to(&self, service: &Service<'_>) -> bool {
        match &self.selects {
            Selects::All => true,
            Selects::Some(selector) => {
                selector.matches_by(|key| service.facts.label(service.name, key))
            }
            Selects::Unknown => false,
        }
    }

    /// Whether a Service may keep an address it has, also of a pool that is not open.
    pub(super) fn leaves_to(&self, service: &Service<'_>) -> bool {
        match &self.selects {
            Selects::Unknown => true,
            Selects::All | Selects::Some(_) => self.gives_to(service),
        }
    }

    pub(super) fn has(&self, family: IpFamily) -> bool {
        self.families.contains(&family)
    }

    /// Whether the address of its block `place` may be given out when it is free.
    pub(super) fn reserves(&self, place: usize, address: IpAddr) -> bool {
        self.blocks
            .get(place)
            .is_none_or(|block| block.is_reserved(address))
    }

    fn conflict_with_itself(&self) -> Option<Conflict<'a>> {
        let mut earlier = Disjoint::default();
        for block in &self.blocks {
            if let Some((own, pool)) = earlier.overlapping(block.range) {
                let other = block.range;
                return Some(Conflict { own, other, pool });
            }
            earlier.insert(block.range, self.name);
        }
        None
    }

    fn conflict_with(&self, others: &Disjoint<'a>) -> Option<Conflict<'a>> {
        self.blocks.iter().find_map(|block| {
            let (other, pool) = others.overlapping(block.range)?;
            let own = block.range;
            Some(Conflict { own, other, pool })
        })
    }
}
