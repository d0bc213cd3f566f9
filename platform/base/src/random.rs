//! Randomness as a parameter: whoever draws takes a [`Random`], only the binary picks the system's.
//!
//! What outsiders must not foresee (secrets, keys, nonces) is not drawn here but where it is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

/// Where random numbers come from. Clones draw from the same.
#[derive(Clone, Debug, Default)]
pub struct Random(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    /// SplitMix64: small, and the same everywhere.
    Seeded(Arc<AtomicU64>),
}

impl Random {
    /// The operating system's.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// Numbers that follow from `seed`, in the order in which they are drawn.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(AtomicU64::new(seed))))
    }

    /// Random bits.
    pub fn bits(&self) -> u64 {
        match &self.0 {
            Source::System => {
                // Of its 128 bits the first two of the second half are the same in all, and four of the first.
                let (first, second) = Uuid::new_v4().as_u64_pair();
                second << 2 | first & 0b11
            }
            Source::Seeded(state) => {
                const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
                let mut mixed = state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                mixed ^ (mixed >> 31)
            }
        }
    }

    /// One of `0..bound`; 0 if there is none.
    pub fn below(&self, bound: u64) -> u64 {
        self.bits().checked_rem(bound).unwrap_or(0)
    }

    /// A random UUID, of version 4.
    pub fn uuid(&self) -> Uuid {
        let bits = u128::from(self.bits()) << 64 | u128::from(self.bits());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_what_clones_draw() {
        let drawn = |seed| {
            let random = Random::seeded(seed);
            [random.bits(), random.clone().bits(), random.below(1000), random.uuid().as_u64_pair().0]
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        assert_eq!(Random::seeded(0).bits(), 0xe220_a839_7b1d_cdaf, "the algorithm's first number");
        assert_eq!(Random::seeded(1).uuid().get_version_num(), 4);
    }

    /// No bit of the system's numbers stands still.
    #[test]
    fn every_bit_of_the_system_s_is_random() {
        let random = Random::system();
        let (mut ones, mut zeros) = (0, 0);
        for _ in 0..200 {
            let bits = random.bits();
            ones |= bits;
            zeros |= !bits;
        }
        assert_eq!((ones, zeros), (u64::MAX, u64::MAX));
        assert_eq!(random.below(1), 0);
        assert_eq!(random.below(0), 0);
    }
}
