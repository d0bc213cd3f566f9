//! Every version of every API can express what it has to say about a topic that exists, and about one that
//! does not: some versions lack a field, and an answer that sets it could not be encoded.

mod common;

use common::records::batch;
use common::requests::*;
use common::{Client, TestBroker};
use millrace_protocol::api::served;
use millrace_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use millrace_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use millrace_protocol::messages::delete_topics_request::DeleteTopicState;
use millrace_protocol::messages::describe_configs_request::DescribeConfigsResource;
use millrace_protocol::messages::describe_topic_partitions_request::TopicRequest;
use millrace_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use millrace_protocol::messages::metadata_request::MetadataRequestTopic;
use millrace_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use millrace_protocol::messages::*;
use millrace_protocol::messages::{
    alter_configs_request as alter, incremental_alter_configs_request as incremental,
};
use millrace_protocol::{Request, StrBytes};
use uuid::Uuid;

/// A topic to ask about.
#[derive(Clone, Copy)]
struct Asked {
    name: &'static str,
    id: Uuid,
}

impl Asked {
    fn name(self) -> TopicName {
        TopicName(StrBytes::from_static_str(self.name))
    }
}

async fn ask<R: Request>(client: &mut Client, asked: Asked, request: fn(i16, Asked) -> R) {
    let spec = served(R::KEY).expect("a served API");
    for version in spec.min..=spec.max {
        client.call(version, request(version, asked)).await;
    }
}

fn write(version: i16, asked: Asked) -> ProduceRequest {
    let records = batch(&["x"]);
    if version >= 13 { produce_by_id(asked.id, 0, records) } else { produce(asked.name, 0, 1, records) }
}

fn read(version: i16, asked: Asked) -> FetchRequest {
    let partition = vec![fetch_partition(0, 0)];
    let mut request =
        if version >= 13 { fetch_by_id(asked.id, partition) } else { fetch(asked.name, partition) };
    if version >= 15 {
        request.replica_id = BrokerId(-1);
    }
    request
}

fn list_offsets(_: i16, asked: Asked) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition::default().with_timestamp(0).with_current_leader_epoch(-1);
    let topic = ListOffsetsTopic::default().with_name(asked.name()).with_partitions(vec![partition]);
    ListOffsetsRequest::default().with_topics(vec![topic])
}

fn metadata(version: i16, asked: Asked) -> MetadataRequest {
    let named = MetadataRequestTopic::default().with_name(Some(asked.name()));
    let mut topics = vec![named];
    if version >= 12 {
        topics.push(MetadataRequestTopic::default().with_name(None).with_topic_id(asked.id));
    }
    if version >= 10 {
        topics[0].topic_id = asked.id;
    }
    let request = MetadataRequest::default().with_topics(Some(topics));
    if version >= 4 { request.with_allow_auto_topic_creation(false) } else { request }
}

fn create_topic(_: i16, asked: Asked) -> CreateTopicsRequest {
    create(vec![new_topic(asked.name, 1, &[]), new_topic("not a name", 1, &[])]).with_validate_only(true)
}

fn delete_topic(version: i16, asked: Asked) -> DeleteTopicsRequest {
    // What exists is named in a way that is refused, so that it goes on existing.
    if version < 6 {
        return DeleteTopicsRequest::default().with_topic_names(vec![topic_name("absent")]);
    }
    let both = DeleteTopicState::default().with_name(Some(asked.name())).with_topic_id(asked.id);
    let absent = DeleteTopicState::default().with_name(None).with_topic_id(Uuid::new_v4());
    DeleteTopicsRequest::default().with_topics(vec![both, absent])
}

fn delete_records(_: i16, asked: Asked) -> DeleteRecordsRequest {
    let topic = DeleteRecordsTopic::default()
        .with_name(asked.name())
        .with_partitions(vec![DeleteRecordsPartition::default()]);
    DeleteRecordsRequest::default().with_topics(vec![topic])
}

