//! One deployment's workers.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use millrace_coordinator::{Committed, OffsetKey, PLUGIN_GROUPS};
use millrace_metadata::{Deployment, Image};
use millrace_plugin_host::{CallLimits, LogLevel};
use millrace_protocol::batch::HEADER_LEN;
use millrace_protocol::plugins::{
    Kind, PartitionProgress, PartitionState, PluginError, RETRIES, StartPosition,
};
use tokio::sync::watch;

use super::Parts;
use super::desired::{Place, Wanted, wanted};
use crate::metrics::DeploymentMetrics;
use crate::spec::spec;
use crate::worker::{Order, Plan, Snapshot, Source, Status, Worker};

/// Something that ends; any number may wait for it.
type End = Shared<BoxFuture<'static, ()>>;

/// The group that holds the deployment's offsets; no deployment's name has a slash.
pub(crate) fn group(name: &str, replay: bool) -> String {
    if replay { format!("{PLUGIN_GROUPS}{name}/replay") } else { format!("{PLUGIN_GROUPS}{name}") }
}

pub(crate) fn deployment_of_group(group: &str) -> Option<&str> {
    let name = group.strip_prefix(PLUGIN_GROUPS)?;
    Some(name.strip_suffix("/replay").unwrap_or(name))
}

/// A worker, as its deployment holds it.
struct Held {
    key: OffsetKey,
    until: Option<i64>,
    orders: watch::Sender<Order>,
    status: Arc<Status>,
    end: End,
}

/// See the module's text.
pub(crate) struct Running {
    name: Arc<str>,
    metrics: Arc<DeploymentMetrics>,
    /// As the gauge has it.
    lag: i64,
    created: u64,
    version: u32,
    /// The input topic, and one that is replayed.
    topics: Vec<String>,
    workers: BTreeMap<Place, Held>,
    /// What has no worker, since an operator has paused the deployment.
    paused: Vec<Wanted>,
    /// What has to end before a worker may take its place again.
    ending: BTreeMap<Place, End>,
    /// The offsets of a deployment of this name that was deleted are being forgotten.
    forgetting: Option<End>,
    /// Why nothing runs.
    broken: Option<PluginError>,
}

impl Running {
    pub fn new(parts: &Parts, name: &Arc<str>, kind: Kind) -> Self {
        Self {
            name: Arc::clone(name),
            metrics: parts.metrics.deployment(name, kind),
            lag: 0,
            created: 0,
            version: 0,
            topics: Vec::new(),
            workers: BTreeMap::new(),
            paused: Vec::new(),
            ending: BTreeMap::new(),
            forgetting: None,
            broken: None,
        }
    }

    pub fn reads(&self, topic: &str) -> bool {
        self.topics.iter().any(|read| read == topic)
    }

    /// Gives the workers the orders that the deployment asks for, starts those that are missing and stops
    /// those that are not wanted any more.
    pub fn follow(&mut self, parts: &Parts, deployment: &Deployment, image: &Image) {
        if self.created != deployment.created {
            // Made anew, maybe after one of the same name was deleted.
            self.metrics = parts.metrics.deployment(&self.name, deployment.version().definition.kind);
            (self.created, self.lag) = (deployment.created, 0);
        }
        let version = deployment.version();
        self.version = version.number;
        self.topics = vec![version.definition.topic.clone()];
        self.topics.extend(deployment.replay.as_ref().map(|replay| replay.topic.clone()));
        self.ending.retain(|_, end| end.peek().is_none());
        let mut wanted = wanted(deployment, image, parts.node_id);
        self.paused.clear();
        if deployment.paused {
            self.paused = std::mem::take(&mut wanted);
        }
        let gone: Vec<Place> = self
            .workers
            .keys()
            .filter(|place| !wanted.iter().any(|wanted| wanted.place == **place))
            .cloned()
            .collect();
        for place in gone {
            let topic_is_gone = image.topic(place.partition.topic).is_none();
            self.end(parts, &place, topic_is_gone);
        }
        if wanted.is_empty() {
            return;
        }
        let plan = match plan(parts, deployment, image) {
            Ok(plan) => plan,
            Err(error) => return self.breaks(parts, error),
        };
        self.broken = None;
        for wanted in wanted {
            match self.workers.get(&wanted.place) {
                Some(held) => {
                    held.orders.send_replace(Order::Run(Arc::clone(&plan)));
                }
                None => {
                    let plan = plan_for(deployment, &wanted, &plan);
                    self.start(parts, wanted, plan);
                }
            }
        }
    }

