//! Partitioners: records lie where the plugin says, whoever produces them, and an answer that makes no sense is
//! the producer's error.

use std::collections::BTreeMap;

use millrace_client::{Client, Record, Transport};
use millrace_test_harness::{Broker, Program, eventually_async, guest, plugin};

use crate::support::{PATIENCE, create_topics, definition, deploy, end_offset, read_partition, text};

const PARTITIONS: i32 = 4;

/// The partition of each record, by its number.
async fn places(client: &Client, topic: &str) -> BTreeMap<i32, Vec<(String, String)>> {
    let mut places = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let records = read_partition(client, topic, partition).await;
        let records = records.iter().map(|record| {
            (String::from_utf8(record.key().unwrap().to_vec()).unwrap(), text(record).to_owned())
        });
        places.insert(partition, records.collect());
    }
    places
}

/// Checks that all records are where the router puts them, and those of a key in the order of their numbers.
fn check_routes(places: &BTreeMap<i32, Vec<(String, String)>>, count: usize) {
    let mut last: BTreeMap<&str, (i32, usize)> = BTreeMap::new();
    for (partition, records) in places {
        for (key, value) in records {
            let allowed: &[i32] = match &key[..3] {
                "eu-" => &[0, 1],
                "us-" => &[2],
                _ => &[3],
            };
            assert!(allowed.contains(partition), "'{key}' is in partition {partition}");
            let number: usize = value.parse().unwrap();
            if let Some((elsewhere, before)) = last.insert(key, (*partition, number)) {
                assert_eq!(elsewhere, *partition, "'{key}' is in two partitions");
                assert!(before < number, "{number} of '{key}' comes after {before}");
            }
        }
    }
    assert_eq!(places.values().map(Vec::len).sum::<usize>(), count);
    assert!(places.values().all(|records| !records.is_empty()), "every partition is used");
}

fn records(count: usize) -> impl Iterator<Item = (String, String)> {
    let regions = ["eu", "us", "apac"];
    (0..count).map(move |number| (format!("{}-{}", regions[number % 3], number % 17), number.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn records_lie_where_the_partitioner_says() {
    let broker = Broker::start().unwrap();
    let client = broker.client(Transport::Quic).connect().await.unwrap();
    create_topics(&client, &[("sdk", PARTITIONS), ("cli", PARTITIONS), ("plain", PARTITIONS)]).await;
    for topic in ["sdk", "cli"] {
        let mut router = definition(&client, plugin("key-prefix-router"), topic, &[]).await;
        let settings = [("route.eu-", "0-1"), ("route.us-", "2"), ("default", "3")];
        router.config = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        client.plugins().deploy(&format!("{topic}-router"), router, false).await.unwrap();
    }

    let producer = client.producer().build().await.unwrap();
    let mut deliveries = Vec::new();
    for (key, value) in records(1_000) {
        deliveries.push(producer.send("sdk", Record::value(&value).with_key(&key)).await.unwrap());
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    check_routes(&places(&client, "sdk").await, 1_000);

    let lines: String = records(1_000).map(|(key, value)| format!("{key}:{value}\n")).collect();
    let cli = broker.cli(&["produce", "cli", "--key-separator", ":"]);
    Program::from(cli).input(lines).succeed().unwrap();
    check_routes(&places(&client, "cli").await, 1_000);

    // Without the partitioner the same producer goes back to the hash of the key.
    client.plugins().delete("sdk-router").await.unwrap();
    let before: Vec<usize> = places(&client, "sdk").await.values().map(Vec::len).collect();
    let mut stored = Vec::new();
    for (key, value) in records(60) {
        let mut places = Vec::new();
        for topic in ["sdk", "plain"] {
            let delivery = producer.send(topic, Record::value(&value).with_key(&key)).await.unwrap();
            places.push(delivery.await.unwrap().partition);
        }
        stored.push((key, places));
    }
    for (key, places) in &stored {
        assert_eq!(places[0], places[1], "'{key}' does not lie by its hash");
    }
    let after: usize = places(&client, "sdk").await.values().map(Vec::len).sum();
    assert_eq!(after, before.iter().sum::<usize>() + stored.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_partition_is_an_error_to_the_producer() {
    let broker = Broker::start().unwrap();
    let client = broker.client(Transport::Tcp).connect().await.unwrap();
    create_topics(&client, &[("in", 2), ("other", 2)]).await;
    deploy(&client, "wrong", guest("wrong-partition", "partitioner"), "in", &[]).await;
    let producer = client.producer().build().await.unwrap();
    let error = producer.send("in", Record::value("v").with_key("k")).await.unwrap().await.unwrap_err();
    assert!(error.to_string().contains("partition 2, and the topic has 2"), "{error}");
    // What names its partition asks nobody, and other topics are none of the plugin's business.
    producer.send("in", Record::value("v").with_partition(1)).await.unwrap().await.unwrap();
    producer.send("other", Record::value("v").with_key("k")).await.unwrap().await.unwrap();
    assert_eq!((end_offset(&client, "in", 0).await, end_offset(&client, "in", 1).await), (0, 1));

    let said = Program::from(broker.cli(&["produce", "in"])).input("v\n").fail().unwrap();
    assert!(said.contains("partition 2, and the topic has 2"), "{said}");

    client.plugins().delete("wrong").await.unwrap();
    eventually_async("the producer to do without", PATIENCE, || async {
        producer.send("in", Record::value("v").with_key("k")).await.ok()?.await.ok()
    })
    .await;
}
