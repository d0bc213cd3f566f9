//! The first thing to try: create a topic, send a few records, read them back.

use std::time::Duration;

use anyhow::ensure;
use millrace_client::admin::NewTopic;
use millrace_client::{Header, Record, StartAt};

const TOPIC: &str = "example-orders";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = millrace_examples::connect().await?;
    let admin = client.admin();
    match admin.create_topic(NewTopic::new(TOPIC, 3)).await {
        Ok(topic) => println!("created {} with {} partitions", topic.name, topic.partitions.len()),
        // 36: there is one of that name already, from an earlier run.
        Err(error) if error.code() == Some(36) => println!("{TOPIC} exists already"),
        Err(error) => return Err(error.into()),
    }

    let producer = client.producer().build().await?;
    let mut deliveries = Vec::new();
    for number in 0..10 {
        let key = format!("customer-{}", number % 3);
        let value = format!("order {number}");
        let headers = [Header::new("source", b"example")];
        let record = Record::value(&value).with_key(&key).with_headers(&headers);
        // The record is copied here; the delivery resolves once it is stored.
        let delivery = producer.send(TOPIC, record).await?;
        deliveries.push((key, delivery));
    }
    let mut first = std::collections::BTreeMap::new();
    for (key, delivery) in deliveries {
        let stored = delivery.await?;
        println!("{key}: partition {} offset {}", stored.partition, stored.offset);
        first.entry(stored.partition).or_insert(stored.offset);
    }
    producer.close().await;

    let mut consumer = client.consumer().build();
    for (partition, offset) in first {
        consumer.assign(TOPIC, &[partition], StartAt::Offset(offset)).await?;
    }
    let mut read = 0;
    while let Some(batch) = consumer.poll_batch(Duration::from_secs(1)).await? {
        for record in batch.records() {
            println!(
                "{}-{} @{} {}: {}",
                record.topic(),
                record.partition(),
                record.offset(),
                String::from_utf8_lossy(record.key().map_or(&[], |key| key)),
                String::from_utf8_lossy(record.value().map_or(&[], |value| value)),
            );
            read += 1;
        }
    }
    ensure!(read >= 10, "sent 10 records, read {read}");
    consumer.close().await;
    client.close().await;
    Ok(())
}
