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

/// Reads a moment as a person writes it, in UTC: `2026-11-21`, `2026-11-21T09:17[:30][Z]`, `@SECONDS`, or `now`. Answers
/// nanoseconds since 1970.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse_ns(text: &str, now_ms: u64) -> Result<i64, String> {
    let wrong = || "want a moment in UTC: 2026-11-21, 2026-11-21T09:17, @1790000000, or now".to_owned();
    let seconds = match text {
        "now" => {
            return i64::try_from(now_ms).ok().and_then(|ms| ms.checked_mul(1_000_000)).ok_or_else(wrong);
        }
        _ => match text.strip_prefix('@') {
            Some(seconds) => seconds.parse().map_err(|_| wrong())?,
            None => calendar_seconds(text).ok_or_else(wrong)?,
        },
    };
    i64::checked_mul(seconds, 1_000_000_000).ok_or_else(wrong)
}

/// Seconds since 1970 of a date, or of a date and a time of day.
fn calendar_seconds(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, clock) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let date: Vec<&str> = date.split('-').collect();
    let clock: Vec<&str> = clock.split(':').collect();
    let number = |text: &str| -> Option<u8> { if text.len() == 2 { text.parse().ok() } else { None } };
    let ([year, month, day], [hour, minute] | [hour, minute, _]) = (date.as_slice(), clock.as_slice()) else {
        return None;
    };
    let second = clock.get(2).map_or(Some(0), |s| number(s))?;
    let month = time::Month::try_from(number(month)?).ok()?;
    let year = if year.len() == 4 { year.parse().ok()? } else { return None };
    let date = time::Date::from_calendar_date(year, month, number(day)?).ok()?;
    let clock = time::Time::from_hms(number(hour)?, number(minute)?, second).ok()?;
    Some(OffsetDateTime::new_utc(date, clock).unix_timestamp())
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
