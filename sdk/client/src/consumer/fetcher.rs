//! Fetching ahead: one task per broker that leads an assigned partition, one request at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_protocol::StrBytes;
use millrace_protocol::frame::encode_request;
use millrace_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use millrace_protocol::messages::{ApiKey, BrokerId, FetchRequest, FetchResponse, TopicName};
use tokio::sync::watch;

use crate::cluster::{Broker, pieces};
use crate::consumer::Shared;
use crate::consumer::assignment::Source;
use crate::consumer::config::Isolation;
use crate::consumer::response;
use crate::consumer::session::{Plan, Session, Wanted};
use crate::error::{RequestError, api_name};
use crate::net::Lane;

/// Pause after an error before the next attempt.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// From this version on a request names topics by id.
const TOPIC_IDS_FROM: i16 = 13;
/// From this version on there are sessions.
const SESSIONS_FROM: i16 = 7;

/// The state of one broker's task.
pub(crate) struct Fetcher {
    broker_id: i32,
    shared: Arc<Shared>,
    changed: watch::Receiver<()>,
    room: watch::Receiver<()>,
    session: Session<Source>,
    lane: Option<(Arc<Broker>, Lane, i16)>,
}

enum Step {
    Fetched,
    /// What is wanted has changed while the broker was holding the answer back.
    Changed,
    Failed(RequestError),
}

impl Fetcher {
    pub(crate) fn new(broker_id: i32, shared: Arc<Shared>) -> Self {
        let (changed, room) = (shared.wanted.subscribe(), shared.room.subscribe());
        Self { broker_id, shared, changed, room, session: Session::new(), lane: None }
    }

