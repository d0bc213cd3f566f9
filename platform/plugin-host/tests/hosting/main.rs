//! The host with real guests: what misbehaves is stopped, what behaves gives what it should.

#![allow(clippy::unwrap_used)] // A test that meets an error is to fail.

mod cache;
mod guests;
mod misbehaving;
mod modules;
mod vectors;
mod working;
