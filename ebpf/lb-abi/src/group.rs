use crate::RING_UNIT;

/// The backends behind one or more frontends, in one word, so that one store publishes a new list together with its ring:
/// bits 0–23 first slot of the list, 24–39 its length, 40–43 class of the ring ([`crate::RING_SIZES`]), 44–63 first ordinal of the ring
/// in units of [`RING_UNIT`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Group {
    /// First slot in `SLOTS`, below 2²⁴.
    pub first_slot: u32,
    /// Backends in the list.
    pub count: u16,
    /// Class of the ring, index into [`crate::RING_SIZES`]; 0 where there is none.
    pub ring_class: u8,
    /// First ordinal in `RINGS`, a multiple of [`RING_UNIT`], below 2²⁶. A ring's ordinals count into the list.
    pub ring_start: u32,
}

impl Group {
    /// The word.
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> u64 {
        (self.first_slot as u64 & 0xff_ffff)
            | (self.count as u64) << 24
            | (self.ring_class as u64 & 0xf) << 40
            | ((self.ring_start / RING_UNIT) as u64 & 0xf_ffff) << 44
    }

    /// The word taken apart.
    #[inline(always)]
    #[must_use]
    pub const fn unpack(word: u64) -> Self {
        Self {
            first_slot: (word & 0xff_ffff) as u32,
            count: (word >> 24) as u16,
            ring_class: ((word >> 40) & 0xf) as u8,
            ring_start: (word >> 44) as u32 * RING_UNIT,
        }
    }
}
