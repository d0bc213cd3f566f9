//! Answers producers who ask a topic's partitioner where their records belong.
//!
//! A partitioner keeps nothing between batches, so that any of a few instances serves any producer. Who comes
//! when all of them are busy waits a bounded time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_base::limits::BATCH_BYTES_MAX;
use millrace_metadata::{Deployment, Metadata};
use millrace_plugin_host::{Call, Failure, Kind, Partitioner, PluginHost};
use millrace_protocol::batch::{Batch, BatchError};
use millrace_protocol::plugins::{ErrorKind, PartitionRecords, PluginError};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::spec::{GrantSource, spec};
use crate::{DeploymentMetrics, PluginMetrics};

/// Where the plugin host comes from: it is made for the first who asks.
pub type HostSource = Arc<dyn Fn() -> Result<PluginHost, PluginError> + Send + Sync>;

/// Instances of one partitioner at one time: enough for all processors of a large broker at microseconds a
/// batch, and few enough that a slow one does not take all instances of the host.
const INSTANCES_MAX: usize = 4;

/// How long a producer waits for an instance; below its own request's timeout.
const INSTANCE_WAIT: Duration = Duration::from_secs(10);

/// Records of one request; their answer has four bytes each.
const RECORDS_MAX: i32 = 100_000;

/// See the module's text.
pub struct Partitioners {
    metadata: Metadata,
    host: HostSource,
    grant_source: Arc<GrantSource>,
    metrics: PluginMetrics,
    /// Where plugins run, apart from the broker's requests.
    runtime: Handle,
    pools: Mutex<HashMap<Arc<str>, Arc<Pool>>>,
}

/// The instances of one version of a deployment.
struct Pool {
    created: u64,
    version: u32,
    deployment: Arc<millrace_plugin_host::Deployment>,
    metrics: Arc<DeploymentMetrics>,
    free: Semaphore,
    idle: Mutex<Vec<(Worker, Instant)>>,
}

/// A partitioner that counts its instance while it has one.
struct Worker {
    partitioner: Partitioner,
    metrics: Arc<DeploymentMetrics>,
    counted: bool,
}

impl Worker {
    fn count(&mut self) {
        let live = self.partitioner.is_live();
        self.metrics.change_instances(i64::from(live) - i64::from(self.counted));
        self.counted = live;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.metrics.change_instances(-i64::from(self.counted));
    }
}

impl Partitioners {
    pub fn new(
        metadata: Metadata,
        host: HostSource,
        grant_source: Arc<GrantSource>,
        metrics: PluginMetrics,
        runtime: Handle,
    ) -> Self {
        Self { metadata, host, grant_source, metrics, runtime, pools: Mutex::default() }
    }

    /// A partition for each record, by the partitioner of their topic.
    pub async fn partition(&self, request: PartitionRecords) -> Result<Vec<u32>, PluginError> {
        let pool = self.pool(&request.topic)?;
        let partitions = request.partitions;
        let work = async move {
            let batch = check(request)?;
            pool.partition(&batch, partitions).await
        };
        let done = self.runtime.spawn(work).await;
        done.map_err(|error| PluginError::unavailable(format!("run the partitioner: {error}")))?
    }

    /// Gives back the instances that nobody has used for `idle`.
    pub fn release_idle(&self, idle: Duration) {
        let now = Instant::now();
        let mut pools = self.pools.lock();
        pools.retain(|_, pool| {
            let mut workers = pool.idle.lock();
            workers.retain(|(_, used)| now.saturating_duration_since(*used) < idle);
            !workers.is_empty() || Arc::strong_count(pool) > 1
        });
    }

