//! What the routes shall lead to: sets of next hops, each kept once, and what stands for them in the kernel.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Instant;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::backoff::Backoff;
use crate::kernel::{Carried, Hop};
use crate::objects::Owner;
use crate::route::{NextHop, NextHopSet, Withheld};

/// The number of a set of next hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SetId(NonZeroU32);

impl SetId {
    #[cfg(test)]
    pub(crate) fn first() -> Self {
        Self(NonZeroU32::MIN)
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// The nexthop object of a hop or a set, or what keeps it from being there.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) object: Option<u32>,
    pub(crate) backoff: Option<Backoff>,
    /// Nothing is tried until then.
    pub(crate) held: Option<(Instant, Withheld)>,
}

/// A next hop that some set contains.
#[derive(Debug)]
pub(crate) struct HopState {
    /// How many sets contain it.
    users: usize,
    pub(crate) slot: Slot,
    /// `None` until it has been looked at for the first time.
    pub(crate) way: Option<Way>,
}

/// How a next hop can be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Object(u32),
    Hop(Hop),
    Withheld(Withheld),
}

/// A set of next hops that some route shall lead to.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) next_hops: NextHopSet,
    /// How many routes shall lead to it.
    routes: usize,
    /// In any rank: IPv6 prefixes cannot have such a set, as they could come to lead there.
    pub(crate) has_ipv4_gateway: bool,
    pub(crate) slot: Slot,
    /// `None` until its hops have been looked at for the first time.
    pub(crate) target: Option<Result<Carried, Withheld>>,
    /// Routes have been written by this target: when it changes they must be looked at again.
    pub(crate) used: bool,
}

/// All sets and their hops.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    sets: Vec<Option<Set>>,
    free: Vec<SetId>,
    ids: HashMap<NextHopSet, SetId, FixedState>,
    /// Neighbouring commands mostly name the same set.
    latest: Option<(NextHopSet, SetId)>,
    hops: HashMap<NextHop, HopState, FixedState>,
    unsettled_hops: BTreeSet<NextHop>,
    unsettled_sets: BTreeSet<SetId>,
}

impl Wish {
    /// One more route shall lead to the set.
    pub(crate) fn enter(&mut self, next_hops: &NextHopSet) -> SetId {
        let id = match &self.latest {
            Some((latest, id)) if latest.is(next_hops) => *id,
            Some(_) | None => match self.ids.get(next_hops) {
                Some(id) => *id,
                None => self.add(next_hops),
            },
        };
        self.latest = Some((next_hops.clone(), id));
        if let Some(set) = self.set_mut(id) {
            set.routes += 1;
        }
        id
    }

    /// One route less shall lead to the set. Says whether it was the last.
    pub(crate) fn leave(&mut self, id: SetId) -> bool {
        self.set_mut(id).is_some_and(|set| {
            set.routes = set.routes.saturating_sub(1);
            set.routes == 0
        })
    }

