//! What a ring is made of: a tenth of the memory of its places, which are computed for whoever asks.

use lb_abi::RING_SIZES;

use super::ring;

/// All that decides over a ring's places. Equal recipes make equal rings, on every node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RingRecipe {
    /// Index into `lb_abi::RING_SIZES`.
    pub(crate) class: u8,
    seed: u32,
    /// Names of the backends in the order of their list, one after the other.
    names: Box<[u8]>,
    /// Length of a name.
    width: usize,
}

impl RingRecipe {
    /// A ring of this class (index into `lb_abi::RING_SIZES`) for backends of these names, which must differ.
    #[must_use]
    pub fn new<const WIDTH: usize>(class: u8, seed: u32, names: &[[u8; WIDTH]]) -> Self {
        Self {
            class,
            seed,
            names: names.as_flattened().into(),
            width: WIDTH,
        }
    }

    /// For each place the ordinal of a name.
    ///
    /// # Panics
    /// When there is no such class, or there are more names than an ordinal can count (65,536).
    #[must_use]
    pub fn ordinals(&self) -> Vec<u16> {
        let names: Vec<&[u8]> = self.names.chunks(self.width).collect();
        ring(RING_SIZES[usize::from(self.class)], self.seed, &names)
    }
}
