//! SIGKILL amid commits: no committed offset is lost, and none goes back.

// Test helpers are tests, too.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use millrace_integration_tests::Random;
use millrace_integration_tests::raw::{Connection, flat, name};
use millrace_protocol::frame::{decode_response_header, encode_request};
use millrace_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millrace_protocol::messages::{
    GroupId, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
};
use millrace_protocol::{ApiKey, Decodable, Request, StrBytes};
use millrace_test_harness::{Broker, a_while, eventually, long_tests};

/// Groups in several partitions of `__consumer_offsets`, some together in one.
const GROUPS: usize = 8;
const COMMITS_PER_LIFE: u64 = 2_000;
const COMMIT_VERSION: i16 = 8;
const FETCH_VERSION: i16 = 7;

/// How far a group was told that it is, and what it has asked for.
#[derive(Default)]
struct Progress {
    acknowledged: AtomicI64,
    asked: AtomicI64,
}

fn group(number: usize) -> GroupId {
    GroupId(StrBytes::from_string(format!("group {number}")))
}

/// The answer; `None` if the connection ended before it.
fn ask<R: Request>(connection: &mut Connection, version: i16, request: &R) -> Option<R::Response>
where
    R::Response: Decodable,
{
    let frame = encode_request(7, Some("test"), version, request).unwrap();
    connection.send(&flat(frame));
    let response = connection.receive().ok()??;
    let key = ApiKey::try_from(R::KEY).unwrap();
    let (_, mut body) = decode_response_header(response, key, version).unwrap();
    Some(R::Response::decode(&mut body, version).unwrap())
}

fn commit(connection: &mut Connection, number: usize, offset: i64) -> Option<bool> {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default().with_name(name("read")).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group(number))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let response: OffsetCommitResponse = ask(connection, COMMIT_VERSION, &request)?;
    Some(response.topics[0].partitions[0].error_code == 0)
}

/// How far the group is; `None` while that cannot be told.
fn committed(connection: &mut Connection, number: usize) -> Option<i64> {
    let request = OffsetFetchRequest::default().with_group_id(group(number)).with_topics(None);
    let response: OffsetFetchResponse = ask(connection, FETCH_VERSION, &request)?;
    if response.error_code != 0 {
        return None;
    }
    Some(response.topics.first().map_or(-1, |topic| topic.partitions[0].committed_offset))
}

/// Commits one offset after the other, through every crash.
fn keep_committing(address: SocketAddr, number: usize, progress: &Progress, stop: &AtomicBool) {
    let mut offset = 1;
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut connection) = Connection::open(address) else {
            thread::yield_now();
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            progress.asked.store(offset, Ordering::SeqCst);
            match commit(&mut connection, number, offset) {
                Some(true) => {
                    progress.acknowledged.store(offset, Ordering::SeqCst);
                    offset += 1;
                }
                Some(false) => {}
                None => break,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_commits_survive_sigkill_and_never_go_back() {
    let mut random = Random::from_environment();
    let mut broker = Broker::builder()
        .setting("log", "wal_bytes = \"16MiB\"")
        .setting("log", "tail_bytes = \"16MiB\"")
        .start()
        .unwrap();
    let address = broker.address();
    Connection::open(address).unwrap().create_topic("read", &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let progress: Arc<Vec<Progress>> = Arc::new((0..GROUPS).map(|_| Progress::default()).collect());
    let committers: Vec<_> = (0..GROUPS)
        .map(|number| {
            let (stop, progress) = (Arc::clone(&stop), Arc::clone(&progress));
            thread::spawn(move || keep_committing(address, number, &progress[number], &stop))
        })
        .collect();
    let acknowledged =
        || progress.iter().map(|group| group.acknowledged.load(Ordering::SeqCst)).sum::<i64>() as u64;
    let crashes = if long_tests() { 200 } else { 20 };
    for _ in 0..crashes {
        let crash_at = acknowledged() + 1 + random.below(COMMITS_PER_LIFE);
        eventually("commits to be acknowledged", Duration::from_secs(60), || {
            (acknowledged() >= crash_at).then_some(())
        });
        a_while(Duration::from_millis(random.below(20))).await;
        broker.kill().unwrap();
        let told: Vec<i64> = progress.iter().map(|group| group.acknowledged.load(Ordering::SeqCst)).collect();
        broker.restart().unwrap();
        for (number, told) in told.into_iter().enumerate() {
            let found = eventually("the group's offset", Duration::from_secs(60), || {
                committed(&mut Connection::open(address).ok()?, number)
            });
            let asked = progress[number].asked.load(Ordering::SeqCst);
            assert!((told..=asked).contains(&found), "group {number}: {found}, told {told}, asked {asked}");
        }
    }
    stop.store(true, Ordering::Relaxed);
    for committer in committers {
        committer.join().unwrap();
    }
    let total = acknowledged();
    println!("{crashes} crashes, {total} commits acknowledged");
    assert!(total > 50 * crashes, "too little load to prove anything");
}
