//! The host with real guests: what misbehaves is stopped, what behaves gives what it should.

mod cache;
mod guests;
mod misbehaving;
mod modules;
mod working;
