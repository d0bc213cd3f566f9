//! A broker that is alone: quick to start, everything there again after a restart or a crash.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{TUNING, create_topic, registration, topic_names};
use millrace_base::{BrokerId, ProducerId};
use millrace_metadata::{
    Command, Metadata, MetadataOptions, NoPeers, NodeError, Outcome, RaftRpc, ReadyError, Rejection,
    StartError, SubmitError, VoterSet,
};
use millrace_test_wait::{a_while, eventually_async};

fn options(dir: &std::path::Path) -> MetadataOptions {
    MetadataOptions::single(dir.to_owned(), registration(1))
}

async fn start(options: MetadataOptions) -> Result<Metadata, StartError> {
    Metadata::start(options, Arc::new(NoPeers)).await
}

async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), holds).await.expect(what);
}

#[tokio::test]
async fn a_started_broker_is_leader_and_registered_and_its_cluster_has_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let metadata = start(options(dir.path())).await.unwrap();
    let took = began.elapsed();
    println!("an empty directory became a cluster in {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    metadata.ready().await.unwrap();
    let image = metadata.image();
    assert_eq!(image.cluster_id().len(), 22);
    assert_eq!(image.broker(BrokerId(1)).unwrap().registration, registration(1));
    assert_eq!(metadata.controller(), Some(BrokerId(1)));
    assert_eq!(metadata.failure(), None);
    metadata.shutdown().await;
}

#[tokio::test]
async fn an_outcome_is_in_the_image_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = start(options(dir.path())).await.unwrap();
    let command = create_topic("orders", &[1]);
    metadata.submit(command.clone()).await.unwrap();
    assert!(metadata.image().topic_by_name("orders").is_some());
    let again = metadata.submit(create_topic("orders", &[1])).await;
    assert_eq!(again, Err(SubmitError::Rejected(Rejection::TopicExists { name: "orders".into() })));
    let block = Command::AllocateProducerIds { broker: BrokerId(1), count: 1000 };
    metadata.submit(block.clone()).await.unwrap();
    let before = metadata.image();
    metadata.shutdown().await;

    let began = Instant::now();
    let metadata = start(options(dir.path())).await.unwrap();
    println!("restarted in {:?}", began.elapsed());
    let image = metadata.image();
    assert_eq!(image.cluster_id(), before.cluster_id());
    assert_eq!(image.topic_by_name("orders"), before.topic_by_name("orders"));
    assert!(image.broker(BrokerId(1)).unwrap().epoch > before.broker(BrokerId(1)).unwrap().epoch);
    let outcome = metadata.submit(block).await;
    assert_eq!(outcome, Ok(Outcome::ProducerIds { first: ProducerId(1000), count: 1000 }));
    metadata.shutdown().await;
}

#[tokio::test]
async fn snapshots_bound_the_log_and_a_restart_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let options = || MetadataOptions { tuning: TUNING, ..options(dir.path()) };
    let metadata = start(options()).await.unwrap();
    for i in 0..200 {
        metadata.submit(create_topic(&format!("t-{i}"), &[1])).await.unwrap();
    }
    let names = topic_names(&metadata.image());
    // Snapshots are made beside what is submitted, and the log is shortened after that.
    wait_until("the log leaves its beginning to a snapshot", || metadata.purged_index() > 0).await;
    metadata.shutdown().await;
    assert!(dir.path().join("snapshot").exists());
    let metadata = start(options()).await.unwrap();
    assert_eq!(topic_names(&metadata.image()), names);
    assert_eq!(names.len(), 200);
    metadata.shutdown().await;

    // The log alone is not enough any more, and is not taken for the whole.
    std::fs::remove_file(dir.path().join("snapshot")).unwrap();
    let refused = start(options()).await.err().unwrap();
    assert!(matches!(refused, StartError::Node(NodeError::SnapshotMissing { .. })), "{refused}");
}

#[tokio::test]
async fn commands_submitted_together_are_answered_each() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = start(options(dir.path())).await.unwrap();
    let began = Instant::now();
    let submits = (0..1000).map(|i| {
        let metadata = metadata.clone();
        async move { metadata.submit(create_topic(&format!("t-{}", i % 900), &[1])).await }
    });
    let results = futures::future::join_all(submits).await;
    println!("1000 topics at once took {:?}", began.elapsed());
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 900);
    assert_eq!(metadata.image().topic_count(), 900);
    metadata.shutdown().await;
}

