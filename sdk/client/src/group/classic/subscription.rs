//! What members of a classic group tell each other through its coordinator, in the format of Kafka's consumers: a
//! version (two bytes), then `ConsumerProtocolSubscription` or `ConsumerProtocolAssignment`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use millrace_protocol::messages::consumer_protocol_assignment::TopicPartition as AssignedTopic;
use millrace_protocol::messages::consumer_protocol_subscription::TopicPartition as OwnedTopic;
use millrace_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicName};
use millrace_protocol::{Decodable, Encodable, StrBytes};

use crate::group::types::TopicPartition;

/// Written: with the generation of what is owned, and the rack.
const SUBSCRIPTION_VERSION: i16 = 3;
/// From this version on a subscription names the generation itself; before, the sticky assignor's own data do.
const GENERATION_FROM: i16 = 2;
const ASSIGNMENT_VERSION: i16 = 0;
/// Later versions only add to the end.
const VERSION_MAX: i16 = 3;

/// One member, as the group's leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemberSubscription {
    pub(crate) topics: BTreeSet<Arc<str>>,
    pub(crate) owned: BTreeSet<TopicPartition>,
    /// In which `owned` was assigned; -1 where the member does not say.
    pub(crate) generation: i32,
}

pub(crate) fn encode_subscription(member: &MemberSubscription, rack: Option<&str>) -> Bytes {
    let topic = |(name, partitions): (Arc<str>, Vec<i32>)| {
        OwnedTopic::default().with_topic(topic_name(&name)).with_partitions(partitions)
    };
    let message = ConsumerProtocolSubscription::default()
        .with_topics(member.topics.iter().map(|topic| text(topic)).collect())
        .with_owned_partitions(by_topic(&member.owned).into_iter().map(topic).collect())
        .with_generation_id(member.generation)
        .with_rack_id(rack.map(text));
    encode(SUBSCRIPTION_VERSION, &message)
}

/// None if it is not what Kafka's consumers write.
pub(crate) fn decode_subscription(mut bytes: Bytes) -> Option<MemberSubscription> {
    let version = bytes.try_get_i16().ok()?.clamp(0, VERSION_MAX);
    let message = ConsumerProtocolSubscription::decode(&mut bytes, version).ok()?;
    let generation = if version >= GENERATION_FROM {
        message.generation_id
    } else {
        message.user_data.and_then(|mut data| data.try_get_i32().ok()).unwrap_or(-1)
    };
    let owned = message.owned_partitions.iter().flat_map(|topic| {
        let name: Arc<str> = Arc::from(&*topic.topic.0);
        topic.partitions.iter().map(move |partition| TopicPartition::new(Arc::clone(&name), *partition))
    });
    Some(MemberSubscription {
        topics: message.topics.iter().map(|topic| Arc::from(&**topic)).collect(),
        owned: owned.collect(),
        generation,
    })
}

pub(crate) fn encode_assignment(partitions: &BTreeSet<TopicPartition>) -> Bytes {
    let topic = |(name, partitions): (Arc<str>, Vec<i32>)| {
        AssignedTopic::default().with_topic(topic_name(&name)).with_partitions(partitions)
    };
    let assigned = by_topic(partitions).into_iter().map(topic).collect();
    encode(ASSIGNMENT_VERSION, &ConsumerProtocolAssignment::default().with_assigned_partitions(assigned))
}

/// Nothing for a member that the leader left out; None if it is not what Kafka's consumers write.
pub(crate) fn decode_assignment(mut bytes: Bytes) -> Option<BTreeSet<TopicPartition>> {
    if bytes.is_empty() {
        return Some(BTreeSet::new());
    }
    let version = bytes.try_get_i16().ok()?.clamp(0, VERSION_MAX);
    let message = ConsumerProtocolAssignment::decode(&mut bytes, version).ok()?;
    let of_topic = |topic: &AssignedTopic| {
        let name: Arc<str> = Arc::from(&*topic.topic.0);
        topic
            .partitions
            .iter()
            .map(move |partition| TopicPartition::new(Arc::clone(&name), *partition))
            .collect::<Vec<_>>()
    };
    Some(message.assigned_partitions.iter().flat_map(of_topic).collect())
}

fn encode(version: i16, message: &impl Encodable) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(version);
    message.encode(&mut bytes, version).expect("every field is in this version and in memory already");
    bytes.freeze()
}

fn by_topic(partitions: &BTreeSet<TopicPartition>) -> BTreeMap<Arc<str>, Vec<i32>> {
    let mut topics: BTreeMap<Arc<str>, Vec<i32>> = BTreeMap::new();
    for one in partitions {
        topics.entry(Arc::clone(&one.topic)).or_default().push(one.partition);
    }
    topics
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> MemberSubscription {
        MemberSubscription {
            topics: [Arc::from("a"), Arc::from("b")].into(),
            owned: [TopicPartition::new("a", 0), TopicPartition::new("a", 2)].into(),
            generation: 7,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(decode_subscription(encode_subscription(&member(), Some("r1"))), Some(member()));
        assert_eq!(decode_assignment(encode_assignment(&member().owned)), Some(member().owned));
        assert_eq!(decode_assignment(Bytes::new()), Some(BTreeSet::new()));
        assert_eq!(decode_subscription(Bytes::from_static(&[0])), None);
    }

    /// As the sticky assignor of a consumer before version 2 has written it: version 1, topic `a`, generation 9 as the
    /// assignor's own data, partition 1 of `a` owned.
    #[test]
    fn an_older_members_generation_is_in_its_assignors_data() {
        let mut bytes = BytesMut::new();
        bytes.put_slice(&[0, 1, 0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 4, 0, 0, 0, 9]);
        bytes.put_slice(&[0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 1, 0, 0, 0, 1]);
        let read = decode_subscription(bytes.freeze()).unwrap();
        assert_eq!((read.generation, read.owned), (9, [TopicPartition::new("a", 1)].into()));
    }
}
