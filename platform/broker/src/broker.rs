//! The broker's life: what it is made of, its start, its background tasks and its end.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use millrace_base::{BrokerId, Clock, Monotonic, Random, TopicId};
use millrace_config::BrokerConfig;
use millrace_coordinator::{
    ClassicSettings, CommittedOffsets, ConsumerSettings, GroupCoordinator, GroupParts, GroupSettings,
    TRANSACTION_TOPIC, TopicIds, Topics, TransactionCoordinator, TransactionParts, TransactionSettings,
};
use millrace_log::{Health, LogManager};
use millrace_metadata::{Command, Image, Metadata, SubmitError};
use millrace_protocol::ErrorCode;
use millrace_protocol::plugins::PluginService;
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::fetch_session::FetchSessions;
use crate::handlers::fetch::WAITING_PARTITIONS_MAX;
use crate::local_markers::LocalMarkers;
use crate::local_partitions::LocalPartitions;
use crate::metrics::{Metrics, groups::GroupCollector, log::LogCollector};
use crate::partition_manager::PartitionManager;
use crate::producer_ids::ProducerIds;
use crate::refused_topics::RefusedTopics;
use crate::state::State;

/// What a broker is told at its start, besides its configuration.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    pub node_id: BrokerId,
    /// Where the logs are, as DescribeLogDirs tells it.
    pub data_dir: PathBuf,
    pub config: Arc<BrokerConfig>,
    /// What ids, sessions and placements are drawn from.
    pub random: Random,
    /// What requests and delays are measured in.
    pub time: Monotonic,
}

/// A broker that cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    #[error("register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("begin new leader epochs, since the last process did not close the log: {0}")]
    LeaderEpochs(#[from] SubmitError),
    #[error("open the logs of this broker's partitions: {0}")]
    Partitions(String),
}

/// One broker; serves connections as a [`millrace_transport::Service`].
pub struct Broker {
    pub(crate) state: Arc<State>,
    stop: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Broker {
    /// Brings the local logs in step with the metadata and starts the background tasks. `metadata` has this
    /// broker registered already. If it fails, `log` is not to be closed unless it was before: the next start
    /// would not know that there are leader epochs to begin.
    pub async fn start(
        options: BrokerOptions,
        log: LogManager,
        metadata: Metadata,
        registry: &Registry,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, StartError> {
        let metrics = Arc::new(Metrics::register(registry)?);
        registry.register(Box::new(LogCollector::new(log.clone())?))?;
        let config = options.config;
        // An offset that the crash has freed must not stand for another record of the same epoch: a consumer
        // that read the lost one would take the log for unchanged.
        if !log.was_closed_in_order() {
            metadata.submit(Command::StartLeaderEpochs { broker: options.node_id }).await?;
        }
        let partitions = PartitionManager::new(
            options.node_id,
            config.clone(),
            log.clone(),
            metrics.clone(),
            options.time.clone(),
        );
        partitions
            .catch_up(metadata.image())
            .await
            .map_err(|error| StartError::Partitions(error.to_string()))?;
        let producer_ids = Arc::new(ProducerIds::default());
        let state = Arc::new_cyclic(|state| State {
            groups: groups(state, &config, &metadata, (&clock, &options.time, &options.random)),
            transactions: transactions(state, &config, &clock, (&metadata, options.node_id, &producer_ids)),
            node_id: options.node_id,
            data_dir: options.data_dir,
            sessions: FetchSessions::new(
                config.limits.fetch_sessions as usize,
                options.random.clone(),
                metrics.fetch_sessions.clone(),
                metrics.fetch_session_partitions.clone(),
            ),
            waiting_partitions: Semaphore::new(WAITING_PARTITIONS_MAX),
            codec_turns: Arc::new(Semaphore::new(
                std::thread::available_parallelism().map_or(1, NonZero::get),
            )),
            config,
            log,
            metadata,
            partitions,
            producer_ids: Arc::clone(&producer_ids),
            refused_topics: RefusedTopics::default(),
            metrics,
            clock,
            random: options.random,
            time: options.time,
            draining: AtomicBool::new(false),
            plugins: OnceLock::new(),
        });
        registry.register(Box::new(GroupCollector::new(Arc::downgrade(&state))?))?;
        let (stop, stopped) = watch::channel(false);
        let tasks = vec![
            tokio::spawn(follow_metadata(state.clone(), stopped.clone())),
            tokio::spawn(watch_health(state.clone(), stopped.clone())),
            tokio::spawn(enforce_retention(state.clone(), stopped.clone())),
            tokio::spawn(end_transactions(state.clone(), stopped)),
        ];
        Ok(Arc::new(Self { state, stop, tasks: Mutex::new(tasks) }))
    }

    /// Has `service` answer requests about plugins from now on; until then they are not served. Only the first
    /// that is given is asked.
    pub fn serve_plugins(&self, service: Arc<dyn PluginService>) {
        if self.state.plugins.set(service).is_err() {
            tracing::error!(
                "requests about plugins are answered already: another service for them is left out"
            );
        }
    }

    /// The partitions that this broker leads, for what runs on it.
    pub fn local_partitions(&self) -> LocalPartitions {
        LocalPartitions::new(Arc::downgrade(&self.state))
    }

    /// What groups have committed, for what runs on this broker.
    pub fn committed_offsets(&self) -> Arc<CommittedOffsets> {
        self.state.groups.committed_offsets()
    }

    /// Answers long polls with what there is, those waiting and those to come, so that a listener that is
    /// shut down next has not to wait for them.
    pub fn drain(&self) {
        self.state.groups.stop();
        self.state.draining.store(true, Ordering::Release);
        self.state.partitions.wake_fetches();
    }

    /// Stops the background tasks and answers everything that waits. To be called after the listener has
    /// stopped; log and metadata stay open and are the caller's to close.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        self.state.groups.stop();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a background task of the broker failed");
            }
        }
        self.state.partitions.stop();
    }
}

