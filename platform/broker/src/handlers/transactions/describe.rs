//! DescribeProducers (0), DescribeTransactions (0) and ListTransactions (0 and 1): transactions seen from outside.

use millrace_base::LeaderEpoch;
use millrace_coordinator::{ListedTransaction, Transaction, TransactionState as State};
use millrace_protocol::StrBytes;
use millrace_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use millrace_protocol::messages::describe_transactions_response::{
    TopicData, TransactionState as DescribedTransaction,
};
use millrace_protocol::messages::list_transactions_response::TransactionState as WireListed;
use millrace_protocol::messages::{
    DescribeProducersRequest, DescribeProducersResponse, DescribeTransactionsRequest,
    DescribeTransactionsResponse, ListTransactionsRequest, ListTransactionsResponse, ProducerId,
    TransactionalId,
};

use crate::call::Call;
use crate::error_map::ToErrorCode;
use crate::handlers::lookup;

pub(crate) async fn producers(call: &Call, request: DescribeProducersRequest) -> DescribeProducersResponse {
    let image = call.state.metadata.image();
    let mut response = DescribeProducersResponse::default();
    for topic in request.topics {
        let mut answer = TopicResponse::default().with_name(lookup::wire_name(&topic.name));
        for index in topic.partition_indexes {
            let found = lookup::by_name(&image, &topic.name)
                .and_then(|found| lookup::led_here(&call.state, found, index, LeaderEpoch::UNKNOWN));
            let code = call.code(&found);
            let active = found.map(|partition| partition.log().active_producers()).unwrap_or_default();
            let active = active.into_iter().map(|producer| {
                ProducerState::default()
                    .with_producer_id(ProducerId(producer.producer_id.0))
                    .with_producer_epoch(producer.producer_epoch.into())
                    .with_last_sequence(producer.last_sequence)
                    .with_last_timestamp(producer.last_timestamp_ms)
                    .with_coordinator_epoch(producer.coordinator_epoch)
                    .with_current_txn_start_offset(producer.current_transaction_start_offset)
            });
            answer.partitions.push(
                PartitionResponse::default()
                    .with_partition_index(index)
                    .with_error_code(code)
                    .with_active_producers(active.collect()),
            );
        }
        response.topics.push(answer);
    }
    response
}

pub(crate) async fn transactions(
    call: &Call,
    request: DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let mut response = DescribeTransactionsResponse::default();
    for id in request.transactional_ids {
        let described = match call.state.transactions.describe(&id).await {
            Ok(transaction) => describe(transaction),
            Err(error) => DescribedTransaction::default().with_error_code(call.fail(error.to_error_code())),
        };
        response.transaction_states.push(described.with_transactional_id(wire_id(&id)));
    }
    response
}

fn describe(transaction: Transaction) -> DescribedTransaction {
    let topics = transaction.partitions.into_iter().map(|(topic, numbers)| {
        TopicData::default()
            .with_topic(lookup::wire_name(&topic))
            .with_partitions(numbers.into_iter().collect())
    });
    DescribedTransaction::default()
        .with_transaction_state(StrBytes::from_static_str(transaction.state.name()))
        .with_transaction_timeout_ms(transaction.timeout_ms)
        .with_transaction_start_time_ms(transaction.started_ms)
        .with_producer_id(ProducerId(transaction.producer.id))
        .with_producer_epoch(transaction.producer.epoch)
        .with_topics(topics.collect())
}

pub(crate) async fn list(call: &Call, request: ListTransactionsRequest) -> ListTransactionsResponse {
    const NAMES: [State; 6] = [
        State::Empty,
        State::Ongoing,
        State::PrepareCommit,
        State::PrepareAbort,
        State::CompleteCommit,
        State::CompleteAbort,
    ];
    let mut response = ListTransactionsResponse::default();
    let is_known = |name: &&StrBytes| NAMES.iter().any(|state| state.name() == name.as_str());
    let unknown = request.state_filters.iter().filter(|name| !is_known(name));
    response.unknown_state_filters = unknown.map(|name| StrBytes::from_string(name.to_string())).collect();
    let now_ms = call.state.clock.now_ms();
    let is_wanted = |transaction: &Transaction| {
        let states = &request.state_filters;
        let producers = &request.producer_id_filters;
        let age_ms = now_ms.saturating_sub(transaction.started_ms);
        (states.is_empty() || states.iter().any(|name| name.as_str() == transaction.state.name()))
            && (producers.is_empty() || producers.iter().any(|of| of.0 == transaction.producer.id))
            && (request.duration_filter < 0
                || transaction.started_ms >= 0 && age_ms > request.duration_filter)
    };
    match call.state.transactions.list(is_wanted).await {
        Ok(listed) => {
            let listed = listed.into_iter().map(|ListedTransaction { id, transaction }| {
                WireListed::default()
                    .with_transactional_id(wire_id(&id))
                    .with_producer_id(ProducerId(transaction.producer.id))
                    .with_transaction_state(StrBytes::from_static_str(transaction.state.name()))
            });
            response.with_transaction_states(listed.collect())
        }
        Err(error) => response.with_error_code(call.fail(error.to_error_code())),
    }
}

fn wire_id(id: &str) -> TransactionalId {
    TransactionalId(StrBytes::from_string(id.to_owned()))
}
