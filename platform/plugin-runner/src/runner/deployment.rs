//! One deployment's workers.

use std::collections::HashMap;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use millrace_metadata::{Deployment, Image};
use millrace_plugin_host::LogLevel;
use millrace_protocol::plugins::{Kind, PartitionProgress, PartitionState, PluginError, StartPosition};
use tokio::sync::watch;

use super::desired::{Place, Wanted, wanted};
use super::{GROUP_PREFIX, Parts};
use crate::metrics::DeploymentMetrics;
use crate::offsets::OffsetKey;
use crate::spec::spec;
use crate::worker::{Order, Plan, Snapshot, Source, Status, Worker};

/// Something that ends; any number may wait for it.
type End = Shared<BoxFuture<'static, ()>>;

/// The group that holds the deployment's offsets; no deployment's name has a slash.
pub(crate) fn group(name: &str, replay: bool) -> String {
    if replay { format!("{GROUP_PREFIX}{name}/replay") } else { format!("{GROUP_PREFIX}{name}") }
}

pub(crate) fn deployment_of_group(group: &str) -> Option<&str> {
    let name = group.strip_prefix(GROUP_PREFIX)?;
    Some(name.strip_suffix("/replay").unwrap_or(name))
}

/// A worker, as its deployment holds it.
struct Held {
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
    /// Partitions of the input that had a worker at some time. Later ones are read from their beginning: they
    /// did not exist when the deployment was made.
    partitions_seen: usize,
    workers: HashMap<Place, Held>,
    /// What has to end before a worker may take its place again.
    ending: HashMap<Place, End>,
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
            partitions_seen: 0,
            workers: HashMap::new(),
            ending: HashMap::new(),
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
            self.partitions_seen = 0;
        }
        let version = deployment.version();
        self.version = version.number;
        self.topics = vec![version.definition.topic.clone()];
        self.topics.extend(deployment.replay.as_ref().map(|replay| replay.topic.clone()));
        self.ending.retain(|_, end| end.peek().is_none());
        let wanted = wanted(deployment, image, parts.node_id);
        let gone: Vec<Place> = self
            .workers
            .keys()
            .filter(|place| !wanted.iter().any(|wanted| wanted.place == **place))
            .cloned()
            .collect();
        for place in gone {
            self.end(&place);
        }
        if wanted.is_empty() {
            return;
        }
        let plan = match plan(parts, deployment) {
            Ok(plan) => plan,
            Err(error) => return self.breaks(parts, error),
        };
        self.broken = None;
        let inputs = wanted.iter().filter(|wanted| wanted.place.replay.is_none()).count();
        for wanted in wanted {
            match self.workers.get(&wanted.place) {
                Some(held) => {
                    held.orders.send_replace(Order::Run(Arc::clone(&plan)));
                }
                None => self.start(parts, wanted, &plan),
            }
        }
        self.partitions_seen = self.partitions_seen.max(inputs);
    }

    /// No worker can run: what they did is not lost, and an operator is told.
    fn breaks(&mut self, parts: &Parts, error: PluginError) {
        for place in self.workers.keys().cloned().collect::<Vec<_>>() {
            self.end(&place);
        }
        parts.shared.logs.line(&self.name, self.version, 0, LogLevel::Error, &error.message);
        tracing::error!(deployment = %self.name, %error, "a plugin cannot run");
        self.broken = Some(error);
    }

    fn start(&mut self, parts: &Parts, wanted: Wanted, plan: &Arc<Plan>) {
        let replay = wanted.place.replay.is_some();
        let (orders, ordered) = watch::channel(Order::Run(self.plan_for(&wanted, plan)));
        let status = Arc::new(Status::default());
        let worker = Worker {
            shared: Arc::clone(&parts.shared),
            source: wanted.until.map_or(Source::Input, |until| Source::Replay { until }),
            place: wanted.place.partition,
            key: OffsetKey {
                group: group(&self.name, replay),
                topic: wanted.topic.to_string(),
                partition: wanted.place.partition.partition,
            },
            orders: ordered,
            status: Arc::clone(&status),
            metrics: Arc::clone(&self.metrics),
        };
        // Of a replay, earlier ones count: they commit to the same offsets.
        let same_partition = |place: &Place| place.partition == wanted.place.partition;
        let before: Vec<End> = self
            .ending
            .iter()
            .filter(|(place, _)| same_partition(place) && place.replay.is_some() == replay)
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
        let held = Held { until: wanted.until, orders, status, end: end.boxed().shared() };
        self.workers.insert(wanted.place, held);
    }

    /// Partitions that the topic did not have when the deployment was made are read from their beginning.
    fn plan_for(&self, wanted: &Wanted, plan: &Arc<Plan>) -> Arc<Plan> {
        let is_new = self.partitions_seen > 0
            && usize::try_from(wanted.place.partition.partition)
                .is_ok_and(|index| index >= self.partitions_seen);
        if is_new && plan.start == StartPosition::Latest {
            return Arc::new(Plan { start: StartPosition::Earliest, ..plan.as_ref().clone() });
        }
        Arc::clone(plan)
    }

    fn end(&mut self, place: &Place) {
        if let Some(held) = self.workers.remove(place) {
            held.orders.send_replace(Order::Stop);
            self.ending.insert(place.clone(), held.end);
        }
    }

    /// Stops all workers; completes when they have ended.
    pub fn stop(&mut self) -> BoxFuture<'static, ()> {
        for place in self.workers.keys().cloned().collect::<Vec<_>>() {
            self.end(&place);
        }
        let ends: Vec<End> = self.ending.values().cloned().chain(self.forgetting.clone()).collect();
        futures::future::join_all(ends).map(|_| ()).boxed()
    }

    /// The deployment is gone: when the workers have ended, their offsets are forgotten.
    pub fn delete(&mut self, parts: &Parts) {
        let stopped = self.stop();
        let offsets = Arc::clone(&parts.shared.offsets);
        let groups = [group(&self.name, false), group(&self.name, true)];
        let task = parts.runtime.spawn(async move {
            stopped.await;
            for group in groups {
                if offsets.exists()
                    && let Err(error) = offsets.forget(&group).await
                {
                    tracing::warn!(group, %error, "cannot forget the offsets of a plugin that was deleted");
                }
            }
        });
        self.forgetting = Some(task.map(|_| ()).boxed().shared());
        (self.created, self.version, self.partitions_seen) = (0, 0, 0);
        self.topics.clear();
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
            .collect();
        progress.sort_by_key(|progress| progress.partition);
        progress
    }

    fn progress_of(&self, parts: &Parts, place: &Place, held: &Held) -> PartitionProgress {
        let Snapshot { state, offset, error, backtrace } = held.status.snapshot();
        let bounds = parts.shared.partitions.bounds(place.partition);
        let end = held.until.or_else(|| bounds.map(|bounds| bounds.end)).unwrap_or(0);
        PartitionProgress {
            partition: place.partition.partition,
            state: if self.broken.is_some() { PartitionState::Halted } else { state },
            offset: offset.unwrap_or(end).min(end.max(0)),
            end_offset: end,
            error: error.or_else(|| self.broken.as_ref().map(|broken| broken.message.clone())),
            backtrace,
        }
    }

    pub fn measure(&mut self, parts: &Parts) {
        let lag = self.progress(parts, false).iter().map(|at| at.end_offset - at.offset).sum();
        self.metrics.change_lag(lag - self.lag);
        self.lag = lag;
    }
}

fn plan(parts: &Parts, deployment: &Deployment) -> Result<Arc<Plan>, PluginError> {
    let version = deployment.version();
    let definition = &version.definition;
    let spec = spec(&deployment.name, version, None, &parts.databases)?;
    let host = (parts.host)()?;
    Ok(Arc::new(Plan {
        name: Arc::clone(&deployment.name),
        version: version.number,
        resumes: deployment.resumes,
        deployment: host.deployment(spec),
        outputs: definition.outputs.iter().map(|topic| topic.as_str().into()).collect(),
        policy: definition.failure.clone(),
        dead_letter: definition.dead_letter_topic().map(Into::into),
        start: definition.start,
    }))
}
