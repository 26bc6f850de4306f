//! What the pools have left when each Service at rest has its own.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::free::Free;
use super::places::Place;
use super::pools::Pool;
use super::ranges::{BlockRange, Range};
use super::service::family;
use crate::NamespacedName;
use crate::snapshot::IpFamily;

/// Which addresses are free, and which Services at rest have. The pools are known by their places.
#[derive(Debug, Clone, Default)]
pub(super) struct Stock {
    /// Of each pool the free addresses of each block, by its family and place. Blocks without any are left out.
    free: Vec<BTreeMap<(IpFamily, usize), Free>>,
    /// What Services at rest have, each for itself alone.
    pub(super) at_rest: BTreeMap<IpAddr, NamespacedName>,
}

impl Stock {
    /// Everything is free that is not reserved.
    pub(super) fn of(pools: &[Pool<'_>]) -> Self {
        Self {
            free: pools.iter().map(|pool| free(&pool.blocks)).collect(),
            at_rest: BTreeMap::new(),
        }
    }

    /// The lowest free address of a pool's first block that has one.
    pub(super) fn lowest_free(&self, pool: usize, family: IpFamily) -> Option<IpAddr> {
        let ((of_block, _), free) = self.free[pool].range((family, 0)..).next()?;
        free.lowest().filter(|_| *of_block == family)
    }

    /// Notes that an address is not free, and says whether it was.
    pub(super) fn take(&mut self, place: Place, address: IpAddr) -> bool {
        let key = (family(address), place.block);
        let Some(free) = self.free[place.pool].get_mut(&key) else {
            return false;
        };
        let was_free = free.remove(Range::single(address));
        if free.lowest().is_none() {
            self.free[place.pool].remove(&key);
        }
        was_free
    }

    /// Notes that an address is free.
    pub(super) fn put_back(&mut self, place: Place, address: IpAddr) {
        let key = (family(address), place.block);
        self.free[place.pool]
            .entry(key)
            .or_default()
            .insert(address);
    }
}

fn free(blocks: &[BlockRange]) -> BTreeMap<(IpFamily, usize), Free> {
    let free = blocks.iter().enumerate().map(|(place, block)| {
        let mut free = Free::of(block.range);
        for range in block.reserved() {
            free.remove(range);
        }
        ((family(block.range.first), place), free)
    });
    free.filter(|(_, free)| free.lowest().is_some()).collect()
}
