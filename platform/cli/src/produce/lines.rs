//! What a line of input says: headers, key and value, without copying any of it.

use millrace_client::Header;

/// Headers that every record carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

/// How lines are split.
#[derive(Clone, Debug, Default)]
pub struct LineFormat {
    pub key_separator: Option<String>,
    pub headers: Headers,
    /// `None`: lines have no headers of their own.
    pub line_headers_separator: Option<String>,
    pub null_value: Option<String>,
    pub partition: Option<i32>,
}

/// A line's parts, borrowed from it.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub headers: Vec<Header<'a>>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

/// A line that does not follow its format.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error("it has no key: there is no '{}' in it (--key-separator)", .0.escape_default())]
    NoKey(String),
    #[error("it has no headers: there is no '{}' in it (--line-headers)", .0.escape_default())]
    NoHeaders(String),
    #[error("'{0}' is not a header: expected name:value (--line-headers)")]
    BadHeader(String),
}

impl LineFormat {
    /// Reads a line, given without its newline.
    pub fn parse<'a>(&'a self, line: &'a [u8]) -> Result<Line<'a>, LineError> {
        let mut headers = self.fixed_headers();
        let mut rest = line;
        if let Some(separator) = &self.line_headers_separator {
            let (own, after) =
                split_once(rest, separator).ok_or_else(|| LineError::NoHeaders(separator.clone()))?;
            parse_line_headers(own, &mut headers)?;
            rest = after;
        }
        let mut key = None;
        if let Some(separator) = &self.key_separator {
            let (text, after) =
                split_once(rest, separator).ok_or_else(|| LineError::NoKey(separator.clone()))?;
            key = self.unless_null(text);
            rest = after;
        }
        Ok(Line { headers, key, value: self.unless_null(rest) })
    }

    /// The headers that every record carries.
    pub fn fixed_headers(&self) -> Vec<Header<'_>> {
        self.headers.0.iter().map(|(name, value)| Header::new(name, value.as_bytes())).collect()
    }

    fn unless_null<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let null = self.null_value.as_ref().is_some_and(|null| null.as_bytes() == text);
        (!null).then_some(text)
    }
}

fn split_once<'a>(text: &'a [u8], separator: &str) -> Option<(&'a [u8], &'a [u8])> {
    let separator = separator.as_bytes();
    let at = text.windows(separator.len()).position(|window| window == separator)?;
    Some((&text[..at], &text[at + separator.len()..]))
}

/// `name:value,name:value` as Kafka's console producer has it; nothing at all is no header.
fn parse_line_headers<'a>(text: &'a [u8], headers: &mut Vec<Header<'a>>) -> Result<(), LineError> {
    for header in text.split(|byte| *byte == b',').filter(|header| !header.is_empty()) {
        let bad = || LineError::BadHeader(String::from_utf8_lossy(header).into_owned());
        let (name, value) = split_once(header, ":").ok_or_else(bad)?;
        headers.push(Header::new(std::str::from_utf8(name).map_err(|_| bad())?, value));
    }
    Ok(())
}

/// `name=value,name=value`, from the command line.
pub fn parse_headers(text: &str) -> Result<Headers, String> {
    let pairs = text.split(',').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| match pair.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("'{pair}' is not a header: expected NAME=VALUE")),
    });
    pairs.collect::<Result<Vec<_>, _>>().map(Headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(key: &str, headers: bool) -> LineFormat {
        LineFormat {
            key_separator: (!key.is_empty()).then(|| key.to_owned()),
            line_headers_separator: headers.then(|| "\t".to_owned()),
            null_value: Some("NULL".to_owned()),
            ..LineFormat::default()
        }
    }

    #[test]
    fn a_line_is_split_into_key_and_value() {
        for (separator, line, key, value) in [
            ("", "a:b", None, Some("a:b")),
            (":", "a:b:c", Some("a"), Some("b:c")),
            ("=>", "a=>", Some("a"), Some("")),
            (":", "a:NULL", Some("a"), None),
            (":", "NULL:b", None, Some("b")),
        ] {
            let format = format(separator, false);
            let parsed = format.parse(line.as_bytes()).unwrap();
            assert_eq!(
                (parsed.key, parsed.value),
                (key.map(str::as_bytes), value.map(str::as_bytes)),
                "{line}"
            );
        }
    }

    #[test]
    fn headers_come_from_the_command_line_and_from_the_line() {
        let mut format = format(":", true);
        format.headers = parse_headers("source=cli,empty=").unwrap();
        let line = format.parse(b"trace:7,b:x:y\tk:v").unwrap();
        let headers = [
            Header::new("source", b"cli"),
            Header::new("empty", b""),
            Header::new("trace", b"7"),
            Header::new("b", b"x:y"),
        ];
        assert_eq!(line, Line { headers: headers.to_vec(), key: Some(b"k"), value: Some(b"v") });
        assert_eq!(format.parse(b"\tk:v").unwrap().headers.len(), 2);
    }

    #[test]
    fn a_line_that_does_not_follow_its_format_is_refused() {
        assert_eq!(format(":", false).parse(b"ab").unwrap_err(), LineError::NoKey(":".to_owned()));
        assert_eq!(format("", true).parse(b"ab").unwrap_err(), LineError::NoHeaders("\t".to_owned()));
        assert_eq!(format("", true).parse(b"ab\tc").unwrap_err(), LineError::BadHeader("ab".to_owned()));
        assert!(parse_headers("a=b,c").is_err());
    }
}
