//! Requests about transactions, each decided by its [rule](super::rules) on the state of the partition that the
//! transactional id belongs to.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use millrace_base::{Clock, TopicPartition};
use millrace_protocol::batch::TransactionResult;

use super::TRANSACTION_TOPIC;
use super::error::TransactionError;
use super::finish::{Finisher, Markers};
use super::machine::{Transactions, record};
use super::propose::propose;
use super::rules::{self, Decision, EndDecided, Initialized};
use super::transaction::{ProducerEpoch, Transaction, TransactionPartitions};
use crate::Partitions;
use crate::state_log::{Proposal, StateLog};
use crate::state_topic::{StateTopic, TopicSpec};

/// What the broker's settings say of transactions.
#[derive(Clone, Debug)]
pub struct TransactionSettings {
    pub max_timeout_ms: i32,
    pub id_expiration: Duration,
    pub timeout_check_interval: Duration,
    pub expiration_check_interval: Duration,
}

/// What the coordinator is made of.
pub struct TransactionParts {
    /// A view that holds nothing back: a leader reads all of its own state.
    pub partitions: Arc<dyn Partitions>,
    pub markers: Arc<dyn Markers>,
    /// Gives a producer id that nobody has.
    pub producer_ids: Arc<dyn Fn() -> BoxFuture<'static, Result<i64, String>> + Send + Sync>,
    pub clock: Arc<dyn Clock>,
    pub settings: TransactionSettings,
}

/// A transaction as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTransaction {
    pub id: String,
    pub transaction: Transaction,
}

/// How long a producer's next transaction waits for the end of its last one before it is told to ask again.
const PATIENCE: Duration = Duration::from_millis(100);

/// See the module's text.
pub struct TransactionCoordinator {
    topic: Arc<StateTopic<Transactions>>,
    parts: TransactionParts,
    finisher: Arc<Finisher>,
}

impl TransactionCoordinator {
    /// Begins with what others have left undone when [`Self::run`] is polled.
    pub fn new(parts: TransactionParts) -> Self {
        let spec = TopicSpec {
            name: TRANSACTION_TOPIC,
            // Kafka's `transaction.state.log.num.partitions`.
            partitions: 50,
            settings: &[("cleanup.policy", "compact"), ("segment.bytes", "104857600")],
        };
        let (partitions, clock) = (Arc::clone(&parts.partitions), Arc::clone(&parts.clock));
        let topic = Arc::new(StateTopic::new(spec, Arc::clone(&partitions), clock));
        let finisher = Finisher::new(Arc::clone(&topic), partitions, Arc::clone(&parts.markers));
        Self { topic, parts, finisher: Arc::new(finisher) }
    }

    /// Ends what is decided, aborts what is overdue and forgets what is unused, until it is dropped. `is_there` tells
    /// whether the topic of the state exists; it is made by the first who has a transaction.
    pub async fn run(&self, is_there: impl Fn() -> bool) {
        let settings = &self.parts.settings;
        let mut since_expiration = Duration::ZERO;
        loop {
            if self.topic.known_logs().is_some() || is_there() {
                if let Err(error) = self.finisher.resume().await {
                    tracing::warn!(%error, "cannot look for transactions to be ended yet");
                }
                self.abort_overdue();
                if since_expiration >= settings.expiration_check_interval {
                    since_expiration = Duration::ZERO;
                    self.forget_unused();
                }
            }
            let interval = settings.timeout_check_interval;
            since_expiration = since_expiration.saturating_add(interval);
            // A partition that is read back may hold what is to be done at once.
            let _ = tokio::time::timeout(interval, self.finisher.changed()).await;
        }
    }

    /// The partition of the state that tells who coordinates the id; makes the topic if there is none.
    pub async fn place_of(&self, id: &str) -> Result<TopicPartition, TransactionError> {
        Ok(self.topic.log_of(id).await?.place())
    }

    /// InitProducerId with a transactional id. `expected` is what a producer that goes on takes itself for.
    pub async fn init_producer(
        &self,
        id: &str,
        timeout_ms: i32,
        expected: Option<ProducerEpoch>,
    ) -> Result<ProducerEpoch, TransactionError> {
        if id.is_empty() {
            return Err(TransactionError::InvalidRequest);
        }
        let max_ms = self.parts.settings.max_timeout_ms;
        if timeout_ms <= 0 || timeout_ms > max_ms {
            return Err(TransactionError::InvalidTransactionTimeout { timeout_ms, max_ms });
        }
        let mut fresh_id = None;
        loop {
            let rule = |known: Option<&Transaction>, now_ms| {
                rules::init(known, timeout_ms, expected, fresh_id, now_ms)
            };
            match self.decide(id, rule).await? {
                Initialized::As(producer) => return Ok(producer),
                Initialized::Aborting => {
                    self.finisher.finish(id);
                    return Err(TransactionError::ConcurrentTransactions);
                }
                Initialized::NeedsProducerId => fresh_id = Some(self.fresh_id().await?),
            }
        }
    }

    /// AddPartitionsToTxn and AddOffsetsToTxn. Who comes before the last transaction has ended waits a little for that.
    pub async fn add_partitions(
        &self,
        id: &str,
        producer: ProducerEpoch,
        partitions: &TransactionPartitions,
        client_version: i16,
    ) -> Result<(), TransactionError> {
        let mut finished = self.finisher.finished();
        let added = async {
            loop {
                finished.borrow_and_update();
                let rule = |known: Option<&Transaction>, now_ms| {
                    rules::add(known, producer, partitions, client_version, now_ms)
                };
                let decided = self.decide(id, rule).await;
                if !matches!(decided, Err(TransactionError::ConcurrentTransactions))
                    || finished.changed().await.is_err()
                {
                    return decided;
                }
            }
        };
        tokio::time::timeout(PATIENCE, added).await.unwrap_or(Err(TransactionError::ConcurrentTransactions))
    }

