//! Services that wait for room, and those of them that it may be their turn for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ranges::Room;
use crate::report::Table;

/// What does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shortage {
    pub(super) table: Table,
    /// How much of the table would bring it further, in one piece.
    pub(super) need: u32,
}

/// By table the services that wait for it, those first that need least.
///
/// # Why
/// Trying again costs what the making of a service costs, and thousands may wait. Only those are tried for which there is room.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queues: BTreeMap<Table, BTreeSet<(u32, Arc<str>)>>,
    needs: BTreeMap<Arc<str>, BTreeMap<Table, u32>>,
}

impl Waiting {
    /// Says what a service waits for.
    pub(super) fn set(&mut self, name: &Arc<str>, needs: BTreeMap<Table, u32>) {
        self.forget(name);
        if needs.is_empty() {
            return;
        }
        for (table, need) in &needs {
            let queue = self.queues.entry(*table).or_default();
            queue.insert((*need, Arc::clone(name)));
        }
        self.needs.insert(Arc::clone(name), needs);
    }

    /// The service waits for nothing.
    pub(super) fn forget(&mut self, name: &Arc<str>) {
        for (table, need) in self.needs.remove(name).into_iter().flatten() {
            if let Some(queue) = self.queues.get_mut(&table) {
                queue.remove(&(need, Arc::clone(name)));
                if queue.is_empty() {
                    self.queues.remove(&table);
                }
            }
        }
    }

    /// Services that fit into the room that there is, together.
    pub(super) fn fitting(&self, room: impl Fn(Table) -> Room) -> BTreeSet<Arc<str>> {
        let mut fitting = BTreeSet::new();
        for (table, queue) in &self.queues {
            let Room { mut total, longest } = room(*table);
            for (need, name) in queue {
                if *need > longest {
                    break;
                }
                let Some(rest) = total.checked_sub(*need) else {
                    break;
                };
                total = rest;
                fitting.insert(Arc::clone(name));
            }
        }
        fitting
    }

    /// Whether there is one.
    pub(super) fn has_fitting(&self, room: impl Fn(Table) -> Room) -> bool {
        self.queues.iter().any(|(table, queue)| {
            let Room { total, longest } = room(*table);
            let first = queue.first();
            first.is_some_and(|(need, _)| *need <= longest && *need <= total)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Arc<str> {
        text.into()
    }

    fn fitting(waiting: &Waiting, total: u32, longest: u32) -> Vec<String> {
        let room = |table| match table {
            Table::Rings => Room { total, longest },
            Table::Frontends(_) | Table::Groups | Table::Slots | Table::Backends => {
                Room::scattered(0)
            }
        };
        let fitting = waiting.fitting(room);
        assert_eq!(waiting.has_fitting(room), !fitting.is_empty());
        fitting.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_as_many_are_called_as_there_is_room_for_and_the_least_first() {
        let mut waiting = Waiting::default();
        for (text, need) in [("a", 8), ("b", 4), ("c", 4), ("d", 16)] {
            waiting.set(&name(text), [(Table::Rings, need)].into());
        }
        for (total, longest, called) in [
            (3, 3, &[][..]),
            (4, 4, &["b"]),
            (9, 9, &["b", "c"]),
            (16, 16, &["a", "b", "c"]),
            (100, 4, &["b", "c"]),
            (100, 100, &["a", "b", "c", "d"]),
        ] {
            assert_eq!(
                fitting(&waiting, total, longest),
                called,
                "{total} {longest}"
            );
        }
    }

    #[test]
    fn who_waits_for_two_tables_is_called_for_either_and_forgotten_for_both() {
        let mut waiting = Waiting::default();
        waiting.set(&name("a"), [(Table::Rings, 4), (Table::Slots, 2)].into());
        assert_eq!(fitting(&waiting, 4, 4), ["a"]);
        waiting.set(&name("a"), [(Table::Slots, 2)].into());
        assert_eq!(fitting(&waiting, 4, 4), [""; 0]);
        assert!(waiting.has_fitting(|_| Room::scattered(2)));
        waiting.forget(&name("a"));
        assert!(!waiting.has_fitting(|_| Room::scattered(2)));
    }
}
