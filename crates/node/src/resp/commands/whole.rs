//! What is about a whole namespace: SCAN, KEYS, RANDOMKEY, DBSIZE, FLUSHDB, FLUSHALL. Alone, each looks at a
//! part of the table at a time, so that others wait for none of it; within a transaction all of it is held still.

use larder_door::resp::glob::Pattern;
use larder_door::resp::limits::REPLY_BYTES_MAX;
use larder_door::resp::{Args, Out, Verb, numbers};
use larder_format::clock::Hlc;
use larder_format::limits::SCAN_PAGE_RECORDS_MAX;
use larder_format::record::Version;
use larder_format::rng::{Rng, SystemRng};
use larder_store::memory::Seen;

use super::fault::{Fault, NOT_AN_INTEGER, SYNTAX};
use crate::plain::{Held, Values};

/// Keys that SCAN looks at where nobody asks for another number.
const SCAN_COUNT_DEFAULT: usize = 10;

/// Keys that KEYS looks at in one step.
const KEYS_STEP: usize = 1_024;

/// Bytes of framing counted for each key of an answer.
const KEY_FRAME_LEN: usize = 10;

/// All keys of a namespace: as they come and go, or held by a transaction.
pub(super) enum Whole<'r, 'v> {
    /// Looked at a part at a time.
    Free(Values<'v>),
    /// Held still.
    Held(&'r mut Held<'v>),
}

impl Whole<'_, '_> {
    fn values(&self) -> Values<'_> {
        match self {
            Whole::Free(values) => *values,
            Whole::Held(held) => held.values(),
        }
    }

    fn scan(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(&[u8], Seen<'_>)) -> u64 {
        match self {
            Whole::Free(values) => values.table.scan_plain(values.id, cursor, count, visit),
            Whole::Held(held) => held.scan(cursor, count, visit),
        }
    }

    fn random_key(&self, random: u64) -> Option<Vec<u8>> {
        match self {
            Whole::Free(values) => values.table.random_key(values.id, random, values.now),
            Whole::Held(held) => held.random_key(random),
        }
    }

    fn is_there(&mut self, key: &[u8]) -> bool {
        let was = match self {
            Whole::Free(values) => values.lock_one(key).was(key),
            Whole::Held(held) => held.was(key),
        };
        matches!(was, Ok(Some(_)))
    }

    fn clear(&mut self, floor: Version) {
        match self {
            Whole::Free(values) => values.table.clear(values.id, floor),
            Whole::Held(held) => held.clear(floor),
        };
    }
}

/// Whether a command needs all keys held where it is part of a transaction.
pub(in super::super) fn is_about_all(verb: Verb) -> bool {
    matches!(verb, Verb::Scan | Verb::Keys | Verb::RandomKey | Verb::FlushDb | Verb::FlushAll)
}

/// Carries out a command about the namespace.
pub(super) fn run(mut whole: Whole<'_, '_>, verb: Verb, args: Args<'_>, out: &mut Out) {
    let done = match verb {
        Verb::Scan => scan(&whole, args, out),
        Verb::Keys => keys(&mut whole, args.at(1), out),
        Verb::RandomKey => {
            match whole.random_key(SystemRng.u64()) {
                Some(key) => out.bulk(&key),
                None => out.null(),
            }
            Ok(())
        }
        Verb::DbSize => {
            let values = whole.values();
            out.integer(i64::try_from(values.table.records_of(values.id)).unwrap_or(i64::MAX));
            Ok(())
        }
        _ => flush(&mut whole, args, out),
    };
    if let Err(fault) = done {
        out.error(fault);
    }
}

/// What SCAN is asked for.
struct Asked {
    cursor: u64,
    count: usize,
    /// `None`: all of them.
    pattern: Option<Pattern>,
    /// Values of another type than there is.
    other_type: bool,
}

/// `SCAN cursor [MATCH pattern] [COUNT number] [TYPE type]`
fn scan(whole: &Whole<'_, '_>, args: Args<'_>, out: &mut Out) -> Result<(), Fault> {
    let (asked, now) = (read_scan(args)?, whole.values().now);
    let mut found = Found::default();
    let next = whole.scan(asked.cursor, asked.count, &mut |key, seen| {
        let shown = !seen.expiry.is_past(now) && !asked.other_type;
        if shown && asked.pattern.as_ref().is_none_or(|pattern| pattern.matches(key)) {
            found.add(key);
        }
    });
    out.array(2);
    out.bulk_display(next);
    found.write(out);
    Ok(())
}

fn read_scan(args: Args<'_>) -> Result<Asked, Fault> {
    let cursor = cursor(args.at(1)).ok_or(Fault::Words("ERR invalid cursor"))?;
    let mut asked = Asked { cursor, count: SCAN_COUNT_DEFAULT, pattern: None, other_type: false };
    let mut pattern = &b"*"[..];
    let mut at = 2;
    while let Some(word) = args.get(at) {
        let value = args.get(at + 1).ok_or(SYNTAX)?;
        if word.eq_ignore_ascii_case(b"count") {
            let count = numbers::integer(value).ok_or(NOT_AN_INTEGER)?;
            let count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(SYNTAX)?;
            asked.count = count.min(SCAN_PAGE_RECORDS_MAX);
        } else if word.eq_ignore_ascii_case(b"match") {
            pattern = value;
        } else if word.eq_ignore_ascii_case(b"type") {
            asked.other_type = !value.eq_ignore_ascii_case(b"string");
        } else {
            return Err(SYNTAX);
        }
        at += 2;
    }
    if pattern != b"*" {
        asked.pattern = Some(Pattern::new(pattern)?);
    }
    Ok(asked)
}

/// A cursor as the C library's `strtoul` reads it, which Redis leaves it to: also nothing, and signs.
fn cursor(text: &[u8]) -> Option<u64> {
    let (negative, digits) = match text {
        [] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if negative { number.wrapping_neg() } else { number })
}

/// Keys that are to be answered, before their number is known.
#[derive(Default)]
struct Found {
    bytes: Vec<u8>,
    lens: Vec<u16>,
}

impl Found {
    fn add(&mut self, key: &[u8]) {
        // No key is longer than a few thousand bytes.
        self.lens.push(u16::try_from(key.len()).unwrap_or(u16::MAX));
        self.bytes.extend_from_slice(key);
    }

