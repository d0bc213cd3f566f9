//! Transactions on the wire, by clients of either transaction version: what committed readers see, fencing, time-outs, and
//! that a broker which is killed ends what it had decided.
#![allow(clippy::unwrap_used, reason = "a test says by a panic what went wrong")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::records::batch_of;
use common::requests::{produce, text, topic_name};
use common::{Client, TestBroker};
use millrace_coordinator::ProducerEpoch;
use millrace_protocol::ErrorCode;
use millrace_protocol::batch::{ProducerState, split_batches};
use millrace_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use millrace_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use millrace_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use millrace_protocol::messages::{
    AddPartitionsToTxnRequest, BrokerId, DescribeTransactionsRequest, EndTxnRequest, FetchRequest,
    InitProducerIdRequest, ListOffsetsRequest, ProducerId, TransactionalId,
};

fn id(name: &str) -> TransactionalId {
    TransactionalId(text(name))
}

/// Asks until the last transaction has ended.
async fn init(client: &mut Client, name: &str) -> ProducerEpoch {
    loop {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(id(name)))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let given = client.call(5, request).await;
        match ErrorCode::try_from_code(given.error_code) {
            None => return ProducerEpoch { id: given.producer_id.0, epoch: given.producer_epoch },
            Some(ErrorCode::ConcurrentTransactions | ErrorCode::CoordinatorLoadInProgress) => {
                tokio::task::yield_now().await;
            }
            Some(error) => panic!("{error:?}"),
        }
    }
}

/// Produces one record in a transaction; the error code.
async fn send(client: &mut Client, version: i16, producer: ProducerEpoch, sequence: i32, value: &str) -> i16 {
    let state = ProducerState {
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        base_sequence: sequence,
        transactional: true,
    };
    let request = produce("t", 0, -1, batch_of(state, &[value]));
    let response = client.call(version, request.with_transactional_id(Some(id("tx")))).await;
    response.responses[0].partition_responses[0].error_code
}

async fn end(
    client: &mut Client,
    version: i16,
    producer: ProducerEpoch,
    committed: bool,
) -> Result<ProducerEpoch, ErrorCode> {
    let request = EndTxnRequest::default()
        .with_transactional_id(id("tx"))
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_committed(committed);
    let ended = client.call(version, request).await;
    match ErrorCode::try_from_code(ended.error_code) {
        None => Ok(ProducerEpoch { id: ended.producer_id.0, epoch: ended.producer_epoch }),
        Some(error) => Err(error),
    }
}

async fn list_end(client: &mut Client, isolation: i8) -> i64 {
    let partition = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(-1);
    let topic = ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(isolation)
        .with_topics(vec![topic]);
    client.call(6, request).await.topics[0].partitions[0].offset
}

async fn stable_end(client: &mut Client) -> i64 {
    list_end(client, 1).await
}

/// Values that a reader of committed records is left with when all below `end` is stable.
async fn committed(client: &mut Client, end: i64) -> Vec<String> {
    while stable_end(client).await < end {
        tokio::task::yield_now().await;
    }
    let partition = FetchPartition::default().with_partition(0).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(topic_name("t")).with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_bytes(1 << 20)
        .with_isolation_level(1)
        .with_topics(vec![topic]);
    let mut response = client.call(11, request).await;
    let found = response.responses[0].partitions.remove(0);
    assert_eq!((found.error_code, found.last_stable_offset), (0, end));
    let aborted = found.aborted_transactions.unwrap();
    let mut values = Vec::new();
    let mut open: Vec<(i64, i64)> = aborted.iter().map(|of| (of.producer_id.0, of.first_offset)).collect();
    for batch in split_batches(found.records.unwrap_or(Bytes::new()), usize::MAX).unwrap() {
        let header = batch.header;
        if header.attributes.is_control() {
            open.retain(|(producer, first)| *producer != header.producer_id || *first > header.base_offset);
            continue;
        }
        let is_aborted = open
            .iter()
            .any(|(producer, first)| *producer == header.producer_id && *first <= header.base_offset);
        if !is_aborted {
            for record in &batch.records(1 << 20).unwrap() {
                values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
            }
        }
    }
    values
}

#[tokio::test]
async fn readers_of_committed_records_see_what_was_committed_by_clients_of_kip_890() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    let first = init(&mut client, "tx").await;
    assert_eq!(send(&mut client, 12, first, 0, "a").await, 0);
    assert_eq!(send(&mut client, 12, first, 1, "b").await, 0);
    assert_eq!(stable_end(&mut client).await, 0, "it is open");
    let second = end(&mut client, 5, first, true).await.unwrap();
    assert_eq!(second, ProducerEpoch { epoch: first.epoch + 1, ..first });
    assert_eq!(committed(&mut client, 3).await, ["a", "b"]);

    // Late, and of the transaction before.
    assert_eq!(send(&mut client, 12, first, 2, "late").await, ErrorCode::InvalidProducerEpoch.code());
    assert_eq!(send(&mut client, 12, second, 0, "c").await, 0);
    let third = end(&mut client, 5, second, false).await.unwrap();
    assert_eq!(committed(&mut client, 5).await, ["a", "b"]);
    assert_eq!(send(&mut client, 12, third, 0, "d").await, 0);
    end(&mut client, 5, third, true).await.unwrap();
    assert_eq!(committed(&mut client, 7).await, ["a", "b", "d"]);
}

