//! Partitions are added while producers choose among them.

use std::collections::BTreeSet;

use millrace_client::admin::NewTopic;
use millrace_test_harness::Broker;

use super::{begin_by_key, expect_none_given_up, times, until_more};
use crate::stored::check::Order;
use crate::stored::client::{Client, Producers};
use crate::stored::observer::Observer;

const TOPIC: &str = "growing";

pub fn growing(client: &Client) -> anyhow::Result<()> {
    let broker = Broker::start()?;
    let observer = Observer::connect(&broker)?;
    observer.create(NewTopic::new(TOPIC, 1))?;
    let mut producers = Producers::start(client, &broker)?;
    let names = begin_by_key(&mut producers, TOPIC)?;
    for step in 0..times(3, 40) {
        until_more(&mut producers, &names, 50);
        let before = i32::try_from(1 + 3 * step)?;
        observer.grow(TOPIC, before + 3)?;
        producers.until("every producer to use new partitions", |journal| {
            let told: BTreeSet<_> = journal
                .acknowledged
                .iter()
                .filter(|record| record.partition >= before)
                .map(|record| record.producer.as_str())
                .collect();
            names.iter().all(|name| told.contains(name))
        });
    }
    producers.end()?;
    producers.until_done();
    let journal = producers.journal();
    expect_none_given_up(&journal)?;
    observer.expect_stored(&journal, TOPIC, 0, Order::OfKeys)?;
    Ok(())
}
