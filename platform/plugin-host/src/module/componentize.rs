//! Making a component of a core module, as `wasm32-unknown-unknown` and `wasm32-wasip1` builds are.

use std::borrow::Cow;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use super::ModuleError;
use crate::limits::MODULE_BYTES_MAX;

/// Where a core module's interface is described.
const INTERFACE_SECTION: &str = "component-type";

/// The component that `bytes` is, or that is made of the core module that it is.
pub(crate) fn component_bytes(bytes: &[u8]) -> Result<Cow<'_, [u8]>, ModuleError> {
    if bytes.len() > MODULE_BYTES_MAX {
        return Err(ModuleError::TooLarge { size: bytes.len() });
    }
    if Parser::is_component(bytes) {
        return Ok(Cow::Borrowed(bytes));
    }
    if !Parser::is_core_wasm(bytes) {
        return Err(ModuleError::NotWasm { reason: not_wasm(bytes).to_owned() });
    }
    wasmparser::validate(bytes).map_err(|error| ModuleError::Invalid { reason: error.to_string() })?;
    if !has_interface(bytes) {
        return Err(ModuleError::NoInterface);
    }
    let failed = |error| ModuleError::Componentize { reason: format!("{error:#}") };
    let mut encoder = ComponentEncoder::default().validate(true).module(bytes).map_err(failed)?;
    if imports_preview1(bytes) {
        // Go's toolchain, for one, knows no later WASI.
        let adapter = WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
        encoder = encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter).map_err(failed)?;
    }
    encoder.encode().map(Cow::Owned).map_err(failed)
}

pub(super) fn is_core_module(bytes: &[u8]) -> bool {
    Parser::is_core_wasm(bytes)
}

fn not_wasm(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "it is empty",
        [b'\0', b'a', b's', b'm', ..] => "its version is unknown",
        [b'(', ..] => "it is WebAssembly's text format",
        [0x1f, 0x8b, ..] => "it is compressed with gzip",
        [b'P', b'K', ..] => "it is a ZIP archive",
        [0x7f, b'E', b'L', b'F', ..] => "it is a native program",
        _ => "it does not begin with \\0asm",
    }
}

fn has_interface(module: &[u8]) -> bool {
    Parser::new(0).parse_all(module).any(|payload| {
        matches!(payload, Ok(Payload::CustomSection(section))
            if section.name().starts_with(INTERFACE_SECTION))
    })
}

/// Whether the module was built for WASI 0.1.
fn imports_preview1(module: &[u8]) -> bool {
    let mut imports = Parser::new(0).parse_all(module).filter_map(|payload| match payload {
        Ok(Payload::ImportSection(imports)) => Some(imports),
        _ => None,
    });
    imports.any(|imports| {
        let mut imports = imports.into_imports();
        imports.any(|import| import.is_ok_and(|it| it.module == WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME))
    })
}
