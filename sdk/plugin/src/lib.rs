//! For authors of Millrace plugins: code that the brokers run, as WebAssembly.
//!
//! A filter is a function:
//!
//! ```
//! use millrace_plugin::{Outputs, Record, transform};
//!
//! #[transform]
//! fn errors_only(record: &Record<'_>, out: &mut Outputs) {
//!     if record.value_str().is_some_and(|text| text.contains("ERROR")) {
//!         out.forward(record);
//!     }
//! }
//! ```
//!
//! There are three kinds, each with a trait and an attribute of its name: [`Transform`] turns records of one
//! topic into records of others, [`Partitioner`] chooses partitions, [`Sink`] delivers to the outside. The
//! attribute goes on the trait's implementation, or on a function where there is nothing to configure. A
//! crate holds one plugin and is built as a `cdylib` for `wasm32-unknown-unknown` or `wasm32-wasip2`.
//!
//! Records are views into the batch that the broker sent, and what is sent is written straight into the
//! batch that goes back: nothing is allocated per record. How batches are packed is this crate's business
//! (`sdk/wit/PACKING.md`); a plugin never sees it.
//!
//! Plugins run natively under test, without a host: see [`testing`].
//!
//! Features: `json` for typed values, `http` for requests to hosts that the deployment grants.

mod batch;
#[cfg(target_arch = "wasm32")]
mod bindings;
#[cfg(feature = "http")]
pub mod clock;
mod context;
mod copy;
mod draft;
mod error;
#[cfg(target_arch = "wasm32")]
mod guest;
#[cfg(feature = "http")]
pub mod http;
#[doc(hidden)]
pub mod internal;
pub mod log;
mod outputs;
mod partitioner;
pub mod postgres;
mod record;
pub mod secrets;
mod sink;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod transform;
mod varint;

pub use batch::{Batch, Records};
pub use context::Context;
pub use draft::Draft;
pub use error::{DeliveryError, Error, Fault, Malformed, Result};
pub use millrace_plugin_macros::{partitioner, sink, transform};
pub use outputs::{Output, Outputs};
pub use partitioner::{Partitioner, stable_hash};
pub use record::{Header, Headers, Record};
pub use sink::{Sink, record_token};
pub use transform::Transform;
