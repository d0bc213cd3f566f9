//! `millrace plugin logs` against a real broker, with lines as the runner writes them.

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Broker, Home};

const TOPIC: &str = "__plugin_logs";

/// Longer than a line takes on a loaded machine; only a test that fails waits for it.
const LIMIT: Duration = Duration::from_secs(60);

/// Makes the log's topic, as the first line does.
fn make_log(broker: &Broker) {
    broker.stdout(&["topic", "create", TOPIC, "--partitions", "2", "--if-not-exists"], b"");
}

/// Writes a line of deployment `name` about `partition` of its input.
fn log(broker: &Broker, name: &str, partition: u32, level: &str, message: &str) {
    let line = json!({
        "deployment": name, "version": 3, "partition": partition, "level": level, "source": "log",
        "message": message, "dropped": 0,
    });
    let record = format!("{name}\t{line}\n");
    broker.stdout(&["produce", TOPIC, "-K", "\\t"], record.as_bytes());
}

/// The messages in what `logs --output json` prints.
fn messages(printed: &str) -> Vec<String> {
    let lines = printed.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line in JSON"));
    lines.map(|line| line["message"].as_str().expect("a message").to_owned()).collect()
}

#[test]
fn the_lines_of_a_deployment_are_shown() {
    let home = Home::new();
    let broker = home.start();
    // Without the topic there are no lines, and that is no failure.
    assert_eq!(broker.stdout(&["plugin", "logs", "orders"], b""), "");

    make_log(&broker);
    for (name, partition, level, message) in [
        ("orders", 1, "info", "one"),
        ("other", 0, "error", "not mine"),
        ("orders", 0, "warn", "two"),
        ("orders", 1, "debug", "three"),
    ] {
        log(&broker, name, partition, level, message);
    }
    let shown = |more: &[&str]| {
        let arguments = [&["plugin", "logs", "orders", "--output", "json"], more].concat();
        messages(&broker.stdout(&arguments, b""))
    };
    assert_eq!(shown(&[]), ["one", "two", "three"]);
    assert_eq!(shown(&["--since", "1h"]), ["one", "two", "three"]);
    assert_eq!(shown(&["--level", "warn"]), ["two"]);
    assert_eq!(shown(&["--partition", "1"]), ["one", "three"]);
    assert_eq!(shown(&["--lines", "1"]), ["three"]);
    let text = broker.stdout(&["plugin", "logs", "orders", "--level", "warn"], b"");
    assert!(text.ends_with("Z  WARN   v3 p0  two\n"), "{text}");
    assert_eq!(broker.stdout(&["plugin", "logs", "nobody"], b""), "");
}

#[test]
fn following_shows_what_is_there_and_what_comes() {
    let home = Home::new();
    let broker = home.start();
    make_log(&broker);
    log(&broker, "orders", 0, "info", "before");
    let mut command = broker.command(&["plugin", "logs", "orders", "--follow", "--output", "json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("start the command");
    let lines = BufReader::new(child.stdout.take().expect("its standard output")).lines();
    let (sender, printed) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            sender.send(line).ok();
        }
    });
    let next = || messages(&printed.recv_timeout(LIMIT).expect("another line"));
    assert_eq!(next(), ["before"]);
    log(&broker, "other", 1, "info", "not mine");
    log(&broker, "orders", 1, "info", "after");
    assert_eq!(next(), ["after"]);
    child.kill().expect("end the command");
    child.wait().expect("wait for the command");
    reader.join().expect("the reader does not panic");
}
