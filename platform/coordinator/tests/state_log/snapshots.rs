//! Logs that are kept short.

use millrace_coordinator::{AppendFailure, Partitions as _, StateLog};
use millrace_protocol::batch::{Batch, BatchBuilder, Header, ProducerState};
use millrace_protocol::compression::Codec;

use super::words::{Words, batch};
use super::{Bench, in_time, is, set, set_now, words};

impl Bench {
    fn start(&self) -> i64 {
        self.partitions.bounds(self.place).unwrap().start
    }

    /// Waits until everything before `offset` is deleted.
    async fn trimmed_to(&self, offset: i64) {
        let what = format!("the log begins at {offset}");
        self.partitions
            .eventually(&what, |at| at.bounds(self.place).is_some_and(|bounds| bounds.start >= offset))
            .await;
    }

    async fn snapshot_log(&self, snapshot_bytes_min: usize) -> StateLog<Words> {
        let log = self.log_with(snapshot_bytes_min);
        in_time(log.ready()).await.unwrap();
        log
    }
}

#[tokio::test]
async fn a_log_that_has_grown_is_written_once_more_and_cut() {
    let bench = Bench::new().await;
    let log = bench.snapshot_log(4_000).await;
    let mut number = 0;
    while bench.start() == 0 {
        set_now(&log, &format!("w{}", number % 3), &number.to_string()).await;
        set_now(&log, "gone", "x").await;
        in_time(set(&log, "gone", None).unwrap()).await.unwrap();
        number += 1;
        tokio::task::yield_now().await;
    }
    let live = words(&log);
    assert_eq!(live.len(), 3);
    assert_eq!(bench.rebuilt().await, live);
    // It goes on.
    set_now(&log, "w0", "last").await;
    let first = bench.start();
    while bench.start() == first {
        set_now(&log, "w1", "x").await;
        tokio::task::yield_now().await;
    }
    assert_eq!(words(&log).get("w0").map(String::as_str), Some("last"));
    assert_eq!(bench.rebuilt().await, words(&log));
}

#[tokio::test]
async fn a_snapshot_in_many_parts_holds_everything() {
    let bench = Bench::new().await;
    let text = "x".repeat(50_000);
    {
        let log = bench.ready_log().await;
        for number in 0..40 {
            set_now(&log, &format!("w{number:02}"), &text).await;
        }
    }
    let log = bench.snapshot_log(1).await;
    bench.trimmed_to(40).await;
    let batches = bench.partitions.read(bench.place, bench.start(), usize::MAX).await.unwrap();
    assert!(batches.len() > 5, "{} parts", batches.len());
    assert_eq!(words(&log).len(), 40);
    assert_eq!(bench.rebuilt().await, words(&log));
}

#[tokio::test]
async fn records_of_another_version_are_kept_as_they_are() {
    let bench = Bench::new().await;
    let mut builder = BatchBuilder::default();
    let headers = [Header::new("made-by", Some(b"another"))];
    builder.append(9, Some(b"x:group"), Some(b"old"), &[]);
    builder.append(11, Some(b"x:group"), Some(b"metadata"), &headers);
    builder.append(12, Some(b"x:forgotten"), Some(b"y"), &[]);
    builder.append(13, Some(b"w:both"), Some(b"v:known"), &[]);
    builder.append(14, Some(b"w:both"), Some(b"of another version"), &[]);
    builder.append(15, Some(b"w:again"), Some(b"of another version"), &[]);
    builder.append(16, Some(b"x:forgotten"), None, &[]);
    let foreign = Batch::parse(builder.finish(Codec::None, ProducerState::NONE).unwrap()).unwrap();
    bench.partitions.produce_batch(bench.place, &foreign);
    {
        let log = bench.ready_log().await;
        set_now(&log, "again", "1").await;
        set_now(&log, "a", "1").await;
    }
    // Twice, so that what a snapshot has written is written again.
    for end in [9, 14] {
        let log = bench.snapshot_log(1).await;
        bench.trimmed_to(end).await;
        is(&words(&log), &[("a", "1"), ("again", "1"), ("both", "known")]);
    }
    let stored = bench.partitions.records(bench.place);
    let kept: Vec<_> = stored.iter().rev().take(2).rev().collect();
    assert_eq!((kept[0].key.as_deref(), kept[0].timestamp_ms), (Some(&b"w:both"[..]), 14));
    assert_eq!(kept[0].value_text(), "of another version", "behind what is known of its key");
    assert_eq!((kept[1].key.as_deref(), kept[1].timestamp_ms), (Some(&b"x:group"[..]), 11));
    assert_eq!((kept[1].value_text(), kept[1].headers.len()), ("metadata".to_owned(), 1));
    assert!(stored.iter().all(|record| record.key.as_deref() != Some(b"x:forgotten")));
}

