//! Sizes and durations as people write them.

const SIZES: [(&str, i64); 9] = [
    ("tib", 1 << 40),
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("b", 1),
];

// `ms` stands before `s` and `m`: the first suffix that fits wins.
const DURATIONS: [(&str, i64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Bytes: `1048576`, `64MiB`, `1 GB`.
pub fn parse_size(text: &str) -> Option<i64> {
    parse(text, &SIZES)
}

/// Milliseconds: `250`, `10ms`, `7d`.
pub fn parse_duration_ms(text: &str) -> Option<i64> {
    parse(text, &DURATIONS)
}

/// The shortest exact way to write a size.
pub fn size_text(bytes: i64) -> String {
    let unit = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)]
        .into_iter()
        .find(|(_, shift)| bytes != 0 && bytes % (1 << shift) == 0);
    unit.map_or_else(|| bytes.to_string(), |(name, shift)| format!("{}{name}", bytes >> shift))
}

/// The shortest exact way to write a duration.
pub fn duration_text(millis: i64) -> String {
    let unit = DURATIONS.iter().rev().find(|(_, factor)| millis != 0 && millis % factor == 0);
    unit.map_or_else(|| millis.to_string(), |(name, factor)| format!("{}{name}", millis / factor))
}

fn parse(text: &str, units: &[(&str, i64)]) -> Option<i64> {
    let text = text.trim().to_ascii_lowercase();
    let (digits, factor) = units
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?.trim_end(), *factor)))
        .unwrap_or((text.as_str(), 1));
    digits.parse::<i64>().ok().filter(|number| *number >= 0)?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, bytes) in [("0", 0), ("17", 17), ("64MiB", 64 << 20), ("1 GB", 1_000_000_000), ("3b", 3)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5GiB", "9999999TiB", "12 parsecs"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_read_with_and_without_units() {
        for (text, millis) in [("250", 250), ("10ms", 10), ("5 m", 300_000), ("7d", 604_800_000)] {
            assert_eq!(parse_duration_ms(text), Some(millis), "{text}");
        }
        for text in ["", "ms", "-1s", "1w"] {
            assert_eq!(parse_duration_ms(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for number in [0, 1, 1023, 1 << 10, 3 << 20, 5 << 30, 1 << 40, 1_500, 60_000, 86_400_000] {
            assert_eq!(parse_size(&size_text(number)), Some(number));
            assert_eq!(parse_duration_ms(&duration_text(number)), Some(number));
        }
        assert_eq!(size_text(256 << 20), "256MiB");
        assert_eq!(duration_text(604_800_000), "7d");
    }
}
