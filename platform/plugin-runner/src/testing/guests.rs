//! Modules made of the guests in `tests/guests`, without a compiler of another language.

use std::path::Path;

use bytes::Bytes;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A partitioner that puts record `n` into partition `n % partitions`.
pub(crate) const ROUND_ROBIN: &str = r#"
(func (export "partition") (param $batch i32) (param $len i32) (param $partitions i32) (result i32)
  (local $count i32)
  (local $index i32)
  (local.set $count (call $swap (i32.load (i32.add (local.get $batch) (i32.const 57)))))
  (i32.store (i32.const 0) (i32.const 0))
  (i32.store (i32.const 4) (i32.const 16))
  (i32.store (i32.const 8) (local.get $count))
  (block $done
    (loop $next
      (br_if $done (i32.ge_u (local.get $index) (local.get $count)))
      (i32.store
        (i32.add (i32.const 16) (i32.mul (local.get $index) (i32.const 4)))
        (i32.rem_u (local.get $index) (local.get $partitions)))
      (local.set $index (i32.add (local.get $index) (i32.const 1)))
      (br $next)))
  (call $forget)
  (i32.const 0))
"#;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// The guest in `tests/guests/<name>.wat`, with the interface of `world`.
pub(crate) fn guest(name: &str, world: &str) -> Bytes {
    module(&read(&format!("{name}.wat")), world)
}

/// A core module of the fields in `text` and those of the prelude, with the interface of `world`.
pub(crate) fn module(text: &str, world: &str) -> Bytes {
    let emit = r#"(import "millrace:plugin/output@0.1.0" "emit" (func $emit (param i32 i32)))"#;
    let emit = if text.contains("call $emit") { emit } else { "" };
    let fields = format!("{emit}\n{}\n{text}", read("prelude.wat"));
    // The text format wants imports first.
    let (imports, rest): (Vec<_>, Vec<_>) = fields.lines().partition(|line| line.starts_with("(import"));
    let text = format!("(module\n{}\n{}\n)", imports.join("\n"), rest.join("\n"));
    describe(wat::parse_str(text).unwrap(), world)
}

/// Adds the description of its interface to a core module.
fn describe(mut module: Vec<u8>, world: &str) -> Bytes {
    let mut resolve = Resolve::default();
    resolve.push_str("plugin.wit", &read("../../sdk/wit/plugin.wit")).unwrap();
    let package = resolve.push_str("worlds.wit", &read("worlds.wit")).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    module.into()
}
