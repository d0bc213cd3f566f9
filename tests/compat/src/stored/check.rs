//! Compares what was acknowledged with what is there. Pure.

use std::collections::{BTreeMap, HashMap};

use super::journal::{Journal, KEYS, Mode, value};

/// What a topic holds: values by partition and offset.
pub type Contents = BTreeMap<i32, BTreeMap<i64, Vec<u8>>>;

/// Which records of one idempotent producer and partition are in the order of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    OfAll,
    /// Those of a key: the number of partitions changes, and what was meant for one may be moved to another.
    OfKeys,
}

/// More findings of one kind are counted only.
const TOLD_MAX: usize = 10;

/// Producer, partition and key: records that are in the order of sending.
type Sequence<'a> = (&'a str, i32, u64);

/// Where the records of a journal are.
struct Found<'a> {
    /// By producer and number, in ascending order of partition and offset.
    places: HashMap<(&'a str, u64), Vec<(i32, i64)>>,
    findings: Vec<String>,
}

/// What is wrong with `contents`, the topic `topic` as it was made at `made_ms` (by the broker's clock):
///
/// - every record that was acknowledged since is there, at the offset that its client was told;
/// - a record of an idempotent producer is there once at most, acknowledged or not, and in its `order`;
/// - values are byte for byte as they were sent.
///
/// Not required are records that were given up, and those that were appended before `made_ms`: they went with
/// a former topic of that name.
pub fn check(
    journal: &Journal,
    topic: &str,
    made_ms: i64,
    order: Order,
    contents: &Contents,
) -> Result<usize, String> {
    let mut found = find(journal, contents);
    found.check_numbered(journal, order);
    let mut required = 0;
    for record in &journal.acknowledged {
        if record.topic != topic || (0..made_ms).contains(&record.time_ms) {
            continue;
        }
        required += 1;
        let label = format!("{}:{}", record.producer, record.number);
        let told = (record.partition, record.offset);
        match found.places.get(&(record.producer.as_str(), record.number)) {
            None => found.findings.push(format!(
                "lost: {label}, acknowledged at {told:?}, where {} is, {} ms after the topic was made",
                at(contents, told),
                record.time_ms - made_ms
            )),
            Some(places) if record.offset >= 0 && !places.contains(&told) => {
                found
                    .findings
                    .push(format!("misplaced: {label}, acknowledged at {told:?}, is at {places:?}"));
            }
            Some(_) => {}
        }
    }
    found.findings.extend(journal.nonsense.iter().map(|line| format!("not understood: {line}")));
    match found.findings.len() {
        0 => Ok(required),
        count => {
            let told = found.findings[..count.min(TOLD_MAX)].join("\n");
            Err(format!("{count} faults in '{topic}' of {required} acknowledged records:\n{told}"))
        }
    }
}

/// The label of what is at a place, if anything.
fn at(contents: &Contents, (partition, offset): (i32, i64)) -> String {
    let stored = contents.get(&partition).and_then(|records| records.get(&offset));
    let label = |value: &Vec<u8>| {
        let text = String::from_utf8_lossy(value);
        text.rsplit_once(':').map_or("something else", |(label, _)| label).to_owned()
    };
    stored.map_or_else(|| "nothing".to_owned(), label)
}

fn find<'a>(journal: &'a Journal, contents: &Contents) -> Found<'a> {
    let mut found = Found { places: HashMap::new(), findings: Vec::new() };
    for (partition, records) in contents {
        for (offset, stored) in records {
            let place = (*partition, *offset);
            match recognise(journal, stored) {
                Some(label) => found.places.entry(label).or_default().push(place),
                None => found.findings.push(format!("damaged or from nobody: the record at {place:?}")),
            }
        }
    }
    found
}

/// Whose record a stored value is.
fn recognise<'a>(journal: &'a Journal, stored: &[u8]) -> Option<(&'a str, u64)> {
    let mut words = std::str::from_utf8(stored).ok()?.split(':');
    let (producer, _) = journal.producers.get_key_value(words.next()?)?;
    let number = words.next()?.parse().ok()?;
    (stored == value(producer, number)).then_some((producer.as_str(), number))
}

