//! The plugins of `plugins/` and `examples/plugins`, run by the plugin host as a broker runs them.
//!
//! Guests are built when a test asks for them, in `target/plugins`.

mod bench;
mod build;
mod records;

pub use bench::{Bench, Setup, roomy};
pub use build::{example, guest, plugin, repository};
pub use records::{Owned, batch, orders, owned};
