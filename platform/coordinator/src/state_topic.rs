//! A topic of state logs: one for each partition, found by whose state it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_base::{Clock, TopicPartition};
use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Semaphore};

use crate::state_log::{Machine, SNAPSHOT_BYTES_MIN, StateLog, StateLogParts};
use crate::{Partitions, TopicFailure, TopicShape};

/// Logs of one topic that are read back at a time.
const LOADS_AT_A_TIME: usize = 4;

/// One for each partition, in their order.
type Logs<M> = Arc<[StateLog<M>]>;

/// The topic, as it is made for the first who has state in it.
pub(crate) struct TopicSpec {
    pub name: &'static str,
    pub partitions: i32,
    pub settings: &'static [(&'static str, &'static str)],
}

/// See the module's text.
pub(crate) struct StateTopic<M: Machine> {
    spec: TopicSpec,
    partitions: Arc<dyn Partitions>,
    clock: Arc<dyn Clock>,
    /// Where the logs' tasks run, whoever asks for them first.
    runtime: Handle,
    /// Of the topic as it was when it was last asked for.
    logs: RwLock<Option<(TopicShape, Logs<M>)>>,
    /// Who makes them.
    making: Mutex<()>,
}

impl<M: Machine> StateTopic<M> {
    /// The logs' tasks will run where this is called.
    pub fn new(spec: TopicSpec, partitions: Arc<dyn Partitions>, clock: Arc<dyn Clock>) -> Self {
        Self {
            spec,
            partitions,
            clock,
            runtime: Handle::current(),
            logs: RwLock::new(None),
            making: Mutex::new(()),
        }
    }

    /// The log with the state of `owner`, a group or another that has all its state in one partition; makes the topic
    /// if there is none.
    pub async fn log_of(&self, owner: &str) -> Result<StateLog<M>, TopicFailure> {
        if let Some(log) = self.known_log_of(owner).filter(StateLog::is_led) {
            return Ok(log);
        }
        // Led elsewhere, or the topic was made anew.
        let logs = self.current().await?;
        Ok(home(&logs, owner).clone())
    }

    /// Where that is.
    pub async fn place_of(&self, owner: &str) -> Result<TopicPartition, TopicFailure> {
        Ok(home(&self.current().await?, owner).place())
    }

    /// The same of what is at hand.
    pub fn known_log_of(&self, owner: &str) -> Option<StateLog<M>> {
        self.logs.read().as_ref().map(|(_, logs)| home(logs, owner).clone())
    }

    /// All that are at hand.
    pub fn known_logs(&self) -> Option<Logs<M>> {
        self.logs.read().as_ref().map(|(_, logs)| Arc::clone(logs))
    }

    /// All logs; makes the topic if there is none.
    pub async fn current(&self) -> Result<Logs<M>, TopicFailure> {
        let _making = self.making.lock().await;
        let settings: BTreeMap<String, String> = self
            .spec
            .settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let shape = self.partitions.ensure_topic(self.spec.name, self.spec.partitions, settings).await?;
        if let Some((known, logs)) = &*self.logs.read()
            && *known == shape
        {
            return Ok(Arc::clone(logs));
        }
        let turns = Arc::new(Semaphore::new(LOADS_AT_A_TIME));
        let _entered = self.runtime.enter();
        let start = |partition| {
            StateLog::start(StateLogParts {
                partitions: Arc::clone(&self.partitions),
                place: TopicPartition::new(shape.id, partition),
                clock: Arc::clone(&self.clock),
                turns: Arc::clone(&turns),
                snapshot_bytes_min: SNAPSHOT_BYTES_MIN,
            })
        };
        let logs: Logs<M> = (0..shape.partitions.max(1)).map(start).collect();
        *self.logs.write() = Some((shape, Arc::clone(&logs)));
        Ok(logs)
    }
}

fn home<'l, M: Machine>(logs: &'l [StateLog<M>], owner: &str) -> &'l StateLog<M> {
    let count = i32::try_from(logs.len()).unwrap_or(i32::MAX);
    &logs[partition_of(owner, count) as usize]
}

/// The partition, of so many, that holds what is `owner`'s: Java's `String.hashCode`, as in Kafka.
pub fn partition_of(owner: &str, partitions: i32) -> i32 {
    let hash =
        owner.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_where_kafka_has_them() {
        // `Math.abs("plugin.orders".hashCode()) % 50` and so on, as a Java shell prints them.
        assert_eq!(partition_of("", 50), 0);
        assert_eq!(partition_of("test", 50), 3_556_498 % 50);
        // The hash of this one is the smallest 32-bit integer.
        assert_eq!(partition_of("polygenelubricants", 50), 0);
    }
}
