//! `millrace plugin` without a broker: what is refused before anything is connected to, and with which words.

mod support;

use std::fs;

use support::{Home, millrace, run, stderr};

fn refused(home: &Home, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = millrace(arguments);
    command.current_dir(home.0.path());
    let output = run(command, b"");
    (output.status.code(), stderr(&output))
}

#[test]
fn arguments_that_make_no_sense_are_refused_with_the_way_out() {
    let home = Home::new();
    for (arguments, message) in [
        (&["deploy", "d"][..], "required arguments"),
        (&["deploy", "d", "m.wasm"], "--topic <NAME>"),
        (&["deploy", "d", "--digest", "abc", "--topic", "t"], "SHA-256 in 64 hexadecimal digits"),
        (&["deploy", "d", "m", "--topic", "t", "--from", "begin"], "earliest, latest, offset:N or time:T"),
        (&["deploy", "d", "m", "--topic", "t", "--on-failure", "stop"], "dead-letter:TOPIC"),
        (&["deploy", "d", "m", "--topic", "t", "--config", "novalue"], "expected KEY=VALUE"),
        (&["deploy", "d", "m", "--topic", "t", "--limit", "speed=1"], "there is no limit 'speed'"),
        (&["deploy", "d", "m", "--topic", "t", "--create-topics=0"], "above 0"),
        (&["deploy", "d", "m", "--topic", "t", "--create-topics", "--dry-run"], "cannot be used with"),
        (&["init", "Upper"], "lower-case letters"),
        (&["init", "x", "--kind", "filter"], "possible values: transform, sink, partitioner"),
        (&["test", "m.wasm"], "--records <FILE>"),
        (&["test", "m.wasm", "--records", "r", "--batch-size", "0"], "0 is not in 1..="),
        (&["logs", "d", "--since", "yesterday"], "expected a duration"),
        (&["logs", "d", "--level", "loud"], "possible values: trace, debug, info, warn, error"),
        (&["rollback", "d", "--to", "0"], "0 is not in 1.."),
        (&["replay"], "required arguments"),
    ] {
        let (code, said) = refused(&home, &[&["plugin"], arguments].concat());
        assert_eq!(code, Some(2), "{arguments:?} said {said}");
        assert!(said.contains(message), "{arguments:?} said {said}");
    }
}

#[test]
fn what_cannot_be_deployed_is_refused_before_a_connection_is_made() {
    let home = Home::new();
    let write = |name: &str, text: &[u8]| fs::write(home.0.path().join(name), text).expect("write");
    write("text.wasm", b"hello");
    write("d.toml", b"module = 'text.wasm'\ntopic = 't'\n");
    write("d.yaml", b"");
    for (arguments, message) in [
        (&["d e", "text.wasm", "--topic", "t"][..], "a deployment is named by"),
        (&["d", "none.wasm", "--topic", "t"], "read module none.wasm"),
        (
            &["d", "text.wasm", "--topic", "t"],
            "text.wasm is no plugin that a broker takes: this is not WebAssembly",
        ),
        (&["d", "--file", "d.toml"], "text.wasm is no plugin"),
        (&["d", "--file", "d.yaml"], "neither .toml nor .json"),
        (&["d", ".", "--topic", "t"], "there is no Cargo.toml in ."),
    ] {
        let (code, said) = refused(&home, &[&["plugin", "deploy"], arguments].concat());
        assert_eq!(code, Some(1), "{arguments:?} said {said}");
        assert!(said.contains(message), "{arguments:?} said {said}");
    }
}
