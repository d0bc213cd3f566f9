//! Values in words: times, durations, records' bytes.

use std::borrow::Cow;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::record_json::to_base64;

/// RFC 3339 in UTC, to the millisecond; a time beyond the calendar as its number.
pub fn timestamp(millis: i64) -> String {
    let Ok(time) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000) else {
        return format!("{millis} ms");
    };
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, millis) = time.to_hms_milli();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z", u8::from(month))
}

/// A setting's duration, with its unit also where it is milliseconds.
pub fn duration(millis: u64) -> String {
    let text = millrace_config::units::duration_text(i64::try_from(millis).unwrap_or(i64::MAX));
    if text.ends_with(|last: char| last.is_ascii_digit()) { format!("{text}ms") } else { text }
}

/// Text as it is, other bytes in hexadecimal, and `none` for no bytes at all.
pub fn bytes<'a>(bytes: Option<&'a [u8]>, none: &'static str) -> Cow<'a, str> {
    match bytes.map(std::str::from_utf8) {
        None => none.into(),
        Some(Ok(text)) => text.into(),
        Some(Err(_)) => format!("0x{}", hex(bytes.unwrap_or_default())).into(),
    }
}

/// Sets `name` to a text, or `<name>_base64` where the bytes are none, as `millrace consume` writes records.
pub fn set_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(std::str::from_utf8) {
        None => object.insert(name.to_owned(), Value::Null),
        Some(Ok(text)) => object.insert(name.to_owned(), json!(text)),
        Some(Err(_)) => object.insert(format!("{name}_base64"), json!(to_base64(bytes.unwrap_or_default()))),
    };
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A text of several lines, moved to the right.
pub fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}\n", "")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_have_their_usual_forms() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(1_738_321_200_250), "2025-01-31T11:00:00.250Z");
        assert_eq!(timestamp(i64::MAX), format!("{} ms", i64::MAX));
        assert_eq!((duration(250), duration(30_000)), ("250ms".to_owned(), "30s".to_owned()));
    }

    #[test]
    fn bytes_that_are_no_text_are_encoded() {
        assert_eq!(bytes(Some(b"a"), "-"), "a");
        assert_eq!(bytes(Some(&[0xff, 1]), "-"), "0xff01");
        assert_eq!(bytes(None, "-"), "-");
        let mut object = Map::new();
        set_bytes(&mut object, "key", None);
        set_bytes(&mut object, "value", Some(&[0xff]));
        assert_eq!(Value::Object(object), json!({ "key": null, "value_base64": "/w==" }));
    }
}
