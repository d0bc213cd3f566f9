//! The rules about deployments, one by one.

use std::collections::BTreeMap;

use millrace_base::{BrokerId, TopicId, TopicPartition};
use millrace_protocol::plugins::{Definition, Kind, LimitOverrides, ModuleDigest, Replay};

use super::tests::refused;
use super::*;
use crate::deployment::{DEPLOYMENT_VERSIONS_KEPT, Deployment};
use crate::image::{Partition, Topic};

fn definition(kind: Kind, topic: &str) -> Definition {
    Definition {
        module: ModuleDigest::of(topic.as_bytes()),
        kind,
        topic: topic.into(),
        outputs: if kind == Kind::Transform { vec!["out".into()] } else { Vec::new() },
        start: Default::default(),
        failure: Default::default(),
        config: BTreeMap::new(),
        grants: Default::default(),
        limits: Default::default(),
        log_level: Default::default(),
    }
}

fn put(name: &str, definition: Definition, created_ms: i64) -> Command {
    Command::PutDeployment { name: name.into(), definition: Box::new(definition), created_ms }
}

fn pause(name: &str, paused: bool) -> Command {
    Command::SetDeploymentPaused { name: name.into(), paused }
}

fn roll_back(name: &str, version: Option<u32>) -> Command {
    Command::RollBackDeployment { name: name.into(), version }
}

fn delete(name: &str) -> Command {
    Command::DeleteDeployment { name: name.into() }
}

fn numbers(deployment: &Deployment) -> Vec<u32> {
    deployment.versions.iter().map(|version| version.number).collect()
}

#[test]
fn a_deployment_comes_changes_and_goes() {
    let mut image = Image::default();
    let empty = image.clone();
    let sink = |topic| definition(Kind::Sink, topic);
    let version = |version| Ok(Outcome::DeploymentPut { version });
    assert_eq!(apply(&mut image, 7, &put("a", sink("in"), 100)), version(1));
    let delta = image.delta_since(&empty);
    assert_eq!((delta.deployments_changed.len(), delta.deployments_deleted.len()), (1, 0));
    assert_eq!(apply(&mut image, 8, &pause("a", true)), Ok(Outcome::DeploymentChanged));
    assert_eq!(apply(&mut image, 9, &put("a", sink("other"), 200)), version(2));

    let deployment = image.deployment("a").unwrap();
    assert_eq!((deployment.created, deployment.paused, deployment.resumes), (7, true, 0));
    assert_eq!((deployment.version().number, deployment.version().created_ms), (2, 200));
    assert_eq!(deployment.version().definition.topic, "other");
    apply(&mut image, 10, &pause("a", false)).unwrap();
    apply(&mut image, 11, &pause("a", false)).unwrap();
    let deployment = image.deployment("a").unwrap();
    assert_eq!((deployment.paused, deployment.resumes), (false, 2));

    let before = image.clone();
    assert_eq!(apply(&mut image, 12, &delete("a")), Ok(Outcome::DeploymentDeleted));
    let delta = image.delta_since(&before);
    assert_eq!((delta.deployments_changed.len(), delta.deployments_deleted.len()), (0, 1));
    assert_eq!((image.deployment_count(), image.deployments().count(), before.deployment_count()), (0, 0, 1));
    apply(&mut image, 13, &put("a", sink("in"), 300)).unwrap();
    let delta = image.delta_since(&before);
    assert_eq!((delta.deployments_changed[0].created, delta.deployments_deleted.len()), (13, 0));
}

