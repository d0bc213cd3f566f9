//! How to move many records: send without awaiting each, read batch by batch. Prints what it achieved.
//!
//! Third argument: number of records (default 2 million); fourth: bytes of each (default 100).

use std::time::{Duration, Instant};

use anyhow::ensure;
use millrace_client::admin::{ConfigChange, ConfigResource, NewTopic};
use millrace_client::{Client, Record, RecordBatch, StartAt};

const TOPIC: &str = "example-throughput";
const PARTITIONS: i32 = 4;

fn argument(position: usize, default: usize) -> anyhow::Result<usize> {
    std::env::args().nth(position).map_or(Ok(default), |text| Ok(text.parse()?))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (count, size) = (argument(3, 2_000_000)?, argument(4, 100)?);
    let client = millrace_examples::connect().await?;
    let admin = client.admin();
    let _ = admin.delete_topic(TOPIC).await;
    admin.create_topic(NewTopic::new(TOPIC, PARTITIONS)).await?;
    // Acknowledge from memory: this measures the path, not the disk. Leave it out to be safe from power cuts.
    let topic = ConfigResource::Topic(TOPIC.to_owned());
    admin.alter_configs(&topic, &[ConfigChange::set("flush.messages", "9223372036854775807")]).await?;

    // Spawned, so that it runs on the runtime's own threads.
    let sent = tokio::spawn(produce(client.clone(), count, size)).await??;
    report("sent", count, size, sent);
    let read = tokio::spawn(consume(client.clone(), count)).await??;
    report("read", count, size, read);
    admin.delete_topic(TOPIC).await?;
    client.close().await;
    Ok(())
}

async fn produce(client: Client, count: usize, size: usize) -> anyhow::Result<Duration> {
    let producer = client.producer().build().await?;
    producer.warm_up(TOPIC).await?;
    let value = vec![b'x'; size];
    let started = Instant::now();
    let mut last = None;
    for _ in 0..count {
        // Back-pressure: this waits while the producer's buffer is full. A delivery that is dropped is not
        // lost: the record is sent all the same.
        last = Some(producer.send(TOPIC, Record::value(&value)).await?);
    }
    producer.flush().await;
    if let Some(last) = last {
        last.await?;
    }
    Ok(started.elapsed())
}

async fn consume(client: Client, count: usize) -> anyhow::Result<Duration> {
    let mut consumer = client.consumer().build();
    let started = Instant::now();
    consumer.assign_topic(TOPIC, StartAt::Beginning).await?;
    let (mut records, mut bytes) = (0, 0);
    while records < count {
        let batch = consumer.poll_batch(Duration::from_secs(5)).await?;
        ensure!(batch.is_some(), "read {records} of {count} records, then nothing for 5 seconds");
        for record in batch.iter().flat_map(RecordBatch::iter) {
            records += 1;
            bytes += record.value.map_or(0, <[u8]>::len);
        }
    }
    ensure!(bytes > 0 || records == 0, "records came back empty");
    Ok(started.elapsed())
}

fn report(what: &str, count: usize, size: usize, took: Duration) {
    let seconds = took.as_secs_f64();
    println!(
        "{what} {count} records of {size} bytes in {seconds:.2} s: {:.2} million records/s, {:.0} MB/s",
        count as f64 / seconds / 1e6,
        (count * size) as f64 / seconds / 1e6,
    );
}
