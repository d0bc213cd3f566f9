//! Several producers begin on a topic that is just being made.

use millrace_client::admin::NewTopic;
use millrace_test_harness::Broker;

use super::times;
use crate::stored::check::Order;
use crate::stored::client::{Client, Producers};
use crate::stored::journal::Mode;
use crate::stored::observer::Observer;

const MODES: [Mode; 5] = [Mode::Idempotent, Mode::Idempotent, Mode::Idempotent, Mode::All, Mode::Leader];
const RECORDS: usize = 40;

/// Topics of `partitions` partitions, each producer beginning in one of the last. Where `asking_makes`, the first that
/// asks for a topic makes it, if CreateTopics does not come first, which is sent at the same instant in every other
/// round; else they all ask until CreateTopics has made it, and begin when they are told a leader.
pub fn creation(client: &Client, partitions: i32, asking_makes: bool) -> anyhow::Result<()> {
    let broker = Broker::builder()
        .setting("topics", format!("num_partitions = {partitions}"))
        .setting("topics", format!("auto_create = {asking_makes}"))
        .start()?;
    let observer = Observer::connect(&broker)?;
    let mut producers = Producers::start(client, &broker)?;
    for round in 0..times(5, 400) {
        let topic = format!("first-{round}");
        for (index, mode) in (0..).zip(MODES) {
            let partition = (partitions - 1 - index).max(0);
            producers.add(&format!("r{round}-{index}"), mode, &topic, Some(partition))?;
        }
        producers.go(RECORDS)?;
        if round % 2 == 0 || !asking_makes {
            observer.create_if_missing(NewTopic::new(&topic, partitions))?;
        }
        producers.until_done();
        let stored = observer.expect_stored(&producers.journal(), &topic, 0, Order::OfAll)?;
        anyhow::ensure!(stored == MODES.len() * RECORDS, "round {round}: only {stored} records were taken");
    }
    Ok(())
}
