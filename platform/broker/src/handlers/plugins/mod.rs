//! Millrace's own APIs, all about plugins (version 0): one file each, and here what they have in common.
//!
//! The service behind them may take its time and may fail in any way, so it runs in tasks of its own: what is read
//! next on the stream does not wait for it, and its panic is an answer. Managing and uploading happen in the order
//! of their requests, each beginning when the one before it has ended; partitioners are asked all at once.

mod manage;
mod partition;
mod turns;
mod upload;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::future::BoxFuture;
use millrace_base::Payload;
use millrace_protocol::frame::{RequestFrame, encode_private_response};
use millrace_protocol::plugins::{PluginError, PluginFrameError, PluginService, json};
use millrace_protocol::private::{PRIVATE_VERSION, PrivateApi};
use millrace_transport::{CloseReason, Reply};
use tokio::task::{JoinError, JoinSet};

use crate::call::unknown_api;
use crate::metrics::ApiMetrics;
use crate::state::State;
use turns::Turn;
pub(crate) use turns::Turns;

type Answer = BoxFuture<'static, Result<Bytes, PluginError>>;

/// What serves one of these APIs.
struct Route {
    api: PrivateApi,
    body_bytes_max: usize,
    /// What to do about a body that is too large.
    way_out: &'static str,
    /// Whether a request begins only when those before it on its stream have ended.
    in_order: bool,
    /// Whether it goes on when its client has gone: a change that stops half-way helps nobody.
    finishes: bool,
    answer: fn(Arc<dyn PluginService>, Bytes) -> Answer,
    refuse: fn(PluginError) -> Bytes,
}

/// Every private API, in the order of [`PrivateApi::ALL`].
const ROUTES: [Route; PrivateApi::ALL.len()] = [
    Route {
        api: PrivateApi::ManagePlugins,
        body_bytes_max: manage::BODY_BYTES_MAX,
        way_out: "shorten the deployment's configuration",
        in_order: true,
        finishes: true,
        answer: |service, body| Box::pin(manage::answer(service, body)),
        refuse: refuse_as_json,
    },
    Route {
        api: PrivateApi::UploadModule,
        body_bytes_max: upload::BODY_BYTES_MAX,
        way_out: "send the module in smaller pieces",
        in_order: true,
        finishes: false,
        answer: |service, body| Box::pin(upload::answer(service, body)),
        refuse: refuse_as_json,
    },
    Route {
        api: PrivateApi::PartitionRecords,
        body_bytes_max: partition::BODY_BYTES_MAX,
        way_out: "send smaller batches",
        in_order: false,
        finishes: false,
        answer: |service, body| Box::pin(partition::answer(service, body)),
        refuse: partition::refuse,
    },
];

const _: () = {
    let mut position = 0;
    while position < ROUTES.len() {
        assert!(ROUTES[position].api as i16 == PrivateApi::ALL[position] as i16, "in the order of ALL");
        position += 1;
    }
};

/// Starts the request in `frame`, whose key is private.
pub(crate) fn start(
    state: &Arc<State>,
    turns: &mut Turns,
    frame: RequestFrame,
    started: Instant,
) -> Result<Reply, CloseReason> {
    let position = ROUTES.iter().position(|route| route.api.key() == frame.api_key);
    let position = position.ok_or_else(|| unknown_api(frame.api_key))?;
    let (route, name) = (&ROUTES[position], ROUTES[position].api.name());
    if frame.api_version != PRIVATE_VERSION {
        let version = frame.api_version;
        let message = format!("{name} version {version} is not served here, only {PRIVATE_VERSION}");
        return Err(CloseReason::Service(message));
    }
    let Some(service) = state.plugins.get().cloned() else {
        let message = format!("{name} is not served here: this broker runs no plugins");
        return Err(CloseReason::Service(message));
    };
    // One that is refused for its length takes no turn.
    let takes_turn = route.in_order && frame.body.len() <= route.body_bytes_max;
    let turn = if takes_turn { turns.next() } else { Turn::now() };
    let request = Request {
        state: state.clone(),
        metrics: state.metrics.private_api(position).clone(),
        route,
        correlation_id: frame.correlation_id,
        started,
    };
    Ok(Reply::Later(Box::pin(request.run(service, frame.body, turn))))
}

/// A request on its way.
struct Request {
    state: Arc<State>,
    metrics: Arc<ApiMetrics>,
    route: &'static Route,
    correlation_id: i32,
    started: Instant,
}

impl Request {
    async fn run(self, service: Arc<dyn PluginService>, body: Bytes, turn: Turn) -> Payload {
        let answer = match self.check_len(body.len()) {
            Err(error) => Err(error),
            Ok(()) => self.ask(service, body, turn).await,
        };
        let answer = answer.unwrap_or_else(|error| {
            self.state.metrics.error(&self.metrics, error.kind);
            (self.route.refuse)(error)
        });
        self.metrics.answered(self.state.time.since(self.started));
        let encoded = encode_private_response(self.correlation_id, self.route.api, answer.into());
        encoded.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot encode a response");
            Payload::new()
        })
    }

    fn check_len(&self, len: usize) -> Result<(), PluginError> {
        let Route { api, body_bytes_max: max, way_out, .. } = self.route;
        if len <= *max {
            return Ok(());
        }
        let name = api.name();
        Err(PluginError::invalid(format!("a {name} request of {len} bytes: the limit is {max}, {way_out}")))
    }

    /// Has the service answer in a task of its own.
    async fn ask(
        &self,
        service: Arc<dyn PluginService>,
        body: Bytes,
        turn: Turn,
    ) -> Result<Bytes, PluginError> {
        let answer = self.route.answer;
        let work = turn.then(move || answer(service, body));
        let done = if self.route.finishes {
            tokio::spawn(work).await
        } else {
            // Dropped with this future, it takes the task with it.
            let mut task = JoinSet::new();
            task.spawn(work);
            task.join_next().await.expect("one task was spawned")
        };
        done.unwrap_or_else(|error| Err(self.failed(&error)))
    }

    fn failed(&self, error: &JoinError) -> PluginError {
        let api = self.route.api.name();
        tracing::error!(api, %error, "a request about plugins failed");
        PluginError::unavailable(format!("{api} failed inside the broker, whose log says why: this is a bug"))
    }
}

fn refuse_as_json(error: PluginError) -> Bytes {
    json(&Err::<(), PluginError>(error))
}

fn undecodable(error: &PluginFrameError) -> PluginError {
    PluginError::invalid(error.to_string())
}
