//! Durations and points in time as arguments.

use std::time::Duration;

use ::time::OffsetDateTime;
use ::time::format_description::well_known::Rfc3339;
use millrace_config::units;

/// Reads `250ms`, `10s`, `5m`; a bare number is milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    units::parse_duration_ms(text)
        .map(|millis| Duration::from_millis(millis.unsigned_abs()))
        .ok_or_else(|| "expected a duration such as 250ms, 10s or 5m".to_owned())
}

/// Reads milliseconds since the Unix epoch, or an RFC 3339 time.
pub fn parse_timestamp_ms(text: &str) -> Result<i64, String> {
    if let Ok(millis) = text.parse::<i64>() {
        return if millis >= 0 { Ok(millis) } else { Err("a time before 1970 holds no records".to_owned()) };
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
        "expected milliseconds since 1970 or an RFC 3339 time such as 2025-01-31T12:00:00Z".to_owned()
    })?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_milliseconds_or_rfc_3339() {
        for (text, millis) in [
            ("0", 0),
            ("1700000000123", 1_700_000_000_123),
            ("1970-01-01T00:00:01Z", 1_000),
            ("2025-01-31T12:00:00.250+01:00", 1_738_321_200_250),
        ] {
            assert_eq!(parse_timestamp_ms(text), Ok(millis), "{text}");
        }
        for text in ["", "-1", "yesterday", "2025-01-31"] {
            assert!(parse_timestamp_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("250"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        assert!(parse_duration("soon").is_err());
    }
}
