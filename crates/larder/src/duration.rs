//! Lengths of time as people write them: `90s`, `15m`, `2h`, `7d`, `1.5h`, `1h30m`, or plain seconds.
//!
//! Parsed exactly (in whole milliseconds, without floating point) and in one place; anything that is not a
//! length of time, zero, or beyond the caller's maximum is refused with a message that says what is allowed.

use std::time::Duration;

use larder_format::limits::TTL_MS_MAX;
use larder_format::span;

/// The unit that is written and not shown, in milliseconds.
const WEEK: (&str, u64) = ("w", 7 * 24 * 3_600_000);

/// Digits kept after the point: a thousandth of the largest unit is far above a millisecond, more digits are
/// a slip of the hand.
const FRACTION_DIGITS_MAX: usize = 9;

/// Parses a lifetime: more than nothing, at most 100 years.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn lifetime(text: &str) -> Result<Duration, String> {
    parse(text, Duration::from_millis(1), Duration::from_millis(TTL_MS_MAX))
}

/// Parses a length of time between `min` and `max`, both included.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let range = || format!("allowed: {} to {}, like 90s, 15m, 2h, 7d or 1.5h", show(min), show(max));
    let trimmed = text.trim();
    if trimmed.starts_with('-') && trimmed[1..].starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(format!("a length of time cannot be negative; {}", range()));
    }
    let ms = match millis(trimmed) {
        Ok(ms) => ms,
        Err(Slip::NotATime) => return Err(format!("not a length of time; {}", range())),
        Err(Slip::TooBig) => return Err(format!("too long; {}", range())),
    };
    let asked = Duration::from_millis(ms);
    if asked < min {
        Err(format!("too short; {}", range()))
    } else if asked > max {
        Err(format!("too long; {}", range()))
    } else {
        Ok(asked)
    }
}

/// Units that are understood, largest first.
fn units() -> impl Iterator<Item = &'static (&'static str, u64)> {
    std::iter::once(&WEEK).chain(span::UNITS)
}

enum Slip {
    NotATime,
    TooBig,
}

fn millis(text: &str) -> Result<u64, Slip> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    loop {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_len);
        let unit_len = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_len);
        let unit_ms = match unit {
            // Plain seconds stand alone: `1h30` could mean minutes to one person and seconds to another.
            "" if smallest == u64::MAX && next.is_empty() => 1_000,
            _ => units().find(|(name, _)| *name == unit).ok_or(Slip::NotATime)?.1,
        };
        if unit_ms >= smallest {
            return Err(Slip::NotATime);
        }
        smallest = unit_ms;
        total = total.checked_add(scaled(number, unit_ms)?).ok_or(Slip::TooBig)?;
        if next.is_empty() {
            return Ok(total);
        }
        rest = next;
    }
}

/// `number` (digits with at most one point) times `unit_ms`, rounded down to whole milliseconds.
fn scaled(number: &str, unit_ms: u64) -> Result<u64, Slip> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return Err(Slip::NotATime);
    }
    if fraction.len() > FRACTION_DIGITS_MAX {
        return Err(Slip::NotATime);
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| Slip::TooBig)? };
    let whole_ms = whole.checked_mul(unit_ms).ok_or(Slip::TooBig)?;
    let mut fraction_ms = 0;
    if !fraction.is_empty() {
        let parts: u64 = fraction.parse().map_err(|_| Slip::NotATime)?;
        let exponent = u32::try_from(fraction.len()).map_err(|_| Slip::NotATime)?;
        fraction_ms = parts.checked_mul(unit_ms).ok_or(Slip::TooBig)? / 10_u64.pow(exponent);
    }
    whole_ms.checked_add(fraction_ms).ok_or(Slip::TooBig)
}

/// A length of time exactly to the millisecond, as [`parse`] reads it: `1h30m`.
pub fn text(length: Duration) -> String {
    span::text(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
}

/// A length of time for people: its two largest units, such as `6d 23h`, `1h 30m` or `850ms`. A whole number
/// of days stays in days, so that 100 years reads as `36500d`.
pub fn show(length: Duration) -> String {
    let mut rest = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let mut parts = Vec::new();
    for (name, unit_ms) in span::UNITS {
        let count = rest / unit_ms;
        rest %= unit_ms;
        if count > 0 {
            parts.push(format!("{count}{name}"));
        }
        if parts.len() == 2 || (parts.len() == 1 && count == 0) {
            break;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> Result<u64, String> {
        lifetime(text).map(|d| u64::try_from(d.as_millis()).unwrap())
    }

    #[test]
    fn what_people_write_is_understood_exactly() {
        for (text, want) in [
            ("90", 90_000),
            ("90s", 90_000),
            ("15m", 900_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
            ("2w", 1_209_600_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("0.1", 100),
            ("250ms", 250),
            ("1h30m", 5_400_000),
            (" 5m ", 300_000),
            ("36500d", TTL_MS_MAX),
        ] {
            assert_eq!(ms(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_lifetime_is_refused_with_the_range() {
        for (text, why) in [
            ("0", "too short"),
            ("0s", "too short"),
            ("0.0001s", "too short"),
            ("-5", "cannot be negative"),
            ("-1h", "cannot be negative"),
            ("36501d", "too long"),
            ("99999999999999999999", "too long"),
            ("99999999999999999d", "too long"),
            ("", "not a length"),
            ("h", "not a length"),
            ("1.2.3s", "not a length"),
            (".", "not a length"),
            ("1h30", "not a length"),
            ("30m1h", "not a length"),
            ("5 m", "not a length"),
            ("1e3", "not a length"),
            ("１s", "not a length"),
            ("--json", "not a length"),
        ] {
            let message = ms(text).expect_err(text);
            assert!(message.contains(why), "{text}: {message}");
            assert!(message.contains("allowed: 1ms to 36500d"), "{text}: {message}");
        }
    }

    #[test]
    fn shown_with_its_two_largest_units() {
        for (ms, want) in [
            (0, "0s"),
            (850, "850ms"),
            (90_000, "1m 30s"),
            (5_400_000, "1h 30m"),
            (604_800_000 - 1, "6d 23h"),
            (3_600_001, "1h"),
            (TTL_MS_MAX, "36500d"),
        ] {
            assert_eq!(show(Duration::from_millis(ms)), want);
        }
    }

    #[test]
    fn what_is_written_exactly_is_read_back() {
        for ms in [1, 999, 1000, 5_400_000, 90_061_001, 604_800_000] {
            let length = Duration::from_millis(ms);
            assert_eq!(lifetime(&text(length)), Ok(length), "{}", text(length));
        }
        assert_eq!(text(Duration::from_secs(5400)), "1h30m");
    }
}
