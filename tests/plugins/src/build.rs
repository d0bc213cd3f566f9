//! Building guests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use bytes::Bytes;

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
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

fn read(path: &Path) -> Bytes {
    std::fs::read(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display())).into()
}

/// A first-party plugin's module, by its crate's name.
pub fn plugin(name: &str) -> Bytes {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| run(&repository().join("plugins/build.sh")));
    let file = format!("{}.wasm", name.replace('-', "_"));
    let paths = ["wasm32-unknown-unknown", "wasm32-wasip2"]
        .map(|target| repository().join("target/plugins").join(target).join("release").join(&file));
    let [core, component] = &paths;
    read(if core.exists() { core } else { component })
}

/// A guest of `tests/plugins/guests`.
pub fn guest(name: &str) -> Bytes {
    plugin(&format!("guest-{name}"))
}

/// The order-routing transform of `examples/plugins/<language>`.
pub fn example(language: &str) -> Bytes {
    run(&repository().join("examples/plugins").join(language).join("build.sh"));
    read(&repository().join("target/plugins/languages").join(format!("{language}.wasm")))
}