#[tokio::test]
async fn what_does_not_belong_together_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let named = |name: &str| MetadataOptions { cluster_id: Some(name.into()), ..options(dir.path()) };
    let metadata = start(named("one")).await.unwrap();
    let locked = start(named("one")).await.err().unwrap();
    assert!(matches!(locked, StartError::Node(NodeError::Locked { .. })), "{locked}");
    metadata.shutdown().await;
    let wrong = start(named("two")).await.err().unwrap();
    assert!(matches!(wrong, StartError::NotReady(ReadyError::WrongCluster { .. })), "{wrong}");
    let other = MetadataOptions::single(dir.path().to_owned(), registration(2));
    // The node that was just dropped closes its files in the background.
    let foreign = eventually_async("the lock to be free", Duration::from_secs(20), async || {
        let error = start(other.clone()).await.err().unwrap();
        (!matches!(error, StartError::Node(NodeError::Locked { .. }))).then_some(error)
    })
    .await;
    assert!(foreign.to_string().contains("belongs to broker 1"), "{foreign}");
}

/// A crash at any point of the last writes loses none that was acknowledged before them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_torn_at_any_byte_of_its_last_entries_opens_with_all_that_came_before() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("raft.log");
    let metadata = start(options(dir.path())).await.unwrap();
    let mut ends = Vec::new();
    for i in 0..4 {
        metadata.submit(create_topic(&format!("t-{i}"), &[1])).await.unwrap();
        ends.push(common::file_len(&log));
    }
    metadata.shutdown().await;
    let whole = std::fs::read(&log).unwrap();
    for cut in ends[1]..=ends[3] {
        let crashed = tempfile::tempdir().unwrap();
        for file in ["vote", "committed"] {
            std::fs::copy(dir.path().join(file), crashed.path().join(file)).unwrap();
        }
        std::fs::write(crashed.path().join("raft.log"), &whole[..cut as usize]).unwrap();
        let metadata = start(options(crashed.path())).await.unwrap_or_else(|e| panic!("cut at {cut}: {e}"));
        let kept = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(metadata.image().topic_count(), kept, "cut at {cut}");
        metadata.submit(create_topic("after", &[1])).await.unwrap();
        metadata.shutdown().await;
    }
}

/// The handle is used from spawned tasks.
#[tokio::test]
async fn all_that_the_handle_does_can_be_spawned() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let metadata = tokio::spawn(async move { start(options).await.unwrap() }).await.unwrap();
    let used = tokio::spawn(async move {
        metadata.submit(create_topic("a", &[1])).await.unwrap();
        let answer = metadata.handle_peer(RaftRpc::Vote, bytes::Bytes::new()).await;
        assert!(!answer.is_empty(), "what is not understood is answered, too");
        metadata.change_voters(&VoterSet::single(BrokerId(1))).await.unwrap();
        metadata.shutdown().await;
    });
    used.await.unwrap();
}

/// Run by hand, on a quiet machine: `cargo test --release -- --ignored --nocapture idle`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten seconds to measure"]
async fn an_idle_broker_uses_next_to_no_processor_time() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = start(options(dir.path())).await.unwrap();
    let processor_ns = || {
        std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("schedstat")).ok())
            .map(|stat| stat.split(' ').next().unwrap().parse::<u64>().unwrap())
            .sum::<u64>()
    };
    let before = processor_ns();
    a_while(Duration::from_secs(10)).await;
    let used = Duration::from_nanos(processor_ns() - before);
    println!("idle for 10 s: {used:?} of processor time");
    assert!(used < Duration::from_millis(100), "{used:?}");
    metadata.shutdown().await;
}

#[tokio::test]
async fn deployments_survive_a_restart_from_the_log_and_from_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let options = || MetadataOptions { tuning: TUNING, ..options(dir.path()) };
    let put = |topic: &str, created_ms| {
        let module = "0".repeat(64);
        let json = format!(r#"{{"module":"{module}","kind":"partitioner","topic":"{topic}"}}"#);
        let definition = serde_json::from_str(&json).unwrap();
        Command::PutDeployment { name: "route".into(), definition, created_ms }
    };
    let metadata = start(options()).await.unwrap();
    for version in 1..=2 {
        let outcome = metadata.submit(put("in", i64::from(version))).await;
        assert_eq!(outcome, Ok(Outcome::DeploymentPut { version }));
    }
    let before = metadata.image().deployment("route").cloned();
    metadata.shutdown().await;

    let metadata = start(options()).await.unwrap();
    assert_eq!(metadata.image().deployment("route").cloned(), before, "from the log");
    for i in 0..100 {
        metadata.submit(create_topic(&format!("t-{i}"), &[1])).await.unwrap();
    }
    wait_until("the log leaves its beginning to a snapshot", || metadata.purged_index() > 0).await;
    metadata.shutdown().await;
    let metadata = start(options()).await.unwrap();
    let image = metadata.image();
    assert_eq!(image.deployment("route").cloned(), before, "from the snapshot");
    assert_eq!(image.partitioner("in").map(|name| &**name), Some("route"));
    let outcome = metadata.submit(Command::RollBackDeployment { name: "route".into(), version: None }).await;
    assert_eq!(outcome, Ok(Outcome::DeploymentPut { version: 1 }));
    metadata.shutdown().await;
}
