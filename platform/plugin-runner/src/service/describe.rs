//! What deployments are and how far they have come.

use std::sync::Arc;

use millrace_coordinator::PLUGIN_GROUPS;
use millrace_metadata::{Deployment, DeploymentVersion};
use millrace_protocol::plugins::{
    DeploymentState, Description, Kind, ManageReply, PartitionProgress, PartitionState, PluginError, Summary,
    VersionInfo,
};

use super::{Service, known};

impl Service {
    pub(super) fn list(&self) -> Vec<Summary> {
        let image = self.parts.metadata.image();
        let mut summaries: Vec<Summary> =
            image.deployments().map(|deployment| self.summary(deployment)).collect();
        summaries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        summaries
    }

    fn summary(&self, deployment: &Arc<Deployment>) -> Summary {
        let version = deployment.version();
        let definition = &version.definition;
        let progress = self.parts.progress.partitions(&deployment.name);
        let lag = match definition.kind {
            Kind::Partitioner => 0,
            Kind::Transform | Kind::Sink => progress.iter().filter_map(PartitionProgress::lag).sum(),
        };
        Summary {
            name: (*deployment.name).to_owned(),
            kind: definition.kind,
            state: state(deployment, &progress, &self.unfinished_replay(deployment)),
            version: version.number,
            module: definition.module,
            topic: definition.topic.clone(),
            outputs: definition.outputs.clone(),
            lag,
        }
    }

    pub(super) fn describe(&self, name: &str) -> Result<ManageReply, PluginError> {
        let image = self.parts.metadata.image();
        let description = self.description(known(&image, name)?);
        Ok(ManageReply::Deployment(Box::new(description)))
    }

    /// Tells of a deployment, without its secrets.
    pub(super) fn description(&self, deployment: &Deployment) -> Description {
        let version = deployment.version();
        let partitions = self.parts.progress.partitions(&deployment.name);
        let replay_partitions = self.unfinished_replay(deployment);
        let mut definition = version.definition.clone();
        definition.grants = definition.grants.redacted();
        Description {
            name: (*deployment.name).to_owned(),
            state: state(deployment, &partitions, &replay_partitions),
            version: version.number,
            created_ms: version.created_ms,
            group: format!("{PLUGIN_GROUPS}{}", deployment.name),
            definition,
            versions: deployment.versions.iter().map(|version| info(version)).collect(),
            partitions,
            replay: deployment.replay.clone(),
            replay_partitions,
        }
    }

    /// Where the last replay stands, empty if there was none or it is finished.
    pub(super) fn unfinished_replay(&self, deployment: &Deployment) -> Vec<PartitionProgress> {
        if deployment.replay.is_none() {
            return Vec::new();
        }
        let progress = self.parts.progress.replay(&deployment.name);
        if progress.iter().any(|partition| partition.lag() != Some(0)) { progress } else { Vec::new() }
    }
}

fn info(version: &DeploymentVersion) -> VersionInfo {
    VersionInfo { version: version.number, module: version.definition.module, created_ms: version.created_ms }
}

fn state(
    deployment: &Deployment,
    partitions: &[PartitionProgress],
    replay: &[PartitionProgress],
) -> DeploymentState {
    let halted = |progress: &PartitionProgress| progress.state == PartitionState::Halted;
    if deployment.paused {
        DeploymentState::Paused
    } else if partitions.iter().chain(replay).any(halted) {
        DeploymentState::Halted
    } else {
        DeploymentState::Running
    }
}
