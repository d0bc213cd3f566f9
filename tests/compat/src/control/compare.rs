//! The same request to both brokers, and what their answers differ in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use millrace_integration_tests::raw::flat;
use millrace_protocol::crc::crc32c;
use millrace_protocol::frame::encode_request;
use millrace_protocol::{ApiKey, Decodable, Request};
use millrace_test_harness::eventually;

use super::intended::{self, Difference, INTENDED, Intended};
use super::peer::{Answer, Peer};
use super::tree::Tree;

/// How long what Kafka has changed may be told as it was before.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// What is random or names a machine: told apart only by being there.
const ARBITRARY: [&str; 7] =
    ["cluster_id", "error_message", "documentation", "log_dir", "batch_index_error_message", "host", "rack"];
/// Numbers that differ between two runs of one broker: told apart only by their sign.
const COUNTED: [&str; 8] = [
    "port",
    "producer_id",
    "session_id",
    "total_bytes",
    "usable_bytes",
    "partition_size",
    "log_append_time_ms",
    "finalized_features_epoch",
];
/// Lists whose order says something.
const ORDERED: [&str; 1] = ["synonyms"];
/// What names an element of any other list, the first of them that it has.
const KEYS: [&str; 12] = [
    "resource_name",
    "name",
    "topic_id",
    "topic",
    "partition_index",
    "index",
    "partition",
    "api_key",
    "key",
    "node_id",
    "group_id",
    "member_id",
];

/// How the id of nothing is shown.
const NO_ID: &str = "no id";

/// What two answers had in common.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// All that is compared.
    pub alike: bool,
    /// Kafka did what it was asked for.
    pub done: bool,
}

/// Both brokers, and what was found so far.
pub struct Pair {
    pub kafka: Peer,
    pub millrace: Peer,
    compared: usize,
    found: Vec<Difference>,
    met: BTreeSet<usize>,
}

impl Pair {
    pub const fn new(kafka: Peer, millrace: Peer) -> Self {
        Self { kafka, millrace, compared: 0, found: Vec::new(), met: BTreeSet::new() }
    }

    /// The versions of an API that both serve.
    pub fn versions(&self, api: ApiKey) -> std::ops::RangeInclusive<i16> {
        let kafka = self.kafka.served(api).unwrap_or_else(|| panic!("Kafka does not serve {api:?}"));
        let millrace = self.millrace.served(api).unwrap_or_else(|| panic!("Millrace does not serve {api:?}"));
        kafka.0.max(millrace.0)..=kafka.1.min(millrace.1)
    }

    /// Sends what `request` makes for each of the brokers in every version that both serve and that can carry
    /// it, and compares the answers.
    pub fn compare_all<R>(&mut self, what: &str, request: impl Fn(&Peer, i16) -> R)
    where
        R: Request,
        R::Response: Decodable + fmt::Debug,
    {
        for version in self.versions(ApiKey::try_from(R::KEY).expect("a known API")) {
            self.compare(what, version, &request);
        }
    }

    /// The same of what Kafka makes known some time after it has said so: asked again while its answer is another.
    /// Whether it became the same but for what is intended.
    pub fn compare_settled<R>(&mut self, what: &str, version: i16, request: impl Fn(&Peer, i16) -> R) -> bool
    where
        R: Request,
        R::Response: Decodable + fmt::Debug,
    {
        let deadline = Instant::now() + SETTLE_LIMIT;
        let found = eventually("answers that are alike, or too late", 2 * SETTLE_LIMIT, || {
            let (_, differences) = self.ask_both(what, version, &request);
            let found = self.unmeant(differences);
            (found.is_empty() || Instant::now() > deadline).then_some(found)
        });
        self.compared += 1;
        let settled = found.is_empty();
        self.found.extend(found);
        settled
    }

    /// The same in one version, unless that cannot carry the request.
    pub fn compare<R>(&mut self, what: &str, version: i16, request: impl Fn(&Peer, i16) -> R) -> Compared
    where
        R: Request,
        R::Response: Decodable + fmt::Debug,
    {
        let (compared, differences) = self.ask_both(what, version, request);
        self.compared += 1;
        let found = self.unmeant(differences);
        self.found.extend(found);
        compared
    }

