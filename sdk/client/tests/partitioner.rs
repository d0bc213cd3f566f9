//! Topics whose partitions a plugin on the broker chooses: records go where it says, in order, or nowhere.

mod loopback;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use loopback::plugins::{Asked, Verdict, records};
use loopback::{Fault, Loopback};
use millrace_client::plugins::{ErrorKind, PluginError};
use millrace_client::{
    Client, Header, Producer, ProducerBuilder, Record, RequestError, SendError, Transport,
};
use millrace_protocol::key_hash::partition_of_key;
use tokio::sync::Semaphore;

const TOPIC: &str = "events";
const PARTITIONS: usize = 4;
/// Longer than anything here takes, so that what hangs fails.
const BOUND: Duration = Duration::from_secs(20);

async fn client(broker: &Loopback) -> Client {
    let builder = Client::builder().bootstrap(&broker.address).transport(Transport::Tcp);
    let builder = builder.metadata_max_age(Duration::from_millis(50));
    builder.request_timeout(Duration::from_millis(800)).connect().await.unwrap()
}

/// Keys are numbers; the last partition takes what the first would by their remainder, and so on.
fn backwards(key: &str, partitions: u32) -> u32 {
    partitions - 1 - key.parse::<u32>().unwrap_or_default() % partitions
}

async fn partitioned() -> (Loopback, Client) {
    let broker = Loopback::start(PARTITIONS).await;
    broker.state.lock().plugins.partitioner = Some(backwards);
    let client = client(&broker).await;
    (broker, client)
}

fn quick(client: &Client) -> ProducerBuilder {
    client.producer().retry_backoff(Duration::from_millis(5))
}

async fn send(producer: &Producer, key: &str, value: &str) -> millrace_client::Delivery {
    producer.send(TOPIC, Record::value(value).with_key(key)).await.unwrap()
}

fn questions(broker: &Loopback) -> Vec<Vec<Asked>> {
    broker.state.lock().plugins.questions.clone()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, waiting).await.unwrap_or_else(|_| panic!("{what} did not come about"));
}

fn in_partition(broker: &Loopback, partition: usize) -> Vec<Asked> {
    records(&broker.state.lock().topics[TOPIC][partition].batches)
}

#[tokio::test]
async fn records_go_where_the_plugin_says_and_keep_their_order() {
    let (broker, client) = partitioned().await;
    let producer = quick(&client).batch_bytes(400).build().await.unwrap();
    const COUNT: usize = 3000;
    producer.warm_up(TOPIC).await.unwrap();
    broker.fail([Fault::StoreAndDisconnect, Fault::Disconnect]);
    let mut deliveries = Vec::new();
    for number in 0..COUNT {
        let (key, value) = ((number % 7).to_string(), number.to_string());
        deliveries.push(send(&producer, &key, &value).await);
        if number % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for (number, delivery) in deliveries.into_iter().enumerate() {
        let stored = tokio::time::timeout(BOUND, delivery).await.unwrap().unwrap();
        assert_eq!(stored.partition, 3 - (number % 7 % 4) as i32);
        let there = &in_partition(&broker, stored.partition as usize)[stored.offset as usize];
        assert_eq!(there.value, number.to_string(), "the delivery tells the record's own place");
        if number > 200 {
            break;
        }
    }
    producer.flush().await;
    for partition in 0..PARTITIONS {
        let keys = (0..7).filter(|key| 3 - key % 4 == partition);
        let mut expected: Vec<_> = keys.flat_map(|key| (key..COUNT).step_by(7)).collect();
        expected.sort_unstable();
        let found: Vec<usize> =
            broker.values(TOPIC, partition).iter().map(|value| value.parse().unwrap()).collect();
        assert_eq!(found, expected);
    }
    assert!(questions(&broker).len() < COUNT / 10, "{} questions", questions(&broker).len());
}

#[tokio::test]
async fn the_plugin_sees_what_is_stored() {
    let (broker, client) = partitioned().await;
    let producer = quick(&client).build().await.unwrap();
    let headers = [Header::new("trace", b"1"), Header::new("span", b"2")];
    let record = Record::value("with headers").with_key("2").with_headers(&headers);
    let delivery = producer.send(TOPIC, record).await.unwrap();
    let dated = producer.send(TOPIC, Record::value("dated").with_key("2").with_timestamp(7)).await.unwrap();
    assert_eq!((delivery.await.unwrap().partition, dated.await.unwrap().partition), (1, 1));
    let asked: Vec<Asked> = questions(&broker).concat();
    assert_eq!(in_partition(&broker, 1), asked);
    assert_eq!((asked[0].headers, asked[1].timestamp_ms), (2, 7));
}

#[tokio::test]
async fn a_batch_of_records_is_placed_record_by_record() {
    let (broker, client) = partitioned().await;
    let producer = quick(&client).build().await.unwrap();
    let keys: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let all = keys.iter().map(|key| Record::value(key).with_key(key));
    let mut ranges = producer.send_batch(TOPIC, all).await.unwrap().await.unwrap();
    ranges.sort_by_key(|range| range.partition);
    let counts: Vec<(i32, u32)> = ranges.iter().map(|range| (range.partition, range.count)).collect();
    assert_eq!(counts, [(0, 10), (1, 10), (2, 10), (3, 10)]);
    assert_eq!(broker.values(TOPIC, 3), ["0", "4", "8", "12", "16", "20", "24", "28", "32", "36"]);
}

#[tokio::test]
async fn the_plugins_error_is_that_of_the_records_it_was_asked_about() {
    let (broker, client) = partitioned().await;
    let producer = quick(&client).build().await.unwrap();
    producer.warm_up(TOPIC).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    {
        let plugins = &mut broker.state.lock().plugins;
        plugins.gate = Some(Arc::clone(&gate));
        let failure = PluginError::new(ErrorKind::Failed, "routing: customer 1 is unknown");
        plugins.verdicts.push_back(Verdict::Refuse(failure));
    }
    let refused = send(&producer, "1", "first").await;
    until("the question", || questions(&broker).len() == 1).await;
    let fine = send(&producer, "2", "second").await;
    let explicit =
        producer.send(TOPIC, Record::value("third").with_key("1").with_partition(0)).await.unwrap();
    assert_eq!(explicit.await.unwrap().partition, 0, "nobody is asked where the sender says it");
    gate.add_permits(1);
    let error = tokio::time::timeout(BOUND, refused).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "routing: customer 1 is unknown");
    assert!(matches!(&error, SendError::Request(RequestError::Plugin(_))) && !error.is_retriable());
    assert_eq!(fine.await.unwrap().partition, 1);
    let stored: Vec<_> = (0..PARTITIONS).flat_map(|partition| broker.values(TOPIC, partition)).collect();
    assert_eq!(stored, ["third", "second"]);
}

