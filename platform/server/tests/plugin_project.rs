//! A plugin from nothing to records: `init`, `build` and `test` as a person runs them.

mod plugin_support;
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use plugin_support::{in_project, project, there};
use serde_json::{Value, json};
use support::{Home, millrace, run, stderr, stdout};

/// Runs the tests that came with the project, natively.
fn run_its_tests(path: &Path) {
    let mut command = Command::new("cargo");
    command.args(["test", "--quiet"]);
    let said = stdout(&run(there(path, command), b""));
    assert!(said.contains("test result: ok. 1 passed"), "{said}");
}

fn json_of(path: &Path, arguments: &[&str]) -> Value {
    let text = stdout(&run(in_project(path, &[arguments, &["--output", "json"]].concat()), b""));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_new_transform_is_built_and_tested() {
    let home = Home::new();
    let path = project(&home, "keeps-errors", "transform");
    run_its_tests(&path);
    let built = json_of(&path, &["plugin", "build"]);
    assert_eq!((&built["kind"], &built["is_core_module"]), (&json!("transform"), &json!(true)), "{built}");
    assert_eq!(built["requests"], json!([]));
    let module = built["path"].as_str().unwrap();
    let sample = ["--records", "sample.jsonl", "--output-topic", "errors"];
    let said = stdout(&run(in_project(&path, &[&["plugin", "test", module][..], &sample].concat()), b""));
    assert!(said.starts_with("output 'errors': 2 records\n  web-2  ERROR disk full  region=us\n"), "{said}");
    assert!(said.contains("5 records in 1 batch, 2 out\n"), "{said}");
    assert!(said.contains("instance started in "), "{said}");

    let small = [&["plugin", "test", module, "--batch-size", "2"][..], &sample].concat();
    let report = json_of(&path, &small);
    assert_eq!(report["summary"]["batches"], 3);
    assert_eq!(report["outputs"][1]["key"], "web-1");
    assert_eq!(report["outputs"][1]["headers"], json!([{ "name": "region", "value": "eu" }]));
    assert!(report["summary"]["memory_peak_bytes"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["failure"], Value::Null);

    let typed = run(in_project(&path, &["plugin", "test", module, "--records", "-"]), b"an ERROR\nnone\n");
    assert!(stdout(&typed).starts_with("output 'output': 1 record\n  -  an ERROR\n"));
}

#[test]
fn a_new_partitioner_chooses() {
    let home = Home::new();
    let path = project(&home, "by-region", "partitioner");
    run_its_tests(&path);
    let report =
        json_of(&path, &["plugin", "test", ".", "--records", "sample.jsonl", "--partitions", "1000"]);
    let chosen = report["partitions"].as_array().unwrap();
    assert_eq!((chosen.len(), &chosen[0]), (5, &chosen[3]), "{report}");
    assert_ne!(chosen[0], chosen[1]);
    let arguments = ["plugin", "test", ".", "--records", "sample.jsonl", "--output-topic", "x"];
    let said = stderr(&run(in_project(&path, &arguments), b""));
    assert!(said.contains("a partitioner has no output topics"), "{said}");
}

#[test]
fn a_plugin_that_fails_is_shown_with_where_it_failed() {
    let home = Home::new();
    let path = project(&home, "to-log", "sink");
    run_its_tests(&path);
    let source = path.join("src/lib.rs");
    let text = fs::read_to_string(&source).unwrap();
    let broken = text.replace("    Ok(())\n", "    assert!(batch.len() < 3, \"too many\");\n    Ok(())\n");
    assert_ne!(broken, text);
    fs::write(&source, broken).unwrap();
    let arguments = ["plugin", "test", ".", "--records", "-", "--batch-size", "3"];

    let delivered = run(in_project(&path, &arguments), b"a\nb\n");
    let said = String::from_utf8_lossy(&delivered.stderr).into_owned();
    assert!(stdout(&delivered).starts_with("delivered records 0 to 1, token test-0-0\n"));
    assert!(said.contains("log: INFO test-0-0: a\n"), "{said}");

    let failed = run(in_project(&path, &arguments), b"a\nb\nc\nd\n");
    assert!(String::from_utf8_lossy(&failed.stdout).contains("3 records in 1 batch"));
    let said = stderr(&failed);
    assert!(said.contains("records 0 to 2 of the file: the plugin trapped"), "{said}");
    assert!(said.contains("wasm backtrace") && said.contains("to_log"), "{said}");

    let permanent = run(in_project(&path, &arguments), b"a\n\xff\n");
    let said = stderr(&permanent);
    assert!(
        said.contains("did not deliver the batch (for good): the record at offset 1 is no text"),
        "{said}"
    );
}

#[test]
fn what_a_module_asks_for_must_be_granted() {
    let home = Home::new();
    let path = project(&home, "asks", "sink");
    let source = path.join("src/lib.rs");
    let text = fs::read_to_string(&source).unwrap();
    let asks = text.replace(
        "info!(\"{token}: {text}\")",
        "info!(\"{token}: {text} {}\", millrace_plugin::secrets::require(\"password\")?)",
    );
    assert_ne!(asks, text);
    fs::write(&source, asks).unwrap();
    let built = json_of(&path, &["plugin", "build"]);
    assert_eq!(built["requests"][0]["capability"], "secrets", "{built}");
    let module = built["path"].as_str().unwrap();

    // No broker is there: a connection would be told of instead.
    for command in [
        &["plugin", "deploy", "d", module, "--topic", "t", "--bootstrap", "127.0.0.1:1"][..],
        &["plugin", "test", module, "--records", "sample.jsonl"],
    ] {
        let said = stderr(&run(in_project(&path, command), b""));
        let missing =
            "secrets@0.1.0 needs 'secrets' (--grant secret-env=NAME=VARIABLE, or --grant secrets for none)";
        assert!(said.contains(missing), "{said}");
    }
    let test = ["plugin", "test", module, "--records", "-", "--grant", "secret-env=password=PASSWORD"];
    let mut command = in_project(&path, &test);
    command.env("PASSWORD", "hunter2");
    let granted = run(command, b"a\n");
    stdout(&granted);
    assert!(String::from_utf8_lossy(&granted.stderr).contains("log: INFO test-0-0: a hunter2\n"));
}

#[test]
fn what_cannot_be_made_or_built_is_told_with_the_way_out() {
    let home = Home::new();
    let root = home.0.path();
    let in_root = |arguments: &[&str]| {
        let mut command = millrace(arguments);
        command.current_dir(root);
        stderr(&run(command, b""))
    };
    fs::create_dir(root.join("full")).unwrap();
    fs::write(root.join("full/file"), "").unwrap();
    for (arguments, message) in [
        (&["plugin", "init", "full"][..], "full is not empty: name another directory with --path"),
        (&["plugin", "init", "Full"], "lower-case letters"),
        (&["plugin", "init", "x", "--sdk", "nowhere"], "neither a directory nor a version"),
        (&["plugin", "build", "full"], "there is no Cargo.toml in full: `millrace plugin init`"),
        (&["plugin", "test", "full/file", "--records", "full/file"], "full/file holds no records"),
        (&["plugin", "test", "none.wasm", "--records", "none"], "read records none"),
    ] {
        let said = in_root(arguments);
        assert!(said.contains(message), "{arguments:?} said {said}");
    }
    fs::write(root.join("records"), "a\n").unwrap();
    let said = in_root(&["plugin", "test", "full/file", "--records", "records"]);
    assert!(said.contains("full/file is no plugin that a broker takes"), "{said}");

    let path = project(&home, "broken", "transform");
    let said = stderr(&run(in_project(&path, &["plugin", "build", "--target", "wasm64-none"]), b""));
    assert!(said.contains("rustc knows no target 'wasm64-none'"), "{said}");
    fs::write(path.join("src/lib.rs"), "compile_error!(\"not today\");").unwrap();
    let said = stderr(&run(in_project(&path, &["plugin", "build"]), b""));
    assert!(said.contains("not today") && said.contains("cargo does not build"), "{said}");
}
