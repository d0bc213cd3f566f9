//! One misbehaving guest of each sort: the call fails as what it is, and the next one finds a fresh instance.

use std::time::{Duration, Instant};

use millrace_plugin_host::{CallLimits, Failure, HostLimits, Kind, Partitioner, Sink, Transform};

use crate::guests::{Bench, PATIENCE, batch, guest, limits};

/// How the transform in `tests/guests/<name>.wat` fails, twice the same way.
async fn failure_of(name: &str) -> Failure {
    let bench = Bench::new();
    let deployment = bench.deploy(guest(name, "transform"), Kind::Transform);
    let mut transform = Transform::new(deployment, 0);
    let first = transform.transform(&batch(3, 0)).await;
    assert!(!transform.is_live(), "an instance that failed is gone");
    let second = transform.transform(&batch(3, 0)).await;
    assert!(second.usage.cold_start);
    let first = first.result.expect_err("it must fail");
    let second = second.result.expect_err("it must fail again");
    assert_eq!(std::mem::discriminant(&first), std::mem::discriminant(&second), "{first} / {second}");
    first
}

#[tokio::test]
async fn an_endless_loop_is_stopped() {
    let began = Instant::now();
    let failure = failure_of("loop").await;
    assert!(matches!(failure, Failure::Timeout { .. }), "{failure:?}");
    assert!(began.elapsed() < PATIENCE);
}

#[tokio::test]
async fn a_module_that_loops_while_it_starts_is_stopped() {
    let failure = failure_of("start-loop").await;
    assert!(matches!(failure, Failure::Timeout { .. }), "{failure:?}");
}

#[tokio::test]
async fn an_endless_recursion_is_a_trap() {
    let failure = failure_of("recursion").await;
    assert!(matches!(&failure, Failure::Trap { message, .. } if message.contains("stack")), "{failure:?}");
}

