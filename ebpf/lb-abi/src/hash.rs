/// An odd multiplier that spreads consecutive numbers (2³² / golden ratio).
const SPREAD: u32 = 0x9e37_79b1;

/// Odd multipliers of an address's words in a filter (fractional parts of the square roots of 2, 3, 5 and 7).
const MULTIPLIERS: [u64; 4] = [
    0x6a09_e667_f3bc_c909,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
];

/// The same of port and protocol (square root of 11).
const PORT_MULTIPLIER: u64 = 0x510e_527f_ade6_82d1;

/// Where an address is in filters. It is hashed once for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressHash(u64);

impl AddressHash {
    /// Of an address's words: its bytes in the order they come, read as the machine reads them. An IPv4 address is one word.
    ///
    /// A sum of products (multilinear hashing): no multiplication waits for another, at every packet that comes.
    #[inline(always)]
    #[must_use]
    pub fn of(words: &[u32]) -> Self {
        let products = words
            .iter()
            .zip(MULTIPLIERS)
            .map(|(word, multiplier)| (*word as u64).wrapping_mul(multiplier));
        Self(products.fold(0, u64::wrapping_add))
    }

    /// The bit of a filter that the address has.
    #[inline(always)]
    #[must_use]
    pub fn bit(self) -> u32 {
        (self.0 >> 48) as u32
    }

    /// The bit that a frontend's row at the address has in its filter; `port` is in network order, read as the machine reads it. With
    /// neither port nor protocol it is the bit of the address.
    #[inline(always)]
    #[must_use]
    pub fn row_bit(self, port: u16, protocol: u8) -> u32 {
        let place = (port as u64) << 8 | protocol as u64;
        Self(self.0.wrapping_add(place.wrapping_mul(PORT_MULTIPLIER))).bit()
    }
}

/// Hash by which a ring is asked: of the client's address and port, the frontend's port and protocol; not of the frontend's address, so
/// that all addresses of a Service choose alike. The finish is that of MurmurHash3.
///
/// `ports` is the source port in the upper half and the frontend's port in the lower, both in network order read as the machine reads
/// them; `place` is scaled by the caller: `hash × size >> 32`.
#[inline(always)]
#[must_use]
pub fn flow_hash(seed: u32, client: &[u32], ports: u32, protocol: u8) -> u32 {
    let mut hash = seed;
    for word in client {
        hash = (hash ^ word).wrapping_mul(SPREAD).rotate_left(15);
    }
    hash = (hash ^ ports).wrapping_mul(SPREAD).rotate_left(15);
    hash ^= protocol as u32;
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}
