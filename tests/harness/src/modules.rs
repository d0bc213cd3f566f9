//! Modules of plugins: those that are built from source by a compiler, and those written by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use bytes::Bytes;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A first-party plugin's module, by its crate's name; all of them are built with the first one.
pub fn plugin(name: &str) -> Bytes {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| run(&repository().join("plugins/build.sh")));
    let file = format!("{}.wasm", name.replace('-', "_"));
    let paths = ["wasm32-unknown-unknown", "wasm32-wasip2"]
        .map(|target| repository().join("target/plugins").join(target).join("release").join(&file));
    let [core, component] = &paths;
    read(if core.exists() { core } else { component })
}

/// The order-routing transform of `examples/plugins/<language>`.
pub fn example_plugin(language: &str) -> Bytes {
    run(&repository().join("examples/plugins").join(language).join("build.sh"));
    read(&repository().join("target/plugins/languages").join(format!("{language}.wasm")))
}

/// The guest `tests/guests/<name>.wat`, with the interface of `world`, as a compiler would have written it.
pub fn guest(name: &str, world: &str) -> Bytes {
    guest_of(&text(&format!("{name}.wat")), world)
}

/// A guest of the fields in `source` and those of the prelude.
pub fn guest_of(source: &str, world: &str) -> Bytes {
    let emit = r#"(import "millrace:plugin/output@0.1.0" "emit" (func $emit (param i32 i32)))"#;
    let emit = if source.contains("call $emit") { emit } else { "" };
    let fields = format!("{emit}\n{}\n{source}", text("prelude.wat"));
    // The text format wants imports first.
    let (imports, rest): (Vec<_>, Vec<_>) = fields.lines().partition(|line| line.starts_with("(import"));
    let module = format!("(module\n{}\n{}\n)", imports.join("\n"), rest.join("\n"));
    describe(wat::parse_str(module).expect("the guest is WebAssembly"), world)
}

/// Adds the description of its interface to a core module.
fn describe(mut module: Vec<u8>, world: &str) -> Bytes {
    let mut resolve = Resolve::default();
    resolve.push_str("plugin.wit", &text("../../sdk/wit/plugin.wit")).expect("the contract is WIT");
    let package = resolve.push_str("worlds.wit", &text("worlds.wit")).expect("the guests' worlds are WIT");
    let world = resolve.select_world(&[package], Some(world)).expect("the guests have such a world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("a module takes a description");
    module.into()
}

fn text(name: &str) -> String {
    let path = repository().join("tests/guests").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

fn read(path: &Path) -> Bytes {
    fs::read(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display())).into()
}

fn run(script: &Path) {
    let mut command = Command::new("sh");
    command.arg(script);
    // The plugins have a target directory of their own; what the outer cargo told this test is not for them.
    for name in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        command.env_remove(name);
    }
    let status = command.status().unwrap_or_else(|error| panic!("run {}: {error}", script.display()));
    assert!(status.success(), "{} failed: {status}", script.display());
}