#[tokio::test]
async fn an_answer_that_cannot_be_places_no_record() {
    let (broker, client) = partitioned().await;
    let producer = quick(&client).build().await.unwrap();
    for (answer, complaint) in
        [(vec![0, 1], "2 partitions for 1 records"), (vec![4], "partition 4 of a topic")]
    {
        broker.state.lock().plugins.verdicts.push_back(Verdict::Say(answer));
        let error = send(&producer, "1", "x").await.await.unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
    assert_eq!((0..PARTITIONS).flat_map(|partition| broker.values(TOPIC, partition)).count(), 0);
    assert_eq!(send(&producer, "1", "x").await.await.unwrap().partition, 2, "the next one goes through");
}

#[tokio::test]
async fn flush_and_close_wait_for_records_without_partition() {
    let (broker, client) = partitioned().await;
    let producer = quick(&client).linger(Duration::from_secs(60)).build().await.unwrap();
    producer.warm_up(TOPIC).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    broker.state.lock().plugins.gate = Some(Arc::clone(&gate));
    let mut deliveries = Vec::new();
    for number in 0..20 {
        deliveries.push(send(&producer, &number.to_string(), "x").await);
    }
    until("the question", || !questions(&broker).is_empty()).await;
    let flush = tokio::spawn({
        let producer = producer.clone();
        async move { producer.flush().await }
    });
    let mut flush = flush;
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut flush).await.is_err(), "nothing is placed");
    gate.add_permits(1);
    tokio::time::timeout(BOUND, flush).await.unwrap().unwrap();
    for delivery in deliveries {
        delivery.now_or_never().expect("the flush has waited for it").unwrap();
    }
    let last = send(&producer, "3", "last").await;
    tokio::time::timeout(BOUND, producer.close()).await.unwrap();
    assert_eq!(last.now_or_never().expect("so has close").unwrap().partition, 0);
}

#[tokio::test]
async fn without_its_partitioner_a_topic_falls_back_to_the_keys_hash() {
    let (broker, client) = partitioned().await;
    let producer = quick(&client).build().await.unwrap();
    assert_eq!(send(&producer, "5", "by the plugin").await.await.unwrap().partition, 2);
    // Deleted, and the producer does not know yet: it is told "not found".
    broker.state.lock().plugins.partitioner = None;
    let asked = questions(&broker).len();
    for key in ["1", "5", "6"] {
        let stored = send(&producer, key, "by the hash").await.await.unwrap();
        assert_eq!(stored.partition, partition_of_key(key.as_bytes(), PARTITIONS) as i32);
    }
    assert!(questions(&broker).len() <= asked + 1, "it asks once and believes the answer");
}

#[tokio::test]
async fn brokers_that_serve_no_plugins_any_more_hold_nothing_up() {
    let (broker, client) = partitioned().await;
    let producer = quick(&client).build().await.unwrap();
    producer.warm_up(TOPIC).await.unwrap();
    broker.state.lock().plugins.absent = true;
    let waiting = send(&producer, "5", "by the hash").await;
    broker.state.lock().plugins.partitioner = None;
    let stored = tokio::time::timeout(BOUND, waiting).await.unwrap().unwrap();
    assert_eq!(stored.partition, partition_of_key(b"5", PARTITIONS) as i32);
}

