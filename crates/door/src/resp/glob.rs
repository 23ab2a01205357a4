//! Patterns as Redis has them: `?` one byte, `*` any, `[abc]`, `[^a-z]`, and `\` before what is meant as it is.
//!
//! Everything but a star stands for exactly one byte. So a pattern is pieces between stars: the first has to fit where a
//! text begins, the last where it ends, and each of the others where it fits first, because a later place leaves less for
//! those after it. Nothing is tried twice, and each piece is looked for in one pass over the text, however it is made: the time for a
//! match is the text's length and the pattern's, whatever somebody asks for. What would need a larger table for that is refused
//! ([`TooMuch`]) before anything is compared.

use std::ops::Range;
use std::sync::Arc;

use super::limits::{PATTERN_BYTES_MAX, PATTERN_CLASS_BYTES_MAX, PATTERN_PIECE_MAX, PATTERN_STARS_MAX};

/// Why a pattern is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// It is too long.
    #[error("a pattern is too long: at most {PATTERN_BYTES_MAX} bytes")]
    Long,
    /// It has too many stars.
    #[error("a pattern has too many stars: at most {PATTERN_STARS_MAX}")]
    Stars,
    /// A class in it is too long.
    #[error("a class in a pattern is too long: at most {PATTERN_CLASS_BYTES_MAX} bytes from [ to ]")]
    Class,
    /// What is between two stars is too long for what it is made of.
    #[error(
        "between two stars a pattern has too much beside ?, [ or \\: at most {PATTERN_PIECE_MAX} bytes of a key"
    )]
    Piece,
}

/// A pattern, ready to be compared with many texts.
#[derive(Debug, Clone)]
pub struct Pattern {
    bytes: Arc<[u8]>,
    /// Where what comes before the first star ends.
    first: usize,
    /// `None`: there is no star.
    rest: Option<Rest>,
}

/// What comes after the first star.
#[derive(Debug, Clone)]
struct Rest {
    between: Vec<Between>,
    /// What comes after the last star: where it begins, and how many bytes it stands for.
    last: (usize, usize),
}

/// What is between two stars.
#[derive(Debug, Clone)]
enum Between {
    /// These bytes as they are.
    Plain(Range<usize>),
    /// Anything else.
    Made(Box<Shifts>),
}

impl Pattern {
    /// A pattern of these bytes.
    ///
    /// # Errors
    /// [`TooMuch`].
    pub fn new(bytes: &[u8]) -> Result<Self, TooMuch> {
        if bytes.len() > PATTERN_BYTES_MAX {
            return Err(TooMuch::Long);
        }
        let mut pieces = Pieces { bytes, at: Some(0) };
        let first = pieces.next().transpose()?.unwrap_or_default();
        let (mut between, mut last) = (Vec::new(), None::<Piece>);
        for piece in pieces {
            let piece = piece?;
            // The one before has a star after it, and one before it.
            if let Some(before) = last.replace(piece) {
                between.extend(Between::of(bytes, before)?);
            }
            if between.len() > PATTERN_STARS_MAX {
                return Err(TooMuch::Stars);
            }
        }
        let rest = last.map(|last| Rest { between, last: (last.range.start, last.items) });
        Ok(Self { bytes: bytes.into(), first: first.range.end, rest })
    }

    /// How many tables it holds, of about 2 KiB each: one for each piece that is not looked for as it is.
    #[must_use]
    pub fn tables(&self) -> usize {
        let is_table = |between: &&Between| matches!(between, Between::Made(_));
        self.rest.as_ref().map_or(0, |rest| rest.between.iter().filter(is_table).count())
    }

    /// Whether a text matches it.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        let Some(used) = fits(&self.bytes[..self.first], text) else { return false };
        let mut text = &text[used..];
        let Some(rest) = &self.rest else { return text.is_empty() };
        for between in &rest.between {
            let end = match between {
                Between::Plain(range) => plain_end(&self.bytes[range.clone()], text),
                Between::Made(shifts) => shifts.end(text),
            };
            let Some(end) = end else { return false };
            text = &text[end..];
        }
        let (begin, items) = rest.last;
        text.len().checked_sub(items).is_some_and(|at| fits(&self.bytes[begin..], &text[at..]).is_some())
    }
}

/// A part of a pattern without a star: where it is, and for how many bytes it stands.
#[derive(Debug, Clone, Default)]
struct Piece {
    range: Range<usize>,
    items: usize,
    is_plain: bool,
}

/// The pieces of a pattern, in order: one more than it has stars.
struct Pieces<'p> {
    bytes: &'p [u8],
    /// Where the next one begins, if there is one.
    at: Option<usize>,
}

