//! Topics that brokers keep their own records in: what clients may do with them.

use millrace_compat_tests::control::Pair;
use millrace_protocol::batch::ProducerState;
use millrace_protocol::compression::Codec;
use millrace_protocol::messages::{AlterConfigsRequest, IncrementalAlterConfigsRequest};

use crate::configs::{TOPIC, change, replacement};
use crate::records::{batch, deletion, produce_to};
use crate::support::{create, new_topic};
use crate::topics::{delete, grow};

const OFFSETS: &str = "__consumer_offsets";
/// As many as Kafka makes when it is first asked for a group's coordinator.
const PARTITIONS: i32 = 50;

pub fn compare(pair: &mut Pair) {
    for peer in [&mut pair.kafka, &mut pair.millrace] {
        // It may be there already.
        let compacted = [("cleanup.policy", Some("compact"))];
        peer.ask(7, &create(vec![new_topic(OFFSETS, PARTITIONS, 1, &compacted)])).unwrap();
        peer.await_leaders(OFFSETS, PARTITIONS);
        peer.learn_topics();
    }
    let records = batch(Codec::None, ProducerState::NONE, 1);
    pair.compare_all("produce to an internal topic", |peer, version| {
        produce_to(peer, version, OFFSETS, 0, Some(records.clone()))
    });
    pair.compare_all("deletion of an internal topic's records", |_, _| deletion(OFFSETS, 0, 0));
    pair.compare_all("create an internal topic", |_, _| create(vec![new_topic(OFFSETS, 1, 1, &[])]));
    pair.compare_all("grow an internal topic", |_, _| grow(vec![(OFFSETS, PARTITIONS + 1, None)], true));
    for (setting, value) in [
        ("segment.bytes", "2097152"),
        ("compression.type", "lz4"),
        ("cleanup.policy", "delete"),
        ("retention.ms", "1000"),
        ("max.message.bytes", "100"),
        ("no.such.setting", "1"),
    ] {
        pair.compare_all(&format!("change of an internal topic's {setting}"), |_, _| {
            let changes = [(0, setting, Some(value))];
            IncrementalAlterConfigsRequest::default()
                .with_resources(vec![change(TOPIC, OFFSETS, &changes)])
                .with_validate_only(true)
        });
        pair.compare_all(&format!("replacement of an internal topic's {setting}"), |_, _| {
            AlterConfigsRequest::default()
                .with_resources(vec![replacement(TOPIC, OFFSETS, &[(setting, Some(value))])])
                .with_validate_only(true)
        });
    }
    pair.compare("delete an internal topic", 6, |_, version| delete(version, &[OFFSETS]));
}
