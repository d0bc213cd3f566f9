//! Layouts of the requests and responses about groups to which the coordinator assigns (KIP-848).

use kafka_protocol::messages::{
    consumer_group_describe_request, consumer_group_describe_response, consumer_group_heartbeat_request,
    consumer_group_heartbeat_response,
};

use super::{
    BOOL, I8, I16, I32, I32_ARRAY, STRING, STRING_ARRAY, UUID, array, layouts, nested, optional, version_or,
};

layouts! {
    consumer_group_heartbeat_request::TopicPartitions, flexible 0 { topic_id: UUID; partitions: I32_ARRAY; }
    consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest, flexible 0 {
        group_id: STRING;
        member_id: STRING;
        member_epoch: I32;
        instance_id: STRING;
        rack_id: STRING;
        rebalance_timeout_ms: I32;
        subscribed_topic_names: STRING_ARRAY;
        subscribed_topic_regex: STRING, since 1;
        server_assignor: STRING;
        topic_partitions: array::<consumer_group_heartbeat_request::TopicPartitions>();
    }

    consumer_group_heartbeat_response::TopicPartitions, flexible 0 { topic_id: UUID; partitions: I32_ARRAY; }
    consumer_group_heartbeat_response::Assignment, flexible 0 {
        topic_partitions: array::<consumer_group_heartbeat_response::TopicPartitions>();
    }
    consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse, flexible 0 {
        throttle_time_ms: I32;
        error_code: I16;
        error_message: STRING;
        member_id: STRING;
        member_epoch: I32;
        heartbeat_interval_ms: I32;
        assignment: optional::<consumer_group_heartbeat_response::Assignment>();
    }

    consumer_group_describe_request::ConsumerGroupDescribeRequest, flexible 0 {
        group_ids: STRING_ARRAY;
        include_authorized_operations: BOOL;
    }

    consumer_group_describe_response::TopicPartitions, flexible 0 {
        topic_id: UUID;
        topic_name: STRING;
        partitions: I32_ARRAY;
    }
    consumer_group_describe_response::Assignment, flexible 0 {
        topic_partitions: array::<consumer_group_describe_response::TopicPartitions>();
    }
    consumer_group_describe_response::Member, flexible 0 {
        member_id: STRING;
        instance_id: STRING;
        rack_id: STRING;
        member_epoch: I32;
        client_id: STRING;
        client_host: STRING;
        subscribed_topic_names: STRING_ARRAY;
        subscribed_topic_regex: STRING;
        assignment: nested::<consumer_group_describe_response::Assignment>();
        target_assignment: nested::<consumer_group_describe_response::Assignment>();
        member_type: I8, since 1;
    }
    consumer_group_describe_response::DescribedGroup, flexible 0 {
        error_code: I16;
        error_message: STRING;
        group_id: STRING;
        group_state: STRING;
        group_epoch: I32;
        assignment_epoch: I32;
        assignor_name: STRING;
        members: array::<consumer_group_describe_response::Member>();
        authorized_operations: I32;
    }
    consumer_group_describe_response::ConsumerGroupDescribeResponse, flexible 0 {
        throttle_time_ms: I32;
        groups: array::<consumer_group_describe_response::DescribedGroup>();
    }
}
