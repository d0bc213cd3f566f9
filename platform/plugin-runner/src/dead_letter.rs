//! Records that a plugin fails on, as they stand in a dead-letter topic: key, value, timestamp and headers as
//! they were, and further headers that say what happened and where the record came from.

use millrace_protocol::batch::{BatchBuilder, Header, Record};

/// Begins the name of every header that is added.
const PREFIX: &str = "millrace.dead-letter.";
const DEPLOYMENT: &str = "millrace.dead-letter.deployment";
const VERSION: &str = "millrace.dead-letter.version";
const MODULE: &str = "millrace.dead-letter.module";
const ERROR: &str = "millrace.dead-letter.error";
const BACKTRACE: &str = "millrace.dead-letter.backtrace";
const TOPIC: &str = "millrace.dead-letter.topic";
const PARTITION: &str = "millrace.dead-letter.partition";
const OFFSET: &str = "millrace.dead-letter.offset";

/// Longest text of an error or a backtrace in a header.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reason<'a> {
    pub deployment: &'a str,
    pub version: u32,
    pub module: &'a str,
    pub error: &'a str,
    pub backtrace: Option<&'a str>,
}

/// Where the record was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// Appends `record` with its reason. A record that comes out of a dead-letter topic keeps its first origin.
pub(crate) fn append(builder: &mut BatchBuilder, record: &Record<'_>, reason: &Reason<'_>, read_at: &Origin) {
    let first = origin_of(record);
    let origin = first.as_ref().unwrap_or(read_at);
    let (version, partition, offset) =
        (reason.version.to_string(), origin.partition.to_string(), origin.offset.to_string());
    let mut headers: Vec<Header<'_>> = own_headers(record).collect();
    let added = [
        (DEPLOYMENT, Some(reason.deployment)),
        (VERSION, Some(&*version)),
        (MODULE, Some(reason.module)),
        (ERROR, Some(reason.error)),
        (BACKTRACE, reason.backtrace),
        (TOPIC, Some(&*origin.topic)),
        (PARTITION, Some(&*partition)),
        (OFFSET, Some(&*offset)),
    ];
    for (name, text) in added {
        headers.extend(text.map(|text| Header::new(name, Some(cut(text).as_bytes()))));
    }
    builder.append(record.timestamp_ms, record.key, record.value, &headers);
}

/// Appends the record as it was before it failed, if it is one of `deployment`'s.
pub(crate) fn restore(builder: &mut BatchBuilder, record: &Record<'_>, deployment: &str) -> bool {
    if header(record, DEPLOYMENT) != Some(deployment.as_bytes()) {
        return false;
    }
    let headers: Vec<Header<'_>> = own_headers(record).collect();
    builder.append(record.timestamp_ms, record.key, record.value, &headers);
    true
}

/// Where a record of a dead-letter topic came from; `None` for any other.
pub(crate) fn origin_of(record: &Record<'_>) -> Option<Origin> {
    let text = |name| str::from_utf8(header(record, name)?).ok();
    Some(Origin {
        topic: text(TOPIC)?.to_owned(),
        partition: text(PARTITION)?.parse().ok()?,
        offset: text(OFFSET)?.parse().ok()?,
    })
}

fn header<'a>(record: &Record<'a>, name: &str) -> Option<&'a [u8]> {
    record.headers.iter().find(|header| header.key == name.as_bytes())?.value
}

/// The headers that the record had by itself.
fn own_headers<'a>(record: &Record<'a>) -> impl Iterator<Item = Header<'a>> + use<'a> {
    record.headers.iter().filter(|header| !header.key.starts_with(PREFIX.as_bytes()))
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::finish;

    #[test]
    fn a_dead_letter_says_what_happened_and_becomes_the_record_again() {
        let mut builder = BatchBuilder::default();
        let own = [Header::new("trace", Some(b"t1")), Header::new("empty", None)];
        builder.append(77, Some(b"k"), Some(b"v"), &own);
        let original = finish(builder).unwrap();
        let records = original.records(1000).unwrap();
        let record = records.iter().next().unwrap().unwrap();

        let reason = Reason {
            deployment: "orders",
            version: 3,
            module: "abc",
            error: &"é".repeat(TEXT_BYTES_MAX),
            backtrace: Some("0: f"),
        };
        let read_at = Origin { topic: "in".into(), partition: 2, offset: 41 };
        let mut builder = BatchBuilder::default();
        append(&mut builder, &record, &reason, &read_at);
        let dead = finish(builder).unwrap();
        let dead = dead.records(1 << 20).unwrap();
        let dead = dead.iter().next().unwrap().unwrap();
        assert_eq!(header(&dead, VERSION), Some(&b"3"[..]));
        assert_eq!(header(&dead, ERROR).unwrap().len(), TEXT_BYTES_MAX);
        assert_eq!(origin_of(&dead), Some(read_at.clone()));

        // Failing once more keeps the first origin and the newer reason.
        let mut builder = BatchBuilder::default();
        let again = Reason { version: 4, error: "again", ..reason };
        append(&mut builder, &dead, &again, &Origin { topic: "dead".into(), partition: 0, offset: 0 });
        let twice = finish(builder).unwrap();
        let twice = twice.records(1 << 20).unwrap();
        let twice = twice.iter().next().unwrap().unwrap();
        assert_eq!(origin_of(&twice), Some(read_at));
        assert_eq!(header(&twice, ERROR), Some(&b"again"[..]));
        assert_eq!(twice.headers.len(), 10);

        let mut builder = BatchBuilder::default();
        assert!(!restore(&mut builder, &twice, "others"));
        assert!(restore(&mut builder, &twice, "orders"));
        assert_eq!(finish(builder).unwrap().bytes, original.bytes);
    }
}