    /// Runs until the consumer is closed; sleeps while nothing of this broker is wanted.
    pub(crate) async fn run(mut self) {
        loop {
            self.changed.mark_unchanged();
            self.room.mark_unchanged();
            let Some(wanted) = self.wanted() else { return };
            if wanted.is_empty() || !self.shared.has_room() {
                // Both end only with the consumer, which is seen above.
                tokio::select! {
                    _ = self.changed.changed() => {}
                    _ = self.room.changed() => {}
                }
                continue;
            }
            match self.fetch(&wanted).await {
                Step::Fetched => {}
                Step::Changed => self.restart(),
                Step::Failed(error) => {
                    tracing::debug!(broker = self.broker_id, %error, "fetch");
                    self.restart();
                    self.shared.find_leaders(Instant::now()).await;
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// None once the consumer is closed.
    fn wanted(&self) -> Option<BTreeMap<Source, Wanted>> {
        let state = self.shared.state.lock();
        (!state.closed).then(|| state.wanted_from(self.broker_id))
    }

    /// The answer that is outstanding is not wanted: leave its lane to it and begin another session.
    fn restart(&mut self) {
        self.lane = None;
        self.session.on_lost();
    }

    async fn fetch(&mut self, wanted: &BTreeMap<Source, Wanted>) -> Step {
        let (broker, lane, version) = match self.open().await {
            Ok(open) => open,
            Err(error) => return Step::Failed(error),
        };
        let generations = self.shared.generations(wanted.keys());
        let plan = self.session.plan(wanted);
        let mut changed = self.changed.clone();
        let answer = tokio::select! {
            biased;
            answer = self.exchange(&broker, &lane, version, plan) => answer,
            _ = changed.changed() => return Step::Changed,
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Step::Failed(error),
        };
        // Whatever is wrong, the next request would meet it again at once.
        if !self.session.on_response(answer.error_code, answer.session_id) {
            tokio::time::sleep(RETRY_PAUSE).await;
        } else if response::apply(&self.shared, answer, &generations) {
            self.shared.find_leaders(Instant::now()).await;
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        Step::Fetched
    }

    async fn open(&mut self) -> Result<(Arc<Broker>, Lane, i16), RequestError> {
        if let Some(open) = &self.lane
            && !open.1.is_closed()
        {
            return Ok(open.clone());
        }
        self.session.on_lost();
        let broker = self.shared.cluster.broker(self.broker_id).ok_or(RequestError::Closed)?;
        let (lane, versions) = broker.open_lane().await?;
        let version = broker.version(&versions, ApiKey::Fetch as i16)?;
        let open = (broker, lane, version);
        self.lane = Some(open.clone());
        Ok(open)
    }

    async fn exchange(
        &self,
        broker: &Broker,
        lane: &Lane,
        version: i16,
        plan: Plan<Source>,
    ) -> Result<FetchResponse, RequestError> {
        let api = api_name(ApiKey::Fetch as i16);
        let request = self.request(version, plan);
        let correlation = lane.next_correlation();
        let frame = encode_request(correlation, Some(broker.client_id()), version, &request)
            .map_err(|error| RequestError::Encode { api, reason: error.to_string() })?;
        // The broker may hold the answer back for so long on top.
        let limit = self.shared.cluster.settings.request_timeout + self.shared.settings.fetch_max_wait;
        let reply = lane.request(pieces(frame), Some(correlation));
        let frame: Bytes = tokio::time::timeout(limit, reply)
            .await
            .map_err(|_| broker.timed_out(api))?
            .map_err(|error| broker.disconnected(api, &error))?;
        broker.decode::<FetchRequest>(frame, version)
    }

    fn request(&self, version: i16, plan: Plan<Source>) -> FetchRequest {
        let settings = &self.shared.settings;
        let by_id = version >= TOPIC_IDS_FROM;
        let named = |source: &Source| TopicName(StrBytes::from_string(source.key.0.to_string()));
        // By name a topic that was made again is still the same to the broker.
        let forgotten = plan
            .forget
            .iter()
            .filter(|former| by_id || plan.include.iter().all(|(source, _)| source.key != former.key));
        let forgotten: Vec<_> = forgotten
            .map(|source| {
                let forgotten = ForgottenTopic::default().with_partitions(vec![source.key.1]);
                if by_id {
                    forgotten.with_topic_id(source.topic_id.0)
                } else {
                    forgotten.with_topic(named(source))
                }
            })
            .collect();
        let mut topics: Vec<FetchTopic> = Vec::new();
        for (source, wanted) in plan.include {
            let asked = FetchPartition::default()
                .with_partition(source.key.1)
                .with_fetch_offset(wanted.offset)
                .with_current_leader_epoch(if version >= 9 { wanted.leader_epoch } else { -1 })
                .with_partition_max_bytes(wire_size(settings.partition_max_bytes));
            let id = source.topic_id.0;
            let name = named(&source);
            match topics
                .last_mut()
                .filter(|last| if by_id { last.topic_id == id } else { last.topic == name })
            {
                Some(last) => last.partitions.push(asked),
                None if by_id => {
                    topics.push(FetchTopic::default().with_topic_id(id).with_partitions(vec![asked]));
                }
                None => topics.push(FetchTopic::default().with_topic(name).with_partitions(vec![asked])),
            }
        }
        let mut request = FetchRequest::default()
            .with_max_wait_ms(i32::try_from(settings.fetch_max_wait.as_millis()).unwrap_or(i32::MAX))
            .with_min_bytes(wire_size(settings.fetch_min_bytes))
            .with_max_bytes(wire_size(settings.fetch_max_bytes))
            .with_isolation_level(i8::from(settings.isolation == Isolation::ReadCommitted))
            .with_topics(topics);
        if version < 15 {
            request = request.with_replica_id(BrokerId(-1));
        }
        if version >= SESSIONS_FROM {
            request = request
                .with_session_id(plan.session_id)
                .with_session_epoch(plan.epoch)
                .with_forgotten_topics_data(forgotten);
        }
        match &settings.rack {
            Some(rack) if version >= 11 => request.with_rack_id(StrBytes::from_string(rack.clone())),
            _ => request,
        }
    }
}

fn wire_size(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}
