//! Layouts of the requests and responses about transactions, as `kafka-protocol` decodes them.

use kafka_protocol::messages::{
    add_partitions_to_txn_request, add_partitions_to_txn_response, describe_producers_request,
    describe_producers_response, describe_transactions_request, describe_transactions_response,
    end_txn_request, end_txn_response, list_transactions_request, list_transactions_response,
    write_txn_markers_request, write_txn_markers_response,
};

use super::{BOOL, I16, I32, I32_ARRAY, I64, STRING, STRING_ARRAY, array, layouts, version_or};

/// An array of numbers of 64 bits.
const I64_ARRAY: super::Kind = super::Kind::Numbers(8);

layouts! {
    add_partitions_to_txn_request::AddPartitionsToTxnTopic, flexible 3 { name: STRING; partitions: I32_ARRAY; }
    add_partitions_to_txn_request::AddPartitionsToTxnTransaction, flexible 3 {
        transactional_id: STRING, since 4;
        producer_id: I64, since 4;
        producer_epoch: I16, since 4;
        verify_only: BOOL, since 4;
        topics: array::<add_partitions_to_txn_request::AddPartitionsToTxnTopic>(), since 4;
    }
    add_partitions_to_txn_request::AddPartitionsToTxnRequest, flexible 3 {
        transactions: array::<add_partitions_to_txn_request::AddPartitionsToTxnTransaction>(), since 4;
        v3_and_below_transactional_id: STRING, until 3;
        v3_and_below_producer_id: I64, until 3;
        v3_and_below_producer_epoch: I16, until 3;
        v3_and_below_topics: array::<add_partitions_to_txn_request::AddPartitionsToTxnTopic>(), until 3;
    }
    add_partitions_to_txn_response::AddPartitionsToTxnPartitionResult, flexible 3 {
        partition_index: I32;
        partition_error_code: I16;
    }
    add_partitions_to_txn_response::AddPartitionsToTxnTopicResult, flexible 3 {
        name: STRING;
        results_by_partition: array::<add_partitions_to_txn_response::AddPartitionsToTxnPartitionResult>();
    }
    add_partitions_to_txn_response::AddPartitionsToTxnResult, flexible 3 {
        transactional_id: STRING, since 4;
        topic_results: array::<add_partitions_to_txn_response::AddPartitionsToTxnTopicResult>(), since 4;
    }
    add_partitions_to_txn_response::AddPartitionsToTxnResponse, flexible 3 {
        throttle_time_ms: I32;
        error_code: I16, since 4;
        results_by_transaction: array::<add_partitions_to_txn_response::AddPartitionsToTxnResult>(), since 4;
        results_by_topic_v3_and_below:
            array::<add_partitions_to_txn_response::AddPartitionsToTxnTopicResult>(), until 3;
    }

    end_txn_request::EndTxnRequest, flexible 3 {
        transactional_id: STRING;
        producer_id: I64;
        producer_epoch: I16;
        committed: BOOL;
    }
    end_txn_response::EndTxnResponse, flexible 3 {
        throttle_time_ms: I32;
        error_code: I16;
        producer_id: I64, since 5;
        producer_epoch: I16, since 5;
    }

    write_txn_markers_request::WritableTxnMarkerTopic, flexible 1 { name: STRING; partition_indexes: I32_ARRAY; }
    write_txn_markers_request::WritableTxnMarker, flexible 1 {
        producer_id: I64;
        producer_epoch: I16;
        transaction_result: BOOL;
        topics: array::<write_txn_markers_request::WritableTxnMarkerTopic>();
        coordinator_epoch: I32;
    }
    write_txn_markers_request::WriteTxnMarkersRequest, flexible 1 {
        markers: array::<write_txn_markers_request::WritableTxnMarker>();
    }
    write_txn_markers_response::WritableTxnMarkerPartitionResult, flexible 1 {
        partition_index: I32;
        error_code: I16;
    }
    write_txn_markers_response::WritableTxnMarkerTopicResult, flexible 1 {
        name: STRING;
        partitions: array::<write_txn_markers_response::WritableTxnMarkerPartitionResult>();
    }
    write_txn_markers_response::WritableTxnMarkerResult, flexible 1 {
        producer_id: I64;
        topics: array::<write_txn_markers_response::WritableTxnMarkerTopicResult>();
    }
    write_txn_markers_response::WriteTxnMarkersResponse, flexible 1 {
        markers: array::<write_txn_markers_response::WritableTxnMarkerResult>();
    }

    describe_producers_request::TopicRequest, flexible 0 { name: STRING; partition_indexes: I32_ARRAY; }
    describe_producers_request::DescribeProducersRequest, flexible 0 {
        topics: array::<describe_producers_request::TopicRequest>();
    }
    describe_producers_response::ProducerState, flexible 0 {
        producer_id: I64;
        producer_epoch: I32;
        last_sequence: I32;
        last_timestamp: I64;
        coordinator_epoch: I32;
        current_txn_start_offset: I64;
    }
    describe_producers_response::PartitionResponse, flexible 0 {
        partition_index: I32;
        error_code: I16;
        error_message: STRING;
        active_producers: array::<describe_producers_response::ProducerState>();
    }
    describe_producers_response::TopicResponse, flexible 0 {
        name: STRING;
        partitions: array::<describe_producers_response::PartitionResponse>();
    }
    describe_producers_response::DescribeProducersResponse, flexible 0 {
        throttle_time_ms: I32;
        topics: array::<describe_producers_response::TopicResponse>();
    }

    describe_transactions_request::DescribeTransactionsRequest, flexible 0 { transactional_ids: STRING_ARRAY; }
    describe_transactions_response::TopicData, flexible 0 { topic: STRING; partitions: I32_ARRAY; }
    describe_transactions_response::TransactionState, flexible 0 {
        error_code: I16;
        transactional_id: STRING;
        transaction_state: STRING;
        transaction_timeout_ms: I32;
        transaction_start_time_ms: I64;
        producer_id: I64;
        producer_epoch: I16;
        topics: array::<describe_transactions_response::TopicData>();
    }
    describe_transactions_response::DescribeTransactionsResponse, flexible 0 {
        throttle_time_ms: I32;
        transaction_states: array::<describe_transactions_response::TransactionState>();
    }

    list_transactions_request::ListTransactionsRequest, flexible 0 {
        state_filters: STRING_ARRAY;
        producer_id_filters: I64_ARRAY;
        duration_filter: I64, since 1;
        transactional_id_pattern: STRING, since 2;
    }
    list_transactions_response::TransactionState, flexible 0 {
        transactional_id: STRING;
        producer_id: I64;
        transaction_state: STRING;
    }
    list_transactions_response::ListTransactionsResponse, flexible 0 {
        throttle_time_ms: I32;
        error_code: I16;
        unknown_state_filters: STRING_ARRAY;
        transaction_states: array::<list_transactions_response::TransactionState>();
    }
}
