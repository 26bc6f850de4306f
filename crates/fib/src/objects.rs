//! The nexthop objects of ours that are in the kernel, for whom they are, and how many routes lead to them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::kernel::Nexthop;
use crate::route::NextHop;
use crate::wish::SetId;

/// For whom an object is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Hop(NextHop),
    Set(SetId),
}

#[derive(Debug)]
struct Entry {
    /// `None` when it is gone and routes that led to it have not been looked at yet. Such an identifier is not used again.
    nexthop: Option<Nexthop>,
    owner: Option<Owner>,
    carriers: usize,
    seen: bool,
}

/// All nexthop objects with our mark.
#[derive(Debug)]
pub(crate) struct Objects {
    ids: RangeInclusive<u32>,
    next: u32,
    entries: BTreeMap<u32, Entry>,
    /// Identifiers of our range that somebody else uses.
    taken: BTreeSet<u32>,
    /// Where an object without owner may be found. A hint: what it says is checked.
    unclaimed: HashMap<Nexthop, u32, FixedState>,
}

/// What the end of an object brought with it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Groups that ended with their last member.
    pub(crate) groups: Vec<u32>,
    /// Those whose object is gone.
    pub(crate) bereft: Vec<Owner>,
    /// Those whose group has lost a member.
    pub(crate) shrunk: Vec<Owner>,
}

impl Objects {
    pub(crate) fn new(ids: RangeInclusive<u32>) -> Self {
        Self {
            next: *ids.start(),
            ids,
            entries: BTreeMap::new(),
            taken: BTreeSet::new(),
            unclaimed: HashMap::default(),
        }
    }

