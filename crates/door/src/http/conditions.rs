//! Entity tags and conditional requests (RFC 9110, sections 8.8.3 and 13).
//!
//! A value's tag is its version, the number that gRPC and `--json` show, in quotes: strong, because a version is never
//! given to other bytes. Tags that no value here can have are lawful and match nothing.

use http::header::{AsHeaderName, HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use larder_format::operation::Condition;
use larder_format::record::Version;

use super::Bad;

/// Digits of the longest version.
const DIGITS_MAX: usize = 20;

/// A version's entity tag as text.
#[must_use]
pub fn tag(version: Version) -> String {
    format!("\"{version}\"")
}

/// As [`tag`], written into a buffer: each value that is read has one, so it takes no formatting.
pub fn write_tag(out: &mut Vec<u8>, version: Version) {
    let mut digits = [b'"'; DIGITS_MAX + 1];
    let (mut at, mut number) = (DIGITS_MAX, version.to_u64());
    loop {
        at -= 1;
        // The remainder of ten is a digit.
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.push(b'"');
    out.extend_from_slice(&digits[at..]);
}

/// As [`tag`], for a header.
#[must_use]
pub fn tag_value(version: Version) -> HeaderValue {
    let mut out = Vec::with_capacity(DIGITS_MAX + 2);
    write_tag(&mut out, version);
    HeaderValue::from_maybe_shared(bytes::Bytes::from(out)).unwrap_or(HeaderValue::from_static("\"\""))
}

/// One entity tag that a value may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tag {
    version: Version,
    weak: bool,
}

/// What a header lists.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    /// `*`: whatever there is.
    Any,
    /// Those of its tags that a value may have. The head's length bounds how many.
    These(Vec<Tag>),
}

impl Tags {
    /// Whether the value there is, if there is one, is listed; by weak comparison, or else by strong.
    fn list(&self, current: Option<Version>, weakly: bool) -> bool {
        let Some(current) = current else { return false };
        match self {
            Tags::Any => true,
            Tags::These(tags) => tags.iter().any(|tag| tag.version == current && (weakly || !tag.weak)),
        }
    }
}

/// The conditions of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

/// What comes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Hold,
    /// The client has what there is: for reading, nothing new; for anything else, a condition that failed.
    Unmodified,
    /// `If-Match` lists nothing of what there is.
    Failed,
}

impl Conditions {
    /// What the headers say; `None` without any.
    ///
    /// # Errors
    /// [`Bad`] for what is no list of entity tags.
    pub fn read(headers: &HeaderMap) -> Result<Option<Self>, Bad> {
        let if_match = tags(headers, IF_MATCH, "If-Match")?;
        let if_none_match = tags(headers, IF_NONE_MATCH, "If-None-Match")?;
        if if_match.is_none() && if_none_match.is_none() {
            return Ok(None);
        }
        Ok(Some(Self { if_match, if_none_match }))
    }

    /// Whether they hold for the value there is, in the order that the standard sets.
    #[must_use]
    pub fn look(&self, current: Option<Version>) -> Verdict {
        if self.if_match.as_ref().is_some_and(|tags| !tags.list(current, false)) {
            return Verdict::Failed;
        }
        if self.if_none_match.as_ref().is_some_and(|tags| tags.list(current, true)) {
            return Verdict::Unmodified;
        }
        Verdict::Hold
    }

    /// The one condition of a register that says the same, where there is one: then nothing needs to be read before.
    #[must_use]
    pub fn as_one(&self) -> Option<Condition> {
        match (&self.if_match, &self.if_none_match) {
            (None, Some(Tags::Any)) => Some(Condition::Absent),
            (Some(Tags::These(tags)), None) => match tags[..] {
                [Tag { version, weak: false }] => Some(Condition::Version(version)),
                _ => None,
            },
            _ => None,
        }
    }
}

fn tags(headers: &HeaderMap, name: impl AsHeaderName, shown: &str) -> Result<Option<Tags>, Bad> {
    let mut lines = headers.get_all(name).iter().peekable();
    if lines.peek().is_none() {
        return Ok(None);
    }
    let bad = || Bad::new(format!("{shown} is no list of entity tags; write \"…\", as ETag has it, or *"));
    let (mut tags, mut any, mut elements) = (Vec::new(), false, 0);
    for line in lines {
        let mut rest = line.as_bytes().trim_ascii_start();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix(b",") {
                // Empty elements are to be put up with.
                rest = after.trim_ascii_start();
                continue;
            }
            elements += 1;
            let after = if let Some(after) = rest.strip_prefix(b"*") {
                any = true;
                after
            } else {
                let (tag, after) = element(rest).ok_or_else(bad)?;
                tags.extend(tag);
                after
            };
            rest = after.trim_ascii_start();
            if !rest.is_empty() && rest[0] != b',' {
                return Err(bad());
            }
        }
    }
    match (any, elements) {
        (true, 1) => Ok(Some(Tags::Any)),
        (false, 1..) => Ok(Some(Tags::These(tags))),
        _ => Err(bad()),
    }
}

