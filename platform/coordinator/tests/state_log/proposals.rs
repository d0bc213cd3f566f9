//! Proposals: decided on what is latest, told of when it is replicated.

use futures::FutureExt as _;
use millrace_coordinator::{AppendFailure, Proposal, StateRecord};
use millrace_test_partitions::AcknowledgementFault;

use super::words::{batch, record};
use super::{Bench, NOW_MS, ask, in_time, is, set, set_now, words};

fn full() -> AppendFailure {
    AppendFailure::Passing("the disk is full".into())
}

#[tokio::test]
async fn nothing_is_told_before_it_is_replicated() {
    let bench = Bench::new().await;
    let log = bench.ready_log().await;
    set_now(&log, "a", "1").await;
    bench.hold(true);
    let mut first = set(&log, "a", Some("2")).unwrap();
    let mut second = set(&log, "a", Some("3")).unwrap();
    let mut asked = ask(&log, "a");
    for waiting in [&mut first, &mut second, &mut asked] {
        assert!(waiting.now_or_never().is_none());
    }
    is(&words(&log), &[("a", "1")]);
    bench.hold(false);
    assert_eq!(in_time(first).await, Ok(Some("1".into())));
    assert_eq!(in_time(second).await, Ok(Some("2".into())), "it was decided on what was latest");
    assert_eq!(in_time(asked).await, Ok(Some("3".into())));
    assert_eq!(ask(&log, "a").now_or_never(), Some(Ok(Some("3".into()))), "nothing is on its way");
    is(&words(&log), &[("a", "3")]);
    let stored = bench.partitions.records(bench.place);
    assert!(stored.iter().all(|record| record.timestamp_ms == NOW_MS));
    assert_eq!(bench.partitions.values(bench.place), ["v:1", "v:2", "v:3"]);
}

#[tokio::test]
async fn a_failed_append_changes_nothing() {
    let bench = Bench::new().await;
    let log = bench.ready_log().await;
    set_now(&log, "a", "1").await;
    bench.partitions.fail_appends(bench.place, [full(), AppendFailure::Refused("too large".into())]);
    assert_eq!(set(&log, "a", Some("2")).err(), Some(full()));
    assert!(!set(&log, "a", None).err().unwrap().retryable());
    assert_eq!(in_time(ask(&log, "a")).await, Ok(Some("1".into())));
    set_now(&log, "b", "2").await;
    is(&words(&log), &[("a", "1"), ("b", "2")]);
    is(&bench.rebuilt().await, &[("a", "1"), ("b", "2")]);
}

#[tokio::test]
async fn what_is_stored_counts_although_its_acknowledgement_failed() {
    let bench = Bench::new().await;
    let log = bench.ready_log().await;
    bench.hold(true);
    bench.partitions.fault(bench.place, [AcknowledgementFault::Stored(full())]);
    let failed = set(&log, "a", Some("1")).unwrap();
    assert_eq!(in_time(failed).await, Err(full()));
    is(&words(&log), &[]);
    // It is there, and decisions reckon with it.
    let next = set(&log, "a", Some("2")).unwrap();
    bench.hold(false);
    assert_eq!(in_time(next).await, Ok(Some("1".into())));
    is(&words(&log), &[("a", "2")]);
}

#[tokio::test]
async fn what_was_lost_with_the_leadership_is_forgotten() {
    let bench = Bench::new().await;
    let log = bench.ready_log().await;
    set_now(&log, "a", "1").await;
    bench.partitions.fault(bench.place, [AcknowledgementFault::Lost(AppendFailure::NotHere)]);
    let lost = set(&log, "a", Some("2")).unwrap();
    assert_eq!(in_time(lost).await, Err(AppendFailure::NotHere));
    in_time(log.ready()).await.unwrap();
    is(&words(&log), &[("a", "1")]);
    assert_eq!(in_time(ask(&log, "a")).await, Ok(Some("1".into())));
}

#[tokio::test]
async fn records_are_written_together_or_not_at_all() {
    let bench = Bench::new().await;
    let log = bench.ready_log().await;
    let both = log.propose(|_, now_ms| Proposal {
        records: vec![record("a", Some("1")), record("b", Some("2")), record("a", None)],
        reply: now_ms,
    });
    assert_eq!(in_time(both.unwrap()).await, Ok(NOW_MS));
    is(&words(&log), &[("b", "2")]);
    let unknown = StateRecord { key: b"x:c".to_vec(), value: Some(b"3".to_vec()) };
    let records = vec![record("b", None), unknown];
    let refused = log.propose(|_, _| Proposal { records, reply: () }).err().unwrap();
    assert!(!refused.retryable() && refused.to_string().contains("read back"), "{refused}");
    is(&words(&log), &[("b", "2")]);
    assert_eq!(bench.partitions.records(bench.place).len(), 3);
}

#[tokio::test]
async fn what_others_have_written_is_read_back_before_anything_is_decided_on() {
    let bench = Bench::new().await;
    let log = bench.ready_log().await;
    bench.partitions.produce_batch(bench.place, &batch(&[("w:a", Some("v:theirs"))]));
    let overtaken = in_time(set(&log, "b", Some("1")).unwrap()).await.unwrap_err();
    assert!(overtaken.retryable() && overtaken.to_string().contains("others have written"), "{overtaken}");
    in_time(log.ready()).await.unwrap();
    is(&words(&log), &[("a", "theirs"), ("b", "1")]);
    set_now(&log, "b", "2").await;
    is(&bench.rebuilt().await, &[("a", "theirs"), ("b", "2")]);
}

#[tokio::test]
async fn what_waits_for_replicas_is_bounded() {
    let bench = Bench::new().await;
    let log = bench.ready_log().await;
    bench.hold(true);
    let text = "x".repeat(1 << 20);
    let mut waiting = Vec::new();
    let failure = loop {
        match set(&log, "a", Some(&text)) {
            Ok(replied) => waiting.push(replied),
            Err(failure) => break failure,
        }
    };
    assert_eq!(waiting.len(), 16);
    assert!(failure.retryable() && failure.to_string().contains("16777216"), "{failure}");
    bench.hold(false);
    in_time(futures::future::try_join_all(waiting)).await.unwrap();
    set_now(&log, "a", "1").await;
}
