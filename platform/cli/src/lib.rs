//! The commands that talk to a broker: topics, records, groups, transactions, plugins, and
//! configuration.
//!
//! Each module is one command: its arguments, what it asks, and how the answer is shown to a person or, with
//! `--output json`, to a program. Nothing here runs inside a broker.

pub mod config;
mod confirm;
pub mod connect;
pub mod consume;
pub mod failure;
pub mod group;
pub mod output;
pub mod plugin;
pub mod produce;
mod progress;
mod record_json;
mod time;
pub mod topic;
pub mod transaction;

pub use output::OutputFormat;
