//! Where all chance of a world comes from: the seeded source of the platform, with the draws that worlds are made of.

/// What draws at its own pace has a generator of its own, so that one more draw here changes nothing there.
#[derive(Debug)]
pub struct Random(millrace_base::Random);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(millrace_base::Random::seeded(seed))
    }

    pub fn bits(&mut self) -> u64 {
        self.0.bits()
    }

    /// One of `0..end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0.below(end)
    }

    /// One of `from..=to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// True so many times of a thousand.
    pub fn per_mille(&mut self, chance: u64) -> bool {
        self.below(1000) < chance
    }

    pub fn one_of<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// Another generator, whose draws follow from this one's state.
    pub fn fork(&mut self) -> Self {
        Self::new(self.bits())
    }
}
