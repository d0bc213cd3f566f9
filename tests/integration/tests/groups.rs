//! Consumer groups through the SDK and the command line, against a real broker.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millrace_client::admin::NewTopic;
use millrace_client::{
    Client, CommitOffset, Consumer, RebalanceListener, Record, RecordBatch, StartAt, TopicPartition,
    Transport,
};
use millrace_test_harness::Broker;
use tokio::runtime::Runtime;

const LIMIT: Duration = Duration::from_secs(120);
const PARTITIONS: i32 = 6;
const RECORDS: usize = 600;

/// Holds its member to the order of callbacks: nothing is assigned twice, nothing given up that is not owned.
#[derive(Clone, Default)]
struct Checked(Arc<Mutex<BTreeSet<TopicPartition>>>);

impl RebalanceListener for Checked {
    fn assigned(&mut self, partitions: &[TopicPartition]) {
        let mut owned = self.0.lock().unwrap();
        for one in partitions {
            assert!(owned.insert(one.clone()), "{one} is assigned twice");
        }
    }

    fn revoked(&mut self, partitions: &[TopicPartition]) -> Vec<CommitOffset> {
        let mut owned = self.0.lock().unwrap();
        for one in partitions {
            assert!(owned.remove(one), "{one} is revoked and was not assigned");
        }
        Vec::new()
    }

    fn lost(&mut self, partitions: &[TopicPartition]) {
        self.revoked(partitions);
    }
}

fn member(client: &Client, listener: Checked) -> Consumer {
    let mut consumer = client
        .consumer()
        .group("three")
        // The shortest that a broker allows: that of a member that is killed is waited for. Of the classic protocol.
        .session_timeout(Duration::from_secs(6))
        .heartbeat_interval(Duration::from_millis(500))
        .start_without_commit(StartAt::Beginning)
        .build();
    consumer.on_rebalance(listener);
    consumer.subscribe(&["orders"]).unwrap();
    consumer
}

/// Reads one batch, if one comes soon, and commits behind it.
async fn step(consumer: &mut Consumer, read: &mut BTreeSet<String>) {
    let Some(batch) = consumer.poll_batch(Duration::from_millis(50)).await.unwrap() else { return };
    let values =
        batch.iter().map(|record| String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap());
    read.extend(values);
    let partition = TopicPartition::new(batch.topic(), batch.partition());
    // One whose member is not of the group any more is read again by another.
    let _ = consumer.commit_offsets(vec![CommitOffset::new(partition, batch.last_offset() + 1)]).await;
}

async fn send(client: &Client, values: std::ops::Range<usize>) {
    let producer = client.producer().build().await.unwrap();
    let values: Vec<String> = values.map(|value| value.to_string()).collect();
    let records = values.iter().map(|value| Record::value(value).with_key(value));
    producer.send_batch("orders", records).await.unwrap().await.unwrap();
    producer.close().await;
}

