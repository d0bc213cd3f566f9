//! Kafka's own client library and command line tools, at the release whose protocol is served.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use millrace_compat_tests::stored::{self, Client::Java};
use millrace_compat_tests::{CODECS, lines};
use millrace_test_harness::{Broker, Program};

fn java(main_class: &str) -> Program {
    Program::from(millrace_compat_tests::java(main_class).unwrap())
}

fn client_case(case: &str) {
    let broker = Broker::start().unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/java/ClientCase.java");
    java(source).arguments([&broker.bootstrap(), case]).succeed().unwrap();
}

fn group_cases(cases: &[&str]) {
    cases_of(concat!(env!("CARGO_MANIFEST_DIR"), "/java/GroupCase.java"), cases);
}

fn transaction_cases(cases: &[&str]) {
    cases_of(concat!(env!("CARGO_MANIFEST_DIR"), "/java/TransactionCase.java"), cases);
}

fn cases_of(source: &str, cases: &[&str]) {
    let broker = Broker::start().unwrap();
    java(source).arguments([&broker.bootstrap()]).arguments(cases).succeed().unwrap();
}

fn topics(broker: &Broker, arguments: &[&str]) -> String {
    java("org.apache.kafka.tools.TopicCommand")
        .arguments(["--bootstrap-server", &broker.bootstrap()])
        .arguments(arguments)
        .succeed()
        .unwrap()
}

fn settings(broker: &Broker, arguments: &[&str]) -> String {
    java("kafka.admin.ConfigCommand")
        .arguments([
            "--bootstrap-server",
            &broker.bootstrap(),
            "--entity-type",
            "topics",
            "--entity-name",
            "orders",
        ])
        .arguments(arguments)
        .succeed()
        .unwrap()
}

fn produce(broker: &Broker, topic: &str, arguments: &[&str], input: &str) {
    java("org.apache.kafka.tools.ConsoleProducer")
        .arguments(["--bootstrap-server", &broker.bootstrap(), "--topic", topic])
        .arguments(arguments)
        .input(input)
        .succeed()
        .unwrap();
}

fn consume(broker: &Broker, topic: &str, offset: &str, count: usize) -> String {
    java("org.apache.kafka.tools.consumer.ConsoleConsumer")
        .arguments(["--bootstrap-server", &broker.bootstrap(), "--topic", topic, "--partition", "0"])
        .arguments(["--offset", offset, "--max-messages", &count.to_string(), "--timeout-ms", "30000"])
        .succeed()
        .unwrap()
}

#[test]
fn the_client_sends_and_reads_every_codec() {
    client_case("round_trip");
}

#[test]
fn the_client_seeks_and_finds_offsets_by_time() {
    client_case("seek_and_timestamps");
}

#[test]
fn the_client_administers() {
    client_case("administration");
}

#[test]
fn groups_rebalance_with_eager_and_cooperative_assignors() {
    group_cases(&["eager", "cooperative"]);
}

#[test]
fn groups_rebalance_with_the_brokers_assignor() {
    group_cases(&["consumer", "pattern"]);
}

#[test]
fn transactions_are_isolated_and_fenced() {
    transaction_cases(&["isolation", "fencing"]);
}

#[test]
fn transactions_that_nobody_ends_are_seen_and_aborted() {
    transaction_cases(&["abandoned", "timeout"]);
}

#[test]
fn static_members_keep_what_they_have() {
    group_cases(&["static"]);
}

#[test]
fn the_topic_command_creates_describes_alters_and_deletes() {
    let broker = Broker::start().unwrap();
    topics(
        &broker,
        &["--create", "--topic", "orders", "--partitions", "3", "--config", "retention.ms=60000"],
    );
    assert!(topics(&broker, &["--list"]).lines().any(|line| line == "orders"));
    let described = topics(&broker, &["--describe", "--topic", "orders"]);
    assert!(described.contains("PartitionCount: 3"), "{described}");
    assert!(described.contains("retention.ms=60000"), "{described}");
    topics(&broker, &["--alter", "--topic", "orders", "--partitions", "5"]);
    let described = topics(&broker, &["--describe", "--topic", "orders"]);
    assert!(described.contains("PartitionCount: 5"), "{described}");
    topics(&broker, &["--delete", "--topic", "orders"]);
    assert!(!topics(&broker, &["--list"]).contains("orders"));
}