    /// Whether the producer's open transaction has these partitions.
    pub async fn verify(
        &self,
        id: &str,
        producer: ProducerEpoch,
        partitions: &TransactionPartitions,
    ) -> Result<(), TransactionError> {
        let rule = |known: Option<&Transaction>, _| {
            rules::verify(known, producer, partitions).map(|()| Decision { write: None, reply: () })
        };
        self.decide(id, rule).await
    }

    /// EndTxn: decided when this returns, and done soon. Tells how the producer goes on.
    pub async fn end(
        &self,
        id: &str,
        producer: ProducerEpoch,
        result: TransactionResult,
        client_version: i16,
    ) -> Result<ProducerEpoch, TransactionError> {
        let mut fresh_id = None;
        loop {
            let rule = |known: Option<&Transaction>, now_ms| {
                rules::end(known, producer, result, client_version, fresh_id, now_ms)
            };
            match self.decide(id, rule).await? {
                EndDecided::As(producer) => {
                    self.finisher.finish(id);
                    return Ok(producer);
                }
                EndDecided::NeedsProducerId => fresh_id = Some(self.fresh_id().await?),
            }
        }
    }

    /// DescribeTransactions.
    pub async fn describe(&self, id: &str) -> Result<Transaction, TransactionError> {
        if id.is_empty() {
            return Err(TransactionError::InvalidRequest);
        }
        let log = self.ready_log_of(id).await?;
        let found = log.read(|transactions| transactions.find(id).cloned())?;
        found.ok_or(TransactionError::TransactionalIdNotFound)
    }

    /// ListTransactions: those of the partitions that are led here, as far as `which` says so.
    pub async fn list(
        &self,
        which: impl Fn(&Transaction) -> bool,
    ) -> Result<Vec<ListedTransaction>, TransactionError> {
        let mut listed = Vec::new();
        for log in self.topic.known_logs().iter().flat_map(|logs| logs.iter()) {
            if !log.is_led() {
                continue;
            }
            log.ready().await?;
            log.read(|transactions| {
                let wanted = transactions.iter().filter(|(_, transaction)| which(transaction));
                listed.extend(wanted.map(|(id, transaction)| ListedTransaction {
                    id: id.clone(),
                    transaction: transaction.clone(),
                }));
            })?;
        }
        Ok(listed)
    }

    /// Applies a rule, and gives its answer when what it has written is on all in-sync replicas.
    async fn decide<R: Send + 'static>(
        &self,
        id: &str,
        rule: impl FnOnce(Option<&Transaction>, i64) -> Result<Decision<R>, TransactionError>,
    ) -> Result<R, TransactionError> {
        if id.is_empty() {
            return Err(TransactionError::InvalidRequest);
        }
        let log = self.ready_log_of(id).await?;
        propose(&log, id, rule)?.await?
    }

    async fn ready_log_of(&self, id: &str) -> Result<StateLog<Transactions>, TransactionError> {
        let log = self.topic.log_of(id).await?;
        log.ready().await?;
        Ok(log)
    }

    async fn fresh_id(&self) -> Result<i64, TransactionError> {
        (self.parts.producer_ids)().await.map_err(TransactionError::CoordinatorNotAvailable)
    }

    fn abort_overdue(&self) {
        let now_ms = self.parts.clock.now_ms();
        for (log, id) in self.all(|transaction| transaction.is_overdue(now_ms)) {
            let rule = |known: Option<&Transaction>, now_ms| {
                let overdue = known.filter(|known| known.is_overdue(now_ms));
                Ok(Decision { write: overdue.map(|known| rules::fenced(known, now_ms)), reply: () })
            };
            tracing::info!(transactional_id = id, "a transaction has timed out and is aborted");
            // It is overdue the next time, too.
            if propose(&log, &id, rule).is_ok() {
                self.finisher.finish(&id);
            }
        }
    }

    fn forget_unused(&self) {
        let expiration_ms = i64::try_from(self.parts.settings.id_expiration.as_millis()).unwrap_or(i64::MAX);
        let is_unused = |transaction: &Transaction, now_ms: i64| {
            rules::is_at_rest(transaction) && now_ms.saturating_sub(transaction.updated_ms) >= expiration_ms
        };
        let now_ms = self.parts.clock.now_ms();
        for (log, id) in self.all(|transaction| is_unused(transaction, now_ms)) {
            // It is unused the next time, too.
            let _ = log.propose(|transactions, now_ms| {
                let unused = transactions.find(&id).filter(|known| is_unused(known, now_ms));
                Proposal { records: unused.map(|_| record(&id, None)).into_iter().collect(), reply: () }
            });
        }
    }

    /// The ids that are such, with their logs, of those that are read back here.
    fn all(&self, which: impl Fn(&Transaction) -> bool) -> Vec<(StateLog<Transactions>, String)> {
        let mut found = Vec::new();
        for log in self.topic.known_logs().iter().flat_map(|logs| logs.iter()) {
            let of_log = log.read(|transactions| {
                let such = transactions.iter().filter(|(_, transaction)| which(transaction));
                such.map(|(id, _)| id.clone()).collect::<Vec<_>>()
            });
            found.extend(of_log.unwrap_or_default().into_iter().map(|id| (log.clone(), id)));
        }
        found
    }
}
