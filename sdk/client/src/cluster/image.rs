//! One metadata response, in the client's terms.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use millrace_base::TopicId;
use millrace_protocol::ErrorCode;
use millrace_protocol::StrBytes;
use millrace_protocol::messages::metadata_request::MetadataRequestTopic;
use millrace_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use millrace_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use millrace_protocol::private::PARTITIONER_TAG;

use super::broker::BrokerInfo;
use crate::error::{RequestError, refused};

/// The cluster at one moment; never changed, replaced as a whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pub(crate) controller: Option<i32>,
    pub(crate) brokers: Vec<BrokerInfo>,
    pub(crate) topics: HashMap<Arc<str>, Arc<TopicImage>>,
    /// Why a topic that was asked for is not in `topics`.
    pub(crate) refusals: HashMap<String, RequestError>,
    /// When the request for this was sent.
    pub(crate) asked_at: Option<Instant>,
}

#[derive(Clone, Debug)]
pub(crate) struct TopicImage {
    pub(crate) name: Arc<str>,
    pub(crate) id: TopicId,
    pub(crate) internal: bool,
    /// Whether a plugin on the brokers chooses the partitions of records whose senders do not.
    pub(crate) has_partitioner: bool,
    /// By number, without gaps.
    pub(crate) partitions: Vec<PartitionImage>,
}

#[derive(Clone, Debug)]
pub(crate) struct PartitionImage {
    pub(crate) leader: Option<i32>,
    pub(crate) leader_epoch: i32,
    pub(crate) replicas: Vec<i32>,
    pub(crate) isr: Vec<i32>,
    pub(crate) offline: Vec<i32>,
}

impl TopicImage {
    pub(crate) fn has_leaders(&self) -> bool {
        !self.partitions.is_empty() && self.partitions.iter().all(|partition| partition.leader.is_some())
    }
}

/// A request for `names`; `None` is all topics.
pub(crate) fn metadata_request(names: Option<&[String]>, auto_create: bool) -> MetadataRequest {
    let topics = names.map(|names| {
        let topic = |name: &String| {
            MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string(name.clone()))))
        };
        names.iter().map(topic).collect()
    });
    MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(auto_create)
}

impl Image {
    pub(crate) fn from_response(response: MetadataResponse, asked_at: Instant) -> Self {
        let mut image = Self {
            controller: Some(response.controller_id.0).filter(|id| *id >= 0),
            brokers: Vec::with_capacity(response.brokers.len()),
            topics: HashMap::with_capacity(response.topics.len()),
            refusals: HashMap::new(),
            asked_at: Some(asked_at),
        };
        for broker in response.brokers {
            image.brokers.push(BrokerInfo {
                id: broker.node_id.0,
                host: broker.host.to_string(),
                port: u16::try_from(broker.port).unwrap_or_default(),
                rack: broker.rack.map(|rack| rack.to_string()),
            });
        }
        for topic in response.topics {
            let name = topic.name.as_ref().map_or("", |name| name.0.as_str()).to_owned();
            if topic.error_code == ErrorCode::UnknownTopicOrPartition.code() {
                image.refusals.insert(name.clone(), RequestError::UnknownTopic { topic: name });
            } else if topic.error_code != 0 && topic.partitions.is_empty() {
                let error = refused("Metadata", format!("topic '{name}'"), topic.error_code, None);
                image.refusals.insert(name, error);
            } else {
                let topic = TopicImage::from_response(name, topic);
                image.topics.insert(Arc::clone(&topic.name), Arc::new(topic));
            }
        }
        image
    }
}

impl TopicImage {
    fn from_response(name: String, topic: MetadataResponseTopic) -> Self {
        let mut partitions = topic.partitions;
        partitions.sort_by_key(|partition| partition.partition_index);
        Self {
            name: name.into(),
            id: TopicId(topic.topic_id),
            internal: topic.is_internal,
            has_partitioner: topic.unknown_tagged_fields.contains_key(&PARTITIONER_TAG),
            partitions: partitions.into_iter().map(PartitionImage::from_response).collect(),
        }
    }
}

impl PartitionImage {
    fn from_response(partition: MetadataResponsePartition) -> Self {
        let ids = |ids: Vec<millrace_protocol::messages::BrokerId>| ids.into_iter().map(|id| id.0).collect();
        Self {
            leader: Some(partition.leader_id.0).filter(|id| *id >= 0),
            leader_epoch: partition.leader_epoch,
            replicas: ids(partition.replica_nodes),
            isr: ids(partition.isr_nodes),
            offline: ids(partition.offline_replicas),
        }
    }
}
