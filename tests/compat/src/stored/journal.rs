//! What producers said became of their records, line by line.

use std::collections::BTreeMap;

use anyhow::Context as _;

/// How a producer sends, which says what it may expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// acks=all, and numbered: stored once, in order.
    Idempotent,
    /// acks=all: a record that is sent again may be stored twice.
    All,
    /// acks=1, with the same promise on a broker that is alone in sync.
    Leader,
}

impl Mode {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Idempotent => "idempotent",
            Self::All => "all",
            Self::Leader => "leader",
        }
    }
}

/// A record that its client takes for stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    pub topic: String,
    pub partition: i32,
    /// -1 where the client was told none.
    pub offset: i64,
    /// When it was appended, by the broker's clock, or seen to be acknowledged; -1 where nobody knows.
    pub time_ms: i64,
    pub producer: String,
    /// Counts a producer's records from 0 in the order of sending.
    pub number: u64,
}

/// Everything that one client's producers have told so far.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// By name.
    pub producers: BTreeMap<String, Mode>,
    /// In the order of telling.
    pub acknowledged: Vec<Acknowledged>,
    /// Records that were given up, with the reason: they may or may not be stored.
    pub failed: Vec<String>,
    /// Rounds whose producers have all ended.
    pub rounds: usize,
    /// What no client should say.
    pub nonsense: Vec<String>,
}

impl Journal {
    /// Takes in a line of a client's output: `stored TOPIC PARTITION OFFSET TIME LABEL`, `failed LABEL REASON`
    /// or `done`, a label being `PRODUCER:NUMBER`.
    pub(crate) fn take(&mut self, line: &str) {
        let understood = match line.split_once(' ') {
            Some(("stored", rest)) => parse(rest).map(|record| self.acknowledged.push(record)),
            Some(("failed", rest)) => {
                self.failed.push(rest.to_owned());
                Ok(())
            }
            None if line == "done" => {
                self.rounds += 1;
                Ok(())
            }
            _ => Err(anyhow::anyhow!("no line of a journal")),
        };
        if let Err(error) = understood {
            self.nonsense.push(format!("'{line}': {error:#}"));
        }
    }

    /// Records of `producer` that count as stored.
    pub fn count(&self, producer: &str) -> usize {
        self.acknowledged.iter().filter(|record| record.producer == producer).count()
    }
}

fn parse(rest: &str) -> anyhow::Result<Acknowledged> {
    let mut words = rest.split(' ');
    let mut word = || words.next().context("too few words");
    let (topic, partition, offset, time) = (word()?, word()?, word()?, word()?);
    let (producer, number) = word()?.split_once(':').context("no label")?;
    Ok(Acknowledged {
        topic: topic.to_owned(),
        partition: partition.parse().context("the partition")?,
        offset: offset.parse().context("the offset")?,
        time_ms: time.parse().context("the time")?,
        producer: producer.to_owned(),
        number: number.parse().context("the number")?,
    })
}

/// A producer's records have the keys 0 to 63 in turn.
pub const KEYS: u64 = 64;

/// Bytes of every value: with them a batch of 1 KiB, the smallest limit that all clients can be given, takes
/// one record, and five batches are in flight as soon as five records are.
pub const VALUE_LEN: usize = 600;

/// The value of a producer's record.
pub fn value(producer: &str, number: u64) -> Vec<u8> {
    let mut value = format!("{producer}:{number}:").into_bytes();
    value.resize(VALUE_LEN, b'.');
    value
}
