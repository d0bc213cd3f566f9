//! Transactions: records to many partitions, and offsets of a group, that count together or not at all.
//!
//! Version 2 (KIP-890): brokers take partitions into a transaction by themselves, and every transaction has an epoch
//! of its own, so that nothing that is late can slip into the next one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use millrace_protocol::messages::{
    ApiKey, EndTxnRequest, EndTxnResponse, GroupId, ProducerId, TopicName, TransactionalId,
    TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use millrace_protocol::{ErrorCode, StrBytes};

use crate::cluster::Coordinated;
use crate::error::{RequestError, SendError, TransactionError, check};
use crate::group::{CommitOffset, GroupMetadata};
use crate::producer::core::Identity;
use crate::producer::standing::Standing;
use crate::producer::{BatchDelivery, Delivery, Producer, Record, Shared};

/// Pause while the coordinator still ends the transaction before.
const CONCURRENT_PAUSE: Duration = Duration::from_millis(20);

/// An open transaction. One that is dropped is aborted when the next begins, or by the coordinator when its time is
/// up.
#[must_use = "a transaction does nothing by itself: commit or abort it"]
pub struct Transaction<'a> {
    producer: &'a Producer,
    standing: Arc<Standing>,
    ended: bool,
}

impl Producer {
    /// Begins a transaction; one is open at a time. Needs [`transactional_id`].
    ///
    /// [`transactional_id`]: crate::ProducerBuilder::transactional_id
    pub async fn transaction(&self) -> Result<Transaction<'_>, TransactionError> {
        let standing = self.shared.standing.clone().ok_or(TransactionError::NotTransactional)?;
        let unsettled = standing.begin()?;
        let transaction = Transaction { producer: self, standing: Arc::clone(&standing), ended: false };
        if unsettled {
            self.shared.drop_batches().await;
            self.shared.identify().await.map_err(|error| transaction.told(error))?;
            standing.settled();
        }
        Ok(transaction)
    }
}

impl Transaction<'_> {
    /// As [`Producer::send`]; the record counts if the transaction is committed.
    pub async fn send(&self, topic: &str, record: Record<'_>) -> Result<Delivery, TransactionError> {
        self.standing.writes()?;
        Ok(self.producer.send(topic, record).await?)
    }

    /// As [`Producer::send_batch`]; the records count if the transaction is committed.
    pub async fn send_batch<'a>(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = Record<'a>>,
    ) -> Result<BatchDelivery, TransactionError> {
        self.standing.writes()?;
        Ok(self.producer.send_batch(topic, records).await?)
    }

    /// Has a group go on at these offsets if the transaction is committed. `member` is the consumer's, from
    /// [`Consumer::group_metadata`]: one that has lost its partitions meanwhile is refused.
    ///
    /// [`Consumer::group_metadata`]: crate::Consumer::group_metadata
    pub async fn send_offsets(
        &self,
        offsets: &[CommitOffset],
        member: &GroupMetadata,
    ) -> Result<(), TransactionError> {
        if offsets.is_empty() {
            return Ok(());
        }
        self.standing.writes()?;
        let shared = &self.producer.shared;
        let identity = shared.identity().ok_or(TransactionError::NotTransactional)?;
        let request = |_| offsets_request(&self.standing.transactional_id, identity, offsets, member);
        let read = |response: TxnOffsetCommitResponse| {
            for topic in &response.topics {
                for one in &topic.partitions {
                    let what =
                        || format!("{}-{} for group '{}'", *topic.name, one.partition_index, member.group);
                    check("TxnOffsetCommit", what, one.error_code, None)?;
                }
            }
            Ok(())
        };
        let of = Coordinated::Group(Arc::clone(&member.group));
        until_settled(shared, || shared.cluster.ask_coordinator(&of, request, read))
            .await
            .map_err(|error| self.told(error))
    }

    /// Waits for all acknowledgements and commits. After an error but a fatal one nothing of the transaction counts,
    /// unless the error says that it may.
    pub async fn commit(mut self) -> Result<(), TransactionError> {
        let standing = Arc::clone(&self.standing);
        let failed = standing.failed.notified();
        if standing.failure().is_none() {
            tokio::select! {
                () = self.producer.flush() => {}
                () = failed => {}
            }
        }
        if let Some(failure) = standing.failure() {
            // What has failed is aborted here, so that the next transaction can begin.
            self.abort_now().await?;
            return Err(failure);
        }
        let outcome = if self.standing.has_written() { self.end(true).await } else { Ok(()) };
        self.ended = true;
        self.standing.end(outcome.is_err());
        outcome.map_err(|error| match error {
            TransactionError::Request(error) if error.is_retriable() => TransactionError::Unknown {
                transactional_id: self.standing.transactional_id.to_string(),
                reason: error.to_string(),
            },
            error => error,
        })
    }

    /// Aborts: nothing of the transaction counts, and records that are not sent yet never are.
    pub async fn abort(mut self) -> Result<(), TransactionError> {
        self.abort_now().await
    }

    async fn abort_now(&mut self) -> Result<(), TransactionError> {
        self.producer.shared.drop_batches().await;
        let outcome = if self.standing.has_written() { self.end(false).await } else { Ok(()) };
        self.ended = true;
        self.standing.end(outcome.is_err());
        outcome
    }

    async fn end(&self, committed: bool) -> Result<(), TransactionError> {
        let shared = &self.producer.shared;
        let identity = shared.identity().ok_or(TransactionError::NotTransactional)?;
        let request = |_| {
            EndTxnRequest::default()
                .with_transactional_id(TransactionalId(text(&self.standing.transactional_id)))
                .with_producer_id(ProducerId(identity.producer_id))
                .with_producer_epoch(identity.epoch)
                .with_committed(committed)
        };
        let read = |response: EndTxnResponse| {
            let what = || format!("transactional id '{}'", self.standing.transactional_id);
            check("EndTxn", what, response.error_code, None)?;
            Ok(Identity { producer_id: response.producer_id.0, epoch: response.producer_epoch })
        };
        let of = Coordinated::Transaction(Arc::clone(&self.standing.transactional_id));
        let next = until_settled(shared, || shared.cluster.ask_coordinator(&of, request, read)).await;
        let next = next.map_err(|error| self.told(error))?;
        shared.set_identity(next);
        Ok(())
    }

    /// The error in the transaction's terms, which it is held to from now on.
    fn told(&self, error: RequestError) -> TransactionError {
        let error = TransactionError::of_request(&self.standing.transactional_id, error);
        self.standing.fail(error.clone());
        error
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.standing.end(true);
        }
    }
}

