//! Plugins that misbehave, all at once on one broker: each meets its deployment's policy with an error that says
//! what happened, and nobody else notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millrace_client::plugins::{Backoff, DeploymentState, FailurePolicy};
use millrace_client::{Client, Record, StartAt, Transport};
use millrace_integration_tests::Neighbour;
use millrace_test_harness::{Broker, guest, guest_of};

use crate::support::{
    PATIENCE, caught_up, create_topics, definition, deploy, end_offset, halted, header, produce,
    read_partition, text, until,
};

/// What the broker's memory may grow by while plugins do their worst.
const GROWTH_MAX: u64 = 150 << 20;
/// Longest way of a record through a healthy plugin meanwhile, on a busy test machine in the dev profile.
const LATENCY_MAX: Duration = Duration::from_secs(10);
const RECORDS: usize = 20;

/// Transforms that fail on whatever they are given, and what the deployment says then.
const HALTING: [(&str, &str); 8] = [
    ("loop", "the plugin ran for longer than 1s"),
    ("recursion", "stack"),
    ("memory-bomb", "the plugin needs more memory than the 134217728 bytes"),
    ("giant-output", "over the limit of 67108864 bytes"),
    ("fan-out", "over the limit of 10000 records"),
    ("trap", "unreachable"),
    ("malformed-output", "the plugin's output is malformed: "),
    ("start-loop", "the plugin ran for longer than 1s"),
];

