//! Parts of a value (RFC 9110, section 14): which bytes a `GET` wants. What cannot be understood is ignored, as the
//! standard has it: the answer is the whole value then, which is never wrong.

use std::ops::Range;

use http::header::{HeaderMap, IF_RANGE, RANGE};
use larder_format::record::Version;

use super::conditions;

/// Most ranges of one request. More are a way to make work, not to read: the whole value is the answer.
pub const RANGES_MAX: usize = 16;

/// What a request wants of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    Whole,
    /// One part.
    Part(Range<u64>),
    /// Several that do not overlap, in the order asked for.
    Parts(Vec<Range<u64>>),
    /// Only what lies behind its end.
    Nothing,
}

/// What the headers of a request ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges {
    specs: Vec<Spec>,
    /// Only of this version; `Some(None)` where the header names none that a value here can have, such as a date.
    only_of: Option<Option<Version>>,
}

impl Ranges {
    /// `None` without `Range`, and for what is to be ignored.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(RANGE).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let specs = parse(line.to_str().ok()?)?;
        let mut only = headers.get_all(IF_RANGE).iter();
        let only_of = only.next().map(|tag| match only.next() {
            None => conditions::strong(tag.as_bytes()),
            Some(_) => None,
        });
        Some(Self { specs, only_of })
    }

    /// What is wanted of a value of `len` bytes and this version.
    #[must_use]
    pub fn of(&self, len: u64, version: Version) -> Wanted {
        // There is no way to say "no byte of none".
        if len == 0 || self.only_of.is_some_and(|only| only != Some(version)) {
            return Wanted::Whole;
        }
        let found: Vec<Range<u64>> = self.specs.iter().filter_map(|spec| spec.of(len)).collect();
        match &found[..] {
            [] => Wanted::Nothing,
            [one] => Wanted::Part(one.clone()),
            several if overlap(several) => Wanted::Whole,
            _ => Wanted::Parts(found),
        }
    }
}

/// What `Content-Range` says of a part.
#[must_use]
pub fn content_range(part: &Range<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", part.start, part.end.saturating_sub(1))
}

/// What `Content-Range` says where no part is left.
#[must_use]
pub fn content_range_of_none(len: u64) -> String {
    format!("bytes */{len}")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spec {
    /// From here to there, or to the end; both included.
    From(u64, Option<u64>),
    /// So many at the end.
    Last(u64),
}

impl Spec {
    /// The bytes of a value that is not empty; `None` if it has none of them.
    fn of(self, len: u64) -> Option<Range<u64>> {
        match self {
            Spec::From(first, last) if first < len => {
                Some(first..last.map_or(len, |last| last.saturating_add(1).min(len)))
            }
            Spec::Last(count) if count > 0 => Some(len.saturating_sub(count)..len),
            _ => None,
        }
    }
}

fn parse(text: &str) -> Option<Vec<Spec>> {
    let (unit, set) = text.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut specs = Vec::new();
    for part in set.split(',').map(|part| part.trim_matches([' ', '\t'])).filter(|part| !part.is_empty()) {
        if specs.len() == RANGES_MAX {
            return None;
        }
        specs.push(match part.split_once('-')? {
            ("", count) => Spec::Last(number(count)?),
            (first, "") => Spec::From(number(first)?, None),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Spec::From(first, Some(last)))?
            }
        });
    }
    (!specs.is_empty()).then_some(specs)
}

/// A number of any length: beyond what fits, one is as good as another.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

fn overlap(ranges: &[Range<u64>]) -> bool {
    let mut sorted: Vec<&Range<u64>> = ranges.iter().collect();
    sorted.sort_by_key(|range| range.start);
    sorted.windows(2).any(|pair| pair[1].start < pair[0].end)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn wanted(headers: &HeaderMap, len: u64, version: Version) -> Wanted {
        Ranges::read(headers).map_or(Wanted::Whole, |ranges| ranges.of(len, version))
    }

    fn of(range: &str, len: u64) -> Wanted {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_str(range).unwrap());
        wanted(&headers, len, Version::from_u64(7))
    }

    #[test]
    fn parts_from_the_start_and_from_the_end() {
        for (range, part) in [
            ("bytes=0-0", 0..1),
            ("bytes=2-5", 2..6),
            ("Bytes= 2-5 ,", 2..6),
            ("bytes=8-", 8..10),
            ("bytes=8-99", 8..10),
            ("bytes=8-99999999999999999999999", 8..10),
            ("bytes=-3", 7..10),
            ("bytes=-99", 0..10),
            ("bytes=20-,1-1", 1..2),
        ] {
            assert_eq!(of(range, 10), Wanted::Part(part), "{range}");
        }
        assert_eq!(of("bytes=6-7,0-0,-1", 10), Wanted::Parts(vec![6..8, 0..1, 9..10]));
        for range in ["bytes=10-", "bytes=10-20,99999999999999999999-", "bytes=-0"] {
            assert_eq!(of(range, 10), Wanted::Nothing, "{range}");
        }
    }

    #[test]
    fn what_is_not_understood_or_only_makes_work_is_ignored() {
        let many = format!("bytes={}", (0..=RANGES_MAX).map(|n| format!("{n}-{n},")).collect::<String>());
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-",
            "bytes=5-2",
            "bytes=1-2,x",
            "lines=1-2",
            "bytes=+1-2",
            "bytes=1 -2",
            "bytes=0-4,3-6",
            "bytes=0-,0-",
            many.as_str(),
        ] {
            assert_eq!(of(range, 100), Wanted::Whole, "{range}");
        }
        assert_eq!(of("bytes=0-1", 0), Wanted::Whole);
        let mut headers = HeaderMap::new();
        headers.append(RANGE, HeaderValue::from_static("bytes=0-1"));
        headers.append(RANGE, HeaderValue::from_static("bytes=2-3"));
        assert_eq!(wanted(&headers, 10, Version::from_u64(7)), Wanted::Whole);
    }

    #[test]
    fn the_rest_of_what_is_known_only() {
        let with = |tag: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, HeaderValue::from_static("bytes=1-2"));
            headers.insert(IF_RANGE, HeaderValue::from_static(tag));
            wanted(&headers, 10, Version::from_u64(7))
        };
        assert_eq!(with("\"7\""), Wanted::Part(1..3));
        for other in ["\"8\"", "W/\"7\"", "7", "Sat, 21 Nov 2026 12:00:00 GMT", "\"7\", \"8\"", ""] {
            assert_eq!(with(other), Wanted::Whole, "{other}");
        }
    }

    proptest! {
        #[test]
        fn parts_lie_within(range in "bytes=[0-9,-]{0,30}", len in 0u64..50) {
            match of(&range, len) {
                Wanted::Part(part) => prop_assert!(part.start < part.end && part.end <= len),
                Wanted::Parts(parts) => {
                    prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= len));
                    prop_assert!(parts.iter().map(|part| part.end - part.start).sum::<u64>() <= len);
                }
                Wanted::Whole | Wanted::Nothing => {}
            }
        }
    }
}