    /// No worker can run: what they did is not lost, and an operator is told.
    fn breaks(&mut self, parts: &Parts, error: PluginError) {
        for place in self.workers.keys().cloned().collect::<Vec<_>>() {
            self.end(parts, &place, false);
        }
        parts.shared.logs.line(&self.name, self.version, 0, LogLevel::Error, &error.message);
        tracing::error!(deployment = %self.name, %error, "a plugin cannot run");
        self.broken = Some(error);
    }

    fn start(&mut self, parts: &Parts, wanted: Wanted, plan: Arc<Plan>) {
        let replay = wanted.place.replay.is_some();
        let key = self.key(&wanted);
        let (orders, ordered) = watch::channel(Order::Run(plan));
        let status = Arc::new(Status::default());
        let worker = Worker {
            shared: Arc::clone(&parts.shared),
            source: wanted.until.map_or(Source::Input, |until| Source::Replay { until }),
            place: wanted.place.partition,
            key: key.clone(),
            orders: ordered,
            status: Arc::clone(&status),
            metrics: Arc::clone(&self.metrics),
        };
        // Who commits to the same offset must have ended: another replay, or the topic that had this one's name.
        let same_offset =
            |place: &Place| place.partition.partition == key.partition && place.replay.is_some() == replay;
        let before: Vec<End> = self
            .ending
            .iter()
            .filter(|(place, _)| same_offset(place))
            .map(|(_, end)| end.clone())
            .chain(self.forgetting.clone())
            .collect();
        let task = parts.runtime.spawn(async move {
            futures::future::join_all(before).await;
            worker.run().await;
        });
        let name = Arc::clone(&self.name);
        let end = async move {
            if let Err(error) = task.await {
                tracing::error!(deployment = %name, %error, "a plugin's worker ended unexpectedly");
            }
        };
        let held = Held { key, until: wanted.until, orders, status, end: end.boxed().shared() };
        self.workers.insert(wanted.place, held);
    }

    fn key(&self, wanted: &Wanted) -> OffsetKey {
        OffsetKey {
            group: group(&self.name, wanted.place.replay.is_some()),
            topic: wanted.topic.to_string(),
            partition: wanted.place.partition.partition,
        }
    }

    /// Has a worker end. The offset that it has committed in a topic that is gone is forgotten, since it means
    /// nothing in another one of that name.
    fn end(&mut self, parts: &Parts, place: &Place, topic_is_gone: bool) {
        let Some(held) = self.workers.remove(place) else { return };
        held.orders.send_replace(Order::Stop);
        let mut end = held.end;
        if topic_is_gone {
            let offsets = Arc::clone(&parts.shared.offsets);
            let topic = place.partition.topic;
            let ended = end.clone();
            let task = parts.runtime.spawn(async move {
                ended.await;
                let of_topic = |key: &OffsetKey, at: &Committed| *key == held.key && at.is_of(topic);
                offsets.forget(&held.key.group, of_topic).await;
            });
            end = task.map(|_| ()).boxed().shared();
        }
        self.ending.insert(place.clone(), end);
    }