    pub(crate) fn is_ours(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Nexthop> {
        self.entries.get(&id)?.nexthop.as_ref()
    }

    pub(crate) fn knows(&self, id: u32) -> bool {
        self.entries.contains_key(&id)
    }

    pub(crate) fn count(&self) -> usize {
        let entries = self.entries.values();
        entries.filter(|entry| entry.nexthop.is_some()).count()
    }

    /// An identifier that is free; `None` when the whole range is in use.
    pub(crate) fn allocate(&mut self) -> Option<u32> {
        for _ in self.ids.clone() {
            let id = self.next;
            self.next = if id == *self.ids.end() {
                *self.ids.start()
            } else {
                id + 1
            };
            if !self.entries.contains_key(&id) && !self.taken.contains(&id) {
                return Some(id);
            }
        }
        None
    }

    /// An object without owner that is just this gets the owner.
    pub(crate) fn claim(&mut self, nexthop: &Nexthop, owner: Owner) -> Option<u32> {
        let id = self.unclaimed.remove(nexthop)?;
        let entry = self.entries.get_mut(&id)?;
        if entry.owner.is_some() || entry.nexthop.as_ref() != Some(nexthop) {
            return None;
        }
        entry.owner = Some(owner);
        Some(id)
    }

    /// It is there, and for whom.
    pub(crate) fn put(&mut self, id: u32, nexthop: Nexthop, owner: Option<Owner>) {
        if owner.is_none() {
            self.unclaimed.insert(nexthop.clone(), id);
        }
        let carriers = self.entries.get(&id).map_or(0, |entry| entry.carriers);
        let entry = Entry {
            nexthop: Some(nexthop),
            owner,
            carriers,
            seen: true,
        };
        self.entries.insert(id, entry);
    }

    /// It is something else now.
    pub(crate) fn change(&mut self, id: u32, nexthop: Nexthop) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.nexthop = Some(nexthop);
        }
    }

    /// Somebody else has it.
    pub(crate) fn take(&mut self, id: u32) {
        self.taken.insert(id);
    }

    pub(crate) fn give_back(&mut self, id: u32) {
        self.taken.remove(&id);
    }

    pub(crate) fn owner(&self, id: u32) -> Option<Owner> {
        self.entries.get(&id)?.owner
    }

    /// Its owner has no use for it any more.
    pub(crate) fn disown(&mut self, id: u32) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        entry.owner = None;
        if let Some(nexthop) = &entry.nexthop {
            self.unclaimed.insert(nexthop.clone(), id);
        }
    }

    /// It is gone. As the kernel does, it is taken out of its groups, and a group without members goes too.
    pub(crate) fn vanish(&mut self, id: u32) -> Loss {
        let mut loss = Loss::default();
        self.end(id, &mut loss);
        let mut ended = Vec::new();
        for (group, entry) in &mut self.entries {
            let Some(Nexthop::Group(members)) = &entry.nexthop else {
                continue;
            };
            if !members.contains(&id) {
                continue;
            }
            let rest: Vec<u32> = members
                .iter()
                .copied()
                .filter(|member| *member != id)
                .collect();
            if rest.is_empty() {
                ended.push(*group);
            } else {
                entry.nexthop = Some(Nexthop::Group(rest.into()));
                loss.shrunk.extend(entry.owner);
            }
        }
        for group in ended {
            self.end(group, &mut loss);
            loss.groups.push(group);
        }
        loss
    }

    fn end(&mut self, id: u32, loss: &mut Loss) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.nexthop = None;
            loss.bereft.extend(entry.owner.take());
        }
    }

    /// The hops on an interface.
    pub(crate) fn on(&self, interface: u32) -> Vec<u32> {
        let on = |entry: &Entry| matches!(&entry.nexthop, Some(Nexthop::Hop(hop)) if hop.interface == interface);
        let entries = self.entries.iter();
        entries
            .filter(|(_, entry)| on(entry))
            .map(|(id, _)| *id)
            .collect()
    }

    pub(crate) fn carry(&mut self, id: u32) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.carriers += 1;
        }
    }

    /// Says whether no route leads to it any more.
    pub(crate) fn drop_carrier(&mut self, id: u32) -> bool {
        self.entries.get_mut(&id).is_some_and(|entry| {
            entry.carriers = entry.carriers.saturating_sub(1);
            entry.carriers == 0
        })
    }

    /// A reading begins: nothing has been seen.
    pub(crate) fn begin_read(&mut self) {
        self.taken.clear();
        for entry in self.entries.values_mut() {
            entry.seen = false;
        }
    }

    /// The reading has come across it.
    pub(crate) fn see(&mut self, id: u32) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.seen = true;
        }
    }

    /// The reading is over: what it did not come across.
    pub(crate) fn unseen(&self) -> Vec<u32> {
        let entries = self.entries.iter();
        entries
            .filter(|(_, entry)| entry.nexthop.is_some() && !entry.seen)
            .map(|(id, _)| *id)
            .collect()
    }

    /// Forgets what is gone and unused; gives those that are there for nobody.
    pub(crate) fn tidy(&mut self) -> Vec<u32> {
        self.entries
            .retain(|_, entry| entry.nexthop.is_some() || entry.carriers > 0);
        let mut members = BTreeSet::new();
        for entry in self.entries.values() {
            if let Some(Nexthop::Group(group)) = &entry.nexthop {
                members.extend(group.iter().copied());
            }
        }
        let entries = self.entries.iter();
        let unused = entries.filter(|(id, entry)| {
            entry.owner.is_none() && entry.carriers == 0 && !members.contains(id)
        });
        unused.map(|(id, _)| *id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Hop;

    fn hop(interface: u32) -> Nexthop {
        let gateway = "10.0.0.1".parse().expect("an address");
        Nexthop::Hop(Hop { gateway, interface })
    }

    fn owner(interface: u32) -> Owner {
        Owner::Hop(NextHop {
            gateway: "10.0.0.1".parse().expect("an address"),
            interface: Some(interface),
        })
    }

    fn group(members: &[u32]) -> Nexthop {
        Nexthop::Group(members.into())
    }

    #[test]
    fn identifiers_go_round_and_skip_what_is_in_use() {
        let mut objects = Objects::new(10..=13);
        objects.put(11, hop(1), None);
        objects.take(12);
        assert_eq!(objects.allocate(), Some(10));
        assert_eq!(objects.allocate(), Some(13));
        assert_eq!(objects.allocate(), Some(10));
        objects.put(10, hop(2), None);
        objects.put(13, hop(3), None);
        assert_eq!(objects.allocate(), None);
        objects.give_back(12);
        assert_eq!(objects.allocate(), Some(12));
    }

    #[test]
    fn what_is_there_is_claimed_once() {
        let mut objects = Objects::new(10..=13);
        objects.put(11, hop(1), None);
        assert_eq!(objects.claim(&hop(2), owner(2)), None);
        assert_eq!(objects.claim(&hop(1), owner(1)), Some(11));
        assert_eq!(objects.claim(&hop(1), owner(1)), None);
        objects.disown(11);
        assert_eq!(objects.claim(&hop(1), owner(1)), Some(11));
    }

    #[test]
    fn a_group_loses_members_and_ends_with_the_last() {
        let mut objects = Objects::new(10..=20);
        let set = Owner::Set(SetId::first());
        objects.put(11, hop(1), Some(owner(1)));
        objects.put(12, hop(2), Some(owner(2)));
        objects.put(13, group(&[11, 12]), Some(set));
        let loss = objects.vanish(11);
        assert_eq!(loss.bereft, [owner(1)]);
        assert_eq!(loss.shrunk, [set]);
        assert_eq!(objects.get(13), Some(&group(&[12])));
        let loss = objects.vanish(12);
        assert_eq!(loss.bereft, [owner(2), set]);
        assert_eq!(loss.groups, [13]);
        assert_eq!(objects.get(13), None);
    }

    #[test]
    fn only_what_nobody_needs_is_unused() {
        let mut objects = Objects::new(10..=20);
        objects.put(11, hop(1), None);
        objects.put(12, group(&[11]), None);
        objects.put(13, hop(3), Some(owner(3)));
        objects.carry(12);
        assert!(objects.tidy().is_empty());
        assert!(objects.drop_carrier(12));
        assert_eq!(objects.tidy(), [12]);
        objects.vanish(12);
        assert_eq!(objects.tidy(), [11]);
        assert!(!objects.knows(12));
    }
}
