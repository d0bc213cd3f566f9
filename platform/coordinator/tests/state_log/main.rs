//! State logs over partitions that fail, delay and lose their leadership in every phase.

// What fails in a test may panic, in its helpers too.
#![allow(clippy::unwrap_used)]

mod leadership;
mod loading;
mod proposals;
mod rebuilt;
mod snapshots;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_base::{ManualClock, TopicPartition};
use millrace_coordinator::{AppendFailure, Proposal, Replied, StateLog, StateLogParts, StateRecord};
use millrace_test_partitions::{MemoryPartitions, MemoryTopics, PATIENCE};
use tokio::sync::Semaphore;
use words::{Words, record};

const NOW_MS: i64 = 77;

/// A partition and a log of words in it.
struct Bench {
    partitions: MemoryPartitions,
    place: TopicPartition,
}

impl Bench {
    async fn new() -> Self {
        let partitions = MemoryPartitions::new(Arc::<MemoryTopics>::default());
        let id = partitions.create_topic("__words", 1, BTreeMap::new()).await.unwrap();
        Self { partitions, place: TopicPartition::new(id, 0) }
    }

    /// A log that writes a snapshot whenever it has grown by so many bytes.
    fn log_with(&self, snapshot_bytes_min: usize) -> StateLog<Words> {
        StateLog::start(StateLogParts {
            partitions: Arc::new(self.partitions.clone()),
            place: self.place,
            clock: Arc::new(ManualClock::at_ms(NOW_MS)),
            turns: Arc::new(Semaphore::new(1)),
            snapshot_bytes_min,
        })
    }

    fn log(&self) -> StateLog<Words> {
        self.log_with(usize::MAX)
    }

    async fn ready_log(&self) -> StateLog<Words> {
        let log = self.log();
        in_time(log.ready()).await.unwrap();
        log
    }

    fn hold(&self, held: bool) {
        self.partitions.hold_acknowledgements(self.place, held);
    }

    fn set_led(&self, led: bool) {
        self.partitions.set_led(self.place, led);
    }

    /// What a log that is started now reads back.
    async fn rebuilt(&self) -> BTreeMap<String, String> {
        words(&self.ready_log().await)
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it is in time")
}

fn words(log: &StateLog<Words>) -> BTreeMap<String, String> {
    log.read(|words| words.0.clone()).unwrap()
}

fn is(words: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    let words: Vec<(&str, &str)> = words.iter().map(|(word, text)| (&**word, &**text)).collect();
    assert_eq!(words, expected);
}

/// Proposes that a word means something, or nothing any more; the reply is what it meant before.
fn set(
    log: &StateLog<Words>,
    word: &str,
    text: Option<&str>,
) -> Result<Replied<Option<String>>, AppendFailure> {
    log.propose(|words, _| Proposal { records: vec![record(word, text)], reply: words.0.get(word).cloned() })
}

async fn set_now(log: &StateLog<Words>, word: &str, text: &str) {
    in_time(set(log, word, Some(text)).unwrap()).await.unwrap();
}

/// A proposal that changes nothing, and tells what the word means in the latest state.
fn ask(log: &StateLog<Words>, word: &str) -> Replied<Option<String>> {
    let nothing: Vec<StateRecord> = Vec::new();
    log.propose(|words, _| Proposal { records: nothing, reply: words.0.get(word).cloned() }).unwrap()
}
