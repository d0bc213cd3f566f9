//! Files of a crate that import each other in a circle can only be understood together. Those that there are may
//! become fewer, and never more.
//!
//! A module and those inside it count as one here: a parent that shows what its children hold, and children that
//! share what their parent has, are no circle. Tests are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use super::Source;

/// Circles that stand. Whoever takes one apart lowers it.
const CIRCLES: usize = 2;

/// A module by its names from the crate's root on.
type Module = Vec<String>;

pub fn check(sources: &[Source]) -> Vec<String> {
    let mut crates: BTreeMap<String, Vec<(Module, &Source)>> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        if let Some((name, module)) = place(&source.path) {
            crates.entry(name).or_default().push((module, source));
        }
    }
    let circles: Vec<String> = crates.values().flat_map(|files| circles(files)).collect();
    if circles.len() == CIRCLES {
        return Vec::new();
    }
    let finding = format!(
        "{} circles of imports, of which the checks expect {CIRCLES}; take the new one apart, or lower the number",
        circles.len()
    );
    circles.into_iter().chain([finding]).collect()
}

/// The crate of a file, and its module there; `None` for what is only a test's.
fn place(path: &Path) -> Option<(String, Module)> {
    let names: Vec<&str> = path.components().filter_map(name).collect();
    let source = names.iter().position(|name| *name == "src")?;
    let (crate_dir, inside) = (names[..source].join("/"), &names[source + 1..]);
    let mut module: Module = inside.iter().map(|name| name.trim_end_matches(".rs").to_owned()).collect();
    let is_test = |name: &String| name == "tests" || name.ends_with("_tests") || name.starts_with("testing");
    if module.iter().any(is_test) {
        return None;
    }
    if module.last().is_some_and(|name| ["lib", "main", "mod"].contains(&name.as_str())) {
        module.pop();
    }
    Some((crate_dir, module))
}

fn name<'a>(component: Component<'a>) -> Option<&'a str> {
    component.as_os_str().to_str()
}

/// The circles of one crate, each in words.
fn circles(files: &[(Module, &Source)]) -> Vec<String> {
    let modules: BTreeSet<&Module> = files.iter().map(|(module, _)| module).collect();
    let mut imports: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
    for (module, source) in files {
        for path in paths(&source.text, module) {
            let known = (0..=path.len()).rev().find_map(|len| modules.get(&path[..len].to_vec()).copied());
            if let Some(known) = known.filter(|known| !is_one(known, module)) {
                imports.entry(module).or_default().insert(known);
            }
        }
    }
    let mut left: BTreeSet<&Module> = imports.keys().copied().collect();
    let mut found = Vec::new();
    while let Some(first) = left.first().copied() {
        let onward = reached(&imports, first);
        let circle: BTreeSet<&Module> =
            onward.iter().copied().filter(|other| reached(&imports, other).contains(first)).collect();
        left.remove(first);
        left.retain(|module| !circle.contains(module));
        if circle.len() > 1 {
            let file = |module: &Module| {
                let file = files.iter().find(|(of, _)| of == module);
                file.map(|(_, source)| source.path.display().to_string()).unwrap_or_default()
            };
            let names: Vec<String> = circle.iter().map(|module| file(module)).collect();
            found.push(format!("{}: imports itself in a circle of {}", names[0], names.join(", ")));
        }
    }
    found
}

/// Whether one is inside the other.
fn is_one(one: &Module, other: &Module) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// Every module that `from` imports, or one of those, and so on.
fn reached<'m>(
    imports: &BTreeMap<&'m Module, BTreeSet<&'m Module>>,
    from: &'m Module,
) -> BTreeSet<&'m Module> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        let new = imports.get(module).into_iter().flatten().filter(|module| reached.insert(**module));
        next.extend(new.copied());
    }
    reached
}

/// The paths within the crate that a file names, from the crate's root on.
fn paths(text: &str, module: &Module) -> Vec<Module> {
    let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String =
        shipped.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let mut base = if root == "crate::" { Vec::new() } else { module.clone() };
            let mut rest = &code[at..];
            while let Some(above) = rest.strip_prefix("super::") {
                base.pop();
                rest = above;
            }
            tree(rest.trim_start_matches("crate::"), &base, &mut found);
        }
    }
    found
}

/// Reads `a::b::{c, d::e}` behind `base`; returns what follows it.
fn tree<'t>(text: &'t str, base: &Module, found: &mut Vec<Module>) -> &'t str {
    let mut path = base.clone();
    let mut rest = text.trim_start();
    loop {
        if let Some(mut inner) = rest.strip_prefix('{') {
            loop {
                inner = tree(inner, &path, found).trim_start();
                match inner.strip_prefix(',') {
                    Some(more) => inner = more.trim_start(),
                    None => return inner.strip_prefix('}').unwrap_or(inner),
                }
                if let Some(after) = inner.strip_prefix('}') {
                    return after;
                }
            }
        }
        let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, after) = rest.split_at(len);
        if !name.is_empty() && name != "self" {
            path.push(name.to_owned());
        }
        match after.strip_prefix("::") {
            Some(more) if len > 0 => rest = more.trim_start(),
            _ => {
                found.push(path);
                // An alias is the importer's own affair.
                let after = after.trim_start();
                return after.strip_prefix("as ").map_or(after, |alias| {
                    alias.trim_start().trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.to_owned() }
    }

    fn found(sources: &[Source]) -> Vec<String> {
        let files: Vec<(Module, &Source)> =
            sources.iter().filter_map(|source| Some((place(&source.path)?.1, source))).collect();
        circles(&files)
    }

    #[test]
    fn a_circle_is_found_through_all_ways_to_import() {
        let sources = [
            source("a/src/lib.rs", "mod one; mod two; mod three; pub use one::One;"),
            source("a/src/one.rs", "use crate::{two::{self, Two as Other}, Root};"),
            source("a/src/two/mod.rs", "mod deep;"),
            source("a/src/two/deep.rs", "fn f() { super::super::three::g() }"),
            source("a/src/three.rs", "use super::two::deep;\nuse crate::one::One; // crate::two"),
        ];
        let circles = found(&sources);
        assert_eq!(circles.len(), 1, "{circles:?}");
        assert!(
            circles[0].contains("a/src/three.rs") && circles[0].contains("a/src/two/deep.rs"),
            "{circles:?}"
        );
    }

    #[test]
    fn parents_tests_and_comments_tie_nothing() {
        let sources = [
            source("a/src/lib.rs", "mod one; use one::One;"),
            source("a/src/one.rs", "use crate::two::Two;\n#[cfg(test)]\nmod tests { use crate::two; }"),
            source("a/src/two.rs", "// crate::one\n#[cfg(test)]\nmod tests { use crate::one::One; }"),
            source("a/src/two/part.rs", "use super::Two;"),
            source("a/src/two/other.rs", "use super::part::Part;"),
            source("a/src/one_tests.rs", "use crate::one;"),
        ];
        assert_eq!(found(&sources), Vec::<String>::new());
    }
}
