//! Plugins on this broker: what drives them reads and appends through the broker's own partitions.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _};
use millrace_base::{Offset, TopicPartition};
use millrace_broker::local_partitions as local;
use millrace_plugin_runner as plugins;
use millrace_protocol::batch::Batch;

/// The broker's partitions as the port that the runner has for them.
pub(super) struct BrokerPartitions(pub(super) local::LocalPartitions);

impl plugins::Partitions for BrokerPartitions {
    fn bounds(&self, partition: TopicPartition) -> Option<plugins::Bounds> {
        self.0.bounds(partition).map(bounds)
    }

    fn read(
        &self,
        partition: TopicPartition,
        from: Offset,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<Batch>, plugins::ReadFailure>> {
        self.0.read(partition, from, max_bytes).map_err(read_failure).boxed()
    }

    fn wait_for(&self, partition: TopicPartition, offset: Offset) -> BoxFuture<'static, ()> {
        self.0.wait_for(partition, offset)
    }

    fn offset_for_time(
        &self,
        partition: TopicPartition,
        timestamp_ms: i64,
    ) -> BoxFuture<'_, Result<Offset, plugins::ReadFailure>> {
        self.0.offset_for_time(partition, timestamp_ms).map_err(read_failure).boxed()
    }

    fn admit(&self, bytes: usize) -> BoxFuture<'_, ()> {
        self.0.admit(bytes).boxed()
    }

    fn check(&self, partition: TopicPartition, batches: &[Batch]) -> Result<(), plugins::AppendFailure> {
        self.0.check(partition, batches).map_err(append_failure)
    }

    fn append(
        &self,
        partition: TopicPartition,
        batches: &[Batch],
    ) -> Result<plugins::Acknowledged, plugins::AppendFailure> {
        let acknowledged = self.0.append(partition, batches).map_err(append_failure)?;
        Ok(acknowledged.map_err(append_failure).boxed())
    }

    fn ensure_topic(
        &self,
        name: &str,
        partitions: i32,
        settings: BTreeMap<String, String>,
    ) -> BoxFuture<'_, Result<(), plugins::TopicFailure>> {
        let name = name.to_owned();
        async move {
            let made = self.0.ensure_topic(&name, partitions, settings).await;
            made.map_err(|local::TopicFailure { topic, reason }| plugins::TopicFailure { topic, reason })
        }
        .boxed()
    }

    fn trim(
        &self,
        partition: TopicPartition,
        before: Offset,
    ) -> BoxFuture<'_, Result<(), plugins::ReadFailure>> {
        self.0.trim(partition, before).map_err(read_failure).boxed()
    }
}

const fn bounds(bounds: local::Bounds) -> plugins::Bounds {
    plugins::Bounds { start: bounds.start, end: bounds.end }
}

fn read_failure(failure: local::ReadFailure) -> plugins::ReadFailure {
    match failure {
        local::ReadFailure::NotHere => plugins::ReadFailure::NotHere,
        local::ReadFailure::OutOfRange { offset, bounds: held } => {
            plugins::ReadFailure::OutOfRange { offset, bounds: bounds(held) }
        }
        local::ReadFailure::Storage(reason) => plugins::ReadFailure::Storage(reason),
    }
}

fn append_failure(failure: local::AppendFailure) -> plugins::AppendFailure {
    match failure {
        local::AppendFailure::NotHere => plugins::AppendFailure::NotHere,
        local::AppendFailure::Passing(reason) => plugins::AppendFailure::Passing(reason),
        local::AppendFailure::Refused(reason) => plugins::AppendFailure::Refused(reason),
    }
}
