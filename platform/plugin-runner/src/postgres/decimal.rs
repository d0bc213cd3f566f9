//! Numbers as JSON writes them, compared by what they mean.

/// A number: `digits` times ten to the `exponent`. Of all ways to write a number there is one such form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Decimal {
    is_negative: bool,
    /// Without zeros at either end; none for zero.
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// `None` for what JSON does not take for a number, and where the exponent is beyond all reason.
    pub fn parse(text: &str) -> Option<Self> {
        let (is_negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return None,
            None => (mantissa, ""),
        };
        let is_whole = !whole.is_empty() && (whole == "0" || !whole.starts_with('0'));
        let all = format!("{whole}{fraction}");
        if !is_whole || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let significant = all.trim_end_matches('0');
        let dropped = i64::try_from(all.len() - significant.len()).ok()?;
        let digits = significant.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self { is_negative: false, digits, exponent: 0 });
        }
        let exponent = exponent.checked_add(dropped)?.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        Some(Self { is_negative, digits, exponent })
    }

    /// The number as an int, if it is one.
    pub fn to_int(&self) -> Option<i64> {
        if self.digits.is_empty() {
            return Some(0);
        }
        let magnitude: i128 = self.digits.parse().ok()?;
        let scale = 10_i128.checked_pow(u32::try_from(self.exponent).ok()?)?;
        let magnitude = magnitude.checked_mul(scale)?;
        i64::try_from(if self.is_negative { -magnitude } else { magnitude }).ok()
    }
}

fn read_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_form() {
        let same = |texts: &[&str]| {
            let first = Decimal::parse(texts[0]).unwrap();
            for text in texts {
                assert_eq!(Decimal::parse(text).as_ref(), Some(&first), "{text}");
            }
            first.to_int()
        };
        assert_eq!(same(&["100", "100.0", "1e2", "10.00E+1", "1000e-1"]), Some(100));
        assert_eq!(same(&["0", "-0", "0.000", "0e99"]), Some(0));
        assert_eq!(same(&["-1.5", "-15e-1", "-1.50"]), None);
        assert_eq!(same(&["-9223372036854775808"]), Some(i64::MIN));
        assert_eq!(same(&["9223372036854775808"]), None);
        assert_ne!(Decimal::parse("1"), Decimal::parse("-1"));
        assert_ne!(Decimal::parse("1"), Decimal::parse("10"));
        assert_eq!(Decimal::parse("1e999999999").unwrap().to_int(), None);
    }

    #[test]
    fn what_is_no_number_of_json_is_none() {
        for text in [
            "",
            "-",
            "--1",
            "01",
            "1.",
            ".1",
            "1.e1",
            "1e",
            "1e+",
            "+1",
            "1_0",
            "NaN",
            "1e99999999999999999999",
        ] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }
}
