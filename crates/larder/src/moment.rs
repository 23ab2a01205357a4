//! Moments and what is left until them, as people and programs read them. Times are shown in UTC.

use std::time::Duration;

use larder_format::namespace::LifetimeRequest;
use larder_format::record::Expiry;
use time::OffsetDateTime;

use crate::duration;

/// `2026-11-21 09:17Z` for milliseconds since 1970.
pub fn show_ms(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    show_seconds(seconds)
}

/// The same for nanoseconds since 1970; `-` for 0, which means not known.
pub fn show_ns(ns: i64) -> String {
    if ns == 0 { "-".to_owned() } else { show_seconds(ns.div_euclid(1_000_000_000)) }
}

/// What a moment looks like.
const MOMENT_FORMS: &str = "2026-11-21, \"2026-11-21 09:30\" (UTC), 2026-11-21T09:30:00+01:00 or @1790000000";

/// Reads a moment as nanoseconds since 1970, in UTC unless it says otherwise: `2026-11-21`, `2026-11-21 09:30`,
/// `2026-11-21T09:30:00Z`, `2026-11-21T09:30:00+01:00`, seconds since 1970 as `@1790000000`, so long ago (`2d`), or `now`.
///
/// # Errors
/// A sentence that says what is expected.
pub fn parse_ns(text: &str, now_ms: u64) -> Result<i64, String> {
    let ago_ms = |ago: Duration| u64::try_from(ago.as_millis()).ok();
    let at_ms = match text {
        "now" => Some(now_ms),
        _ => duration::lifetime(text).ok().and_then(ago_ms).and_then(|ago_ms| now_ms.checked_sub(ago_ms)),
    };
    let at_ns = at_ms.and_then(|ms| i64::try_from(ms).ok()?.checked_mul(1_000_000));
    at_ns
        .or_else(|| parse_seconds(text)?.checked_mul(1_000_000_000))
        .ok_or_else(|| format!("expected a moment like {MOMENT_FORMS}, 2d for so long ago, or now"))
}

/// Reads a moment since 1970 as milliseconds, in the forms of [`parse_ns`] except `now`.
///
/// # Errors
/// A sentence that says what is expected.
pub fn parse_ms(text: &str) -> Result<u64, String> {
    let seconds = parse_seconds(text).and_then(|seconds| u64::try_from(seconds).ok());
    seconds
        .and_then(|seconds| seconds.checked_mul(1000))
        .ok_or_else(|| format!("expected a moment like {MOMENT_FORMS}"))
}

/// Seconds since 1970.
fn parse_seconds(text: &str) -> Option<i64> {
    if let Some(seconds) = text.strip_prefix('@') {
        return seconds.parse().ok();
    }
    let (date, rest) = text.split_at_checked(10)?;
    let mut numbers = date.split('-');
    let (year, month, day) = (numbers.next()?, numbers.next()?, numbers.next()?);
    if numbers.next().is_some() || (year.len(), month.len(), day.len()) != (4, 2, 2) {
        return None;
    }
    let month = time::Month::try_from(month.parse::<u8>().ok()?).ok()?;
    let date = time::Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()?;
    let (of_day, offset) = seconds_of_day(rest)?;
    Some(date.midnight().assume_utc().unix_timestamp() + of_day - offset)
}

/// Seconds since midnight and the offset from UTC, from what follows a date.
fn seconds_of_day(text: &str) -> Option<(i64, i64)> {
    let Some(text) = text.strip_prefix(['T', ' ']) else {
        return (text.is_empty() || text == "Z").then_some((0, 0));
    };
    let zone = text.find(['Z', '+', '-']).unwrap_or(text.len());
    let (clock, zone) = text.split_at(zone);
    let offset = match zone {
        "" | "Z" => 0,
        _ => {
            let (sign, rest) =
                if let Some(rest) = zone.strip_prefix('+') { (1, rest) } else { (-1, zone.get(1..)?) };
            sign * clock_seconds(rest)?
        }
    };
    Some((clock_seconds(clock)?, offset))
}

/// `HH:MM` or `HH:MM:SS` in seconds.
fn clock_seconds(text: &str) -> Option<i64> {
    let parts: Vec<i64> = text
        .split(':')
        .map(|part| part.parse::<u8>().ok().filter(|_| part.len() == 2).map(i64::from))
        .collect::<Option<_>>()?;
    match parts[..] {
        [hours @ 0..24, minutes @ 0..60] => Some(hours * 3600 + minutes * 60),
        [hours @ 0..24, minutes @ 0..60, seconds @ 0..60] => Some(hours * 3600 + minutes * 60 + seconds),
        _ => None,
    }
}

