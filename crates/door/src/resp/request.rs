//! Requests out of bytes. A request is a flat array of strings, or a line of words; nothing is nested, so nothing is
//! recursive. Whole requests are read where they lie, without a copy. What has come in part is not read again from its
//! beginning: a [`Parser`] goes on where it was, so that a request in a thousand pieces costs as much as in one.
//!
//! Whatever the pieces, the same bytes give the same requests or the same error (tests below, and the fuzz target
//! `resp_request`). No number in the bytes makes anything be allocated: only bytes that have come do.

use super::inline;
use super::limits::{ARGUMENTS_MAX, COUNT_LINE_BYTES_MAX, INLINE_BYTES_MAX, REQUEST_BYTES_MAX};

/// Where an argument lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// From one place up to another; requests are far shorter than what fits.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        let short = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: short(start), end: short(end) }
    }

    fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// The arguments of a request; the first is its name.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// From bytes and where in them the arguments lie.
    #[must_use]
    pub fn new(bytes: &'a [u8], spans: &'a [Span]) -> Self {
        Self { bytes, spans }
    }

    /// How many, the name among them.
    #[must_use]
    pub fn len(self) -> usize {
        self.spans.len()
    }

    /// Whether there are none, not even a name.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at this place, if there is one.
    #[must_use]
    pub fn get(self, at: usize) -> Option<&'a [u8]> {
        self.spans.get(at).map(|span| span.of(self.bytes))
    }

    /// The argument at this place, or nothing.
    #[must_use]
    pub fn at(self, at: usize) -> &'a [u8] {
        self.get(at).unwrap_or_default()
    }

    /// All of them.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + Clone {
        self.spans.iter().map(move |span| span.of(self.bytes))
    }

    /// Those from this place on.
    #[must_use]
    pub fn from(self, at: usize) -> Self {
        Self { bytes: self.bytes, spans: self.spans.get(at..).unwrap_or_default() }
    }

    /// Bytes of all of them together.
    #[must_use]
    pub fn bytes_len(self) -> usize {
        self.spans.iter().map(|span| span.of(self.bytes).len()).sum()
    }
}

/// How much a request may have, by who sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Most arguments.
    pub arguments_max: usize,
    /// Longest argument, in bytes.
    pub bulk_len_max: usize,
    /// Whether the sender has yet to say who they are: errors say so.
    pub stranger: bool,
}

impl Bounds {
    /// For somebody known, with this longest argument.
    #[must_use]
    pub fn known(bulk_len_max: usize) -> Self {
        Self { arguments_max: ARGUMENTS_MAX, bulk_len_max, stranger: false }
    }
}

/// Why bytes are no request. The connection is of no more use: where the next request begins is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The number of arguments is none.
    #[error("invalid multibulk length")]
    Count,
    /// The number of arguments is beyond the limit.
    #[error("invalid multibulk length")]
    CountLong,
    /// More arguments than before somebody says who they are.
    #[error("unauthenticated multibulk length")]
    StrangerCount,
    /// The line that should have the number of arguments goes on and on.
    #[error("too big mbulk count string")]
    CountLine,
    /// Something else where an argument's length should be.
    #[error("expected '$', got '{}'", shown(*.0))]
    NoBulk(u8),
    /// An argument's length is none.
    #[error("invalid bulk length")]
    BulkLen,
    /// An argument's length is beyond the limit.
    #[error("invalid bulk length")]
    BulkLong,
    /// A longer argument than before somebody says who they are.
    #[error("unauthenticated bulk length")]
    StrangerBulkLen,
    /// The line that should have an argument's length goes on and on.
    #[error("too big bulk count string")]
    BulkLine,
    /// An argument does not end where it should.
    #[error("expected CRLF after a bulk string")]
    BulkEnd,
    /// All together is too long.
    #[error("too big request: at most {REQUEST_BYTES_MAX} bytes are taken")]
    RequestLen,
    /// A line without an end.
    #[error("too big inline request")]
    InlineLen,
    /// Quotes of a line that do not close.
    #[error("unbalanced quotes in request")]
    Quotes,
}

impl Wrong {
    /// Whether it might be a request, were it not so large.
    #[must_use]
    pub fn is_oversized(self) -> bool {
        matches!(self, Wrong::CountLong | Wrong::BulkLong | Wrong::RequestLen | Wrong::InlineLen)
    }
}