    /// Stops all workers; completes when they have ended.
    pub fn stop(&mut self, parts: &Parts) -> BoxFuture<'static, ()> {
        for place in self.workers.keys().cloned().collect::<Vec<_>>() {
            self.end(parts, &place, false);
        }
        let ends: Vec<End> = self.ending.values().cloned().chain(self.forgetting.clone()).collect();
        futures::future::join_all(ends).map(|_| ()).boxed()
    }

    /// The deployment is gone: when the workers have ended, their offsets are forgotten.
    pub fn delete(&mut self, parts: &Parts) {
        let stopped = self.stop(parts);
        let offsets = Arc::clone(&parts.shared.offsets);
        let groups = [group(&self.name, false), group(&self.name, true)];
        let task = parts.runtime.spawn(async move {
            stopped.await;
            for group in groups {
                offsets.forget(&group, |_, _| true).await;
            }
        });
        self.forgetting = Some(task.map(|_| ()).boxed().shared());
        (self.created, self.version) = (0, 0);
        self.topics.clear();
        self.paused.clear();
        parts.metrics.forget(&self.name);
    }

    pub fn established(&self) -> BoxFuture<'static, ()> {
        let statuses: Vec<Arc<Status>> = self.workers.values().map(|held| Arc::clone(&held.status)).collect();
        async move {
            for status in statuses {
                status.placed().await;
            }
        }
        .boxed()
    }

    pub fn progress(&self, parts: &Parts, replay: bool) -> Vec<PartitionProgress> {
        let mut progress: Vec<PartitionProgress> = self
            .workers
            .iter()
            .filter(|(place, _)| place.replay.is_some() == replay)
            .map(|(place, held)| self.progress_of(parts, place, held))
            .chain(self.paused_progress(parts, replay))
            .collect();
        progress.sort_by_key(|progress| progress.partition);
        progress
    }

    /// Where a paused deployment will go on.
    fn paused_progress(&self, parts: &Parts, replay: bool) -> impl Iterator<Item = PartitionProgress> {
        let paused = self.paused.iter().filter(move |wanted| wanted.place.replay.is_some() == replay);
        paused.map(|wanted| {
            let end = end_of(parts, &wanted.place, wanted.until);
            PartitionProgress {
                partition: wanted.place.partition.partition,
                state: PartitionState::Paused,
                offset: parts
                    .shared
                    .offsets
                    .known(&self.key(wanted), wanted.place.partition.topic)
                    .map(|offset| offset.min(end)),
                end_offset: end,
                error: None,
                backtrace: None,
            }
        })
    }

    fn progress_of(&self, parts: &Parts, place: &Place, held: &Held) -> PartitionProgress {
        let Snapshot { state, offset, error, backtrace } = held.status.snapshot();
        let end = end_of(parts, place, held.until);
        PartitionProgress {
            partition: place.partition.partition,
            state: if self.broken.is_some() { PartitionState::Halted } else { state },
            offset: offset
                .or_else(|| parts.shared.offsets.known(&held.key, place.partition.topic))
                .map(|offset| offset.min(end)),
            end_offset: end,
            error: error.or_else(|| self.broken.as_ref().map(|broken| broken.message.clone())),
            backtrace,
        }
    }

    pub fn measure(&mut self, parts: &Parts) {
        let lag = self.progress(parts, false).iter().filter_map(PartitionProgress::lag).sum();
        self.metrics.change_lag(lag - self.lag);
        self.lag = lag;
    }
}

/// Where a worker's work ends, for now or for good.
fn end_of(parts: &Parts, place: &Place, until: Option<i64>) -> i64 {
    let end = || parts.shared.partitions.bounds(place.partition).map(|bounds| bounds.end);
    until.or_else(end).unwrap_or(0)
}

/// The most that the records of one output block may take, if an output topic allows less than usual.
fn block_bytes_max(outputs: &[String], image: &Image) -> Option<usize> {
    let allowed = outputs.iter().filter_map(|name| {
        let limit = image.topic_by_name(name)?.configs.get("max.message.bytes")?.parse::<usize>().ok()?;
        Some(limit.saturating_sub(HEADER_LEN))
    });
    allowed.min().filter(|allowed| *allowed < CallLimits::default().block_bytes)
}

/// What the input did not have when the deployment began is read from its beginning: partitions that came later,
/// and a topic that was made anew.
fn plan_for(deployment: &Deployment, wanted: &Wanted, plan: &Arc<Plan>) -> Arc<Plan> {
    if wanted.place.replay.is_some() || deployment.began_with(wanted.place.partition) {
        return Arc::clone(plan);
    }
    Arc::new(Plan { start: StartPosition::Earliest, ..plan.as_ref().clone() })
}

fn plan(parts: &Parts, deployment: &Deployment, image: &Image) -> Result<Arc<Plan>, PluginError> {
    let version = deployment.version();
    let definition = &version.definition;
    let block_bytes_max = block_bytes_max(&definition.outputs, image);
    let spec = spec(&deployment.name, version, block_bytes_max, &parts.grant_source)?;
    let host = (parts.host)()?;
    Ok(Arc::new(Plan {
        name: Arc::clone(&deployment.name),
        version: version.number,
        resumes: deployment.resumes,
        deployment: host.deployment(spec),
        outputs: definition.outputs.iter().map(|topic| topic.as_str().into()).collect(),
        policy: definition.failure.clone(),
        retries: definition.limits.retries.unwrap_or(RETRIES),
        dead_letter: definition.dead_letter_topic().map(Into::into),
        start: definition.start,
    }))
}