#[tokio::test]
async fn a_memory_bomb_meets_its_limit() {
    let failure = failure_of("memory-bomb").await;
    assert!(
        matches!(failure, Failure::MemoryLimit { limit, .. } if limit == limits().memory_bytes),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_giant_output_is_cut_off() {
    let failure = failure_of("giant-output").await;
    assert!(matches!(&failure, Failure::OutputTooLarge(_)), "{failure:?}");
    assert!(failure.to_string().contains("4194304 bytes"), "{failure}");
}

#[tokio::test]
async fn a_fan_out_is_cut_off() {
    let failure = failure_of("fan-out").await;
    assert!(failure.to_string().contains("10000 records"), "{failure}");
}

#[tokio::test]
async fn a_trap_says_where_in_the_guest() {
    let failure = failure_of("trap").await;
    let Failure::Trap { message, backtrace } = &failure else { panic!("{failure:?}") };
    assert!(message.contains("unreachable"), "{message}");
    assert!(backtrace.contains("parse_order"), "{backtrace}");
}

#[tokio::test]
async fn a_malformed_output_is_refused() {
    let failure = failure_of("malformed-output").await;
    assert!(matches!(&failure, Failure::Malformed(_)), "{failure:?}");
    assert!(failure.to_string().contains("record 1"), "{failure}");
}

#[tokio::test]
async fn a_log_flood_is_thinned_out_and_counted() {
    let bench = Bench::new();
    let patient = CallLimits { busy: PATIENCE, log_lines_per_second: 10, ..limits() };
    let deployment = bench.deploy_with(guest("log-flood", "transform"), Kind::Transform, patient);
    let mut transform = Transform::new(deployment.clone(), 0);
    transform.transform(&batch(1, 0)).await.result.unwrap();
    let lines = bench.lines.0.lock();
    let kept = lines.len() as u64;
    assert!((100..100_000).contains(&kept), "{kept} lines were kept");
    assert_eq!(lines[0], (0, "all work and no play".to_owned()));
    let dropped: u64 = lines.iter().map(|(dropped, _)| dropped).sum();
    assert_eq!(kept + dropped + deployment.log_lines_dropped(), 100_000);
}

#[tokio::test]
async fn a_refusal_is_the_guest_s_own_and_keeps_the_instance() {
    let bench = Bench::new();
    let mut transform = Transform::new(bench.deploy(guest("refusal", "transform"), Kind::Transform), 0);
    let refused = transform.transform(&batch(1, 0)).await.result.unwrap_err();
    assert!(matches!(&refused, Failure::Refused(reason) if reason == "no such order"), "{refused:?}");
    assert!(transform.is_live());
    transform.transform(&batch(1, 0)).await.result.expect("the second call of the same instance");
}

#[tokio::test]
async fn a_wrong_partition_number_is_never_used() {
    let bench = Bench::new();
    let deployment = bench.deploy(guest("wrong-partition", "partitioner"), Kind::Partitioner);
    let mut partitioner = Partitioner::new(deployment);
    let failure = partitioner.partition(&batch(1, 0), 3).await.result.unwrap_err();
    assert!(failure.to_string().contains("partition 3, and the topic has 3"), "{failure}");
    let failure = partitioner.partition(&batch(2, 0), 3).await.result.unwrap_err();
    assert!(failure.to_string().contains("1 partition numbers for 2 records"), "{failure}");
}

#[tokio::test]
async fn a_sink_that_hangs_is_given_up() {
    let bench = Bench::new();
    let impatient = CallLimits { elapsed: Duration::from_millis(50), ..limits() };
    let mut sink = Sink::new(bench.deploy_with(guest("hang", "sink"), Kind::Sink, impatient), 0);
    let call = sink.deliver(&batch(1, 0), "token").await;
    assert!(matches!(call.result, Err(Failure::Elapsed { .. })), "{:?}", call.result);
    assert!(call.usage.busy < call.usage.elapsed, "waiting is not computing: {:?}", call.usage);
    assert!(!sink.is_live());
}

/// On one thread: the loop itself must give way.
#[tokio::test(flavor = "current_thread")]
async fn a_loop_does_not_keep_its_neighbours_waiting() {
    let bench = Bench::new();
    let long = CallLimits { busy: Duration::from_secs(1), ..limits() };
    let looping = bench.deploy_with(guest("loop", "transform"), Kind::Transform, long);
    let identity = bench.deploy(guest("identity", "transform"), Kind::Transform);
    let (mut looping, mut neighbour) = (Transform::new(looping, 0), Transform::new(identity, 0));
    neighbour.transform(&batch(1, 0)).await.result.unwrap();

    let mut looping = tokio::spawn(async move { looping.transform(&batch(1, 0)).await.result });
    let mut calls = 0;
    while !looping.is_finished() {
        neighbour.transform(&batch(10, 0)).await.result.unwrap();
        calls += 1;
        tokio::task::yield_now().await;
    }
    assert!(calls >= 20, "the neighbour got {calls} calls in a second");
    assert!(matches!((&mut looping).await.unwrap(), Err(Failure::Timeout { .. })));
}

#[tokio::test]
async fn a_full_house_is_an_error_that_passes() {
    let cache = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let bench = Bench::with(HostLimits { instances: 2, ..HostLimits::default() }, cache);
    let deployment = bench.deploy(guest("identity", "transform"), Kind::Transform);
    let mut transforms: Vec<_> =
        (0..3).map(|partition| Transform::new(deployment.clone(), partition)).collect();
    for transform in &mut transforms[..2] {
        transform.transform(&batch(1, 0)).await.result.unwrap();
    }
    let failure = transforms[2].transform(&batch(1, 0)).await.result.unwrap_err();
    assert!(matches!(failure, Failure::Busy(_)) && failure.is_passing(), "{failure:?}");
    transforms[0].release();
    transforms[2].transform(&batch(1, 0)).await.result.unwrap();
}
