//! Standard input and files as records: where one ends and the next begins, and what each says.
//!
//! Never holds more than what one read brings and the record that is not yet whole.

use std::io::{self, Read};

use clap::ValueEnum;
use millrace_client::{Header, Record};
use serde_json::Value;

use super::lines::{Line, LineError, LineFormat};
use crate::record_json::{FileRecord, from_object};

/// Read at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// What stands between two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum InputForm {
    /// A record a line
    #[default]
    Lines,
    /// A NUL byte after each record, which may have newlines (`find -print0`)
    Nul,
    /// Before each record its length in bytes: four bytes, the most significant first
    Length,
    /// A JSON object a line, as `millrace consume --format json` prints them
    Json,
}

impl InputForm {
    /// Up to where `bytes` are whole records, of which the first `seen` were looked at before.
    fn whole(self, bytes: &[u8], seen: usize) -> usize {
        let last = |delimiter: u8| {
            let found = bytes[seen..].iter().rposition(|byte| *byte == delimiter);
            found.map_or(0, |at| seen + at + 1)
        };
        match self {
            Self::Lines | Self::Json => last(b'\n'),
            Self::Nul => last(0),
            Self::Length => {
                let mut end = 0;
                while let Some(record) = length_delimited(&bytes[end..]) {
                    end += 4 + record.len();
                }
                end
            }
        }
    }

    /// The records in a piece of whole ones; at the end of the input the last may lack its delimiter.
    pub fn split(self, piece: &[u8]) -> Vec<&[u8]> {
        let delimited = |delimiter: u8| {
            let text = piece.strip_suffix(&[delimiter]).unwrap_or(piece);
            text.split(move |byte| *byte == delimiter).collect()
        };
        match self {
            Self::Lines | Self::Json => delimited(b'\n'),
            Self::Nul => delimited(0),
            Self::Length => {
                let (mut records, mut rest) = (Vec::new(), piece);
                while let Some(record) = length_delimited(rest) {
                    records.push(record);
                    rest = &rest[4 + record.len()..];
                }
                records
            }
        }
    }
}

/// The first of records that have their length before them, if it is all there.
fn length_delimited(bytes: &[u8]) -> Option<&[u8]> {
    let (prefix, rest) = bytes.split_first_chunk()?;
    rest.get(..usize::try_from(u32::from_be_bytes(*prefix)).ok()?)
}

/// What one record of the input says.
#[derive(Debug)]
pub enum Parsed<'a> {
    Line(Line<'a>),
    Json(FileRecord),
}

/// A record of the input that is none.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("{0}")]
    Json(String),
}

impl<'a> Parsed<'a> {
    pub fn read(form: InputForm, format: &'a LineFormat, record: &'a [u8]) -> Result<Self, RecordError> {
        if form != InputForm::Json {
            return Ok(Self::Line(format.parse(record)?));
        }
        let object = match serde_json::from_slice(record) {
            Ok(Value::Object(object)) => object,
            Ok(other) => {
                return Err(RecordError::Json(format!("{other} is no object: expected {{\"value\": …}}")));
            }
            Err(error) => return Err(RecordError::Json(format!("it is no JSON: {error}"))),
        };
        from_object(object).map(Self::Json).map_err(RecordError::Json)
    }

    /// The headers, those of the command line first.
    pub fn headers<'b>(&'b self, format: &'b LineFormat) -> Vec<Header<'b>> {
        match self {
            Self::Line(line) => line.headers.clone(),
            Self::Json(record) => {
                let own =
                    record.headers.iter().map(|(name, value)| Header { key: name, value: value.as_deref() });
                format.fixed_headers().into_iter().chain(own).collect()
            }
        }
    }

    pub fn record<'b>(&'b self, headers: &'b [Header<'b>], partition: Option<i32>) -> Record<'b> {
        let (key, value, timestamp) = match self {
            Self::Line(line) => (line.key, line.value, None),
            Self::Json(record) => (record.key.as_deref(), record.value.as_deref(), record.timestamp_ms),
        };
        Record { key, value, headers, timestamp, partition }
    }
}

