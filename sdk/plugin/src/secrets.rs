//! Secrets that the operator granted by name.

#[cfg(target_arch = "wasm32")]
use crate::bindings::host_secrets as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host::secrets as host;

use crate::error::{Error, Result};

/// The secret of this name; `None` if none was granted.
pub fn get(name: &str) -> Option<String> {
    host::get(name)
}

/// The secret of this name, which must have been granted.
pub fn require(name: &str) -> Result<String> {
    get(name).ok_or_else(|| Error::new(format!("the secret `{name}` was not granted to this deployment")))
}
