//! How far groups are behind, read when it is scraped.
//!
//! | metric | type | labels | meaning |
//! |---|---|---|---|
//! | `millrace_group_lag_records` | gauge | `group`, `topic`, `partition` | records that may be read and that the group has not committed |
//! | `millrace_group_lag_left_out` | gauge | | committed offsets beyond the [most](SERIES_MAX) that are told |
//!
//! Told are the groups that this broker coordinates, of partitions that it leads, and not before somebody has asked it
//! about one of the groups that have their state in the same partition.

use std::sync::Weak;

use millrace_coordinator::{Committed, OffsetKey};
use prometheus::core::{Collector, Desc};
use prometheus::proto;

use crate::state::State;

/// Names of groups are their users': so many series, in the order of the groups.
const SERIES_MAX: usize = 10_000;

const LAG: (&str, &str) = ("millrace_group_lag_records", "Records that a group has not committed.");
const LEFT_OUT: (&str, &str) = ("millrace_group_lag_left_out", "Committed offsets whose lag is not told.");

/// Reads the lag of groups for Prometheus.
pub(crate) struct GroupCollector {
    state: Weak<State>,
    descriptions: [Desc; 2],
}

impl GroupCollector {
    pub(crate) fn new(state: Weak<State>) -> prometheus::Result<Self> {
        let labels = ["group", "topic", "partition"].map(str::to_owned).to_vec();
        let describe = |(name, help): (&str, &str), labels| {
            Desc::new(name.into(), help.into(), labels, Default::default())
        };
        Ok(Self { state, descriptions: [describe(LAG, labels)?, describe(LEFT_OUT, Vec::new())?] })
    }
}

/// Records that may be read from a committed offset on; `None` if the partition is not led here.
fn lag(state: &State, key: &OffsetKey, committed: &Committed) -> Option<i64> {
    let image = state.metadata.image();
    let topic = image.topic_by_name(&key.topic).filter(|topic| committed.is_of(topic.id))?;
    let partition = state.partitions.find(topic.id, key.partition)?;
    partition.check_leader(millrace_base::LeaderEpoch::UNKNOWN).ok()?;
    Some((partition.high_watermark() - committed.offset).max(0))
}

impl Collector for GroupCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let Some(state) = self.state.upgrade() else { return Vec::new() };
        let known = state.groups.committed_offsets().all_known(SERIES_MAX);
        let series = known.offsets.iter().filter_map(|(key, committed)| {
            let lag = lag(&state, key, committed)?;
            let partition = key.partition.to_string();
            let labels = [("group", &key.group), ("partition", &partition), ("topic", &key.topic)];
            Some(super::log::gauge_of(lag as f64, &labels))
        });
        let lag = super::log::family(LAG.0, LAG.1, proto::MetricType::GAUGE, series.collect());
        let left_out = super::log::gauge_of(known.left_out as f64, &[]);
        let left_out = super::log::family(LEFT_OUT.0, LEFT_OUT.1, proto::MetricType::GAUGE, vec![left_out]);
        // A family without a series is none.
        let families = [lag, left_out].into_iter();
        families.filter(|family| !family.get_metric().is_empty()).collect()
    }
}
