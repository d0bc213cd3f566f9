//! Metadata (0 to 13): brokers, topics and who leads their partitions.
//!
//! A topic that is asked for by name and does not exist is created, if both the broker's settings and the
//! request allow it. Unlike Kafka, which answers with an error and lets the client ask again, the answer
//! waits for the new topic, and for this broker's part of it, whoever made it.
//!
//! A topic with a partitioner carries its deployment's name in a tagged field of our own; who knows it asks the
//! partitioner, who does not places records as ever.

use std::sync::Arc;

use hashbrown::HashSet;
use millrace_metadata::{Image, Topic};
use millrace_protocol::messages::metadata_request::MetadataRequestTopic;
use millrace_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use millrace_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use millrace_protocol::private::PARTITIONER_TAG;
use millrace_protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

use super::lookup::{self, NO_BROKER, is_internal, wire_brokers, wire_name};
use super::operations::{ON_CLUSTER, ON_TOPIC, told_if};
use crate::call::Call;
use crate::topic_creation::{NewTopic, create};

/// Up to this version an empty list of topics means all of them.
const EMPTY_MEANS_ALL: i16 = 0;
/// From this version on a request may forbid creating topics; before, it allows it.
const MAY_FORBID_CREATION: i16 = 4;
/// From this version on topics may be asked for by their ids.
const NAMES_TOPICS_BY_ID: i16 = 12;
/// From this version on the answer tells ids.
const TELLS_IDS: i16 = 10;
/// From this version on there are tagged fields, which clients that do not know one skip (KIP-482).
const FLEXIBLE: i16 = 9;
/// In these versions the answer tells what may be done with the cluster.
const TELLS_CLUSTER_OPERATIONS: std::ops::RangeInclusive<i16> = 8..=10;

pub(crate) async fn handle(call: &Call, mut request: MetadataRequest) -> MetadataResponse {
    if call.version >= NAMES_TOPICS_BY_ID {
        // Kafka's client says an empty name beside the id, and Kafka does not read it.
        let by_id = request.topics.iter_mut().flatten().filter(|topic| !topic.topic_id.is_nil());
        by_id.for_each(|topic| topic.name = None);
    }
    let topics = match &request.topics {
        None => None,
        Some(topics) if topics.is_empty() && call.version <= EMPTY_MEANS_ALL => None,
        // Each once, however often it is named.
        Some(topics) => {
            let mut seen = HashSet::new();
            let once = topics.iter().filter(|topic| seen.insert((topic.name.as_deref(), topic.topic_id)));
            Some(once.collect::<Vec<_>>())
        }
    };
    if let Some(topics) = &topics {
        create_missing(call, &request, topics).await;
    }
    let state = &call.state;
    let image = lookup::served_image(state).await;
    let mut response = MetadataResponse::default()
        .with_cluster_id(Some(StrBytes::from_string(image.cluster_id().to_owned())))
        .with_controller_id(state.metadata.controller().map_or(NO_BROKER, |id| BrokerId(id.0)));
    if TELLS_CLUSTER_OPERATIONS.contains(&call.version) {
        response.cluster_authorized_operations =
            told_if(request.include_cluster_authorized_operations, ON_CLUSTER);
    }
    response.brokers = image.brokers().values().map(|broker| wire_broker(&broker.registration)).collect();
    let operations = told_if(request.include_topic_authorized_operations, ON_TOPIC);
    response.topics = match topics {
        None => image.topics().map(|topic| describe(call, &image, topic, operations)).collect(),
        Some(topics) => topics.into_iter().map(|asked| answer(call, &image, asked, operations)).collect(),
    };
    response
}

fn wire_broker(broker: &millrace_metadata::BrokerRegistration) -> MetadataResponseBroker {
    MetadataResponseBroker::default()
        .with_node_id(BrokerId(broker.id.0))
        .with_host(StrBytes::from_string(broker.host.clone()))
        .with_port(broker.port.into())
        .with_rack(broker.rack.clone().map(StrBytes::from_string))
}