    /// The instances of the topic's partitioner, as it is deployed now.
    fn pool(&self, topic: &str) -> Result<Arc<Pool>, PluginError> {
        let image = self.metadata.image();
        let deployment = image.partitioner(topic).and_then(|name| image.deployment(name));
        let deployment = deployment.ok_or_else(|| {
            PluginError::not_found(format!(
                "topic '{topic}' has no partitioner, or its deployment is paused; produce without one, or \
                 deploy a module of that kind for it"
            ))
        })?;
        let mut pools = self.pools.lock();
        if let Some(pool) = pools.get(&deployment.name)
            && pool.is_of(deployment)
        {
            return Ok(Arc::clone(pool));
        }
        let spec = spec(&deployment.name, deployment.version(), None, &self.grant_source)?;
        let pool = Arc::new(Pool {
            created: deployment.created,
            version: deployment.current,
            deployment: (self.host)()?.deployment(spec),
            metrics: self.metrics.deployment(&deployment.name, Kind::Partitioner),
            free: Semaphore::new(INSTANCES_MAX),
            idle: Mutex::default(),
        });
        // What another version left goes with its last call.
        pools.insert(Arc::clone(&deployment.name), Arc::clone(&pool));
        Ok(pool)
    }
}

impl Pool {
    fn is_of(&self, deployment: &Deployment) -> bool {
        self.created == deployment.created && self.version == deployment.current
    }

    async fn partition(&self, batch: &Batch, partitions: u32) -> Result<Vec<u32>, PluginError> {
        let busy = || {
            PluginError::unavailable(format!(
                "all {INSTANCES_MAX} instances of the partitioner '{}' were busy for {} seconds; try again",
                self.deployment.spec().name,
                INSTANCE_WAIT.as_secs()
            ))
        };
        let permit = tokio::time::timeout(INSTANCE_WAIT, self.free.acquire()).await;
        let permit = permit.ok().and_then(Result::ok).ok_or_else(busy)?;
        let kept = self.idle.lock().pop().map(|(worker, _)| worker);
        let mut worker = kept.unwrap_or_else(|| Worker {
            partitioner: Partitioner::new(Arc::clone(&self.deployment)),
            metrics: Arc::clone(&self.metrics),
            counted: false,
        });
        let Call { result, usage } = worker.partitioner.partition(batch, partitions).await;
        worker.count();
        self.metrics.call(&usage, u64::try_from(batch.header.record_count).unwrap_or(0));
        if worker.partitioner.is_live() {
            self.idle.lock().push((worker, Instant::now()));
        }
        drop(permit);
        result.map_err(|failure| {
            self.metrics.error();
            failed(&self.deployment.spec().name, &failure)
        })
    }
}

/// The batch, if it may be given to a plugin.
fn check(request: PartitionRecords) -> Result<Batch, PluginError> {
    let refused = |error: BatchError| PluginError::invalid(format!("the record batch is refused: {error}"));
    if request.partitions == 0 {
        return Err(PluginError::invalid("a topic has at least one partition, and the request says 0"));
    }
    if request.batch.len() > BATCH_BYTES_MAX {
        return Err(PluginError::invalid(format!(
            "the record batch has {} bytes, over the limit of {BATCH_BYTES_MAX}; send fewer records at once",
            request.batch.len()
        )));
    }
    let batch = Batch::parse(request.batch).map_err(refused)?;
    batch.verify().map_err(refused)?;
    if batch.header.record_count > RECORDS_MAX {
        return Err(PluginError::invalid(format!(
            "the record batch has {} records, over the limit of {RECORDS_MAX}; send fewer at once",
            batch.header.record_count
        )));
    }
    Ok(batch)
}

fn failed(name: &str, failure: &Failure) -> PluginError {
    let backtrace = failure.backtrace().map_or_else(String::new, |frames| format!("\n{frames}"));
    let kind = match failure {
        Failure::Input(_) => ErrorKind::Invalid,
        failure if failure.is_passing() => ErrorKind::Unavailable,
        _ => ErrorKind::Failed,
    };
    PluginError::new(kind, format!("partitioner '{name}': {failure}{backtrace}"))
}

#[cfg(test)]
mod tests {
    use millrace_metadata::Command;
    use millrace_protocol::plugins::Definition;
    use serde_json::json;

    use super::*;
    use crate::testing::guests::{ROUND_ROBIN, guest, module};
    use crate::testing::{TestCluster, TestHost, batch_of};

    struct Bench {
        cluster: TestCluster,
        host: TestHost,
        partitioners: Partitioners,
    }

