//! Lists of hops that routes carry themselves, each kept once under a number.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::kernel::Hop;

#[derive(Debug)]
struct Entry {
    hops: Arc<[Hop]>,
    carriers: usize,
    /// The kernel may have dropped what leads over one of its interfaces, without a word.
    doubtful: bool,
}

/// All lists that routes of ours carry, or shall.
#[derive(Debug, Default)]
pub(crate) struct Inlines {
    entries: HashMap<u32, Entry, FixedState>,
    numbers: HashMap<Arc<[Hop]>, u32, FixedState>,
    last: u32,
}

impl Inlines {
    /// The number of a list that is in no doubt.
    pub(crate) fn number(&mut self, hops: Arc<[Hop]>) -> u32 {
        if let Some(number) = self.numbers.get(&hops) {
            return *number;
        }
        self.last = self.last.wrapping_add(1);
        let number = self.last;
        self.numbers.insert(hops.clone(), number);
        let entry = Entry {
            hops,
            carriers: 0,
            doubtful: false,
        };
        self.entries.insert(number, entry);
        number
    }

    pub(crate) fn hops(&self, number: u32) -> Option<&Arc<[Hop]>> {
        self.entries.get(&number).map(|entry| &entry.hops)
    }

    pub(crate) fn is_doubtful(&self, number: u32) -> bool {
        self.entries.get(&number).is_none_or(|entry| entry.doubtful)
    }

    /// Whoever carries a list with this interface may be gone. From now on the same hops have another number.
    pub(crate) fn doubt(&mut self, interface: u32) {
        for entry in self.entries.values_mut() {
            if entry.hops.iter().any(|hop| hop.interface == interface) {
                entry.doubtful = true;
                self.numbers.remove(&entry.hops);
            }
        }
    }

    pub(crate) fn carry(&mut self, number: u32) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.carriers += 1;
        }
    }

    /// Says whether nobody carries it any more.
    pub(crate) fn drop_carrier(&mut self, number: u32) -> bool {
        self.entries.get_mut(&number).is_some_and(|entry| {
            entry.carriers = entry.carriers.saturating_sub(1);
            entry.carriers == 0
        })
    }

    /// Forgets what nobody carries and nobody wants.
    pub(crate) fn tidy(&mut self, wanted: impl Fn(u32) -> bool) {
        let Self {
            entries, numbers, ..
        } = self;
        entries.retain(|number, entry| {
            let keep = entry.carriers > 0 || wanted(*number);
            if !keep && !entry.doubtful {
                numbers.remove(&entry.hops);
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(interface: u32) -> Arc<[Hop]> {
        let gateway = "10.0.0.1".parse().expect("an address");
        Arc::from([Hop { gateway, interface }])
    }

    #[test]
    fn a_doubtful_list_gets_another_number() {
        let mut inlines = Inlines::default();
        let (one, two) = (inlines.number(list(1)), inlines.number(list(2)));
        assert_eq!(inlines.number(list(1)), one);
        inlines.carry(one);
        inlines.doubt(1);
        assert!(inlines.is_doubtful(one));
        assert_ne!(inlines.number(list(1)), one);
        assert_eq!(inlines.number(list(2)), two);
    }

    #[test]
    fn a_list_that_nobody_carries_or_wants_is_forgotten() {
        let mut inlines = Inlines::default();
        let one = inlines.number(list(1));
        inlines.carry(one);
        inlines.tidy(|_| false);
        assert!(inlines.hops(one).is_some());
        assert!(inlines.drop_carrier(one));
        inlines.tidy(|number| number == one);
        assert!(inlines.hops(one).is_some());
        inlines.tidy(|_| false);
        assert!(inlines.hops(one).is_none());
    }
}
