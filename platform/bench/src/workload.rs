//! What the benchmarks produce: prebuilt batches of incompressible records, and the topic they go to.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use millrace_client::Client;
use millrace_client::admin::NewTopic;
use millrace_protocol::batch::{BatchBuilder, ProducerState};
use millrace_protocol::compression::Codec;

/// The shape of the data, shared by the benchmarks that write.
#[derive(Args, Clone, Debug)]
pub struct Workload {
    /// Size of a record's value
    #[arg(long, default_value_t = 1024, value_name = "BYTES")]
    pub record_bytes: usize,
    /// Records in a prebuilt batch
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub batch_records: usize,
    /// Partitions of the topic, written in turn
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub partitions: i32,
    /// Topic to use; it must have that many partitions. Default: a new one, deleted at the end
    #[arg(long, value_name = "NAME")]
    pub topic: Option<String>,
}

impl Workload {
    /// One batch of the workload's shape, the same bytes for every use.
    pub fn batch(&self) -> Result<Bytes> {
        let mut noise = Noise::new(self.record_bytes as u64);
        let mut builder = BatchBuilder::with_capacity((self.record_bytes + 32) * self.batch_records);
        let mut value = vec![0; self.record_bytes];
        for _ in 0..self.batch_records {
            noise.fill(&mut value);
            builder.append(now_ms(), None, Some(&value), &[]);
        }
        builder.finish(Codec::None, ProducerState::NONE).context("build the batch")
    }
}

/// The topic of one run.
pub struct BenchTopic {
    pub name: String,
    created: bool,
}

impl BenchTopic {
    /// Takes the topic that `workload` names, or makes one.
    pub async fn prepare(client: &Client, workload: &Workload) -> Result<Self> {
        if let Some(name) = &workload.topic {
            let partitions = client.partition_count(name).await.context("look up the topic")?;
            let wanted = usize::try_from(workload.partitions)?;
            anyhow::ensure!(
                partitions == wanted,
                "topic {name} has another number of partitions, {partitions}, than --partitions, {wanted}: give the same"
            );
            return Ok(Self { name: name.clone(), created: false });
        }
        let name = format!("bench-{}-{}", std::process::id(), now_ms());
        let topic = NewTopic::new(&name, workload.partitions);
        client.admin().create_topic(topic).await.context("create the benchmark's topic")?;
        Ok(Self { name, created: true })
    }

    /// Deletes the topic if this run made it.
    pub async fn remove(self, client: &Client) -> Result<()> {
        if self.created {
            client.admin().delete_topic(&self.name).await.context("delete the benchmark's topic")?;
        }
        Ok(())
    }
}

/// Fast reproducible bytes that no codec and no file system can shrink (SplitMix64).
pub struct Noise(u64);

impl Noise {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = self.0;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prebuilt_batch_holds_the_records_that_were_asked_for() {
        let workload = Workload { record_bytes: 100, batch_records: 7, partitions: 1, topic: None };
        let batches = millrace_protocol::batch::split_batches(workload.batch().unwrap(), 1 << 20).unwrap();
        let [batch] = batches.as_slice() else { panic!("one batch, not {}", batches.len()) };
        batch.verify().unwrap();
        assert_eq!(batch.header.record_count, 7);
    }

    #[test]
    fn noise_is_reproducible_and_not_constant() {
        let (mut one, mut other) = ([0; 20], [0; 20]);
        Noise::new(7).fill(&mut one);
        Noise::new(7).fill(&mut other);
        assert_eq!(one, other);
        assert_ne!(one[..8], one[8..16]);
    }
}
