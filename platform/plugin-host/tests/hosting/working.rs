//! Guests that behave: what they give, and that they give it again.

use millrace_plugin_host::{CallLimits, Delivery, Failure, Kind, Sink, SinkFailure, SinkFault, Transform};
use millrace_protocol::batch::HEADER_LEN;
use millrace_protocol::compression::Codec;

use crate::guests::{Bench, batch, compressed_batch, guest, limits};

#[tokio::test]
async fn identity_gives_back_every_record_whatever_the_compression() {
    let bench = Bench::new();
    let mut transform = Transform::new(bench.deploy(guest("identity", "transform"), Kind::Transform), 0);
    let plain = batch(500, 42);
    for codec in Codec::ALL {
        let call = transform.transform(&compressed_batch(500, 42, codec)).await;
        let outputs = call.result.unwrap();
        assert_eq!(outputs.len(), 1);
        assert_eq!(outputs[0].output, 0);
        let given = &outputs[0].batch;
        given.verify().unwrap();
        assert_eq!(given.bytes[HEADER_LEN..], plain.bytes[HEADER_LEN..], "{codec:?}");
        assert_eq!(given.header.base_offset, 0);
        assert_eq!(given.header.max_timestamp, plain.header.max_timestamp);
        assert_eq!(call.usage.output_records, 500);
        assert_eq!(call.usage.input_bytes, plain.bytes.len());
        assert!(call.usage.memory_peak >= 128 << 10);
        assert_eq!(call.usage.cold_start, codec == Codec::None);
    }
}

#[tokio::test]
async fn batches_larger_than_the_first_pages_grow_the_guest() {
    let bench = Bench::new();
    let roomy = CallLimits { output_records: 100_000, ..limits() };
    let deployment = bench.deploy_with(guest("identity", "transform"), Kind::Transform, roomy);
    let mut transform = Transform::new(deployment, 0);
    let large = batch(20_000, 0);
    assert!(large.bytes.len() > 512 << 10);
    for _ in 0..3 {
        let outputs = transform.transform(&large).await.result.unwrap();
        assert_eq!(outputs[0].batch.bytes[HEADER_LEN..], large.bytes[HEADER_LEN..]);
    }
}

#[tokio::test]
async fn the_clock_is_the_batch_s_and_a_run_repeats_byte_for_byte() {
    let run = async |partition, offsets: &[i64]| {
        let bench = Bench::new();
        let deployment = bench.deploy(guest("replay", "transform"), Kind::Transform);
        let mut transform = Transform::new(deployment, partition);
        let mut given = Vec::new();
        for offset in offsets {
            let outputs = transform.transform(&batch(2, *offset)).await.result.unwrap();
            given.push(outputs[0].batch.bytes.clone());
        }
        given
    };
    let first = run(0, &[0, 2, 4]).await;
    assert_eq!(first, run(0, &[0, 2, 4]).await, "the same input gives the same bytes");
    assert_eq!(first[2], run(0, &[4]).await[0], "whatever came before");
    assert_ne!(first[0], first[1], "each batch has its own numbers");
    assert_ne!(first[0], run(1, &[0]).await[0], "and each partition");

    // Behind the header and six bytes of record: seconds since the epoch.
    let seconds = first[0][HEADER_LEN + 6..HEADER_LEN + 14].try_into().unwrap();
    assert_eq!(u64::from_le_bytes(seconds), 1_700_000_000);
}

#[tokio::test]
async fn a_sink_s_answers_are_told_apart() {
    let bench = Bench::new();
    let mut sink = Sink::new(bench.deploy(guest("sink", "sink"), Kind::Sink), 0);
    let failed = |kind, delivered, retry_after_ms| {
        Delivery::Failed(SinkFailure { kind, delivered, retry_after_ms, message: "the reason".to_owned() })
    };
    for (token, delivery) in [
        ("deliver", Delivery::Delivered),
        ("retry", failed(SinkFault::Retryable, 0, None)),
        ("permanent", failed(SinkFault::Record, 0, None)),
        ("target", failed(SinkFault::Target, 0, None)),
        // It claims nine of one.
        ("half", failed(SinkFault::Retryable, 1, Some(250))),
    ] {
        assert_eq!(sink.deliver(&batch(1, 0), token).await.result.unwrap(), delivery);
    }
    assert!(matches!(sink.deliver(&batch(1, 0), "x").await.result, Err(Failure::Trap { .. })));
    assert_eq!(sink.deliver(&batch(1, 0), "deliver").await.result.unwrap(), Delivery::Delivered);
}

#[tokio::test]
async fn a_module_for_wasi_0_1_is_adapted_and_its_output_logged() {
    let bench = Bench::new();
    let mut transform = Transform::new(bench.deploy(guest("preview1", "transform"), Kind::Transform), 0);
    transform.transform(&batch(1, 0)).await.result.unwrap();
    assert_eq!(bench.lines.0.lock()[..], [(0, "hello from 2019".to_owned())]);
}
