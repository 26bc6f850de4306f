//! Rings in the map: one for all lists whose backends have the same names.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lb_abi::{RING_SIZES, RING_UNIT};

use super::place::{Place, octets};
use super::ranges::Ranges;
use super::steps::Steps;
use crate::op::MapOp;
use crate::ring::{ring, ring_class};

/// What a ring is made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Recipe {
    class: u8,
    /// Names of the backends in the order of their list, one after the other.
    names: Box<[u8]>,
    /// Length of a name.
    width: usize,
}

impl Recipe {
    /// Backends are named by their address, so that the ports of a Service share a ring; with the port where a list has an address
    /// twice.
    fn new(places: &[Place], maximum: u32) -> Self {
        let mut addresses = BTreeSet::new();
        let with_port = !places.iter().all(|place| addresses.insert(place.address));
        let mut names = Vec::with_capacity(places.len() * 18);
        for place in places {
            names.extend(octets(place.address));
            if with_port {
                names.extend(place.port.to_be_bytes());
            }
        }
        Self {
            class: ring_class(places.len(), maximum),
            names: names.into(),
            width: if with_port { 18 } else { 16 },
        }
    }

    fn ordinals(&self, seed: u32) -> Vec<u16> {
        let names: Vec<&[u8]> = self.names.chunks(self.width).collect();
        ring(RING_SIZES[usize::from(self.class)], seed, &names)
    }
}

#[derive(Debug)]
struct Entry {
    class: u8,
    users: u32,
    /// `None` for what was found at the start and is not what we would write now.
    recipe: Option<Recipe>,
    /// Whether the range is ours to give back.
    reserved: bool,
}

/// All rings, by their first ordinal.
#[derive(Debug)]
pub(super) struct Rings {
    entries: BTreeMap<u32, Entry>,
    by_recipe: HashMap<Recipe, u32>,
    /// Ranges, in `RING_UNIT`s.
    units: Ranges,
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
            idle: BTreeSet::new(),
            maximum,
            seed,
        }
    }

    pub(super) fn class(&self, start: u32) -> u8 {
        self.entries.get(&start).map_or(0, |entry| entry.class)
    }

    /// The ring of this list, where it is in the map.
    pub(super) fn find(&self, places: &[Place]) -> Option<u32> {
        self.by_recipe
            .get(&Recipe::new(places, self.maximum))
            .copied()
    }

    /// Counts one more user of the ring of this list, and writes it where it is not in the map; `None` where there is no room.
    pub(super) fn acquire(&mut self, places: &[Place], steps: &mut Steps) -> Option<u32> {
        let recipe = Recipe::new(places, self.maximum);
        if let Some(&start) = self.by_recipe.get(&recipe) {
            self.count(start);
            return Some(start);
        }
        let start = self.units.allocate(units(recipe.class))? * RING_UNIT;
        steps.rings.push(MapOp::Ring {
            start,
            ordinals: recipe.ordinals(self.seed),
        });
        self.by_recipe.insert(recipe.clone(), start);
        self.entries.insert(
            start,
            Entry {
                class: recipe.class,
                users: 1,
                recipe: Some(recipe),
                reserved: true,
            },
        );
        Some(start)
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
        let recipe = Recipe::new(places, self.maximum);
        let is_ours = recipe.class == class
            && !self.by_recipe.contains_key(&recipe)
            && ordinals.is_some_and(|found| *found == recipe.ordinals(self.seed));
        let reserved = self.units.reserve(start / RING_UNIT, units(class));
        let recipe = (is_ours && reserved).then_some(recipe);
        if let Some(recipe) = &recipe {
            self.by_recipe.insert(recipe.clone(), start);
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

fn units(class: u8) -> u32 {
    RING_SIZES
        .get(usize::from(class))
        .map_or(1, |size| size.div_ceil(RING_UNIT))
        .max(1)
}
