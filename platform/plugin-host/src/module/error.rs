//! Why a module is refused before it is deployed, and what to do about it.

use super::{Capability, Kind};
use crate::limits::MODULE_BYTES_MAX;

/// A module that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleError {
    #[error("the module has {size} bytes, over the limit of {MODULE_BYTES_MAX}; strip its debug information")]
    TooLarge { size: usize },
    #[error("this is not WebAssembly: {reason}; upload the .wasm file that the build writes")]
    NotWasm { reason: String },
    #[error("the WebAssembly is invalid: {reason}")]
    Invalid { reason: String },
    #[error(
        "this is a core module without a description of its interface (no `component-type` section); build \
         it with the plugin SDK or wit-bindgen, or run `wasm-tools component embed` on it"
    )]
    NoInterface,
    #[error("no component can be made of this core module: {reason}")]
    Componentize { reason: String },
    #[error("this is a package of interfaces, not a plugin; upload the component that implements them")]
    InterfacePackage,
    #[error(
        "the module exports none of `partition`, `transform` and `deliver`, so it is no plugin; it exports: \
         {}",
        list(exports)
    )]
    WrongWorld { exports: Vec<String> },
    #[error("the module is a {} and a {} at once; one module is one kind of plugin", kinds[0], kinds[1])]
    TwoWorlds { kinds: [Kind; 2] },
    #[error(
        "the module was built for version {found} of millrace:plugin, and this broker speaks {supported}; \
         rebuild it with an SDK of that version"
    )]
    WrongVersion { found: String, supported: String },
    #[error("the module is a {kind} without the export `{export}`, which that world requires")]
    MissingExport { kind: Kind, export: &'static str },
    #[error("the export `{export}` is `{found}`, and the {kind} world requires `{required}`")]
    WrongExport { kind: Kind, export: String, found: String, required: String },
    #[error("the module imports `{import}`, which no plugin may: {hint}")]
    ForbiddenImport { import: String, hint: &'static str },
    #[error("the module imports `{import}`, which a {kind} may not; it is for a {}", list(others))]
    ImportOfOtherKind { import: String, kind: Kind, others: Vec<&'static str> },
    #[error(
        "the module imports `{import}`, which needs the capability `{capability}`, and the deployment grants \
         none of it; grant it by name or build the module without it"
    )]
    NotGranted { import: String, capability: Capability },
}

fn list<T: AsRef<str>>(names: &[T]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}