/// One entity tag at the start of these bytes, and what follows it. `None` inside: a tag that no value here has.
fn element(bytes: &[u8]) -> Option<(Option<Tag>, &[u8])> {
    let (weak, quoted) = match bytes.strip_prefix(b"W/") {
        Some(quoted) => (true, quoted),
        None => (false, bytes),
    };
    let inner = quoted.strip_prefix(b"\"")?;
    let end = inner.iter().position(|byte| *byte == b'"')?;
    let (opaque, after) = (&inner[..end], &inner[end + 1..]);
    if !opaque.iter().all(|byte| matches!(byte, 0x21 | 0x23..=0x7E | 0x80..)) {
        return None;
    }
    Some((version(opaque).map(|version| Tag { version, weak }), after))
}

fn version(opaque: &[u8]) -> Option<Version> {
    let usual = !opaque.is_empty() && opaque.len() <= DIGITS_MAX && opaque.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(opaque).ok().filter(|text| usual && !text.starts_with('0'))?;
    text.parse().ok().map(Version::from_u64)
}

/// The version that one strong entity tag means, as `If-Range` has it.
pub(super) fn strong(bytes: &[u8]) -> Option<Version> {
    match element(bytes.trim_ascii())? {
        (Some(Tag { version, weak: false }), b"") => Some(version),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;
    use proptest::prelude::*;

    use super::*;

    fn read(pairs: &[(HeaderName, &str)]) -> Result<Option<Conditions>, Bad> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        Conditions::read(&headers)
    }

    fn of(pairs: &[(HeaderName, &str)]) -> Conditions {
        read(pairs).unwrap().unwrap()
    }

    fn at(version: u64) -> Option<Version> {
        Some(Version::from_u64(version))
    }

    #[test]
    fn reading_what_is_known_already_and_changing_what_is_known_only() {
        let known = of(&[(IF_NONE_MATCH, "\"6\", W/\"7\" , \"abc\"")]);
        assert_eq!(known.look(at(7)), Verdict::Unmodified, "weakly equal is equal enough for reading");
        assert_eq!(known.look(at(8)), Verdict::Hold);
        assert_eq!(known.look(None), Verdict::Hold);
        let wanted = of(&[(IF_MATCH, "\"6\",,W/\"7\""), (IF_MATCH, "\"9\"")]);
        assert_eq!(wanted.look(at(6)), Verdict::Hold);
        assert_eq!(wanted.look(at(9)), Verdict::Hold, "from the second line");
        assert_eq!(wanted.look(at(7)), Verdict::Failed, "a weak tag is not enough for changing");
        assert_eq!(wanted.look(None), Verdict::Failed);
        let both = of(&[(IF_MATCH, "*"), (IF_NONE_MATCH, "\"5\"")]);
        assert_eq!(
            [None, at(5), at(6)].map(|v| both.look(v)),
            [Verdict::Failed, Verdict::Unmodified, Verdict::Hold]
        );
        let foreign = of(&[(IF_MATCH, "\"\"")]);
        assert_eq!(foreign.look(at(6)), Verdict::Failed);
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn what_a_register_can_say_itself() {
        assert_eq!(of(&[(IF_NONE_MATCH, "*")]).as_one(), Some(Condition::Absent));
        assert_eq!(of(&[(IF_MATCH, " \"12\" ")]).as_one(), Some(Condition::Version(Version::from_u64(12))));
        for pairs in [
            &[(IF_MATCH, "*")][..],
            &[(IF_MATCH, "W/\"12\"")],
            &[(IF_MATCH, "\"12\", \"13\"")],
            &[(IF_NONE_MATCH, "\"12\"")],
            &[(IF_MATCH, "\"12\""), (IF_NONE_MATCH, "*")],
        ] {
            assert_eq!(of(pairs).as_one(), None, "{pairs:?}");
        }
    }

    #[test]
    fn slips_are_refused() {
        for text in
            ["", " ", ",", "12", "\"12", "12\"", "\"a\" \"b\"", "\"a b\"", "*, \"1\"", "**", "w/\"1\"", "W/1"]
        {
            assert!(read(&[(IF_MATCH, text)]).is_err(), "{text}");
        }
        for text in ["\"012\"", "\"+1\"", "\"99999999999999999999\"", "\"0\""] {
            assert_eq!(of(&[(IF_MATCH, text)]).look(at(12)), Verdict::Failed, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_version_is_found_by_its_tag(number in 1u64..) {
            let version = Version::from_u64(number);
            let value = tag_value(version);
            prop_assert_eq!(value.to_str().unwrap(), tag(version));
            prop_assert_eq!(strong(value.as_bytes()), Some(version));
            let mut headers = HeaderMap::new();
            headers.insert(IF_MATCH, value);
            let conditions = Conditions::read(&headers).unwrap().unwrap();
            prop_assert_eq!(conditions.look(Some(version)), Verdict::Hold);
            prop_assert_eq!(conditions.as_one(), Some(Condition::Version(version)));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(32u8.., 0..60)) {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let mut headers = HeaderMap::new();
            headers.insert(IF_MATCH, value.clone());
            headers.insert(IF_NONE_MATCH, value);
            let _ = Conditions::read(&headers);
            let _ = strong(&bytes);
        }
    }
}
