//! Headers of every answer, and times in them.

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

/// When a value was written.
pub const X_CREATED_AT: HeaderName = HeaderName::from_static("x-created-at");

/// The lifetime a value was written with, in seconds.
pub const X_ORIGINAL_TTL: HeaderName = HeaderName::from_static("x-original-ttl");

/// How long a value still lives, in seconds, rounded up.
pub const X_REMAINING_TTL: HeaderName = HeaderName::from_static("x-remaining-ttl");

/// The lifetime a client asks for, in seconds.
pub const X_TTL: HeaderName = HeaderName::from_static("x-ttl");

/// Says that a lifetime was shortened or lengthened to what is allowed.
pub const X_TTL_CLAMPED: HeaderName = HeaderName::from_static("x-ttl-clamped");

/// How often a value may still be taken.
pub const X_READS_LEFT: HeaderName = HeaderName::from_static("x-reads-left");

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Values are whatever somebody stored: no browser runs them, guesses at them, keeps them or shows them in a page of
/// another site.
pub fn secure(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox"),
    );
    // For browsers of before `frame-ancestors`, and for those who look for it.
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
}

/// Milliseconds since 1970 as RFC 3339, in UTC.
#[must_use]
pub fn rfc3339(ms: u64) -> String {
    String::from_utf8_lossy(&rfc3339_bytes(ms)).into_owned()
}

/// As [`rfc3339`], for a header: every value that is read has one, so it is written digit by digit, which takes a
/// tenth of what formatting takes. Years beyond 9999, which no clock shows, appear as 9999.
#[must_use]
pub fn rfc3339_value(ms: u64) -> HeaderValue {
    HeaderValue::from_bytes(&rfc3339_bytes(ms)).unwrap_or(HeaderValue::from_static(""))
}

/// As [`rfc3339`], as plain bytes.
#[must_use]
pub fn rfc3339_bytes(ms: u64) -> [u8; 24] {
    let mut out = *b"0000-00-00T00:00:00.000Z";
    let mut put = |at: usize, len: usize, mut number: u64| {
        for place in out[at..at + len].iter_mut().rev() {
            // The remainder of ten is a digit.
            *place = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = civil(days);
    put(0, 4, year.min(9999));
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, in_day / 3_600_000);
    put(14, 2, in_day / 60_000 % 60);
    put(17, 2, in_day / 1000 % 60);
    put(20, 3, in_day % 1000);
    out
}

/// Year, month and day from days since 1970, counted in eras of 400 years that begin in March, so that leap days come
/// last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (4_102_444_800_000, "2100-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
            assert_eq!(rfc3339_value(ms), text);
        }
    }
}
