//! Layouts of the responses that a client reads, as `kafka-protocol` decodes them.

use kafka_protocol::messages::{
    alter_configs_response, api_versions_response, create_partitions_response, create_topics_response,
    delete_records_response, delete_topics_response, describe_cluster_response, describe_configs_response,
    describe_log_dirs_response, describe_topic_partitions_response, fetch_response,
    find_coordinator_response, incremental_alter_configs_response, init_producer_id_response,
    list_offsets_response, metadata_response, offset_for_leader_epoch_response, produce_response,
};

use super::{
    BOOL, BYTES, I8, I16, I32, I32_ARRAY, I64, STRING, UUID, array, layouts, nested, optional, version_or,
};

layouts! {
    produce_response::BatchIndexAndErrorMessage, flexible 9 {
        batch_index: I32, since 8;
        batch_index_error_message: STRING, since 8;
    }
    produce_response::LeaderIdAndEpoch, flexible 9 { leader_id: I32, since 10; leader_epoch: I32, since 10; }
    produce_response::PartitionProduceResponse, flexible 9 {
        index: I32;
        error_code: I16;
        base_offset: I64;
        log_append_time_ms: I64;
        log_start_offset: I64, since 5;
        record_errors: array::<produce_response::BatchIndexAndErrorMessage>(), since 8;
        error_message: STRING, since 8;
    }, tagged {
        0 => current_leader: nested::<produce_response::LeaderIdAndEpoch>(), since 10;
    }
    produce_response::TopicProduceResponse, flexible 9 {
        name: STRING, until 12;
        topic_id: UUID, since 13;
        partition_responses: array::<produce_response::PartitionProduceResponse>();
    }
    produce_response::NodeEndpoint, flexible 9 {
        node_id: I32, since 10;
        host: STRING, since 10;
        port: I32, since 10;
        rack: STRING, since 10;
    }
    produce_response::ProduceResponse, flexible 9 {
        responses: array::<produce_response::TopicProduceResponse>();
        throttle_time_ms: I32;
    }, tagged {
        0 => node_endpoints: array::<produce_response::NodeEndpoint>(), since 10;
    }

    fetch_response::EpochEndOffset, flexible 12 { epoch: I32, since 12; end_offset: I64, since 12; }
    fetch_response::LeaderIdAndEpoch, flexible 12 { leader_id: I32, since 12; leader_epoch: I32, since 12; }
    fetch_response::SnapshotId, flexible 12 { end_offset: I64; epoch: I32; }
    fetch_response::AbortedTransaction, flexible 12 { producer_id: I64; first_offset: I64; }
    fetch_response::PartitionData, flexible 12 {
        partition_index: I32;
        error_code: I16;
        high_watermark: I64;
        last_stable_offset: I64;
        log_start_offset: I64, since 5;
        aborted_transactions: array::<fetch_response::AbortedTransaction>();
        preferred_read_replica: I32, since 11;
        records: BYTES;
    }, tagged {
        0 => diverging_epoch: nested::<fetch_response::EpochEndOffset>();
        1 => current_leader: nested::<fetch_response::LeaderIdAndEpoch>();
        2 => snapshot_id: nested::<fetch_response::SnapshotId>();
    }
    fetch_response::FetchableTopicResponse, flexible 12 {
        topic: STRING, until 12;
        topic_id: UUID, since 13;
        partitions: array::<fetch_response::PartitionData>();
    }
    fetch_response::NodeEndpoint, flexible 12 {
        node_id: I32, since 16;
        host: STRING, since 16;
        port: I32, since 16;
        rack: STRING, since 16;
    }
    fetch_response::FetchResponse, flexible 12 {
        throttle_time_ms: I32;
        error_code: I16, since 7;
        session_id: I32, since 7;
        responses: array::<fetch_response::FetchableTopicResponse>();
    }, tagged {
        0 => node_endpoints: array::<fetch_response::NodeEndpoint>(), since 16;
    }

    list_offsets_response::ListOffsetsPartitionResponse, flexible 6 {
        partition_index: I32;
        error_code: I16;
        timestamp: I64;
        offset: I64;
        leader_epoch: I32, since 4;
    }
    list_offsets_response::ListOffsetsTopicResponse, flexible 6 {
        name: STRING;
        partitions: array::<list_offsets_response::ListOffsetsPartitionResponse>();
    }
    list_offsets_response::ListOffsetsResponse, flexible 6 {
        throttle_time_ms: I32, since 2;
        topics: array::<list_offsets_response::ListOffsetsTopicResponse>();
    }

    metadata_response::MetadataResponseBroker, flexible 9 {
        node_id: I32;
        host: STRING;
        port: I32;
        rack: STRING, since 1;
    }
    metadata_response::MetadataResponsePartition, flexible 9 {
        error_code: I16;
        partition_index: I32;
        leader_id: I32;
        leader_epoch: I32, since 7;
        replica_nodes: I32_ARRAY;
        isr_nodes: I32_ARRAY;
        offline_replicas: I32_ARRAY, since 5;
    }
    metadata_response::MetadataResponseTopic, flexible 9 {
        error_code: I16;
        name: STRING;
        topic_id: UUID, since 10;
        is_internal: BOOL, since 1;
        partitions: array::<metadata_response::MetadataResponsePartition>();
        topic_authorized_operations: I32, since 8;
    }
    metadata_response::MetadataResponse, flexible 9 {
        throttle_time_ms: I32, since 3;
        brokers: array::<metadata_response::MetadataResponseBroker>();
        cluster_id: STRING, since 2;
        controller_id: I32, since 1;
        topics: array::<metadata_response::MetadataResponseTopic>();
        cluster_authorized_operations: I32, since 8, until 10;
        error_code: I16, since 13;
    }

    find_coordinator_response::Coordinator, flexible 3 {
        key: STRING, since 4;
        node_id: I32, since 4;
        host: STRING, since 4;
        port: I32, since 4;
        error_code: I16, since 4;
        error_message: STRING, since 4;
    }
    find_coordinator_response::FindCoordinatorResponse, flexible 3 {
        throttle_time_ms: I32, since 1;
        error_code: I16, until 3;
        error_message: STRING, since 1, until 3;
        node_id: I32, until 3;
        host: STRING, until 3;
        port: I32, until 3;
        coordinators: array::<find_coordinator_response::Coordinator>(), since 4;
    }

    api_versions_response::ApiVersion, flexible 3 { api_key: I16; min_version: I16; max_version: I16; }
    api_versions_response::SupportedFeatureKey, flexible 3 {
        name: STRING, since 3;
        min_version: I16, since 3;
        max_version: I16, since 3;
    }
    api_versions_response::FinalizedFeatureKey, flexible 3 {
        name: STRING, since 3;
        max_version_level: I16, since 3;
        min_version_level: I16, since 3;
    }
    api_versions_response::ApiVersionsResponse, flexible 3 {
        error_code: I16;
        api_keys: array::<api_versions_response::ApiVersion>();
        throttle_time_ms: I32, since 1;
    }, tagged {
        0 => supported_features: array::<api_versions_response::SupportedFeatureKey>();
        1 => finalized_features_epoch: I64;
        2 => finalized_features: array::<api_versions_response::FinalizedFeatureKey>();
        3 => zk_migration_ready: BOOL;
    }

    create_topics_response::CreatableTopicConfigs, flexible 5 {
        name: STRING, since 5;
        value: STRING, since 5;
        read_only: BOOL, since 5;
        config_source: I8, since 5;
        is_sensitive: BOOL, since 5;
    }
    create_topics_response::CreatableTopicResult, flexible 5 {
        name: STRING;
        topic_id: UUID, since 7;
        error_code: I16;
        error_message: STRING;
        num_partitions: I32, since 5;
        replication_factor: I16, since 5;
        configs: array::<create_topics_response::CreatableTopicConfigs>(), since 5;
    }, tagged {
        0 => topic_config_error_code: I16;
    }
    create_topics_response::CreateTopicsResponse, flexible 5 {
        throttle_time_ms: I32;
        topics: array::<create_topics_response::CreatableTopicResult>();
    }

    delete_topics_response::DeletableTopicResult, flexible 4 {
        name: STRING;
        topic_id: UUID, since 6;
        error_code: I16;
        error_message: STRING, since 5;
    }
    delete_topics_response::DeleteTopicsResponse, flexible 4 {
        throttle_time_ms: I32;
        responses: array::<delete_topics_response::DeletableTopicResult>();
    }

    delete_records_response::DeleteRecordsPartitionResult, flexible 2 {
        partition_index: I32;
        low_watermark: I64;
        error_code: I16;
    }
    delete_records_response::DeleteRecordsTopicResult, flexible 2 {
        name: STRING;
        partitions: array::<delete_records_response::DeleteRecordsPartitionResult>();
    }
    delete_records_response::DeleteRecordsResponse, flexible 2 {
        throttle_time_ms: I32;
        topics: array::<delete_records_response::DeleteRecordsTopicResult>();
    }

    init_producer_id_response::InitProducerIdResponse, flexible 2 {
        throttle_time_ms: I32;
        error_code: I16;
        producer_id: I64;
        producer_epoch: I16;
        ongoing_txn_producer_id: I64, since 6;
        ongoing_txn_producer_epoch: I16, since 6;
    }

    offset_for_leader_epoch_response::EpochEndOffset, flexible 4 {
        error_code: I16;
        partition: I32;
        leader_epoch: I32;
        end_offset: I64;
    }
    offset_for_leader_epoch_response::OffsetForLeaderTopicResult, flexible 4 {
        topic: STRING;
        partitions: array::<offset_for_leader_epoch_response::EpochEndOffset>();
    }
    offset_for_leader_epoch_response::OffsetForLeaderEpochResponse, flexible 4 {
        throttle_time_ms: I32;
        topics: array::<offset_for_leader_epoch_response::OffsetForLeaderTopicResult>();
    }

    describe_configs_response::DescribeConfigsSynonym, flexible 4 { name: STRING; value: STRING; source: I8; }
    describe_configs_response::DescribeConfigsResourceResult, flexible 4 {
        name: STRING;
        value: STRING;
        read_only: BOOL;
        config_source: I8;
        is_sensitive: BOOL;
        synonyms: array::<describe_configs_response::DescribeConfigsSynonym>();
        config_type: I8, since 3;
        documentation: STRING, since 3;
    }
    describe_configs_response::DescribeConfigsResult, flexible 4 {
        error_code: I16;
        error_message: STRING;
        resource_type: I8;
        resource_name: STRING;
        configs: array::<describe_configs_response::DescribeConfigsResourceResult>();
    }
    describe_configs_response::DescribeConfigsResponse, flexible 4 {
        throttle_time_ms: I32;
        results: array::<describe_configs_response::DescribeConfigsResult>();
    }

    alter_configs_response::AlterConfigsResourceResponse, flexible 2 {
        error_code: I16;
        error_message: STRING;
        resource_type: I8;
        resource_name: STRING;
    }
    alter_configs_response::AlterConfigsResponse, flexible 2 {
        throttle_time_ms: I32;
        responses: array::<alter_configs_response::AlterConfigsResourceResponse>();
    }

    describe_log_dirs_response::DescribeLogDirsPartition, flexible 2 {
        partition_index: I32;
        partition_size: I64;
        offset_lag: I64;
        is_future_key: BOOL;
    }
    describe_log_dirs_response::DescribeLogDirsTopic, flexible 2 {
        name: STRING;
        partitions: array::<describe_log_dirs_response::DescribeLogDirsPartition>();
    }
    describe_log_dirs_response::DescribeLogDirsResult, flexible 2 {
        error_code: I16;
        log_dir: STRING;
        topics: array::<describe_log_dirs_response::DescribeLogDirsTopic>();
        total_bytes: I64, since 4;
        usable_bytes: I64, since 4;
    }
    describe_log_dirs_response::DescribeLogDirsResponse, flexible 2 {
        throttle_time_ms: I32;
        error_code: I16, since 3;
        results: array::<describe_log_dirs_response::DescribeLogDirsResult>();
    }

    create_partitions_response::CreatePartitionsTopicResult, flexible 2 {
        name: STRING;
        error_code: I16;
        error_message: STRING;
    }
    create_partitions_response::CreatePartitionsResponse, flexible 2 {
        throttle_time_ms: I32;
        results: array::<create_partitions_response::CreatePartitionsTopicResult>();
    }

    incremental_alter_configs_response::AlterConfigsResourceResponse, flexible 1 {
        error_code: I16;
        error_message: STRING;
        resource_type: I8;
        resource_name: STRING;
    }
    incremental_alter_configs_response::IncrementalAlterConfigsResponse, flexible 1 {
        throttle_time_ms: I32;
        responses: array::<incremental_alter_configs_response::AlterConfigsResourceResponse>();
    }

    describe_cluster_response::DescribeClusterBroker, flexible 0 {
        broker_id: I32;
        host: STRING;
        port: I32;
        rack: STRING;
        is_fenced: BOOL, since 2;
    }
    describe_cluster_response::DescribeClusterResponse, flexible 0 {
        throttle_time_ms: I32;
        error_code: I16;
        error_message: STRING;
        endpoint_type: I8, since 1;
        cluster_id: STRING;
        controller_id: I32;
        brokers: array::<describe_cluster_response::DescribeClusterBroker>();
        cluster_authorized_operations: I32;
    }

    describe_topic_partitions_response::DescribeTopicPartitionsResponsePartition, flexible 0 {
        error_code: I16;
        partition_index: I32;
        leader_id: I32;
        leader_epoch: I32;
        replica_nodes: I32_ARRAY;
        isr_nodes: I32_ARRAY;
        eligible_leader_replicas: I32_ARRAY;
        last_known_elr: I32_ARRAY;
        offline_replicas: I32_ARRAY;
    }
    describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic, flexible 0 {
        error_code: I16;
        name: STRING;
        topic_id: UUID;
        is_internal: BOOL;
        partitions: array::<describe_topic_partitions_response::DescribeTopicPartitionsResponsePartition>();
        topic_authorized_operations: I32;
    }
    describe_topic_partitions_response::Cursor, flexible 0 { topic_name: STRING; partition_index: I32; }
    describe_topic_partitions_response::DescribeTopicPartitionsResponse, flexible 0 {
        throttle_time_ms: I32;
        topics: array::<describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic>();
        next_cursor: optional::<describe_topic_partitions_response::Cursor>();
    }
}
