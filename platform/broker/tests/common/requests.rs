//! Requests as tests need them, with the fields that do not matter left out.

use bytes::Bytes;
use millrace_protocol::StrBytes;
use millrace_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use millrace_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use millrace_protocol::messages::fetch_response::PartitionData;
use millrace_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use millrace_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use millrace_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use millrace_protocol::messages::produce_response::PartitionProduceResponse;
use millrace_protocol::messages::*;
use uuid::Uuid;

use super::Client;

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub fn new_topic(name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreatableTopic {
    let config = |(name, value): &(&str, &str)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    };
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(configs.iter().map(config).collect())
}

pub fn create(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(10_000)
}

/// A produce request for one partition, up to version 12.
pub fn produce(topic: &str, partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(acks)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![topic])
}

/// The same for version 13.
pub fn produce_by_id(topic: Uuid, partition: i32, records: Bytes) -> ProduceRequest {
    let mut request = produce("", partition, -1, records);
    request.topic_data[0].topic_id = topic;
    request
}

pub fn produced(response: &ProduceResponse) -> &PartitionProduceResponse {
    &response.responses[0].partition_responses[0]
}

pub fn fetch_partition(partition: i32, offset: i64) -> FetchPartition {
    FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20)
}

/// A fetch outside any session, up to version 12.
pub fn fetch(topic: &str, partitions: Vec<FetchPartition>) -> FetchRequest {
    let topic = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(partitions);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// The same from version 13 on.
pub fn fetch_by_id(topic: Uuid, partitions: Vec<FetchPartition>) -> FetchRequest {
    let mut request = fetch("", partitions);
    request.topics[0].topic_id = topic;
    request
}

pub fn fetched(response: &FetchResponse) -> &PartitionData {
    &response.responses[0].partitions[0]
}

impl Client {
    /// Creates a topic and gives its id.
    pub async fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Uuid {
        let response = self.call(7, create(vec![new_topic(name, partitions, configs)])).await;
        assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
        response.topics[0].topic_id
    }

    /// Writes records that must be taken; gives the offset of the first.
    pub async fn write(&mut self, topic: &str, partition: i32, values: &[&str]) -> i64 {
        let response = self.call(9, produce(topic, partition, -1, super::records::batch(values))).await;
        let answer = produced(&response);
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        answer.base_offset
    }

    /// Everything in a partition from `offset` on, at least one record.
    pub async fn read(&mut self, topic: &str, partition: i32, mut offset: i64) -> Vec<String> {
        let mut values = Vec::new();
        loop {
            let request = fetch(topic, vec![fetch_partition(partition, offset)]).with_max_wait_ms(5_000);
            let mut response = self.call(11, request).await;
            let answer = &mut response.responses[0].partitions[0];
            assert_eq!(answer.error_code, 0);
            let records = super::records::records(answer.records.take());
            offset = records.last().expect("at least one record").0 + 1;
            values.extend(records.into_iter().map(|(_, value)| value));
            if offset >= answer.high_watermark {
                return values;
            }
        }
    }

    pub async fn list_offset(
        &mut self,
        version: i16,
        topic: &str,
        timestamp: i64,
    ) -> ListOffsetsPartitionResponse {
        let partition =
            ListOffsetsPartition::default().with_timestamp(timestamp).with_current_leader_epoch(-1);
        let topic = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let mut response = self.call(version, request).await;
        response.topics.remove(0).partitions.remove(0)
    }
}
