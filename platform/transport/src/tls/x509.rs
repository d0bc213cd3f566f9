//! The two things we read out of a certificate ourselves: its subject and its last day.
//!
//! A walk over DER (X.690) along RFC 5280's `TBSCertificate`, only ever on certificates that rustls has
//! parsed or verified. Anything unexpected is `None`.

use std::fmt::Write as _;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0] EXPLICIT`, the certificate's version.
const VERSION: u8 = 0xa0;

/// Attribute types with a short name in RFC 4514, as the bytes of their object identifiers.
const SHORT_NAMES: [(&[u8], &str); 9] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19], "DC"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01], "UID"),
];

/// What [`read`] finds.
pub(super) struct Facts {
    /// Seconds since the Unix epoch.
    pub(super) not_after: i64,
    /// As RFC 4514 writes it: the most specific part first.
    pub(super) subject: String,
}

/// Reads a certificate's facts.
pub(super) fn read(certificate: &[u8]) -> Option<Facts> {
    let mut outer = Der(certificate).expect(SEQUENCE)?;
    let mut tbs = outer.expect(SEQUENCE)?;
    if tbs.0.first() == Some(&VERSION) {
        tbs.next()?;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        tbs.next()?;
    }
    let mut validity = tbs.expect(SEQUENCE)?;
    validity.next()?;
    let (tag, not_after) = validity.next()?;
    let not_after = seconds(tag, not_after)?;
    let mut subject = tbs.expect(SEQUENCE)?;
    let mut names = Vec::new();
    while !subject.0.is_empty() {
        let mut set = subject.expect(SET)?;
        let mut parts = Vec::new();
        while !set.0.is_empty() {
            let mut attribute = set.expect(SEQUENCE)?;
            let oid = attribute.expect(OBJECT_IDENTIFIER)?.0;
            let (_, value) = attribute.next()?;
            parts.push(attribute_text(oid, value)?);
        }
        names.push(parts.join("+"));
    }
    names.reverse();
    Some(Facts { not_after, subject: names.join(",") })
}

struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element's tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut len = usize::from(first);
        if first & 0x80 != 0 {
            let digits = usize::from(first & 0x7f);
            if !(1..=4).contains(&digits) {
                return None;
            }
            let (bytes, behind) = rest.split_at_checked(digits)?;
            len = bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
            rest = behind;
        }
        let (content, behind) = rest.split_at_checked(len)?;
        self.0 = behind;
        Some((tag, content))
    }

    fn expect(&mut self, tag: u8) -> Option<Self> {
        let (found, content) = self.next()?;
        (found == tag).then_some(Self(content))
    }
}

fn seconds(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = match tag {
        // Two digits of the year: 50 to 99 are the last century's (RFC 5280, 4.1.2.5.1).
        UTC_TIME if text.get(..2)? >= "50" => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u8>().ok();
    let month = time::Month::try_from(number(4, 6)?).ok()?;
    let date = time::Date::from_calendar_date(text.get(..4)?.parse().ok()?, month, number(6, 8)?).ok()?;
    let time = time::Time::from_hms(number(8, 10)?, number(10, 12)?, number(12, 14)?).ok()?;
    Some(date.with_time(time).assume_utc().unix_timestamp())
}

/// `CN=name`, with RFC 4514's escapes; a type without a short name as `OID=#hex`.
fn attribute_text(oid: &[u8], value: &[u8]) -> Option<String> {
    let Some((_, name)) = SHORT_NAMES.iter().find(|(known, _)| *known == oid) else {
        let mut text = String::from("OID.");
        for byte in oid {
            write!(text, "{byte:02x}").ok()?;
        }
        text.push_str("=#");
        for byte in value {
            write!(text, "{byte:02x}").ok()?;
        }
        return Some(text);
    };
    let value = std::str::from_utf8(value).ok()?;
    let mut text = format!("{name}=");
    for (position, character) in value.chars().enumerate() {
        let edge = position == 0 && matches!(character, ' ' | '#')
            || position + 1 == value.chars().count() && character == ' ';
        if edge || matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    #[test]
    fn the_subject_and_the_last_day_are_read() {
        for year in [2049, 2051] {
            let mut params = CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::OrganizationName, "Example, Inc.");
            params.distinguished_name.push(DnType::CommonName, "orders");
            params.not_after = date_time_ymd(year, 2, 3);
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            let facts = read(certificate.der()).unwrap();
            assert_eq!(facts.subject, "CN=orders,O=Example\\, Inc.");
            assert_eq!(facts.not_after, date_time_ymd(year, 2, 3).unix_timestamp());
        }
    }

    #[test]
    fn a_cut_certificate_is_no_certificate() {
        let certificate = CertificateParams::default().self_signed(&KeyPair::generate().unwrap()).unwrap();
        let der = certificate.der();
        for len in 0..der.len() {
            assert!(read(&der[..len]).is_none());
        }
    }
}
