//! The few requests that producer and consumer need.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use millrace_protocol::batch::{Batch, stamp};
use millrace_protocol::frame::{RequestFrame, decode_body, encode_response};
use millrace_protocol::layout::Guarded;
use millrace_protocol::messages::api_versions_response::ApiVersion;
use millrace_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use millrace_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use millrace_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use millrace_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use millrace_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, FetchRequest, FetchResponse, InitProducerIdResponse,
    ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse, ProduceRequest,
    ProduceResponse, ProducerId, TopicName,
};
use millrace_protocol::private::{PARTITIONER_TAG, PrivateApi};
use millrace_protocol::{Encodable, ErrorCode, HeaderVersion, StrBytes};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{Fault, PartitionLog, State, plugins};

pub enum Answer {
    Reply(Bytes),
    /// As a long poll that found nothing.
    Wait(Bytes),
    /// Sent when the gate is open.
    Gated(Arc<Semaphore>, Bytes),
    Nothing,
    Disconnect,
}

/// Versions that name topics instead of giving their ids keep this short.
const VERSIONS: [(ApiKey, i16, i16); 6] = [
    (ApiKey::Produce, 3, 9),
    (ApiKey::Fetch, 4, 12),
    (ApiKey::ListOffsets, 1, 7),
    (ApiKey::Metadata, 1, 9),
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::InitProducerId, 0, 4),
];

pub fn answer(state: &Arc<Mutex<State>>, request: RequestFrame) -> Answer {
    let mut state = state.lock();
    if let Some(api) = PrivateApi::from_key(request.api_key) {
        return plugins::answer(&mut state.plugins, api, request);
    }
    match ApiKey::try_from(request.api_key).unwrap() {
        ApiKey::ApiVersions => reply(&request, ApiKey::ApiVersions, &api_versions()),
        ApiKey::Metadata => {
            let asked: MetadataRequest = body(&request);
            reply(&request, ApiKey::Metadata, &metadata(&mut state, asked))
        }
        ApiKey::InitProducerId => {
            let response =
                InitProducerIdResponse::default().with_producer_id(ProducerId(7)).with_producer_epoch(0);
            reply(&request, ApiKey::InitProducerId, &response)
        }
        ApiKey::ListOffsets => {
            let asked: ListOffsetsRequest = body(&request);
            reply(&request, ApiKey::ListOffsets, &list_offsets(&state, asked))
        }
        ApiKey::Produce => produce(&mut state, &request),
        ApiKey::Fetch => {
            let asked: FetchRequest = body(&request);
            state.fetch_requests += 1;
            let (response, empty) = fetch(&state, asked);
            match reply(&request, ApiKey::Fetch, &response) {
                Answer::Reply(bytes) if empty => Answer::Wait(bytes),
                answer => answer,
            }
        }
        other => panic!("the client asked for {other:?}"),
    }
}

fn body<T: Guarded>(request: &RequestFrame) -> T {
    decode_body(&mut request.body.clone(), request.api_version).unwrap()
}

fn reply<T: Encodable + HeaderVersion>(request: &RequestFrame, key: ApiKey, response: &T) -> Answer {
    let payload = encode_response(request.correlation_id, key, request.api_version, response).unwrap();
    Answer::Reply(payload.read_to_bytes().unwrap())
}

fn api_versions() -> ApiVersionsResponse {
    let api = |(key, min, max): (ApiKey, i16, i16)| {
        ApiVersion::default().with_api_key(key as i16).with_min_version(min).with_max_version(max)
    };
    ApiVersionsResponse::default().with_api_keys(VERSIONS.into_iter().map(api).collect())
}

fn metadata(state: &mut State, asked: MetadataRequest) -> MetadataResponse {
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(1))
        .with_host(StrBytes::from_static_str("127.0.0.1"))
        .with_port(i32::from(state.port));
    let mut topics = Vec::new();
    for topic in asked.topics.unwrap_or_default() {
        let name = topic.name.unwrap();
        let count = state.partitions_per_topic;
        state
            .topics
            .entry(name.0.to_string())
            .or_insert_with(|| (0..count).map(|_| PartitionLog::default()).collect());
        let partition = |index| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(BrokerId(1))
                .with_replica_nodes(vec![BrokerId(1)])
                .with_isr_nodes(vec![BrokerId(1)])
        };
        let partitions = (0..count as i32).map(partition).collect();
        let mut topic = MetadataResponseTopic::default().with_name(Some(name)).with_partitions(partitions);
        if state.plugins.partitioner.is_some() {
            topic = topic.with_unknown_tagged_field(PARTITIONER_TAG, Bytes::from_static(b"routing"));
        }
        topics.push(topic);
    }
    MetadataResponse::default().with_brokers(vec![broker]).with_controller_id(BrokerId(1)).with_topics(topics)
}

