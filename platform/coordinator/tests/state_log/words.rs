//! A machine for tests: words and what they mean.

use std::collections::BTreeMap;
use std::ops::Bound;

use millrace_coordinator::{Machine, StateRecord};
use millrace_protocol::batch::{Batch, BatchBuilder, ProducerState};
use millrace_protocol::compression::Codec;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub BTreeMap<String, String>);

/// Keys are `w:` and a word, values `v:` and a text; whatever else there is another version knows.
pub fn record(word: &str, text: Option<&str>) -> StateRecord {
    StateRecord {
        key: format!("w:{word}").into_bytes(),
        value: text.map(|text| format!("v:{text}").into_bytes()),
    }
}

impl Machine for Words {
    type Change = (String, Option<String>);
    type Cursor = String;

    fn decode(key: &[u8], value: Option<&[u8]>) -> Option<Self::Change> {
        let word = str::from_utf8(key).ok()?.strip_prefix("w:")?;
        let text = match value {
            Some(value) => Some(str::from_utf8(value).ok()?.strip_prefix("v:")?.to_owned()),
            None => None,
        };
        Some((word.to_owned(), text))
    }

    fn apply(&mut self, (word, text): &Self::Change) {
        match text {
            Some(text) => self.0.insert(word.clone(), text.clone()),
            None => self.0.remove(word),
        };
    }

    fn next_record(&self, after: Option<&String>) -> Option<(String, StateRecord)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (word, text) = self.0.range::<String, _>((from, Bound::Unbounded)).next()?;
        Some((word.clone(), record(word, Some(text))))
    }
}

/// A batch of records with these keys and values.
pub fn batch(records: &[(&str, Option<&str>)]) -> Batch {
    batch_with(records, Codec::None)
}

pub fn batch_with(records: &[(&str, Option<&str>)], codec: Codec) -> Batch {
    let mut builder = BatchBuilder::default();
    for (key, value) in records {
        builder.append(5, Some(key.as_bytes()), value.map(str::as_bytes), &[]);
    }
    Batch::parse(builder.finish(codec, ProducerState::NONE).unwrap()).unwrap()
}
