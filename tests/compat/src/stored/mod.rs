//! Proof that what a client takes for stored is stored: producers of several clients write down what they were
//! told, and afterwards that is compared with what is there.

mod check;
mod client;
mod journal;
mod observer;
mod scenarios;

pub use client::Client;
pub use scenarios::{creation, growing, recreation, restart};
