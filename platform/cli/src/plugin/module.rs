//! A module on this machine, and what is said of modules.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use bytes::Bytes;
use indicatif::HumanBytes;
use millrace_plugin_host::{Capability, ModuleInfo, inspect};
use millrace_protocol::plugins::GrantDefinitions;
use serde_json::{Value, json};

/// A module that was read and found in order.
pub struct LocalModule {
    pub bytes: Bytes,
    pub info: ModuleInfo,
}

impl LocalModule {
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes: Bytes = fs::read(path).with_context(|| format!("read module {}", path.display()))?.into();
        let info = inspect(&bytes)
            .with_context(|| format!("{} is no plugin that a broker takes", path.display()))?;
        Ok(Self { bytes, info })
    }
}

/// The option that grants something of `capability`.
pub const fn granting_option(capability: Capability) -> &'static str {
    match capability {
        Capability::Http => "--grant http=HOST",
        Capability::Secrets => "--grant secret-env=NAME=VARIABLE, or --grant secrets for none",
        Capability::Postgres => "--grant postgres-env=NAME=VARIABLE",
    }
}

/// Refuses a module that asks for what is not granted, before anything is uploaded: all of it at once.
pub fn require_grants(info: &ModuleInfo, grants: &GrantDefinitions) -> anyhow::Result<()> {
    let missing = Capability::ALL.into_iter().filter(|capability| !grants.grants(*capability));
    let missing: Vec<String> = missing
        .filter_map(|capability| {
            let request = info.requests.iter().find(|request| request.capability == capability)?;
            Some(format!("{} needs '{capability}' ({})", request.import, granting_option(capability)))
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "the module imports what is not granted: {}; grant it, or build the module without it",
        missing.join(", ")
    )
}

/// What a module is and asks for, a line each.
pub fn describe(info: &ModuleInfo) -> String {
    let contract = info.contract.as_ref().map_or_else(String::new, |version| format!(", contract {version}"));
    let mut text =
        format!("{}, {}{contract}\ndigest  {}\n", info.kind, HumanBytes(info.size_bytes), info.digest);
    if info.requests.is_empty() {
        text.push_str("needs no grants\n");
    }
    for request in &info.requests {
        text.push_str(&format!(
            "needs '{}' for its import {}: {}\n",
            request.capability,
            request.import,
            granting_option(request.capability)
        ));
    }
    text
}

pub fn module_json(info: &ModuleInfo, path: Option<&Path>) -> Value {
    let mut json = json!(info);
    if let Some(path) = path {
        json["path"] = json!(path);
    }
    json
}

#[cfg(test)]
mod tests {
    use millrace_plugin_host::{Kind, ModuleDigest, Request};
    use millrace_protocol::plugins::SecretText;

    use super::*;

    #[test]
    fn what_a_module_needs_is_told_with_the_option() {
        let mut info = ModuleInfo {
            digest: ModuleDigest::of(b"m"),
            kind: Kind::Sink,
            contract: Some("0.1.0".into()),
            requests: Vec::new(),
            imports: Vec::new(),
            exports: Vec::new(),
            size_bytes: 2048,
            is_core_module: true,
        };
        assert!(describe(&info).starts_with("sink, 2.00 KiB, contract 0.1.0\n"), "{}", describe(&info));
        assert!(describe(&info).contains("needs no grants"));
        let import = "wasi:http/types@0.2.0".to_owned();
        info.requests.push(Request { capability: Capability::Http, import });
        let mut grants = GrantDefinitions::default();
        let refused = require_grants(&info, &grants).unwrap_err().to_string();
        assert!(
            refused.contains("wasi:http/types@0.2.0") && refused.contains("--grant http=HOST"),
            "{refused}"
        );
        let import = "millrace:plugin/secrets@0.1.0".to_owned();
        info.requests.push(Request { capability: Capability::Secrets, import });
        grants.http.push("example.com".into());
        let refused = require_grants(&info, &grants).unwrap_err().to_string();
        assert!(refused.contains("secrets@0.1.0 needs 'secrets'") && !refused.contains("http"), "{refused}");
        grants.secrets.insert("token".into(), SecretText("x".into()));
        require_grants(&info, &grants).unwrap();
        let text = describe(&info);
        assert!(
            text.contains("needs 'http' for its import wasi:http/types@0.2.0: --grant http=HOST"),
            "{text}"
        );
    }

    #[test]
    fn what_is_no_plugin_is_refused_with_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.wasm");
        fs::write(&path, "hello").unwrap();
        let error = format!("{:#}", LocalModule::read(&path).map(drop).unwrap_err());
        assert!(error.contains("x.wasm is no plugin") && error.contains("not WebAssembly"), "{error}");
    }
}