#[tokio::test]
async fn clients_that_add_partitions_themselves_are_taken_at_their_word_only_if_they_did() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    let producer = init(&mut client, "tx").await;
    assert_eq!(send(&mut client, 11, producer, 0, "a").await, ErrorCode::InvalidTxnState.code());
    let topic = AddPartitionsToTxnTopic::default().with_name(topic_name("t")).with_partitions(vec![0]);
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(id("tx"))
        .with_v3_and_below_producer_id(ProducerId(producer.id))
        .with_v3_and_below_producer_epoch(producer.epoch)
        .with_v3_and_below_topics(vec![topic]);
    let added = client.call(3, request).await;
    let added = &added.results_by_topic_v3_and_below[0].results_by_partition[0];
    assert_eq!(added.partition_error_code, 0);
    assert_eq!(send(&mut client, 11, producer, 0, "a").await, 0);
    end(&mut client, 4, producer, true).await.unwrap();
    assert_eq!(committed(&mut client, 2).await, ["a"]);
    // Its end may not be noted everywhere yet.
    let code = loop {
        match send(&mut client, 11, producer, 1, "b").await {
            code if code == ErrorCode::NotEnoughReplicas.code() => tokio::task::yield_now().await,
            code => break code,
        }
    };
    assert_eq!(code, ErrorCode::InvalidTxnState.code());
    assert_eq!(end(&mut client, 4, producer, false).await, Err(ErrorCode::InvalidTxnState));
}

#[tokio::test]
async fn a_second_producer_of_the_id_aborts_and_fences_the_first() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    let first = init(&mut client, "tx").await;
    assert_eq!(send(&mut client, 12, first, 0, "a").await, 0);
    let second = init(&mut client, "tx").await;
    assert!(second.id == first.id && second.epoch > first.epoch);
    assert_eq!(committed(&mut client, 2).await, [""; 0]);
    assert_eq!(send(&mut client, 12, first, 1, "b").await, ErrorCode::InvalidProducerEpoch.code());
    assert_eq!(end(&mut client, 5, first, true).await, Err(ErrorCode::ProducerFenced));
    assert_eq!(send(&mut client, 12, second, 0, "c").await, 0);
    end(&mut client, 5, second, true).await.unwrap();
    assert_eq!(committed(&mut client, 4).await, ["c"]);
}

#[tokio::test]
async fn a_broker_that_is_killed_ends_what_it_had_decided() {
    let mut broker = TestBroker::start().await;
    broker.client().create_topic("t", 1, &[]).await;
    let mut expected = Vec::new();
    for round in 0..4i64 {
        let mut client = broker.client();
        let producer = init(&mut client, "tx").await;
        let value = format!("round {round}");
        assert_eq!(send(&mut client, 12, producer, 0, &value).await, 0);
        end(&mut client, 5, producer, round % 2 == 0).await.unwrap();
        if round % 2 == 0 {
            expected.push(value);
        }
        // Its markers may not be written yet.
        drop(client);
        broker = broker.crash().await;
        let mut client = broker.client();
        init(&mut client, "other").await;
        // A marker may be written once more, so that the end is not known before.
        let end = loop {
            let (stable, end) = (stable_end(&mut client).await, list_end(&mut client, 0).await);
            if stable == end && end >= 2 * (round + 1) {
                break end;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(committed(&mut client, end).await, expected);
    }
}

#[tokio::test]
async fn a_transaction_that_nobody_ends_is_aborted() {
    let broker = TestBroker::start_with(|config| {
        config.transactions.timeout_check_interval = Duration::from_millis(10);
    })
    .await;
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).await;
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id("tx")))
        .with_transaction_timeout_ms(1)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let given = client.call(5, request).await;
    let producer = ProducerEpoch { id: given.producer_id.0, epoch: given.producer_epoch };
    assert_eq!(send(&mut client, 12, producer, 0, "a").await, 0);
    assert_eq!(committed(&mut client, 2).await, [""; 0]);
    assert_eq!(end(&mut client, 5, producer, true).await, Err(ErrorCode::ProducerFenced));
    let described = DescribeTransactionsRequest::default().with_transactional_ids(vec![id("tx"), id("none")]);
    let described = client.call(0, described).await.transaction_states;
    assert!(described[0].transaction_state.ends_with("Abort"));
    assert_eq!(described[1].error_code, ErrorCode::TransactionalIdNotFound.code());
}
