//! What deployments do, case by case.

use millrace_coordinator::{AppendFailure, OFFSETS_TOPIC, partition_of};
use millrace_metadata::PartitionAssignment;
use millrace_protocol::batch::BatchBuilder;

use super::*;
use crate::route::finish;
use crate::runner::group;
use crate::testing::batch_of;

#[tokio::test(flavor = "multi_thread")]
async fn a_transform_gives_everything_on_in_order_and_goes_on_where_it_was() {
    let mut bench = Bench::start().await;
    let identity = bench.module("identity", Kind::Transform);
    bench.partitions().produce(bench.input(), &numbered(0..100));
    bench.deploy("copy", transform(identity)).await;
    for number in 100..200 {
        bench.partitions().produce(bench.input(), &numbered(number..number + 1));
    }
    assert_eq!(bench.partitions().eventually_values(bench.output(), 200).await, numbered(0..200));
    bench.done_to("copy", 200).await;
    bench.restart().await;
    bench.partitions().produce(bench.input(), &numbered(200..210));
    assert_eq!(bench.partitions().eventually_values(bench.output(), 210).await, numbered(0..210));
    bench.done_to("copy", 210).await;
    assert_eq!(bench.partitions().values(bench.output()), numbered(0..210));
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_means_from_the_deployment_on_also_after_a_restart() {
    let mut bench = Bench::start().await;
    let identity = bench.module("identity", Kind::Transform);
    bench.partitions().produce(bench.input(), &numbered(0..10));
    let latest = Definition { start: StartPosition::Latest, ..transform(identity) };
    bench.deploy("copy", latest).await;
    bench.stop.send_replace(true);
    (&mut bench.following).await.unwrap();
    bench.partitions().produce(bench.input(), &numbered(10..20));
    (bench.runner, bench.stop, bench.following) = run(&bench.cluster, &bench.host);
    assert_eq!(bench.partitions().eventually_values(bench.output(), 10).await, numbered(10..20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_begins_at_an_offset_or_a_time() {
    let bench = Bench::start().await;
    let identity = bench.module("identity", Kind::Transform);
    for (number, timestamp_ms) in [(0, 1_000), (10, 2_000), (20, 3_000)] {
        let batch = batch_of(timestamp_ms, &numbered(number..number + 10));
        bench.partitions().produce_batch(bench.input(), &batch);
    }
    let starts = [
        // In the middle of a batch.
        ("offset", StartPosition::Offset(14), 14),
        ("time", StartPosition::TimestampMs(1_500), 10),
        ("future", StartPosition::TimestampMs(9_000), 30),
        ("beyond", StartPosition::Offset(99), 30),
    ];
    for (name, start, first) in starts {
        bench.cluster.topic(name, 1).await;
        let outputs = vec![name.to_owned()];
        bench.deploy(name, Definition { start, outputs, ..transform(identity) }).await;
        bench.done_to(name, 30).await;
        let output = bench.partitions().partition(name, 0);
        assert_eq!(bench.partitions().values(output), numbered(first..30), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_go_to_the_partitions_of_their_keys() {
    let bench = Bench::start().await;
    bench.cluster.topic("spread", 4).await;
    let identity = bench.module("identity", Kind::Transform);
    let spread = Definition { outputs: vec!["spread".into()], ..transform(identity) };
    bench.partitions().produce(bench.input(), &numbered(0..8));
    bench.deploy("spread", spread).await;
    bench.done_to("spread", 8).await;
    // Without keys: the input's partition.
    assert_eq!(bench.partitions().values(bench.partitions().partition("spread", 0)), numbered(0..8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_record_is_skipped_and_no_other() {
    let bench = Bench::start().await;
    let poison = bench.module("poison", Kind::Transform);
    let mut records = numbered(0..50);
    records[31] = "poison".into();
    bench.partitions().produce(bench.input(), &records);
    bench.deploy("taste", Definition { failure: FailurePolicy::Skip, ..transform(poison) }).await;
    bench.done_to("taste", 50).await;
    records.remove(31);
    assert_eq!(bench.partitions().values(bench.output()), records);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_batch_are_appended_as_they_are_done() {
    let bench = Bench::start().await;
    let poison = bench.module("poison", Kind::Transform);
    // Each record alone is more than a step holds, so that the parts before and behind the poison are steps.
    let record = |number: usize| format!("{number} {}", "x".repeat(700_000));
    let mut records: Vec<String> = (0..8).map(record).collect();
    records[6] = "poison".into();
    bench.partitions().produce(bench.input(), &records);
    let definition = Definition { failure: FailurePolicy::Skip, ..transform(poison) };
    bench.deploy("taste", definition).await;
    bench.done_to("taste", 8).await;
    records.remove(6);
    assert_eq!(bench.partitions().values(bench.output()), records);
    assert!(bench.partitions().appends(bench.output()) > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_names_the_record_and_another_version_goes_on_there() {
    let bench = Bench::start().await;
    let poison = bench.module("poison", Kind::Transform);
    let mut records = numbered(0..50);
    records[31] = "poison".into();
    bench.partitions().produce(bench.input(), &records);
    bench.deploy("taste", transform(poison)).await;
    let halted = bench.eventually("taste", "it halts", |at| at.state == PartitionState::Halted).await;
    assert_eq!((halted.offset, halted.end_offset), (Some(31), 50));
    assert!(halted.error.unwrap().contains("unreachable"));
    assert!(halted.backtrace.is_some());
    assert_eq!(bench.partitions().values(bench.output()), numbered(0..31));

    // Trying again changes nothing, another version does.
    let resume = Command::SetDeploymentPaused { name: "taste".into(), paused: false };
    bench.submit(resume).await;
    bench.eventually("taste", "it halts again", |at| at.state == PartitionState::Halted).await;
    let identity = bench.module("identity", Kind::Transform);
    bench.deploy("taste", transform(identity)).await;
    bench.done_to("taste", 50).await;
    assert_eq!(bench.partitions().values(bench.output()), records);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_says_what_happened_and_is_replayed_through_a_newer_version() {
    let bench = Bench::start().await;
    bench.cluster.topic("dead", 1).await;
    let dead = bench.partitions().partition("dead", 0);
    let poison = bench.module("poison", Kind::Transform);
    let mut records = numbered(0..20);
    records[7] = "poison 7".into();
    records[9] = "poison 9".into();
    bench.partitions().produce(bench.input(), &records);
    let policy = FailurePolicy::DeadLetter { topic: "dead".into() };
    bench.deploy("taste", Definition { failure: policy.clone(), ..transform(poison) }).await;
    bench.done_to("taste", 20).await;
    let letters = bench.partitions().records(dead);
    assert_eq!(bench.partitions().values(dead), ["poison 7", "poison 9"]);
    let header = |name: &str| {
        let full = format!("millrace.dead-letter.{name}");
        let found = letters[1].headers.iter().find(|(name, _)| *name == full);
        String::from_utf8(found.unwrap().1.clone().unwrap().to_vec()).unwrap()
    };
    assert_eq!(
        (header("topic"), header("partition"), header("offset")),
        ("in".into(), "0".into(), "9".into())
    );
    assert_eq!(header("module"), poison.to_string());
    assert!(header("error").contains("unreachable") && header("backtrace").contains("wasm"));

    let identity = bench.module("identity", Kind::Transform);
    bench.deploy("taste", Definition { failure: policy, ..transform(identity) }).await;
    let replay = Command::ReplayDeployment { name: "taste".into(), topic: "dead".into(), until: vec![2] };
    bench.submit(replay).await;
    let values = bench.partitions().eventually_values(bench.output(), 20).await;
    assert_eq!(values[18..], ["poison 7", "poison 9"]);
    let replayed = &bench.partitions().records(bench.output())[19];
    assert_eq!(replayed.headers, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_output_topic_is_waited_for() {
    let bench = Bench::start().await;
    let identity = bench.module("identity", Kind::Transform);
    bench.partitions().produce(bench.input(), &numbered(0..5));
    bench.deploy("copy", Definition { outputs: vec!["later".into()], ..transform(identity) }).await;
    let waiting = bench.eventually("copy", "it waits", |at| at.state == PartitionState::Retrying).await;
    assert!(waiting.error.unwrap().contains("'later' does not exist"));
    bench.cluster.topic("later", 1).await;
    bench.done_to("copy", 5).await;
    assert_eq!(bench.partitions().values(bench.partitions().partition("later", 0)), numbered(0..5));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_committed_before_its_outputs_are_acknowledged() {
    let mut bench = Bench::start().await;
    let identity = bench.module("identity", Kind::Transform);
    bench.partitions().hold_acknowledgements(bench.output(), true);
    bench.partitions().produce(bench.input(), &numbered(0..5));
    bench.deploy("copy", transform(identity)).await;
    let output = bench.output();
    bench.partitions().eventually("outputs are appended", |partitions| partitions.appends(output) > 0).await;
    assert_eq!(bench.runner.progress("copy", false)[0].offset, Some(0));
    // A crash: the runner is gone without having stopped.
    bench.following.abort();
    bench.partitions().hold_acknowledgements(bench.output(), false);
    (bench.runner, bench.stop, bench.following) = run(&bench.cluster, &bench.host);
    bench.done_to("copy", 5).await;
    let values = bench.partitions().values(bench.output());
    assert!(values.ends_with(&numbered(0..5)), "{values:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_unknown_until_it_is_read_back() {
    let mut bench = Bench::start().await;
    let identity = bench.module("identity", Kind::Transform);
    bench.partitions().produce(bench.input(), &numbered(0..5));
    bench.deploy("copy", transform(identity)).await;
    bench.done_to("copy", 5).await;
    let home = partition_of(&group("copy", false), 50);
    let offsets = bench.partitions().partition(OFFSETS_TOPIC, home);
    bench.partitions().set_led(offsets, false);
    bench.restart().await;
    bench.partitions().produce(bench.input(), &numbered(5..7));
    let waiting = bench.eventually("copy", "it waits", |at| at.state == PartitionState::Retrying).await;
    assert_eq!((waiting.offset, waiting.lag()), (None, None), "this is not a deployment without lag");
    bench.partitions().set_led(offsets, true);
    bench.done_to("copy", 7).await;
    assert_eq!(bench.partitions().values(bench.output()), numbered(0..7));
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_appends_and_acknowledgements_lose_nothing() {
    let bench = Bench::start().await;
    let identity = bench.module("identity", Kind::Transform);
    let full = || AppendFailure::Passing("the disk is full".into());
    bench.partitions().fail_appends(bench.output(), [full(), full()]);
    bench.partitions().fail_acknowledgements(bench.output(), [AppendFailure::NotHere, full()]);
    bench.partitions().produce(bench.input(), &numbered(0..5));
    bench.deploy("copy", transform(identity)).await;
    bench.done_to("copy", 5).await;
    assert_eq!(bench.partitions().values(bench.output()), numbered(0..5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_is_committed_when_it_has_delivered() {
    let bench = Bench::start().await;
    let module = bench.module("sink", Kind::Sink);
    bench.cluster.topic("dead", 1).await;
    bench.partitions().produce(bench.input(), &numbered(0..3));
    bench.partitions().produce(bench.input(), &numbered(3..5));
    // This guest decides by the token's first letter, which is the deployment's.
    bench.deploy("delivers", sink(module)).await;
    bench.done_to("delivers", 5).await;
    bench.deploy("retries", sink(module)).await;
    let retrying =
        bench.eventually("retries", "it tries again", |at| at.state == PartitionState::Retrying).await;
    assert_eq!((retrying.offset, retrying.error.as_deref()), (Some(0), Some("the reason")));
    bench.deploy("permanent", sink(module)).await;
    let halted = bench.eventually("permanent", "it halts", |at| at.state == PartitionState::Halted).await;
    assert_eq!(halted.offset, Some(0));
    let policy = FailurePolicy::DeadLetter { topic: "dead".into() };
    bench.deploy("permanent", Definition { failure: policy, ..sink(module) }).await;
    bench.done_to("permanent", 5).await;
    assert_eq!(bench.partitions().values(bench.partitions().partition("dead", 0)), numbered(0..5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_stops_and_a_deleted_deployment_leaves_no_offsets() {
    let bench = Bench::start().await;
    let identity = bench.module("identity", Kind::Transform);
    bench.partitions().produce(bench.input(), &numbered(0..5));
    bench.deploy("copy", transform(identity)).await;
    bench.done_to("copy", 5).await;
    let pause = |paused| Command::SetDeploymentPaused { name: "copy".into(), paused };
    bench.submit(pause(true)).await;
    bench.established("copy").await;
    bench.partitions().produce(bench.input(), &numbered(5..10));
    let paused = bench.eventually("copy", "it is paused", |at| at.state == PartitionState::Paused).await;
    assert_eq!((paused.offset, paused.end_offset), (Some(5), 10));
    bench.submit(pause(false)).await;
    bench.done_to("copy", 10).await;
    assert_eq!(bench.partitions().values(bench.output()), numbered(0..10));

    bench.submit(Command::DeleteDeployment { name: "copy".into() }).await;
    bench.deploy("copy", transform(identity)).await;
    bench.done_to("copy", 10).await;
    assert_eq!(bench.partitions().values(bench.output()).len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_anew_is_read_from_its_beginning() {
    let bench = Bench::start().await;
    let identity = bench.module("identity", Kind::Transform);
    bench.partitions().produce(bench.input(), &numbered(0..3));
    bench.deploy("copy", transform(identity)).await;
    bench.done_to("copy", 3).await;
    let id = bench.input().topic;
    bench.submit(Command::DeleteTopic { id }).await;
    bench.cluster.topic("in", 1).await;
    bench.established("copy").await;
    bench.partitions().produce(bench.input(), &numbered(3..9));
    bench.done_to("copy", 6).await;
    assert_eq!(bench.partitions().values(bench.output()), numbered(0..9));
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_is_about_the_topic_that_was_there_and_not_about_one_made_anew() {
    let mut bench = Bench::start().await;
    let identity = bench.module("identity", Kind::Transform);
    let latest = Definition { start: StartPosition::Latest, ..transform(identity) };
    bench.deploy("copy", latest).await;
    bench.partitions().produce(bench.input(), &numbered(0..3));
    bench.done_to("copy", 3).await;
    // Nobody follows while the topic is made anew, so that the records are there before any worker begins.
    bench.stop.send_replace(true);
    (&mut bench.following).await.unwrap();
    for (round, partitions) in [(1, 1), (2, 2)] {
        let id = bench.input().topic;
        bench.submit(Command::DeleteTopic { id }).await;
        bench.cluster.topic("in", partitions).await;
        let last = bench.partitions().partition("in", partitions - 1);
        bench.partitions().produce(last, &numbered(10 * round..10 * round + 5));
        (bench.runner, bench.stop, bench.following) = run(&bench.cluster, &bench.host);
        bench.partitions().eventually_values(bench.output(), 3 + 5 * round).await;
        bench.stop.send_replace(true);
        (&mut bench.following).await.unwrap();
    }
    let expected = [numbered(0..3), numbered(10..15), numbered(20..25)].concat();
    assert_eq!(bench.partitions().values(bench.output()), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_take_lost_ones_offsets_are_read() {
    let bench = Bench::start().await;
    let identity = bench.module("identity", Kind::Transform);
    bench.partitions().produce(bench.input(), &numbered(0..5));
    let key = OffsetKey { group: group("copy", false), topic: "in".into(), partition: 0 };
    let offsets = bench.host.offsets(&bench.cluster);
    // As after a crash that took the records 5 to 8 with it.
    offsets.commit(&key, bench.input().topic, 9, 0).await.unwrap().await.unwrap();
    bench.deploy("copy", transform(identity)).await;
    bench.partitions().produce(bench.input(), &numbered(5..12));
    assert_eq!(bench.partitions().eventually_values(bench.output(), 7).await, numbered(5..12));
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_come_later_are_read_from_their_beginning() {
    let bench = Bench::start().await;
    let identity = bench.module("identity", Kind::Transform);
    let topic_id = bench.cluster.metadata.image().topic_by_name("in").unwrap().id;
    bench.deploy("copy", Definition { start: StartPosition::Latest, ..transform(identity) }).await;
    let new = vec![PartitionAssignment { replicas: vec![BrokerId(1)] }];
    bench.partitions().produce(TopicPartition::new(topic_id, 1), &numbered(0..3));
    bench.submit(Command::AddPartitions { topic_id, current: 1, new }).await;
    assert_eq!(bench.partitions().eventually_values(bench.output(), 3).await, numbered(0..3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_topic_refuses_is_the_policys_and_nothing_is_there_twice() {
    let bench = Bench::start().await;
    bench.cluster.topic("dead", 1).await;
    let identity = bench.module("identity", Kind::Transform);
    let mut records = numbered(0..20);
    records[7] = "refused".into();
    bench.partitions().produce(bench.input(), &records);
    let dead_letter = FailurePolicy::DeadLetter { topic: "dead".into() };
    let retry = FailurePolicy::Retry { attempts: 2, backoff: Backoff { first_ms: 1, max_ms: 1 } };
    let policies = [
        ("skip", FailurePolicy::Skip),
        ("dead-letter", dead_letter),
        ("retry", retry),
        ("halt", FailurePolicy::Halt),
    ];
    for (name, failure) in policies {
        bench.cluster.topic(&format!("out-{name}"), 1).await;
        let output = bench.partitions().partition(&format!("out-{name}"), 0);
        bench.partitions().refuse_text(output, "refused");
        let outputs = vec![format!("out-{name}")];
        let goes_on = matches!(failure, FailurePolicy::Skip | FailurePolicy::DeadLetter { .. });
        bench.deploy(name, Definition { failure, outputs, ..transform(identity) }).await;
        let mut expected = records.clone();
        if goes_on {
            bench.done_to(name, 20).await;
            expected.remove(7);
        } else {
            let halted = bench.eventually(name, "it halts", |at| at.state == PartitionState::Halted).await;
            assert_eq!(halted.offset, Some(7));
            assert!(halted.error.unwrap().contains("refuses an output: 'refused' is not taken here"));
            expected.truncate(7);
        }
        assert_eq!(bench.partitions().values(output), expected, "{name}");
    }
    assert_eq!(bench.partitions().values(bench.partitions().partition("dead", 0)), ["refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_no_dead_letter_topic_takes_is_not_lost() {
    let bench = Bench::start().await;
    bench.cluster.topic("dead", 1).await;
    let dead = bench.partitions().partition("dead", 0);
    bench.partitions().refuse_text(dead, "poison");
    let poison = bench.module("poison", Kind::Transform);
    bench.partitions().produce(bench.input(), &["fine", "poison", "later"]);
    let failure = FailurePolicy::DeadLetter { topic: "dead".into() };
    bench.deploy("taste", Definition { failure, ..transform(poison) }).await;
    let halted = bench.eventually("taste", "it halts", |at| at.state == PartitionState::Halted).await;
    assert_eq!(halted.offset, Some(1));
    assert!(halted.error.unwrap().contains("it cannot go to 'dead': 'poison' is not taken here"));
    assert_eq!(bench.partitions().values(bench.output()), ["fine"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_appends_only_what_is_not_acknowledged() {
    let bench = Bench::start().await;
    bench.cluster.topic("spread", 2).await;
    let places = [0, 1].map(|partition| bench.partitions().partition("spread", partition));
    let identity = bench.module("identity", Kind::Transform);
    let full = || AppendFailure::Passing("the disk is full".into());
    // The second partition fails in every way, while the first has taken its part.
    bench.partitions().fail_appends(places[1], [AppendFailure::NotHere, full()]);
    bench.partitions().fail_acknowledgements(places[1], [full(), AppendFailure::NotHere]);
    let mut builder = BatchBuilder::default();
    for number in 0..40 {
        let (key, value) = (format!("key {number}"), format!("record {number}"));
        builder.append(1_000, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
    }
    bench.partitions().produce_batch(bench.input(), &finish(builder).unwrap());
    let outputs = vec!["spread".to_owned()];
    bench.deploy("copy", Definition { outputs, ..transform(identity) }).await;
    bench.done_to("copy", 40).await;
    let values = places.map(|place| bench.partitions().values(place));
    assert!(!values[0].is_empty() && !values[1].is_empty());
    assert_eq!(values.concat().len(), 40, "{values:?}");
}
