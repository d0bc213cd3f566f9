//! The state machine's rules, one by one.

use std::collections::BTreeMap;

use millrace_base::{BrokerId, LeaderEpoch, ProducerId, TopicId, TopicPartition};

use super::*;
use crate::command::{PartitionAssignment, PartitionChange};
use crate::topic_name::TopicNameError;

fn image_with_brokers(count: i32) -> Image {
    let mut image = Image::default();
    for id in 1..=count {
        let registration = BrokerRegistration { id: BrokerId(id), host: "h".into(), port: 9092, rack: None };
        apply(&mut image, id as u64, &Command::RegisterBroker { registration }).unwrap();
    }
    image
}

fn on(brokers: &[i32]) -> PartitionAssignment {
    PartitionAssignment { replicas: brokers.iter().copied().map(BrokerId).collect() }
}

fn create(name: &str, id: TopicId, partitions: Vec<PartitionAssignment>) -> Command {
    Command::CreateTopic { name: name.into(), id, partitions, configs: BTreeMap::new() }
}

/// Applies a command that must be refused, and proves that it left no trace.
pub(super) fn refused(image: &mut Image, command: &Command) -> Rejection {
    let before = image.clone();
    let rejection = apply(image, 99, command).unwrap_err();
    let delta = image.delta_since(&before);
    assert!(delta.changed.is_empty() && delta.deleted.is_empty() && !delta.brokers_changed, "{delta:?}");
    assert!(delta.deployments_changed.is_empty() && delta.deployments_deleted.is_empty(), "{delta:?}");
    assert_eq!(image.partition_count(), before.partition_count());
    rejection
}

#[test]
fn a_cluster_keeps_its_first_name() {
    let mut image = Image::default();
    for name in ["first", "second"] {
        let outcome = apply(&mut image, 1, &Command::InitCluster { cluster_id: name.into() });
        assert_eq!(outcome, Ok(Outcome::Cluster { cluster_id: "first".into() }));
    }
}

#[test]
fn a_topic_is_found_by_id_and_by_name_until_it_is_deleted() {
    let mut image = image_with_brokers(2);
    let id = TopicId::random();
    let created = apply(&mut image, 9, &create("orders", id, vec![on(&[1, 2]), on(&[2, 1])]));
    assert_eq!(created, Ok(Outcome::TopicCreated { id }));
    let topic = image.topic_by_name("orders").unwrap();
    assert_eq!((topic.id, topic.partition_count(), image.partition_count()), (id, 2, 2));
    let partition = image.partition(&TopicPartition::new(id, 1)).unwrap();
    assert_eq!((partition.leader, &partition.isr), (Some(BrokerId(2)), &partition.replicas));

    let kept = image.clone();
    assert_eq!(apply(&mut image, 10, &Command::DeleteTopic { id }), Ok(Outcome::TopicDeleted));
    assert!(image.topic(id).is_none() && image.topic_by_name("orders").is_none());
    assert_eq!((image.topic_count(), image.partition_count(), kept.topic_count()), (0, 0, 1));
    assert_eq!(image.delta_since(&kept).deleted.len(), 1);
    assert_eq!(refused(&mut image, &Command::DeleteTopic { id }), Rejection::UnknownTopic { id });
}

#[test]
fn creating_the_same_topic_again_succeeds_and_another_of_its_name_does_not() {
    let mut image = image_with_brokers(1);
    let command = create("a", TopicId::random(), vec![on(&[1])]);
    assert_eq!(apply(&mut image, 5, &command), apply(&mut image, 6, &command));
    let another = create("a", TopicId::random(), vec![on(&[1])]);
    assert_eq!(refused(&mut image, &another), Rejection::TopicExists { name: "a".into() });
}

