//! What one writer sent and what it was told became of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace_client::{Client, Delivery, Record};
use millrace_test_harness::a_while;
use tokio::sync::{mpsc, watch};

use crate::{Records, TOPIC};

/// Records in flight of one writer.
const IN_FLIGHT_MAX: usize = 200;

pub struct Ledger {
    writer: usize,
    pub partition: i32,
    bytes: usize,
    pause: Duration,
    /// Records that all writers together have seen acknowledged.
    progress: Arc<AtomicU64>,
    sent: u64,
    /// Offset by number of record; -1 where the broker no longer knew it.
    acknowledged: BTreeMap<u64, i64>,
}

impl Ledger {
    pub const fn new(
        writer: usize,
        partition: i32,
        bytes: usize,
        pause: Duration,
        progress: Arc<AtomicU64>,
    ) -> Self {
        Self { writer, partition, bytes, pause, progress, sent: 0, acknowledged: BTreeMap::new() }
    }

    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    fn value(&self, number: u64) -> Vec<u8> {
        let mut value = format!("writer {} record {number} ", self.writer).into_bytes();
        value.resize(self.bytes.max(value.len()), b'.');
        value
    }

    /// Every record acknowledged, exactly once, in the order of sending, at its offset, byte for byte.
    pub fn check(&self, stored: &Records) {
        let prefix = format!("writer {} record ", self.writer).into_bytes();
        let mut found: HashMap<u64, i64> = HashMap::new();
        let mut last = None;
        for (offset, value) in stored.iter().filter(|(_, value)| value.starts_with(&prefix)) {
            let text = String::from_utf8_lossy(&value[prefix.len()..]);
            let number: u64 =
                text.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
            assert_eq!(*value, self.value(number), "{self}: record {number} at offset {offset} is damaged");
            let twice = found.insert(number, *offset);
            assert_eq!(twice, None, "{self}: record {number} is stored twice, also at offset {offset}");
            assert!(last < Some(number), "{self}: record {number} at offset {offset} comes after {last:?}");
            last = Some(number);
        }
        for (number, offset) in &self.acknowledged {
            let kept = found.get(number);
            assert!(kept.is_some(), "{self}: record {number}, acknowledged at offset {offset}, is lost");
            let moved = *offset >= 0 && kept != Some(offset);
            assert!(!moved, "{self}: record {number}, acknowledged at offset {offset}, is at {kept:?}");
        }
        assert_eq!(self.acknowledged.len() as u64, self.sent, "{self}: a record was never acknowledged");
    }
}

impl std::fmt::Display for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "writer {} of partition {}", self.writer, self.partition)
    }
}

/// Sends until it is told to stop, then waits for the last acknowledgement. A crash in between is the
/// producer's business: it sends again, and the broker must recognise what it has already.
pub async fn write(client: Client, mut ledger: Ledger, stopped: watch::Receiver<bool>) -> Ledger {
    let producer = client.producer().build().await.unwrap();
    let (deliveries, collected) = mpsc::channel(IN_FLIGHT_MAX);
    let collector = tokio::spawn(collect(collected, Arc::clone(&ledger.progress)));
    while !*stopped.borrow() {
        let value = ledger.value(ledger.sent);
        let record = Record::value(&value).with_partition(ledger.partition);
        let delivery = producer.send(TOPIC, record).await.unwrap();
        deliveries.send((ledger.sent, delivery)).await.unwrap();
        ledger.sent += 1;
        if !ledger.pause.is_zero() {
            a_while(ledger.pause).await;
        }
    }
    drop(deliveries);
    ledger.acknowledged = collector.await.unwrap();
    ledger
}

async fn collect(
    mut deliveries: mpsc::Receiver<(u64, Delivery)>,
    progress: Arc<AtomicU64>,
) -> BTreeMap<u64, i64> {
    let mut acknowledged = BTreeMap::new();
    while let Some((number, delivery)) = deliveries.recv().await {
        let stored = delivery.await.unwrap_or_else(|error| panic!("record {number} was given up: {error}"));
        acknowledged.insert(number, stored.offset);
        progress.fetch_add(1, Ordering::Relaxed);
    }
    acknowledged
}
