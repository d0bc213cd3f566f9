//! What `inspect` makes of modules, good and bad: the message names the trouble.

use bytes::Bytes;
use millrace_plugin_host::{Capability, Grants, HttpTarget, Kind, ModuleError, Secret, inspect};
use wit_component::ComponentEncoder;

use crate::guests::{guest, module, raw_module};

fn refusal(bytes: &[u8]) -> ModuleError {
    inspect(bytes).expect_err("it must be refused")
}

#[test]
fn a_good_module_is_described() {
    for (name, world, kind) in [
        ("identity", "transform", Kind::Transform),
        ("wrong-partition", "partitioner", Kind::Partitioner),
        ("sink", "sink", Kind::Sink),
    ] {
        let bytes = guest(name, world);
        let info = inspect(&bytes).unwrap();
        assert_eq!(info.kind, kind);
        assert_eq!(info.contract.as_deref(), Some("0.1.0"));
        assert!(info.is_core_module && info.requests.is_empty());
        assert_eq!(info.size_bytes, bytes.len() as u64);
        assert!(info.exports.contains(&"start".to_owned()), "{:?}", info.exports);

        let component = ComponentEncoder::default().module(&bytes).unwrap().encode().unwrap();
        let of_component = inspect(&component).unwrap();
        assert!(!of_component.is_core_module);
        assert_eq!(of_component.imports, info.imports);
    }
}

#[test]
fn what_is_not_webassembly_is_told_apart() {
    for (bytes, what) in [
        (&b""[..], "it is empty"),
        (b"(module)", "text format"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "gzip"),
        (b"\x7fELF\x02\x01\x01\0", "native program"),
        (b"PK\x03\x04\0\0\0\0", "ZIP"),
        (b"hello, world", "does not begin"),
    ] {
        let error = refusal(bytes).to_string();
        assert!(error.contains(what), "{error}");
    }
    let mut cut = guest("identity", "transform").to_vec();
    cut.truncate(cut.len() / 2);
    assert!(matches!(refusal(&cut), ModuleError::Invalid { .. }));
    let huge = Bytes::from(vec![0; (64 << 20) + 1]);
    assert!(refusal(&huge).to_string().contains("67108865 bytes"));
}

#[test]
fn a_core_module_without_an_interface_is_told_what_to_do() {
    let bare = wat::parse_str("(module)").unwrap();
    let error = refusal(&bare);
    assert_eq!(error, ModuleError::NoInterface);
    assert!(error.to_string().contains("wasm-tools component embed"), "{error}");
}

#[test]
fn a_wrong_world_is_named_with_what_is_there() {
    let stranger = raw_module(r#"(func (export "run"))"#, "stranger");
    let error = refusal(&stranger);
    assert!(matches!(error, ModuleError::WrongWorld { .. }));
    assert!(error.to_string().contains("it exports: `run`"), "{error}");

    let memory = r#"(memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)"#;
    let transform = r#"(func (export "transform") (param i32 i32) (result i32) unreachable)"#;
    let error = refusal(&raw_module(&format!("{memory} {transform}"), "startless"));
    assert_eq!(error, ModuleError::MissingExport { kind: Kind::Transform, export: "start" });

    let start = r#"(func (export "start") (result i32) unreachable)"#;
    let error = refusal(&raw_module(&format!("{memory} {start} {transform}"), "typed"));
    assert!(error.to_string().contains("list<u32>") || error.to_string().contains("func() ->"), "{error}");
    assert!(matches!(error, ModuleError::WrongExport { .. }));
}

#[test]
fn another_version_of_the_contract_is_named() {
    let newer = raw_module(
        r#"(import "millrace:plugin/types@0.2.0" "ping" (func))
           (func (export "start")) (func (export "transform"))"#,
        "newer",
    );
    let error = refusal(&newer).to_string();
    assert!(error.contains("version 0.2.0") && error.contains("speaks 0.1.0"), "{error}");
}

#[test]
fn a_forbidden_import_is_named() {
    let body = r#"(func (export "deliver") (param i32 i32 i32 i32) (result i32) (call $ok))"#;
    let forbidden =
        format!(r#"(import "wasi:keyvalue/store@0.2.0" "get" (func (result i32))){}{body}"#, "\n");
    let error = refusal(&module(&forbidden, "sink")).to_string();
    assert!(error.contains("`wasi:keyvalue/store@0.2.0`"), "{error}");

    let other = format!("{body}\n(func (call $emit (i32.const 0) (i32.const 0)))");
    let import = r#"(import "millrace:plugin/output@0.1.0" "emit" (func $out (param i32 i32)))"#;
    // A sink with a transform's import is no sink of the contract, so that no description of it exists.
    let made = std::panic::catch_unwind(|| module(&format!("{import}\n{other}"), "sink"));
    assert!(made.is_err() || inspect(&made.unwrap()).is_err());
}

#[test]
fn what_is_asked_for_must_be_granted() {
    let asking = format!(
        r#"(import "millrace:plugin/secrets@0.1.0" "get" (func (param i32 i32 i32))){}
           (func (export "deliver") (param i32 i32 i32 i32) (result i32) (call $ok))"#,
        "\n"
    );
    let info = inspect(&module(&asking, "sink")).unwrap();
    assert_eq!(info.requests.len(), 1);
    assert_eq!(info.requests[0].capability, Capability::Secrets);

    let mut grants = Grants { http: vec!["example.com".parse::<HttpTarget>().unwrap()], ..Grants::default() };
    let error = grants.check(&info).unwrap_err().to_string();
    assert!(error.contains("`millrace:plugin/secrets@0.1.0`") && error.contains("`secrets`"), "{error}");
    grants.secrets.insert("token".to_owned(), Secret::new("value".to_owned()));
    grants.check(&info).unwrap();
}