/// The next whole records, as many as one read brings; what follows them waits in `unfinished`. At the end of the
/// input what is left is a record, too, unless it says itself that it is longer.
pub fn read_records(
    form: InputForm,
    input: &mut impl Read,
    unfinished: &mut Vec<u8>,
    record_bytes_max: usize,
) -> io::Result<Option<Vec<u8>>> {
    let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
    loop {
        let before = unfinished.len();
        unfinished.resize(before + PIECE_BYTES, 0);
        let read = loop {
            match input.read(&mut unfinished[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        unfinished.truncate(before + *read.as_ref().unwrap_or(&0));
        if read? == 0 {
            if form == InputForm::Length && !unfinished.is_empty() {
                let have = unfinished.len();
                return Err(invalid(format!("the input ends within a record: {have} bytes are left over")));
            }
            return Ok((!unfinished.is_empty()).then(|| std::mem::take(unfinished)));
        }
        let whole = form.whole(unfinished, before);
        if whole > 0 {
            let rest = unfinished.split_off(whole);
            return Ok(Some(std::mem::replace(unfinished, rest)));
        }
        if unfinished.len() > record_bytes_max {
            return Err(invalid(format!(
                "a record is longer than {record_bytes_max} bytes; --max-bytes raises the limit"
            )));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in reads of the lengths that are asked for.
    struct Reads(Vec<&'static [u8]>);

    impl Read for Reads {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = (!self.0.is_empty()).then(|| self.0.remove(0)) else { return Ok(0) };
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    fn pieces(form: InputForm, reads: &[&'static [u8]]) -> io::Result<Vec<Vec<u8>>> {
        let mut input = Reads(reads.to_vec());
        let mut unfinished = Vec::new();
        let mut pieces = Vec::new();
        while let Some(piece) = read_records(form, &mut input, &mut unfinished, 100)? {
            pieces.push(piece);
        }
        Ok(pieces)
    }

    fn records(form: InputForm, reads: &[&'static [u8]]) -> Vec<Vec<u8>> {
        let pieces = pieces(form, reads).unwrap();
        pieces.iter().flat_map(|piece| form.split(piece)).map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn a_piece_is_whole_lines() {
        let lines = |reads: &[&'static [u8]]| pieces(InputForm::Lines, reads).unwrap();
        assert_eq!(lines(&[b"a\nb\nc"]), [b"a\nb\n".to_vec(), b"c".to_vec()]);
        assert_eq!(lines(&[b"a", b"b\nc", b"d\n"]), [b"ab\n".to_vec(), b"cd\n".to_vec()]);
        assert_eq!(lines(&[b"\n", b"a"]), [b"\n".to_vec(), b"a".to_vec()]);
        assert!(lines(&[]).is_empty());
    }

    #[test]
    fn records_may_hold_newlines_where_something_else_delimits_them() {
        assert_eq!(records(InputForm::Nul, &[b"a\nb\0c", b"\n\0\0d"]), [&b"a\nb"[..], b"c\n", b"", b"d"]);
        let delimited: [&[u8]; 3] = [&[0, 0, 0, 2, b'a', b'\n', 0, 0], &[0, 0, 0, 0, 0, 1], b"b"];
        assert_eq!(records(InputForm::Length, &delimited), [&b"a\n"[..], b"", b"b"]);
        let error = pieces(InputForm::Length, &[&[0, 0, 0, 9, b'a']]).unwrap_err().to_string();
        assert_eq!(error, "the input ends within a record: 5 bytes are left over");
    }

    #[test]
    fn a_record_without_end_is_refused() {
        for form in [InputForm::Lines, InputForm::Nul, InputForm::Length] {
            let error = read_records(form, &mut io::repeat(b'x'), &mut Vec::new(), 100).unwrap_err();
            assert_eq!(error.to_string(), "a record is longer than 100 bytes; --max-bytes raises the limit");
        }
    }

    #[test]
    fn json_says_key_value_headers_and_time() {
        let mut format = LineFormat::default();
        format.headers.0.push(("source".to_owned(), "cli".to_owned()));
        let text = br#"{"partition":7,"offset":3,"key":"k","value_base64":"/wE=","timestamp":5,"headers":[{"name":"h","value":null}]}"#;
        let parsed = Parsed::read(InputForm::Json, &format, text).unwrap();
        let headers = parsed.headers(&format);
        assert_eq!(headers, [Header::new("source", b"cli"), Header { key: "h", value: None }]);
        let record = parsed.record(&headers, None);
        assert_eq!((record.key, record.value), (Some(&b"k"[..]), Some(&[0xff, 1][..])));
        assert_eq!((record.timestamp, record.partition), (Some(5), None), "its old place counts for nothing");
        for bad in ["[1]", "{", r#"{"value":"v","colour":1}"#] {
            assert!(Parsed::read(InputForm::Json, &format, bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