impl Found<'_> {
    /// What idempotent producers are promised beyond the presence of their records.
    fn check_numbered(&mut self, journal: &Journal, order: Order) {
        let mut ordered: BTreeMap<Sequence<'_>, Vec<(u64, i64)>> = BTreeMap::new();
        for ((producer, number), places) in &self.places {
            if journal.producers[*producer] != Mode::Idempotent {
                continue;
            }
            if places.len() > 1 {
                self.findings.push(format!("twice: {producer}:{number} is at {places:?}"));
            }
            for (partition, offset) in places {
                let key = if order == Order::OfKeys { number % KEYS } else { 0 };
                ordered.entry((producer, *partition, key)).or_default().push((*number, *offset));
            }
        }
        for ((producer, partition, _), mut records) in ordered {
            records.sort_unstable();
            for pair in records.windows(2) {
                let [(number, offset), (later, earlier)] = [pair[0], pair[1]];
                if number < later && offset > earlier {
                    self.findings.push(format!(
                        "out of order: {producer}:{number} is at {offset} of partition {partition}, and \
                         {producer}:{later} at {earlier}"
                    ));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A journal of `i`, which is idempotent, and `p`, which is not.
    fn journal(lines: &[&str]) -> Journal {
        let producers = [("i".to_owned(), Mode::Idempotent), ("p".to_owned(), Mode::All)].into();
        let mut journal = Journal { producers, ..Journal::default() };
        lines.iter().for_each(|line| journal.take(line));
        journal
    }

    /// Partition 0 with the records of these labels.
    fn contents(labels: &[&str]) -> Contents {
        let record = |(offset, label): (i64, &&str)| {
            let (producer, number) = label.split_once(':').expect("a label");
            (offset, value(producer, number.parse().expect("a number")))
        };
        Contents::from([(0, (0..).zip(labels).map(record).collect())])
    }

    fn fault(journal: &Journal, contents: &Contents) -> String {
        let fault = check(journal, "t", 0, Order::OfAll, contents).expect_err("a fault");
        fault.lines().skip(1).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_is_as_acknowledged_passes_and_is_counted() {
        let lines = ["stored t 0 0 -1 i:0", "stored t 0 -1 -1 i:1", "failed i:2 timed out", "done"];
        let journal = journal(&lines);
        assert_eq!(check(&journal, "t", 0, Order::OfAll, &contents(&["i:0", "i:1"])), Ok(2));
        // Given up, and stored all the same.
        assert_eq!(check(&journal, "t", 0, Order::OfAll, &contents(&["i:0", "i:1", "i:2"])), Ok(2));
        assert_eq!(journal.rounds, 1);
    }

    #[test]
    fn a_record_that_is_not_there_is_lost_and_one_elsewhere_is_misplaced() {
        let journal = journal(&["stored t 0 0 -1 i:0", "stored t 0 1 -1 p:0"]);
        let lost = fault(&journal, &contents(&["i:0", "i:1"]));
        assert!(lost.starts_with("lost: p:0, acknowledged at (0, 1), where i:1 is"), "{lost}");
        let moved = fault(&journal, &contents(&["i:0", "i:1", "p:0"]));
        assert_eq!(moved, "misplaced: p:0, acknowledged at (0, 1), is at [(0, 2)]");
    }

    #[test]
    fn only_who_numbers_records_is_promised_one_of_each_in_order() {
        let nothing = journal(&[]);
        assert_eq!(check(&nothing, "t", 0, Order::OfAll, &contents(&["p:1", "p:0", "p:1"])), Ok(0));
        assert_eq!(fault(&nothing, &contents(&["i:0", "i:0"])), "twice: i:0 is at [(0, 0), (0, 1)]");
        let swapped = fault(&nothing, &contents(&["i:1", "i:0"]));
        assert_eq!(swapped, "out of order: i:0 is at 1 of partition 0, and i:1 at 0");
        // 1 and 0 have different keys, 65 and 1 have one.
        assert_eq!(check(&nothing, "t", 0, Order::OfKeys, &contents(&["i:1", "i:0"])), Ok(0));
        assert!(check(&nothing, "t", 0, Order::OfKeys, &contents(&["i:65", "i:1"])).is_err());
    }

    #[test]
    fn what_went_with_a_former_topic_is_not_required() {
        let journal = journal(&["stored t 0 7 99 i:0", "stored t 0 0 100 i:1", "stored t 0 -1 -1 i:2"]);
        assert_eq!(check(&journal, "t", 100, Order::OfAll, &contents(&["i:1", "i:2"])), Ok(2));
        let lost = check(&journal, "t", 99, Order::OfAll, &contents(&["i:1", "i:2"])).expect_err("a fault");
        assert!(lost.contains("lost: i:0"), "{lost}");
    }

    #[test]
    fn damaged_values_and_lines_are_faults() {
        let mut damaged = contents(&["i:0"]);
        damaged.get_mut(&0).expect("partition 0").get_mut(&0).expect("offset 0")[500] = b'x';
        assert_eq!(fault(&journal(&[]), &damaged), "damaged or from nobody: the record at (0, 0)");
        assert!(fault(&journal(&["stored t zero"]), &contents(&[])).starts_with("not understood"));
    }
}
