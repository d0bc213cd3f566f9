//! A machine that is made again from its log is the one that lived, whatever happened on the way.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt as _;
use millrace_coordinator::{AppendFailure, Replied, StateLog};
use millrace_test_partitions::AcknowledgementFault;
use proptest::prelude::*;

use super::words::{Words, batch};
use super::{Bench, set, words};

#[derive(Clone, Debug)]
enum Step {
    Set(u8, u8),
    Forget(u8),
    /// Of another version.
    Foreign(u8),
    Hold(bool),
    FailAppend,
    LoseNext,
    FailStored,
    /// The leadership goes and comes back, with or without what is not acknowledged.
    Reelect {
        truncate: bool,
    },
    /// The log of the partition is compacted.
    Compact,
    Turns(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..6u8, any::<u8>()).prop_map(|(word, text)| Step::Set(word, text)),
        2 => (0..6u8).prop_map(Step::Forget),
        1 => (0..6u8).prop_map(Step::Foreign),
        2 => any::<bool>().prop_map(Step::Hold),
        1 => Just(Step::FailAppend),
        1 => Just(Step::LoseNext),
        1 => Just(Step::FailStored),
        1 => any::<bool>().prop_map(|truncate| Step::Reelect { truncate }),
        2 => Just(Step::Compact),
        3 => (1..20u8).prop_map(Step::Turns),
    ];
    prop::collection::vec(step, 1..60)
}

/// What was told of a word, in the order in which it was proposed.
struct Told {
    word: String,
    text: Option<String>,
    replied: Replied<Option<String>>,
}

async fn live(steps: Vec<Step>, snapshot_bytes_min: usize) {
    let bench = Bench::new().await;
    let log = bench.log_with(snapshot_bytes_min);
    let mut told = Vec::new();
    let failure = || AppendFailure::Passing("it is told to".into());
    for step in steps {
        let word = |number: u8| format!("word {number}");
        match step {
            Step::Set(number, text) => {
                let text = Some("x".repeat(text.into()));
                propose(&log, word(number), text, &mut told);
            }
            Step::Forget(number) => propose(&log, word(number), None, &mut told),
            Step::Foreign(number) => {
                let key = format!("x:{number}");
                bench.partitions.produce_batch(bench.place, &batch(&[(&key, Some("?"))]));
            }
            Step::Hold(held) => bench.hold(held),
            Step::FailAppend => bench.partitions.fail_appends(bench.place, [failure()]),
            Step::LoseNext => {
                bench.partitions.fault(bench.place, [AcknowledgementFault::Lost(failure())]);
            }
            Step::FailStored => {
                bench.partitions.fault(bench.place, [AcknowledgementFault::Stored(failure())]);
            }
            Step::Reelect { truncate } => {
                bench.set_led(false);
                if truncate {
                    bench.partitions.truncate(bench.place);
                }
                bench.set_led(true);
            }
            Step::Compact => bench.partitions.compact(bench.place),
            Step::Turns(count) => {
                for _ in 0..count {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    bench.hold(false);
    while log.ready().await != Ok(()) {
        tokio::time::advance(Duration::from_millis(50)).await;
    }
    let lived = words(&log);
    assert_eq!(bench.rebuilt().await, lived);
    // Whatever was told is so, unless something later was proposed of that word.
    let mut last: BTreeMap<String, Option<Told>> = BTreeMap::new();
    for told in told {
        last.insert(told.word.clone(), Some(told));
    }
    for told in last.into_values().flatten() {
        if told.replied.now_or_never().is_some_and(|replied| replied.is_ok()) {
            assert_eq!(lived.get(&told.word), told.text.as_ref(), "{}", told.word);
        }
    }
}

fn propose(log: &StateLog<Words>, word: String, text: Option<String>, told: &mut Vec<Told>) {
    if let Ok(replied) = set(log, &word, text.as_deref()) {
        told.push(Told { word, text, replied });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_machine_made_again_from_its_log_is_the_one_that_lived(
        steps in steps(),
        snapshot_bytes_min in prop_oneof![Just(1usize), Just(500), Just(usize::MAX)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(live(steps, snapshot_bytes_min));
    }
}
