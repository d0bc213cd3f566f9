//! What a module is and asks for, read from its bytes alone: nothing of it is compiled or run.

use std::collections::BTreeMap;

use semver::Version;
use wit_parser::decoding::{DecodedWasm, decode};

use super::componentize::{component_bytes, is_core_module};
use super::contract::{self, OURS, PACKAGE};
use super::{Capability, Kind, ModuleDigest, ModuleError, ModuleInfo, Request};

/// WASI 0.2, and what a plugin may always import of it. `filesystem` and `sockets` are what language runtimes
/// import without using them: the first is empty, the second refuses every address.
const WASI_ALWAYS: [&str; 6] =
    ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
const WASI_HTTP: [&str; 2] = ["wasi:http/types", "wasi:http/outgoing-handler"];

const NOT_WASI_02: &str = "it is not of WASI 0.2, which is what this broker offers; build for wasm32-wasip2";
const NOT_OFFERED: &str = "plugins may import millrace:plugin and, of WASI 0.2, cli, clocks, filesystem, io, random, sockets and the \
     client side of http";
const NOT_OURS: &str = "this broker's version of millrace:plugin has no such interface";

/// Reads what a module is and asks for. A module that no deployment could run is refused.
pub fn inspect(bytes: &[u8]) -> Result<ModuleInfo, ModuleError> {
    let component = component_bytes(bytes)?;
    let decoded =
        decode(&component).map_err(|error| ModuleError::Invalid { reason: format!("{error:#}") })?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(ModuleError::InterfacePackage);
    };
    let imports = contract::names(&resolve, resolve.worlds[world].imports.iter());
    let exports = contract::names(&resolve, resolve.worlds[world].exports.iter());
    let version = contract_version(&imports)?;
    let functions = contract::functions(&resolve, world);
    let kind = kind_of(&functions, &exports)?;
    check_exports(kind, &functions)?;
    let mut requests = Vec::new();
    for import in &imports {
        requests.extend(
            check_import(import, kind)?.map(|capability| Request { capability, import: import.clone() }),
        );
    }
    Ok(ModuleInfo {
        digest: ModuleDigest::of(bytes),
        kind,
        contract: version.map(|version| version.to_string()),
        requests,
        imports,
        exports,
        size_bytes: bytes.len() as u64,
        is_core_module: is_core_module(bytes),
    })
}

/// The version of the contract that the imports name; different versions in one module are all checked.
fn contract_version(imports: &[String]) -> Result<Option<Version>, ModuleError> {
    let ours = imports.iter().filter(|import| package(import) == PACKAGE);
    let mut found = None;
    for version in ours.filter_map(|import| import.split_once('@')).map(|(_, version)| version) {
        let wrong =
            || ModuleError::WrongVersion { found: version.to_owned(), supported: OURS.version.to_string() };
        let version = Version::parse(version).map_err(|_| wrong())?;
        if !is_compatible(&version, &OURS.version) {
            return Err(wrong());
        }
        found = found.max(Some(version));
    }
    Ok(found)
}

/// Whether what was built for `built` runs on `ours`: the same track, as semantic versions have it, and
/// nothing that `ours` does not know yet.
fn is_compatible(built: &Version, ours: &Version) -> bool {
    let track = |version: &Version| match (version.major, version.minor) {
        (0, 0) => (0, 0, version.patch),
        (0, minor) => (0, minor, 0),
        (major, _) => (major, 0, 0),
    };
    track(built) == track(ours) && built <= ours
}

fn package(import: &str) -> &str {
    import.split_once('/').map_or(import, |(package, _)| package)
}

fn kind_of(functions: &BTreeMap<String, String>, exports: &[String]) -> Result<Kind, ModuleError> {
    let mut kinds = Kind::ALL.into_iter().filter(|kind| functions.contains_key(kind.export()));
    match (kinds.next(), kinds.next()) {
        (None, _) => Err(ModuleError::WrongWorld { exports: exports.to_vec() }),
        (Some(kind), None) => Ok(kind),
        (Some(first), Some(second)) => Err(ModuleError::TwoWorlds { kinds: [first, second] }),
    }
}