#[test]
fn a_deployment_knows_what_its_input_was_when_it_began() {
    let mut image = Image::default();
    let make = |image: &mut Image, name: &str, id: TopicId, partitions| {
        let partition = Arc::new(Partition {
            leader: None,
            leader_epoch: Default::default(),
            replicas: vec![BrokerId(1)],
            isr: vec![BrokerId(1)],
            partition_epoch: 0,
        });
        image.put_topic(Topic {
            id,
            name: name.into(),
            partitions: vec![partition; partitions],
            configs: Arc::default(),
        });
    };
    let sink = |topic| definition(Kind::Sink, topic);
    let (first, anew, other) = (TopicId::random(), TopicId::random(), TopicId::random());
    make(&mut image, "in", first, 2);
    apply(&mut image, 7, &put("a", sink("in"), 1)).unwrap();
    apply(&mut image, 7, &put("none", sink("later"), 1)).unwrap();
    let began = |image: &Image, name: &str, topic, partition| {
        image.deployment(name).unwrap().began_with(TopicPartition::new(topic, partition))
    };
    assert!(began(&image, "a", first, 0) && began(&image, "a", first, 1));
    assert!(!began(&image, "a", first, 2), "it came later");

    // Another version on a topic that was made anew does not begin with that one.
    apply(&mut image, 8, &Command::DeleteTopic { id: first }).unwrap();
    make(&mut image, "in", anew, 2);
    make(&mut image, "later", other, 1);
    apply(&mut image, 9, &put("a", sink("in"), 2)).unwrap();
    assert!(!began(&image, "a", anew, 0) && !began(&image, "none", other, 0));

    // On a topic of another name it does, whichever way it comes there.
    apply(&mut image, 10, &put("a", sink("later"), 3)).unwrap();
    assert!(began(&image, "a", other, 0));
    apply(&mut image, 11, &roll_back("a", None)).unwrap();
    assert!(began(&image, "a", anew, 0) && !began(&image, "a", other, 0));
}

#[test]
fn a_put_whose_answer_was_lost_makes_no_second_version() {
    let mut image = Image::default();
    let command = put("a", definition(Kind::Sink, "in"), 100);
    assert_eq!(apply(&mut image, 7, &command), apply(&mut image, 8, &command));
    assert_eq!(numbers(image.deployment("a").unwrap()), [1]);
    apply(&mut image, 9, &put("a", definition(Kind::Sink, "in"), 101)).unwrap();
    assert_eq!(numbers(image.deployment("a").unwrap()), [1, 2], "the same once more, but later");
}

#[test]
fn versions_grow_and_the_oldest_are_dropped_but_never_what_ran_last() {
    let mut image = Image::default();
    let kept = u32::try_from(DEPLOYMENT_VERSIONS_KEPT).unwrap();
    for version in 1..=kept + 2 {
        apply(&mut image, 7, &put("a", definition(Kind::Sink, "in"), version.into())).unwrap();
    }
    assert_eq!(numbers(image.deployment("a").unwrap()), (3..=kept + 2).collect::<Vec<_>>());
    // Versions 1 and 2 are gone, 3 is the oldest and runs until the next one.
    let gone = refused(&mut image, &roll_back("a", Some(2))).to_string();
    assert!(gone.starts_with("deployment 'a' has no version 2: kept are 3, 4, 5,"), "{gone}");
    assert_eq!(apply(&mut image, 8, &roll_back("a", Some(3))), Ok(Outcome::DeploymentPut { version: 3 }));
    assert!(
        refused(&mut image, &roll_back("a", None))
            .to_string()
            .starts_with("deployment 'a' has no version before 3")
    );
    let next = put("a", definition(Kind::Sink, "in"), 1000);
    assert_eq!(apply(&mut image, 9, &next), Ok(Outcome::DeploymentPut { version: kept + 3 }));
    let expected: Vec<u32> = [3].into_iter().chain(5..=kept + 3).collect();
    assert_eq!(numbers(image.deployment("a").unwrap()), expected);
    // The one before the current, by number.
    assert_eq!(
        apply(&mut image, 10, &roll_back("a", None)),
        Ok(Outcome::DeploymentPut { version: kept + 2 })
    );
    assert_eq!(image.deployment("a").unwrap().version().number, kept + 2);
}

