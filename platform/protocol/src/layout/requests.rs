//! Layouts of the requests that a broker serves, as `kafka-protocol` decodes them.

use kafka_protocol::messages::{
    alter_configs_request, api_versions_request, create_partitions_request, create_topics_request,
    delete_records_request, delete_topics_request, describe_cluster_request, describe_configs_request,
    describe_log_dirs_request, describe_topic_partitions_request, fetch_request, find_coordinator_request,
    incremental_alter_configs_request, init_producer_id_request, list_offsets_request, metadata_request,
    offset_for_leader_epoch_request, produce_request,
};

use super::{
    BOOL, BYTES, I8, I16, I32, I32_ARRAY, I64, STRING, STRING_ARRAY, UUID, array, layouts, nested, optional,
    version_or,
};

layouts! {
    produce_request::PartitionProduceData, flexible 9 { index: I32; records: BYTES; }
    produce_request::TopicProduceData, flexible 9 {
        name: STRING, until 12;
        topic_id: UUID, since 13;
        partition_data: array::<produce_request::PartitionProduceData>();
    }
    produce_request::ProduceRequest, flexible 9 {
        transactional_id: STRING;
        acks: I16;
        timeout_ms: I32;
        topic_data: array::<produce_request::TopicProduceData>();
    }

    fetch_request::ReplicaState, flexible 12 { replica_id: I32, since 15; replica_epoch: I64, since 15; }
    fetch_request::FetchPartition, flexible 12 {
        partition: I32;
        current_leader_epoch: I32, since 9;
        fetch_offset: I64;
        last_fetched_epoch: I32, since 12;
        log_start_offset: I64, since 5;
        partition_max_bytes: I32;
    }, tagged {
        0 => replica_directory_id: UUID, since 17;
        1 => high_watermark: I64, since 18;
    }
    fetch_request::FetchTopic, flexible 12 {
        topic: STRING, until 12;
        topic_id: UUID, since 13;
        partitions: array::<fetch_request::FetchPartition>();
    }
    fetch_request::ForgottenTopic, flexible 12 {
        topic: STRING, since 7, until 12;
        topic_id: UUID, since 13;
        partitions: I32_ARRAY, since 7;
    }
    fetch_request::FetchRequest, flexible 12 {
        replica_id: I32, until 14;
        max_wait_ms: I32;
        min_bytes: I32;
        max_bytes: I32;
        isolation_level: I8;
        session_id: I32, since 7;
        session_epoch: I32, since 7;
        topics: array::<fetch_request::FetchTopic>();
        forgotten_topics_data: array::<fetch_request::ForgottenTopic>(), since 7;
        rack_id: STRING, since 11;
    }, tagged {
        0 => cluster_id: STRING;
        1 => replica_state: nested::<fetch_request::ReplicaState>(), since 15;
    }

    list_offsets_request::ListOffsetsPartition, flexible 6 {
        partition_index: I32;
        current_leader_epoch: I32, since 4;
        timestamp: I64;
    }
    list_offsets_request::ListOffsetsTopic, flexible 6 {
        name: STRING;
        partitions: array::<list_offsets_request::ListOffsetsPartition>();
    }
    list_offsets_request::ListOffsetsRequest, flexible 6 {
        replica_id: I32;
        isolation_level: I8, since 2;
        topics: array::<list_offsets_request::ListOffsetsTopic>();
        timeout_ms: I32, since 10;
    }

    metadata_request::MetadataRequestTopic, flexible 9 { topic_id: UUID, since 10; name: STRING; }
    metadata_request::MetadataRequest, flexible 9 {
        topics: array::<metadata_request::MetadataRequestTopic>();
        allow_auto_topic_creation: BOOL, since 4;
        include_cluster_authorized_operations: BOOL, since 8, until 10;
        include_topic_authorized_operations: BOOL, since 8;
    }

    find_coordinator_request::FindCoordinatorRequest, flexible 3 {
        key: STRING, until 3;
        key_type: I8, since 1;
        coordinator_keys: STRING_ARRAY, since 4;
    }

    api_versions_request::ApiVersionsRequest, flexible 3 {
        client_software_name: STRING, since 3;
        client_software_version: STRING, since 3;
    }

    create_topics_request::CreatableReplicaAssignment, flexible 5 {
        partition_index: I32;
        broker_ids: I32_ARRAY;
    }
    create_topics_request::CreatableTopicConfig, flexible 5 { name: STRING; value: STRING; }
    create_topics_request::CreatableTopic, flexible 5 {
        name: STRING;
        num_partitions: I32;
        replication_factor: I16;
        assignments: array::<create_topics_request::CreatableReplicaAssignment>();
        configs: array::<create_topics_request::CreatableTopicConfig>();
    }
    create_topics_request::CreateTopicsRequest, flexible 5 {
        topics: array::<create_topics_request::CreatableTopic>();
        timeout_ms: I32;
        validate_only: BOOL;
    }

    delete_topics_request::DeleteTopicState, flexible 4 { name: STRING, since 6; topic_id: UUID, since 6; }
    delete_topics_request::DeleteTopicsRequest, flexible 4 {
        topics: array::<delete_topics_request::DeleteTopicState>(), since 6;
        topic_names: STRING_ARRAY, until 5;
        timeout_ms: I32;
    }

    delete_records_request::DeleteRecordsPartition, flexible 2 { partition_index: I32; offset: I64; }
    delete_records_request::DeleteRecordsTopic, flexible 2 {
        name: STRING;
        partitions: array::<delete_records_request::DeleteRecordsPartition>();
    }
    delete_records_request::DeleteRecordsRequest, flexible 2 {
        topics: array::<delete_records_request::DeleteRecordsTopic>();
        timeout_ms: I32;
    }

    init_producer_id_request::InitProducerIdRequest, flexible 2 {
        transactional_id: STRING;
        transaction_timeout_ms: I32;
        producer_id: I64, since 3;
        producer_epoch: I16, since 3;
    }

    offset_for_leader_epoch_request::OffsetForLeaderPartition, flexible 4 {
        partition: I32;
        current_leader_epoch: I32;
        leader_epoch: I32;
    }
    offset_for_leader_epoch_request::OffsetForLeaderTopic, flexible 4 {
        topic: STRING;
        partitions: array::<offset_for_leader_epoch_request::OffsetForLeaderPartition>();
    }
    offset_for_leader_epoch_request::OffsetForLeaderEpochRequest, flexible 4 {
        replica_id: I32, since 3;
        topics: array::<offset_for_leader_epoch_request::OffsetForLeaderTopic>();
    }

    describe_configs_request::DescribeConfigsResource, flexible 4 {
        resource_type: I8;
        resource_name: STRING;
        configuration_keys: STRING_ARRAY;
    }
    describe_configs_request::DescribeConfigsRequest, flexible 4 {
        resources: array::<describe_configs_request::DescribeConfigsResource>();
        include_synonyms: BOOL;
        include_documentation: BOOL, since 3;
    }

    alter_configs_request::AlterableConfig, flexible 2 { name: STRING; value: STRING; }
    alter_configs_request::AlterConfigsResource, flexible 2 {
        resource_type: I8;
        resource_name: STRING;
        configs: array::<alter_configs_request::AlterableConfig>();
    }
    alter_configs_request::AlterConfigsRequest, flexible 2 {
        resources: array::<alter_configs_request::AlterConfigsResource>();
        validate_only: BOOL;
    }

    describe_log_dirs_request::DescribableLogDirTopic, flexible 2 { topic: STRING; partitions: I32_ARRAY; }
    describe_log_dirs_request::DescribeLogDirsRequest, flexible 2 {
        topics: array::<describe_log_dirs_request::DescribableLogDirTopic>();
    }

    create_partitions_request::CreatePartitionsAssignment, flexible 2 { broker_ids: I32_ARRAY; }
    create_partitions_request::CreatePartitionsTopic, flexible 2 {
        name: STRING;
        count: I32;
        assignments: array::<create_partitions_request::CreatePartitionsAssignment>();
    }
    create_partitions_request::CreatePartitionsRequest, flexible 2 {
        topics: array::<create_partitions_request::CreatePartitionsTopic>();
        timeout_ms: I32;
        validate_only: BOOL;
    }

    incremental_alter_configs_request::AlterableConfig, flexible 1 {
        name: STRING;
        config_operation: I8;
        value: STRING;
    }
    incremental_alter_configs_request::AlterConfigsResource, flexible 1 {
        resource_type: I8;
        resource_name: STRING;
        configs: array::<incremental_alter_configs_request::AlterableConfig>();
    }
    incremental_alter_configs_request::IncrementalAlterConfigsRequest, flexible 1 {
        resources: array::<incremental_alter_configs_request::AlterConfigsResource>();
        validate_only: BOOL;
    }

    describe_cluster_request::DescribeClusterRequest, flexible 0 {
        include_cluster_authorized_operations: BOOL;
        endpoint_type: I8, since 1;
        include_fenced_brokers: BOOL, since 2;
    }

    describe_topic_partitions_request::TopicRequest, flexible 0 { name: STRING; }
    describe_topic_partitions_request::Cursor, flexible 0 { topic_name: STRING; partition_index: I32; }
    describe_topic_partitions_request::DescribeTopicPartitionsRequest, flexible 0 {
        topics: array::<describe_topic_partitions_request::TopicRequest>();
        response_partition_limit: I32;
        cursor: optional::<describe_topic_partitions_request::Cursor>();
    }
}
