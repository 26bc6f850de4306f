//! Filters: bitmaps in which a packet's address is looked for before anything else is.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lb_abi::{AddressHash, FILTER_COUNT, FILTER_WORDS};

use super::place::Place;
use super::steps::Steps;
use crate::configuration::TCP_TIMEOUT;
use crate::op::MapOp;

/// How long a row or an address stays in a filter when its last frontend or backend has gone: established flows go on, as long as an entry
/// without packets does, and a packet that is in no filter is not looked up.
pub(super) const LINGER: Duration = Duration::from_secs(TCP_TIMEOUT as u64);

/// Which filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Filter {
    Frontends = lb_abi::FILTER_FRONTENDS as isize,
    Backends = lb_abi::FILTER_BACKENDS as isize,
    Rows = lb_abi::FILTER_ROWS as isize,
}

/// All filters, with the users of each bit.
#[derive(Debug)]
pub(super) struct Filters {
    users: [Vec<u32>; FILTER_COUNT],
    words: [Vec<u64>; FILTER_COUNT],
    dirty: BTreeSet<(Filter, usize)>,
    /// Users that have gone, in the order they went.
    lingering: VecDeque<(Instant, Filter, u32)>,
    /// Bits found at a start, whose users are not known.
    found: Vec<(Filter, u32)>,
}

impl Filters {
    pub(super) fn new(contents: &[Vec<u64>; FILTER_COUNT]) -> Self {
        let mut filters = Self {
            users: std::array::from_fn(|_| vec![0; FILTER_WORDS * 64]),
            words: contents.clone(),
            dirty: BTreeSet::new(),
            lingering: VecDeque::new(),
            found: Vec::new(),
        };
        for filter in [Filter::Frontends, Filter::Backends, Filter::Rows] {
            filters.words[filter as usize].resize(FILTER_WORDS, 0);
            for bit in 0..FILTER_WORDS as u32 * 64 {
                if filters.words[filter as usize][bit as usize / 64] >> (bit % 64) & 1 == 1 {
                    filters.users[filter as usize][bit as usize] = 1;
                    filters.found.push((filter, bit));
                }
            }
        }
        filters
    }

    /// Forgets users whose time is over.
    pub(super) fn begin(&mut self, now: Instant) {
        for (filter, bit) in std::mem::take(&mut self.found) {
            self.lingering.push_back((now, filter, bit));
        }
        while let Some(&(gone, filter, bit)) = self.lingering.front()
            && gone + LINGER <= now
        {
            self.lingering.pop_front();
            self.leave(filter, bit);
        }
    }

    /// Puts a place in, or with that of the wildcard an address.
    pub(super) fn add(&mut self, filter: Filter, place: &Place) {
        self.join(filter, bit_of(place));
    }

    pub(super) fn remove(&mut self, filter: Filter, place: &Place, now: Instant) {
        self.lingering.push_back((now, filter, bit_of(place)));
    }

    /// Puts in a backend of this node, and its address.
    pub(super) fn add_backend(&mut self, place: &Place) {
        self.add(Filter::Backends, place);
        self.add(Filter::Backends, &Place::wildcard(place.address));
    }

    pub(super) fn remove_backend(&mut self, place: &Place, now: Instant) {
        self.remove(Filter::Backends, place, now);
        self.remove(Filter::Backends, &Place::wildcard(place.address), now);
    }

    fn join(&mut self, filter: Filter, bit: u32) {
        self.users[filter as usize][bit as usize] += 1;
        self.dirty.insert((filter, bit as usize / 64));
    }

    fn leave(&mut self, filter: Filter, bit: u32) {
        self.users[filter as usize][bit as usize] -= 1;
        self.dirty.insert((filter, bit as usize / 64));
    }

    pub(super) fn finish(&mut self, steps: &mut Steps) {
        for (filter, index) in std::mem::take(&mut self.dirty) {
            let wanted = (0..64).fold(0u64, |word, bit| {
                word | u64::from(self.users[filter as usize][index * 64 + bit] > 0) << bit
            });
            let word = &mut self.words[filter as usize][index];
            let step = |word| MapOp::Filter {
                filter: filter as u32,
                index,
                word,
            };
            if *word | wanted != *word {
                steps.filters.push(step(*word | wanted));
            }
            if *word | wanted != wanted {
                steps.filters_cleared.push(step(wanted));
            }
            *word = wanted;
        }
    }
}

fn bit_of(place: &Place) -> u32 {
    let port = u16::from_ne_bytes(place.port.to_be_bytes());
    let word = |bytes: &[u8]| u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let hash = match place.address {
        IpAddr::V4(address) => AddressHash::of(&[word(&address.octets())]),
        IpAddr::V6(address) => {
            let octets = address.octets();
            let words = [0, 4, 8, 12].map(|first| word(&octets[first..]));
            AddressHash::of(&words)
        }
    };
    hash.row_bit(port, place.protocol)
}
