//! A broker's life as its operator sees it: start, refusals, stop, crash.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{Broker, Home, millrace, run, stderr, stdout};

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connect");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("receive");
    answer
}

#[test]
fn dev_starts_with_everything_set_up_and_stops_when_told() {
    let home = Home::new();
    let data_dir = home.data_dir();
    let mut command = millrace(["dev", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir"]);
    command.arg(&data_dir);
    let broker = Broker::spawn(command);
    assert!(std::path::Path::new(&broker.text("ca")).is_file());
    assert!(get(&broker.text("http"), "/readyz").starts_with("HTTP/1.1 200"));
    assert!(get(&broker.text("http"), "/healthz").starts_with("HTTP/1.1 200"));
    let metrics = get(&broker.text("http"), "/metrics");
    assert!(metrics.contains("# TYPE millrace_"), "{metrics}");

    let (status, log) = broker.terminate();
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains("stopped"), "{log}");
}

#[test]
fn dev_on_all_interfaces_prints_commands_that_work_and_what_clients_are_told() {
    let home = Home::new();
    let mut command = millrace(["dev", "--listen", "0.0.0.0:0", "--http", "127.0.0.1:0"]);
    command.args(["--advertise", "localhost", "--output", "text", "--data-dir"]).arg(home.data_dir());
    let mut dev = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let printed = BufReader::new(dev.stdout.take().unwrap()).lines().map(|line| line.expect("text"));
    let printed: Vec<String> = printed.take_while(|line| !line.starts_with("Ctrl-C")).collect();
    let create = printed.iter().find(|line| line.contains("topic create")).expect("what to try").trim();
    let created = millrace(create.split(' ').skip(1)).output().unwrap();
    dev.kill().unwrap();
    dev.wait().unwrap();
    let port = printed[2].rsplit_once(':').expect("where it listens").1;
    let told = printed.iter().find(|line| line.contains("clients are told")).expect("what clients are told");
    assert!(told.ends_with(&format!(" localhost:{port}")), "{told}");
    assert!(stdout(&created).contains("created topic 'orders'"));
}

#[test]
fn a_data_directory_has_one_process() {
    let home = Home::new();
    let broker = home.start();
    let second = run(millrace(["server".as_ref(), "--config".as_ref(), home.config("").as_os_str()]), b"");
    let said = stderr(&second);
    let expected =
        format!("data directory {} is in use by process {}", home.data_dir().display(), broker.pid());
    assert!(said.contains(&expected) && said.contains("choose another directory"), "{said}");
    assert_eq!(broker.json(&["topic", "list"]), serde_json::json!([]), "the first one is undisturbed");
}

#[test]
fn a_client_that_vanished_does_not_hold_up_a_stop() {
    let home = Home::new();
    let broker = home.start();
    broker.stdout(&["topic", "create", "t"], b"");
    let mut reader = broker.command(&["consume", "t", "--from-beginning"]);
    let mut reader = reader.stdout(Stdio::piped()).spawn().expect("start a reader");
    broker.stdout(&["produce", "t"], b"seen\n");
    let mut seen = [0; 5];
    reader.stdout.as_mut().expect("its output").read_exact(&mut seen).expect("the record");
    reader.kill().expect("kill the reader");
    reader.wait().expect("wait for the reader");
    let begun = Instant::now();
    let (status, log) = broker.terminate();
    assert!(status.success(), "{status}: {log}");
    assert!(begun.elapsed() < Duration::from_secs(8), "it took {:?}: {log}", begun.elapsed());
}

#[test]
fn a_port_that_is_taken_is_named() {
    let home = Home::new();
    let broker = home.start();
    let other = Home::new();
    let config = other.config("");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replacen("127.0.0.1:0", &broker.text("listen"), 1)).unwrap();
    let said = stderr(&run(millrace(["server".as_ref(), "--config".as_ref(), config.as_os_str()]), b""));
    assert!(said.contains(&broker.text("listen")), "{said}");
}

#[test]
fn what_was_stored_outlives_a_stop_and_a_crash() {
    let home = Home::new();
    let broker = home.start();
    let cluster = broker.text("cluster_id");
    broker.stdout(&["topic", "create", "t", "--partitions", "2"], b"");
    broker.stdout(&["produce", "t", "--partition", "1"], b"one\n");
    let (status, log) = broker.terminate();
    assert!(status.success(), "{status}: {log}");

    let broker = home.start();
    assert_eq!(broker.text("cluster_id"), cluster);
    broker.stdout(&["produce", "t", "--partition", "1"], b"two\n");
    broker.kill();

    let broker = home.start();
    let records = broker.stdout(&["consume", "t", "--from-beginning", "--exit-at-end"], b"");
    assert_eq!(records, "one\ntwo\n");
}

#[test]
fn records_whose_metadata_is_lost_are_not_taken_for_deleted_ones() {
    let home = Home::new();
    let broker = home.start();
    broker.stdout(&["topic", "create", "t"], b"");
    broker.stdout(&["produce", "t"], b"one\n");
    let (status, log) = broker.terminate();
    assert!(status.success(), "{status}: {log}");

    let (metadata, aside) = (home.data_dir().join("metadata"), home.data_dir().join("aside"));
    std::fs::rename(&metadata, &aside).expect("lose the metadata");
    let refused = run(millrace(["server".as_ref(), "--config".as_ref(), home.config("").as_os_str()]), b"");
    let said = stderr(&refused);
    assert!(said.contains("1 partition") && said.contains(&metadata.display().to_string()), "{said}");

    std::fs::rename(&aside, &metadata).expect("restore the metadata");
    let broker = home.start();
    assert_eq!(broker.stdout(&["consume", "t", "--from-beginning", "--exit-at-end"], b""), "one\n");
}

#[test]
fn records_of_one_cluster_are_not_opened_with_the_metadata_of_another() {
    let [home, other] = [Home::new(), Home::new()];
    for home in [&home, &other] {
        let broker = home.start();
        broker.stdout(&["topic", "create", "t"], b"");
        broker.stdout(&["produce", "t"], b"one\n");
        assert!(broker.terminate().0.success());
    }
    let cluster = |home: &Home| std::fs::read_to_string(home.data_dir().join("log/cluster")).expect("an id");
    let (ours, theirs) = (cluster(&home), cluster(&other));
    assert_ne!(ours, theirs);
    let (metadata, aside) = (home.data_dir().join("metadata"), home.data_dir().join("aside"));
    std::fs::rename(&metadata, &aside).expect("put the metadata aside");
    std::fs::rename(other.data_dir().join("metadata"), &metadata).expect("mix the metadata up");
    let refused = run(millrace(["server".as_ref(), "--config".as_ref(), home.config("").as_os_str()]), b"");
    let said = stderr(&refused);
    for part in [ours.trim_end(), theirs.trim_end(), &metadata.display().to_string()] {
        assert!(said.contains(part), "{part}: {said}");
    }

    std::fs::remove_dir_all(&metadata).expect("remove the wrong metadata");
    std::fs::rename(&aside, &metadata).expect("restore the metadata");
    let broker = home.start();
    assert_eq!(broker.stdout(&["consume", "t", "--from-beginning", "--exit-at-end"], b""), "one\n");
}
