//! Starts the real `millrace` program for tests: on free loopback ports, over a data directory of the test's
//! own, waits until it is ready, keeps what it logs, and ends it when the test is over.
//!
//! Invariants: nothing but what a test started is ever signalled; waiting is for a condition, with a limit
//! whose message says what was waited for; a failed start shows the broker's own words.

mod binary;
mod broker;
mod builder;
mod http;
mod modules;
mod ports;
mod process;
mod program;
mod skip;

pub use binary::{example_binary, millrace_binary};
pub use broker::Broker;
pub use builder::{BrokerBuilder, Refusal};
pub use millrace_test_wait::{a_while, eventually, eventually_async};
pub use modules::{example_plugin, guest, guest_of, plugin, repository};
pub use ports::free_port;
pub use process::resident_bytes;
pub use program::{Finished, Program, tool};
pub use skip::skipped;

/// Whether the long versions of tests were asked for (`cargo xtask verify --long`).
pub fn long_tests() -> bool {
    std::env::var_os("MILLRACE_TEST_LONG").is_some()
}
