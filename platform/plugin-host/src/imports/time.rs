//! Clock and randomness of a call: both follow from its batch, so that a run can be repeated byte for byte.
//!
//! Partitioners and transforms get these. A sink deals with an outside that has a clock and expects nonces
//! that nobody can foresee: it gets the broker's clock and the system's randomness.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use millrace_base::Clock;
use rand_core::TryRng;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

/// Weyl sequence of SplitMix64 (Steele, Lea, Flood 2014).
const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a call's clock shows and its random numbers begin with; shared by an instance and its clocks.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    now_ms: AtomicI64,
    random: AtomicU64,
}

impl Scope {
    pub fn set(&self, now_ms: i64, seed: u64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
        self.random.store(seed, Ordering::Relaxed);
    }

    fn now(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.now_ms.load(Ordering::Relaxed)).unwrap_or(0))
    }

    fn next(&self) -> u64 {
        // Only the instance's own thread draws.
        let state = self.random.load(Ordering::Relaxed).wrapping_add(GOLDEN_GAMMA);
        self.random.store(state, Ordering::Relaxed);
        mix(state)
    }
}

/// Spreads `state` over 64 bits: the output function of SplitMix64.
pub(crate) const fn mix(state: u64) -> u64 {
    let mut mixed = state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Stands at the batch's time while a call runs.
pub(crate) struct ScopeClock(pub Arc<Scope>);

impl HostWallClock for ScopeClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        self.0.now()
    }
}

impl HostMonotonicClock for ScopeClock {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.now().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Random numbers that follow from the batch. Anybody who knows the batch can foresee them.
pub(crate) struct ScopeRandom(pub Arc<Scope>);

impl TryRng for ScopeRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.0.next() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.0.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// The broker's clock.
pub(crate) struct RealTime(pub Arc<dyn Clock>);

impl HostWallClock for RealTime {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.now_ms()).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let draw = |seed| {
            let scope = Arc::new(Scope::default());
            scope.set(5, seed);
            let mut random = ScopeRandom(scope);
            let mut bytes = [0; 21];
            random.try_fill_bytes(&mut bytes).unwrap();
            (bytes, random.try_next_u64().unwrap(), random.try_next_u32().unwrap())
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        // The published first output for state 0.
        let scope = Scope::default();
        assert_eq!(scope.next(), 0xe220_a839_7b1d_cdaf);
    }
}