#[test]
fn names_that_collide_are_refused_as_long_as_the_other_topic_lives() {
    let mut image = image_with_brokers(1);
    let id = TopicId::random();
    apply(&mut image, 5, &create("a.b", id, vec![on(&[1])])).unwrap();
    let colliding = create("a_b", TopicId::random(), vec![on(&[1])]);
    let expected = Rejection::TopicNameCollision { name: "a_b".into(), existing: "a.b".into() };
    assert_eq!(refused(&mut image, &colliding), expected);
    apply(&mut image, 6, &Command::DeleteTopic { id }).unwrap();
    apply(&mut image, 7, &colliding).unwrap();
}

#[test]
fn bad_topics_are_refused() {
    let mut image = image_with_brokers(2);
    let id = TopicId::random();
    let mut check = |name: &str, partitions: &[&[i32]], expect: &str| {
        let command = create(name, id, partitions.iter().map(|replicas| on(replicas)).collect());
        assert_eq!(refused(&mut image, &command).to_string(), expect);
    };
    check("", &[&[1]], &TopicNameError::Empty.to_string());
    check("a", &[], "a topic of 0 partitions is refused: allowed are 1 to 100000");
    check("a", &[&[]], "the replicas of partition 0 are refused: there are none");
    check("a", &[&[1], &[7]], "the replicas of partition 1 are refused: there is no broker 7");
    check("a", &[&[1, 1]], "the replicas of partition 0 are refused: broker 1 is named twice");
    check(
        "a",
        &[&[1], &[1, 2]],
        "the replicas of partition 1 are refused: there are 2, other partitions have 1",
    );
}

#[test]
fn partitions_are_added_only_to_the_topic_the_caller_saw() {
    let mut image = image_with_brokers(1);
    let topic_id = TopicId::random();
    apply(&mut image, 5, &create("a", topic_id, vec![on(&[1])])).unwrap();
    let add = Command::AddPartitions { topic_id, current: 1, new: vec![on(&[1]), on(&[1])] };
    assert_eq!(apply(&mut image, 6, &add), Ok(Outcome::PartitionsAdded { count: 3 }));
    assert_eq!(image.partition_count(), 3);
    assert_eq!(refused(&mut image, &add), Rejection::PartitionCountChanged { expected: 1, actual: 3 });
}

#[test]
fn configs_are_set_and_removed() {
    let mut image = image_with_brokers(1);
    let id = TopicId::random();
    apply(&mut image, 5, &create("a", id, vec![on(&[1])])).unwrap();
    let set =
        |name: &str, value: Option<&str>| ConfigChange { name: name.into(), value: value.map(Into::into) };
    let alter = |resource, changes| Command::AlterConfigs { resource, changes, based_on: BTreeMap::new() };
    for resource in [ConfigResource::Topic(id), ConfigResource::Broker(None)] {
        let changes = vec![set("x", Some("1")), set("y", Some("2"))];
        apply(&mut image, 6, &alter(resource, changes)).unwrap();
        apply(&mut image, 7, &alter(resource, vec![set("x", None)])).unwrap();
    }
    let expected = BTreeMap::from([("y".to_owned(), "2".to_owned())]);
    assert_eq!(*image.topic(id).unwrap().configs, expected);
    assert_eq!(**image.broker_configs(None).unwrap(), expected);
    let changes = vec![set("y", None)];
    let resource = ConfigResource::Broker(None);
    apply(&mut image, 8, &alter(resource, changes.clone())).unwrap();
    assert_eq!(image.broker_configs(None), None);
    let gone = TopicId::random();
    let command = alter(ConfigResource::Topic(gone), changes);
    assert_eq!(refused(&mut image, &command), Rejection::UnknownTopic { id: gone });
}

#[test]
fn producer_id_blocks_never_overlap() {
    let mut image = image_with_brokers(1);
    let block = |count| Command::AllocateProducerIds { broker: BrokerId(1), count };
    for first in [0, 1000, 2000] {
        let expected = Outcome::ProducerIds { first: ProducerId(first), count: 1000 };
        assert_eq!(apply(&mut image, 5, &block(1000)), Ok(expected));
    }
    assert!(matches!(refused(&mut image, &block(0)), Rejection::InvalidProducerIdCount { .. }));
    image.next_producer_id = i64::MAX - 5;
    assert_eq!(refused(&mut image, &block(6)), Rejection::ProducerIdsExhausted);
    let stranger = Command::AllocateProducerIds { broker: BrokerId(7), count: 1 };
    assert_eq!(refused(&mut image, &stranger), Rejection::UnknownBroker { id: BrokerId(7) });
}