#[tokio::test]
async fn a_partitioner_that_comes_later_is_picked_up() {
    let broker = Loopback::start(PARTITIONS).await;
    let client = client(&broker).await;
    let producer = quick(&client).build().await.unwrap();
    send(&producer, "1", "before").await.await.unwrap();
    assert!(questions(&broker).is_empty());
    broker.state.lock().plugins.partitioner = Some(backwards);
    let picked_up = async {
        while questions(&broker).is_empty() {
            send(&producer, "1", "after").await.await.unwrap();
        }
    };
    tokio::time::timeout(BOUND, picked_up).await.unwrap();
    assert_eq!(send(&producer, "1", "after").await.await.unwrap().partition, 2);
}

#[tokio::test]
async fn what_passes_is_asked_again() {
    let (broker, client) = partitioned().await;
    let producer = quick(&client).build().await.unwrap();
    let busy = || Verdict::Refuse(PluginError::unavailable("no free instance"));
    broker.state.lock().plugins.verdicts.extend([busy(), Verdict::Disconnect, busy()]);
    let first = send(&producer, "1", "first").await;
    let second = send(&producer, "1", "second").await;
    assert_eq!((first.await.unwrap().offset, second.await.unwrap().offset), (0, 1));
    assert_eq!(broker.values(TOPIC, 2), ["first", "second"]);
    assert!(questions(&broker).len() >= 4);
}

/// A batch is given up as a whole: one whose time is nearly up must not take others' records along.
#[tokio::test]
async fn records_that_waited_for_long_share_no_batch_with_others() {
    let (broker, client) = partitioned().await;
    let builder = client.producer().retry_backoff(Duration::from_millis(200));
    let builder = builder.delivery_timeout(Duration::from_secs(8)).linger(Duration::from_secs(60));
    let producer = builder.build().await.unwrap();
    let busy = || Verdict::Refuse(PluginError::unavailable("no free instance"));
    // 200, 400 and 800 ms pass: more than an eighth of the time there is.
    broker.state.lock().plugins.verdicts.extend([busy(), busy(), busy()]);
    let waited = send(&producer, "1", "waited").await;
    until("the question", || !questions(&broker).is_empty()).await;
    let record = Record::value("in time").with_partition(2);
    let in_time = producer.send(TOPIC, record).await.unwrap();
    assert_eq!((in_time.await.unwrap().offset, waited.await.unwrap().offset), (0, 1));
    assert_eq!(broker.state.lock().topics[TOPIC][2].batches.len(), 2);
}

#[tokio::test]
async fn nobody_waits_for_a_partition_beyond_the_delivery_timeout() {
    let (broker, client) = partitioned().await;
    let producer = quick(&client).delivery_timeout(Duration::from_millis(200)).build().await.unwrap();
    let busy = || Verdict::Refuse(PluginError::unavailable("no free instance"));
    broker.state.lock().plugins.verdicts.extend((0..1000).map(|_| busy()));
    let error = tokio::time::timeout(BOUND, send(&producer, "1", "x").await).await.unwrap().unwrap_err();
    assert!(matches!(&error, SendError::Unassigned { .. }), "{error}");
    assert!(error.to_string().contains("last reason: no free instance"), "{error}");
    broker.state.lock().plugins.verdicts.clear();
    assert_eq!(send(&producer, "1", "x").await.await.unwrap().offset, 0);
}

#[tokio::test]
async fn records_without_partition_count_against_the_buffer() {
    let (broker, client) = partitioned().await;
    let producer = quick(&client).buffer_bytes(1000).build().await.unwrap();
    producer.warm_up(TOPIC).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    broker.state.lock().plugins.gate = Some(Arc::clone(&gate));
    let value = [b'x'; 400];
    let record = Record::value(&value).with_key("1");
    let taken: Vec<_> = (0..3).map(|_| producer.try_send(TOPIC, record).unwrap()).collect();
    assert!(matches!(producer.try_send(TOPIC, record), Err(SendError::BufferFull { .. })));
    gate.add_permits(1);
    let fourth = tokio::time::timeout(BOUND, producer.send(TOPIC, record)).await.unwrap().unwrap();
    for delivery in taken {
        delivery.await.unwrap();
    }
    assert_eq!(fourth.await.unwrap().offset, 3);
    // All room has come back: as much fits in as before.
    gate.forget_permits(1);
    let again: Vec<_> = (0..3).map(|_| producer.try_send(TOPIC, record).unwrap()).collect();
    assert!(matches!(producer.try_send(TOPIC, record), Err(SendError::BufferFull { .. })));
    drop(again);
}

#[tokio::test]
async fn a_producer_that_is_gone_leaves_nobody_waiting() {
    let (broker, client) = partitioned().await;
    let producer = quick(&client).build().await.unwrap();
    producer.warm_up(TOPIC).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    broker.state.lock().plugins.gate = Some(Arc::clone(&gate));
    let asked = send(&producer, "1", "asked about").await;
    until("the question", || !questions(&broker).is_empty()).await;
    let queued = send(&producer, "1", "behind it").await;
    drop(producer);
    gate.add_permits(1);
    for delivery in [asked, queued] {
        let outcome = tokio::time::timeout(BOUND, delivery).await.unwrap();
        assert!(matches!(outcome, Err(SendError::Closed)), "{outcome:?}");
    }
}
