//! What the tests of the whole broker share: raw frames for clients that break the rules, a neighbour that
//! keeps them and must not suffer, and random choices that can be repeated.

mod neighbour;
mod random;
pub mod raw;

pub use neighbour::Neighbour;
pub use random::Random;
