//! Each record has one outcome: what an output topic refuses is the policy's, what is there is there once, and a
//! topic that is made anew is read from its first record.

use std::time::SystemTime;

use millrace_client::admin::NewTopic;
use millrace_client::plugins::{Backoff, DeploymentState, FailurePolicy, StartPosition};
use millrace_client::{Client, Header, Record, Transport};
use millrace_test_harness::{Broker, eventually_async, guest};

use crate::support::{
    PATIENCE, caught_up, create_topics, definition, end_offset, produce, read_partition, text, until,
};

const RECORDS: usize = 20;
/// The records that the output topic refuses: one for its time, one for its headers.
const OLD: usize = 4;
const LARGE: usize = 11;

async fn write(client: &Client) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let now_ms = i64::try_from(now.as_millis()).unwrap();
    let producer = client.producer().build().await.unwrap();
    let filler = vec![b'x'; 3_000];
    let headers = [Header::new("filler", &filler)];
    let mut deliveries = Vec::new();
    for number in 0..RECORDS {
        let value = number.to_string();
        let age_ms = if number == OLD { 86_400_000 } else { 0 };
        let record = Record::value(&value).with_timestamp(now_ms - age_ms);
        let record = if number == LARGE { record.with_headers(&headers) } else { record };
        deliveries.push(producer.send("in", record).await.unwrap());
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    producer.close().await;
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.filter(|number| ![OLD, LARGE].contains(number)).map(|number| number.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_output_topic_refuses_is_the_policys_and_the_rest_is_there_once() {
    let broker = Broker::start().unwrap();
    let client = broker.client(Transport::Quic).connect().await.unwrap();
    create_topics(&client, &[("in", 1), ("dead", 1)]).await;
    write(&client).await;
    let retry = FailurePolicy::Retry { attempts: 2, backoff: Backoff { first_ms: 1, max_ms: 10 } };
    for (name, failure) in [
        ("skip", FailurePolicy::Skip),
        ("dead-letter", FailurePolicy::DeadLetter { topic: "dead".into() }),
        ("retry", retry),
        ("halt", FailurePolicy::Halt),
    ] {
        let picky = NewTopic::new(name, 1)
            .config("message.timestamp.before.max.ms", "3600000")
            .config("max.message.bytes", "2000");
        client.admin().create_topic(picky).await.unwrap();
        let mut definition = definition(&client, guest("identity", "transform"), "in", &[name]).await;
        let goes_on = matches!(failure, FailurePolicy::Skip | FailurePolicy::DeadLetter { .. });
        definition.failure = failure;
        client.plugins().deploy(name, definition, false).await.unwrap();
        let expected = if goes_on {
            caught_up(&client, name).await;
            numbers(0..RECORDS)
        } else {
            let halted = until(&client, name, "the halt", |it| it.state == DeploymentState::Halted).await;
            assert_eq!(halted.partitions[0].offset, Some(i64::try_from(OLD).unwrap()));
            let error = halted.partitions[0].error.clone().unwrap();
            assert!(error.contains(&format!("topic '{name}' refuses an output")), "{error}");
            numbers(0..OLD)
        };
        let found = read_partition(&client, name, 0).await;
        assert_eq!(found.iter().map(text).collect::<Vec<_>>(), expected, "{name}");
    }
    let dead = read_partition(&client, "dead", 0).await;
    assert_eq!(dead.iter().map(text).collect::<Vec<_>>(), [OLD.to_string(), LARGE.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_anew_is_read_from_its_first_record() {
    let broker = Broker::start().unwrap();
    let client = broker.client(Transport::Quic).connect().await.unwrap();
    create_topics(&client, &[("in", 1), ("out", 1)]).await;
    let mut definition = definition(&client, guest("identity", "transform"), "in", &["out"]).await;
    definition.start = StartPosition::Latest;
    client.plugins().deploy("copy", definition, false).await.unwrap();
    let mut expected = 0;
    for round in 0..5 {
        client.admin().delete_topic("in").await.unwrap();
        create_topics(&client, &[("in", 1)]).await;
        // Who knew the old topic must learn of the new one; this is about the plugin.
        let fresh = broker.client(Transport::Quic).connect().await.unwrap();
        produce(&fresh, "in", (0..30).map(|number| (String::new(), format!("{round}-{number}")))).await;
        expected += 30;
        eventually_async("all records of this round", PATIENCE, || async {
            (end_offset(&client, "out", 0).await >= expected).then_some(())
        })
        .await;
    }
    assert_eq!(end_offset(&client, "out", 0).await, expected, "each of them once");
}
