//! The plugin SDK as this program carries it: a new project builds on a machine that has nothing else of Millrace.
//!
//! The files are those of `sdk/`, as they were when this program was built; only the manifests are adapted, since
//! what they inherit from the repository's workspace comes from a workspace of the SDK's own.

macro_rules! embed {
    ($path:literal) => {
        ($path, include_str!(concat!("../../../../sdk/", $path)))
    };
}

/// What is copied as it is, by its path in `sdk/`.
const SOURCES: &[(&str, &str)] = &[
    embed!("plugin/macros/src/export.rs"),
    embed!("plugin/macros/src/function.rs"),
    embed!("plugin/macros/src/lib.rs"),
    embed!("plugin/src/batch.rs"),
    embed!("plugin/src/bindings.rs"),
    embed!("plugin/src/clock.rs"),
    embed!("plugin/src/context.rs"),
    embed!("plugin/src/copy.rs"),
    embed!("plugin/src/draft.rs"),
    embed!("plugin/src/error.rs"),
    embed!("plugin/src/guest.rs"),
    embed!("plugin/src/http/mod.rs"),
    embed!("plugin/src/http/retry_after.rs"),
    embed!("plugin/src/http/wasi.rs"),
    embed!("plugin/src/internal.rs"),
    embed!("plugin/src/lib.rs"),
    embed!("plugin/src/log.rs"),
    embed!("plugin/src/outputs.rs"),
    embed!("plugin/src/partitioner.rs"),
    embed!("plugin/src/postgres.rs"),
    embed!("plugin/src/record.rs"),
    embed!("plugin/src/secrets.rs"),
    embed!("plugin/src/sink.rs"),
    embed!("plugin/src/testing/host.rs"),
    embed!("plugin/src/testing/mod.rs"),
    embed!("plugin/src/testing/packing.rs"),
    embed!("plugin/src/transform.rs"),
    embed!("plugin/src/varint.rs"),
    embed!("wit/PACKING.md"),
    embed!("wit/plugin.wit"),
];

const PLUGIN_MANIFEST: &str = include_str!("../../../../sdk/plugin/Cargo.toml");
const MACROS_MANIFEST: &str = include_str!("../../../../sdk/plugin/macros/Cargo.toml");

/// The SDK's files, by their paths in its directory; the crate is in `plugin`.
pub fn files() -> impl Iterator<Item = (&'static str, String)> {
    let manifests = [
        ("Cargo.toml", workspace()),
        ("plugin/Cargo.toml", without_tests(PLUGIN_MANIFEST).to_owned()),
        ("plugin/macros/Cargo.toml", MACROS_MANIFEST.to_owned()),
    ];
    manifests.into_iter().chain(SOURCES.iter().map(|(path, text)| (*path, (*text).to_owned())))
}

/// What the SDK's own tests depend on is in the repository, and so are they.
fn without_tests(manifest: &str) -> &str {
    manifest.split_once("\n[dev-dependencies]").map_or(manifest, |(before, _)| before)
}

fn workspace() -> String {
    include_str!("template/sdk-Cargo.toml.in")
        .replace("{version}", env!("CARGO_PKG_VERSION"))
        .replace("{rust-version}", env!("CARGO_PKG_RUST_VERSION"))
        .replace("{license}", env!("CARGO_PKG_LICENSE"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn walk(root: &Path, directory: PathBuf, into: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(root, path, into),
                false => {
                    into.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
    }

    #[test]
    fn every_source_of_the_sdk_is_carried() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk").canonicalize().unwrap();
        let mut there = BTreeSet::new();
        walk(&sdk, sdk.join("plugin/src"), &mut there);
        walk(&sdk, sdk.join("plugin/macros/src"), &mut there);
        let carried: BTreeSet<String> = SOURCES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(there.difference(&carried).collect::<Vec<_>>(), Vec::<&String>::new());
    }

    #[test]
    fn what_the_manifests_inherit_is_in_the_workspace() {
        let workspace: toml::Table = workspace().parse().unwrap();
        let workspace = &workspace["workspace"];
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
        let repository: toml::Table = fs::read_to_string(repository).unwrap().parse().unwrap();
        let repository = &repository["workspace"];
        for (name, text) in files().filter(|(name, _)| name.ends_with("/Cargo.toml")) {
            let manifest: toml::Table = text.parse().unwrap();
            for table in ["package", "dependencies"] {
                for (key, value) in manifest[table].as_table().unwrap() {
                    if value.get("workspace").is_some() {
                        let inherited = workspace[table].get(key);
                        assert!(inherited.is_some(), "{name}: {table}.{key} is not in the SDK's workspace");
                        assert_eq!(inherited, repository[table].get(key), "{name}: {table}.{key}");
                    }
                }
            }
        }
    }
}
