//! Where an address is in the pools.

use std::net::IpAddr;

use super::pools::Pool;
use super::ranges::Range;

/// Which blocks have an address.
#[derive(Debug)]
pub(super) struct Index {
    /// By first address.
    stretches: Vec<Stretch>,
}

#[derive(Debug)]
struct Stretch {
    range: Range,
    /// The highest address of this range and all before it.
    reach: IpAddr,
    place: Place,
}

/// A block: place of its pool, and its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pool: usize,
    pub(super) block: usize,
}

impl Index {
    pub(super) fn of(pools: &[Pool<'_>]) -> Self {
        let blocks = pools.iter().enumerate().flat_map(|(pool, of_pool)| {
            let blocks = of_pool.blocks.iter().enumerate();
            blocks.map(move |(block, parsed)| (parsed.range, Place { pool, block }))
        });
        let mut stretches: Vec<Stretch> = blocks
            .map(|(range, place)| Stretch {
                range,
                reach: range.last,
                place,
            })
            .collect();
        stretches.sort_by_key(|stretch| stretch.range.first);
        let mut reach = None;
        for stretch in &mut stretches {
            stretch.reach = reach.map_or(stretch.reach, |reach: IpAddr| reach.max(stretch.reach));
            reach = Some(stretch.reach);
        }
        Self { stretches }
    }

    /// The blocks that have this address; one, unless blocks overlap.
    pub(super) fn places_of(&self, address: IpAddr) -> impl Iterator<Item = Place> {
        let end = self
            .stretches
            .partition_point(|stretch| stretch.range.first <= address);
        let before = self.stretches.iter().take(end).rev();
        before
            .take_while(move |stretch| stretch.reach >= address)
            .filter(move |stretch| stretch.range.contains(address))
            .map(|stretch| stretch.place)
    }
}
