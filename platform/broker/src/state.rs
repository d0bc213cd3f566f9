//! What all requests share.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use millrace_base::{BrokerId, Clock, Monotonic, Random};
use millrace_config::{BrokerConfig, TopicDefaults};
use millrace_coordinator::{GroupCoordinator, TransactionCoordinator};
use millrace_log::LogManager;
use millrace_metadata::{Image, Metadata};
use millrace_protocol::plugins::PluginService;
use tokio::sync::Semaphore;

use crate::fetch_session::FetchSessions;
use crate::metrics::Metrics;
use crate::partition_manager::PartitionManager;
use crate::producer_ids::ProducerIds;
use crate::refused_topics::RefusedTopics;
use crate::topic_defaults::topic_defaults;

/// Everything that handlers share.
pub(crate) struct State {
    pub(crate) node_id: BrokerId,
    pub(crate) data_dir: PathBuf,
    pub(crate) config: Arc<BrokerConfig>,
    pub(crate) log: LogManager,
    pub(crate) metadata: Metadata,
    pub(crate) partitions: PartitionManager,
    pub(crate) sessions: FetchSessions,
    /// Room for the partitions of fetches that wait.
    pub(crate) waiting_partitions: Semaphore,
    /// Who has one may expand or compress much: as many at a time as there are processors, since each holds a
    /// codec's window.
    pub(crate) codec_turns: Arc<Semaphore>,
    pub(crate) producer_ids: Arc<ProducerIds>,
    pub(crate) refused_topics: RefusedTopics,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) groups: GroupCoordinator,
    pub(crate) transactions: TransactionCoordinator,
    pub(crate) random: Random,
    pub(crate) time: Monotonic,
    /// Long polls are over: the broker is about to stop.
    pub(crate) draining: AtomicBool,
    /// Who answers requests about plugins, if this broker has any.
    pub(crate) plugins: OnceLock<Arc<dyn PluginService>>,
}

impl State {
    /// What topics of this broker have when they do not say, as of `image`.
    pub(crate) fn topic_defaults(&self, image: &Image) -> TopicDefaults {
        topic_defaults(&self.config, self.node_id, image)
    }
}
