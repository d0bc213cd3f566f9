//! Keeps a worker for every partition that a deployment has work in.
//!
//! The metadata is followed from image to image: what changed is compared with the workers there are, and
//! they get their orders. Deciding never waits; what has to wait (for a worker to end before another takes its
//! place, for a deployment's offsets to be forgotten) goes on in the tasks themselves.

mod deployment;
mod desired;

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use millrace_base::BrokerId;
use millrace_metadata::{Image, ImageDelta};
use millrace_protocol::plugins::{Kind, PartitionProgress};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::metrics::PluginMetrics;
use crate::partitioners::HostSource;
use crate::spec::GrantSource;
use crate::worker::Shared;
use deployment::Running;
#[cfg(test)]
pub(crate) use deployment::group;

/// What a runner is made of.
pub(crate) struct Parts {
    pub node_id: BrokerId,
    pub shared: Arc<Shared>,
    pub host: HostSource,
    pub grant_source: Arc<GrantSource>,
    pub metrics: PluginMetrics,
    /// Where plugins run, apart from the broker's requests.
    pub runtime: Handle,
}

/// See the module's text.
pub(crate) struct Runner {
    parts: Parts,
    running: Mutex<HashMap<Arc<str>, Running>>,
    /// The image that the workers reflect.
    applied: watch::Sender<u64>,
}

impl Runner {
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self { parts, running: Mutex::default(), applied: watch::Sender::new(0) })
    }

    /// Follows the metadata until told to stop, then ends all workers with everything done committed.
    pub async fn follow(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut images = self.parts.shared.metadata.watch();
        images.borrow_and_update();
        let mut image = self.parts.shared.metadata.image();
        self.start_on(&image);
        self.applied.send_replace(image.applied_index());
        loop {
            tokio::select! {
                changed = images.changed() => if changed.is_err() { break },
                _ = stopped.wait_for(|stop| *stop) => break,
            }
            let next = self.parts.shared.metadata.image();
            self.apply(&next.delta_since(&image), &next);
            image = next;
            self.applied.send_replace(image.applied_index());
        }
        self.stop().await;
    }

    fn start_on(self: &Arc<Self>, image: &Image) {
        let mut running = self.running.lock();
        for deployment in image.deployments() {
            self.reconcile(&mut running, &deployment.name, image);
        }
        drop(running);
        if self.parts.shared.offsets.exists() {
            self.parts.runtime.spawn(Arc::clone(self).forget_orphans());
        }
    }

    /// Deployments that were deleted while this broker could not write it down.
    async fn forget_orphans(self: Arc<Self>) {
        let offsets = &self.parts.shared.offsets;
        let groups = match offsets.groups().await {
            Ok(groups) => groups,
            Err(error) => {
                tracing::warn!(%error, "cannot read the committed offsets of plugins yet");
                return;
            }
        };
        for group in groups {
            let Some(name) = deployment::deployment_of_group(&group) else { continue };
            if self.parts.shared.metadata.image().deployment(name).is_none() {
                offsets.forget(&group, |_, _| true).await;
            }
        }
    }

    fn apply(self: &Arc<Self>, delta: &ImageDelta, image: &Image) {
        let mut running = self.running.lock();
        for deployment in &delta.deployments_deleted {
            if let Some(gone) = running.get_mut(&deployment.name) {
                gone.delete(&self.parts);
            }
        }
        let mut names: Vec<Arc<str>> =
            delta.deployments_changed.iter().map(|deployment| Arc::clone(&deployment.name)).collect();
        let topics: Vec<&str> =
            delta.changed.iter().chain(&delta.deleted).map(|topic| &*topic.name).collect();
        if !topics.is_empty() {
            names.extend(
                running
                    .iter()
                    .filter(|(_, running)| topics.iter().any(|topic| running.reads(topic)))
                    .map(|(name, _)| Arc::clone(name)),
            );
        }
        for name in names {
            self.reconcile(&mut running, &name, image);
        }
    }

    fn reconcile(&self, running: &mut HashMap<Arc<str>, Running>, name: &Arc<str>, image: &Image) {
        let Some(deployment) = image.deployment(name) else { return };
        let kind = deployment.version().definition.kind;
        if kind == Kind::Partitioner {
            return;
        }
        let entry = running.entry(Arc::clone(name)).or_insert_with(|| Running::new(&self.parts, name, kind));
        entry.follow(&self.parts, deployment, image);
    }

    async fn stop(&self) {
        let ended: Vec<BoxFuture<'static, ()>> =
            self.running.lock().values_mut().map(|running| running.stop(&self.parts)).collect();
        futures::future::join_all(ended).await;
    }

    /// Where the workers of a deployment are; of its replay, if asked for.
    pub fn progress(&self, name: &str, replay: bool) -> Vec<PartitionProgress> {
        let running = self.running.lock();
        running.get(name).map_or_else(Vec::new, |running| running.progress(&self.parts, replay))
    }

    /// Completes when every worker that the deployment has, as of the metadata's image `index`, knows where it
    /// begins: whatever is produced from then on it will see.
    pub async fn established(&self, name: &str, index: u64) {
        // The sender lives as long as `self`.
        let _ = self.applied.subscribe().wait_for(|applied| *applied >= index).await;
        let established = self.running.lock().get(name).map(Running::established);
        if let Some(established) = established {
            established.await;
        }
    }

    /// Brings the gauges up to date that only time changes.
    pub fn measure(&self) {
        let mut running = self.running.lock();
        for running in running.values_mut() {
            running.measure(&self.parts);
        }
    }
}