/// The groups' coordinator, on the partitions of the broker that is being made.
fn groups(
    state: &Weak<State>,
    config: &BrokerConfig,
    metadata: &Metadata,
    (clock, time, random): (&Arc<dyn Clock>, &Monotonic, &Random),
) -> GroupCoordinator {
    let groups = &config.groups;
    let partitions = Arc::new(LocalPartitions::of_state(state.clone()));
    GroupCoordinator::new(GroupParts {
        offsets: Arc::new(CommittedOffsets::new(partitions, Arc::clone(clock))),
        settings: GroupSettings {
            classic: ClassicSettings {
                session_timeout_min: groups.session_timeout_min,
                session_timeout_max: groups.session_timeout_max,
                initial_rebalance_delay: groups.initial_rebalance_delay,
                members_max: groups.max_size as usize,
            },
            consumer: ConsumerSettings {
                session_timeout: groups.consumer_session_timeout,
                heartbeat_interval: groups.consumer_heartbeat_interval,
                members_max: groups.consumer_max_size as usize,
            },
            offset_metadata_bytes_max: groups.offset_metadata_max_bytes as usize,
            offsets_retention: groups.offsets_retention,
            offsets_retention_check: groups.offsets_retention_check_interval,
        },
        topics: Arc::new(NamedTopics(metadata.clone())),
        clock: Arc::clone(clock),
        time: time.clone(),
        random: random.clone(),
    })
}

/// The transactions' coordinator, likewise.
fn transactions(
    state: &Weak<State>,
    config: &BrokerConfig,
    clock: &Arc<dyn Clock>,
    (metadata, node_id, producer_ids): (&Metadata, BrokerId, &Arc<ProducerIds>),
) -> TransactionCoordinator {
    let transactions = &config.transactions;
    let (metadata, producer_ids) = (metadata.clone(), Arc::clone(producer_ids));
    TransactionCoordinator::new(TransactionParts {
        partitions: Arc::new(LocalPartitions::of_state(state.clone())),
        markers: Arc::new(LocalMarkers(state.clone())),
        producer_ids: Arc::new(move || {
            let (metadata, producer_ids) = (metadata.clone(), Arc::clone(&producer_ids));
            Box::pin(async move {
                let next = producer_ids.next(&metadata, node_id).await;
                next.map(|id| id.0).map_err(|error| format!("reserve producer ids: {error}"))
            })
        }),
        clock: Arc::clone(clock),
        settings: TransactionSettings {
            max_timeout_ms: i32::try_from(transactions.max_timeout.as_millis()).unwrap_or(i32::MAX),
            id_expiration: transactions.id_expiration,
            timeout_check_interval: transactions.timeout_check_interval,
            expiration_check_interval: transactions.id_expiration_check_interval,
        },
    })
}

