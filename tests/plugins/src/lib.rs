//! The plugins of `plugins/` and `examples/plugins`, run by the plugin host as a broker runs them.
//!
//! Guests are built when a test asks for them, in `target/plugins`.

mod bench;
mod records;
mod routing;

pub use bench::{Bench, Setup, roomy};
pub use millrace_test_harness::{example_plugin, plugin, repository};
pub use records::{Owned, batch, orders, owned};
pub use routing::{ROUTES, compare, route};