fn check_exports(kind: Kind, functions: &BTreeMap<String, String>) -> Result<(), ModuleError> {
    for (export, required) in &OURS.world(kind).exports {
        let Some(found) = functions.get(export) else {
            let export = if export == "start" { "start" } else { kind.export() };
            return Err(ModuleError::MissingExport { kind, export });
        };
        if found != required {
            return Err(ModuleError::WrongExport {
                kind,
                export: export.clone(),
                found: found.clone(),
                required: required.clone(),
            });
        }
    }
    Ok(())
}

/// The capability that `import` needs, if any; an import that nothing could grant is refused.
fn check_import(import: &str, kind: Kind) -> Result<Option<Capability>, ModuleError> {
    let forbidden = |hint| Err(ModuleError::ForbiddenImport { import: import.to_owned(), hint });
    let name = contract::without_version(import);
    if package(import) == PACKAGE {
        if OURS.world(kind).imports.iter().any(|known| known == name) {
            return Ok(match name {
                "millrace:plugin/secrets" => Some(Capability::Secrets),
                "millrace:plugin/postgres" => Some(Capability::Postgres),
                _ => None,
            });
        }
        let others =
            Kind::ALL.into_iter().filter(|kind| OURS.world(*kind).imports.iter().any(|known| known == name));
        let others: Vec<_> = others.map(Kind::world).collect();
        if others.is_empty() {
            return forbidden(NOT_OURS);
        }
        return Err(ModuleError::ImportOfOtherKind { import: import.to_owned(), kind, others });
    }
    let is_http = WASI_HTTP.contains(&name);
    if !is_http && !WASI_ALWAYS.iter().any(|prefix| name.starts_with(prefix)) {
        return forbidden(NOT_OFFERED);
    }
    let version = import.split_once('@').and_then(|(_, version)| Version::parse(version).ok());
    if !version.is_some_and(|version| (version.major, version.minor) == (0, 2) && version.pre.is_empty()) {
        return forbidden(NOT_WASI_02);
    }
    Ok(is_http.then_some(Capability::Http))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compatible_within_their_track() {
        let compatible = |built: &str, ours: &str| {
            is_compatible(&Version::parse(built).unwrap(), &Version::parse(ours).unwrap())
        };
        assert!(compatible("0.1.0", "0.1.0"));
        assert!(compatible("0.1.0", "0.1.7"));
        assert!(!compatible("0.1.8", "0.1.7"));
        assert!(!compatible("0.2.0", "0.1.0"));
        assert!(compatible("1.2.0", "1.3.1"));
        assert!(!compatible("1.2.0", "2.0.0"));
    }

    #[test]
    fn imports_are_permissions() {
        let needs = |import: &str| check_import(import, Kind::Sink);
        assert_eq!(needs("wasi:cli/stdout@0.2.6"), Ok(None));
        assert_eq!(needs("millrace:plugin/log@0.1.0"), Ok(None));
        assert_eq!(needs("wasi:http/outgoing-handler@0.2.0"), Ok(Some(Capability::Http)));
        assert_eq!(needs("millrace:plugin/secrets@0.1.0"), Ok(Some(Capability::Secrets)));
        assert_eq!(needs("millrace:plugin/postgres@0.1.0"), Ok(Some(Capability::Postgres)));
        for forbidden in [
            "wasi:keyvalue/store@0.2.0",
            "wasi:cli/stdout@0.3.0",
            "wasi:cli/stdout@0.2.0-rc-1",
            "wasi:http/incoming-handler@0.2.0",
            "millrace:plugin/state@0.1.0",
            "launch-missiles",
        ] {
            let error = needs(forbidden).unwrap_err();
            assert!(error.to_string().contains(forbidden), "{error}");
        }
        assert!(matches!(
            needs("millrace:plugin/output@0.1.0"),
            Err(ModuleError::ImportOfOtherKind { kind: Kind::Sink, .. })
        ));
    }
}
