//! A partitioner that spreads keys by weight: a partition with weight 3 gets three times as many as one with 1.
//!
//! | setting | meaning |
//! |---|---|
//! | `weights` | partitions and their weights, as in `0=3,1=1,4=0` |
//! | `default-weight` | the weight of partitions that `weights` does not name; 1 if absent |
//!
//! A key always gets the same partition, so order per key holds. Records without a key are spread by their
//! value.

use std::collections::BTreeMap;

use millrace_plugin::{Context, Error, Partitioner, Record, Result, stable_hash};

/// Weights by partition.
#[derive(Debug)]
pub struct Weighted {
    weights: BTreeMap<u32, u32>,
    default: u32,
}

#[millrace_plugin::partitioner]
impl Partitioner for Weighted {
    fn start(context: &Context) -> Result<Self> {
        let text = context.require("weights")?;
        let weights = text.split(',').map(pair).collect::<Option<_>>().ok_or_else(|| {
            Error::new(format!("the setting `weights` is `{text}`; expected weights, as in `0=3,1=1`"))
        })?;
        Ok(Self { weights, default: context.parse("default-weight", 1)? })
    }

    fn partition(&self, record: &Record<'_>, partitions: u32) -> Result<u32> {
        let named = self.weights.range(..partitions);
        let named_count = named.clone().count() as u64;
        let named_weight: u64 = named.clone().map(|(_, weight)| u64::from(*weight)).sum();
        let total = named_weight + (u64::from(partitions) - named_count) * u64::from(self.default);
        if total == 0 {
            return Err(Error::new("all partitions of the topic have weight 0"));
        }
        let mut point = stable_hash(record.key().or(record.value()).unwrap_or_default()) % total;
        // Named partitions come first, so that the others, which are alike, need no loop.
        for (partition, weight) in named {
            if point < u64::from(*weight) {
                return Ok(*partition);
            }
            point -= u64::from(*weight);
        }
        Ok(self.unnamed((point / u64::from(self.default)) as u32))
    }
}

impl Weighted {
    /// The partition that is number `index` among those without a weight of their own.
    fn unnamed(&self, index: u32) -> u32 {
        self.weights.keys().fold(index, |partition, named| partition + u32::from(*named <= partition))
    }
}

fn pair(text: &str) -> Option<(u32, u32)> {
    let (partition, weight) = text.split_once('=')?;
    Some((partition.trim().parse().ok()?, weight.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_plugin::testing::{Input, Setup};

    fn counts(setup: &Setup, partitions: u32) -> Vec<usize> {
        let plugin = setup.partitioner::<Weighted>().expect("it starts");
        let records: Vec<Input> =
            (0..10_000).map(|number| Input::value("v").key(format!("k{number}"))).collect();
        let chosen = plugin.run(&records, partitions).expect("it chooses");
        assert_eq!(chosen, plugin.run(&records, partitions).expect("it chooses again"));
        (0..partitions)
            .map(|partition| chosen.iter().filter(|number| **number == partition).count())
            .collect()
    }

    #[test]
    fn weights_are_kept() {
        let counts = counts(&Setup::new().config("weights", "1=3, 3=0"), 5);
        assert_eq!(counts[3], 0);
        for (partition, expected) in [(0, 10_000 / 6), (1, 10_000 / 2), (2, 10_000 / 6), (4, 10_000 / 6)] {
            assert!(counts[partition].abs_diff(expected) < 200, "partition {partition}: {counts:?}");
        }
    }

    #[test]
    fn partitions_beyond_the_topic_do_not_count() {
        let counts = counts(&Setup::new().config("weights", "0=1,9=5").config("default-weight", "0"), 3);
        assert_eq!(counts, [10_000, 0, 0]);
    }

    #[test]
    fn settings_are_checked() {
        assert!(Setup::new().config("weights", "0:3").partitioner::<Weighted>().is_err());
        assert!(Setup::new().partitioner::<Weighted>().is_err());
        let zero = Setup::new().config("weights", "0=0").config("default-weight", "0");
        let error = zero.partitioner::<Weighted>().expect("it starts").run(&[Input::value("v")], 2);
        assert!(error.expect_err("nowhere to go").message().contains("weight 0"));
    }
}
