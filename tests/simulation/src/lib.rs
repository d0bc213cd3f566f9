//! Clusters in simulated time: the real replica cores and the real log on simulated disks, the real coordinator, the real
//! metadata commands, and everything that can go wrong with machines and networks, from one seed.
//!
//! [`World::run`] plays one history. [`shrink()`] finds the fewest faults with which it still goes wrong. What must hold
//! is in [`invariants`]; that they see what they should is shown by [`mutants`].

pub mod agenda;
mod broker;
mod client;
mod committer;
mod effects;
pub mod fault;
pub mod invariants;
mod message;
pub mod mutants;
mod network;
mod quorum;
mod random;
mod reader;
mod shrink;
mod world;

pub use mutants::Mutant;
pub use shrink::shrink;
pub use world::{Outcome, Scenario, World};
