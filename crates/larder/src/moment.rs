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

/// Reads a moment, in UTC unless it says otherwise, as milliseconds since 1970: `2026-11-21`, `2026-11-21 09:30`,
/// `2026-11-21T09:30:00Z`, `2026-11-21T09:30:00+01:00`, or seconds since 1970 as `@1790000000`.
///
/// # Errors
/// A sentence that says what is expected.
pub fn parse_ms(text: &str) -> Result<u64, String> {
    let expected =
        || "expected a time like 2026-11-21, \"2026-11-21 09:30\" (UTC) or 2026-11-21T09:30:00Z".to_owned();
    if let Some(seconds) = text.strip_prefix('@') {
        return seconds.parse::<u64>().ok().and_then(|s| s.checked_mul(1000)).ok_or_else(expected);
    }
    let (date, rest) = text.split_at_checked(10).ok_or_else(expected)?;
    let mut numbers = date.split('-').map(|number| number.parse::<u16>().ok());
    let (Some(Some(year)), Some(Some(month)), Some(Some(day)), None) =
        (numbers.next(), numbers.next(), numbers.next(), numbers.next())
    else {
        return Err(expected());
    };
    let month = u8::try_from(month).ok().and_then(|m| time::Month::try_from(m).ok()).ok_or_else(expected)?;
    let day = u8::try_from(day).map_err(|_| expected())?;
    let date = time::Date::from_calendar_date(year.into(), month, day).map_err(|_| expected())?;
    let (of_day, offset) = seconds_of_day(rest).ok_or_else(expected)?;
    let seconds = date.midnight().assume_utc().unix_timestamp() + of_day - offset;
    u64::try_from(seconds).map(|seconds| seconds * 1000).map_err(|_| expected())
}

/// Seconds since midnight and the offset from UTC, from what follows a date.
fn seconds_of_day(text: &str) -> Option<(i64, i64)> {
    let Some(text) = text.strip_prefix(['T', ' ']) else { return text.is_empty().then_some((0, 0)) };
    let zone = text.find(['Z', '+', '-']).unwrap_or(text.len());
    let (clock, zone) = text.split_at(zone);
    let offset = match zone {
        "" | "Z" => 0,
        _ => {
            let (sign, rest) =
                if let Some(rest) = zone.strip_prefix('+') { (1, rest) } else { (-1, &zone[1..]) };
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