fn list_offsets(state: &State, asked: ListOffsetsRequest) -> ListOffsetsResponse {
    let topics = asked.topics.into_iter().map(|topic| {
        let log = &state.topics[topic.name.0.as_str()];
        let partitions = topic.partitions.into_iter().map(|partition| {
            let end = log[partition.partition_index as usize].end;
            ListOffsetsPartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_offset(if partition.timestamp == -2 { 0 } else { end })
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn produce(state: &mut State, request: &RequestFrame) -> Answer {
    state.produce_requests += 1;
    let asked: ProduceRequest = body(request);
    let acks = asked.acks;
    let mut refusal = 0;
    let mut after = None;
    match state.faults.pop_front() {
        Some(Fault::Refuse(code)) => refusal = code,
        Some(Fault::Disconnect) => return Answer::Disconnect,
        Some(Fault::StoreAndDisconnect) => after = Some(Answer::Disconnect),
        Some(Fault::Silence) => return Answer::Nothing,
        Some(Fault::ForgetProducers) => {
            state.topics.values_mut().flatten().for_each(|log| log.producers.clear());
        }
        None => {}
    }
    let mut topics = Vec::new();
    for topic in asked.topic_data {
        let logs = state.topics.get_mut(topic.name.0.as_str()).unwrap();
        let partitions = topic.partition_data.into_iter().map(|partition| {
            let response = PartitionProduceResponse::default().with_index(partition.index);
            if refusal != 0 {
                return response.with_error_code(refusal);
            }
            let limit = state.max_message_bytes;
            if limit != 0 && partition.records.as_ref().is_some_and(|records| records.len() > limit) {
                return response.with_error_code(ErrorCode::MessageTooLarge.code());
            }
            let Some(log) = logs.get_mut(partition.index as usize) else {
                return response.with_error_code(ErrorCode::UnknownTopicOrPartition.code());
            };
            match log.append(partition.records.unwrap()) {
                Ok(base) => response.with_base_offset(base),
                Err(code) => response.with_error_code(code.code()).with_base_offset(-1),
            }
        });
        let partitions = partitions.collect();
        topics
            .push(TopicProduceResponse::default().with_name(topic.name).with_partition_responses(partitions));
    }
    let response = ProduceResponse::default().with_responses(topics);
    match after {
        Some(after) => after,
        None if acks == 0 => Answer::Nothing,
        None => reply(request, ApiKey::Produce, &response),
    }
}

impl PartitionLog {
    /// Kafka's rules for sequences: an unknown producer starts at any epoch with 0, a known one goes on.
    fn append(&mut self, records: Bytes) -> Result<i64, ErrorCode> {
        let batch = Batch::parse(records).unwrap();
        batch.verify().unwrap();
        let header = batch.header;
        let base = self.end;
        if header.has_producer_id() {
            let known = self.producers.entry(header.producer_id).or_insert((
                header.producer_epoch,
                0,
                Default::default(),
            ));
            if header.producer_epoch < known.0 {
                return Err(ErrorCode::InvalidProducerEpoch);
            }
            if header.producer_epoch > known.0 {
                *known = (header.producer_epoch, 0, Default::default());
            }
            if let Some((_, offset)) = known.2.iter().find(|(sequence, _)| *sequence == header.base_sequence)
            {
                return Ok(*offset);
            }
            if header.base_sequence != known.1 {
                return Err(ErrorCode::OutOfOrderSequenceNumber);
            }
            known.1 += header.record_count;
            known.2.push_back((header.base_sequence, base));
            if known.2.len() > 5 {
                known.2.pop_front();
            }
        }
        let mut bytes = BytesMut::from(&batch.bytes[..]);
        stamp(&mut bytes, base, 0);
        self.batches.push(bytes.freeze());
        self.end += i64::from(header.record_count);
        Ok(base)
    }

    fn read(&self, from: i64, max: usize) -> Bytes {
        let mut found = BytesMut::new();
        for bytes in &self.batches {
            let header = millrace_protocol::batch::BatchHeader::parse(bytes).unwrap();
            if header.next_offset() > from && (found.is_empty() || found.len() + bytes.len() <= max) {
                found.extend_from_slice(bytes);
            }
        }
        found.freeze()
    }
}

fn fetch(state: &State, asked: FetchRequest) -> (FetchResponse, bool) {
    if state.fetch_error != 0 {
        return (FetchResponse::default().with_error_code(state.fetch_error), false);
    }
    let mut empty = true;
    let topics: Vec<_> = asked
        .topics
        .into_iter()
        .map(|topic| {
            let logs = &state.topics[topic.topic.0.as_str()];
            let partitions = topic.partitions.into_iter().map(|partition| {
                let log = &logs[partition.partition as usize];
                let response = PartitionData::default().with_partition_index(partition.partition);
                let response = response.with_high_watermark(log.end).with_log_start_offset(0);
                if partition.fetch_offset > log.end {
                    empty = false;
                    return response.with_error_code(ErrorCode::OffsetOutOfRange.code());
                }
                let records = log.read(partition.fetch_offset, partition.partition_max_bytes as usize);
                empty &= records.is_empty();
                response.with_records(Some(records))
            });
            let partitions = partitions.collect();
            FetchableTopicResponse::default().with_topic(TopicName(topic.topic.0)).with_partitions(partitions)
        })
        .collect();
    (FetchResponse::default().with_responses(topics), empty)
}
