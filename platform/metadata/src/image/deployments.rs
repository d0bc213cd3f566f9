//! The deployments of an image, and which of them are partitioners of which topic.

use std::sync::Arc;

use super::Image;
use crate::deployment::Deployment;

impl Image {
    pub fn deployment(&self, name: &str) -> Option<&Arc<Deployment>> {
        self.deployments.get(name)
    }

    /// In no particular order.
    pub fn deployments(&self) -> impl Iterator<Item = &Arc<Deployment>> {
        self.deployments.values()
    }

    pub const fn deployment_count(&self) -> usize {
        self.deployments.len()
    }

    /// Name of the deployment that is the topic's partitioner, unless it is paused.
    pub fn partitioner(&self, topic: &str) -> Option<&Arc<str>> {
        let name = self.bound_partitioner(topic)?;
        self.deployment(name).filter(|deployment| !deployment.paused).map(|_| name)
    }

    /// Name of the deployment that is the topic's partitioner, paused or not.
    pub(crate) fn bound_partitioner(&self, topic: &str) -> Option<&Arc<str>> {
        self.partitioners.get(topic)
    }
}

/// The changes, for the state machine alone.
impl Image {
    /// Adds a deployment, or replaces the one of its name.
    pub(crate) fn put_deployment(&mut self, deployment: impl Into<Arc<Deployment>>) {
        let deployment = deployment.into();
        let before = self.deployments.insert(Arc::clone(&deployment.name), Arc::clone(&deployment));
        let (now, before) = (deployment.partitions_topic(), before.as_deref());
        if let Some(topic) = before.and_then(Deployment::partitions_topic)
            && now != Some(topic)
        {
            self.partitioners.remove(topic);
        }
        if let Some(topic) = now
            && self.partitioners.get(topic).is_none()
        {
            self.partitioners.insert(topic.into(), Arc::clone(&deployment.name));
        }
    }

    pub(crate) fn remove_deployment(&mut self, name: &str) -> Option<Arc<Deployment>> {
        let deployment = self.deployments.remove(name)?;
        if let Some(topic) = deployment.partitions_topic() {
            self.partitioners.remove(topic);
        }
        Some(deployment)
    }
}
