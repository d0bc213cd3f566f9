//! Deployments come, change and go.
//!
//! [`Definition::validate`] is one of the rules here: a broker that judged a definition otherwise than the others
//! would hold another image, so what it refuses changes only together with the command version.

use std::sync::Arc;

use millrace_protocol::plugins::{Definition, DefinitionError, Kind, Replay, check_deployment_name};

use crate::deployment::{DEPLOYMENT_VERSIONS_KEPT, Deployment, DeploymentInput, DeploymentVersion};
use crate::image::Image;
use crate::outcome::{Outcome, Rejection};

/// Deployments in a cluster: each is looked at by every broker.
pub const DEPLOYMENTS_MAX: usize = 20_000;

const FIRST_NUMBER: u32 = 1;

pub(super) fn put(
    image: &mut Image,
    index: u64,
    name: &str,
    definition: &Definition,
    created_ms: i64,
) -> Result<Outcome, Rejection> {
    let refused = |error: DefinitionError| Rejection::InvalidDeployment { reason: error.to_string() };
    check_deployment_name(name).map_err(refused)?;
    definition.validate().map_err(refused)?;
    let existing = image.deployment(name);
    if let Some(existing) = existing {
        check_kind(existing, definition.kind)?;
    } else if image.deployment_count() >= DEPLOYMENTS_MAX {
        return Err(Rejection::TooManyDeployments { max: DEPLOYMENTS_MAX });
    }
    check_partitioner(image, name, definition)?;

    let version = |number| Arc::new(DeploymentVersion { number, created_ms, definition: definition.clone() });
    let deployment = match existing {
        None => Deployment {
            name: name.into(),
            created: index,
            versions: vec![version(FIRST_NUMBER)],
            current: FIRST_NUMBER,
            next_version: FIRST_NUMBER + 1,
            paused: false,
            resumes: 0,
            replay: None,
            input: input(image, &definition.topic),
        },
        Some(existing) => {
            // A command that is submitted again, its first answer being lost, has succeeded.
            let running = existing.version();
            if running.created_ms == created_ms && running.definition == *definition {
                return Ok(Outcome::DeploymentPut { version: running.number });
            }
            let mut deployment = next_version(existing, version);
            follow_input(image, &mut deployment, &running.definition.topic);
            deployment
        }
    };
    let version = deployment.current;
    image.put_deployment(deployment);
    Ok(Outcome::DeploymentPut { version })
}

fn input(image: &Image, topic: &str) -> Option<DeploymentInput> {
    let topic = image.topic_by_name(topic)?;
    Some(DeploymentInput { topic: topic.id, partitions: topic.partition_count() })
}

/// Notes the input anew if it has another name than before; a topic that was made anew is still not what the
/// deployment began with.
fn follow_input(image: &Image, deployment: &mut Deployment, before: &str) {
    let topic = deployment.version().definition.topic.clone();
    if topic != before {
        deployment.input = input(image, &topic);
    }
}

/// The deployment with one version more, which is current.
fn next_version(existing: &Deployment, version: impl Fn(u32) -> Arc<DeploymentVersion>) -> Deployment {
    let mut deployment = existing.clone();
    if deployment.versions.len() >= DEPLOYMENT_VERSIONS_KEPT {
        // What ran until now is the likeliest to be rolled back to.
        let oldest = deployment.versions.iter().position(|kept| kept.number != existing.current);
        oldest.map(|oldest| deployment.versions.remove(oldest));
    }
    deployment.versions.push(version(existing.next_version));
    deployment.current = existing.next_version;
    deployment.next_version = existing.next_version.saturating_add(1);
    deployment
}

pub(super) fn set_paused(image: &mut Image, name: &str, paused: bool) -> Result<Outcome, Rejection> {
    let mut deployment = known(image, name)?;
    deployment.paused = paused;
    if !paused {
        // Also of one that was not paused: its halted partitions try again.
        deployment.resumes = deployment.resumes.wrapping_add(1);
    }
    image.put_deployment(deployment);
    Ok(Outcome::DeploymentChanged)
}

pub(super) fn roll_back(image: &mut Image, name: &str, version: Option<u32>) -> Result<Outcome, Rejection> {
    let mut deployment = known(image, name)?;
    let mut kept = deployment.versions.iter();
    let chosen = match version {
        Some(number) => kept.find(|version| version.number == number),
        None => kept.rfind(|version| version.number < deployment.current),
    };
    let Some(chosen) = chosen else {
        let name = name.to_owned();
        let kept = deployment.versions.iter().map(|version| version.number).collect();
        return Err(match version {
            Some(version) => Rejection::UnknownDeploymentVersion { name, version, kept },
            None => Rejection::NoEarlierDeploymentVersion { name, current: deployment.current, kept },
        });
    };
    // Since that version ran, its topic may have got another partitioner.
    check_partitioner(image, name, &chosen.definition)?;
    let version = chosen.number;
    let before = deployment.version().definition.topic.clone();
    deployment.current = version;
    follow_input(image, &mut deployment, &before);
    image.put_deployment(deployment);
    Ok(Outcome::DeploymentPut { version })
}

pub(super) fn replay(
    image: &mut Image,
    name: &str,
    topic: &str,
    until: &[i64],
) -> Result<Outcome, Rejection> {
    let mut deployment = known(image, name)?;
    let before = deployment.replay.as_ref().map_or(0, |replay| replay.number);
    let number = before.wrapping_add(1);
    deployment.replay = Some(Replay { topic: topic.to_owned(), number, until: until.to_vec() });
    image.put_deployment(deployment);
    Ok(Outcome::DeploymentChanged)
}

pub(super) fn delete(image: &mut Image, name: &str) -> Result<Outcome, Rejection> {
    image.remove_deployment(name).ok_or_else(|| unknown(name))?;
    Ok(Outcome::DeploymentDeleted)
}

/// A copy to be changed.
fn known(image: &Image, name: &str) -> Result<Deployment, Rejection> {
    image.deployment(name).map(|deployment| Deployment::clone(deployment)).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Rejection {
    Rejection::UnknownDeployment { name: name.to_owned() }
}

/// Offsets and metrics under the name belong to the kind.
fn check_kind(existing: &Deployment, given: Kind) -> Result<(), Rejection> {
    let current = existing.version().definition.kind;
    if current == given {
        return Ok(());
    }
    Err(Rejection::DeploymentKindChanged { name: existing.name.to_string(), current, given })
}

/// A topic has one partitioner; a paused one keeps its place, so that it can resume.
fn check_partitioner(image: &Image, name: &str, definition: &Definition) -> Result<(), Rejection> {
    if definition.kind != Kind::Partitioner {
        return Ok(());
    }
    match image.bound_partitioner(&definition.topic) {
        Some(existing) if **existing != *name => Err(Rejection::SecondPartitioner {
            topic: definition.topic.clone(),
            existing: existing.to_string(),
        }),
        _ => Ok(()),
    }
}
