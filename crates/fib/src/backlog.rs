//! Prefixes that have to be looked at, latest first and else in scattered order.
//!
//! # Why
//! The kernel's IPv4 trie takes deletions in scattered order ten times faster than in ascending order, in which it grows and shrinks its
//! nodes all the time; and what changes while a million routes wait should not wait for all of them.

use ipnet::IpNet;

/// Prefixes that have to be looked at. Each stands in it once; who pushes takes care of that.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    prefixes: Vec<IpNet>,
    /// So many from the beginning are in order.
    scattered: usize,
}

impl Backlog {
    pub(crate) fn push(&mut self, prefix: IpNet) {
        self.prefixes.push(prefix);
    }

    pub(crate) fn pop(&mut self) -> Option<IpNet> {
        if self.prefixes.len() > self.scattered {
            self.prefixes[self.scattered..].sort_unstable_by_key(scatter);
            self.scattered = self.prefixes.len();
        }
        let prefix = self.prefixes.pop();
        self.scattered = self.prefixes.len();
        if self.prefixes.is_empty() {
            self.prefixes.shrink_to(1024);
        }
        prefix
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.prefixes.len()
    }
}

/// A number by which neighbouring prefixes are far apart: the finalizer of `SplitMix64`.
fn scatter(prefix: &IpNet) -> u64 {
    let (bits, length) = match prefix {
        IpNet::V4(prefix) => (u64::from(prefix.network().to_bits()), prefix.prefix_len()),
        IpNet::V6(prefix) => {
            let bits = prefix.network().to_bits();
            ((bits >> 64) as u64 ^ (bits as u64), prefix.prefix_len())
        }
    };
    let mut mixed = bits.wrapping_add(u64::from(length) << 56);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(number: u32) -> IpNet {
        IpNet::new_assert(
            std::net::Ipv4Addr::from(0x0a00_0000 + (number << 8)).into(),
            24,
        )
    }

    #[test]
    fn what_comes_while_others_wait_is_next() {
        let mut backlog = Backlog::default();
        (0..100).for_each(|number| backlog.push(prefix(number)));
        backlog.pop();
        backlog.push(prefix(1000));
        assert_eq!(backlog.pop(), Some(prefix(1000)));
        assert_eq!(backlog.len(), 99);
    }

    #[test]
    fn neighbours_are_scattered() {
        let mut backlog = Backlog::default();
        (0..1000).for_each(|number| backlog.push(prefix(number)));
        let order: Vec<IpNet> = std::iter::from_fn(|| backlog.pop()).collect();
        let neighbours = order.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!(
            (400..600).contains(&neighbours),
            "{neighbours} of 999 ascend"
        );
    }
}
