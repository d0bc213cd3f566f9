//! Records are stored once and in order whatever happens on the way; readers get what they asked for.

mod loopback;

use std::time::Duration;

use futures::StreamExt;
use loopback::{Fault, Loopback};
use millrace_client::{
    Acks, Client, FetchError, Producer, ProducerBuilder, Record, SendError, StartAt, Transport,
};
use millrace_protocol::ErrorCode;

const TOPIC: &str = "events";

async fn client(broker: &Loopback) -> Client {
    let builder = Client::builder().bootstrap(&broker.address).transport(Transport::Tcp);
    builder.request_timeout(Duration::from_millis(800)).connect().await.unwrap()
}

/// A producer whose batches hold few records, so that several are in flight.
fn small_batches(client: &Client) -> ProducerBuilder {
    client.producer().batch_bytes(200).retry_backoff(Duration::from_millis(10))
}

async fn send_numbers(producer: &Producer, count: usize) {
    let mut deliveries = Vec::new();
    for number in 0..count {
        let value = format!("{number}");
        deliveries.push(producer.send(TOPIC, Record::value(&value)).await.unwrap());
    }
    for (number, delivery) in deliveries.into_iter().enumerate() {
        assert_eq!(delivery.await.unwrap().offset, number as i64);
    }
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

/// Sends through a broker that fails as told, and expects every record once and in order.
async fn survives(faults: impl IntoIterator<Item = Fault>) {
    let broker = Loopback::start(1).await;
    let client = client(&broker).await;
    let producer = small_batches(&client).build().await.unwrap();
    producer.warm_up(TOPIC).await.unwrap();
    broker.fail(faults);
    tokio::time::timeout(Duration::from_secs(20), send_numbers(&producer, 100)).await.unwrap();
    assert_eq!(broker.values(TOPIC, 0), numbers(100));
}

#[tokio::test]
async fn without_faults_records_are_stored_in_order() {
    survives([]).await;
}

#[tokio::test]
async fn refusals_are_retried_in_order() {
    let code = ErrorCode::NotLeaderOrFollower.code();
    survives([Fault::Refuse(code), Fault::Refuse(code), Fault::Refuse(code)]).await;
}

#[tokio::test]
async fn a_lost_connection_is_made_again() {
    survives([Fault::Disconnect, Fault::Disconnect]).await;
}

#[tokio::test]
async fn an_answer_that_was_lost_stores_nothing_twice() {
    survives([Fault::StoreAndDisconnect, Fault::StoreAndDisconnect]).await;
}

#[tokio::test]
async fn a_silent_broker_is_given_up_and_asked_again() {
    survives([Fault::Silence]).await;
}

#[tokio::test]
async fn a_broker_that_forgot_the_producer_gets_a_new_epoch() {
    let broker = Loopback::start(1).await;
    let client = client(&broker).await;
    let producer = small_batches(&client).build().await.unwrap();
    for number in 0..20 {
        if number == 10 {
            broker.fail([Fault::ForgetProducers]);
        }
        let value = format!("{number}");
        let stored = producer.send(TOPIC, Record::value(&value)).await.unwrap().await.unwrap();
        assert_eq!(stored.offset, number);
    }
    assert_eq!(broker.values(TOPIC, 0), numbers(20));
}

#[tokio::test]
async fn a_final_refusal_reaches_the_delivery_and_later_records_go_through() {
    let broker = Loopback::start(1).await;
    let client = client(&broker).await;
    let producer = small_batches(&client).build().await.unwrap();
    producer.warm_up(TOPIC).await.unwrap();
    broker.fail([Fault::Refuse(ErrorCode::MessageTooLarge.code())]);
    let refused = producer.send(TOPIC, Record::value(b"x")).await.unwrap().await.unwrap_err();
    assert!(matches!(&refused, SendError::Rejected { code: 10, .. }), "{refused}");
    assert!(!refused.is_retriable());
    send_numbers(&producer, 10).await;
    assert_eq!(broker.values(TOPIC, 0), numbers(10));
}

#[tokio::test]
async fn a_record_that_cannot_be_stored_in_time_is_given_up() {
    let broker = Loopback::start(1).await;
    let client = client(&broker).await;
    let producer = small_batches(&client).delivery_timeout(Duration::from_millis(300)).build().await.unwrap();
    producer.warm_up(TOPIC).await.unwrap();
    broker.fail([Fault::Refuse(ErrorCode::NotEnoughReplicas.code()); 200]);
    let error = producer.send(TOPIC, Record::value(b"x")).await.unwrap().await.unwrap_err();
    assert!(matches!(error, SendError::Expired { .. }), "{error}");
}

#[tokio::test]
async fn a_record_behind_batches_without_an_answer_says_what_it_waited_for() {
    let broker = Loopback::start(1).await;
    let client = client(&broker).await;
    let producer = small_batches(&client).delivery_timeout(Duration::from_millis(300)).build().await.unwrap();
    producer.warm_up(TOPIC).await.unwrap();
    broker.fail([Fault::Silence; 200]);
    // More batches than may be on their way at once.
    let mut deliveries = Vec::new();
    for _ in 0..40 {
        deliveries.push(producer.send(TOPIC, Record::value(&[b'x'; 150])).await.unwrap());
    }
    let error = deliveries.pop().unwrap().await.unwrap_err();
    let SendError::Expired { reason, .. } = error else { panic!("{error}") };
    assert_eq!(reason, "no answer yet to the batches before it");
}

#[tokio::test]
async fn a_full_buffer_makes_senders_wait_or_say_so() {
    let broker = Loopback::start(1).await;
    let client = client(&broker).await;
    let producer =
        client.producer().buffer_bytes(1000).linger(Duration::from_millis(200)).build().await.unwrap();
    producer.warm_up(TOPIC).await.unwrap();
    let value = [b'x'; 400];
    let first = producer.try_send(TOPIC, Record::value(&value)).unwrap();
    let _second = producer.try_send(TOPIC, Record::value(&value)).unwrap();
    let _third = producer.try_send(TOPIC, Record::value(&value)).unwrap();
    let full = producer.try_send(TOPIC, Record::value(&value)).err();
    assert!(matches!(full, Some(SendError::BufferFull { .. })));
    // Waits for the linger to pass and the batch to be acknowledged.
    let fourth = producer.send(TOPIC, Record::value(&value)).await.unwrap();
    assert_eq!(first.await.unwrap().offset, 0);
    assert_eq!(fourth.await.unwrap().offset, 3);
}

#[tokio::test]
async fn keys_choose_partitions_and_batches_report_ranges() {
    let broker = Loopback::start(4).await;
    let client = client(&broker).await;
    let producer = client.producer().build().await.unwrap();
    let keys: Vec<String> = (0..40).map(|number| format!("key-{number}")).collect();
    let records = keys.iter().map(|key| Record::value(key).with_key(key));
    let ranges = producer.send_batch(TOPIC, records).await.unwrap().await.unwrap();
    assert_eq!(ranges.iter().map(|range| range.count).sum::<u32>(), 40);
    let again = producer.send(TOPIC, Record::value(b"x").with_key("key-7")).await.unwrap().await.unwrap();
    let values = broker.values(TOPIC, again.partition as usize);
    assert!(values.contains(&"key-7".to_owned()), "one key, one partition");
}

#[tokio::test]
async fn without_acks_flush_waits_until_the_broker_has_read() {
    let broker = Loopback::start(1).await;
    let client = client(&broker).await;
    let producer = client.producer().acks(Acks::None).build().await.unwrap();
    for number in 0..50 {
        let value = format!("{number}");
        drop(producer.send(TOPIC, Record::value(&value)).await.unwrap());
    }
    producer.flush().await;
    assert_eq!(broker.values(TOPIC, 0), numbers(50));
}

#[tokio::test]
async fn many_senders_share_requests() {
    let broker = Loopback::start(1).await;
    let client = client(&broker).await;
    let producer = client.producer().build().await.unwrap();
    producer.warm_up(TOPIC).await.unwrap();
    let mut last = None;
    for _ in 0..10_000 {
        last = Some(producer.send(TOPIC, Record::value(b"0123456789")).await.unwrap());
    }
    last.unwrap().await.unwrap();
    let requests = broker.state.lock().produce_requests;
    assert!(requests < 2_000, "10000 records took {requests} requests");
}

#[tokio::test]
async fn a_closed_producer_takes_nothing_more() {
    let broker = Loopback::start(1).await;
    let client = client(&broker).await;
    let producer = client.producer().linger(Duration::from_secs(60)).build().await.unwrap();
    let delivery = producer.send(TOPIC, Record::value(b"last")).await.unwrap();
    producer.close().await;
    assert_eq!(delivery.await.unwrap().offset, 0);
    assert!(matches!(producer.try_send(TOPIC, Record::value(b"x")), Err(SendError::Closed)));
}

#[tokio::test]
async fn a_consumer_reads_from_where_it_is_told() {
    let broker = Loopback::start(2).await;
    let client = client(&broker).await;
    let producer = small_batches(&client).build().await.unwrap();
    for number in 0..100 {
        let value = format!("{number}");
        let record = Record::value(&value).with_partition(0).with_timestamp(number);
        drop(producer.send(TOPIC, record).await.unwrap());
    }
    producer.flush().await;
    let mut consumer = client.consumer().build();
    assert!(matches!(consumer.next_record().await, Err(FetchError::NothingAssigned)));
    consumer.assign(TOPIC, &[0], StartAt::Offset(42)).await.unwrap();
    for expected in 42..50 {
        let record = consumer.next().await.unwrap().unwrap();
        assert_eq!((record.offset(), record.timestamp()), (expected, expected));
        assert_eq!(record.value().unwrap(), expected.to_string().as_bytes());
    }
    assert_eq!(consumer.position(TOPIC, 0), Some(50));
    consumer.seek(TOPIC, 0, StartAt::Beginning).await.unwrap();
    assert_eq!(consumer.next_record().await.unwrap().unwrap().offset(), 0);
    consumer.pause(TOPIC, &[0]);
    assert!(consumer.poll_batch(Duration::from_millis(50)).await.unwrap().is_none());
    consumer.resume(TOPIC, &[0]);
    assert_eq!(consumer.next_record().await.unwrap().unwrap().offset(), 1);
    consumer.seek(TOPIC, 0, StartAt::End).await.unwrap();
    assert!(consumer.poll_batch(Duration::from_millis(50)).await.unwrap().is_none());
    drop(producer.send(TOPIC, Record::value(b"new").with_partition(0)).await.unwrap());
    assert_eq!(consumer.next_record().await.unwrap().unwrap().offset(), 100);
    consumer.close().await;
    assert!(consumer.next_record().await.unwrap().is_none());
}

#[tokio::test]
async fn an_offset_out_of_range_is_reported_until_the_next_seek() {
    let broker = Loopback::start(1).await;
    let client = client(&broker).await;
    let producer = client.producer().build().await.unwrap();
    producer.send(TOPIC, Record::value(b"only")).await.unwrap().await.unwrap();
    let mut consumer = client.consumer().build();
    consumer.assign(TOPIC, &[0], StartAt::Offset(9)).await.unwrap();
    let error = consumer.next_record().await.unwrap_err();
    assert!(matches!(error, FetchError::OutOfRange { offset: 9, start: 0, end: 1, .. }), "{error}");
    consumer.seek(TOPIC, 0, StartAt::Beginning).await.unwrap();
    assert_eq!(consumer.next_record().await.unwrap().unwrap().offset(), 0);
}

/// Two batches of one record each are stored, and the second one cannot be read.
async fn spoiled(broker: &Loopback, client: &Client) {
    let producer = client.producer().build().await.unwrap();
    for value in ["good", "spoiled", "behind"] {
        producer.send(TOPIC, Record::value(value)).await.unwrap().await.unwrap();
    }
    broker.spoil(TOPIC, 0, 1);
}

#[tokio::test]
async fn a_batch_that_cannot_be_read_is_reported_each_time_until_the_next_seek() {
    for check_crc in [false, true] {
        let broker = Loopback::start(1).await;
        let client = client(&broker).await;
        spoiled(&broker, &client).await;
        let mut consumer = client.consumer().check_crc(check_crc).build();
        consumer.assign(TOPIC, &[0], StartAt::Beginning).await.unwrap();
        assert_eq!(consumer.next_record().await.unwrap().unwrap().offset(), 0);
        for _ in 0..3 {
            let next = tokio::time::timeout(Duration::from_secs(20), consumer.next_record()).await;
            let error = next.expect("says nothing any more").unwrap_err();
            assert!(matches!(error, FetchError::Corrupt { offset: 1, .. }), "{error}");
            assert_eq!(consumer.position(TOPIC, 0), Some(1), "stays");
        }
        consumer.seek(TOPIC, 0, StartAt::Offset(2)).await.unwrap();
        assert_eq!(consumer.next_record().await.unwrap().unwrap().offset(), 2);
    }
}

#[tokio::test]
async fn a_partition_that_cannot_be_read_does_not_stop_the_others() {
    let broker = Loopback::start(2).await;
    let client = client(&broker).await;
    let producer = client.producer().build().await.unwrap();
    for partition in [0, 1] {
        producer.send(TOPIC, Record::value(b"x").with_partition(partition)).await.unwrap().await.unwrap();
    }
    broker.spoil(TOPIC, 0, 0);
    let mut consumer = client.consumer().build();
    consumer.assign(TOPIC, &[0, 1], StartAt::Beginning).await.unwrap();
    let mut read = None;
    for _ in 0..3 {
        let next = tokio::time::timeout(Duration::from_secs(20), consumer.next_record()).await;
        read = read.or(next.expect("says nothing any more").ok().flatten());
    }
    assert_eq!(read.unwrap().partition(), 1);
}

#[tokio::test]
async fn no_error_makes_a_consumer_ask_again_at_once() {
    for code in [ErrorCode::FetchSessionIdNotFound, ErrorCode::UnknownTopicId, ErrorCode::UnknownServerError]
    {
        let broker = Loopback::start(1).await;
        let client = client(&broker).await;
        let mut consumer = client.consumer().build();
        broker.state.lock().fetch_error = code.code();
        consumer.assign(TOPIC, &[0], StartAt::Beginning).await.unwrap();
        assert!(consumer.poll_batch(Duration::from_secs(1)).await.unwrap().is_none());
        let asked = broker.state.lock().fetch_requests;
        assert!((1..=20).contains(&asked), "{asked} fetches in a second that each met {code:?}");
    }
}

#[tokio::test]
async fn a_batch_that_is_too_large_for_the_topic_goes_in_parts() {
    for idempotent in [true, false] {
        let broker = Loopback::start(1).await;
        broker.state.lock().max_message_bytes = 150;
        let client = client(&broker).await;
        let producer = client.producer().idempotent(idempotent).linger(Duration::from_millis(20));
        let producer = producer.max_in_flight(if idempotent { 5 } else { 1 }).build().await.unwrap();
        tokio::time::timeout(Duration::from_secs(60), send_numbers(&producer, 200)).await.unwrap();
        assert_eq!(broker.values(TOPIC, 0), numbers(200));
        let alone = producer.send(TOPIC, Record::value(&[b'x'; 200])).await.unwrap().await.unwrap_err();
        assert!(matches!(alone, SendError::Rejected { code: 10, .. }), "{alone}");
    }
}

#[tokio::test]
async fn records_for_partitions_that_are_gone_are_placed_again_unless_they_named_them() {
    let broker = Loopback::start(4).await;
    let client = client(&broker).await;
    let producer = client.producer().linger(Duration::from_secs(60)).build().await.unwrap();
    producer.warm_up(TOPIC).await.unwrap();
    {
        let mut state = broker.state.lock();
        state.partitions_per_topic = 1;
        state.topics.get_mut(TOPIC).unwrap().truncate(1);
    }
    let keys: Vec<String> = (0..40).map(|number| format!("key-{number}")).collect();
    let records = keys.iter().map(|key| Record::value(key).with_key(key));
    let keyed = producer.send_batch(TOPIC, records).await.unwrap();
    let named = producer.send(TOPIC, Record::value(b"named").with_partition(2)).await.unwrap();
    // Another topic's first record brings a new picture of the cluster.
    producer.warm_up("other").await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), producer.flush()).await.expect("stuck");
    let stored = tokio::time::timeout(Duration::from_secs(20), keyed).await.expect("stuck").unwrap();
    assert_eq!(stored.iter().map(|range| range.count).sum::<u32>(), 40);
    assert_eq!(broker.values(TOPIC, 0).len(), 40);
    let refused = tokio::time::timeout(Duration::from_secs(20), named).await.expect("stuck").unwrap_err();
    assert!(refused.to_string().contains("there is no partition 2"), "{refused}");
}

#[tokio::test]
async fn no_batch_is_larger_than_a_request_may_be() {
    let broker = Loopback::start(1).await;
    let client = client(&broker).await;
    let producer = client.producer().max_request_bytes(150).linger(Duration::from_millis(20));
    send_numbers(&producer.build().await.unwrap(), 100).await;
    let state = broker.state.lock();
    let sizes: Vec<usize> = state.topics[TOPIC][0].batches.iter().map(bytes::Bytes::len).collect();
    assert!(sizes.iter().all(|size| *size <= 150), "{sizes:?}");
}
