//! The service before real metadata and a real host; only the work itself stands still.

use millrace_base::SystemClock;
use millrace_protocol::plugins::{Definition, DeploymentState, Description};
use prometheus::Registry;
use serde_json::json;
use tokio::runtime::Handle;

use super::*;
use crate::spec::GrantSource;
use crate::testing::guests::{ROUND_ROBIN, guest, module};
use crate::testing::{TestCluster, TestHost};
use crate::{PluginMetrics, Secrets};

/// Work that stands still where a test has put it.
#[derive(Default)]
struct Standing(Vec<PartitionProgress>);

impl Progress for Standing {
    fn partitions(&self, _: &str) -> Vec<PartitionProgress> {
        self.0.clone()
    }

    fn replay(&self, _: &str) -> Vec<PartitionProgress> {
        self.0.clone()
    }

    fn established<'a>(&'a self, _: &'a str, _: u64) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

struct Bench {
    cluster: TestCluster,
    host: TestHost,
    service: Service,
}

impl Bench {
    async fn start(progress: Vec<PartitionProgress>) -> Self {
        let cluster = TestCluster::start().await;
        for topic in ["in", "out", "dead"] {
            cluster.topic(topic, 2).await;
        }
        let host = TestHost::new(&cluster);
        let metadata = cluster.metadata.clone();
        let grant_source = Arc::new(GrantSource::new(Secrets::new(cluster.dir.path().join("secrets"))));
        let metrics = PluginMetrics::register(&Registry::new()).unwrap();
        let partitioners = Arc::new(Partitioners::new(
            metadata.clone(),
            host.source(),
            Arc::clone(&grant_source),
            metrics,
            Handle::current(),
        ));
        let service = Service::new(ServiceParts {
            metadata,
            partitions: Arc::new(cluster.partitions.clone()),
            modules: host.modules.clone(),
            host: host.source(),
            grant_source,
            partitioners,
            progress: Arc::new(Standing(progress)),
            clock: Arc::new(SystemClock),
        });
        Self { cluster, host, service }
    }

    async fn deploy(&self, definition: serde_json::Value) -> Result<Description, PluginError> {
        let definition: Box<Definition> = serde_json::from_value(definition).unwrap();
        let deploy = ManageRequest::Deploy { name: "d".into(), definition, validate_only: false };
        described(self.service.manage(deploy).await)
    }
}

fn described(reply: Result<ManageReply, PluginError>) -> Result<Description, PluginError> {
    match reply? {
        ManageReply::Deployment(description) => Ok(*description),
        other => panic!("{other:?}"),
    }
}

fn name() -> String {
    "d".to_owned()
}

#[tokio::test]
async fn a_deployment_lives_from_upload_to_removal() {
    let bench = Bench::start(vec![]).await;
    let sink = bench.host.store(&guest("sink", "sink")).await;
    let definition = json!({
        "module": sink, "kind": "sink", "topic": "in", "grants": {"secrets": {"token": "hunter2"}},
    });
    let first = bench.deploy(definition.clone()).await.unwrap();
    assert_eq!((first.version, first.state, first.group.as_str()), (1, DeploymentState::Running, "plugin.d"));
    assert!(!serde_json::to_string(&first).unwrap().contains("hunter2"));
    for file in std::fs::read_dir(bench.cluster.dir.path().join("metadata")).unwrap() {
        let (path, needle) = (file.unwrap().path(), b"hunter2");
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(needle.len()).any(|found| found == needle), "{}", path.display());
    }
    assert_eq!(bench.deploy(definition.clone()).await.unwrap().version, 2);

    let definition: Box<Definition> = serde_json::from_value(definition).unwrap();
    let trial = ManageRequest::Deploy { name: name(), definition, validate_only: true };
    assert_eq!(described(bench.service.manage(trial).await).unwrap().version, 3);
    let rollback = ManageRequest::Rollback { name: name(), version: None };
    assert_eq!(described(bench.service.manage(rollback).await).unwrap().version, 1);
    let pause = described(bench.service.manage(ManageRequest::Pause { name: name() }).await).unwrap();
    assert_eq!(pause.state, DeploymentState::Paused);

    assert_eq!(bench.service.manage(ManageRequest::Delete { name: name() }).await, Ok(ManageReply::Deleted));
    let gone = bench.service.manage(ManageRequest::Describe { name: name() }).await.unwrap_err();
    assert_eq!(gone.kind, ErrorKind::NotFound);
    assert_eq!(bench.host.modules.info(sink).await, Ok(None));
}

#[tokio::test]
async fn what_could_not_be_run_is_not_deployed() {
    let bench = Bench::start(vec![]).await;
    let sink = bench.host.store(&guest("sink", "sink")).await;
    let place = bench.host.store(&module(ROUND_ROBIN, "partitioner")).await;
    let missing = ModuleDigest::of(b"never uploaded");
    for (definition, kind, message) in [
        (json!({"module": sink, "kind": "sink", "topic": "no"}), ErrorKind::NotFound, "topic create no"),
        (json!({"module": missing, "kind": "sink", "topic": "in"}), ErrorKind::NotFound, "upload it first"),
        (json!({"module": place, "kind": "sink", "topic": "in"}), ErrorKind::Invalid, "is a partitioner"),
        (
            json!({"module": sink, "kind": "transform", "topic": "in", "outputs": ["__plugin_logs"]}),
            ErrorKind::Invalid,
            "belongs to the platform",
        ),
    ] {
        let refused = bench.deploy(definition).await.unwrap_err();
        assert!(refused.kind == kind && refused.message.contains(message), "{refused:?}");
    }
    assert_eq!(bench.cluster.metadata.image().deployment_count(), 0);
}

#[tokio::test]
async fn a_replay_ends_where_its_topic_did_and_one_follows_the_other() {
    let stands = PartitionProgress {
        partition: 0,
        state: millrace_protocol::plugins::PartitionState::Halted,
        offset: Some(1),
        end_offset: 3,
        error: None,
        backtrace: None,
    };
    let bench = Bench::start(vec![stands]).await;
    let sink = bench.host.store(&guest("sink", "sink")).await;
    let definition = json!({
        "module": sink, "kind": "sink", "topic": "in", "failure": {"dead-letter": {"topic": "dead"}},
    });
    assert_eq!(bench.deploy(definition).await.unwrap().state, DeploymentState::Halted);
    bench.cluster.partitions.produce(bench.cluster.partitions.partition("dead", 1), &["a", "b"]);
    let replay = || ManageRequest::Replay { name: name(), topic: None };
    let replayed = described(bench.service.manage(replay()).await).unwrap().replay.unwrap();
    assert_eq!((replayed.topic.as_str(), replayed.until), ("dead", vec![0, 2]));
    let refused = bench.service.manage(replay()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Conflict);
    let ManageReply::Deployments(list) = bench.service.manage(ManageRequest::List).await.unwrap() else {
        panic!("a list")
    };
    assert_eq!((list.len(), list[0].lag), (1, 2));
}
