//! Transactions: which there are, what they hold up, and ending those that nobody ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_protocol::messages::describe_producers_request::TopicRequest;
use millrace_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use millrace_protocol::messages::{
    DescribeProducersRequest, DescribeTransactionsRequest, DescribeTransactionsResponse,
    InitProducerIdRequest, InitProducerIdResponse, ListTransactionsRequest, ProducerId, TransactionalId,
    WriteTxnMarkersRequest,
};

use super::{Admin, only, text, topic_name};
use crate::cluster::Coordinated;
use crate::error::{RequestError, check};
use crate::group::TopicPartition;

/// How long a transaction of the producer that only ends another may take: it makes none.
const FENCING_TIMEOUT_MS: i32 = 60_000;

/// One line of a list of transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionListing {
    pub transactional_id: String,
    pub producer_id: i64,
    /// `Ongoing`, `Empty` or another of Kafka's states.
    pub state: String,
    /// The broker that coordinates it.
    pub coordinator: i32,
}

/// A transactional id as its coordinator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionInfo {
    pub transactional_id: String,
    pub coordinator: i32,
    pub state: String,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub timeout_ms: i32,
    /// Milliseconds since the Unix epoch; None while no transaction is open.
    pub started_at: Option<i64>,
    pub partitions: Vec<TopicPartition>,
}

/// A producer that has written to a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerInfo {
    pub producer_id: i64,
    pub producer_epoch: i32,
    pub last_sequence: i32,
    /// Milliseconds since the Unix epoch; -1 where it is not known.
    pub last_timestamp: i64,
    pub coordinator_epoch: i32,
    /// The first record of its open transaction here.
    pub transaction_start: Option<i64>,
}

impl Admin {
    /// The transactional ids of all brokers, by name; `states` by Kafka's names, all if there is none.
    pub async fn list_transactions(&self, states: &[&str]) -> Result<Vec<TransactionListing>, RequestError> {
        let mut listed = BTreeMap::new();
        for broker in self.every_broker().await? {
            let states = states.iter().map(|state| text(state)).collect();
            let request = |version: i16| {
                let request = ListTransactionsRequest::default().with_state_filters(states);
                if version >= 1 { request.with_duration_filter(-1) } else { request }
            };
            let response = broker.request_with(request).await?;
            check("ListTransactions", || broker.name().to_owned(), response.error_code, None)?;
            for state in response.transaction_states {
                let listing = TransactionListing {
                    transactional_id: state.transactional_id.to_string(),
                    producer_id: state.producer_id.0,
                    state: state.transaction_state.to_string(),
                    coordinator: self.id_of(&broker),
                };
                listed.insert(listing.transactional_id.clone(), listing);
            }
        }
        Ok(listed.into_values().collect())
    }

    pub async fn describe_transaction(
        &self,
        transactional_id: &str,
    ) -> Result<TransactionInfo, RequestError> {
        let of = Coordinated::Transaction(Arc::from(transactional_id));
        let request = |_| {
            DescribeTransactionsRequest::default()
                .with_transactional_ids(vec![TransactionalId(text(transactional_id))])
        };
        let read = |response: DescribeTransactionsResponse| {
            let found = only("DescribeTransactions", &response.transaction_states)?;
            check("DescribeTransactions", || named(transactional_id), found.error_code, None)?;
            let partitions = found.topics.iter().flat_map(|topic| {
                let name: Arc<str> = Arc::from(&**topic.topic);
                topic.partitions.iter().map(move |index| TopicPartition::new(Arc::clone(&name), *index))
            });
            Ok(TransactionInfo {
                transactional_id: found.transactional_id.to_string(),
                coordinator: -1,
                state: found.transaction_state.to_string(),
                producer_id: found.producer_id.0,
                producer_epoch: found.producer_epoch,
                timeout_ms: found.transaction_timeout_ms,
                started_at: Some(found.transaction_start_time_ms).filter(|at| *at >= 0),
                partitions: partitions.collect(),
            })
        };
        let mut info = self.cluster().ask_coordinator(&of, request, read).await?;
        info.coordinator = self.id_of(&*self.cluster().coordinator(&of).await?);
        Ok(info)
    }

    /// Aborts what the transactional id has open and fences its producer, as a new producer of this id would.
    pub async fn fence_producer(&self, transactional_id: &str) -> Result<(), RequestError> {
        let request = |_| {
            InitProducerIdRequest::default()
                .with_transactional_id(Some(TransactionalId(text(transactional_id))))
                .with_transaction_timeout_ms(FENCING_TIMEOUT_MS)
                .with_producer_id(ProducerId(-1))
                .with_producer_epoch(-1)
        };
        let read = |response: InitProducerIdResponse| {
            check("InitProducerId", || named(transactional_id), response.error_code, None)
        };
        let of = Coordinated::Transaction(Arc::from(transactional_id));
        self.cluster().ask_coordinator(&of, request, read).await
    }

    /// The producers that a partition remembers, those with an open transaction among them.
    pub async fn describe_producers(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<Vec<ProducerInfo>, RequestError> {
        let asked =
            TopicRequest::default().with_name(topic_name(topic)).with_partition_indexes(vec![partition]);
        let request = DescribeProducersRequest::default().with_topics(vec![asked]);
        let response = self.cluster().leader(topic, partition).await?.request(request).await?;
        let found = only("DescribeProducers", &only("DescribeProducers", &response.topics)?.partitions)?;
        let what = || format!("{topic}-{partition}");
        check("DescribeProducers", what, found.error_code, found.error_message.as_deref())?;
        let mut producers: Vec<ProducerInfo> = found
            .active_producers
            .iter()
            .map(|producer| ProducerInfo {
                producer_id: producer.producer_id.0,
                producer_epoch: producer.producer_epoch,
                last_sequence: producer.last_sequence,
                last_timestamp: producer.last_timestamp,
                coordinator_epoch: producer.coordinator_epoch,
                transaction_start: Some(producer.current_txn_start_offset).filter(|offset| *offset >= 0),
            })
            .collect();
        producers.sort_by_key(|producer| producer.producer_id);
        Ok(producers)
    }

    /// Writes the abort of a transaction that its coordinator has forgotten, and that holds up the readers of a
    /// partition. Only for such a one: any other is aborted by [`Admin::fence_producer`].
    pub async fn abort_hanging(
        &self,
        topic: &str,
        partition: i32,
        producer: &ProducerInfo,
    ) -> Result<(), RequestError> {
        let wanted = WritableTxnMarkerTopic::default()
            .with_name(topic_name(topic))
            .with_partition_indexes(vec![partition]);
        let marker = WritableTxnMarker::default()
            .with_producer_id(ProducerId(producer.producer_id))
            .with_producer_epoch(i16::try_from(producer.producer_epoch).unwrap_or(-1))
            .with_transaction_result(false)
            .with_topics(vec![wanted])
            .with_coordinator_epoch(producer.coordinator_epoch.max(0));
        let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
        let response = self.cluster().leader(topic, partition).await?.request(request).await?;
        let topics = &only("WriteTxnMarkers", &response.markers)?.topics;
        let result = only("WriteTxnMarkers", &only("WriteTxnMarkers", topics)?.partitions)?;
        check("WriteTxnMarkers", || format!("{topic}-{partition}"), result.error_code, None)
    }
}

fn named(transactional_id: &str) -> String {
    format!("transactional id '{transactional_id}'")
}