#[test]
fn a_group_reads_everything_though_one_of_three_is_killed() {
    // With KIP-848 it is the broker that says how long a member is waited for.
    let broker = Broker::builder().setting("groups", "consumer_session_timeout = \"6s\"").start().unwrap();
    let runtime = Runtime::new().unwrap();
    let killed = Runtime::new().unwrap();
    let mut read = BTreeSet::new();
    let listeners = [Checked::default(), Checked::default(), Checked::default()];
    let (client, mut members) = runtime.block_on(async {
        let client = broker.client(Transport::Quic).connect().await.unwrap();
        client.admin().create_topic(NewTopic::new("orders", PARTITIONS)).await.unwrap();
        send(&client, 0..RECORDS / 2).await;
        let members = [member(&client, listeners[0].clone()), member(&client, listeners[1].clone())];
        (client, members)
    });
    let third = killed.block_on(async {
        let client = broker.client(Transport::Tcp).connect().await.unwrap();
        member(&client, listeners[2].clone())
    });
    let mut third = Some(third);
    let deadline = Instant::now() + LIMIT;
    // Until each of the three has its share, and the first half is read.
    while read.len() < RECORDS / 2 || listeners.iter().any(|one| one.0.lock().unwrap().is_empty()) {
        assert!(Instant::now() < deadline, "read {} of the first half", read.len());
        for member in &mut members {
            runtime.block_on(step(member, &mut read));
        }
        if let Some(third) = &mut third {
            killed.block_on(step(third, &mut read));
        }
    }
    // Without a word: what ran for it is gone, its connections with it.
    std::mem::forget(third.take());
    killed.shutdown_background();
    runtime.block_on(async {
        send(&client, RECORDS / 2..RECORDS).await;
        while read.len() < RECORDS {
            assert!(Instant::now() < deadline, "read {} of {RECORDS}", read.len());
            for member in &mut members {
                step(member, &mut read).await;
            }
        }
        let shares: usize = listeners[..2].iter().map(|one| one.0.lock().unwrap().len()).sum();
        assert_eq!(shares, usize::try_from(PARTITIONS).unwrap());
        for member in &mut members {
            member.close().await;
        }
        assert!(listeners[..2].iter().all(|one| one.0.lock().unwrap().is_empty()));
        let committed = client.admin().group_offsets("three").await.unwrap();
        let committed: i64 = committed.iter().filter_map(|one| one.offset).sum();
        assert_eq!(usize::try_from(committed).unwrap(), RECORDS);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_nobody_polls_leaves_and_takes_part_again_when_polled() {
    let broker = Broker::start().unwrap();
    let client = broker.client(Transport::Quic).connect().await.unwrap();
    client.admin().create_topic(NewTopic::new("orders", 1)).await.unwrap();
    send(&client, 0..10).await;
    let listener = Checked::default();
    let mut consumer = client
        .consumer()
        .group("slow")
        .max_poll_interval(Duration::from_secs(2))
        .start_without_commit(StartAt::Beginning)
        .build();
    consumer.on_rebalance(listener.clone());
    consumer.subscribe(&["orders"]).unwrap();
    let first = loop {
        if let Some(batch) = consumer.poll_batch(Duration::from_secs(1)).await.unwrap() {
            break batch;
        }
    };
    millrace_test_harness::eventually_async("the group is empty", LIMIT, async || {
        let group = client.admin().describe_group("slow").await.ok()?;
        (!group.is_active()).then_some(())
    })
    .await;
    let partition = TopicPartition::new("orders", 0);
    let again = loop {
        if let Some(batch) = consumer.poll_batch(Duration::from_secs(1)).await.unwrap() {
            break batch;
        }
    };
    // Nothing was committed, so it begins where it began.
    assert_eq!(RecordBatch::base_offset(&again), first.base_offset());
    assert_eq!(*listener.0.lock().unwrap(), BTreeSet::from([partition]));
    consumer.close().await;
}

/// Runs the command line; its output, with what differs between runs left out.
fn cli(broker: &Broker, arguments: &[&str]) -> Result<String, String> {
    let output = broker.cli(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_shows_and_sets_where_a_group_is() {
    let broker = Broker::start().unwrap();
    let client = broker.client(Transport::Quic).connect().await.unwrap();
    client.admin().create_topic(NewTopic::new("orders", 1)).await.unwrap();
    send(&client, 0..10).await;
    let run = |arguments: &[&str]| cli(&broker, arguments);
    let consume = ["consume", "orders", "--group", "billing", "--from-beginning", "-n", "4"];
    assert_eq!(run(&consume).unwrap(), "0\n1\n2\n3\n");
    let offsets = |current: i64| {
        format!(
            "GROUP    TOPIC   PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG  CONSUMER-ID  HOST  CLIENT-ID\n\
             billing  orders  0          {current}               10              {}    -            -     -\n",
            10 - current
        )
    };
    assert_eq!(run(&["group", "describe", "billing"]).unwrap(), offsets(4));
    let reset = ["group", "reset-offsets", "billing", "--topic", "orders", "--shift-by", "-3"];
    let planned = "GROUP    TOPIC   PARTITION  CURRENT-OFFSET  NEW-OFFSET\n\
                   billing  orders  0          4               1\n";
    assert_eq!(run(&reset).unwrap(), planned);
    assert_eq!(run(&["group", "describe", "billing"]).unwrap(), offsets(4), "not executed");
    assert_eq!(run(&[&reset[..], &["--execute"]].concat()).unwrap(), planned);
    assert_eq!(run(&["group", "describe", "billing"]).unwrap(), offsets(1));

    let mut member = client.consumer().group("billing").start_without_commit(StartAt::Beginning).build();
    member.subscribe(&["orders"]).unwrap();
    while member.poll_batch(Duration::from_secs(1)).await.unwrap().is_none() {}
    let refused = run(&reset).unwrap_err();
    assert!(refused.contains("group 'billing' has 1 member: offsets can be set only while"), "{refused}");
    let refused = run(&["group", "delete", "billing"]).unwrap_err();
    assert!(refused.contains("group 'billing' has members and cannot be deleted"), "{refused}");
    member.close().await;

    assert_eq!(run(&["group", "delete", "billing"]).unwrap(), "deleted group 'billing'\n");
    let unknown = run(&["group", "delete", "billing"]).unwrap_err();
    assert!(unknown.contains("there is no group 'billing'"), "{unknown}");
}