impl Iterator for Pieces<'_> {
    type Item = Result<Piece, TooMuch>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at?;
        let (mut end, mut items, mut is_plain) = (start, 0, true);
        while let Some(byte) = self.bytes.get(end).filter(|byte| **byte != b'*') {
            let len = item_len(&self.bytes[end..]);
            if *byte == b'[' && len > PATTERN_CLASS_BYTES_MAX {
                return Some(Err(TooMuch::Class));
            }
            is_plain &= !b"?[\\".contains(byte);
            (end, items) = (end + len, items + 1);
        }
        self.at = (end < self.bytes.len()).then_some(end + 1);
        Some(Ok(Piece { range: start..end, items, is_plain }))
    }
}

impl Between {
    /// What has to be looked for; `None` if nothing has, as between two stars side by side.
    fn of(bytes: &[u8], piece: Piece) -> Result<Option<Self>, TooMuch> {
        if piece.items == 0 {
            return Ok(None);
        }
        if piece.is_plain {
            return Ok(Some(Between::Plain(piece.range)));
        }
        if piece.items > PATTERN_PIECE_MAX {
            return Err(TooMuch::Piece);
        }
        Ok(Some(Between::Made(Box::new(Shifts::of(&bytes[piece.range], piece.items)))))
    }
}

/// A piece that is looked for in one pass, whatever it is made of: for each byte the places in the piece that it fits,
/// as bits. What is known of a text so far is one number: the beginnings of the piece that end there (the Shift-And method).
#[derive(Debug, Clone)]
struct Shifts {
    fitting: [u64; 256],
    /// The bit of its last place.
    goal: u64,
}

impl Shifts {
    /// Of a piece that stands for this number of bytes, not none and at most [`PATTERN_PIECE_MAX`].
    fn of(mut piece: &[u8], items: usize) -> Self {
        let mut shifts = Self { fitting: [0; 256], goal: 1 << (items - 1) };
        let mut bit = 1_u64;
        while let Some(first) = piece.first() {
            let is_plain = !b"?[\\".contains(first);
            let all = if is_plain { *first..=*first } else { 0..=u8::MAX };
            for byte in all.filter(|byte| one(piece, *byte).is_some()) {
                shifts.fitting[usize::from(byte)] |= bit;
            }
            piece = &piece[item_len(piece)..];
            bit <<= 1;
        }
        shifts
    }

    /// Where the piece ends in a text, where it is first.
    fn end(&self, text: &[u8]) -> Option<usize> {
        let mut ending = 0_u64;
        for (at, byte) in text.iter().enumerate() {
            ending = (ending << 1 | 1) & self.fitting[usize::from(*byte)];
            if ending & self.goal != 0 {
                return Some(at + 1);
            }
        }
        None
    }
}

/// Where these bytes end in a text, where they are first.
fn plain_end(bytes: &[u8], text: &[u8]) -> Option<usize> {
    let at = match bytes {
        // What is too long is not even looked for: getting ready for it takes as long as it is.
        bytes if bytes.len() > text.len() => None,
        [byte] => memchr::memchr(*byte, text),
        bytes => memchr::memmem::find(text, bytes),
    };
    at.map(|at| at + bytes.len())
}

/// Whether a text begins with what a piece stands for, and how many bytes that is.
fn fits(mut piece: &[u8], text: &[u8]) -> Option<usize> {
    let mut used = 0;
    while !piece.is_empty() {
        piece = &piece[one(piece, *text.get(used)?)?..];
        used += 1;
    }
    Some(used)
}

/// How long what a pattern begins with is (no star): what stands for one byte.
fn item_len(pattern: &[u8]) -> usize {
    match pattern {
        [b'[', class @ ..] => in_class(class, 0).1 + 1,
        [b'\\', _, ..] => 2,
        _ => 1,
    }
}

/// Whether a byte fits what a pattern begins with (no star), and how long that is.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => {
            let (fits, len) = in_class(class, byte);
            fits.then_some(len + 1)
        }
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [same, ..] => (*same == byte).then_some(1),
    }
}