    fn ask_both<R>(
        &mut self,
        what: &str,
        version: i16,
        request: impl Fn(&Peer, i16) -> R,
    ) -> (Compared, Vec<Difference>)
    where
        R: Request,
        R::Response: Decodable + fmt::Debug,
    {
        let encode = |peer: &Peer| encode_request(7, Some("control"), version, &request(peer, version)).ok();
        let (Some(to_kafka), Some(to_millrace)) = (encode(&self.kafka), encode(&self.millrace)) else {
            return (Compared { alike: true, done: false }, Vec::new());
        };
        // Both work on it at the same time.
        self.kafka.send(&flat(to_kafka));
        self.millrace.send(&flat(to_millrace));
        let kafka = self.kafka.answer::<R>(version);
        let millrace = self.millrace.answer::<R>(version);
        let api = format!("{:?}", ApiKey::try_from(R::KEY).expect("a known API"));
        let (kafka, millrace) = (fields(&self.kafka, &kafka), fields(&self.millrace, &millrace));
        let paths: BTreeSet<_> = kafka.keys().chain(millrace.keys()).collect();
        let value =
            |fields: &BTreeMap<String, String>, path| fields.get(path).cloned().unwrap_or("-".to_owned());
        let differences: Vec<Difference> = paths
            .into_iter()
            .map(|path| (path, value(&kafka, path), value(&millrace, path)))
            .filter(|(_, kafka, millrace)| kafka != millrace)
            .map(|(path, kafka, millrace)| Difference {
                api: api.clone(),
                version,
                what: what.to_owned(),
                path: path.clone(),
                kafka,
                millrace,
            })
            .collect();
        let failed = |(path, value): (&String, &String)| path.ends_with("error_code") && value != "0";
        let compared = Compared { alike: differences.is_empty(), done: !kafka.iter().any(failed) };
        (compared, differences)
    }

    /// Differences that are not intended. Of what was answered with another error nothing else is compared.
    fn unmeant(&mut self, differences: Vec<Difference>) -> Vec<Difference> {
        let errors =
            differences.iter().filter_map(|it| it.path.strip_suffix("error_code").map(str::to_owned));
        let errors: Vec<String> = errors.collect();
        let mut found = Vec::new();
        for difference in differences {
            let follows = |error: &String| {
                difference.path.strip_prefix(&**error).is_some_and(|field| field != "error_code")
            };
            if errors.iter().any(follows) {
                continue;
            }
            match INTENDED.iter().position(|rule| intended::applies(rule, &difference)) {
                Some(rule) => {
                    self.met.insert(rule);
                }
                None => found.push(difference),
            }
        }
        found
    }

    /// How many answers were compared.
    pub const fn compared(&self) -> usize {
        self.compared
    }

    /// What was found and is not intended: the same difference in many answers is told once, with one of them.
    pub fn findings(&self) -> String {
        let mut grouped: BTreeMap<String, (&Difference, usize)> = BTreeMap::new();
        for found in &self.found {
            let path = intended::without_keys(&found.path);
            let text = format!("{}: {path}: Kafka {}, Millrace {}", found.api, found.kafka, found.millrace);
            grouped.entry(text).or_insert((found, 0)).1 += 1;
        }
        let line = |(text, (first, count)): (&String, &(&Difference, usize))| {
            format!(
                "{text}\n    {count} times, as in version {}, {}: {}\n",
                first.version, first.what, first.path
            )
        };
        grouped.iter().map(line).collect()
    }

    /// Intended differences that nothing showed: none may outlive its reason.
    pub fn unmet(&self) -> Vec<&'static Intended> {
        let unmet = INTENDED.iter().enumerate().filter(|(index, _)| !self.met.contains(index));
        unmet.map(|(_, rule)| rule).collect()
    }
}

/// Every value of an answer under its path.
fn fields(peer: &Peer, answer: &Answer) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    match answer {
        Answer::Response(tree) => flatten(peer, "", "", tree, &mut fields),
        Answer::Undecodable(why) => drop(fields.insert("answer".to_owned(), format!("undecodable: {why}"))),
        Answer::None => drop(fields.insert("answer".to_owned(), "none".to_owned())),
    }
    fields
}

