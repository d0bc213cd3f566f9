//! A topic is deleted and made again, with fewer partitions every other time, while producers write to it.

use std::time::{Duration, SystemTime};

use millrace_client::admin::NewTopic;
use millrace_test_harness::{Broker, eventually};

use super::{begin_by_key, times, until_more};
use crate::stored::check::Order;
use crate::stored::client::{Client, LIMIT, Producers};
use crate::stored::observer::Observer;

const TOPIC: &str = "again";

/// How long nothing may be told until it counts as told: the answers of a topic that is gone have all been sent,
/// and are on their way through one socket and one pipe.
const QUIET: Duration = Duration::from_millis(500);

pub fn recreation(client: &Client) -> anyhow::Result<()> {
    // Otherwise a producer that asks for the topic would make it.
    let broker = Broker::builder().setting("topics", "auto_create = false").start()?;
    let observer = Observer::connect(&broker)?;
    observer.create(topic(4))?;
    let mut producers = Producers::start(client, &broker)?;
    let names = begin_by_key(&mut producers, TOPIC)?;
    until_more(&mut producers, &names, 100);
    let mut made_ms = 0;
    for round in 0..times(4, 100) {
        observer.delete(TOPIC)?;
        if round % 2 == 0 || !client.tells_append_time() {
            until_quiet(&producers);
        }
        // Records of the former topic were appended before the deletion was answered: in an earlier
        // millisecond than the new one begins in.
        let deleted_ms = now_ms();
        made_ms = eventually("the clock to go on", LIMIT, || Some(now_ms()).filter(|now| *now > deleted_ms));
        observer.create(topic(if round % 2 == 0 { 2 } else { 4 }))?;
        producers.until("every producer to go on in the new topic", |journal| {
            names.iter().all(|name| {
                let new = journal.acknowledged.iter().rev().take_while(|record| record.time_ms >= made_ms);
                new.filter(|record| record.producer == *name).count() >= 50
            })
        });
    }
    producers.end()?;
    producers.until_done();
    let journal = producers.journal();
    observer.expect_stored(&journal, TOPIC, made_ms, Order::OfKeys)?;
    Ok(())
}

fn topic(partitions: i32) -> NewTopic {
    NewTopic::new(TOPIC, partitions).config("message.timestamp.type", "LogAppendTime")
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

fn until_quiet(producers: &Producers) {
    let told = || producers.journal().acknowledged.len();
    let mut last = (told(), SystemTime::now());
    eventually("the answers of the deleted topic to end", LIMIT, || {
        if told() != last.0 {
            last = (told(), SystemTime::now());
        }
        last.1.elapsed().is_ok_and(|quiet| quiet >= QUIET).then_some(())
    });
}