/// Ends what was decided before and what nobody ends.
async fn end_transactions(state: Arc<State>, mut stopped: watch::Receiver<bool>) {
    let has_topic = || state.metadata.image().topic_by_name(TRANSACTION_TOPIC).is_some();
    tokio::select! {
        () = state.transactions.run(has_topic) => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

/// Topics by their names, as the metadata have them.
struct NamedTopics(Metadata);

impl TopicIds for NamedTopics {
    fn id_of(&self, topic: &str) -> Option<TopicId> {
        self.0.image().topic_by_name(topic).map(|topic| topic.id)
    }

    fn now(&self) -> Arc<dyn Topics> {
        Arc::new(TopicsNow(self.0.image()))
    }
}

struct TopicsNow(Arc<Image>);

impl Topics for TopicsNow {
    fn find(&self, name: &str) -> Option<(TopicId, i32)> {
        self.0.topic_by_name(name).map(|topic| (topic.id, topic.partition_count()))
    }

    fn names(&self) -> Vec<String> {
        self.0.topics().map(|topic| topic.name.to_string()).collect()
    }

    fn version(&self) -> u64 {
        self.0.applied_index()
    }
}

/// Applies each new metadata image to the local partitions.
async fn follow_metadata(state: Arc<State>, mut stopped: watch::Receiver<bool>) {
    const RETRY_MIN: Duration = Duration::from_secs(1);
    const RETRY_MAX: Duration = Duration::from_secs(60);
    let mut images = state.metadata.watch();
    loop {
        tokio::select! {
            changed = images.changed() => if changed.is_err() { return },
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        let mut retry = RETRY_MIN;
        while let Err(error) = state.partitions.catch_up(state.metadata.image()).await {
            tracing::error!(%error, ?retry, "cannot apply the metadata to this broker's logs, trying again");
            tokio::select! {
                () = tokio::time::sleep(retry) => {}
                _ = stopped.wait_for(|stop| *stop) => return,
            }
            retry = RETRY_MAX.min(retry * 2);
        }
    }
}

/// Looks after the log: says when it stops taking records and when it takes them again, and tells producers
/// that wait for a failed one, which will not acknowledge them any more.
async fn watch_health(state: Arc<State>, mut stopped: watch::Receiver<bool>) {
    const INTERVAL: Duration = Duration::from_millis(500);
    let mut before = Health::Ok;
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        let health = state.log.health();
        if let Health::Failed(_) = &health {
            state.partitions.fail_acks(ErrorCode::KafkaStorageError);
        }
        if health == before {
            continue;
        }
        match &health {
            Health::Ok => tracing::info!("the log takes records again"),
            Health::Stalled(reason) => tracing::error!(
                dir = %state.data_dir.display(), reason,
                "the log waits for this to pass; records are taken again as soon as it has"
            ),
            Health::Failed(reason) => tracing::error!(
                dir = %state.data_dir.display(), reason,
                "the log has failed and takes no more records: check the disk, then restart the broker"
            ),
        }
        before = health;
    }
}

/// How often retention is looked after while the log waits for room.
const RETENTION_WHEN_STALLED: Duration = Duration::from_secs(2);

/// Drops segments that retention no longer keeps, from time to time.
async fn enforce_retention(state: Arc<State>, mut stopped: watch::Receiver<bool>) {
    let mut ticks =
        tokio::time::interval(state.config.log.retention_check_interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        // On a full disk what retention removes is waited for, and so is a retention that was lowered for it.
        let early = async {
            while {
                tokio::time::sleep(RETENTION_WHEN_STALLED).await;
                !matches!(state.log.health(), Health::Stalled(_))
            } {}
        };
        tokio::select! {
            _ = ticks.tick() => {}
            () = early => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        let log = state.log.clone();
        match tokio::task::spawn_blocking(move || log.enforce_retention()).await {
            Ok(report) if report.segments > 0 => {
                tracing::info!(
                    segments = report.segments,
                    bytes = report.bytes,
                    "retention removed old records"
                );
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "retention failed"),
        }
    }
}
