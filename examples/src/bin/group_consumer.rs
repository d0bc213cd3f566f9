//! Two consumers share a topic as members of one group, and commit what they have read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use millrace_client::admin::NewTopic;
use millrace_client::{Client, Consumer, RebalanceListener, Record, StartAt, TopicPartition};

const RECORDS: usize = 1000;

/// Says what a member of the group gains and loses.
struct Told(&'static str);

impl RebalanceListener for Told {
    fn assigned(&mut self, partitions: &[TopicPartition]) {
        println!("{} reads {}", self.0, names(partitions));
    }

    fn revoked(&mut self, partitions: &[TopicPartition]) -> Vec<millrace_client::CommitOffset> {
        println!("{} gives up {}", self.0, names(partitions));
        // With auto commit the positions are committed by themselves.
        Vec::new()
    }

    fn lost(&mut self, partitions: &[TopicPartition]) {
        println!("{} has lost {}", self.0, names(partitions));
    }
}

fn names(partitions: &[TopicPartition]) -> String {
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn member(client: &Client, name: &'static str, topic: &str) -> anyhow::Result<Consumer> {
    let mut consumer = client
        .consumer()
        .group(format!("{topic}-readers"))
        .start_without_commit(StartAt::Beginning)
        .auto_commit(Duration::from_secs(1))
        .build();
    consumer.on_rebalance(Told(name));
    consumer.subscribe(&[topic])?;
    Ok(consumer)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = millrace_examples::connect().await?;
    // A topic, and so a group, of this run's own.
    let topic = format!("example-group-{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis());
    client.admin().create_topic(NewTopic::new(&topic, 4)).await?;
    let producer = client.producer().build().await?;
    let values: Vec<String> = (0..RECORDS).map(|number| format!("order {number}")).collect();
    let records = values.iter().map(|value| Record::value(value).with_key(value));
    producer.send_batch(&topic, records).await?.await?;
    producer.close().await;

    let mut first = member(&client, "first", &topic)?;
    let mut second = member(&client, "second", &topic)?;
    let mut read = 0;
    while read < RECORDS {
        // Each in its own process as a rule; here they take turns.
        for consumer in [&mut first, &mut second] {
            if let Some(batch) = consumer.poll_batch(Duration::from_millis(100)).await? {
                read += batch.len();
            }
        }
    }
    println!("read {read} records");
    first.close().await;
    second.close().await;

    let partitions: Vec<TopicPartition> = (0..4).map(|index| TopicPartition::new(&*topic, index)).collect();
    let third = client.consumer().group(format!("{topic}-readers")).build();
    let committed: i64 = third.committed(&partitions).await?.iter().filter_map(|one| one.offset).sum();
    ensure!(usize::try_from(committed)? == RECORDS, "committed {committed} of {RECORDS} records");
    client.admin().delete_topic(&topic).await?;
    client.close().await;
    Ok(())
}
