//! Layouts of the requests and responses about groups, as `kafka-protocol` decodes them.

use kafka_protocol::messages::{
    delete_groups_request, delete_groups_response, describe_groups_request, describe_groups_response,
    heartbeat_request, heartbeat_response, join_group_request, join_group_response, leave_group_request,
    leave_group_response, list_groups_request, list_groups_response, offset_commit_request,
    offset_commit_response, offset_delete_request, offset_delete_response, offset_fetch_request,
    offset_fetch_response, sync_group_request, sync_group_response,
};

use super::{BOOL, BYTES, I16, I32, I32_ARRAY, I64, STRING, STRING_ARRAY, UUID, array, layouts, version_or};

layouts! {
    join_group_request::JoinGroupRequestProtocol, flexible 6 { name: STRING; metadata: BYTES; }
    join_group_request::JoinGroupRequest, flexible 6 {
        group_id: STRING;
        session_timeout_ms: I32;
        rebalance_timeout_ms: I32, since 1;
        member_id: STRING;
        group_instance_id: STRING, since 5;
        protocol_type: STRING;
        protocols: array::<join_group_request::JoinGroupRequestProtocol>();
        reason: STRING, since 8;
    }

    sync_group_request::SyncGroupRequestAssignment, flexible 4 { member_id: STRING; assignment: BYTES; }
    sync_group_request::SyncGroupRequest, flexible 4 {
        group_id: STRING;
        generation_id: I32;
        member_id: STRING;
        group_instance_id: STRING, since 3;
        protocol_type: STRING, since 5;
        protocol_name: STRING, since 5;
        assignments: array::<sync_group_request::SyncGroupRequestAssignment>();
    }

    heartbeat_request::HeartbeatRequest, flexible 4 {
        group_id: STRING;
        generation_id: I32;
        member_id: STRING;
        group_instance_id: STRING, since 3;
    }

    leave_group_request::MemberIdentity, flexible 4 {
        member_id: STRING, since 3;
        group_instance_id: STRING, since 3;
        reason: STRING, since 5;
    }
    leave_group_request::LeaveGroupRequest, flexible 4 {
        group_id: STRING;
        member_id: STRING, until 2;
        members: array::<leave_group_request::MemberIdentity>(), since 3;
    }

    offset_commit_request::OffsetCommitRequestPartition, flexible 8 {
        partition_index: I32;
        committed_offset: I64;
        committed_leader_epoch: I32, since 6;
        committed_metadata: STRING;
    }
    offset_commit_request::OffsetCommitRequestTopic, flexible 8 {
        name: STRING;
        partitions: array::<offset_commit_request::OffsetCommitRequestPartition>();
    }
    offset_commit_request::OffsetCommitRequest, flexible 8 {
        group_id: STRING;
        generation_id_or_member_epoch: I32;
        member_id: STRING;
        group_instance_id: STRING, since 7;
        retention_time_ms: I64, until 4;
        topics: array::<offset_commit_request::OffsetCommitRequestTopic>();
    }

    offset_fetch_request::OffsetFetchRequestTopic, flexible 6 {
        name: STRING, until 7;
        partition_indexes: I32_ARRAY, until 7;
    }
    offset_fetch_request::OffsetFetchRequestTopics, flexible 6 {
        name: STRING, since 8;
        partition_indexes: I32_ARRAY, since 8;
    }
    offset_fetch_request::OffsetFetchRequestGroup, flexible 6 {
        group_id: STRING, since 8;
        member_id: STRING, since 9;
        member_epoch: I32, since 9;
        topics: array::<offset_fetch_request::OffsetFetchRequestTopics>(), since 8;
    }
    offset_fetch_request::OffsetFetchRequest, flexible 6 {
        group_id: STRING, until 7;
        topics: array::<offset_fetch_request::OffsetFetchRequestTopic>(), until 7;
        groups: array::<offset_fetch_request::OffsetFetchRequestGroup>(), since 8;
        require_stable: BOOL, since 7;
    }

    offset_delete_request::OffsetDeleteRequestPartition, flexible 32767 { partition_index: I32; }
    offset_delete_request::OffsetDeleteRequestTopic, flexible 32767 {
        name: STRING;
        partitions: array::<offset_delete_request::OffsetDeleteRequestPartition>();
    }
    offset_delete_request::OffsetDeleteRequest, flexible 32767 {
        group_id: STRING;
        topics: array::<offset_delete_request::OffsetDeleteRequestTopic>();
    }

    describe_groups_request::DescribeGroupsRequest, flexible 5 {
        groups: STRING_ARRAY;
        include_authorized_operations: BOOL, since 3;
    }

    list_groups_request::ListGroupsRequest, flexible 3 {
        states_filter: STRING_ARRAY, since 4;
        types_filter: STRING_ARRAY, since 5;
    }

    delete_groups_request::DeleteGroupsRequest, flexible 2 { groups_names: STRING_ARRAY; }

    join_group_response::JoinGroupResponseMember, flexible 6 {
        member_id: STRING;
        group_instance_id: STRING, since 5;
        metadata: BYTES;
    }
    join_group_response::JoinGroupResponse, flexible 6 {
        throttle_time_ms: I32, since 2;
        error_code: I16;
        generation_id: I32;
        protocol_type: STRING, since 7;
        protocol_name: STRING;
        leader: STRING;
        skip_assignment: BOOL, since 9;
        member_id: STRING;
        members: array::<join_group_response::JoinGroupResponseMember>();
    }

    sync_group_response::SyncGroupResponse, flexible 4 {
        throttle_time_ms: I32, since 1;
        error_code: I16;
        protocol_type: STRING, since 5;
        protocol_name: STRING, since 5;
        assignment: BYTES;
    }

    heartbeat_response::HeartbeatResponse, flexible 4 { throttle_time_ms: I32, since 1; error_code: I16; }

    leave_group_response::MemberResponse, flexible 4 {
        member_id: STRING, since 3;
        group_instance_id: STRING, since 3;
        error_code: I16, since 3;
    }
    leave_group_response::LeaveGroupResponse, flexible 4 {
        throttle_time_ms: I32, since 1;
        error_code: I16;
        members: array::<leave_group_response::MemberResponse>(), since 3;
    }

    offset_commit_response::OffsetCommitResponsePartition, flexible 8 {
        partition_index: I32;
        error_code: I16;
    }
    offset_commit_response::OffsetCommitResponseTopic, flexible 8 {
        name: STRING, until 9;
        topic_id: UUID, since 10;
        partitions: array::<offset_commit_response::OffsetCommitResponsePartition>();
    }
    offset_commit_response::OffsetCommitResponse, flexible 8 {
        throttle_time_ms: I32, since 3;
        topics: array::<offset_commit_response::OffsetCommitResponseTopic>();
    }

    offset_fetch_response::OffsetFetchResponsePartition, flexible 6 {
        partition_index: I32, until 7;
        committed_offset: I64, until 7;
        committed_leader_epoch: I32, since 5, until 7;
        metadata: STRING, until 7;
        error_code: I16, until 7;
    }
    offset_fetch_response::OffsetFetchResponseTopic, flexible 6 {
        name: STRING, until 7;
        partitions: array::<offset_fetch_response::OffsetFetchResponsePartition>(), until 7;
    }
    offset_fetch_response::OffsetFetchResponsePartitions, flexible 6 {
        partition_index: I32, since 8;
        committed_offset: I64, since 8;
        committed_leader_epoch: I32, since 8;
        metadata: STRING, since 8;
        error_code: I16, since 8;
    }
    offset_fetch_response::OffsetFetchResponseTopics, flexible 6 {
        name: STRING, since 8, until 9;
        topic_id: UUID, since 10;
        partitions: array::<offset_fetch_response::OffsetFetchResponsePartitions>(), since 8;
    }
    offset_fetch_response::OffsetFetchResponseGroup, flexible 6 {
        group_id: STRING, since 8;
        topics: array::<offset_fetch_response::OffsetFetchResponseTopics>(), since 8;
        error_code: I16, since 8;
    }
    offset_fetch_response::OffsetFetchResponse, flexible 6 {
        throttle_time_ms: I32, since 3;
        topics: array::<offset_fetch_response::OffsetFetchResponseTopic>(), until 7;
        error_code: I16, since 2, until 7;
        groups: array::<offset_fetch_response::OffsetFetchResponseGroup>(), since 8;
    }

    offset_delete_response::OffsetDeleteResponsePartition, flexible 32767 {
        partition_index: I32;
        error_code: I16;
    }
    offset_delete_response::OffsetDeleteResponseTopic, flexible 32767 {
        name: STRING;
        partitions: array::<offset_delete_response::OffsetDeleteResponsePartition>();
    }
    offset_delete_response::OffsetDeleteResponse, flexible 32767 {
        error_code: I16;
        throttle_time_ms: I32;
        topics: array::<offset_delete_response::OffsetDeleteResponseTopic>();
    }

    describe_groups_response::DescribedGroupMember, flexible 5 {
        member_id: STRING;
        group_instance_id: STRING, since 4;
        client_id: STRING;
        client_host: STRING;
        member_metadata: BYTES;
        member_assignment: BYTES;
    }
    describe_groups_response::DescribedGroup, flexible 5 {
        error_code: I16;
        error_message: STRING, since 6;
        group_id: STRING;
        group_state: STRING;
        protocol_type: STRING;
        protocol_data: STRING;
        members: array::<describe_groups_response::DescribedGroupMember>();
        authorized_operations: I32, since 3;
    }
    describe_groups_response::DescribeGroupsResponse, flexible 5 {
        throttle_time_ms: I32, since 1;
        groups: array::<describe_groups_response::DescribedGroup>();
    }

    list_groups_response::ListedGroup, flexible 3 {
        group_id: STRING;
        protocol_type: STRING;
        group_state: STRING, since 4;
        group_type: STRING, since 5;
    }
    list_groups_response::ListGroupsResponse, flexible 3 {
        throttle_time_ms: I32, since 1;
        error_code: I16;
        groups: array::<list_groups_response::ListedGroup>();
    }

    delete_groups_response::DeletableGroupResult, flexible 2 { group_id: STRING; error_code: I16; }
    delete_groups_response::DeleteGroupsResponse, flexible 2 {
        throttle_time_ms: I32;
        results: array::<delete_groups_response::DeletableGroupResult>();
    }
}
