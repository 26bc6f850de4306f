//! Randomness from a seed, for timers only.

use std::time::Duration;

/// A SplitMix64 stream. Predictable on purpose: it spreads timers, it protects nothing.
#[derive(Debug, Clone)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// `duration` times 0.75 to 1.0, uniformly (RFC 4271 section 10).
    pub(crate) fn scale(&mut self, duration: Duration) -> Duration {
        let permille = 750 + u32::try_from(self.next() % 251).unwrap_or(250);
        duration * permille / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_three_quarters_and_one_and_spreads() {
        let mut jitter = Jitter::new(7);
        let whole = Duration::from_secs(1000);
        let drawn: Vec<u64> = (0..10_000).map(|_| jitter.scale(whole).as_secs()).collect();
        assert!(drawn.iter().all(|seconds| (750..=1000).contains(seconds)));
        assert!(
            drawn.iter().any(|&seconds| seconds < 760)
                && drawn.iter().any(|&seconds| seconds > 990)
        );
    }
}
