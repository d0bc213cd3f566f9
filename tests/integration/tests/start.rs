//! What a broker makes of a data directory that is not as it should be: it starts with everything that was
//! acknowledged, or it refuses with words that help; it never starts without records in silence.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use millrace_integration_tests::raw::{Connection, batch};
use millrace_protocol::compression::Codec;
use millrace_test_harness::Broker;
use tempfile::TempDir;

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

const RECORDS: i64 = 12;

/// A data directory with one topic of [`RECORDS`] records in several segments, left behind by a clean stop or a crash.
fn used_directory(crash: bool) -> TempDir {
    let directory = TempDir::with_prefix("millrace-start-").unwrap();
    let mut broker = Broker::builder().data_dir(directory.path()).start().unwrap();
    let mut connection = Connection::open(broker.address()).unwrap();
    connection.create_topic("orders", &[("segment.bytes", "1048576")]);
    for number in 0..RECORDS {
        assert_eq!(connection.produce("orders", &batch(&[b'x'; 300_000], Codec::None)), (0, number));
    }
    if crash {
        broker.kill().unwrap();
    } else {
        assert!(broker.stop().unwrap().success());
    }
    directory
}

fn end_offset(directory: &TempDir) -> i64 {
    let broker = Broker::builder().data_dir(directory.path()).start().unwrap();
    Connection::open(broker.address()).unwrap().end_offset("orders")
}

#[test]
fn records_outlive_a_stop_and_a_crash() {
    for crash in [false, true] {
        let directory = used_directory(crash);
        assert_eq!(end_offset(&directory), RECORDS);
        assert_eq!(end_offset(&directory), RECORDS, "after the second start");
    }
}

#[test]
fn lost_indexes_are_built_again() {
    let directory = used_directory(false);
    let indexes: Vec<PathBuf> = files_below(directory.path())
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "index"))
        .collect();
    assert!(indexes.len() > 1, "{indexes:?}");
    for index in indexes {
        fs::remove_file(index).unwrap();
    }
    assert_eq!(end_offset(&directory), RECORDS);
}

#[test]
fn a_directory_that_cannot_be_written_is_refused_by_name() {
    let directory = TempDir::with_prefix("millrace-start-").unwrap();
    let file = directory.path().join("a-file");
    fs::write(&file, "no directory").unwrap();
    let refusal = Broker::builder().data_dir(&file).start_refused().unwrap();
    assert!(!refusal.status.success());
    assert!(refusal.log.contains("a-file"), "{}", refusal.log);
}

#[test]
fn a_damaged_file_is_survived_with_all_records_or_refused_by_name() {
    let pristine = used_directory(false);
    for file in files_below(pristine.path()) {
        let directory = TempDir::with_prefix("millrace-start-").unwrap();
        copy(pristine.path(), directory.path());
        let damaged = directory.path().join(file.strip_prefix(pristine.path()).unwrap());
        let mut bytes = fs::read(&damaged).unwrap();
        // Only a stretch from the start, where headers are; a preallocated file is mostly zeros.
        bytes.iter_mut().take(64).for_each(|byte| *byte ^= 0x55);
        fs::write(&damaged, bytes).unwrap();
        let log = match Broker::builder().data_dir(directory.path()).start() {
            Ok(broker) => {
                let end = Connection::open(broker.address()).unwrap().end_offset("orders");
                assert_eq!(end, RECORDS, "'{}' damaged", damaged.display());
                broker.log()
            }
            Err(refusal) => {
                let refusal = format!("{refusal:#}");
                let name = damaged.display().to_string();
                assert!(refusal.contains(&name), "'{name}' damaged, but refused with:\n{refusal}");
                refusal
            }
        };
        assert!(!log.contains("panicked"), "'{}' damaged:\n{log}", damaged.display());
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
