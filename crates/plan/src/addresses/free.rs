//! The free addresses of one range.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::ranges::{Range, after, before};

/// Free addresses as gaps between those that are not: a range costs nothing until it is used, and each step is
/// logarithmic in the number of gaps.
#[derive(Debug, Clone, Default)]
pub(super) struct Free {
    /// First address of each gap, to the last. Gaps do not overlap.
    gaps: BTreeMap<IpAddr, IpAddr>,
}

impl Free {
    pub(super) fn of(range: Range) -> Self {
        Self {
            gaps: BTreeMap::from([(range.first, range.last)]),
        }
    }

    pub(super) fn lowest(&self) -> Option<IpAddr> {
        self.gaps.first_key_value().map(|(first, _)| *first)
    }

    /// Takes these addresses out, and says whether one of them was free.
    pub(super) fn remove(&mut self, range: Range) -> bool {
        let mut removed = false;
        while let Some((first, last)) = self.gap_that_meets(range) {
            removed = true;
            self.gaps.remove(&first);
            if first < range.first {
                self.gaps.insert(first, before(range.first));
            }
            if last > range.last {
                self.gaps.insert(after(range.last), last);
            }
        }
        removed
    }

    /// Puts an address back that was taken out.
    pub(super) fn insert(&mut self, address: IpAddr) {
        let single = Range::single(address);
        if self.gap_that_meets(single).is_some() {
            return;
        }
        let (mut first, mut last) = (address, address);
        if let Some((before, end)) = self.gaps.range(..address).next_back()
            && after(*end) == address
        {
            first = *before;
        }
        let next = self.gaps.range(address..).next();
        if let Some((next, end)) = next.map(|(next, end)| (*next, *end))
            && before(next) == address
        {
            last = end;
            self.gaps.remove(&next);
        }
        self.gaps.insert(first, last);
    }

    fn gap_that_meets(&self, range: Range) -> Option<(IpAddr, IpAddr)> {
        let (first, last) = self.gaps.range(..=range.last).next_back()?;
        (*last >= range.first).then_some((*first, *last))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn address(number: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, number).into()
    }

    fn range(first: u8, last: u8) -> Range {
        Range {
            first: address(first),
            last: address(last),
        }
    }

    proptest! {
        /// Gaps are to a set of addresses what the set is to itself. They never touch, so the same set has the same gaps.
        #[test]
        fn gaps_are_the_addresses_that_are_left_and_put_back(
            steps in prop::collection::vec((0_u8..=30, prop::option::of(0_u8..=4)), 0..60)
        ) {
            let mut free = Free::of(range(3, 27));
            let mut model: BTreeSet<u8> = (3..=27).collect();
            for (first, removed) in steps {
                if let Some(more) = removed {
                    let last = first + more;
                    let gone: Vec<u8> = model.range(first..=last).copied().collect();
                    prop_assert_eq!(free.remove(range(first, last)), !gone.is_empty());
                    model.retain(|number| !gone.contains(number));
                } else {
                    free.insert(address(first));
                    model.insert(first);
                }
                prop_assert_eq!(free.lowest(), model.first().map(|number| address(*number)));
                let firsts = model.iter().filter(|number| !model.contains(&number.wrapping_sub(1)));
                prop_assert!(free.gaps.keys().copied().eq(firsts.map(|number| address(*number))));
            }
        }
    }

    #[test]
    fn the_ends_of_a_family_are_no_special_case() {
        for text in ["0.0.0.0/0", "::/0"] {
            let network: ipnet::IpNet = text.parse().expect("a prefix");
            let (first, last) = (network.network(), network.broadcast());
            let mut free = Free::of(Range { first, last });
            assert!(free.remove(Range::single(last)));
            assert!(free.remove(Range::single(first)));
            assert_eq!(free.lowest(), Some(after(first)));
            assert!(!free.remove(Range::single(last)));
            free.insert(last);
            assert_eq!(free.lowest(), Some(after(first)));
            assert!(free.remove(Range { first, last }));
            assert_eq!(free.lowest(), None);
            free.insert(last);
            free.insert(first);
            assert_eq!(free.lowest(), Some(first));
            assert!(free.remove(Range::single(last)));
        }
    }
}
