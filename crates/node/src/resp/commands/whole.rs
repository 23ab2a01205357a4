//! What is about a whole namespace: SCAN, KEYS, RANDOMKEY, DBSIZE, FLUSHDB, FLUSHALL. Nothing is held still meanwhile:
//! each looks at a part of the table at a time, so that others wait for none of it.

use larder_door::resp::limits::REPLY_BYTES_MAX;
use larder_door::resp::{Args, Out, Verb, glob, numbers};
use larder_format::clock::Hlc;
use larder_format::limits::SCAN_PAGE_RECORDS_MAX;
use larder_format::record::Version;
use larder_format::rng::{Rng, SystemRng};

use super::super::call::Call;
use super::fault::{Fault, NOT_AN_INTEGER, SYNTAX};
use super::values;
use crate::plain::Values;

/// Keys that SCAN looks at where nobody asks for another number.
const SCAN_COUNT_DEFAULT: usize = 10;

/// Keys that KEYS looks at in one step.
const KEYS_STEP: usize = 1_024;

/// Bytes of framing counted for each key of an answer.
const KEY_FRAME_LEN: usize = 10;

/// Carries out a command about the namespace.
pub(super) fn run(call: &mut Call<'_>, verb: Verb) {
    let values = values(call.shared, &call.session.space, call.now);
    let (args, out) = (call.args, &mut *call.out);
    let done = match verb {
        Verb::Scan => scan(values, args, out),
        Verb::Keys => keys(values, args.at(1), out),
        Verb::RandomKey => {
            match values.table.random_key(values.id, SystemRng.u64(), values.now) {
                Some(key) => out.bulk(&key),
                None => out.null(),
            }
            Ok(())
        }
        Verb::DbSize => {
            out.integer(i64::try_from(values.table.records_of(values.id)).unwrap_or(i64::MAX));
            Ok(())
        }
        _ => flush(values, args, out),
    };
    if let Err(fault) = done {
        out.error(fault);
    }
}

/// What SCAN is asked for.
struct Asked<'a> {
    cursor: u64,
    count: usize,
    pattern: &'a [u8],
    /// Values of another type than there is.
    other_type: bool,
}

/// `SCAN cursor [MATCH pattern] [COUNT number] [TYPE type]`
fn scan(values: Values<'_>, args: Args<'_>, out: &mut Out) -> Result<(), Fault> {
    let asked = read_scan(args)?;
    let mut found = Found::default();
    let next = values.table.scan_plain(values.id, asked.cursor, asked.count, &mut |key, seen| {
        let shown = !seen.expiry.is_past(values.now) && !asked.other_type;
        if shown && (asked.pattern == b"*" || glob::matches(asked.pattern, key)) {
            found.add(key);
        }
    });
    out.array(2);
    out.bulk_display(next);
    found.write(out);
    Ok(())
}

fn read_scan(args: Args<'_>) -> Result<Asked<'_>, Fault> {
    let cursor = cursor(args.at(1)).ok_or(Fault::Words("ERR invalid cursor"))?;
    let mut asked = Asked { cursor, count: SCAN_COUNT_DEFAULT, pattern: b"*", other_type: false };
    let mut at = 2;
    while let Some(word) = args.get(at) {
        let value = args.get(at + 1).ok_or(SYNTAX)?;
        if word.eq_ignore_ascii_case(b"count") {
            let count = numbers::integer(value).ok_or(NOT_AN_INTEGER)?;
            let count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(SYNTAX)?;
            asked.count = count.min(SCAN_PAGE_RECORDS_MAX);
        } else if word.eq_ignore_ascii_case(b"match") {
            asked.pattern = value;
        } else if word.eq_ignore_ascii_case(b"type") {
            asked.other_type = !value.eq_ignore_ascii_case(b"string");
        } else {
            return Err(SYNTAX);
        }
        at += 2;
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
fn keys(values: Values<'_>, pattern: &[u8], out: &mut Out) -> Result<(), Fault> {
    let mut found = Found::default();
    if !pattern.iter().any(|byte| b"*?[\\".contains(byte)) {
        if matches!(values.lock_one(pattern).was(pattern), Ok(Some(_))) {
            found.add(pattern);
        }
        found.write(out);
        return Ok(());
    }
    let mut cursor = 0;
    loop {
        cursor = values.table.scan_plain(values.id, cursor, KEYS_STEP, &mut |key, seen| {
            if !seen.expiry.is_past(values.now) && glob::matches(pattern, key) {
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
fn flush(values: Values<'_>, args: Args<'_>, out: &mut Out) -> Result<(), Fault> {
    let is_known = |word: &[u8]| word.eq_ignore_ascii_case(b"async") || word.eq_ignore_ascii_case(b"sync");
    if args.len() > 2 || args.get(1).is_some_and(|word| !is_known(word)) {
        return Err(SYNTAX);
    }
    // Above every version that there is: none is ahead of the time by as much as a millisecond.
    values.table.clear(values.id, Version(Hlc::from_ms(values.now.ms() + 1)));
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