/// Asks again while the coordinator is at the transaction before, or the group waits for it.
async fn until_settled<T, F>(shared: &Shared, ask: impl Fn() -> F) -> Result<T, RequestError>
where
    F: Future<Output = Result<T, RequestError>>,
{
    let started = Instant::now();
    loop {
        match ask().await {
            Err(error)
                if error.code() == Some(ErrorCode::ConcurrentTransactions.code())
                    && started.elapsed() < shared.cluster.settings.request_timeout =>
            {
                tokio::time::sleep(CONCURRENT_PAUSE).await;
            }
            answer => return answer,
        }
    }
}

fn offsets_request(
    transactional_id: &str,
    identity: Identity,
    offsets: &[CommitOffset],
    member: &GroupMetadata,
) -> TxnOffsetCommitRequest {
    let mut topics: Vec<TxnOffsetCommitRequestTopic> = Vec::new();
    for offset in offsets {
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(offset.partition.partition)
            .with_committed_offset(offset.offset)
            .with_committed_leader_epoch(offset.leader_epoch)
            .with_committed_metadata(Some(text(&offset.metadata)));
        match topics.iter_mut().find(|topic| **topic.name == *offset.partition.topic) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(
                TxnOffsetCommitRequestTopic::default()
                    .with_name(TopicName(text(&offset.partition.topic)))
                    .with_partitions(vec![partition]),
            ),
        }
    }
    TxnOffsetCommitRequest::default()
        .with_transactional_id(TransactionalId(text(transactional_id)))
        .with_group_id(GroupId(text(&member.group)))
        .with_producer_id(ProducerId(identity.producer_id))
        .with_producer_epoch(identity.epoch)
        .with_generation_id(member.generation)
        .with_member_id(text(&member.member_id))
        .with_group_instance_id(member.instance_id.as_deref().map(text))
        .with_topics(topics)
}

impl Shared {
    /// Makes sure that the coordinator speaks version 2.
    pub(crate) async fn check_transaction_version(&self, standing: &Standing) -> Result<(), SendError> {
        let of = Coordinated::Transaction(Arc::clone(&standing.transactional_id));
        let started = Instant::now();
        let broker = loop {
            match self.cluster.coordinator(&of).await {
                Err(error)
                    if error.is_retriable() && started.elapsed() < self.cluster.settings.request_timeout =>
                {
                    tokio::time::sleep(CONCURRENT_PAUSE).await;
                }
                found => break found?,
            }
        };
        let versions = broker.control().await?.versions;
        if versions.transaction_version() < 2 {
            return Err(SendError::Request(RequestError::Unsupported {
                api: "a transaction of version 2 (KIP-890)",
                broker: broker.name().to_owned(),
                range: format!("transaction.version is {} there", versions.transaction_version()),
            }));
        }
        broker.version(&versions, ApiKey::EndTxn as i16)?;
        Ok(())
    }

    /// Fails all that is not stored yet, and waits for what is on its way.
    async fn drop_batches(&self) {
        let mut waiting = Vec::new();
        for topic in self.topics() {
            for partition in &topic.partitions {
                let (unsent, commands) = partition.state.lock().give_up();
                for pending in unsent {
                    self.budget.release(pending.reserved);
                    pending.delivery.complete(Err(SendError::Aborted));
                }
                self.execute(partition, commands, Some(SendError::Aborted));
                waiting.extend(partition.state.lock().flush());
            }
        }
        for batch in waiting {
            batch.resolved().await;
        }
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
