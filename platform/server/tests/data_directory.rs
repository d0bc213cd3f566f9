//! The data directory as an operator meets it: who may read it, what an older backup does to it, and a process
//! that may open few files.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{Broker, Home, run};

/// Longer than a loaded machine takes; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(120);

fn stop(broker: Broker) -> String {
    let (status, log) = broker.terminate();
    assert!(status.success(), "{status}: {log}");
    log
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("copy a directory");
    assert!(copied.success());
}

#[test]
fn a_topic_that_is_newer_than_the_metadata_is_kept_and_comes_back_with_them() {
    let home = Home::new();
    let broker = home.start();
    broker.stdout(&["topic", "create", "old"], b"");
    broker.stdout(&["produce", "old"], b"one\n");
    stop(broker);
    let (metadata, backup, newer) =
        (home.data_dir().join("metadata"), home.data_dir().join("backup"), home.data_dir().join("newer"));
    copy(&metadata, &backup);
    let broker = home.start();
    broker.stdout(&["topic", "create", "new"], b"");
    broker.stdout(&["produce", "new"], b"two\n");
    stop(broker);

    fs::rename(&metadata, &newer).expect("put the newer metadata aside");
    fs::rename(&backup, &metadata).expect("restore the older metadata");
    let broker = home.start();
    assert_eq!(broker.stdout(&["consume", "old", "--from-beginning", "--exit-at-end"], b""), "one\n");
    let log = stop(broker);
    assert!(log.contains("WARN") && log.contains("that the metadata does not know"), "{log}");

    fs::remove_dir_all(&metadata).expect("remove the older metadata");
    fs::rename(&newer, &metadata).expect("restore the newer metadata");
    let broker = home.start();
    assert_eq!(broker.stdout(&["consume", "new", "--from-beginning", "--exit-at-end"], b""), "two\n");
    stop(broker);
}

#[test]
fn a_topic_that_was_deleted_while_its_log_was_away_is_gone() {
    let home = Home::new();
    let broker = home.start();
    broker.stdout(&["topic", "create", "kept"], b"");
    broker.stdout(&["topic", "create", "gone"], b"");
    for topic in ["kept", "gone"] {
        broker.stdout(&["produce", topic], b"one\n");
    }
    stop(broker);
    let (log, older) = (home.data_dir().join("log"), home.data_dir().join("older"));
    copy(&log, &older);
    let broker = home.start();
    broker.stdout(&["topic", "delete", "gone"], b"");
    stop(broker);

    fs::remove_dir_all(&log).expect("remove the newer log");
    fs::rename(&older, &log).expect("restore the older log");
    stop(home.start());
    assert_eq!(fs::read_dir(log.join("topics")).expect("list the partitions").count(), 1);
}

#[test]
fn nobody_else_may_read_what_is_stored() {
    let home = Home::new();
    let broker = home.start();
    broker.stdout(&["topic", "create", "t"], b"");
    broker.stdout(&["produce", "t"], b"one\n");
    stop(broker);
    let mut waiting = vec![home.data_dir()];
    let mut files = 0;
    while let Some(path) = waiting.pop() {
        let metadata = fs::metadata(&path).expect("look at a file");
        let others = metadata.permissions().mode() & 0o077;
        assert_eq!(others, 0, "{} may be read by others", path.display());
        if metadata.is_dir() {
            waiting.extend(fs::read_dir(&path).expect("list").map(|entry| entry.expect("an entry").path()));
        } else {
            files += 1;
        }
    }
    assert!(files > 8, "{files} files: not what a broker leaves");
}

/// A broker whose process may open 1,024 files, and no more.
fn start_with_few_files(home: &Home) -> Broker {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -n 1024; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_millrace"),
        "server",
        "--config",
    ]);
    command.arg(home.config("")).env_remove("MILLRACE_LOG");
    Broker::spawn(command)
}

#[test]
fn more_partitions_than_files_are_written_stopped_and_started() {
    let home = Home::new();
    let broker = start_with_few_files(&home);
    broker.stdout(&["topic", "create", "wide", "--partitions", "600"], b"");
    let lines: String = (0..6_000).map(|number| format!("{number}:{number}\n")).collect();
    broker.stdout(&["produce", "wide", "--key-separator", ":"], lines.as_bytes());
    let log = stop(broker);
    assert!(!log.contains("ERROR"), "{log}");

    let broker = start_with_few_files(&home);
    let records = broker.stdout(&["consume", "wide", "--from-beginning", "--exit-at-end"], b"");
    assert_eq!(records.lines().count(), 6_000);
    let log = stop(broker);
    assert!(log.contains("open files") && log.contains("600 partitions"), "a warning: {log}");
}

#[test]
fn idle_connections_leave_the_log_its_files() {
    let home = Home::new();
    let broker = start_with_few_files(&home);
    let address = broker.text("listen");
    let idle: Vec<_> = (0..1_100).map_while(|_| std::net::TcpStream::connect(&address).ok()).collect();
    assert!(idle.len() > 500, "{} connections", idle.len());
    // A connection that has said nothing for a while makes room, not at once.
    let deadline = Instant::now() + PATIENCE;
    let create = ["topic", "create", "t", "--partitions", "20"];
    while !run(broker.command(&create), b"").status.success() {
        assert!(Instant::now() < deadline, "nobody makes room");
    }
    broker.stdout(&["produce", "t"], b"one\n");
    drop(idle);
    broker.stdout(&["produce", "t"], b"two\n");
    let log = stop(broker);
    assert!(!log.contains("has failed"), "{log}");
}
