//! What happens to a topic while producers write to it: each scenario starts a broker of its own, and panics with
//! the faults that it finds.

mod creation;
mod growing;
mod recreation;
mod restart;

pub use creation::creation;
pub use growing::growing;
pub use recreation::recreation;
pub use restart::restart;

use millrace_test_harness::long_tests;

use super::client::Producers;
use super::journal::{Journal, Mode};

/// How often a thing is done in the short and in the long run.
fn times(short: usize, long: usize) -> usize {
    if long_tests() { long } else { short }
}

/// Makes producers of every mode that send by key, and has them begin. Returns their names.
fn begin_by_key(producers: &mut Producers, topic: &str) -> anyhow::Result<Vec<&'static str>> {
    let modes =
        [("one", Mode::Idempotent), ("two", Mode::Idempotent), ("all", Mode::All), ("leader", Mode::Leader)];
    for (name, mode) in modes {
        producers.add(name, mode, topic, None)?;
    }
    producers.go_on()?;
    Ok(modes.map(|(name, _)| name).to_vec())
}

/// Idempotent producers get every record through what lasts less than their delivery timeout; others may give some up
/// (franz-go does if it finds a connection closed before its first answer).
fn expect_none_given_up(journal: &Journal) -> anyhow::Result<()> {
    let idempotent = |label: &str| {
        label.split_once(':').is_some_and(|(name, _)| journal.producers.get(name) == Some(&Mode::Idempotent))
    };
    let given_up: Vec<_> = journal.failed.iter().filter(|failed| idempotent(failed)).collect();
    anyhow::ensure!(given_up.is_empty(), "given up: {given_up:?}");
    Ok(())
}

/// Waits until each of `names` has been told `count` more records stored.
fn until_more(producers: &mut Producers, names: &[&str], count: usize) {
    let wanted: Vec<usize> = names.iter().map(|name| producers.journal().count(name) + count).collect();
    producers.until("more records to be acknowledged", |journal| {
        names.iter().zip(&wanted).all(|(name, wanted)| journal.count(name) >= *wanted)
    });
}
