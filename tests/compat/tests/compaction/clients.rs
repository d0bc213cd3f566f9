//! A compacted topic as librdkafka and Kafka's own consumer read it: of each key the last value, once, also after the
//! broker was killed while it compacted.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_compat_tests::{CODECS, java};
use millrace_test_harness::{Broker, Program, eventually};

const KEYS: usize = 40;
/// A round fills a segment of the smallest size by a third, compressed a sixth.
const VALUE_BYTES: usize = 8_000;
/// Compaction of what is there takes well under a second.
const LIMIT: Duration = Duration::from_secs(60);

type State = BTreeMap<String, String>;

fn kcat(broker: &Broker, arguments: &[&str]) -> Program {
    Program::new("kcat").arguments(["-q", "-b", &broker.bootstrap()]).arguments(arguments)
}

/// Text that no codec makes much smaller than half.
fn value(round: usize, key: usize) -> String {
    let mut mixed = (round * KEYS + key) as u64 + 1;
    let digits = std::iter::repeat_with(|| {
        mixed ^= mixed << 13;
        mixed ^= mixed >> 7;
        mixed ^= mixed << 17;
        format!("{mixed:016x}")
    });
    format!("round {round} {}", digits.take(VALUE_BYTES / 16).collect::<String>())
}

/// Sends a value for each key, and for some of them a tombstone after it; what the topic says then.
fn send(broker: &Broker, state: &mut State, round: usize) {
    let mut lines = String::new();
    for key in 0..KEYS {
        let (name, value) = (format!("key-{key:02}"), value(round, key));
        lines.push_str(&format!("{name}:{value}\n"));
        state.insert(name, value);
    }
    let deleted = format!("key-{:02}", round % KEYS);
    lines.push_str(&format!("{deleted}:\n"));
    state.remove(&deleted);
    let codec = CODECS[round % CODECS.len()];
    kcat(broker, &["-P", "-t", "state", "-p", "0", "-K", ":", "-Z", "-z", codec])
        .arguments(["-X", "enable.idempotence=true"])
        .input(lines)
        .succeed()
        .unwrap();
}

/// Has the segments end that hold what was sent: what is in the last one is not compacted.
fn fill(broker: &Broker) {
    let lines: String = (0..3 * 1024 * 1024 / VALUE_BYTES)
        .map(|number| format!("filler:{}\n", value(number, KEYS)))
        .collect();
    kcat(broker, &["-P", "-t", "state", "-p", "0", "-K", ":"]).input(lines).succeed().unwrap();
}

/// Every record of the keys, as `key value` a line, a tombstone without a value.
fn records(output: &str) -> Vec<(String, String)> {
    let lines = output.lines().filter(|line| line.starts_with("key-"));
    lines.map(|line| line.split_once(' ').unwrap()).map(|(key, value)| (key.into(), value.into())).collect()
}

fn read(broker: &Broker) -> (usize, Vec<(String, String)>) {
    let format = "%k %s\n";
    let output =
        kcat(broker, &["-C", "-t", "state", "-o", "beginning", "-e", "-f", format]).succeed().unwrap();
    (output.lines().count(), records(&output))
}

fn state_of(records: &[(String, String)]) -> State {
    let mut state = State::new();
    for (key, value) in records {
        match value.as_str() {
            "" => state.remove(key),
            _ => state.insert(key.clone(), value.clone()),
        };
    }
    state
}

/// Waits until each key is there once.
fn compacted(broker: &Broker, expected: &State) -> usize {
    eventually("each key once", LIMIT, || {
        let (all, records) = read(broker);
        assert_eq!(state_of(&records), *expected, "whatever is compacted, the last value counts");
        (records.len() == KEYS).then_some(all)
    })
}

#[test]
fn of_each_key_the_last_value_is_left_also_where_the_broker_is_killed() {
    let mut broker = Broker::builder().setting("log", "cleaner_backoff = \"20ms\"").start().unwrap();
    let create = broker.cli(&["topic", "create", "state", "--partitions", "1"]);
    let mut create = Program::from(create);
    for setting in ["cleanup.policy=compact", "segment.bytes=1048576", "min.cleanable.dirty.ratio=0.01"] {
        create = create.arguments(["--config", setting]);
    }
    create.succeed().unwrap();
    let mut state = State::new();
    for round in 0..15 {
        send(&broker, &mut state, round);
    }
    fill(&broker);
    let all = compacted(&broker, &state);
    let output = Program::from(java("org.apache.kafka.tools.consumer.ConsoleConsumer").unwrap())
        .arguments(["--bootstrap-server", &broker.bootstrap(), "--topic", "state", "--partition", "0"])
        .arguments(["--offset", "earliest", "--max-messages", &all.to_string(), "--timeout-ms", "30000"])
        .arguments(["--property", "print.key=true", "--property", "key.separator= "])
        .arguments(["--property", "null.literal="])
        .succeed()
        .unwrap();
    assert_eq!(state_of(&records(&output)), state);

    broker.kill().unwrap();
    broker.restart().unwrap();
    let (_, kept) = read(&broker);
    assert_eq!((kept.len(), state_of(&kept)), (KEYS, state.clone()));
    for round in 15..24 {
        send(&broker, &mut state, round);
        if round % 3 == 0 {
            broker.kill().unwrap();
            broker.restart().unwrap();
            assert_eq!(state_of(&read(&broker).1), state, "what is acknowledged is there");
        }
    }
    fill(&broker);
    broker.kill().unwrap();
    broker.restart().unwrap();
    compacted(&broker, &state);
    let (_, metrics) = broker.http("/metrics").unwrap();
    assert!(metrics.contains("millrace_log_uncleanable_partitions 0"), "{metrics}");
}