/// Run by hand: `cargo test --release -- --ignored --nocapture cost`.
#[test]
#[ignore = "measures"]
fn a_topic_costs_little_even_among_a_hundred_thousand() {
    let mut image = image_with_brokers(3);
    for round in 0..10 {
        let began = std::time::Instant::now();
        let mut delta = std::time::Duration::ZERO;
        for i in 0..10_000 {
            // Each change is published, as one command per log entry would be.
            let before = image.clone();
            let name = format!("topic-{round}-{i}");
            apply(&mut image, 5, &create(&name, TopicId::random(), vec![on(&[1, 2, 3])])).unwrap();
            let since = std::time::Instant::now();
            assert_eq!(image.delta_since(&before).changed.len(), 1);
            delta += since.elapsed();
        }
        let each = (began.elapsed() - delta) / 10_000;
        println!("{} topics: {each:?} to create one, {:?} to see it", image.topic_count(), delta / 10_000);
    }
    let began = std::time::Instant::now();
    let bytes = crate::image_form::encode(&image).unwrap();
    println!("snapshot of {} bytes encoded in {:?}", bytes.len(), began.elapsed());
    let began = std::time::Instant::now();
    crate::image_form::decode(&bytes).unwrap();
    println!("decoded in {:?}", began.elapsed());
}

#[test]
fn epochs_of_a_partition_grow_and_fence() {
    let mut image = image_with_brokers(3);
    let id = TopicId::random();
    apply(&mut image, 5, &create("a", id, vec![on(&[1, 2, 3])])).unwrap();
    let alter = |leader: Option<i32>, isr: &[i32], leader_epoch, partition_epoch, unclean| {
        let change = PartitionChange {
            leader_epoch: LeaderEpoch(leader_epoch),
            partition_epoch,
            leader: leader.map(BrokerId),
            isr: isr.iter().copied().map(BrokerId).collect(),
            unclean,
        };
        Command::AlterPartition { partition: TopicPartition::new(id, 0), change }
    };
    let altered = |leader_epoch, partition_epoch| {
        Ok(Outcome::PartitionAltered { leader_epoch: LeaderEpoch(leader_epoch), partition_epoch })
    };
    // The in-sync replicas shrink: same leader, same leader epoch.
    assert_eq!(apply(&mut image, 6, &alter(Some(1), &[1, 2], 0, 0, false)), altered(0, 1));
    let current = 1;
    assert_eq!(
        refused(&mut image, &alter(Some(1), &[1], 0, 0, false)),
        Rejection::InvalidPartitionEpoch { given: 0, current }
    );
    // Another leader out of them: a new leader epoch.
    assert_eq!(apply(&mut image, 7, &alter(Some(2), &[2], 0, 1, false)), altered(1, 2));
    assert!(matches!(
        refused(&mut image, &alter(Some(1), &[1], 0, 2, false)),
        Rejection::FencedLeaderEpoch { .. }
    ));
    assert!(matches!(
        refused(&mut image, &alter(Some(1), &[1], 2, 2, false)),
        Rejection::UnknownLeaderEpoch { .. }
    ));
    // Leader gone; the last in-sync replica stays named.
    assert!(matches!(refused(&mut image, &alter(None, &[], 1, 2, false)), Rejection::InvalidIsr { .. }));
    assert_eq!(apply(&mut image, 8, &alter(None, &[2], 1, 2, false)), altered(2, 3));
    assert!(matches!(refused(&mut image, &alter(None, &[2, 3], 2, 3, false)), Rejection::InvalidIsr { .. }));
    // A replica that is not in sync leads only uncleanly, and then alone.
    for (isr, unclean) in [(&[3] as &[i32], false), (&[3, 2], true)] {
        let rejection = refused(&mut image, &alter(Some(3), isr, 2, 3, unclean));
        assert!(matches!(rejection, Rejection::IneligibleLeader { .. }), "{rejection}");
    }
    assert_eq!(apply(&mut image, 9, &alter(Some(3), &[3], 2, 3, true)), altered(3, 4));
    // The others catch up again; a stranger and a duplicate do not.
    assert_eq!(apply(&mut image, 10, &alter(Some(3), &[3, 1], 3, 4, false)), altered(3, 5));
    for isr in [&[3, 9] as &[i32], &[3, 3]] {
        assert!(matches!(
            refused(&mut image, &alter(Some(3), isr, 3, 5, false)),
            Rejection::InvalidIsr { .. }
        ));
    }
    let change = PartitionChange {
        leader_epoch: LeaderEpoch(0),
        partition_epoch: 0,
        leader: None,
        isr: vec![],
        unclean: false,
    };
    let partition = TopicPartition::new(id, 1);
    let command = Command::AlterPartition { partition, change };
    assert_eq!(refused(&mut image, &command), Rejection::UnknownPartition { partition });
}

