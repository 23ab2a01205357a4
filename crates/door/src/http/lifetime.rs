//! Lifetimes as people write them: seconds, with up to three decimals.

use http::header::HeaderValue;

use super::Bad;

/// Digits before the point: beyond it no lifetime is allowed anyway, and arithmetic stays far from overflow.
const DIGITS_MAX: usize = 15;

/// A lifetime in milliseconds from text such as `300` or `0.25`.
///
/// # Errors
/// What is not such a number, negative ones included. Zero and lengths beyond a namespace's limits are for the
/// node to refuse.
pub fn parse(text: &str) -> Result<u64, Bad> {
    let shown = || text.chars().take(40).collect::<String>();
    let bad = || {
        Bad::new(format!(
            "the lifetime is not a number of seconds ttl={}; write for instance 300 or 0.5",
            shown()
        ))
    };
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 {
        return Err(bad());
    }
    let whole = whole.trim_start_matches('0');
    if whole.len() > DIGITS_MAX {
        return Ok(u64::MAX);
    }
    let seconds: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
    let part_ms: u64 = format!("{part:0<3}").parse().map_err(|_| bad())?;
    Ok(seconds * 1000 + part_ms)
}

/// A lifetime in milliseconds from a JSON number.
///
/// # Errors
/// As [`parse`].
pub fn from_json(number: &serde_json::Number) -> Result<u64, Bad> {
    match (number.as_u64(), number.as_f64()) {
        (Some(seconds), _) => Ok(seconds.saturating_mul(1000)),
        // Exact enough: milliseconds of any lifetime that is allowed fit 53 bits.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and is not negative"
        )]
        (None, Some(seconds)) if seconds >= 0.0 => Ok((seconds * 1000.0).round() as u64),
        _ => parse(&number.to_string()),
    }
}

/// Milliseconds as seconds, without decimals where there are none.
#[must_use]
pub fn show(ms: u64) -> String {
    let (seconds, part) = (ms / 1000, ms % 1000);
    if part == 0 {
        return seconds.to_string();
    }
    format!("{seconds}.{part:03}").trim_end_matches('0').to_owned()
}

/// As [`show`], for a header: most lifetimes are whole seconds, which take no formatting.
#[must_use]
pub fn show_value(ms: u64) -> HeaderValue {
    if ms.is_multiple_of(1000) {
        return HeaderValue::from(ms / 1000);
    }
    HeaderValue::try_from(show(ms)).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn seconds_and_parts_of_them() {
        for (text, ms) in
            [("300", 300_000), ("0.5", 500), ("0", 0), ("007", 7000), ("1.25", 1250), ("0.001", 1)]
        {
            assert_eq!(parse(text), Ok(ms), "{text}");
        }
        assert_eq!(parse("99999999999999999999"), Ok(u64::MAX), "too long for anyone, and no overflow");
        for text in ["", "-1", "+1", "1h", "1e3", " 1", "1.", ".5", "1.2345", "٣", "NaN", "1.-5"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn json_numbers() {
        let number = |text: &str| from_json(&serde_json::from_str(text).unwrap());
        assert_eq!(number("300"), Ok(300_000));
        assert_eq!(number("0.25"), Ok(250));
        assert_eq!(number("1e3"), Ok(1_000_000));
        assert!(number("-1").is_err());
        assert!(number("-0.5").is_err());
        assert_eq!(number("1e300"), Ok(u64::MAX));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(ms in 0u64..1_000_000_000_000_000) {
            prop_assert_eq!(parse(&show(ms)), Ok(ms));
            prop_assert_eq!(show_value(ms), show(ms));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse(&text);
        }
    }
}
