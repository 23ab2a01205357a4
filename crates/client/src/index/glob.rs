//! Patterns for names as shells have them: `*`, `?`, `[a-z]`, `[!a-z]`, and `\` before a character that is meant as it
//! is. Matching takes at most length of pattern times length of name, whatever the pattern.

use larder_format::error::Kind;
use larder_wire::answer::Failure;

/// Longest pattern, in bytes: names have at most 1,024.
pub const GLOB_LEN_MAX: usize = 2048;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    One(char),
    Any,
    Run,
    Set { negated: bool, ranges: Vec<(char, char)> },
}

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    parts: Vec<Part>,
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if it is too long, or a set or escape is not ended.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let bad = |what: &str| Failure::new(Kind::Invalid, format!("bad pattern {text:?}: {what}"));
        if text.len() > GLOB_LEN_MAX {
            let message = format!("pattern too long len={} max={GLOB_LEN_MAX}", text.len());
            return Err(Failure::new(Kind::Invalid, message));
        }
        let mut parts = Vec::new();
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            parts.push(match character {
                '*' if parts.last() == Some(&Part::Run) => continue,
                '*' => Part::Run,
                '?' => Part::Any,
                '\\' => Part::One(rest.next().ok_or_else(|| bad("nothing after \\"))?),
                '[' => set(&mut rest).ok_or_else(|| bad("[ without ]"))?,
                other => Part::One(other),
            });
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the whole name is as the pattern says.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let parts = self.parts.as_slice();
        let (mut at, mut rest) = (0, name.chars());
        // The last run, and what of the name it has not taken yet.
        let mut run: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            if parts.get(at) == Some(&Part::Run) {
                run = Some((at + 1, rest.clone()));
                at += 1;
                continue;
            }
            let mut ahead = rest.clone();
            let next = ahead.next();
            match (parts.get(at), next) {
                (None, None) => return true,
                (Some(part), Some(character)) if part.takes(character) => {
                    (at, rest) = (at + 1, ahead);
                    continue;
                }
                (_, None) => return false,
                _ => {}
            }
            // One more character for the last run.
            let Some((after, left)) = &mut run else { return false };
            if left.next().is_none() {
                return false;
            }
            (at, rest) = (*after, left.clone());
        }
    }
}

impl Part {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::One(wanted) => *wanted == character,
            Self::Any => true,
            Self::Run => false,
            Self::Set { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != *negated
            }
        }
    }
}

fn set(rest: &mut std::str::Chars<'_>) -> Option<Part> {
    let mut ahead = rest.clone();
    let negated = matches!(ahead.next(), Some('!' | '^'));
    if negated {
        *rest = ahead;
    }
    let mut ranges = Vec::new();
    loop {
        let low = match rest.next()? {
            // First it is a member, as in shells.
            ']' if !ranges.is_empty() => return Some(Part::Set { negated, ranges }),
            '\\' => rest.next()?,
            other => other,
        };
        let mut ahead = rest.clone();
        match (ahead.next(), ahead.next()) {
            (Some('-'), Some(high)) if high != ']' => {
                ranges.push((low, high));
                *rest = ahead;
            }
            _ => ranges.push((low, low)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Glob::parse(pattern).unwrap().matches(name)
    }

    #[test]
    fn patterns_of_shells() {
        for (pattern, yes, no) in [
            ("*.txt", "a.txt", "a.txt.gz"),
            ("*", "", "\u{0}never"),
            ("a?c", "aéc", "ac"),
            ("[a-c]x[!0-9]", "bxz", "bx5"),
            ("[]a]", "]", "b"),
            ("[a-]", "-", "b"),
            (r"\*", "*", "x"),
            ("*a*b*", "xxaxxbxx", "xxbxxa"),
            ("report-????.pdf", "report-2024.pdf", "report-24.pdf"),
        ] {
            assert!(matches(pattern, yes), "{pattern} {yes}");
            assert!(no.starts_with('\u{0}') || !matches(pattern, no), "{pattern} {no}");
        }
        for bad in ["[abc", "x\\", "[", "[a-", "[!"] {
            assert_eq!(Glob::parse(bad).unwrap_err().kind, Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn a_malicious_pattern_costs_little() {
        let pattern = "*a".repeat(1000) + "b";
        assert!(!matches(&pattern, &"a".repeat(1024)));
    }

    /// The definition, exponential and plain.
    fn model(parts: &[Part], name: &[char]) -> bool {
        match (parts.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((Part::Run, rest)), _) => {
                model(rest, name) || (!name.is_empty() && model(parts, &name[1..]))
            }
            (Some((part, rest)), Some((c, left))) => part.takes(*c) && model(rest, left),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_is_as_the_definition(pattern in "[ab*?]{0,8}", name in "[abc]{0,10}") {
            let glob = Glob::parse(&pattern).unwrap();
            let characters: Vec<char> = name.chars().collect();
            prop_assert_eq!(glob.matches(&name), model(&glob.parts, &characters));
        }
    }
}
