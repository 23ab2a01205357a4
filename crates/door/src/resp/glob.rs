//! Patterns as Redis has them: `?` one byte, `*` any, `[abc]`, `[^a-z]`, and `\` before what is meant as it is.
//!
//! Backtracking goes to the last `*` only, so that the time for a match is at most the pattern's length times the
//! text's, whatever somebody asks for.

/// Whether a text matches a pattern.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern_at, mut text_at) = (0, 0);
    // Where to go on if what follows the last star does not fit: after the star, and one byte later in the text.
    let mut back: Option<(usize, usize)> = None;
    loop {
        if pattern.get(pattern_at) == Some(&b'*') {
            pattern_at += 1;
            back = Some((pattern_at, text_at));
            continue;
        }
        let fits = match text.get(text_at) {
            // What is left of the pattern has no star and needs bytes; from a later place there are fewer still.
            None => return pattern_at >= pattern.len(),
            Some(byte) => one(&pattern[pattern_at.min(pattern.len())..], *byte),
        };
        match (fits, &mut back) {
            (Some(len), _) => (pattern_at, text_at) = (pattern_at + len, text_at + 1),
            (None, Some((after, from))) if *from < text.len() => {
                *from += 1;
                (pattern_at, text_at) = (*after, *from);
            }
            (None, _) => return false,
        }
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
        ] {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = b"a*".repeat(1000);
        let text = b"a".repeat(4000);
        assert!(matches(&pattern, &text));
        assert!(!matches(&[&pattern[..], b"b"].concat(), &text));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(pattern in prop::collection::vec(any::<u8>(), 0..40), text in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = matches(&pattern, &text);
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
