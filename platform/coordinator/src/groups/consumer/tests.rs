//! The core through heartbeats: each test plays members against a group that its records alone make.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_base::TopicId;
use uuid::Uuid;

use super::super::classic::Now;
use super::super::error::GroupError;
use super::super::format::consumer::{Part, Subject};
use super::*;

struct World {
    group: ConsumerGroup,
    sessions: Sessions,
    settings: ConsumerSettings,
    topics: Known,
    instant: Instant,
}

#[derive(Clone, Default)]
struct Known(Vec<(&'static str, i32)>, u64);

impl Topics for Known {
    fn find(&self, name: &str) -> Option<(TopicId, i32)> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(known, partitions)| (id(known), *partitions))
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    fn version(&self) -> u64 {
        self.1
    }
}

fn id(name: &str) -> TopicId {
    TopicId(Uuid::from_u128(name.bytes().fold(0, |sum, byte| sum << 8 | u128::from(byte))))
}

fn of(name: &str, partitions: impl IntoIterator<Item = i32>) -> Assignment {
    Assignment::from([(id(name), partitions.into_iter().collect())])
}

fn join(member: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        rebalance_timeout_ms: 10_000,
        topics: Some(vec!["t".to_owned()]),
        owned: Some(Assignment::new()),
        ..beat(member, JOIN_EPOCH)
    }
}

fn beat(member: &str, epoch: i32) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group: "g".to_owned(),
        member: member.to_owned(),
        epoch,
        instance: None,
        rack: None,
        rebalance_timeout_ms: -1,
        topics: None,
        pattern: None,
        assignor: None,
        owned: None,
        client_id: "c".to_owned(),
        client_host: "/h".to_owned(),
    }
}

fn has(member: &str, epoch: i32, owned: Assignment) -> ConsumerHeartbeat {
    ConsumerHeartbeat { owned: Some(owned), ..beat(member, epoch) }
}

impl World {
    fn new(partitions: i32) -> Self {
        Self {
            group: ConsumerGroup::default(),
            sessions: Sessions::default(),
            settings: ConsumerSettings {
                session_timeout: Duration::from_secs(45),
                heartbeat_interval: Duration::from_secs(5),
                members_max: 3,
            },
            topics: Known(vec![("t", partitions)], 1),
            instant: Instant::now(),
        }
    }

    /// The epoch and what the member is told to read, and the records.
    fn try_beat(&mut self, beat: &ConsumerHeartbeat) -> Result<(ConsumerBeat, Vec<Part>), GroupError> {
        let now = Now { instant: self.instant, wall_ms: 1_000 };
        let step = SessionStep { settings: &self.settings, topics: &self.topics, now };
        let group = (!self.group.is_nothing()).then_some(&self.group);
        let (parts, answer) = on_heartbeat(beat, group, &mut self.sessions, &step)?;
        for part in &parts {
            let record = part.record("g");
            let read = Part::decode(part.subject(), record.value.as_deref());
            assert_eq!(read.as_ref(), Some(part), "what is decided on is what is read back");
            self.group.apply(part);
        }
        Ok((answer, parts))
    }

    fn beat(&mut self, beat: &ConsumerHeartbeat) -> (i32, Option<Assignment>) {
        let (answer, _) = self.try_beat(beat).unwrap();
        (answer.epoch, answer.assignment)
    }

    fn refused(&mut self, beat: &ConsumerHeartbeat) -> GroupError {
        self.try_beat(beat).unwrap_err()
    }

    fn on_time(&mut self) -> Vec<String> {
        let due = self.sessions.due(self.instant, self.instant + Duration::from_secs(1));
        let members = due.get("g").cloned().unwrap_or_default();
        for part in leave(&self.group, &members, &self.topics, 1_000) {
            self.group.apply(&part);
        }
        self.sessions.forget_all("g", &members);
        members
    }
}

#[test]
fn a_first_member_has_everything_and_an_idle_heartbeat_writes_nothing() {
    let mut world = World::new(3);
    let (answer, parts) = world.try_beat(&join("a")).unwrap();
    assert_eq!((answer.epoch, answer.assignment), (1, Some(of("t", 0..3))));
    let subjects: Vec<Subject> = parts.iter().map(Part::subject).collect();
    let a = || "a".to_owned();
    let expected = [
        Subject::Member(a()),
        Subject::GroupEpoch,
        Subject::Target(a()),
        Subject::TargetEpoch,
        Subject::Current(a()),
    ];
    assert_eq!(subjects, expected);
    assert_eq!(world.group.state(), "Stable");
    let (answer, parts) = world.try_beat(&beat("a", 1)).unwrap();
    assert_eq!((answer.epoch, answer.assignment, parts), (1, None, vec![]));
}

