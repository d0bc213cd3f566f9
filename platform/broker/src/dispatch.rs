//! From a frame to its handler: one table of all APIs, and what every request has in common.
//!
//! Kafka answers a version it does not serve only for ApiVersions (with version 0, so that any client can
//! read it, KIP-511); for every other API, for an unknown API and for a body that cannot be decoded it
//! closes the connection, and so does this. Millrace's own APIs are started in [`handlers::plugins`].

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use millrace_base::limits::{FRAME_BYTES_MAX, MIB};
use millrace_protocol::ApiKey;
use millrace_protocol::api::{ApiSpec, SERVED};
use millrace_protocol::frame::RequestFrame;
use millrace_protocol::private::is_private;
use millrace_transport::{CloseReason, Reply};

use crate::call::{Call, Client, unknown_api};
use crate::handlers;
use crate::handlers::groups;
use crate::handlers::plugins::Turns;
use crate::handlers::transactions;
use crate::state::State;

/// Largest body of a request about partitions that carries no records. What such a request makes the broker hold is
/// a multiple of its size; honest ones name some ten thousand partitions in one mebibyte.
const PARTITIONS_BODY_BYTES_MAX: usize = 8 * MIB;
/// Largest body of any other request: each thing that is named in a few bytes is answered with some hundred.
const BODY_BYTES_MAX: usize = MIB + MIB / 2;

/// How large the body of a request may be.
const fn body_bytes_max(key: ApiKey) -> usize {
    match key {
        ApiKey::Produce => FRAME_BYTES_MAX,
        ApiKey::Fetch
        | ApiKey::ListOffsets
        | ApiKey::OffsetForLeaderEpoch
        | ApiKey::OffsetCommit
        | ApiKey::OffsetFetch
        | ApiKey::SyncGroup => PARTITIONS_BODY_BYTES_MAX,
        _ => BODY_BYTES_MAX,
    }
}

type Started = BoxFuture<'static, Result<Reply, CloseReason>>;

/// What serves one API.
struct Route {
    key: ApiKey,
    start: fn(Call, Bytes) -> Started,
}

/// A handler from request to response; the requests behind it wait, as they do in Kafka.
macro_rules! answers {
    ($key:ident, $handler:path) => {
        Route {
            key: ApiKey::$key,
            start: |call, body| {
                Box::pin(async move {
                    let request = call.decode(body)?;
                    let response = $handler(&call, request).await;
                    call.encode(&response).map(Reply::Ready)
                })
            },
        }
    };
}

/// A handler that decides itself what waits for what.
macro_rules! pipelines {
    ($key:ident, $handler:path) => {
        Route { key: ApiKey::$key, start: |call, body| Box::pin($handler(call, body)) }
    };
}

/// Every API, in the order of [`SERVED`].
const ROUTES: &[Route] = &[
    pipelines!(Produce, handlers::produce::start),
    pipelines!(Fetch, handlers::fetch::start),
    answers!(ListOffsets, handlers::list_offsets::handle),
    answers!(Metadata, handlers::metadata::handle),
    answers!(OffsetCommit, groups::offset_commit::handle),
    answers!(OffsetFetch, groups::offset_fetch::handle),
    answers!(FindCoordinator, handlers::find_coordinator::handle),
    pipelines!(JoinGroup, groups::members::join),
    answers!(Heartbeat, groups::members::heartbeat),
    answers!(LeaveGroup, groups::members::leave),
    pipelines!(SyncGroup, groups::members::sync),
    answers!(DescribeGroups, groups::admin::describe),
    answers!(ListGroups, groups::admin::list),
    answers!(ApiVersions, handlers::api_versions::handle),
    answers!(CreateTopics, handlers::create_topics::handle),
    answers!(DeleteTopics, handlers::delete_topics::handle),
    answers!(DeleteRecords, handlers::delete_records::handle),
    answers!(InitProducerId, handlers::init_producer_id::handle),
    answers!(OffsetForLeaderEpoch, handlers::offset_for_leader_epoch::handle),
    answers!(AddPartitionsToTxn, transactions::add_partitions::handle),
    answers!(EndTxn, transactions::end::handle),
    answers!(WriteTxnMarkers, transactions::markers::handle),
    answers!(DescribeConfigs, handlers::describe_configs::handle),
    answers!(AlterConfigs, handlers::alter_configs::handle),
    answers!(DescribeLogDirs, handlers::describe_log_dirs::handle),
    answers!(CreatePartitions, handlers::create_partitions::handle),
    answers!(DeleteGroups, groups::admin::delete),
    answers!(IncrementalAlterConfigs, handlers::incremental_alter_configs::handle),
    answers!(OffsetDelete, groups::offset_delete::handle),
    answers!(DescribeCluster, handlers::describe_cluster::handle),
    answers!(DescribeProducers, transactions::describe::producers),
    answers!(DescribeTransactions, transactions::describe::transactions),
    answers!(ListTransactions, transactions::describe::list),
    answers!(ConsumerGroupHeartbeat, groups::consumer::heartbeat),
    answers!(ConsumerGroupDescribe, groups::consumer::describe),
    answers!(DescribeTopicPartitions, handlers::describe_topic_partitions::handle),
];

