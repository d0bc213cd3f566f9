//! Which topics are counted under a label of their own: so many, the others together. One that had to share gets its
//! own when another topic is deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use parking_lot::Mutex;
use prometheus::{IntCounter, IntCounterVec};

/// Topics with a label of their own.
pub(crate) const TOPIC_LABELS_MAX: usize = 1_000;
const OTHER: &str = "other";

/// Counters of one topic; partitions hold them, so that counting costs no look-up.
#[derive(Debug)]
pub(crate) struct TopicTraffic(ArcSwap<Counters>);

/// What counts under one label.
#[derive(Debug)]
struct Counters {
    bytes_in: IntCounter,
    bytes_out: IntCounter,
}

impl TopicTraffic {
    pub(crate) fn came_in(&self, bytes: u64) {
        self.0.load().bytes_in.inc_by(bytes);
    }

    pub(crate) fn went_out(&self, bytes: u64) {
        self.0.load().bytes_out.inc_by(bytes);
    }
}

/// All topics' counters.
#[derive(Debug)]
pub(super) struct Topics {
    bytes_in: IntCounterVec,
    bytes_out: IntCounterVec,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    labelled: HashMap<String, Arc<TopicTraffic>>,
    /// Those that share a label.
    others: BTreeMap<String, Arc<TopicTraffic>>,
}

impl Topics {
    pub(super) fn new(bytes_in: IntCounterVec, bytes_out: IntCounterVec) -> Self {
        Self { bytes_in, bytes_out, known: Mutex::default() }
    }

    fn counters(&self, label: &str) -> Arc<Counters> {
        Arc::new(Counters {
            bytes_in: self.bytes_in.with_label_values(&[label]),
            bytes_out: self.bytes_out.with_label_values(&[label]),
        })
    }

    /// The counters of a topic, shared by its partitions.
    pub(super) fn traffic(&self, topic: &str) -> Arc<TopicTraffic> {
        let mut known = self.known.lock();
        let Known { labelled, others } = &mut *known;
        if let Some(traffic) = labelled.get(topic).or_else(|| others.get(topic)) {
            return Arc::clone(traffic);
        }
        let has_label = labelled.len() < TOPIC_LABELS_MAX;
        let counters = self.counters(if has_label { topic } else { OTHER });
        let traffic = Arc::new(TopicTraffic(ArcSwap::new(counters)));
        if has_label {
            labelled.insert(topic.to_owned(), Arc::clone(&traffic));
        } else {
            others.insert(topic.to_owned(), Arc::clone(&traffic));
        }
        traffic
    }

    /// Forgets a deleted topic.
    pub(super) fn forget(&self, topic: &str) {
        let mut known = self.known.lock();
        known.others.remove(topic);
        if known.labelled.remove(topic).is_none() {
            return;
        }
        // Absent labels are what is wanted, so that they are absent already is no error.
        let _ = self.bytes_in.remove_label_values(&[topic]);
        let _ = self.bytes_out.remove_label_values(&[topic]);
        if let Some((next, traffic)) = known.others.pop_first() {
            traffic.0.store(self.counters(&next));
            known.labelled.insert(next, traffic);
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Opts, Registry};

    use super::*;

    fn topics() -> (Registry, Topics) {
        let registry = Registry::new();
        let counters = |name: &str| {
            let counters = IntCounterVec::new(Opts::new(name, name), &["topic"]).unwrap();
            registry.register(Box::new(counters.clone())).unwrap();
            counters
        };
        let topics = Topics::new(counters("bytes_in"), counters("bytes_out"));
        (registry, topics)
    }

    /// Labels and values of the bytes that came in.
    fn counted(registry: &Registry) -> BTreeMap<String, u64> {
        let families = registry.gather();
        let bytes_in = families.iter().find(|family| family.name() == "bytes_in");
        let metrics = bytes_in.map(prometheus::proto::MetricFamily::get_metric).unwrap_or_default();
        let value = |metric: &prometheus::proto::Metric| {
            (metric.get_label()[0].value().to_owned(), metric.get_counter().get_value() as u64)
        };
        metrics.iter().map(value).collect()
    }

    #[test]
    fn topics_beyond_the_limit_share_a_label_until_others_are_gone() {
        let (registry, topics) = topics();
        let name = |number| format!("topic-{number:04}");
        let traffic: Vec<_> = (0..TOPIC_LABELS_MAX + 3).map(|number| topics.traffic(&name(number))).collect();
        traffic.iter().for_each(|traffic| traffic.came_in(1));
        let before = counted(&registry);
        assert_eq!((before.len(), before[OTHER]), (TOPIC_LABELS_MAX + 1, 3));

        topics.forget(&name(7));
        topics.forget(&name(TOPIC_LABELS_MAX + 1));
        traffic[TOPIC_LABELS_MAX].came_in(5);
        traffic[TOPIC_LABELS_MAX + 2].came_in(5);
        let after = counted(&registry);
        assert_eq!(after.get(&name(7)), None, "a deleted topic leaves no label");
        assert_eq!(after[&name(TOPIC_LABELS_MAX)], 5, "the first that had none");
        assert_eq!(after[OTHER], 8);
        topics.traffic(&name(TOPIC_LABELS_MAX)).came_in(1);
        assert_eq!(counted(&registry)[&name(TOPIC_LABELS_MAX)], 6, "for partitions to come, too");
    }
}
