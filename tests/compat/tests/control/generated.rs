//! Requests made of random choices among values that mean something, in random versions.
//!
//! Where a broker took what the other refused, on purpose, a partition is unlike in both from then on: a new one takes
//! its place, so that every answer is still compared.

use std::collections::BTreeMap;

use millrace_compat_tests::control::Pair;
use millrace_integration_tests::Random;
use millrace_protocol::ApiKey;
use millrace_protocol::batch::ProducerState;

use crate::batches::{Sent, described, flawed, good, one_of, producer};
use crate::records::{Asked, KEPT, TIME, and_to, deletion, end_alike, fetch_from, offsets, produce_to};
use crate::settings::Changed;
use crate::support::{create, create_in, new_topic};
use crate::topics::grow;

const TOPICS: [&str; 6] = ["gen-a", "gen-b", "gen-compacted", "missing", "", "bad name"];
/// Places in each of the topics that there are.
const PLACES: i32 = 8;
/// A partition that no topic has.
const NO_PARTITION: i32 = 100_000;
const LATEST_TIME: i64 = -3;
/// No new segment by what times records have: an answer of Kafka's ends with a segment, and it compacts what is in
/// others than the last.
const WHOLE: (&str, Option<&str>) = ("segment.ms", Some("9223372036854775807"));

/// One partition that requests go to.
#[derive(Default)]
struct Place {
    index: i32,
    sent: Sent,
    /// Whether records of it were deleted.
    trimmed: bool,
}

/// The partitions of topics that requests go to, by topic and place.
struct Places {
    places: BTreeMap<(&'static str, i32), Place>,
    counts: BTreeMap<&'static str, i32>,
}

impl Places {
    fn new(pair: &mut Pair) -> Self {
        for peer in [&mut pair.kafka, &mut pair.millrace] {
            create_in(
                peer,
                &[
                    ("gen-a", PLACES, &[KEPT, WHOLE]),
                    ("gen-b", PLACES, &[KEPT, WHOLE, ("max.message.bytes", Some("400"))]),
                    ("gen-compacted", PLACES, &[WHOLE, ("cleanup.policy", Some("compact"))]),
                ],
            );
        }
        let there = || TOPICS[..3].iter().copied();
        let place = |topic, index| ((topic, index), Place { index, ..Place::default() });
        Self {
            places: there().flat_map(|topic| (0..PLACES).map(move |index| place(topic, index))).collect(),
            counts: there().map(|topic| (topic, PLACES)).collect(),
        }
    }

    /// The partition that is in a place; the place's number where there is none.
    fn index(&self, topic: &'static str, place: i32) -> i32 {
        self.places.get(&(topic, place)).map_or(place, |place| place.index)
    }

    fn is_trimmed(&self, topic: &'static str, place: i32) -> bool {
        self.places.get(&(topic, place)).is_some_and(|place| place.trimmed)
    }

