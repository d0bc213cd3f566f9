//! The broker is stopped and killed while producers write.

use millrace_client::admin::NewTopic;
use millrace_test_harness::Broker;

use super::{begin_by_key, expect_none_given_up, times, until_more};
use crate::stored::check::Order;
use crate::stored::client::{Client, Producers};
use crate::stored::observer::Observer;

const TOPIC: &str = "restarted";

/// SIGTERM and SIGKILL in turn.
pub fn restart(client: &Client) -> anyhow::Result<()> {
    let mut broker = Broker::start()?;
    let observer = Observer::connect(&broker)?;
    observer.create(NewTopic::new(TOPIC, 3))?;
    let mut producers = Producers::start(client, &broker)?;
    let names = begin_by_key(&mut producers, TOPIC)?;
    for round in 0..times(4, 200) {
        until_more(&mut producers, &names, 50);
        if round % 2 == 0 {
            let status = broker.stop()?;
            anyhow::ensure!(status.success(), "the broker ended with {status}");
        } else {
            broker.kill()?;
        }
        broker.restart()?;
    }
    until_more(&mut producers, &names, 50);
    producers.end()?;
    producers.until_done();
    let journal = producers.journal();
    expect_none_given_up(&journal)?;
    observer.expect_stored(&journal, TOPIC, 0, Order::OfAll)?;
    Ok(())
}
