//! confluent-kafka for Python: a current librdkafka, on which the clients of many languages stand.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use millrace_compat_tests::stored::{self, Client::Librdkafka};
use millrace_test_harness::{Broker, Program, tool};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/confluent_kafka_case.py");

const GROUPS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/confluent_kafka_groups.py");

fn check(case: &str) {
    run(SCRIPT, &[case]);
}

fn run(script: &str, cases: &[&str]) {
    let broker = Broker::start().unwrap();
    let python = tool("confluent-kafka").unwrap().join("bin/python");
    let program = Program::new(python).arguments([script, &broker.bootstrap()]).arguments(cases);
    if let Err(error) = program.succeed() {
        panic!("{error}");
    }
}

#[test]
fn records_of_every_codec_come_back_as_sent() {
    check("round_trip");
}

#[test]
fn an_idempotent_producer_is_served() {
    check("idempotent");
}

#[test]
fn consumers_seek() {
    check("seek");
}

#[test]
fn offsets_are_found_by_time() {
    check("timestamps");
}

#[test]
fn topics_are_created_described_and_deleted() {
    check("topics");
}

#[test]
fn settings_are_read_and_altered() {
    check("settings");
}

#[test]
fn records_are_deleted_up_to_an_offset() {
    check("delete_records");
}

#[test]
fn partitions_are_added_to_a_live_topic() {
    check("partitions");
}

#[test]
fn groups_rebalance_with_eager_and_cooperative_assignors() {
    run(GROUPS, &["eager", "cooperative"]);
}

#[test]
fn what_is_acknowledged_in_a_topic_being_made_is_stored() {
    stored::creation(&Librdkafka, 200, false).unwrap();
    stored::creation(&Librdkafka, 200, true).unwrap();
    stored::creation(&Librdkafka, 1, true).unwrap();
}

#[test]
fn what_is_acknowledged_in_a_topic_made_again_is_stored() {
    stored::recreation(&Librdkafka).unwrap();
}

#[test]
fn what_is_acknowledged_in_a_growing_topic_is_stored() {
    stored::growing(&Librdkafka).unwrap();
}

#[test]
fn what_is_acknowledged_through_restarts_is_stored() {
    stored::restart(&Librdkafka).unwrap();
}
