//! Makes and changes topics while others produce, and reads everything that is there in the end.

use std::time::Duration;

use anyhow::Context as _;
use millrace_client::admin::{NewTopic, OffsetSpec};
use millrace_client::{Client, StartAt, Transport};
use millrace_test_harness::Broker;
use tokio::runtime::{Builder, Runtime};

use super::check::{Contents, Order, check};
use super::journal::Journal;

/// How long the next batch of a topic that has more may take.
const NEXT_BATCH: Duration = Duration::from_secs(60);

const TOPIC_ALREADY_EXISTS: i16 = 36;

pub(crate) struct Observer {
    runtime: Runtime,
    client: Client,
}

impl Observer {
    pub(crate) fn connect(broker: &Broker) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = runtime.block_on(broker.client(Transport::Tcp).connect())?;
        Ok(Self { runtime, client })
    }

    pub(crate) fn create(&self, topic: NewTopic) -> anyhow::Result<()> {
        let name = topic.name.clone();
        self.runtime
            .block_on(self.client.admin().create_topic(topic))
            .with_context(|| format!("create {name}"))?;
        Ok(())
    }

    /// As [`Self::create`], if nobody else has made it before.
    pub(crate) fn create_if_missing(&self, topic: NewTopic) -> anyhow::Result<()> {
        let name = topic.name.clone();
        match self.runtime.block_on(self.client.admin().create_topic(topic)) {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some(TOPIC_ALREADY_EXISTS) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("create {name}")),
        }
    }

    pub(crate) fn delete(&self, topic: &str) -> anyhow::Result<()> {
        let deleted = self.runtime.block_on(self.client.admin().delete_topic(topic));
        deleted.with_context(|| format!("delete {topic}"))
    }

    pub(crate) fn grow(&self, topic: &str, partitions: i32) -> anyhow::Result<()> {
        let grown = self.runtime.block_on(self.client.admin().create_partitions(topic, partitions));
        grown.with_context(|| format!("have {topic} grow to {partitions} partitions"))
    }

    /// Compares `topic`, made at `made_ms`, with what producers were told. Returns how many records were
    /// acknowledged, all of which are there.
    pub(crate) fn expect_stored(
        &self,
        journal: &Journal,
        topic: &str,
        made_ms: i64,
        order: Order,
    ) -> anyhow::Result<usize> {
        let contents = self.runtime.block_on(self.read(topic)).with_context(|| format!("read '{topic}'"))?;
        check(journal, topic, made_ms, order, &contents).map_err(|faults| anyhow::anyhow!("{faults}"))
    }

    async fn read(&self, topic: &str) -> anyhow::Result<Contents> {
        let count = self.client.admin().describe_topic(topic).await?.partitions.len();
        let partitions: Vec<i32> = (0..i32::try_from(count)?).collect();
        let ends = self.client.admin().list_offsets(topic, &partitions, OffsetSpec::Latest).await?;
        let mut left: i64 = ends.iter().filter_map(|end| end.offset).sum();
        let mut contents = Contents::new();
        let mut consumer = self.client.consumer().build();
        consumer.assign(topic, &partitions, StartAt::Beginning).await?;
        while left > 0 {
            let batch = consumer.poll_batch(NEXT_BATCH).await?;
            let batch = batch.with_context(|| format!("{left} records do not come"))?;
            let records = contents.entry(batch.partition()).or_default();
            for record in batch.iter() {
                let before = records.insert(record.offset, record.value.unwrap_or_default().to_vec());
                anyhow::ensure!(before.is_none(), "offset {} came twice", record.offset);
                left -= 1;
            }
        }
        consumer.close().await;
        Ok(contents)
    }
}