#[test]
fn the_config_command_describes_and_alters() {
    let broker = Broker::start().unwrap();
    topics(&broker, &["--create", "--topic", "orders"]);
    settings(
        &broker,
        &["--alter", "--add-config", "max.message.bytes=200000,cleanup.policy=[compact,delete]"],
    );
    let described = settings(&broker, &["--describe"]);
    assert!(described.contains("max.message.bytes=200000"), "{described}");
    assert!(described.contains("cleanup.policy=compact,delete"), "{described}");
    settings(&broker, &["--alter", "--delete-config", "max.message.bytes"]);
    assert!(!settings(&broker, &["--describe"]).contains("max.message.bytes"));
    let all = settings(&broker, &["--describe", "--all"]);
    assert!(all.contains("retention.ms=604800000"), "{all}");
}

#[test]
fn the_console_clients_exchange_every_codec() {
    let broker = Broker::start().unwrap();
    topics(&broker, &["--create", "--topic", "console"]);
    let mut sent = String::new();
    for codec in CODECS {
        let lines = lines(codec, 20);
        produce(&broker, "console", &["--compression-codec", codec], &lines);
        sent.push_str(&lines);
    }
    assert_eq!(consume(&broker, "console", "earliest", 100), sent);
    let from_middle: String = sent.lines().skip(55).take(5).map(|line| format!("{line}\n")).collect();
    assert_eq!(consume(&broker, "console", "55", 5), from_middle);
}

#[test]
fn offsets_are_listed_and_records_deleted() {
    let broker = Broker::start().unwrap();
    topics(&broker, &["--create", "--topic", "offsets"]);
    produce(&broker, "offsets", &[], &lines("line", 50));
    let offsets = |time: &str| {
        java("org.apache.kafka.tools.GetOffsetShell")
            .arguments(["--bootstrap-server", &broker.bootstrap(), "--topic", "offsets", "--time", time])
            .succeed()
            .unwrap()
    };
    assert_eq!(offsets("latest"), "offsets:0:50\n");
    let directory = tempfile::tempdir().unwrap();
    let request = directory.path().join("delete.json");
    let partitions = r#"{"version":1,"partitions":[{"topic":"offsets","partition":0,"offset":30}]}"#;
    std::fs::write(&request, partitions).unwrap();
    java("org.apache.kafka.tools.DeleteRecordsCommand")
        .arguments(["--bootstrap-server", &broker.bootstrap(), "--offset-json-file"])
        .arguments([&request])
        .succeed()
        .unwrap();
    assert_eq!(offsets("earliest"), "offsets:0:30\n");
    let directories = java("org.apache.kafka.tools.LogDirsCommand")
        .arguments(["--bootstrap-server", &broker.bootstrap(), "--describe", "--topic-list", "offsets"])
        .succeed()
        .unwrap();
    assert!(directories.contains("\"partition\":\"offsets-0\""), "{directories}");
}

#[test]
fn the_load_generator_runs() {
    let broker = Broker::start().unwrap();
    topics(&broker, &["--create", "--topic", "load", "--partitions", "2"]);
    let report = java("org.apache.kafka.tools.ProducerPerformance")
        .arguments([
            "--topic",
            "load",
            "--num-records",
            "20000",
            "--record-size",
            "200",
            "--throughput",
            "-1",
        ])
        .arguments(["--producer-props", &format!("bootstrap.servers={}", broker.bootstrap()), "acks=all"])
        .succeed()
        .unwrap();
    assert!(report.contains("20000 records sent"), "{report}");
}

#[test]
fn what_is_acknowledged_in_a_topic_being_made_is_stored() {
    stored::creation(&Java, 200, false).unwrap();
    stored::creation(&Java, 200, true).unwrap();
    stored::creation(&Java, 1, true).unwrap();
}

#[test]
fn what_is_acknowledged_in_a_topic_made_again_is_stored() {
    stored::recreation(&Java).unwrap();
}

#[test]
fn what_is_acknowledged_in_a_growing_topic_is_stored() {
    stored::growing(&Java).unwrap();
}

#[test]
fn what_is_acknowledged_through_restarts_is_stored() {
    stored::restart(&Java).unwrap();
}