#[tokio::test(flavor = "multi_thread")]
async fn plugins_that_misbehave_harm_nobody_else() {
    let broker = Broker::start().unwrap();
    let client = broker.client(Transport::Quic).connect().await.unwrap();
    create_topics(&client, &[("healthy.in", 2), ("healthy.out", 2), ("bad.in", 1), ("bad.out", 1)]).await;
    deploy(&client, "healthy", guest("identity", "transform"), "healthy.in", &["healthy.out"]).await;
    let records = (0..4).map(|number| (format!("key-{number}"), format!("record {number}")));
    produce(&client, "bad.in", records).await;
    let neighbour = Neighbour::move_in(broker.address());
    let watched = Watched::begin(&broker).await;

    for (name, _) in HALTING {
        let mut definition = definition(&client, guest(name, "transform"), "bad.in", &["bad.out"]).await;
        // A million, the default, takes a guest its whole second in the dev profile.
        definition.limits.output_records = Some(10_000);
        client.plugins().deploy(name, definition, false).await.unwrap();
    }
    deploy(&client, "log-flood", guest("log-flood", "transform"), "bad.in", &["bad.out"]).await;
    let mut hang = definition(&client, guest("hang", "sink"), "bad.in", &[]).await;
    hang.limits.elapsed_ms = Some(200);
    let backoff = Backoff { first_ms: 10, max_ms: 10 };
    hang.failure = FailurePolicy::Retry { attempts: 2, backoff };
    client.plugins().deploy("hang", hang, false).await.unwrap();

    for (name, error) in HALTING {
        let said = halted(&client, name).await;
        assert!(said.contains(error), "{name}: {said}");
    }
    assert_eq!(halted(&client, "hang").await, "the plugin took longer than 200ms, most of it waiting");
    caught_up(&client, "log-flood").await;
    let trap = client.plugins().describe("trap").await.unwrap();
    assert_eq!(trap.partitions[0].offset, Some(0), "it stops before the first record");
    assert!(trap.partitions[0].backtrace.as_ref().unwrap().contains("parse_order"), "{trap:?}");
    let flood = client.plugins().describe("log-flood").await.unwrap();
    assert_eq!(flood.state, DeploymentState::Running);
    assert_eq!(end_offset(&client, "bad.out", 0).await, 0, "nothing of theirs was written");

    watched.expect_unharmed().await;
    neighbour.expect_well_served();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_deals_with_the_record_at_fault_alone() {
    let broker = Broker::start().unwrap();
    let client = broker.client(Transport::Tcp).connect().await.unwrap();
    let topics =
        [("in", 1), ("skipped.out", 1), ("dead.out", 1), ("dead.letters", 1), ("refused.letters", 1)];
    create_topics(&client, &topics).await;
    let poisoned = [5, 13];
    let input = (0..RECORDS).map(|number| {
        let what = if poisoned.contains(&number) { "poison" } else { "record" };
        (format!("key-{number}"), format!("{what} {number}"))
    });
    produce(&client, "in", input).await;
    let poison = guest("poison", "transform");

    let mut skip = definition(&client, poison.clone(), "in", &["skipped.out"]).await;
    skip.failure = FailurePolicy::Skip;
    client.plugins().deploy("skipping", skip, false).await.unwrap();
    let mut dead = definition(&client, poison, "in", &["dead.out"]).await;
    dead.failure = FailurePolicy::DeadLetter { topic: "dead.letters".into() };
    let module = dead.module.to_string();
    client.plugins().deploy("burying", dead, false).await.unwrap();
    let refusal = r#"
        (data (i32.const 512) "no such order")
        (func (export "transform") (param i32 i32) (result i32)
          (call $refuse (i32.const 512) (i32.const 13)))"#;
    let mut refusing = definition(&client, guest_of(refusal, "transform"), "in", &["dead.out"]).await;
    refusing.failure = FailurePolicy::DeadLetter { topic: "refused.letters".into() };
    client.plugins().deploy("refusing", refusing, false).await.unwrap();

    for name in ["skipping", "burying", "refusing"] {
        caught_up(&client, name).await;
    }
    let healthy: Vec<String> = (0..RECORDS)
        .filter(|number| !poisoned.contains(number))
        .map(|number| format!("record {number}"))
        .collect();
    for topic in ["skipped.out", "dead.out"] {
        let delivered = read_partition(&client, topic, 0).await;
        assert_eq!(delivered.iter().map(text).collect::<Vec<_>>(), healthy, "{topic}");
    }
    let letters = read_partition(&client, "dead.letters", 0).await;
    assert_eq!(letters.iter().map(text).collect::<Vec<_>>(), ["poison 5", "poison 13"]);
    for (letter, offset) in letters.iter().zip(poisoned) {
        assert_eq!(letter.key().unwrap().as_ref(), format!("key-{offset}").as_bytes());
        let said = |name: &str| header(letter, &format!("millrace.dead-letter.{name}")).unwrap();
        assert_eq!((said("deployment"), said("version"), said("module")), ("burying", "1", module.as_str()));
        let origin = (said("topic"), said("partition"), said("offset"));
        assert_eq!(origin, ("in", "0", offset.to_string().as_str()));
        assert!(said("error").contains("unreachable"), "{}", said("error"));
        assert!(said("backtrace").contains("taste"), "{}", said("backtrace"));
    }
    let refused = read_partition(&client, "refused.letters", 0).await;
    assert_eq!(refused.len(), RECORDS);
    for letter in &refused {
        let error = header(letter, "millrace.dead-letter.error").unwrap();
        assert_eq!(error, "the plugin refuses the batch: no such order");
    }
    let skipped = until(&client, "skipping", "a state", |_| true).await;
    assert_eq!(skipped.state, DeploymentState::Running);
}

/// A healthy deployment under observation, and the broker's memory.
struct Watched {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<(usize, Duration)>,
    pid: u32,
    before: u64,
    highest: Arc<AtomicU64>,
}

impl Watched {
    async fn begin(broker: &Broker) -> Self {
        let client = broker.client(Transport::Quic).connect().await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let highest = Arc::new(AtomicU64::new(0));
        // The first records set up everything that is set up once.
        watch(&client, &AtomicBool::new(true), 0, &highest).await;
        let before = broker.resident_bytes().unwrap();
        let pid = broker.pid().unwrap();
        let (told, seen) = (Arc::clone(&stop), Arc::clone(&highest));
        let task = tokio::spawn(async move { watch(&client, &told, pid, &seen).await });
        Self { stop, task, pid, before, highest }
    }

    async fn expect_unharmed(self) {
        self.stop.store(true, Ordering::Relaxed);
        let (delivered, slowest) = self.task.await.expect("the healthy plugin delivered");
        let highest = self.highest.load(Ordering::Relaxed);
        let growth = highest.saturating_sub(self.before);
        println!(
            "{delivered} deliveries, at worst in {slowest:?}; {growth} bytes more memory in {}",
            self.pid
        );
        assert!(slowest < LATENCY_MAX, "a record took {slowest:?} through a healthy plugin");
        assert!(growth < GROWTH_MAX, "the broker's memory grew from {} to {highest} bytes", self.before);
    }
}

/// Sends one record after the other through the healthy plugin; returns how many and the longest time.
async fn watch(client: &Client, stop: &AtomicBool, pid: u32, highest: &AtomicU64) -> (usize, Duration) {
    let producer = client.producer().build().await.unwrap();
    let mut consumer = client.consumer().build();
    consumer.assign_topic("healthy.out", StartAt::End).await.unwrap();
    let (mut delivered, mut slowest) = (0, Duration::ZERO);
    loop {
        let value = format!("record {delivered}");
        let sent = Instant::now();
        let record = Record::value(&value).with_key(&value);
        producer.send("healthy.in", record).await.unwrap().await.unwrap();
        let found = tokio::time::timeout(PATIENCE, consumer.next_record()).await;
        let found = found.expect("a record comes through the healthy plugin").unwrap().unwrap();
        assert_eq!(text(&found), value);
        delivered += 1;
        slowest = slowest.max(sent.elapsed());
        if pid != 0 {
            let resident = millrace_test_harness::resident_bytes(pid).unwrap_or_default();
            highest.fetch_max(resident, Ordering::Relaxed);
        }
        if stop.load(Ordering::Relaxed) && delivered >= 20 {
            return (delivered, slowest);
        }
    }
}