fn flatten(peer: &Peer, path: &str, name: &str, tree: &Tree, fields: &mut BTreeMap<String, String>) {
    match tree {
        Tree::Struct(entries) => {
            for (name, value) in entries {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(peer, &path, name, value, fields);
            }
        }
        Tree::List(items) => {
            let items = joined(items);
            fields.insert(format!("{path}[]"), items.len().to_string());
            for (index, item) in items.iter().enumerate() {
                let named = |key: &&str| {
                    item.field(key).map(|value| shown(peer, key, value)).filter(|it| it != NO_ID)
                };
                let key = if ORDERED.contains(&name) { None } else { KEYS.iter().find_map(named) };
                let mut path = format!("{path}[{}]", key.unwrap_or_else(|| index.to_string()));
                while fields.keys().any(|known| known.starts_with(&format!("{path}."))) {
                    path.push('\'');
                }
                flatten(peer, &path, name, item, fields);
            }
        }
        Tree::Atom(_) => drop(fields.insert(path.to_owned(), shown(peer, name, tree))),
    }
}

/// Topics with lists of partitions, each topic once: an answer may name one several times, as it likes.
fn joined(items: &[Tree]) -> Vec<Tree> {
    let mut joined: Vec<Tree> = Vec::new();
    for item in items {
        let is_same = |other: &&mut Tree| {
            ["topic", "topic_id", "name"].iter().all(|key| other.field(key) == item.field(key))
        };
        let same = item.field("partitions").and_then(|_| joined.iter_mut().find(is_same));
        match (same.and_then(|same| same.list("partitions")), item.field("partitions")) {
            (Some(partitions), Some(Tree::List(more))) => partitions.extend_from_slice(more),
            _ => joined.push(item.clone()),
        }
    }
    joined
}

/// A single value as it is compared.
fn shown(peer: &Peer, name: &str, value: &Tree) -> String {
    let Tree::Atom(text) = value else { return format!("{value:?}") };
    if ARBITRARY.contains(&name) {
        return if text == "None" || text == "\"\"" { text.clone() } else { "a text".to_owned() };
    }
    if COUNTED.contains(&name) {
        return match text.parse::<i64>() {
            Ok(number) if number > 0 => "positive".to_owned(),
            _ => text.clone(),
        };
    }
    if ["member_id", "leader"].contains(&name) {
        let id = text.trim_matches('"');
        let unnamed = if id.is_empty() { text.as_str() } else { "an id" };
        return peer.member_name(id).map_or_else(|| unnamed.to_owned(), |name| format!("id of {name}"));
    }
    if name == "topic_id" {
        return peer.topic_name(text).map_or_else(|| id(text), |name| format!("id of {name}"));
    }
    if name == "records"
        && let Some(bytes) = bytes_of(text)
    {
        let whole = whole_batches(&bytes);
        return format!("{} bytes, checksum {:08x}", whole.len(), crc32c(whole));
    }
    text.clone()
}

/// The bytes that are shown as `b"…"`.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let mut characters = text.strip_prefix("b\"")?.bytes();
    let mut bytes = Vec::new();
    loop {
        match characters.next()? {
            b'"' => return Some(bytes),
            b'\\' => bytes.push(match characters.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'0' => 0,
                b'x' => {
                    let digit = |character: u8| char::from(character).to_digit(16);
                    (digit(characters.next()?)? * 16 + digit(characters.next()?)?) as u8
                }
                other => other,
            }),
            other => bytes.push(other),
        }
    }
}

/// Batches without what there is of the next: Kafka's answers may end in the middle of one, ours never do.
fn whole_batches(bytes: &[u8]) -> &[u8] {
    let mut end = 0;
    while let Some(length) = bytes.get(end + 8..end + 12) {
        let next = end + 12 + u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
        if next > bytes.len() {
            break;
        }
        end = next;
    }
    &bytes[..end]
}

fn id(text: &str) -> String {
    let nil = uuid::Uuid::nil().to_string();
    if *text == nil { NO_ID.to_owned() } else { "an id".to_owned() }
}
