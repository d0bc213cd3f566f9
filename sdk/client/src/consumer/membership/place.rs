//! Where reading begins in partitions that were just assigned: at the group's commits, and where there is none as the
//! settings say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_base::TopicId;

use super::Place;
use crate::consumer::shared::Shared;
use crate::error::{FetchError, RequestError};
use crate::group::{TopicPartition, offsets};

/// Pause before another attempt.
const PAUSE: Duration = Duration::from_millis(200);

/// Tries until every partition has a place, or an error that trying again does not help.
pub(crate) async fn places(
    shared: Arc<Shared>,
    group: Arc<str>,
    partitions: Vec<TopicPartition>,
) -> Vec<Place> {
    let mut left = partitions;
    let mut places = Vec::with_capacity(left.len());
    loop {
        match attempt(&shared, &group, &left).await {
            Ok(found) => {
                left.retain(|partition| found.iter().all(|place| place.partition != *partition));
                places.extend(found);
            }
            Err(error) if error.is_retriable() => {
                tracing::debug!(%group, %error, "look up where to begin in assigned partitions");
            }
            Err(error) => {
                let failed = |partition: TopicPartition| Place {
                    topic_id: known_id(&shared, &partition),
                    partition,
                    start: Err(error.clone()),
                };
                places.extend(left.drain(..).map(failed));
            }
        }
        if left.is_empty() {
            return places;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The topic's id, as far as it is known.
fn known_id(shared: &Shared, partition: &TopicPartition) -> TopicId {
    let image = shared.cluster.image();
    image.topics.get(&partition.topic).map_or_else(|| TopicId(Default::default()), |topic| topic.id)
}

/// The places of as many as can be told now.
async fn attempt(
    shared: &Shared,
    group: &Arc<str>,
    partitions: &[TopicPartition],
) -> Result<Vec<Place>, FetchError> {
    let committed = offsets::fetch(&shared.cluster, group, Some(partitions), true).await?;
    let mut by_topic: BTreeMap<Arc<str>, Vec<(i32, Option<i64>)>> = BTreeMap::new();
    for one in committed {
        by_topic.entry(one.partition.topic).or_default().push((one.partition.partition, one.offset));
    }
    let mut places = Vec::new();
    for (topic, partitions) in by_topic {
        let image = match shared.cluster.topic(&topic, false).await {
            Ok(image) => image,
            // Deleted since it was assigned, or too new for the broker that was asked: the group's next assignment or
            // the next attempt knows.
            Err(RequestError::UnknownTopic { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let place = |partition, start| Place {
            partition: TopicPartition { topic: Arc::clone(&image.name), partition },
            topic_id: image.id,
            start,
        };
        let mut uncommitted = Vec::new();
        for (partition, offset) in partitions {
            match offset {
                Some(offset) => places.push(place(partition, Ok(offset))),
                None => uncommitted.push(partition),
            }
        }
        match shared.settings.start_without_commit {
            _ if uncommitted.is_empty() => {}
            Some(start) => {
                for (partition, offset) in shared.resolve(&topic, &uncommitted, start).await? {
                    places.push(place(partition, Ok(offset)));
                }
            }
            None => {
                for partition in uncommitted {
                    let (group, topic) = (group.to_string(), topic.to_string());
                    let error = FetchError::NoCommittedOffset { group, topic, partition };
                    places.push(place(partition, Err(error)));
                }
            }
        }
    }
    Ok(places)
}