#[test]
fn replays_are_numbered() {
    let mut image = Image::default();
    apply(&mut image, 7, &put("a", definition(Kind::Transform, "in"), 100)).unwrap();
    for number in 1..=2 {
        let command = Command::ReplayDeployment { name: "a".into(), topic: "dead".into(), until: vec![5, 0] };
        assert_eq!(apply(&mut image, 8, &command), Ok(Outcome::DeploymentChanged));
        let expected = Replay { topic: "dead".into(), number, until: vec![5, 0] };
        assert_eq!(image.deployment("a").unwrap().replay, Some(expected));
    }
}

#[test]
fn a_topic_has_one_partitioner_wherever_it_comes_from() {
    let mut image = Image::default();
    let partitioner = |topic| definition(Kind::Partitioner, topic);
    let bound = |image: &Image, topic| image.partitioner(topic).map(ToString::to_string);
    apply(&mut image, 7, &put("one", partitioner("in"), 1)).unwrap();
    apply(&mut image, 7, &put("sink", definition(Kind::Sink, "in"), 1)).unwrap();
    assert_eq!(bound(&image, "in").as_deref(), Some("one"));
    apply(&mut image, 8, &pause("one", true)).unwrap();
    assert_eq!(bound(&image, "in"), None);
    let second = put("two", partitioner("in"), 1);
    assert_eq!(
        refused(&mut image, &second),
        Rejection::SecondPartitioner { topic: "in".into(), existing: "one".into() }
    );

    // It moves to another topic, and the first is free.
    apply(&mut image, 9, &put("one", partitioner("elsewhere"), 2)).unwrap();
    apply(&mut image, 10, &pause("one", false)).unwrap();
    assert_eq!(bound(&image, "elsewhere").as_deref(), Some("one"));
    apply(&mut image, 11, &second).unwrap();
    assert_eq!(bound(&image, "in").as_deref(), Some("two"));
    // So it cannot go back.
    assert!(matches!(refused(&mut image, &roll_back("one", None)), Rejection::SecondPartitioner { .. }));
    apply(&mut image, 12, &delete("two")).unwrap();
    assert_eq!(bound(&image, "in"), None);
    apply(&mut image, 13, &roll_back("one", None)).unwrap();
    assert_eq!((bound(&image, "in").as_deref(), bound(&image, "elsewhere")), (Some("one"), None));
}

#[test]
fn bad_deployments_are_refused() {
    let mut image = Image::default();
    apply(&mut image, 7, &put("a", definition(Kind::Sink, "in"), 1)).unwrap();
    let mut check = |command: Command, expect: &str| {
        let message = refused(&mut image, &command).to_string();
        assert!(message.contains(expect), "{message}");
    };
    check(put("a b", definition(Kind::Sink, "in"), 1), "`a b` is not");
    let mut zero = definition(Kind::Sink, "in");
    zero.limits = LimitOverrides { busy_ms: Some(0), ..Default::default() };
    check(put("b", zero, 1), "limits.busy_ms is 0");
    check(
        put("a", definition(Kind::Transform, "in"), 2),
        "deployment 'a' is a sink and cannot become a transform: deploy it under another name",
    );
    let replay = Command::ReplayDeployment { name: "x".into(), topic: "t".into(), until: vec![] };
    for command in [pause("x", true), roll_back("x", None), replay, delete("x")] {
        check(command, "there is no deployment 'x'");
    }
}

#[test]
fn there_is_a_most_of_deployments_and_versions_still_come() {
    let mut image = Image::default();
    for n in 0..DEPLOYMENTS_MAX {
        apply(&mut image, 7, &put(&format!("d{n}"), definition(Kind::Sink, "in"), 1)).unwrap();
    }
    let more = put("more", definition(Kind::Sink, "in"), 1);
    assert_eq!(
        refused(&mut image, &more).to_string(),
        "there are 20000 deployments, and no more are allowed: delete one that is not needed"
    );
    apply(&mut image, 8, &put("d0", definition(Kind::Sink, "in"), 2)).unwrap();
    apply(&mut image, 9, &delete("d1")).unwrap();
    apply(&mut image, 10, &more).unwrap();
    assert_eq!(image.deployment_count(), DEPLOYMENTS_MAX);
}
