//! Requests made of random choices among values that mean something, in random versions.

use millrace_compat_tests::control::Pair;
use millrace_integration_tests::Random;
use millrace_protocol::ApiKey;
use millrace_protocol::batch::ProducerState;
use millrace_protocol::compression::Codec;

use crate::records::{Asked, batch, deletion, fetch_from, offsets, produce_to, with};
use crate::support::{create, create_in, new_topic};

const TOPICS: [&str; 6] = ["gen-a", "gen-b", "gen-compacted", "missing", "", "bad name"];
const NUMBERS: [i32; 9] = [-2, -1, 0, 1, 2, 3, 7, i32::MAX, i32::MIN];

pub fn compare(pair: &mut Pair, random: &mut Random, count: usize) {
    for peer in [&mut pair.kafka, &mut pair.millrace] {
        create_in(
            peer,
            &[
                ("gen-a", 8, &[]),
                ("gen-b", 8, &[]),
                ("gen-compacted", 8, &[("cleanup.policy", Some("compact"))]),
            ],
        );
    }
    for number in 0..count {
        match random.below(6) {
            0 | 1 => produced(pair, random, number),
            2 => fetched(pair, random, number),
            3 => looked_up(pair, random, number),
            4 => deleted(pair, random, number),
            _ => created(pair, random, number),
        }
    }
}

fn one_of<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[usize::try_from(random.below(from.len() as u64)).unwrap()]
}

fn version(pair: &Pair, random: &mut Random, api: ApiKey) -> i16 {
    let versions: Vec<i16> = pair.versions(api).collect();
    one_of(random, &versions)
}

/// A batch that is good or has up to two of its header's fields replaced.
fn produced(pair: &mut Pair, random: &mut Random, number: usize) {
    let codec = one_of(random, &[Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd]);
    let producer = if random.below(2) == 0 {
        ProducerState::NONE
    } else {
        ProducerState {
            producer_id: one_of(random, &[5_000_001, 5_000_002, 0, -2]),
            producer_epoch: one_of(random, &[0, 1]),
            // Kafka takes a producer that begins at another number; here it is refused on purpose.
            base_sequence: 0,
            transactional: false,
        }
    };
    let mut records = batch(codec, producer, 1 + usize::try_from(random.below(4)).unwrap());
    // Places of the header: magic, last offset delta, count. What else may be wrong, and is answered otherwise on
    // purpose, has cases of its own: here each difference would make all that follow differ.
    for _ in 0..random.below(3) {
        let at = one_of(random, &[16, 23, 57]);
        let number = one_of(random, &NUMBERS);
        records = match at {
            16 => with(records, at, &[one_of(random, &[0, 1, 2, 3])]),
            _ => with(records, at, &number.to_be_bytes()),
        };
    }
    // Of a batch that is none and a topic that is none, Kafka answers the batch and Millrace the topic.
    let (topic, index) = (one_of(random, &TOPICS[..3]), one_of(random, &[0, 1, 2, 3, 4, 5, 6, 7]));
    let version = version(pair, random, ApiKey::Produce);
    let hex: String = records[..61].iter().map(|byte| format!("{byte:02x}")).collect();
    pair.compare(&format!("produce {number} to '{topic}' {index} {hex}"), version, |peer, version| {
        produce_to(peer, version, topic, index, Some(records.clone()))
    });
    pair.compare(&format!("end of '{topic}' {index} after {number}"), 5, |_, _| {
        offsets(&[(topic, index, -1, -1)], 5)
    });
}

fn fetched(pair: &mut Pair, random: &mut Random, number: usize) {
    let mut asked: Vec<_> = (0..random.below(3))
        .map(|_| Asked {
            topic: one_of(random, &TOPICS),
            index: one_of(random, &[0, 0, 1, 2, 99, -1]),
            offset: one_of(random, &[0, 0, 1, 5, 1000, -1]),
            epoch: one_of(random, &[-1, -1, 0, 3]),
            max_bytes: one_of(random, &[1 << 20, 1, 0, 200, i32::MAX]),
        })
        .collect();
    // Named twice, one is answered otherwise on purpose.
    asked.dedup_by_key(|asked| (asked.topic, asked.index));
    let version = version(pair, random, ApiKey::Fetch);
    let shown: Vec<_> =
        asked.iter().map(|it| (it.topic, it.index, it.offset, it.epoch, it.max_bytes)).collect();
    pair.compare(&format!("fetch {number} of {shown:?}"), version, |peer, version| {
        fetch_from(peer, version, &asked)
    });
}

fn looked_up(pair: &mut Pair, random: &mut Random, number: usize) {
    let asked: Vec<_> = (0..1 + random.below(2))
        .map(|_| {
            let time = one_of(random, &[-1, -2, -3, -4, -5, 0, 1_790_000_000_001, i64::MAX]);
            (one_of(random, &TOPICS), one_of(random, &[0, 1, 99, -1]), time, one_of(random, &[-1, 0, 5]))
        })
        .collect();
    let version = version(pair, random, ApiKey::ListOffsets);
    pair.compare(&format!("offsets {number} of {asked:?}"), version, |_, version| offsets(&asked, version));
}

fn deleted(pair: &mut Pair, random: &mut Random, number: usize) {
    let (topic, index) = (one_of(random, &TOPICS), one_of(random, &[0, 1, 9]));
    let offset = one_of(random, &[-1, -2, 0, 1, 2, 5, 1_000_000]);
    let version = version(pair, random, ApiKey::DeleteRecords);
    pair.compare(&format!("delete {number} of '{topic}' {index} below {offset}"), version, |_, _| {
        deletion(topic, index, offset)
    });
}

fn created(pair: &mut Pair, random: &mut Random, number: usize) {
    let name = one_of(random, &["made", "gen-a", "", "bad name", "dots.and_scores"]);
    let name = if name == "made" { format!("made-{number}") } else { name.to_owned() };
    let (partitions, replicas) = (one_of(random, &[-2, -1, 0, 1, 2, 9]), one_of(random, &[-2, -1, 0, 1, 2]));
    let values = [Some("1"), Some("-1"), Some("-2"), Some("x"), Some(""), Some("0.5"), Some("true"), None];
    let names =
        ["retention.ms", "segment.ms", "flush.ms", "preallocate", "min.cleanable.dirty.ratio", "unknown"];
    let settings: Vec<_> =
        (0..random.below(3)).map(|_| (one_of(random, &names), one_of(random, &values))).collect();
    let version = version(pair, random, ApiKey::CreateTopics);
    let what = format!("create {number} '{name}' {partitions} {replicas} {settings:?}");
    pair.compare(&what, version, |_, _| create(vec![new_topic(&name, partitions, replicas, &settings)]));
}
