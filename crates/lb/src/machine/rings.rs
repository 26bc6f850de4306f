//! Rings in the map: one for all lists whose backends have the same names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use lb_abi::{RING_SIZES, RING_UNIT};

use super::place::{Place, octets};
use super::ranges::{Ranges, Room};
use super::steps::Steps;
use super::waiting::Shortage;
use crate::op::MapOp;
use crate::report::Table;
use crate::ring::{RingRecipe, ring_class};

/// Places per backend that a ring has at least that stands in for a larger one: no backend gets a tenth more than another.
const FEWEST_PLACES: usize = 10;
/// This part of the memory is kept for lists that change: each needs a new ring before its old one is free.
const SPARE: u32 = 64;

#[derive(Debug)]
struct Entry {
    class: u8,
    users: u32,
    /// `None` for what was found at the start and is not what we would write now.
    recipe: Option<Arc<RingRecipe>>,
    /// Whether the range is ours to give back.
    reserved: bool,
}

/// All rings, by their first ordinal.
#[derive(Debug)]
pub(super) struct Rings {
    entries: BTreeMap<u32, Entry>,
    by_recipe: HashMap<Arc<RingRecipe>, u32>,
    /// Ranges, in `RING_UNIT`s.
    units: Ranges,
    /// How many of them are for lists that change.
    spare: u32,
    idle: BTreeSet<u32>,
    maximum: u32,
    seed: u32,
}

impl Rings {
    pub(super) fn new(capacity: u32, maximum: u32, seed: u32) -> Self {
        Self {
            entries: BTreeMap::new(),
            by_recipe: HashMap::new(),
            units: Ranges::new(0, capacity / RING_UNIT),
            spare: capacity / RING_UNIT / SPARE,
            idle: BTreeSet::new(),
            maximum,
            seed,
        }
    }

    pub(super) fn class(&self, start: u32) -> u8 {
        self.entries.get(&start).map_or(0, |entry| entry.class)
    }

    /// What lists without a ring may have.
    pub(super) fn room(&self) -> Room {
        let room = self.units.room();
        let total = room.total.saturating_sub(self.spare);
        Room {
            total,
            longest: room.longest.min(total),
        }
    }

    /// Backends are named by their address, so that the ports of a Service share a ring; with the port where a list has an address
    /// twice.
    fn recipe(&self, places: &[Place], class: u8) -> RingRecipe {
        let mut addresses = BTreeSet::new();
        if places.iter().all(|place| addresses.insert(place.address)) {
            let names: Vec<[u8; 16]> = places.iter().map(|place| octets(place.address)).collect();
            return RingRecipe::new(class, self.seed, &names);
        }
        let names: Vec<[u8; 18]> = places.iter().map(address_and_port).collect();
        RingRecipe::new(class, self.seed, &names)
    }

    /// Whether this is a ring of this list, of whatever size.
    pub(super) fn is_of(&self, start: u32, places: &[Place]) -> bool {
        let entry = self.entries.get(&start);
        entry
            .and_then(|entry| entry.recipe.as_ref())
            .is_some_and(|recipe| **recipe == self.recipe(places, recipe.class))
    }

    /// Counts one more user of the largest ring of this list for which there is room, and writes it where it is not in the map. `None`
    /// where there is no room for one that is larger than the one it has.
    pub(super) fn acquire_larger(
        &mut self,
        places: &[Place],
        than: Option<u32>,
        replaces: bool,
        steps: &mut Steps,
    ) -> Option<u32> {
        let floor = than.map_or(0, |start| self.class(start));
        let classes = classes(places.len(), self.maximum).take_while(|class| *class > floor);
        let mut recipe: Option<RingRecipe> = None;
        for class in classes {
            let recipe = recipe.get_or_insert_with(|| self.recipe(places, class));
            recipe.class = class;
            if let Some(&start) = self.by_recipe.get(&*recipe) {
                self.count(start);
                return Some(start);
            }
            if let Some(start) = self.allocate(units(class), replaces) {
                self.write(start, Arc::new(recipe.clone()), steps);
                return Some(start);
            }
        }
        None
    }

