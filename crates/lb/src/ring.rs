//! Rings: which backend a client's hash chooses, alike on every node.
//!
//! The permutations are those of Maglev (Eisenbud et al., NSDI 2016, §3.4): a backend's *j*-th preference is `offset + j × skip` modulo
//! the prime size. Where Maglev lets backends take turns, here a place goes to the backend that wants it most (deferred acceptance):
//! shares are as equal, namely to within one place, and half as many places move without need when a backend comes or goes.

mod recipe;

use std::collections::VecDeque;

use lb_abi::RING_SIZES;

pub use recipe::RingRecipe;

/// Places per backend at which no backend gets 1 % more than another.
const PLACES_PER_BACKEND: usize = 100;

/// The class (index into `lb_abi::RING_SIZES`) of the smallest ring that has a hundred places for each backend, or of the greatest
/// that is allowed. 0, no ring, where there are no backends.
#[must_use]
pub fn ring_class(backends: usize, maximum: u32) -> u8 {
    if backends == 0 {
        return 0;
    }
    let mut chosen = 1;
    for (class, size) in (1u8..).zip(RING_SIZES.into_iter().skip(1)) {
        if class > 1 && size > maximum {
            break;
        }
        chosen = class;
        if size as usize >= PLACES_PER_BACKEND * backends {
            break;
        }
    }
    chosen
}

/// Fills a ring: for each place the ordinal of a name. Names must differ; their order does not matter but for the ordinals. Empty
/// where there are no names. `size` is a prime of `lb_abi::RING_SIZES`.
///
/// # Panics
/// When there are more names than an ordinal can count (65,536).
#[must_use]
pub fn ring<N: AsRef<[u8]>>(size: u32, seed: u32, names: &[N]) -> Vec<u16> {
    if names.is_empty() {
        return Vec::new();
    }
    let mut ordinals: Vec<u16> = (0..names.len())
        .map(|ordinal| u16::try_from(ordinal).expect("ordinals are counted in 16 bits"))
        .collect();
    ordinals.sort_by(|a, b| {
        names[usize::from(*a)]
            .as_ref()
            .cmp(names[usize::from(*b)].as_ref())
    });
    let mut seekers: Vec<Seeker> = ordinals
        .iter()
        .enumerate()
        .map(|(rank, ordinal)| {
            Seeker::new(
                names[usize::from(*ordinal)].as_ref(),
                size,
                seed,
                share(size, ordinals.len(), rank),
            )
        })
        .collect();
    let owners = settle(size, &mut seekers);
    owners
        .into_iter()
        .map(|rank| ordinals[usize::from(rank)])
        .collect()
}

/// Places of a name: the size divided by the names, the remainder to the first ones.
fn share(size: u32, names: usize, rank: usize) -> u32 {
    let size = size as usize;
    (size / names + usize::from(rank < size % names)) as u32
}

/// A name that still wants places.
struct Seeker {
    next: u32,
    skip: u32,
    turn: u32,
    wanted: u32,
}

impl Seeker {
    fn new(name: &[u8], size: u32, seed: u32, wanted: u32) -> Self {
        let hash = hash(name, u64::from(seed));
        let second = mix(hash ^ 0x9e37_79b9_7f4a_7c15);
        Self {
            next: (hash % u64::from(size)) as u32,
            skip: (second % u64::from(size - 1)) as u32 + 1,
            turn: 0,
            wanted,
        }
    }

    /// The next preference, with its rank among this name's preferences.
    fn ask(&mut self, size: u32) -> (u32, u32) {
        let asked = (self.turn, self.next);
        self.turn += 1;
        self.next += self.skip;
        if self.next >= size {
            self.next -= size;
        }
        asked
    }
}

/// Owner of each place, by rank. Shares add up to the size, so that a name that still wants a place always finds one that is free or
/// that it wants more than the owner does.
fn settle(size: u32, seekers: &mut [Seeker]) -> Vec<u16> {
    const NOBODY: (u32, u16) = (u32::MAX, u16::MAX);
    let mut places = vec![NOBODY; size as usize];
    let mut waiting: VecDeque<usize> = (0..seekers.len()).collect();
    while let Some(rank) = waiting.pop_front() {
        while seekers[rank].wanted > 0 {
            let (turn, place) = seekers[rank].ask(size);
            let claim = (turn, rank as u16);
            let place = &mut places[place as usize];
            if claim >= *place {
                continue;
            }
            let loser = std::mem::replace(place, claim);
            seekers[rank].wanted -= 1;
            if loser != NOBODY {
                let loser = usize::from(loser.1);
                if seekers[loser].wanted == 0 {
                    waiting.push_back(loser);
                }
                seekers[loser].wanted += 1;
            }
        }
    }
    places.into_iter().map(|(_, rank)| rank).collect()
}

/// A 64-bit hash of bytes: words of eight, each mixed in. It is part of what nodes agree about: whoever changes it moves clients.
fn hash(bytes: &[u8], seed: u64) -> u64 {
    let mut state = mix(seed ^ (bytes.len() as u64));
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = mix(state ^ u64::from_le_bytes(word)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    }
    state
}

/// The finish of MurmurHash3, 64 bits.
fn mix(mut word: u64) -> u64 {
    word ^= word >> 33;
    word = word.wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^= word >> 33;
    word = word.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ (word >> 33)
}

#[cfg(test)]
mod tests;