fn show_seconds(seconds: i64) -> String {
    match OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(t) => format!(
            "{:04}-{:02}-{:02} {:02}:{:02}Z",
            t.year(),
            u8::from(t.month()),
            t.day(),
            t.hour(),
            t.minute()
        ),
        Err(_) => format!("@{seconds}"),
    }
}

/// What is left until an end: `in 3m 20s`, or `never`.
pub fn show_left(expiry: Expiry, now_ms: u64) -> String {
    match left_ms(expiry, now_ms) {
        None => "never".to_owned(),
        Some(ms) => format!("in {}", show_rounded(ms)),
    }
}

/// A length of time in whole seconds, to the nearest; below a second in milliseconds, so that what is still there never
/// reads as 0.
pub fn show_rounded(ms: u64) -> String {
    let ms = if ms < 1000 { ms } else { ms.saturating_add(500) / 1000 * 1000 };
    duration::show(Duration::from_millis(ms))
}

/// Milliseconds left; `None`: no end.
pub fn left_ms(expiry: Expiry, now_ms: u64) -> Option<u64> {
    expiry.ms().map(|end| end.saturating_sub(now_ms))
}

/// [`left_ms`] of what was just asked for: what a clock read a moment apart adds is left out.
pub fn left_ms_of(asked: LifetimeRequest, expiry: Expiry, now_ms: u64) -> Option<u64> {
    let left = left_ms(expiry, now_ms)?;
    Some(if let LifetimeRequest::Ttl(ms) = asked { left.min(ms) } else { left })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_left_than_was_asked_for() {
        let end = Expiry::at_ms(1_501);
        assert_eq!(left_ms_of(LifetimeRequest::Ttl(500), end, 1_000), Some(500));
        assert_eq!(left_ms_of(LifetimeRequest::Ttl(600), end, 1_000), Some(501));
        assert_eq!(left_ms_of(LifetimeRequest::Default, end, 1_000), Some(501));
        assert_eq!(left_ms_of(LifetimeRequest::Never, Expiry::NEVER, 1_000), None);
    }

    #[test]
    fn moments_are_read_as_they_are_shown() {
        let second = 1_000_000_000;
        assert_eq!(parse_ns("2026-09-21T14:13", 0), Ok(1_789_999_980 * second));
        assert_eq!(parse_ns("2026-09-21 14:13Z", 0), Ok(1_789_999_980 * second));
        assert_eq!(parse_ns("2026-09-21T14:13:20Z", 0), Ok(1_790_000_000 * second));
        assert_eq!(parse_ns("1970-01-02", 0), Ok(86_400 * second));
        assert_eq!(parse_ns("@-5", 0), Ok(-5 * second));
        assert_eq!(parse_ns("now", 7), Ok(7_000_000));
        for bad in
            ["", "@", "yesterday", "2026-13-01", "2026-02-30", "2026-1-1", "2026-01-01T25:00", "@9223372037"]
        {
            assert!(parse_ns(bad, 0).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn moments_are_read_strictly() {
        assert_eq!(parse_ms("2026-09-21"), Ok(1_789_948_800_000));
        assert_eq!(parse_ms("2026-09-21 14:13:20"), Ok(1_790_000_000_000));
        assert_eq!(parse_ms("2026-09-21T14:13:20Z"), Ok(1_790_000_000_000));
        assert_eq!(parse_ms("2026-09-21T16:13:20+02:00"), Ok(1_790_000_000_000));
        assert_eq!(parse_ms("@1790000000"), Ok(1_790_000_000_000));
        for bad in [
            "",
            "now",
            "2026-13-01",
            "2026-02-30",
            "2026-09-21 25:00",
            "2026-09-21x",
            "1969-01-01",
            "2026-9-21",
        ] {
            assert!(parse_ms(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn moments_and_what_is_left() {
        assert_eq!(show_ms(1_790_000_000_000), "2026-09-21 14:13Z");
        assert_eq!(show_ns(-1), "1969-12-31 23:59Z");
        assert_eq!(show_ns(0), "-");
        assert_eq!(show_left(Expiry::NEVER, 5), "never");
        assert_eq!(show_left(Expiry::at_ms(200_501), 0), "in 3m 21s");
        assert_eq!(show_left(Expiry::at_ms(2_001), 0), "in 2s");
        assert_eq!(show_left(Expiry::at_ms(999), 0), "in 999ms");
        assert_eq!(show_left(Expiry::at_ms(5), 10), "in 0s");
        assert_eq!(left_ms(Expiry::at_ms(15), 10), Some(5));
    }
}
