//! Makes a plugin component of a core module that knows WASI only as preview 1, as Go's compiler makes them.
//!
//! `millrace-componentize <core module> <WIT file> <world> <component>`: the module's interface, which its
//! compiler cannot write into it, is taken from the WIT, and an adapter turns WASI preview 1 into 0.2.

use std::env;
use std::fs;

use anyhow::{Context, Result, bail};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [module, wit, world, component] = arguments.as_slice() else {
        bail!("usage: millrace-componentize <core module> <WIT file> <world> <component>");
    };
    let mut bytes = fs::read(module).with_context(|| format!("read {module}"))?;
    let text = fs::read_to_string(wit).with_context(|| format!("read {wit}"))?;
    let mut resolve = Resolve::default();
    let package = resolve.push_str(wit, &text).with_context(|| format!("parse {wit}"))?;
    let world =
        resolve.select_world(&[package], Some(world)).with_context(|| format!("find world {world}"))?;
    embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)
        .context("describe the module's interface")?;
    let made = ComponentEncoder::default()
        .module(&bytes)
        .context("read the module")?
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)
        .context("add the adapter")?
        // The adapter asks for memory while the module initialises, when its own allocator does not work yet.
        .realloc_via_memory_grow(true)
        .validate(true)
        .encode()
        .context("make the component")?;
    fs::write(component, made).with_context(|| format!("write {component}"))
}