fn shown(byte: u8) -> char {
    if byte.is_ascii_graphic() { char::from(byte) } else { '?' }
}

/// What the bytes so far come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A whole request, of so many bytes; [`Parser::args`] has its arguments. It may have none: then there is nothing
    /// to answer.
    Request(usize),
    /// Not whole yet. Come again with the same bytes and more after them.
    More,
}

/// What is known of the array that is being read.
#[derive(Debug, Clone, Copy)]
struct Array {
    /// Arguments still to come.
    left: usize,
    /// Length of the argument whose bytes are next, if that is known.
    bulk: Option<usize>,
}

/// Reads one request after the other.
#[derive(Debug, Default)]
pub struct Parser {
    spans: Vec<Span>,
    /// Words of a line, without quotes and escapes.
    words: Vec<u8>,
    /// Up to here the bytes are understood, or known to hold no end of line.
    at: usize,
    array: Option<Array>,
    is_inline: bool,
}

/// Spans kept for the next request; after one with more arguments their memory is given back.
const SPANS_KEPT: usize = 4096;

impl Parser {
    /// At the beginning of a request.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on with the request that these bytes begin with. After [`Step::Request`] the next call is about the bytes
    /// that follow it; after [`Step::More`] it is about these bytes with more after them.
    ///
    /// # Errors
    /// [`Wrong`]: there is no going on.
    pub fn step(&mut self, bytes: &[u8], bounds: Bounds) -> Result<Step, Wrong> {
        if self.at == 0 {
            self.begin();
            match bytes.first() {
                None => return Ok(Step::More),
                Some(b'*') => {}
                Some(_) => self.is_inline = true,
            }
        }
        let step = if self.is_inline { self.line(bytes) } else { self.array(bytes, bounds) }?;
        if matches!(step, Step::Request(_)) {
            (self.at, self.array) = (0, None);
        } else if bytes.len() >= REQUEST_BYTES_MAX {
            return Err(Wrong::RequestLen);
        }
        Ok(step)
    }

    /// The arguments of the request that was whole, given the bytes that [`Parser::step`] was given.
    #[must_use]
    pub fn args<'a>(&'a self, bytes: &'a [u8]) -> Args<'a> {
        Args::new(if self.is_inline { &self.words } else { bytes }, &self.spans)
    }

    /// How many bytes in all there must at least be before going on makes sense, as far as is known.
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.array.and_then(|array| array.bulk).map_or(self.at + 1, |len| self.at + len + 2)
    }

    /// Whether a request has begun and is not whole.
    #[must_use]
    pub fn is_within(&self) -> bool {
        self.at > 0
    }

    /// Bytes of its own that it holds.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.spans.capacity() * size_of::<Span>() + self.words.capacity()
    }

    fn begin(&mut self) {
        self.spans.clear();
        if self.spans.capacity() > SPANS_KEPT {
            self.spans.shrink_to(SPANS_KEPT);
        }
        self.is_inline = false;
        self.array = None;
    }

    fn array(&mut self, bytes: &[u8], bounds: Bounds) -> Result<Step, Wrong> {
        let mut array = match self.array {
            Some(array) => array,
            None => {
                let Some((count, next)) = number(bytes, 1, Wrong::CountLine, Wrong::Count)? else {
                    // Noted as begun: the first byte is known.
                    self.at = 1;
                    return Ok(Step::More);
                };
                self.at = next;
                if count <= 0 {
                    return Ok(Step::Request(next));
                }
                let left = usize::try_from(count).map_err(|_| Wrong::CountLong)?;
                if left > ARGUMENTS_MAX.min(bounds.arguments_max) {
                    return Err(if bounds.stranger { Wrong::StrangerCount } else { Wrong::CountLong });
                }
                Array { left, bulk: None }
            }
        };
        while array.left > 0 {
            let len = match array.bulk {
                Some(len) => len,
                None => {
                    match bytes.get(self.at) {
                        None => break,
                        Some(b'$') => {}
                        Some(other) => return Err(Wrong::NoBulk(*other)),
                    }
                    let read = number(bytes, self.at + 1, Wrong::BulkLine, Wrong::BulkLen)?;
                    let Some((len, next)) = read else { break };
                    self.at = next;
                    bulk_len(len, bounds, next)?
                }
            };
            let end = self.at + len;
            let Some(ending) = bytes.get(end..end + 2) else {
                array.bulk = Some(len);
                break;
            };
            if ending != b"\r\n" {
                return Err(Wrong::BulkEnd);
            }
            self.spans.push(Span::new(self.at, end));
            self.at = end + 2;
            array = Array { left: array.left - 1, bulk: None };
        }
        if array.left == 0 {
            return Ok(Step::Request(self.at));
        }
        self.array = Some(array);
        Ok(Step::More)
    }

    fn line(&mut self, bytes: &[u8]) -> Result<Step, Wrong> {
        let Some(found) = bytes[self.at..].iter().position(|byte| *byte == b'\n') else {
            self.at = bytes.len();
            return if bytes.len() >= INLINE_BYTES_MAX { Err(Wrong::InlineLen) } else { Ok(Step::More) };
        };
        let end = self.at + found;
        if end >= INLINE_BYTES_MAX {
            return Err(Wrong::InlineLen);
        }
        let line = &bytes[..end];
        self.words.clear();
        inline::split(line.strip_suffix(b"\r").unwrap_or(line), &mut self.words, &mut self.spans)?;
        Ok(Step::Request(end + 1))
    }
}

