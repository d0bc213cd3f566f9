//! Elections and resignations, whatever goes on.

use futures::FutureExt as _;
use millrace_coordinator::{AppendFailure, Partitions as _, StateLog, Unavailable};

use super::words::{Words, batch};
use super::{Bench, ask, in_time, is, set, set_now, words};

#[tokio::test]
async fn a_log_that_is_led_elsewhere_says_so_at_once() {
    let bench = Bench::new().await;
    bench.set_led(false);
    let log = bench.log();
    assert_eq!(log.ready().now_or_never(), Some(Err(Unavailable::NotLed)));
    assert_eq!(log.read(|_| ()), Err(Unavailable::NotLed));
    let failure = set(&log, "a", Some("1")).err().unwrap();
    assert!(failure == AppendFailure::NotHere && failure.retryable());
    bench.set_led(true);
    in_time(log.ready()).await.unwrap();
    set_now(&log, "a", "1").await;
    is(&words(&log), &[("a", "1")]);
}

#[tokio::test]
async fn whoever_waits_is_answered_when_the_leadership_goes() {
    let bench = Bench::new().await;
    let log = bench.ready_log().await;
    set_now(&log, "a", "1").await;
    bench.hold(true);
    let proposed = set(&log, "a", Some("2")).unwrap();
    let asked = ask(&log, "a");
    bench.set_led(false);
    assert_eq!(in_time(proposed).await, Err(AppendFailure::NotHere));
    assert_eq!(in_time(asked).await, Err(AppendFailure::NotHere));
    assert_eq!(log.read(|_| ()), Err(Unavailable::NotLed), "at once, whenever the log notices");
    assert_eq!(set(&log, "a", None).err(), Some(AppendFailure::NotHere));
}

#[tokio::test]
async fn another_leader_without_the_last_records_has_them_forgotten() {
    let bench = Bench::new().await;
    let log = bench.ready_log().await;
    set_now(&log, "a", "1").await;
    bench.hold(true);
    let lost = set(&log, "a", Some("2")).unwrap();
    bench.set_led(false);
    bench.partitions.truncate(bench.place);
    bench.partitions.produce_batch(bench.place, &batch(&[("w:b", Some("v:theirs"))]));
    bench.hold(false);
    bench.set_led(true);
    assert_eq!(in_time(lost).await, Err(AppendFailure::NotHere));
    in_time(log.ready()).await.unwrap();
    is(&words(&log), &[("a", "1"), ("b", "theirs")]);
    assert_eq!(in_time(set(&log, "a", None).unwrap()).await, Ok(Some("1".into())));
}

#[tokio::test]
async fn a_leader_that_comes_back_reads_what_it_had_appended() {
    let bench = Bench::new().await;
    let log = bench.ready_log().await;
    bench.hold(true);
    let unknown = set(&log, "a", Some("1")).unwrap();
    bench.set_led(false);
    bench.set_led(true);
    assert_eq!(in_time(unknown).await, Err(AppendFailure::NotHere));
    // It may be replicated yet, so that nothing is told or decided before that is known.
    assert_eq!(log.read(|_| ()), Err(Unavailable::Loading));
    assert!(log.ready().now_or_never().is_none());
    assert!(set(&log, "b", Some("1")).err().unwrap().retryable());
    bench.hold(false);
    in_time(log.ready()).await.unwrap();
    is(&words(&log), &[("a", "1")]);
}

#[tokio::test]
async fn an_election_while_loading_begins_anew() {
    let bench = Bench::new().await;
    bench.partitions.produce_batch(bench.place, &batch(&[("w:a", Some("v:1"))]));
    bench.hold(true);
    let log = bench.log();
    // Of what another leader has not: the load waits for it.
    let before = bench.ready_log_cannot_be(&log).await;
    assert_eq!(before, Unavailable::Loading);
    for _ in 0..3 {
        bench.set_led(false);
        tokio::task::yield_now().await;
        bench.set_led(true);
        tokio::task::yield_now().await;
    }
    bench.set_led(false);
    bench.partitions.truncate(bench.place);
    bench.set_led(true);
    bench.hold(false);
    in_time(log.ready()).await.unwrap();
    is(&words(&log), &[("a", "1")]);
}

impl Bench {
    /// Appends what no replica has, and lets the log begin to read.
    async fn ready_log_cannot_be(&self, log: &StateLog<Words>) -> Unavailable {
        let unreplicated = batch(&[("w:a", Some("v:lost"))]);
        let acknowledged = self.partitions.append(self.place, &[unreplicated]).unwrap();
        drop(acknowledged);
        tokio::task::yield_now().await;
        assert!(log.ready().now_or_never().is_none());
        log.read(|_| ()).unwrap_err()
    }
}

#[tokio::test]
async fn who_waits_for_a_load_is_told_when_the_leadership_goes() {
    let bench = Bench::new().await;
    bench.hold(true);
    let log = bench.log();
    assert_eq!(bench.ready_log_cannot_be(&log).await, Unavailable::Loading);
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.ready().await }
    });
    tokio::task::yield_now().await;
    bench.set_led(false);
    assert_eq!(in_time(waiting).await.unwrap(), Err(Unavailable::NotLed));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever_for_replicas_that_do_not_catch_up() {
    let bench = Bench::new().await;
    bench.hold(true);
    let log = bench.log();
    assert_eq!(bench.ready_log_cannot_be(&log).await, Unavailable::Loading);
    assert_eq!(log.ready().await, Err(Unavailable::Loading));
    bench.hold(false);
    in_time(log.ready()).await.unwrap();
    is(&words(&log), &[("a", "lost")]);
}

#[tokio::test]
async fn an_append_of_a_former_epoch_is_refused() {
    let bench = Bench::new().await;
    let log = bench.ready_log().await;
    set_now(&log, "a", "1").await;
    // Led in a new epoch, which the log's task has not seen yet: no turn was given to it.
    bench.set_led(false);
    bench.set_led(true);
    let failure = set(&log, "a", Some("2")).err().unwrap();
    assert!(failure.retryable(), "{failure}");
    assert_eq!(bench.partitions.values(bench.place), ["v:1"]);
    in_time(log.ready()).await.unwrap();
    set_now(&log, "a", "3").await;
    is(&bench.rebuilt().await, &[("a", "3")]);
}