#[test]
fn what_moves_is_given_up_before_it_is_given_and_the_rest_stays() {
    let mut world = World::new(4);
    world.beat(&join("a"));
    // Nothing is free yet.
    assert_eq!(world.beat(&join("b")), (2, Some(Assignment::new())));
    assert_eq!(world.group.state(), "Reconciling");
    // The first gives up two, in its own epoch, until it says that it has.
    assert_eq!(world.beat(&beat("a", 1)), (1, Some(of("t", 0..2))));
    assert_eq!(world.beat(&has("a", 1, of("t", 0..4))), (1, None));
    assert_eq!(world.beat(&beat("b", 2)), (2, None));
    assert_eq!(world.beat(&has("a", 1, of("t", 0..2))), (2, None));
    assert_eq!(world.beat(&beat("b", 2)), (2, Some(of("t", 2..4))));
    assert_eq!(world.group.state(), "Stable");
}

#[test]
fn a_topic_that_grows_begins_an_epoch_and_stops_nobody() {
    let mut world = World::new(4);
    world.beat(&join("a"));
    world.beat(&join("b"));
    world.beat(&beat("a", 1));
    world.beat(&has("a", 1, of("t", 0..2)));
    world.beat(&beat("b", 2));
    world.topics = Known(vec![("t", 8)], 2);
    assert_eq!(world.beat(&beat("b", 2)), (3, Some(of("t", [2, 3, 5, 7]))));
    assert_eq!(world.beat(&beat("a", 2)), (3, Some(of("t", [0, 1, 4, 6]))));
    assert_eq!(world.group.state(), "Stable");
    // Another topic is none of theirs.
    world.topics = Known(vec![("t", 8), ("u", 1)], 3);
    assert_eq!(world.beat(&beat("a", 3)), (3, None));
}

#[test]
fn other_epochs_are_fenced() {
    let mut world = World::new(2);
    assert_eq!(world.refused(&beat("a", 1)), GroupError::GroupIdNotFound);
    world.beat(&join("a"));
    assert_eq!(world.refused(&beat("b", 1)), GroupError::UnknownMember);
    let greater = "The consumer group member has a greater member epoch (2) than the one known by the group \
                   coordinator (1). The member must abandon all its partitions and rejoin.";
    assert_eq!(world.refused(&beat("a", 2)), GroupError::FencedMemberEpoch(greater.to_owned()));
    world.topics = Known(vec![("t", 3)], 2);
    world.beat(&beat("a", 1));
    // The answer was lost: who has nothing else than it should goes on.
    assert_eq!(world.beat(&has("a", 1, of("t", 0..2))), (2, None));
    assert!(matches!(world.refused(&has("a", 1, of("t", [7]))), GroupError::FencedMemberEpoch(_)));
    assert_eq!(check_commit(&world.group, "a", 2), Ok(()));
    let stale = "The received member epoch 1 does not match the expected member epoch 2.";
    assert_eq!(check_commit(&world.group, "a", 1), Err(GroupError::StaleMemberEpoch(stale.to_owned())));
    assert_eq!(check_commit(&world.group, "b", 2), Err(GroupError::UnknownMember));
    assert_eq!(check_commit(&world.group, "", -1), Err(GroupError::UnknownMember));
    assert_eq!(check_fetch(&world.group, None, -1), Ok(()));
    assert_eq!(check_fetch(&world.group, Some("b"), 2), Err(GroupError::UnknownMember));
}

#[test]
fn who_leaves_is_gone_and_what_it_had_is_free() {
    let mut world = World::new(2);
    world.beat(&join("a"));
    world.beat(&join("b"));
    assert_eq!(world.beat(&beat("a", LEAVE_EPOCH)), (LEAVE_EPOCH, None));
    assert_eq!(world.refused(&beat("a", LEAVE_EPOCH)), GroupError::UnknownMember);
    assert_eq!(world.beat(&beat("b", 2)), (3, Some(of("t", 0..2))));
    world.beat(&beat("b", LEAVE_EPOCH));
    assert_eq!(world.group.state(), "Empty");
    for part in forget(&world.group) {
        world.group.apply(&part);
    }
    assert!(world.group.is_nothing());
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut world = World::new(4);
    let is_static = |beat| ConsumerHeartbeat { instance: Some("i".to_owned()), ..beat };
    world.beat(&is_static(join("a")));
    assert!(matches!(world.refused(&is_static(join("b"))), GroupError::UnreleasedInstance(_)));
    assert_eq!(world.refused(&is_static(beat("b", 1))), GroupError::FencedInstance);
    assert_eq!(world.beat(&is_static(beat("a", LEAVE_STATIC_EPOCH))), (LEAVE_STATIC_EPOCH, None));
    assert_eq!(world.beat(&is_static(join("b"))), (1, Some(of("t", 0..4))));
    assert_eq!(world.group.members().keys().collect::<Vec<_>>(), ["b"]);
    // Another one is not of the group any more.
    assert_eq!(world.refused(&is_static(beat("a", 1))), GroupError::FencedInstance);
    assert_eq!(world.group.epoch().epoch, 1, "nothing was assigned anew");
}

