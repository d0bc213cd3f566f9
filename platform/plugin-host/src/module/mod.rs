//! Modules: what they are and what they ask for, found out without running them.

mod componentize;
mod contract;
mod error;
mod inspect;

pub use error::ModuleError;
pub use inspect::inspect;
pub use millrace_protocol::plugins::{Capability, Kind, ModuleDigest, ModuleInfo, NotADigest, Request};

pub(crate) use componentize::component_bytes;
pub(crate) use contract::version as contract_version;