    impl Bench {
        async fn start() -> Self {
            let cluster = TestCluster::start().await;
            cluster.topic("orders", 3).await;
            let host = TestHost::new(&cluster);
            let metrics = PluginMetrics::register(&prometheus::Registry::new()).unwrap();
            let partitioners = Partitioners::new(
                cluster.metadata.clone(),
                host.source(),
                Arc::new(GrantSource::new(crate::Secrets::new(cluster.dir.path().join("secrets")))),
                metrics,
                Handle::current(),
            );
            Self { cluster, host, partitioners }
        }

        async fn deploy(&self, bytes: bytes::Bytes) {
            let digest = self.host.store(&bytes).await;
            let definition: Definition =
                serde_json::from_value(json!({"module": digest, "kind": "partitioner", "topic": "orders"}))
                    .unwrap();
            let definition = Box::new(definition);
            let put = Command::PutDeployment { name: "place".into(), definition, created_ms: 1 };
            self.cluster.metadata.submit(put).await.unwrap();
        }

        async fn ask(&self, topic: &str, batch: bytes::Bytes) -> Result<Vec<u32>, PluginError> {
            self.partitioners.partition(PartitionRecords { topic: topic.into(), partitions: 3, batch }).await
        }

        /// Pools, and idle instances in them.
        fn instances(&self) -> (usize, usize) {
            let pools = self.partitioners.pools.lock();
            (pools.len(), pools.values().map(|pool| pool.idle.lock().len()).sum())
        }
    }

    #[tokio::test]
    async fn records_are_placed_by_the_partitioner_of_their_topic() {
        let bench = Bench::start().await;
        let batch = batch_of(1, &["a", "b", "c", "d"]).bytes;
        let missing = bench.ask("orders", batch.clone()).await.unwrap_err();
        assert_eq!(missing.kind, ErrorKind::NotFound);
        bench.deploy(module(ROUND_ROBIN, "partitioner")).await;
        assert_eq!(bench.ask("orders", batch.clone()).await, Ok(vec![0, 1, 2, 0]));
        assert_eq!(bench.ask("orders", batch.clone()).await, Ok(vec![0, 1, 2, 0]));
        assert_eq!(bench.instances(), (1, 1));
        bench.partitioners.release_idle(Duration::from_secs(60));
        assert_eq!(bench.instances(), (1, 1));
        bench.partitioners.release_idle(Duration::ZERO);
        assert_eq!(bench.instances(), (0, 0));
        // A paused one is as good as none.
        let pause = Command::SetDeploymentPaused { name: "place".into(), paused: true };
        bench.cluster.metadata.submit(pause).await.unwrap();
        assert_eq!(bench.ask("orders", batch).await.unwrap_err().kind, ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_failure_is_the_producers_to_know_and_a_new_version_serves_the_next() {
        let bench = Bench::start().await;
        let batch = batch_of(1, &["a", "b"]).bytes;
        bench.deploy(guest("wrong-partition", "partitioner")).await;
        let failed = bench.ask("orders", batch.clone()).await.unwrap_err();
        assert_eq!(failed.kind, ErrorKind::Failed);
        assert!(failed.message.contains("'place'") && failed.message.contains("malformed"), "{failed}");
        bench.deploy(module(ROUND_ROBIN, "partitioner")).await;
        assert_eq!(bench.ask("orders", batch).await, Ok(vec![0, 1]));
        assert_eq!(bench.instances(), (1, 1));
    }

    #[tokio::test]
    async fn what_is_no_batch_reaches_no_plugin() {
        let bench = Bench::start().await;
        bench.deploy(module(ROUND_ROBIN, "partitioner")).await;
        let mut damaged = batch_of(1, &["a"]).bytes.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        for batch in [Vec::new(), b"nonsense".to_vec(), damaged] {
            assert_eq!(bench.ask("orders", batch.into()).await.unwrap_err().kind, ErrorKind::Invalid);
        }
        let many = batch_of(1, &vec![""; usize::try_from(RECORDS_MAX).unwrap() + 1]).bytes;
        assert!(bench.ask("orders", many).await.unwrap_err().message.contains("100001 records"));
        assert_eq!(bench.instances().1, 0);
    }
}