    /// Bytes of the answer so far.
    fn len(&self) -> usize {
        self.bytes.len() + self.lens.len() * KEY_FRAME_LEN
    }

    fn write(&self, out: &mut Out) {
        out.array(self.lens.len());
        let mut rest = &self.bytes[..];
        for len in &self.lens {
            let (key, after) = rest.split_at(usize::from(*len));
            out.bulk(key);
            rest = after;
        }
    }
}

/// `KEYS pattern`
fn keys(whole: &mut Whole<'_, '_>, pattern: &[u8], out: &mut Out) -> Result<(), Fault> {
    let (mut found, now) = (Found::default(), whole.values().now);
    if !pattern.iter().any(|byte| b"*?[\\".contains(byte)) {
        if whole.is_there(pattern) {
            found.add(pattern);
        }
        found.write(out);
        return Ok(());
    }
    let pattern = Pattern::new(pattern)?;
    let mut cursor = 0;
    loop {
        cursor = whole.scan(cursor, KEYS_STEP, &mut |key, seen| {
            if !seen.expiry.is_past(now) && pattern.matches(key) {
                found.add(key);
            }
        });
        if found.len() > REPLY_BYTES_MAX {
            return Err(Fault::Words("ERR too many keys match for one answer; use SCAN"));
        }
        if cursor == 0 {
            break;
        }
    }
    found.write(out);
    Ok(())
}

/// `FLUSHDB [ASYNC | SYNC]`, `FLUSHALL [ASYNC | SYNC]`: the namespace is all that there is here.
fn flush(whole: &mut Whole<'_, '_>, args: Args<'_>, out: &mut Out) -> Result<(), Fault> {
    let is_known = |word: &[u8]| word.eq_ignore_ascii_case(b"async") || word.eq_ignore_ascii_case(b"sync");
    if args.len() > 2 || args.get(1).is_some_and(|word| !is_known(word)) {
        return Err(SYNTAX);
    }
    // Above every version that there is: none is ahead of the time by as much as a millisecond.
    whole.clear(Version(Hlc::from_ms(whole.values().now.ms() + 1)));
    out.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_redis_reads_them() {
        for (text, expected) in [
            ("0", Some(0)),
            ("", Some(0)),
            ("+7", Some(7)),
            ("-1", Some(u64::MAX)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("x", None),
            ("1x", None),
            (" 1", None),
            ("-", None),
        ] {
            assert_eq!(cursor(text.as_bytes()), expected, "{text:?}");
        }
    }
}
