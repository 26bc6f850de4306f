//! Sets of destination ids.

use super::table::DestinationId;

/// A growing bitmap over destination ids that knows how many it holds.
#[derive(Debug, Default, Clone)]
pub(super) struct IdSet {
    words: Vec<u64>,
    count: usize,
}

impl IdSet {
    /// Adds `id`; whether it was new.
    pub(super) fn insert(&mut self, id: DestinationId) -> bool {
        let word = id as usize / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let bit = 1 << (id % 64);
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += usize::from(new);
        new
    }

    /// Removes `id`; whether it was there.
    pub(super) fn remove(&mut self, id: DestinationId) -> bool {
        let bit = 1 << (id % 64);
        match self.words.get_mut(id as usize / 64) {
            Some(word) if *word & bit != 0 => {
                *word &= !bit;
                self.count -= 1;
                true
            }
            Some(_) | None => false,
        }
    }

    pub(super) fn contains(&self, id: DestinationId) -> bool {
        self.words
            .get(id as usize / 64)
            .is_some_and(|word| word & (1 << (id % 64)) != 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The smallest member at or after `from`, starting over at zero once past the end.
    pub(super) fn next_cyclic(&self, from: DestinationId) -> Option<DestinationId> {
        if self.count == 0 {
            return None;
        }
        self.next_from(from).or_else(|| self.next_from(0))
    }

    fn next_from(&self, from: DestinationId) -> Option<DestinationId> {
        let first = from as usize / 64;
        let mut mask = !0u64 << (from % 64);
        for (offset, word) in self.words.iter().enumerate().skip(first) {
            let candidates = word & mask;
            if candidates != 0 {
                return Some(offset as u32 * 64 + candidates.trailing_zeros());
            }
            mask = !0;
        }
        None
    }

    /// All members, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = DestinationId> {
        self.words.iter().enumerate().flat_map(|(offset, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros();
                    rest &= rest - 1;
                    offset as u32 * 64 + bit
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_in_cyclic_order() {
        let mut set = IdSet::default();
        for id in [3, 64, 200] {
            assert!(set.insert(id));
            assert!(!set.insert(id));
        }
        for (from, next) in [(0, 3), (3, 3), (4, 64), (65, 200), (201, 3), (10_000, 3)] {
            assert_eq!(set.next_cyclic(from), Some(next), "from {from}");
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 64, 200]);
        assert!(set.remove(64) && !set.remove(64) && !set.remove(9999));
        assert_eq!(set.next_cyclic(4), Some(200));
    }
}