fn epoch_end(_: i16, asked: Asked) -> OffsetForLeaderEpochRequest {
    let partition = OffsetForLeaderPartition::default().with_current_leader_epoch(-1);
    let topic = OffsetForLeaderTopic::default().with_topic(asked.name()).with_partitions(vec![partition]);
    OffsetForLeaderEpochRequest::default().with_topics(vec![topic])
}

fn describe_configs(version: i16, asked: Asked) -> DescribeConfigsRequest {
    let of = |resource_type, name: &str| {
        let resource = DescribeConfigsResource::default().with_resource_type(resource_type);
        resource.with_resource_name(text(name)).with_configuration_keys(None)
    };
    DescribeConfigsRequest::default()
        .with_resources(vec![of(2, asked.name), of(4, "1"), of(4, "x")])
        .with_include_synonyms(true)
        .with_include_documentation(version >= 3)
}

fn alter_configs(_: i16, asked: Asked) -> AlterConfigsRequest {
    let resource = alter::AlterConfigsResource::default().with_resource_type(2);
    AlterConfigsRequest::default().with_resources(vec![resource.with_resource_name(text(asked.name))])
}

fn change_configs(_: i16, asked: Asked) -> IncrementalAlterConfigsRequest {
    let resource = incremental::AlterConfigsResource::default().with_resource_type(2);
    IncrementalAlterConfigsRequest::default()
        .with_resources(vec![resource.with_resource_name(text(asked.name))])
}

fn grow(_: i16, asked: Asked) -> CreatePartitionsRequest {
    let topic = CreatePartitionsTopic::default().with_name(asked.name()).with_count(1);
    CreatePartitionsRequest::default().with_topics(vec![topic.with_assignments(None)])
}

fn describe_partitions(_: i16, asked: Asked) -> DescribeTopicPartitionsRequest {
    let topic = TopicRequest::default().with_name(asked.name());
    DescribeTopicPartitionsRequest::default().with_topics(vec![topic]).with_response_partition_limit(5)
}

fn describe_log_dirs(_: i16, _: Asked) -> DescribeLogDirsRequest {
    DescribeLogDirsRequest::default().with_topics(None)
}

fn transactional(_: i16, asked: Asked) -> InitProducerIdRequest {
    let id = TransactionalId(StrBytes::from_static_str(asked.name));
    InitProducerIdRequest::default().with_transactional_id(Some(id))
}

fn coordinator(version: i16, asked: Asked) -> FindCoordinatorRequest {
    let key = StrBytes::from_static_str(asked.name);
    if version >= 4 {
        FindCoordinatorRequest::default().with_coordinator_keys(vec![key])
    } else {
        FindCoordinatorRequest::default().with_key(key)
    }
}

fn cluster(version: i16, _: Asked) -> DescribeClusterRequest {
    let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
    if version >= 1 { request.with_endpoint_type(1) } else { request }
}

#[tokio::test]
async fn every_version_can_tell_of_a_topic_and_of_its_absence() {
    let broker = TestBroker::start().await;
    let mut client = broker.client();
    let id = client.create_topic("t", 1, &[("segment.ms", "1000")]).await;
    let client = &mut client;
    for asked in [Asked { name: "t", id }, Asked { name: "absent", id: Uuid::new_v4() }] {
        ask(client, asked, write).await;
        ask(client, asked, read).await;
        ask(client, asked, list_offsets).await;
        ask(client, asked, metadata).await;
        ask(client, asked, create_topic).await;
        ask(client, asked, delete_topic).await;
        ask(client, asked, delete_records).await;
        ask(client, asked, epoch_end).await;
        ask(client, asked, describe_configs).await;
        ask(client, asked, alter_configs).await;
        ask(client, asked, change_configs).await;
        ask(client, asked, grow).await;
        ask(client, asked, describe_partitions).await;
        ask(client, asked, describe_log_dirs).await;
        ask(client, asked, transactional).await;
        ask(client, asked, coordinator).await;
        ask(client, asked, cluster).await;
    }
}
