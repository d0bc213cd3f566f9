//! Three voters in one process: a leader dies, another leads; who comes back catches up; who is new joins.

mod common;

use std::time::{Duration, Instant};

use common::{Cluster, create_topic, eventually, leader, submit, topic_names};
use millrace_base::BrokerId;
use millrace_metadata::{Metadata, RaftRpc, Rejection, SubmitError, VoterSet};

async fn fill(through: &Metadata, prefix: &str, count: usize) {
    for i in 0..count {
        submit(through, create_topic(&format!("{prefix}-{i}"), &[1, 2, 3])).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_voter_takes_commands_and_sees_its_own_writes() {
    let cluster = Cluster::of_voters(1..=3);
    let all = cluster.start_all().await;
    let id = all.values().next().unwrap().image().cluster_id().to_owned();
    for (broker, metadata) in &all {
        let name = format!("from-{broker}");
        metadata.submit(create_topic(&name, &[1, 2, 3])).await.unwrap();
        assert!(metadata.image().topic_by_name(&name).is_some());
        assert_eq!(metadata.image().cluster_id(), id);
        let rejected = metadata.submit(create_topic(&name, &[1, 2, 3])).await;
        assert_eq!(rejected, Err(SubmitError::Rejected(Rejection::TopicExists { name })));
    }
    for metadata in all.values() {
        eventually(metadata, "all topics", |image| image.topic_count() == 3).await;
        eventually(metadata, "all brokers", |image| image.brokers().len() == 3).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_leader_is_replaced_and_catches_up_from_the_log_when_it_is_back() {
    let cluster = Cluster::of_voters(1..=3);
    let mut all = cluster.start_all().await;
    let first = leader(all.values()).await;
    fill(&all[&first], "before", 3).await;

    cluster.kill(first).await;
    all.remove(&first);
    let began = Instant::now();
    let survivor = all.values().next().unwrap().clone();
    submit(&survivor, create_topic("meanwhile", &[1, 2, 3])).await;
    println!("writable again {:?} after the leader's death", began.elapsed());
    let second = leader(all.values()).await;
    assert_ne!(first, second);

    let snapshots = cluster.delivered(RaftRpc::Snapshot);
    let back = cluster.start(first.0).await;
    back.ready().await.unwrap();
    eventually(&back, "what it missed", |image| image.topic_by_name("meanwhile").is_some()).await;
    assert_eq!(back.image().topic_count(), 4);
    assert_eq!(cluster.delivered(RaftRpc::Snapshot), snapshots, "the log sufficed");
    // It counts again: with another one gone, it makes up the majority.
    let third = all.keys().find(|id| **id != second).copied().unwrap();
    cluster.kill(third).await;
    submit(&back, create_topic("after", &[1, 2, 3])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_for_long_catches_up_from_a_snapshot() {
    let cluster = Cluster::of_voters(1..=3);
    let all = cluster.start_all().await;
    let leading = leader(all.values()).await;
    let away = all.keys().find(|id| **id != leading).copied().unwrap();
    cluster.kill(away).await;
    fill(&all[&leading], "t", 200).await;

    let back = cluster.start(away.0).await;
    eventually(&back, "all topics", |image| image.topic_count() == 200).await;
    assert!(cluster.delivered(RaftRpc::Snapshot) > 0, "the log did not suffice");
    assert_eq!(topic_names(&back.image()), topic_names(&all[&leading].image()));
    back.submit(create_topic("after", &[1, 2, 3])).await.unwrap();
    // What it was sent, it keeps.
    drop(back);
    cluster.kill(away).await;
    let again = cluster.start(away.0).await;
    eventually(&again, "all topics", |image| image.topic_count() == 201).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_majority_is_needed_and_enough() {
    let cluster = Cluster::of_voters(1..=3);
    let all = cluster.start_all().await;
    let leading = leader(all.values()).await;
    for id in all.keys().filter(|id| **id != leading) {
        cluster.kill(*id).await;
    }
    let lonely = all[&leading].submit(create_topic("lost", &[1]));
    let lonely = tokio::time::timeout(Duration::from_secs(1), lonely).await;
    assert!(lonely.is_err(), "{lonely:?}");
    assert!(all[&leading].image().topic_by_name("lost").is_none());
    let other = all.keys().find(|id| **id != leading).copied().unwrap();
    let other = cluster.start(other.0).await;
    submit(&other, create_topic("found", &[1])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_one_grows_to_three_without_its_callers_noticing() {
    let cluster = Cluster::of_voters([1]);
    let first = cluster.start(1).await;
    first.submit(create_topic("old", &[1])).await.unwrap();
    let mut all = vec![first.clone()];
    for id in [2, 3] {
        let learner = cluster.start(id).await;
        learner.ready().await.unwrap();
        assert!(learner.image().topic_by_name("old").is_some());
        learner.submit(create_topic(&format!("new-{id}"), &[id])).await.unwrap();
        all.push(learner);
    }
    let voters: VoterSet = (1..=3).map(BrokerId).collect();
    assert!(matches!(all[1].change_voters(&voters).await, Err(SubmitError::NotLeader { .. })));
    first.change_voters(&voters).await.unwrap();
    all.remove(0);
    drop(first);
    cluster.kill(BrokerId(1)).await;
    submit(&all[0], create_topic("without-1", &[2])).await;
    assert_ne!(leader(&all).await, BrokerId(1));
    // Started with its old list of one voter, it knows better from its log.
    let back = cluster.start(1).await;
    eventually(&back, "what it missed", |image| image.topic_by_name("without-1").is_some()).await;
}
