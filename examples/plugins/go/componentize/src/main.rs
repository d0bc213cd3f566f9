//! Makes a plugin component of a core module that knows WASI only as preview 1, as Go's compiler makes them.
//!
//! `millrace-componentize <core module> <WIT directory> <world> <component>`: the module's interface, which its
//! compiler cannot write into it, is taken from the WIT, and what it wants of WASI is answered by `stubs.wat`.

use std::env;
use std::fs;

use anyhow::{Context, Result, bail};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const STUBS: &str = include_str!("stubs.wat");
/// The stubs import nothing.
const STUBS_WORLD: &str = "package millrace:stubs; world stubs {}";

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [module, wit, world, component] = arguments.as_slice() else {
        bail!("usage: millrace-componentize <core module> <WIT directory> <world> <component>");
    };
    let mut bytes = fs::read(module).with_context(|| format!("read {module}"))?;
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit).with_context(|| format!("read {wit}"))?;
    let world =
        resolve.select_world(&[package], Some(world)).with_context(|| format!("find world {world}"))?;
    embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)
        .context("describe the module's interface")?;
    let made = ComponentEncoder::default()
        .module(&bytes)
        .context("read the module")?
        .adapter("wasi_snapshot_preview1", &stubs()?)
        .context("add the stubs of WASI")?
        .validate(true)
        .encode()
        .context("make the component")?;
    fs::write(component, made).with_context(|| format!("write {component}"))
}

fn stubs() -> Result<Vec<u8>> {
    let mut bytes = wat::parse_str(STUBS).context("assemble the stubs of WASI")?;
    let mut resolve = Resolve::default();
    let package = resolve.push_str("stubs.wit", STUBS_WORLD).context("read the stubs' world")?;
    let world = resolve.select_world(&[package], None).context("find the stubs' world")?;
    embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)?;
    Ok(bytes)
}