    fn allocate(&mut self, length: u32, replaces: bool) -> Option<u32> {
        let fits = replaces || length <= self.room().total;
        let found = fits.then(|| self.units.allocate(length)).flatten()?;
        Some(found * RING_UNIT)
    }

    fn write(&mut self, start: u32, recipe: Arc<RingRecipe>, steps: &mut Steps) {
        steps.rings.push(MapOp::Ring {
            start,
            recipe: Arc::clone(&recipe),
        });
        self.by_recipe.insert(Arc::clone(&recipe), start);
        self.entries.insert(
            start,
            Entry {
                class: recipe.class,
                users: 1,
                recipe: Some(recipe),
                reserved: true,
            },
        );
    }

    /// What a list with this ring lacks for the next larger one that it may have; nothing where it has what is wished.
    pub(super) fn shortage(&self, places: &[Place], ring: Option<u32>) -> Option<Shortage> {
        let class = ring.map_or(0, |start| self.class(start));
        let mut larger = classes(places.len(), self.maximum).take_while(|other| *other > class);
        let first = larger.next()?;
        Some(Shortage {
            table: Table::Rings,
            need: units(larger.last().unwrap_or(first)),
        })
    }

    /// Counts one more user of a ring that was found at the start: of this class, with these ordinals, for this list.
    pub(super) fn adopt(
        &mut self,
        start: u32,
        class: u8,
        ordinals: Option<&Vec<u16>>,
        places: &[Place],
    ) {
        if self.entries.contains_key(&start) {
            self.count(start);
            return;
        }
        let recipe = self.recipe(places, class);
        let is_ours = classes(places.len(), self.maximum).any(|other| other == class)
            && !self.by_recipe.contains_key(&recipe)
            && ordinals.is_some_and(|found| *found == recipe.ordinals());
        let reserved = self.units.reserve(start / RING_UNIT, units(class));
        let recipe = (is_ours && reserved).then(|| Arc::new(recipe));
        if let Some(recipe) = &recipe {
            self.by_recipe.insert(Arc::clone(recipe), start);
        }
        self.entries.insert(
            start,
            Entry {
                class,
                users: 1,
                recipe,
                reserved,
            },
        );
    }

    pub(super) fn release(&mut self, start: u32) {
        let entry = self
            .entries
            .get_mut(&start)
            .expect("a ring lives while it has users");
        entry.users -= 1;
        if entry.users == 0 {
            self.idle.insert(start);
        }
    }

    fn count(&mut self, start: u32) {
        if let Some(entry) = self.entries.get_mut(&start) {
            entry.users += 1;
        }
    }

    /// Forgets rings that nobody uses.
    pub(super) fn finish(&mut self, steps: &mut Steps) {
        for start in std::mem::take(&mut self.idle) {
            if self.entries.get(&start).is_none_or(|entry| entry.users > 0) {
                continue;
            }
            let Some(entry) = self.entries.remove(&start) else {
                continue;
            };
            if let Some(recipe) = &entry.recipe {
                self.by_recipe.remove(recipe);
            }
            if entry.reserved {
                self.units.release(start / RING_UNIT, units(entry.class));
            }
            steps.unpublished = true;
        }
    }
}

fn address_and_port(place: &Place) -> [u8; 18] {
    let mut name = [0; 18];
    name[..16].copy_from_slice(&octets(place.address));
    name[16..].copy_from_slice(&place.port.to_be_bytes());
    name
}

/// Classes of rings that a list of so many backends may have: the one that it should have, then ever smaller ones that will do.
fn classes(backends: usize, maximum: u32) -> impl Iterator<Item = u8> {
    let wished = ring_class(backends, maximum);
    let will_do = move |class: &u8| {
        *class == wished || RING_SIZES[usize::from(*class)] as usize >= FEWEST_PLACES * backends
    };
    (1..=wished).rev().take_while(will_do)
}

fn units(class: u8) -> u32 {
    RING_SIZES
        .get(usize::from(class))
        .map_or(1, |size| size.div_ceil(RING_UNIT))
        .max(1)
}