#[tokio::test]
async fn nothing_is_deleted_before_the_snapshot_is_replicated() {
    let bench = Bench::new().await;
    {
        let log = bench.ready_log().await;
        set_now(&log, "a", "1").await;
        set_now(&log, "a", "2").await;
    }
    bench.hold(true);
    let log = bench.log_with(1);
    in_time(log.ready()).await.unwrap();
    bench.partitions.eventually("a snapshot is appended", |at| at.log_end(bench.place) == Some(3)).await;
    // Behind the snapshot, and of the same word.
    let later = set(&log, "a", Some("3")).unwrap();
    assert_eq!(bench.start(), 0);
    bench.set_led(false);
    bench.partitions.truncate(bench.place);
    assert_eq!(in_time(later).await, Err(AppendFailure::NotHere));
    bench.hold(false);
    bench.set_led(true);
    bench.trimmed_to(2).await;
    in_time(log.ready()).await.unwrap();
    is(&words(&log), &[("a", "2")]);
    is(&bench.rebuilt().await, &[("a", "2")]);
}

#[tokio::test]
async fn what_is_being_forgotten_is_not_deleted_before_that_is_replicated() {
    let bench = Bench::new().await;
    let log = bench.snapshot_log(200).await;
    set_now(&log, "a", &"x".repeat(80)).await;
    bench.hold(true);
    // There is no state left to be written, and the log is long enough.
    let forgotten = set(&log, "a", None).unwrap();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.start(), 0);
    bench.set_led(false);
    bench.partitions.truncate(bench.place);
    bench.hold(false);
    bench.set_led(true);
    assert_eq!(in_time(forgotten).await, Err(AppendFailure::NotHere));
    assert_eq!(bench.rebuilt().await.len(), 1);

    in_time(log.ready()).await.unwrap();
    in_time(set(&log, "a", None).unwrap()).await.unwrap();
    bench.trimmed_to(2).await;
    is(&bench.rebuilt().await, &[]);
}

#[tokio::test]
async fn a_record_of_another_version_goes_when_its_key_is_written_anew() {
    let bench = Bench::new().await;
    bench.partitions.produce_batch(bench.place, &batch(&[("w:a", Some("of another version"))]));
    let log = bench.snapshot_log(300).await;
    set_now(&log, "a", &"x".repeat(300)).await;
    bench.trimmed_to(2).await;
    assert_eq!(bench.partitions.values(bench.place), [format!("v:{}", "x".repeat(300))]);
    drop(log);
}

#[tokio::test]
async fn a_record_without_a_key_keeps_the_log_whole() {
    let bench = Bench::new().await;
    bench.partitions.produce(bench.place, &["no key"]);
    bench.partitions.produce_batch(bench.place, &batch(&[("w:a", Some("v:1"))]));
    let log = bench.snapshot_log(1).await;
    for number in 0..20 {
        set_now(&log, "a", &number.to_string()).await;
    }
    assert_eq!((bench.start(), bench.partitions.records(bench.place).len()), (0, 22));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_fails_is_written_later() {
    let bench = Bench::new().await;
    {
        let log = bench.ready_log().await;
        set_now(&log, "a", "1").await;
        set_now(&log, "a", "2").await;
    }
    let full = || AppendFailure::Passing("the disk is full".into());
    bench.partitions.fail_appends(bench.place, [full(), full(), full()]);
    let log = bench.snapshot_log(1).await;
    while bench.start() < 2 {
        tokio::time::advance(std::time::Duration::from_millis(50)).await;
    }
    is(&words(&log), &[("a", "2")]);
    is(&bench.rebuilt().await, &[("a", "2")]);
}
