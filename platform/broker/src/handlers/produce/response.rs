//! The response to a produce request while it is being put together.

use std::sync::Arc;

use millrace_base::BrokerId;
use millrace_log::Appended;
use millrace_metadata::{Image, Topic};
use millrace_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use millrace_protocol::messages::{self, ProduceResponse};
use millrace_protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

use super::{NAMES_TOPICS_BY_ID, lookup};
use crate::call::Call;
use crate::checked_append::Failure;

/// From this version on errors come with a text and the records to blame (KIP-467).
const TELLS_RECORD_ERRORS: i16 = 8;
/// From this version on a producer learns who leads instead (KIP-951).
const TELLS_LEADER: i16 = 10;

/// Where a partition's answer stands: the topic's and the partition's position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(usize, usize);

/// Answers, topic by topic. It keeps nothing of the request's buffer, which is needed for other requests
/// while this one waits.
pub(super) struct Answers {
    call: Call,
    response: ProduceResponse,
    first_failure: Option<String>,
}

impl Answers {
    pub(super) fn new(call: &Call, topics: usize) -> Self {
        let response = ProduceResponse::default().with_responses(Vec::with_capacity(topics));
        Self { call: call.clone(), response, first_failure: None }
    }

    pub(super) fn begin_topic(&mut self, name: &str, id: Uuid, partitions: usize) {
        let mut topic =
            TopicProduceResponse::default().with_partition_responses(Vec::with_capacity(partitions));
        if self.call.version < NAMES_TOPICS_BY_ID {
            topic.name = lookup::wire_name(name);
        } else {
            topic.topic_id = id;
        }
        self.response.responses.push(topic);
    }

    fn push(&mut self, partition: PartitionProduceResponse) -> Place {
        let topic = self.response.responses.len() - 1;
        let partitions = &mut self.response.responses[topic].partition_responses;
        partitions.push(partition);
        Place(topic, partitions.len() - 1)
    }

    pub(super) fn appended(&mut self, index: i32, appended: &Appended) -> Place {
        self.push(
            PartitionProduceResponse::default()
                .with_index(index)
                .with_base_offset(appended.base_offset)
                .with_log_append_time_ms(appended.log_append_time_ms)
                .with_log_start_offset(appended.log_start_offset),
        )
    }

    pub(super) fn failed(&mut self, index: i32, topic: Option<&Arc<Topic>>, image: &Image, failure: Failure) {
        let mut partition = PartitionProduceResponse::default()
            .with_index(index)
            .with_error_code(self.call.fail(failure.code))
            .with_base_offset(-1)
            .with_log_append_time_ms(-1)
            .with_log_start_offset(failure.log_start_offset);
        if self.call.version >= TELLS_LEADER
            && failure.code == ErrorCode::NotLeaderOrFollower
            && let Some(topic) = topic
        {
            self.tell_leader(&mut partition, topic, image);
        }
        if self.first_failure.is_none() {
            let (name, code) = (topic.map_or("?", |topic| &topic.name), failure.code);
            let message = failure.message.as_deref().unwrap_or_default();
            self.first_failure = Some(format!("topic '{name}' partition {index}: {code:?} {message}"));
        }
        if self.call.version >= TELLS_RECORD_ERRORS {
            partition.error_message = failure.message.map(StrBytes::from_string);
            let record = |(index, message)| {
                BatchIndexAndErrorMessage::default()
                    .with_batch_index(index)
                    .with_batch_index_error_message(Some(StrBytes::from_static_str(message)))
            };
            partition.record_errors = failure.records.into_iter().map(record).collect();
        }
        self.push(partition);
    }

    fn tell_leader(&mut self, partition: &mut PartitionProduceResponse, topic: &Topic, image: &Image) {
        let Some(known) = usize::try_from(partition.index).ok().and_then(|at| topic.partitions.get(at))
        else {
            return;
        };
        let Some(broker) =
            lookup::leader(&self.call.state, topic, partition.index).and_then(|id| image.broker(id))
        else {
            return;
        };
        let BrokerId(id) = broker.registration.id;
        let node_id = messages::BrokerId(id);
        partition.current_leader =
            LeaderIdAndEpoch::default().with_leader_id(node_id).with_leader_epoch(known.leader_epoch.0);
        let endpoints = &mut self.response.node_endpoints;
        if endpoints.iter().all(|endpoint| endpoint.node_id != node_id) {
            let endpoint = NodeEndpoint::default()
                .with_node_id(node_id)
                .with_host(StrBytes::from_string(broker.registration.host.clone()))
                .with_port(broker.registration.port.into())
                .with_rack(broker.registration.rack.clone().map(StrBytes::from_string));
            endpoints.push(endpoint);
        }
    }

    /// Turns an append that was not replicated into an error.
    pub(super) fn fail_at(&mut self, place: Place, code: ErrorCode) {
        let partition = &mut self.response.responses[place.0].partition_responses[place.1];
        partition.error_code = self.call.fail(code);
        partition.base_offset = -1;
        partition.log_append_time_ms = -1;
        partition.log_start_offset = -1;
    }

    /// The first refusal in words, for a producer that gets no answer.
    pub(super) fn first_failure(&self) -> Option<&str> {
        self.first_failure.as_deref()
    }

    pub(super) fn into_response(self) -> ProduceResponse {
        self.response
    }
}
