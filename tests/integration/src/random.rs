//! Random choices from a seed that a failing test prints, so that it can be run again with the same ones.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

/// xorshift64*: even enough for choosing moments and sizes.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Seeded by `MILLRACE_TEST_SEED`, else by the clock; prints the seed, which a passing test keeps to itself.
    pub fn from_environment() -> Self {
        let seed =
            env::var("MILLRACE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(1, |time| u64::from(time.subsec_nanos()) | 1)
            });
        println!("MILLRACE_TEST_SEED={seed}");
        Self(seed.max(1))
    }

    /// The same choices each time.
    pub const fn from_seed(seed: u64) -> Self {
        Self(if seed == 0 { 1 } else { seed })
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 32) as u8).collect()
    }
}