/// Whether a byte is in a class, whose opening bracket has been read, and how long the rest of the class is. One that
/// never closes ends with the pattern.
fn in_class(class: &[u8], byte: u8) -> (bool, usize) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &class[at..] {
            [] => return (found != negated, at),
            [b']', ..] => return (found != negated, at + 1),
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                at += 2;
            }
            [from, b'-', to, ..] => {
                let (low, high) = (from.min(to), from.max(to));
                found |= (low..=high).contains(&&byte);
                at += 3;
            }
            [same, ..] => {
                found |= *same == byte;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &[u8], text: &[u8]) -> bool {
        Pattern::new(pattern).unwrap().matches(text)
    }

    /// What a pattern means, however long it takes.
    fn means(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            ([b'*', rest @ ..], text) => (0..=text.len()).any(|at| means(rest, &text[at..])),
            (_, []) => false,
            (pattern, [byte, text @ ..]) => {
                one(pattern, *byte).is_some_and(|len| means(&pattern[len..], text))
            }
        }
    }

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "abc"),
            ("a*c", "abbc"),
            ("a?c", "abc"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("h[a-b]llo", "hbllo"),
            ("h[b-a]llo", "hbllo"),
            ("\\*a", "*a"),
            ("[\\]]", "]"),
            ("[ab", "a"),
            ("a*b*c", "aXbXbXc"),
            ("**", "x"),
            ("*[*]*", "a*b"),
            ("*b?*c", "abxbyc"),
            ("*a\\*", "xa*"),
        ] {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", ""),
            ("a?c", "ac"),
            ("h[^a]llo", "hallo"),
            ("\\*a", "xa"),
            ("a*b", "abc"),
            ("[]a", "a"),
            ("ab*bc", "abc"),
            ("*a?*?a", "aaa"),
        ] {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }

    #[test]
    fn the_time_for_a_match_is_the_lengths_of_pattern_and_text() {
        // Each of these took a step for each byte of the pattern at each byte of the text: hours, all together.
        let text = [&b"a".repeat(1 << 22)[..], b"c"].concat();
        for pattern in [
            [&b"*"[..], &b"a".repeat(PATTERN_BYTES_MAX - 3), b"b*"].concat(),
            [&b"*"[..], &b"?".repeat(PATTERN_PIECE_MAX - 1), b"b*"].concat(),
            [&b"*"[..], &b"[ab]".repeat(PATTERN_PIECE_MAX - 1), b"b*"].concat(),
            [&b"*a".repeat(PATTERN_STARS_MAX - 1)[..], b"b"].concat(),
        ] {
            assert!(!matches(&pattern, &text), "{}", pattern.escape_ascii());
        }
    }

    #[test]
    fn what_would_take_much_is_refused() {
        let refused = |pattern: &[u8]| Pattern::new(pattern).err();
        let in_stars = |piece: &[u8], count: usize| [&b"*"[..], &piece.repeat(count), b"*"].concat();
        assert_eq!(refused(&vec![b'a'; PATTERN_BYTES_MAX]), None);
        assert_eq!(refused(&vec![b'a'; PATTERN_BYTES_MAX + 1]), Some(TooMuch::Long));
        assert_eq!(refused(&b"a*".repeat(PATTERN_STARS_MAX)), None);
        assert_eq!(refused(&b"a*".repeat(PATTERN_STARS_MAX + 2)), Some(TooMuch::Stars));
        assert_eq!(refused(&in_stars(b"?", PATTERN_PIECE_MAX)), None);
        assert_eq!(refused(&in_stars(b"?", PATTERN_PIECE_MAX + 1)), Some(TooMuch::Piece));
        assert_eq!(
            refused(&in_stars(b"a", PATTERN_PIECE_MAX + 1)),
            None,
            "bytes as they are are found in any case"
        );
        assert_eq!(
            refused(&b"?".repeat(PATTERN_PIECE_MAX + 1)),
            None,
            "at its beginning and end it is compared once"
        );
        let class = |len: usize| [&b"["[..], &vec![b'a'; len - 2], b"]"].concat();
        assert_eq!(refused(&class(PATTERN_CLASS_BYTES_MAX)), None);
        assert_eq!(refused(&class(PATTERN_CLASS_BYTES_MAX + 1)), Some(TooMuch::Class));
        let tables = |pattern: &[u8]| Pattern::new(pattern).unwrap().tables();
        assert_eq!((tables(b"a?*b*[c]*d?"), tables(b"?*?"), tables(b"*a?*b?*")), (1, 0, 2));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(pattern in prop::collection::vec(any::<u8>(), 0..40), text in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Pattern::new(&pattern).map(|pattern| pattern.matches(&text));
        }

        #[test]
        fn what_is_found_fast_is_what_the_pattern_means(pattern in "[ab*?\\[\\]^\\\\-]{0,12}", text in "[ab*-]{0,12}") {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(pattern, text), means(pattern, text));
        }

        #[test]
        fn a_text_without_special_bytes_matches_itself(text in "[a-z:0-9]{0,20}", other in "[a-z:0-9]{0,20}") {
            prop_assert!(matches(text.as_bytes(), text.as_bytes()));
            prop_assert_eq!(matches(text.as_bytes(), other.as_bytes()), text == other);
            let around = format!("{text}*");
            prop_assert_eq!(matches(around.as_bytes(), other.as_bytes()), other.starts_with(&text));
        }
    }
}