#[test]
fn nobody_is_waited_for_without_end() {
    let mut world = World::new(2);
    world.beat(&join("a"));
    world.beat(&join("b"));
    // It is to give up one partition within its rebalance timeout, and does not, though it lives.
    world.beat(&beat("a", 1));
    for _ in 0..3 {
        world.instant += Duration::from_secs(3);
        world.beat(&beat("a", 1));
        world.beat(&beat("b", 2));
        assert_eq!(world.on_time(), [""; 0]);
    }
    world.instant += Duration::from_secs(1);
    assert_eq!(world.on_time(), ["a"]);
    assert_eq!(world.refused(&beat("a", 1)), GroupError::UnknownMember);
    assert_eq!(world.beat(&beat("b", 2)), (3, Some(of("t", 0..2))));
    world.instant += Duration::from_secs(44);
    assert_eq!(world.on_time(), [""; 0]);
    world.instant += Duration::from_secs(1);
    assert_eq!(world.on_time(), ["b"]);
    assert_eq!(world.group.state(), "Empty");
    assert_eq!(world.sessions.next_deadline(), None);
}

#[test]
fn a_pattern_follows_the_topics() {
    let mut world = World::new(1);
    let pattern =
        ConsumerHeartbeat { topics: Some(Vec::new()), pattern: Some("t|u.*".to_owned()), ..join("a") };
    assert_eq!(world.beat(&pattern), (1, Some(of("t", [0]))));
    world.topics = Known(vec![("t", 1), ("u1", 1), ("xu1", 1), ("tt", 1)], 2);
    let mut both = of("t", [0]);
    both.extend(of("u1", [0]));
    assert_eq!(world.beat(&beat("a", 1)), (2, Some(both)));
    let resolved: Arc<_> = world.group.patterns().get("t|u.*").cloned().unwrap();
    assert_eq!(resolved.topics, ["t", "u1"]);
    let other = ConsumerHeartbeat { pattern: Some("(".to_owned()), ..beat("a", 2) };
    assert!(matches!(world.refused(&other), GroupError::InvalidRegularExpression(_)));
    let huge = ConsumerHeartbeat { pattern: Some("(a{500}){500}".to_owned()), ..beat("a", 2) };
    assert!(matches!(world.refused(&huge), GroupError::InvalidRegularExpression(_)));
    let none = ConsumerHeartbeat { pattern: Some(String::new()), ..beat("a", 2) };
    assert_eq!(world.beat(&none), (2, Some(Assignment::new())));
    assert_eq!(world.beat(&has("a", 2, Assignment::new())), (3, None));
    assert!(world.group.patterns().is_empty());
}

#[test]
fn what_makes_no_sense_is_refused_in_kafkas_words() {
    let mut world = World::new(1);
    let cases = [
        (ConsumerHeartbeat { owned: None, ..join("a") }, "TopicPartitions must be empty when (re-)joining."),
        (
            ConsumerHeartbeat { topics: None, ..join("a") },
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
        ),
        (
            ConsumerHeartbeat { rebalance_timeout_ms: -1, ..join("a") },
            "RebalanceTimeoutMs must be provided in first request.",
        ),
        (beat("", 1), "MemberId can't be empty."),
        (beat("a", LEAVE_STATIC_EPOCH), "InstanceId can't be null."),
        (beat(&"m".repeat(40_000), 1), "A name has 40000 bytes, and may have 32767."),
        (beat("a", -3), "MemberEpoch is -3, but must be greater than or equal to -2."),
    ];
    for (beat, reason) in cases {
        assert_eq!(world.refused(&beat), GroupError::InvalidRequest(reason.to_owned()));
    }
    let assignor = ConsumerHeartbeat { assignor: Some("best".to_owned()), ..join("a") };
    let reason = "ServerAssignor best is not supported. Supported assignors: uniform, range.";
    assert_eq!(world.refused(&assignor), GroupError::UnsupportedAssignor(reason.to_owned()));
    for member in ["a", "b", "c"] {
        world.beat(&join(member));
    }
    assert_eq!(world.refused(&join("d")), GroupError::GroupMaxSizeReached);
}

/// Many members come at once, and each heartbeat is answered in turn until all have their share.
#[test]
fn many_members_settle_in_few_rounds() {
    let mut world = World::new(400);
    world.settings.members_max = 200;
    let ids: Vec<String> = (0..200).map(|number| format!("m{number:03}")).collect();
    let mut known: Vec<(i32, Assignment)> = Vec::new();
    for id in &ids {
        let (epoch, told) = world.beat(&join(id));
        known.push((epoch, told.unwrap_or_default()));
    }
    let mut rounds = 0;
    while world.group.state() != "Stable" {
        rounds += 1;
        assert!(rounds < 6, "it does not settle");
        for (id, (epoch, owned)) in ids.iter().zip(&mut known) {
            let (next, told) = world.beat(&has(id, *epoch, owned.clone()));
            *epoch = next;
            if let Some(told) = told {
                *owned = told;
            }
        }
    }
    assert!(known.iter().all(|(_, owned)| owned.values().map(Vec::len).sum::<usize>() == 2));
}
