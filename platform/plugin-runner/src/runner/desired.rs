//! Which workers a deployment should have: a pure function of the metadata.

use std::sync::Arc;

use millrace_base::{BrokerId, Offset, TopicPartition};
use millrace_metadata::{Deployment, Image};

/// What a worker works on. At most one exists for each place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub partition: TopicPartition,
    /// The number of the replay; `None` for the deployment's own input.
    pub replay: Option<u32>,
}

/// A worker that should be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub place: Place,
    pub topic: Arc<str>,
    /// Where a replay ends.
    pub until: Option<Offset>,
}

/// The workers of `deployment` on this broker; while it is paused, those that it had and will have.
pub(crate) fn wanted(deployment: &Deployment, image: &Image, local: BrokerId) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut add = |name: &str, replay: Option<u32>, until: &dyn Fn(usize) -> Option<Offset>| {
        let Some(topic) = image.topic_by_name(name) else { return };
        for (index, partition) in topic.partitions.iter().enumerate() {
            if partition.leader != Some(local) {
                continue;
            }
            let until = until(index);
            // A replay has nothing to do where there was nothing.
            if replay.is_some() && until.is_none_or(|until| until <= 0) {
                continue;
            }
            let index = i32::try_from(index).unwrap_or(i32::MAX);
            let place = Place { partition: TopicPartition::new(topic.id, index), replay };
            wanted.push(Wanted { place, topic: Arc::clone(&topic.name), until });
        }
    };
    add(&deployment.version().definition.topic, None, &|_| None);
    if let Some(replay) = &deployment.replay {
        add(&replay.topic, Some(replay.number), &|index| replay.until.get(index).copied());
    }
    wanted
}
