//! Reading back what there is, whoever wrote it.

use std::time::Duration;

use bytes::Bytes;
use millrace_coordinator::{Partitions as _, ReadFailure, Unavailable};
use millrace_protocol::batch::{Batch, BatchBuilder, ProducerState};
use millrace_protocol::compression::Codec;

use super::words::{batch, batch_with};
use super::{Bench, in_time, is, set_now, words};

#[tokio::test]
async fn records_count_in_their_order_and_unknown_ones_do_not() {
    let bench = Bench::new().await;
    let batches = [
        batch(&[("w:a", Some("v:1")), ("w:b", Some("v:1")), ("x:of another version", Some("?"))]),
        batch_with(&[("w:a", Some("v:2")), ("w:c", Some("v:3"))], Codec::Lz4),
        // A value that is not known says nothing, and neither does what is not UTF-8.
        batch(&[("w:b", None), ("w:c", Some("of another version")), ("", Some("v:1"))]),
    ];
    for batch in &batches {
        bench.partitions.produce_batch(bench.place, batch);
    }
    is(&bench.rebuilt().await, &[("a", "2"), ("c", "3")]);
}

#[tokio::test]
async fn what_is_deleted_is_not_missed() {
    let bench = Bench::new().await;
    let log = bench.ready_log().await;
    for number in 0..4 {
        set_now(&log, "a", &number.to_string()).await;
        set_now(&log, &format!("b{number}"), "x").await;
    }
    bench.partitions.trim(bench.place, 6).await.unwrap();
    is(&bench.rebuilt().await, &[("a", "3"), ("b3", "x")]);
    // Of a batch that is whole in the log, the deleted records do not count either.
    bench.partitions.produce_batch(bench.place, &batch(&[("w:c", Some("v:1")), ("w:d", Some("v:1"))]));
    bench.partitions.trim(bench.place, 9).await.unwrap();
    is(&bench.rebuilt().await, &[("d", "1")]);
}

#[tokio::test]
async fn many_records_are_read_in_many_steps() {
    let bench = Bench::new().await;
    let text = format!("v:{}", "x".repeat(10_000));
    for number in 0..500 {
        let word = format!("w:{number:03}");
        bench.partitions.produce_batch(bench.place, &batch(&[(&word, Some(&text))]));
    }
    assert_eq!(bench.rebuilt().await.len(), 500);
}

/// A batch with a flipped bit that makes another value of its record.
fn damaged() -> Batch {
    let whole = batch(&[("w:b", Some("v:2"))]);
    let mut bytes = whole.bytes.to_vec();
    // Behind the value there is the number of headers.
    *bytes.iter_mut().rev().nth(1).unwrap() ^= 1;
    Batch { header: whole.header, bytes: Bytes::from(bytes) }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_batch_is_told_and_never_passed_over() {
    let bench = Bench::new().await;
    bench.partitions.produce_batch(bench.place, &batch(&[("w:a", Some("v:1"))]));
    bench.partitions.produce_batch(bench.place, &damaged());
    bench.partitions.produce_batch(bench.place, &batch(&[("w:c", Some("v:3"))]));
    let log = bench.log();
    let Err(Unavailable::Unreadable(reason)) = in_time(log.ready()).await else { panic!("it is read") };
    assert!(reason.contains("offset 1 is damaged") && reason.contains("backup"), "{reason}");
    assert!(matches!(log.read(|_| ()), Err(Unavailable::Unreadable(_))));
    // Another leader has the records as they were.
    bench.set_led(false);
    bench.partitions.trim(bench.place, 0).await.unwrap_err();
    bench.set_led(true);
    bench.partitions.trim(bench.place, 2).await.unwrap();
    in_time(async {
        while log.ready().await != Ok(()) {
            tokio::time::advance(Duration::from_millis(50)).await;
        }
    })
    .await;
    is(&words(&log), &[("c", "3")]);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_is_done_again() {
    let bench = Bench::new().await;
    bench.partitions.produce_batch(bench.place, &batch(&[("w:a", Some("v:1"))]));
    let failure = || ReadFailure::Storage("flipped".into());
    bench.partitions.fail_reads(bench.place, [failure(), failure(), failure()]);
    let log = bench.log();
    let unreadable = log.ready().await.unwrap_err();
    assert_eq!(unreadable, Unavailable::Unreadable("read the log: flipped".into()));
    while log.ready().await.is_err() {
        tokio::time::advance(Duration::from_millis(50)).await;
    }
    is(&words(&log), &[("a", "1")]);
}

#[tokio::test]
async fn a_log_with_records_of_transactions_is_read_and_never_cut() {
    let bench = Bench::new().await;
    let mut builder = BatchBuilder::default();
    builder.append(5, Some(b"w:b"), Some(b"v:2"), &[]);
    let producer = ProducerState { producer_id: 7, producer_epoch: 0, base_sequence: 0, transactional: true };
    let open = Batch::parse(builder.finish(Codec::None, producer).unwrap()).unwrap();
    bench.partitions.produce_batch(bench.place, &batch(&[("w:a", Some("v:1"))]));
    bench.partitions.produce_batch(bench.place, &open);
    let log = bench.log_with(1);
    in_time(log.ready()).await.unwrap();
    for number in 0..20 {
        set_now(&log, "a", &number.to_string()).await;
    }
    is(&words(&log), &[("a", "19")]);
    assert_eq!(bench.partitions.bounds(bench.place).unwrap().start, 0);
    assert_eq!(bench.partitions.records(bench.place).len(), 22, "nothing is written but what was proposed");
}
