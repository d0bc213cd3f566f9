//! Which topics there are: the metadata's part in the double.

use std::collections::BTreeMap;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use millrace_base::{TopicId, TopicPartition};
use millrace_coordinator::{TopicFailure, TopicShape};
use parking_lot::Mutex;
use tokio::sync::watch;

/// See the module's text.
pub trait Topics: Send + Sync + 'static {
    fn find(&self, name: &str) -> Option<TopicShape>;

    fn has(&self, partition: TopicPartition) -> bool;

    fn create(
        &self,
        name: String,
        partitions: i32,
        settings: BTreeMap<String, String>,
    ) -> BoxFuture<'_, Result<TopicId, TopicFailure>>;

    /// Completes when topics have changed since this was called.
    fn changed(&self) -> BoxFuture<'static, ()>;
}

/// Topics that only the test knows.
#[derive(Default)]
pub struct MemoryTopics {
    topics: Mutex<BTreeMap<String, TopicShape>>,
    changed: watch::Sender<()>,
}

impl MemoryTopics {
    /// Has a topic have so many partitions.
    pub fn grow(&self, name: &str, partitions: i32) {
        self.topics.lock().get_mut(name).unwrap().partitions = partitions;
        self.changed.send_replace(());
    }

    pub fn delete(&self, name: &str) {
        self.topics.lock().remove(name);
        self.changed.send_replace(());
    }
}

impl Topics for MemoryTopics {
    fn find(&self, name: &str) -> Option<TopicShape> {
        self.topics.lock().get(name).copied()
    }

    fn has(&self, partition: TopicPartition) -> bool {
        let topics = self.topics.lock();
        topics.values().any(|topic| topic.id == partition.topic && partition.partition < topic.partitions)
    }

    fn create(
        &self,
        name: String,
        partitions: i32,
        _: BTreeMap<String, String>,
    ) -> BoxFuture<'_, Result<TopicId, TopicFailure>> {
        let mut topics = self.topics.lock();
        let made = if topics.contains_key(&name) || partitions <= 0 {
            let reason = format!("it exists, or {partitions} partitions are none");
            Err(TopicFailure { topic: name, reason, passing: false })
        } else {
            let id = TopicId::random();
            topics.insert(name, TopicShape { id, partitions });
            self.changed.send_replace(());
            Ok(id)
        };
        async { made }.boxed()
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        let mut changed = self.changed.subscribe();
        async move {
            // Without the sender there are no topics any more, and no test.
            let _ = changed.changed().await;
        }
        .boxed()
    }
}