/// Creates the topics that are asked for by name and do not exist, where that is allowed. One that cannot
/// be created is answered as unknown; why is for those who create it on purpose to hear.
async fn create_missing(call: &Call, request: &MetadataRequest, topics: &[&MetadataRequestTopic]) {
    let allowed = request.allow_auto_topic_creation || call.version < MAY_FORBID_CREATION;
    if !allowed || !call.state.config.topics.auto_create {
        return;
    }
    let image = call.state.metadata.image();
    for name in topics.iter().filter_map(|topic| topic.name.as_ref()) {
        let valid = millrace_metadata::topic_name::validate(name).is_ok();
        if !valid || is_internal(name) || image.topic_by_name(name).is_some() {
            continue;
        }
        match create(&call.state, NewTopic::with_defaults(name.to_string())).await {
            Ok(()) => tracing::info!(topic = %name.0, "created a topic that was asked for"),
            Err(refusal) if refusal.code == ErrorCode::TopicAlreadyExists => {}
            // Clients that are told that it is unknown ask again and again.
            Err(refusal) if call.state.refused_topics.is_new(name, &refusal.message) => {
                tracing::warn!(topic = %name.0, reason = refusal.message, "cannot create a topic that was asked for");
            }
            Err(refusal) => {
                tracing::debug!(topic = %name.0, reason = refusal.message, "cannot create a topic, still");
            }
        }
    }
}

fn answer(
    call: &Call,
    image: &Image,
    asked: &MetadataRequestTopic,
    operations: i32,
) -> MetadataResponseTopic {
    let found = match &asked.name {
        Some(name) => match lookup::by_name(image, name) {
            Err(_) if millrace_metadata::topic_name::validate(name).is_err() => {
                Err(ErrorCode::InvalidTopicException)
            }
            found => found,
        },
        None if call.version < NAMES_TOPICS_BY_ID => Err(ErrorCode::InvalidRequest),
        None => lookup::by_id(image, asked.topic_id),
    };
    match found {
        Ok(topic) => describe(call, image, topic, operations),
        Err(error) => {
            let mut topic = MetadataResponseTopic::default().with_error_code(call.fail(error));
            if call.version >= *TELLS_CLUSTER_OPERATIONS.start() {
                topic.topic_authorized_operations = operations;
            }
            topic.name = match &asked.name {
                // Up to version 11 a name is never null.
                None if call.version < NAMES_TOPICS_BY_ID => Some(TopicName::default()),
                name => name.clone(),
            };
            topic.is_internal =
                topic.name.as_ref().is_some_and(|name| is_internal(name)) && call.version >= 1;
            if call.version >= TELLS_IDS {
                topic.topic_id = asked.topic_id;
            }
            topic
        }
    }
}

fn describe(call: &Call, image: &Image, topic: &Arc<Topic>, operations: i32) -> MetadataResponseTopic {
    let partition = |(index, partition): (i32, &Arc<millrace_metadata::Partition>)| {
        let offline: Vec<_> =
            partition.replicas.iter().filter(|id| image.broker(**id).is_none()).copied().collect();
        let leader = lookup::leader(&call.state, topic, index);
        let mut wire = MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(leader.map_or(NO_BROKER, |id| BrokerId(id.0)))
            .with_leader_epoch(partition.leader_epoch.0)
            .with_replica_nodes(wire_brokers(&partition.replicas))
            .with_isr_nodes(wire_brokers(&partition.isr))
            .with_offline_replicas(wire_brokers(&offline));
        if leader.is_none() {
            wire.error_code = call.fail(ErrorCode::LeaderNotAvailable);
        }
        wire
    };
    let mut wire = MetadataResponseTopic::default()
        .with_name(Some(wire_name(&topic.name)))
        .with_is_internal(is_internal(&topic.name))
        .with_partitions((0..).zip(&topic.partitions).map(partition).collect());
    wire.topic_id = if call.version >= TELLS_IDS { topic.id.0 } else { Uuid::nil() };
    if call.version >= *TELLS_CLUSTER_OPERATIONS.start() {
        wire.topic_authorized_operations = operations;
    }
    if call.version >= FLEXIBLE
        && let Some(deployment) =
            call.state.plugins.get().and_then(|plugins| plugins.partitioner(&topic.name))
    {
        wire.unknown_tagged_fields.insert(PARTITIONER_TAG, deployment.into());
    }
    wire
}
