//! A setting that is said to be applied is read by somebody.

#![allow(clippy::unwrap_used, reason = "a test says by a panic what went wrong")]

use std::fs;
use std::path::Path;

use millrace_config::{BROKER_SETTINGS, Check, Effect, TOPIC_SETTINGS};

/// All code but this crate's own.
fn sources(dir: &Path, into: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if path.is_dir() && !["target", "config", "tests"].iter().any(|other| name == *other) {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_setting_that_is_applied_has_a_reader() {
    let mut code = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut code);
    // Where one value is allowed there is nothing to read.
    let topics = TOPIC_SETTINGS.iter().filter(|setting| !matches!(setting.check, Check::OneOf([_])));
    let topics = topics.map(|setting| (setting.name, setting.effect));
    let brokers = BROKER_SETTINGS.iter().map(|setting| (setting.name, setting.effect));
    let unread: Vec<&str> = topics
        .map(|(name, effect)| (name, name.replace('.', "_"), effect))
        .chain(brokers.map(|(name, effect)| (name, name.rsplit('.').next().unwrap().to_owned(), effect)))
        .filter(|(_, field, effect)| *effect == Effect::Applied && !code.contains(&format!(".{field}")))
        .map(|(name, ..)| name)
        .collect();
    assert_eq!(unread, [""; 0], "no code reads these");
}
