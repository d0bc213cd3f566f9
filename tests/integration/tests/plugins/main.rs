//! Plugins on a real broker: what is delivered through crashes, upgrades and failures, and whom a plugin that
//! misbehaves can harm.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

mod crash;
mod database;
mod misbehaving;
mod operations;
mod outcomes;
mod partitioners;
mod postgres;
mod refused;
mod rest;
mod support;
mod webhook;
