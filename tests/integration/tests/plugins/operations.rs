//! What an operator does to a deployment while records flow: new versions, rollback, pause, replay, deletion.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use millrace_client::plugins::{DeploymentState, FailurePolicy};
use millrace_client::{Client, Record, Transport};
use millrace_test_harness::{Broker, Program, a_while, eventually_async, guest, guest_of};
use tokio::sync::watch;

use crate::support::{
    PATIENCE, caught_up, create_topics, definition, deploy, end_offset, halted, produce, read_partition,
    text, until,
};

const PARTITIONS: i32 = 3;

/// The identity as another module.
fn identity_again(number: usize) -> Bytes {
    let source =
        std::fs::read_to_string(millrace_test_harness::repository().join("tests/guests/identity.wat"))
            .unwrap();
    guest_of(&format!("{source}\n(func $version{number} (drop (i32.const {number})))"), "transform")
}

async fn write(client: Client, acknowledged: Arc<AtomicU64>, stopped: watch::Receiver<bool>) {
    let producer = client.producer().build().await.unwrap();
    let mut number = 0;
    while !*stopped.borrow() {
        let mut deliveries = Vec::new();
        for _ in 0..20 {
            let (key, value) = (format!("key-{}", number % 50), number.to_string());
            deliveries.push(producer.send("in", Record::value(&value).with_key(&key)).await.unwrap());
            number += 1;
        }
        for delivery in deliveries {
            delivery.await.unwrap();
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        a_while(Duration::from_millis(2)).await;
    }
}

async fn more(acknowledged: &AtomicU64, count: u64) {
    let wanted = acknowledged.load(Ordering::Relaxed) + count;
    eventually_async("records to be acknowledged", PATIENCE, || async {
        (acknowledged.load(Ordering::Relaxed) >= wanted).then_some(())
    })
    .await;
}

async fn delivered(client: &Client) -> i64 {
    let mut sum = 0;
    for partition in 0..PARTITIONS {
        sum += end_offset(client, "out", partition).await;
    }
    sum
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_under_load_lose_and_repeat_nothing() {
    let broker = Broker::start().unwrap();
    let client = broker.client(Transport::Quic).connect().await.unwrap();
    let plugins = client.plugins();
    create_topics(&client, &[("in", PARTITIONS), ("out", PARTITIONS)]).await;
    deploy(&client, "identity", guest("identity", "transform"), "in", &["out"]).await;
    let (stop, stopped) = watch::channel(false);
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writer = tokio::spawn(write(client.clone(), Arc::clone(&acknowledged), stopped));

    for number in 2..=5 {
        more(&acknowledged, 300).await;
        deploy(&client, "identity", identity_again(number), "in", &["out"]).await;
        let described = plugins.describe("identity").await.unwrap();
        assert_eq!(described.version as usize, number);
    }
    more(&acknowledged, 300).await;
    let back = plugins.rollback("identity", Some(2)).await.unwrap();
    assert_eq!(back.definition.module, back.versions.iter().find(|it| it.version == 2).unwrap().module);
    more(&acknowledged, 300).await;

    let paused = plugins.pause("identity").await.unwrap();
    assert_eq!(paused.state, DeploymentState::Paused);
    // What was under way when the order came is still delivered; then nothing is.
    eventually_async("the workers to rest", PATIENCE, || async {
        let before = delivered(&client).await;
        more(&acknowledged, 100).await;
        (delivered(&client).await == before).then_some(())
    })
    .await;
    assert_eq!(plugins.resume("identity").await.unwrap().state, DeploymentState::Running);
    more(&acknowledged, 300).await;
    stop.send(true).unwrap();
    writer.await.unwrap();
    caught_up(&client, "identity").await;
    // The same keys have the same partitions on both sides.
    for partition in 0..PARTITIONS {
        let input = read_partition(&client, "in", partition).await;
        let output = read_partition(&client, "out", partition).await;
        let values = |records: &[_]| records.iter().map(|record| text(record).to_owned()).collect::<Vec<_>>();
        assert_eq!(values(&input), values(&output), "partition {partition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_go_through_a_version_that_is_mended() {
    let broker = Broker::start().unwrap();
    let client = broker.client(Transport::Quic).connect().await.unwrap();
    create_topics(&client, &[("in", 1), ("out", 1), ("dead", 1)]).await;
    let bury = FailurePolicy::DeadLetter { topic: "dead".into() };
    let mut broken = definition(&client, guest("poison", "transform"), "in", &["out"]).await;
    broken.failure = bury.clone();
    client.plugins().deploy("orders", broken, false).await.unwrap();
    let name = |number: u32| if number % 4 == 3 { "poison" } else { "record" };
    let record = |number: u32| ("k".to_owned(), format!("{} {number}", name(number)));
    produce(&client, "in", (0..20).map(record)).await;
    caught_up(&client, "orders").await;
    assert_eq!((end_offset(&client, "out", 0).await, end_offset(&client, "dead", 0).await), (15, 5));

    let mut mended = definition(&client, guest("identity", "transform"), "in", &["out"]).await;
    mended.failure = bury;
    client.plugins().deploy("orders", mended, false).await.unwrap();
    let said = Program::from(broker.cli(&["plugin", "replay", "orders"])).succeed().unwrap();
    assert!(said.contains("done"), "{said}");
    let output = read_partition(&client, "out", 0).await;
    let replayed: Vec<&str> = output[15..].iter().map(text).collect();
    assert_eq!(replayed, ["poison 3", "poison 7", "poison 11", "poison 15", "poison 19"]);
    assert!(output.iter().all(|record| record.headers().is_empty()), "they are as they were");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halted_deployment_goes_on_where_it_stopped() {
    let mut broker = Broker::start().unwrap();
    let client = broker.client(Transport::Quic).connect().await.unwrap();
    create_topics(&client, &[("in", 1), ("out", 1)]).await;
    let values = ["a", "b", "poison", "c", "poison", "d"];
    produce(&client, "in", values.map(|value| ("k".to_owned(), value.to_owned()))).await;
    deploy(&client, "orders", guest("poison", "transform"), "in", &["out"]).await;
    assert!(halted(&client, "orders").await.contains("unreachable"));
    let output = async || {
        let records = read_partition(&client, "out", 0).await;
        records.iter().map(|record| text(record).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(output().await, values[..2]);

    // Neither another try nor a crash takes it past the record.
    client.plugins().resume("orders").await.unwrap();
    halted(&client, "orders").await;
    broker.kill().unwrap();
    broker.restart().unwrap();
    halted(&client, "orders").await;
    let stopped = until(&client, "orders", "an answer", |_| true).await;
    assert_eq!(stopped.partitions[0].offset, Some(2));
    assert_eq!(output().await, values[..2]);

    deploy(&client, "orders", guest("identity", "transform"), "in", &["out"]).await;
    caught_up(&client, "orders").await;
    assert_eq!(output().await, values);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_is_made_anew_begins_anew() {
    let broker = Broker::start().unwrap();
    let client = broker.client(Transport::Tcp).connect().await.unwrap();
    create_topics(&client, &[("in", 1), ("out", 1)]).await;
    let records = || (0..10).map(|number| ("k".to_owned(), number.to_string()));
    produce(&client, "in", records()).await;
    for round in 1..=3 {
        deploy(&client, "identity", guest("identity", "transform"), "in", &["out"]).await;
        caught_up(&client, "identity").await;
        assert_eq!(end_offset(&client, "out", 0).await, 10 * round);
        let said = Program::from(broker.cli(&["plugin", "delete", "identity", "--yes"])).succeed().unwrap();
        assert!(said.contains("deleted deployment 'identity'"), "{said}");
        assert!(client.plugins().describe("identity").await.is_err());
    }
    // Nothing that is deleted goes on.
    produce(&client, "in", records()).await;
    deploy(&client, "other", guest("identity", "transform"), "in", &["out"]).await;
    caught_up(&client, "other").await;
    assert_eq!(end_offset(&client, "out", 0).await, 30 + 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_followed_as_the_plugin_writes_them() {
    let broker = Broker::start().unwrap();
    let client = broker.client(Transport::Quic).connect().await.unwrap();
    create_topics(&client, &[("in", 1), ("out", 1)]).await;
    let logging = r#"
        (data (i32.const 512) "a line of the guest")
        (func (export "transform") (param i32 i32) (result i32)
          (call $log (i32.const 3) (i32.const 512) (i32.const 19))
          (call $forget)
          (call $ok))"#;
    deploy(&client, "chatty", guest_of(logging, "transform"), "in", &["out"]).await;
    let mut command = broker.cli(&["plugin", "logs", "chatty", "--follow"]);
    let mut follower = command.stdout(Stdio::piped()).spawn().unwrap();
    let (lines, received) = mpsc::channel();
    let output = BufReader::new(follower.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        output.lines().map_while(Result::ok).try_for_each(|line| lines.send(line).map_err(drop))
    });
    for round in 0..3 {
        produce(&client, "in", [("k".to_owned(), round.to_string())]).await;
        let line = received.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|error| panic!("no line of round {round}: {error}"));
        assert!(line.contains("a line of the guest") && line.to_lowercase().contains("warn"), "{line}");
    }
    follower.kill().unwrap();
    follower.wait().unwrap();
    let _ = reader.join();
}
