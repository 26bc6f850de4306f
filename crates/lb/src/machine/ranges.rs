//! Numbers handed out in contiguous ranges: ids, slots, stretches of ring memory.

use std::collections::{BTreeMap, BTreeSet};

/// What is free of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// All of it.
    pub(super) total: u32,
    /// In one piece.
    pub(super) longest: u32,
}

impl Room {
    /// Room of a table whose entries may be anywhere.
    pub(super) fn scattered(total: u32) -> Self {
        Self {
            total,
            longest: total,
        }
    }
}

/// What is free of `first..end`. The shortest free range that is long enough is used, and of equal ones the lowest.
#[derive(Debug)]
pub(super) struct Ranges {
    free: BTreeMap<u32, u32>,
    by_length: BTreeSet<(u32, u32)>,
    total: u32,
}

impl Ranges {
    pub(super) fn new(first: u32, end: u32) -> Self {
        let mut ranges = Self {
            free: BTreeMap::new(),
            by_length: BTreeSet::new(),
            total: 0,
        };
        if first < end {
            ranges.insert(first, end - first);
        }
        ranges
    }

    /// How much is free, and how much of it in one piece.
    pub(super) fn room(&self) -> Room {
        Room {
            total: self.total,
            longest: self.by_length.last().map_or(0, |(length, _)| *length),
        }
    }

    /// Takes a range of this length, which is not 0.
    pub(super) fn allocate(&mut self, length: u32) -> Option<u32> {
        let &(found, start) = self.by_length.range((length, 0)..).next()?;
        self.remove(start, found);
        if found > length {
            self.insert(start + length, found - length);
        }
        Some(start)
    }

    /// Takes this very range; false where a part of it is taken.
    pub(super) fn reserve(&mut self, start: u32, length: u32) -> bool {
        let Some((&first, &found)) = self.free.range(..=start).next_back() else {
            return false;
        };
        let before = start - first;
        let Some(after) = found
            .checked_sub(before)
            .and_then(|rest| rest.checked_sub(length))
        else {
            return false;
        };
        self.remove(first, found);
        if before > 0 {
            self.insert(first, before);
        }
        if after > 0 {
            self.insert(start + length, after);
        }
        true
    }

    /// Gives back a range that was taken.
    pub(super) fn release(&mut self, start: u32, length: u32) {
        let (mut start, mut length) = (start, length);
        if let Some((&before, &found)) = self.free.range(..start).next_back()
            && before + found == start
        {
            self.remove(before, found);
            start = before;
            length += found;
        }
        if let Some(&found) = self.free.get(&(start + length)) {
            self.remove(start + length, found);
            length += found;
        }
        self.insert(start, length);
    }

    fn insert(&mut self, start: u32, length: u32) {
        self.free.insert(start, length);
        self.by_length.insert((length, start));
        self.total += length;
    }

    fn remove(&mut self, start: u32, length: u32) {
        self.free.remove(&start);
        self.by_length.remove(&(length, start));
        self.total -= length;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_shortest_range_that_is_long_enough_is_used() {
        let mut ranges = Ranges::new(0, 100);
        assert!(ranges.reserve(10, 10) && ranges.reserve(25, 5));
        assert_eq!(ranges.allocate(5), Some(20));
        assert_eq!(ranges.allocate(6), Some(0));
        assert_eq!(ranges.allocate(71), None);
        assert_eq!(ranges.allocate(70), Some(30));
    }

    #[test]
    fn a_range_is_reserved_once() {
        let mut ranges = Ranges::new(1, 10);
        assert!(!ranges.reserve(0, 2));
        assert!(ranges.reserve(1, 3));
        assert!(!ranges.reserve(3, 2));
        assert!(!ranges.reserve(8, 3));
        assert!(ranges.reserve(4, 6));
        assert_eq!(ranges.allocate(1), None);
    }

    proptest! {
        #[test]
        fn ranges_never_overlap_and_all_come_back(steps in prop::collection::vec((any::<bool>(), 1u32..9, any::<prop::sample::Index>()), 1..200)) {
            let mut ranges = Ranges::new(0, 64);
            let mut taken: Vec<(u32, u32)> = Vec::new();
            for (take, length, which) in steps {
                if take {
                    if let Some(start) = ranges.allocate(length) {
                        prop_assert!(start + length <= 64);
                        prop_assert!(taken.iter().all(|(other, long)| start + length <= *other || other + long <= start));
                        taken.push((start, length));
                    }
                } else if !taken.is_empty() {
                    let (start, length) = taken.swap_remove(which.index(taken.len()));
                    ranges.release(start, length);
                }
            }
            let taken_now: u32 = taken.iter().map(|(_, length)| length).sum();
            prop_assert_eq!(ranges.room().total, 64 - taken_now);
            for (start, length) in taken {
                ranges.release(start, length);
            }
            prop_assert_eq!(ranges.room(), Room::scattered(64));
            prop_assert_eq!(ranges.allocate(64), Some(0));
        }
    }
}