const _: () = {
    assert!(ROUTES.len() == SERVED.len(), "every served API has a handler, and no other");
    let mut position = 0;
    while position < SERVED.len() {
        assert!(ROUTES[position].key as i16 == SERVED[position].key as i16, "in the order of SERVED");
        position += 1;
    }
};

/// Starts the request in `frame`.
pub(crate) async fn start(
    state: &Arc<State>,
    client: &mut Arc<Client>,
    turns: &mut Turns,
    frame: Bytes,
) -> Result<Reply, CloseReason> {
    let outcome = start_counted(state, client, turns, frame).await;
    if outcome.is_err() {
        state.metrics.bad_requests.inc();
    }
    outcome
}

async fn start_counted(
    state: &Arc<State>,
    client: &mut Arc<Client>,
    turns: &mut Turns,
    frame: Bytes,
) -> Result<Reply, CloseReason> {
    let started = state.time.now();
    let frame =
        RequestFrame::decode(frame).map_err(|error| CloseReason::MalformedRequest(error.to_string()))?;
    if is_private(frame.api_key) {
        return handlers::plugins::start(state, turns, frame, started);
    }
    let position = SERVED
        .binary_search_by_key(&frame.api_key, |spec| spec.key as i16)
        .map_err(|_| unknown_api(frame.api_key))?;
    let spec = &SERVED[position];
    *client = client.named(frame.client_id.as_deref());
    let call = Call {
        state: state.clone(),
        client: client.clone(),
        key: spec.key,
        version: frame.api_version,
        correlation_id: frame.correlation_id,
        metrics: state.metrics.api(position).clone(),
    };
    let metrics = call.metrics.clone();
    let (len, most) = (frame.body.len(), body_bytes_max(spec.key));
    if len > most {
        let key = spec.key;
        let message = format!("{key:?} request of {len} bytes: the limit is {most}, ask for less");
        return Err(CloseReason::Service(message));
    }
    if !spec.serves(frame.api_version) {
        let reply = refuse_version(call, spec)?;
        metrics.answered(state.time.since(started));
        return Ok(reply);
    }
    let time = state.time.clone();
    match (ROUTES[position].start)(call, frame.body).await {
        Ok(Reply::Later(waiting)) => Ok(Reply::Later(Box::pin(async move {
            let payload = waiting.await;
            metrics.answered(time.since(started));
            payload
        }))),
        outcome => {
            metrics.answered(time.since(started));
            outcome
        }
    }
}

/// See the module's text.
fn refuse_version(mut call: Call, spec: &ApiSpec) -> Result<Reply, CloseReason> {
    if spec.key == ApiKey::ApiVersions {
        call.version = 0;
        let response = handlers::api_versions::unsupported_version(&call);
        return call.encode(&response).map(Reply::Ready);
    }
    let ApiSpec { key, min, max, .. } = spec;
    let version = call.version;
    Err(CloseReason::Service(format!("{key:?} version {version} is not served here, only {min} to {max}")))
}