    fn add(&mut self, next_hops: &NextHopSet) -> SetId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.sets.push(None);
            let number = u32::try_from(self.sets.len())
                .ok()
                .and_then(NonZeroU32::new);
            SetId(number.expect("fewer sets than the memory could hold"))
        });
        for next_hop in next_hops.iter() {
            let state = self.hops.entry(next_hop).or_insert_with(|| {
                self.unsettled_hops.insert(next_hop);
                HopState {
                    users: 0,
                    slot: Slot::default(),
                    way: None,
                }
            });
            state.users += 1;
        }
        self.ids.insert(next_hops.clone(), id);
        self.unsettled_sets.insert(id);
        let is_ipv4 = |next_hop: NextHop| matches!(next_hop.gateway, IpAddr::V4(_));
        self.sets[id.index()] = Some(Set {
            has_ipv4_gateway: next_hops.iter().any(is_ipv4),
            next_hops: next_hops.clone(),
            routes: 0,
            slot: Slot::default(),
            target: None,
            used: false,
        });
        id
    }

    pub(crate) fn set(&self, id: SetId) -> Option<&Set> {
        self.sets.get(id.index())?.as_ref()
    }

    pub(crate) fn set_mut(&mut self, id: SetId) -> Option<&mut Set> {
        self.sets.get_mut(id.index())?.as_mut()
    }

    pub(crate) fn hop(&self, next_hop: NextHop) -> Option<&HopState> {
        self.hops.get(&next_hop)
    }

    pub(crate) fn hop_mut(&mut self, next_hop: NextHop) -> Option<&mut HopState> {
        self.hops.get_mut(&next_hop)
    }

    /// What stands for the owner in the kernel.
    pub(crate) fn slot_mut(&mut self, owner: Owner) -> Option<&mut Slot> {
        match owner {
            Owner::Hop(next_hop) => self.hop_mut(next_hop).map(|state| &mut state.slot),
            Owner::Set(id) => self.set_mut(id).map(|set| &mut set.slot),
        }
    }

    /// Every slot, for a change that concerns them all.
    pub(crate) fn slots_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        let hops = self.hops.values_mut().map(|state| &mut state.slot);
        let sets = self.sets.iter_mut().flatten().map(|set| &mut set.slot);
        hops.chain(sets)
    }

    /// The owner has to be looked at again.
    pub(crate) fn unsettle(&mut self, owner: Owner) {
        match owner {
            Owner::Hop(next_hop) => {
                self.unsettled_hops.insert(next_hop);
            }
            Owner::Set(id) => {
                self.unsettled_sets.insert(id);
            }
        }
    }

    /// All hops have to be looked at again, and the sets of those that turn out to be different.
    pub(crate) fn unsettle_hops(&mut self) {
        self.unsettled_hops.extend(self.hops.keys().copied());
    }

    /// All sets have to be looked at again.
    pub(crate) fn unsettle_sets(&mut self) {
        for (index, set) in self.sets.iter().enumerate() {
            let number = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
            if let (Some(_), Some(number)) = (set, number) {
                self.unsettled_sets.insert(SetId(number));
            }
        }
    }

    /// The sets that contain the hop have to be looked at again.
    pub(crate) fn unsettle_sets_with(&mut self, next_hop: NextHop) {
        for (next_hops, id) in &self.ids {
            if next_hops.iter().any(|other| other == next_hop) {
                self.unsettled_sets.insert(*id);
            }
        }
    }

    /// The hops to be looked at again; asking takes them off the list.
    pub(crate) fn take_unsettled_hops(&mut self) -> BTreeSet<NextHop> {
        std::mem::take(&mut self.unsettled_hops)
    }

    /// The sets to be looked at again; asking takes them off the list.
    pub(crate) fn take_unsettled_sets(&mut self) -> BTreeSet<SetId> {
        std::mem::take(&mut self.unsettled_sets)
    }

    /// Forgets sets that no route shall lead to, and hops that no set contains. Gives the objects that stood for them.
    pub(crate) fn tidy(&mut self) -> Vec<u32> {
        let mut objects = Vec::new();
        let unused = self.ids.iter().filter(|(_, id)| {
            let set = self.sets[id.index()].as_ref();
            set.is_none_or(|set| set.routes == 0)
        });
        let unused: Vec<(NextHopSet, SetId)> = unused
            .map(|(next_hops, id)| (next_hops.clone(), *id))
            .collect();
        for (next_hops, id) in unused {
            self.latest = None;
            self.ids.remove(&next_hops);
            self.unsettled_sets.remove(&id);
            if let Some(set) = self.sets[id.index()].take() {
                objects.extend(set.slot.object);
            }
            self.free.push(id);
            for next_hop in next_hops.iter() {
                objects.extend(self.leave_hop(next_hop));
            }
        }
        objects
    }

    fn leave_hop(&mut self, next_hop: NextHop) -> Option<u32> {
        let state = self.hops.get_mut(&next_hop)?;
        state.users -= 1;
        if state.users > 0 {
            return None;
        }
        self.unsettled_hops.remove(&next_hop);
        self.hops.remove(&next_hop)?.slot.object
    }

    /// Whether some set's routes are written as this.
    pub(crate) fn leads_to(&self, carried: Carried) -> bool {
        let mut sets = self.sets.iter().flatten();
        sets.any(|set| set.target == Some(Ok(carried)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(gateways: &[&str]) -> NextHopSet {
        let hops = gateways
            .iter()
            .map(|text| NextHop::from(text.parse::<IpAddr>().expect("an address")));
        NextHopSet::new(hops).expect("some")
    }

    #[test]
    fn equal_sets_are_one() {
        let mut wish = Wish::default();
        let one = wish.enter(&set(&["10.0.0.1", "10.0.0.2"]));
        assert_eq!(wish.enter(&set(&["10.0.0.2", "10.0.0.1"])), one);
        assert_ne!(wish.enter(&set(&["10.0.0.1"])), one);
        assert_eq!(wish.take_unsettled_hops().len(), 2);
        assert_eq!(wish.take_unsettled_sets().len(), 2);
    }

    #[test]
    fn a_set_without_routes_is_forgotten_with_its_hops() {
        let mut wish = Wish::default();
        let pair = wish.enter(&set(&["10.0.0.1", "10.0.0.2"]));
        let single = wish.enter(&set(&["10.0.0.1"]));
        wish.set_mut(pair).expect("there").slot.object = Some(7);
        let second = NextHop::from("10.0.0.2".parse::<IpAddr>().expect("an address"));
        wish.hop_mut(second).expect("there").slot.object = Some(8);
        assert!(wish.tidy().is_empty());
        assert!(wish.leave(pair));
        assert_eq!(wish.tidy(), [7, 8]);
        assert!(wish.set(pair).is_none());
        assert!(wish.set(single).is_some());
        assert_eq!(
            wish.enter(&set(&["10.0.0.9"])),
            pair,
            "numbers are used again"
        );
    }
}