fn bulk_len(len: i64, bounds: Bounds, at: usize) -> Result<usize, Wrong> {
    let len = usize::try_from(len).map_err(|_| Wrong::BulkLen)?;
    if len > bounds.bulk_len_max {
        return Err(if bounds.stranger { Wrong::StrangerBulkLen } else { Wrong::BulkLong });
    }
    if at + len + 2 > REQUEST_BYTES_MAX {
        return Err(Wrong::RequestLen);
    }
    Ok(len)
}

/// The number of a line that begins here, and where the next begins; `None` if the line's end has not come.
fn number(bytes: &[u8], start: usize, long: Wrong, bad: Wrong) -> Result<Option<(i64, usize)>, Wrong> {
    let rest = bytes.get(start..).unwrap_or_default();
    // Nearly all have one to three digits.
    let mut value = 0_i64;
    for (at, byte) in rest.iter().take(COUNT_LINE_BYTES_MAX).enumerate() {
        match byte {
            b'0'..=b'9' if at < 10 => value = value * 10 + i64::from(byte - b'0'),
            b'\r' if at > 0 => {
                return match rest.get(at + 1) {
                    None => Ok(None),
                    Some(b'\n') => Ok(Some((value, start + at + 2))),
                    Some(_) => Err(bad),
                };
            }
            b'-' if at == 0 => return negative(rest, start, long, bad),
            _ => return unreadable(rest, long, bad),
        }
    }
    if rest.len() >= COUNT_LINE_BYTES_MAX { Err(long) } else { Ok(None) }
}

/// A line that begins with a minus: every such number means the same.
fn negative(rest: &[u8], start: usize, long: Wrong, bad: Wrong) -> Result<Option<(i64, usize)>, Wrong> {
    let line = &rest[..rest.len().min(COUNT_LINE_BYTES_MAX)];
    let Some(end) = line.iter().position(|byte| *byte == b'\r') else {
        return if line.len() == COUNT_LINE_BYTES_MAX { Err(long) } else { Ok(None) };
    };
    let digits = &line[1..end];
    if digits.is_empty() || digits.len() > 10 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(bad);
    }
    match rest.get(end + 1) {
        None => Ok(None),
        Some(b'\n') => Ok(Some((-1, start + end + 2))),
        Some(_) => Err(bad),
    }
}

/// A line that is no number: said when its end has come, or cannot come any more, so that pieces make no difference.
fn unreadable(rest: &[u8], long: Wrong, bad: Wrong) -> Result<Option<(i64, usize)>, Wrong> {
    let line = &rest[..rest.len().min(COUNT_LINE_BYTES_MAX)];
    match line.iter().position(|byte| *byte == b'\n') {
        Some(_) => Err(bad),
        None if line.len() == COUNT_LINE_BYTES_MAX => Err(long),
        None => Ok(None),
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