    /// Puts a new partition into a place.
    fn renew(&mut self, pair: &mut Pair, topic: &'static str, place: i32) {
        let count = self.counts.get_mut(topic).expect("a topic that there is");
        *count += 1;
        for peer in [&mut pair.kafka, &mut pair.millrace] {
            let grown = peer.ask(3, &grow(vec![(topic, *count, None)], false)).unwrap();
            assert_eq!(grown.results[0].error_code, 0, "{:?}", grown.results[0].error_message);
            peer.await_leaders(topic, *count);
        }
        self.places.insert((topic, place), Place { index: *count - 1, ..Place::default() });
    }
}

pub fn compare(pair: &mut Pair, random: &mut Random, count: usize) {
    let mut places = Places::new(pair);
    let mut changed = Changed::new(pair, 0);
    for number in 0..count {
        match random.below(7) {
            0 | 1 => produced(pair, random, &mut places, number),
            2 => fetched(pair, random, &places, number),
            3 => looked_up(pair, random, &places, number),
            4 => deleted(pair, random, &mut places, number),
            5 => {
                let version = version(pair, random, ApiKey::IncrementalAlterConfigs);
                changed.change(pair, random, version, number);
            }
            _ => created(pair, random, number),
        }
    }
}

fn version(pair: &Pair, random: &mut Random, api: ApiKey) -> i16 {
    let versions: Vec<i16> = pair.versions(api).collect();
    one_of(random, &versions)
}

/// A batch that is good or has up to two flaws.
fn produced(pair: &mut Pair, random: &mut Random, places: &mut Places, number: usize) {
    let (topic, place) = if random.below(10) == 0 {
        (one_of(random, &TOPICS), one_of(random, &[0, -1, NO_PARTITION]))
    } else {
        (one_of(random, &TOPICS[..3]), random.below(PLACES as u64) as i32)
    };
    let count = 1 + usize::try_from(random.below(4)).unwrap();
    let mut nowhere = Sent::default();
    let sent = places.places.get_mut(&(topic, place)).map_or(&mut nowhere, |place| &mut place.sent);
    let state = producer(random, sent, count);
    let records = good(random, state, count);
    let (records, flaws) = flawed(random, records);
    let described = described(&records, sent);
    let acks = one_of(random, &[-1, -1, -1, -1, 1, 3]);
    let (index, version) = (places.index(topic, place), version(pair, random, ApiKey::Produce));
    // Some go to a second partition, too.
    let next = (place + 1) % PLACES;
    let beside = (random.below(6) == 0).then(|| good(random, ProducerState::NONE, 1));
    let what = format!(
        "produce {number} to '{topic}' {index} with acks {acks} {described}{flaws}{}",
        if beside.is_some() { ", and to another" } else { "" }
    );
    let compared = pair.compare(&what, version, |peer, version| {
        let request = produce_to(peer, version, topic, index, Some(records.clone())).with_acks(acks);
        match beside.clone() {
            Some(beside) => and_to(request, places.index(topic, next), beside),
            None => request,
        }
    });
    if let Some(there) = places.places.get_mut(&(topic, place)) {
        there.sent.tried(&records, compared.done);
    }
    for place in [place, next] {
        let index = places.index(topic, place);
        let what = format!("end of '{topic}' {index} after {number}");
        if places.places.contains_key(&(topic, place))
            && !end_alike(pair, topic, index, compared.alike, &what)
        {
            places.renew(pair, topic, place);
        }
    }
}

fn fetched(pair: &mut Pair, random: &mut Random, places: &Places, number: usize) {
    let asked: Vec<_> = (0..random.below(4))
        .map(|_| {
            let topic = one_of(random, &TOPICS);
            Asked {
                topic,
                index: places.index(topic, one_of(random, &[0, 0, 1, 2, 3, NO_PARTITION, -1])),
                offset: one_of(random, &[0, 0, 1, 5, 12, 1000, -1]),
                epoch: one_of(random, &[-1, -1, 0, 3]),
                max_bytes: one_of(random, &[1 << 20, 1, 0, 200, 700, i32::MAX]),
            }
        })
        .collect();
    let version = version(pair, random, ApiKey::Fetch);
    let shown: Vec<_> =
        asked.iter().map(|it| (it.topic, it.index, it.offset, it.epoch, it.max_bytes)).collect();
    let (isolation, max_bytes) = (one_of(random, &[0, 1]), one_of(random, &[1 << 20, 1 << 20, 0, 1]));
    let what = format!("fetch {number} of at most {max_bytes} of {shown:?}, isolation {isolation}");
    pair.compare(&what, version, |peer, version| {
        fetch_from(peer, version, &asked).with_isolation_level(isolation).with_max_bytes(max_bytes)
    });
}

fn looked_up(pair: &mut Pair, random: &mut Random, places: &Places, number: usize) {
    let asked: Vec<_> = (0..1 + random.below(2))
        .map(|_| {
            let (topic, place) = (one_of(random, &TOPICS), one_of(random, &[0, 1, 2, NO_PARTITION, -1]));
            let time = one_of(random, &[-1, -2, LATEST_TIME, -4, -5, 0, 1, TIME, TIME + 1, i64::MAX]);
            // Kafka names records that were deleted, which has a case of its own.
            let time = if places.is_trimmed(topic, place) && time == LATEST_TIME { -1 } else { time };
            (topic, places.index(topic, place), time, one_of(random, &[-1, 0, 5]))
        })
        .collect();
    let version = version(pair, random, ApiKey::ListOffsets);
    pair.compare(&format!("offsets {number} of {asked:?}"), version, |_, version| offsets(&asked, version));
}

fn deleted(pair: &mut Pair, random: &mut Random, places: &mut Places, number: usize) {
    let (topic, place) = (one_of(random, &TOPICS), one_of(random, &[0, 1, 2, 3, NO_PARTITION]));
    let offset = one_of(random, &[-1, -2, 0, 1, 2, 5, 1_000_000]);
    let index = places.index(topic, place);
    let version = version(pair, random, ApiKey::DeleteRecords);
    pair.compare(&format!("delete {number} of '{topic}' {index} below {offset}"), version, |_, _| {
        deletion(topic, index, offset)
    });
    if let Some(place) = places.places.get_mut(&(topic, place)) {
        place.trimmed = true;
    }
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
