//! Every Rust file is part of a program: somebody declares it as a module.

use std::collections::BTreeSet;
use std::path::Path;

use super::Source;

pub fn check(sources: &[Source]) -> Vec<String> {
    let declared: BTreeSet<String> =
        sources.iter().filter(|source| source.is_rust()).flat_map(declarations).collect();
    sources
        .iter()
        .filter(|source| source.is_rust() && !is_root(&source.path))
        .filter(|source| !possible_declarations(&source.path).iter().any(|name| declared.contains(name)))
        .map(|source| source.finding("no module declares it: it is never compiled"))
        .collect()
}

/// What cargo compiles without being told by another file.
fn is_root(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    if name == "lib.rs" || name == "main.rs" || name == "build.rs" {
        return true;
    }
    path.parent().and_then(Path::file_name).is_some_and(|directory| {
        ["tests", "examples", "bin", "benches", "fuzz_targets", "guests"]
            .iter()
            .any(|root| directory == *root)
    })
}

/// `<directory of the module>/<name>` for every `mod name;` in a file.
fn declarations(source: &Source) -> Vec<String> {
    let Some(parent) = source.path.parent() else { return Vec::new() };
    let stem = source.path.file_stem().unwrap_or_default();
    let owns_directory = is_root(&source.path) || stem == "mod";
    let directory = if owns_directory { parent.to_owned() } else { parent.join(stem) };
    let mut names = Vec::new();
    let mut path_attribute = None;
    for line in source.text.lines().map(str::trim) {
        if let Some(path) = line.strip_prefix("#[path = \"").and_then(|rest| rest.strip_suffix("\"]")) {
            path_attribute = Some(path.trim_end_matches(".rs").to_owned());
            continue;
        }
        let declaration = line.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
        let declaration = declaration.trim_start_matches("pub ").strip_prefix("mod ");
        if let Some(name) = declaration.and_then(|rest| rest.strip_suffix(';')) {
            // A path attribute counts from the file's own directory, a name from that of its modules.
            let module = match path_attribute.take() {
                Some(path) => parent.join(path),
                None => directory.join(name),
            };
            names.push(module.display().to_string());
        }
    }
    names
}

fn possible_declarations(path: &Path) -> Vec<String> {
    let module = path.with_extension("");
    let mut names = vec![module.display().to_string()];
    if path.file_stem().is_some_and(|stem| stem == "mod") {
        names.extend(module.parent().map(|directory| directory.display().to_string()));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.to_owned() }
    }

    #[test]
    fn only_undeclared_files_are_dead() {
        let sources = [
            source("a/src/lib.rs", "mod used;\npub mod folder;\npub(crate) mod deep;"),
            source("a/src/used.rs", "#[path = \"used_tests.rs\"]\nmod tests;"),
            source("a/src/used_tests.rs", ""),
            source("a/src/folder/mod.rs", "mod inner;"),
            source("a/src/folder/inner.rs", ""),
            source("a/src/deep.rs", "mod below;"),
            source("a/src/deep/below.rs", ""),
            source("a/src/forgotten.rs", ""),
            source("a/tests/suite.rs", "mod helper;"),
            source("a/tests/helper/mod.rs", ""),
        ];
        let findings = check(&sources);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].starts_with("a/src/forgotten.rs"));
    }
}