#[test]
fn what_a_broker_leads_goes_on_in_a_new_leader_epoch() {
    let mut image = image_with_brokers(2);
    let [led, mixed, other] = [TopicId::random(), TopicId::random(), TopicId::random()];
    apply(&mut image, 5, &create("led", led, vec![on(&[1])])).unwrap();
    apply(&mut image, 6, &create("mixed", mixed, vec![on(&[2, 1]), on(&[1, 2])])).unwrap();
    apply(&mut image, 7, &create("other", other, vec![on(&[2])])).unwrap();
    let before = image.clone();
    let command = Command::StartLeaderEpochs { broker: BrokerId(1) };
    assert_eq!(apply(&mut image, 8, &command), Ok(Outcome::LeaderEpochsStarted { partitions: 2 }));
    let epochs = |topic, partition| {
        let partition = image.partition(&TopicPartition::new(topic, partition)).unwrap();
        (partition.leader, partition.leader_epoch.0, partition.partition_epoch)
    };
    assert_eq!(epochs(led, 0), (Some(BrokerId(1)), 1, 1));
    assert_eq!([epochs(mixed, 0), epochs(mixed, 1)], [(Some(BrokerId(2)), 0, 0), (Some(BrokerId(1)), 1, 1)]);
    assert_eq!(epochs(other, 0), (Some(BrokerId(2)), 0, 0));
    assert_eq!(image.partition_count(), before.partition_count());
    assert_eq!(image.delta_since(&before).changed.len(), 2);
    let stranger = Command::StartLeaderEpochs { broker: BrokerId(9) };
    assert_eq!(refused(&mut image, &stranger), Rejection::UnknownBroker { id: BrokerId(9) });
}

#[test]
fn a_change_of_settings_is_refused_if_what_it_was_based_on_has_changed() {
    let mut image = image_with_brokers(1);
    let id = TopicId::random();
    apply(&mut image, 5, &create("a", id, vec![on(&[1])])).unwrap();
    for resource in [ConfigResource::Topic(id), ConfigResource::Broker(None)] {
        let append = |from: Option<&str>, to: &str| Command::AlterConfigs {
            resource,
            changes: vec![ConfigChange { name: "x".into(), value: Some(to.into()) }],
            based_on: BTreeMap::from([("x".to_owned(), from.map(Into::into))]),
        };
        assert_eq!(apply(&mut image, 6, &append(None, "1")), Ok(Outcome::ConfigsAltered));
        let changed = Rejection::ConfigChanged { name: "x".into() };
        assert_eq!(refused(&mut image, &append(None, "2")), changed);
        assert_eq!(refused(&mut image, &append(Some("0"), "0,2")), changed);
        assert_eq!(apply(&mut image, 7, &append(Some("1"), "1,2")), Ok(Outcome::ConfigsAltered));
    }
    assert_eq!(image.topic(id).unwrap().configs["x"], "1,2");
}
