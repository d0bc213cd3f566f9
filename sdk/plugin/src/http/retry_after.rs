//! The header `retry-after`: seconds, or a date in the form that HTTP prescribes for all senders.

use std::time::{Duration, SystemTime};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The pause that `text` asks for at `now`; none for what cannot be read. A date that is over asks for no pause.
pub(super) fn pause(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(since_epoch(text)?))?;
    Some(at.duration_since(now).unwrap_or_default())
}

/// Seconds from the Unix epoch to a date like `Sun, 06 Nov 1994 08:49:37 GMT`.
fn since_epoch(text: &str) -> Option<u64> {
    let (_, date) = text.strip_suffix(" GMT")?.split_once(", ")?;
    let mut words = date.split(' ');
    let mut word = || words.next();
    let (day, month, year) = (word()?, word()?, word()?);
    let mut clock = word()?.split(':').map(str::parse::<u64>);
    let mut part = || clock.next()?.ok();
    let (hour, minute, second) = (part()?, part()?, part()?);
    let (day, year) = (day.parse::<u64>().ok()?, year.parse::<u64>().ok()?);
    let month = MONTHS.iter().position(|name| *name == month)? as u64;
    let is_date = (1..=31).contains(&day) && (1970..=9999).contains(&year);
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years and months counted from March, so that the leap day is a year's last.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let days_before_epoch = 719_468;
    Some((days - days_before_epoch) * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let seconds = |text| pause(text, now).map(|pause| pause.as_secs());
        assert_eq!(seconds(" 120 "), Some(120));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:47 GMT"), Some(10));
        assert_eq!(seconds("Thu, 29 Feb 1996 08:49:37 GMT"), Some(41_472_000));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:36 GMT"), Some(0), "it is over");
        for wrong in ["", "-1", "soon", "Sun, 06 Nov 1994 08:49 GMT", "Sun, 06 Foo 1994 08:49:37 GMT"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
