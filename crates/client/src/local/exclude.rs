//! What is left out of a folder, by patterns in the manner of gitignore, kept small:
//!
//! - a pattern without `/` is matched against every name, at any depth; one with `/` at its beginning or in its middle
//!   against the path below the folder that is put or fetched; `/` at its end: folders only;
//! - `*` and `?` match within a name, `[abc]`, `[a-z]` and `[!a]` one character; `**` between slashes any folders;
//! - `!` before a pattern takes back what an earlier one left out; the last that matches counts. What is below a folder
//!   that is left out is not looked at.

use std::path::Path;

/// Most patterns.
pub const PATTERNS_MAX: usize = 10_000;

/// Longest pattern, in bytes: a path of the longest kind.
pub const PATTERN_LEN_MAX: usize = 4096;

/// The patterns of one command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exclude {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    takes_back: bool,
    folders_only: bool,
    /// Of the whole path; else of the last name only.
    parts: Vec<Vec<u8>>,
    anchored: bool,
}

/// A pattern that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// There is nothing to match.
    #[error("an empty pattern matches nothing pattern={0:?}")]
    Empty(String),
    /// `[` without `]`.
    #[error("[ without ] pattern={0:?}")]
    Open(String),
    /// Too long, or too many of them.
    #[error("patterns must be at most {PATTERN_LEN_MAX} bytes long, and at most {PATTERNS_MAX}")]
    TooMuch,
}

impl Exclude {
    /// Adds a pattern.
    ///
    /// # Errors
    /// [`BadPattern`].
    pub fn add(&mut self, pattern: &str) -> Result<(), BadPattern> {
        if pattern.len() > PATTERN_LEN_MAX || self.rules.len() >= PATTERNS_MAX {
            return Err(BadPattern::TooMuch);
        }
        let (takes_back, rest) = match pattern.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        let (folders_only, rest) = match rest.strip_suffix('/') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let anchored = rest.contains('/');
        let parts: Vec<Vec<u8>> =
            rest.split('/').filter(|part| !part.is_empty()).map(|part| part.as_bytes().to_vec()).collect();
        if parts.is_empty() {
            return Err(BadPattern::Empty(pattern.to_owned()));
        }
        if parts.iter().any(|part| !sets_are_closed(part)) {
            return Err(BadPattern::Open(pattern.to_owned()));
        }
        self.rules.push(Rule { takes_back, folders_only, parts, anchored });
        Ok(())
    }

    /// Adds the patterns of a file's text: one a line; empty lines and those that begin with `#` are none.
    ///
    /// # Errors
    /// [`BadPattern`] of the first that is none.
    pub fn add_lines(&mut self, text: &str) -> Result<(), BadPattern> {
        text.lines()
            .map(str::trim_end)
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
            .try_for_each(|l| self.add(l))
    }

    /// Whether nothing is left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether something is left out, by its path below the folder that is walked. The folder itself never is.
    #[must_use]
    pub fn leaves_out(&self, below: &Path, is_folder: bool) -> bool {
        if self.rules.is_empty() {
            return false;
        }
        let names: Vec<&[u8]> = below.components().map(|c| c.as_os_str().as_encoded_bytes()).collect();
        let Some(last) = names.last() else { return false };
        let decides = self.rules.iter().rev().find(|rule| {
            (is_folder || !rule.folders_only)
                && if rule.anchored {
                    match_parts(&rule.parts, &names)
                } else {
                    match_name(&rule.parts[0], last)
                }
        });
        decides.is_some_and(|rule| !rule.takes_back)
    }
}

fn sets_are_closed(part: &[u8]) -> bool {
    let mut at = 0;
    while at < part.len() {
        if part[at] == b'[' {
            match set_end(&part[at..]) {
                Some(end) => at += end,
                None => return false,
            }
        }
        at += 1;
    }
    true
}

/// Where the `]` of a set is that begins here. Directly after `[` or `[!` it stands for itself.
fn set_end(pattern: &[u8]) -> Option<usize> {
    let first = if pattern.get(1) == Some(&b'!') { 3 } else { 2 };
    (first..pattern.len()).find(|i| pattern[*i] == b']')
}

/// Matches names one by one; `**` stands for any number of them. Goes back to the last `**` only, which is enough.
fn match_parts(parts: &[Vec<u8>], names: &[&[u8]]) -> bool {
    let (mut part, mut name, mut star) = (0, 0, None);
    while name < names.len() {
        if parts.get(part).is_some_and(|p| p == b"**") {
            star = Some((part, name));
            part += 1;
        } else if parts.get(part).is_some_and(|p| match_name(p, names[name])) {
            (part, name) = (part + 1, name + 1);
        } else if let Some((at, from)) = star {
            (part, name, star) = (at + 1, from + 1, Some((at, from + 1)));
        } else {
            return false;
        }
    }
    // `a/**` is what is below a, not a itself.
    part == parts.len() || (part + 1 == parts.len() && parts[part] == b"**" && star.is_some())
}

fn match_name(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
                continue;
            }
            Some(b'?') => Some((1, char_len(&name[n..]))),
            Some(b'[') => match_set(&pattern[p..], &name[n..]),
            Some(byte) if *byte == name[n] => Some((1, 1)),
            _ => None,
        };
        match (step, star) {
            (Some((in_pattern, in_name)), _) => (p, n) = (p + in_pattern, n + in_name),
            (None, Some((at, from))) => (p, n, star) = (at + 1, from + 1, Some((at, from + 1))),
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Bytes of the first character, if it is UTF-8; else one.
fn char_len(name: &[u8]) -> usize {
    let len = match name[0] {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => 1,
    };
    len.min(name.len())
}

/// Lengths of the set and of the character that it matches. Sets are of single bytes.
fn match_set(pattern: &[u8], name: &[u8]) -> Option<(usize, usize)> {
    let end = set_end(pattern)?;
    let negated = pattern[1] == b'!';
    let set = &pattern[if negated { 2 } else { 1 }..end];
    let (byte, mut at, mut found) = (name[0], 0, false);
    while at < set.len() {
        if at + 2 < set.len() && set[at + 1] == b'-' {
            found |= (set[at]..=set[at + 2]).contains(&byte);
            at += 3;
        } else {
            found |= set[at] == byte;
            at += 1;
        }
    }
    (found != negated).then(|| (end + 1, if negated { char_len(name) } else { 1 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(patterns: &[&str], path: &str) -> bool {
        let mut exclude = Exclude::default();
        patterns.iter().for_each(|p| exclude.add(p).unwrap());
        let is_folder = path.ends_with('/');
        exclude.leaves_out(Path::new(path.trim_end_matches('/')), is_folder)
    }

    #[test]
    fn patterns_mean_what_is_written() {
        for (patterns, path, out) in [
            (&["*.o"][..], "a/b/c.o", true),
            (&["*.o"], "a/b/c.obj", false),
            (&["/*.o"], "a/c.o", false),
            (&["/*.o"], "c.o", true),
            (&["target/"], "x/target/", true),
            (&["target/"], "x/target", false),
            (&["a/b"], "a/b", true),
            (&["a/b"], "x/a/b", false),
            (&["**/a/b"], "x/y/a/b", true),
            (&["**/a/b"], "a/b", true),
            (&["a/**/b"], "a/x/y/b", true),
            (&["a/**/b"], "a/b", true),
            (&["a/**"], "a/x", true),
            (&["a/**"], "a/", false),
            (&["*.log", "!keep.log"], "d/keep.log", false),
            (&["!keep.log", "*.log"], "d/keep.log", true),
            (&["?.txt"], "é.txt", true),
            (&["?.txt"], "ab.txt", false),
            (&["[a-c]x[!0-9]"], "bxz", true),
            (&["[a-c]x[!0-9]"], "bx7", false),
            (&["[]]"], "]", true),
            (&["a*b*c"], "aXbYbZc", true),
            (&["a*b*c"], "aXbYbZ", false),
            (&["*"], "anything", true),
            (&[".*"], ".git/", true),
        ] {
            assert_eq!(left_out(patterns, path), out, "{patterns:?} {path}");
        }
        assert!(!left_out(&["*"], ""), "the folder itself stays");
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["", "/", "!", "!/", "[a", "x/[", "//"] {
            assert!(Exclude::default().add(bad).is_err(), "{bad:?}");
        }
        let mut lines = Exclude::default();
        lines.add_lines("# mine\n\n*.o\n!a.o\n").unwrap();
        assert_eq!(lines.rules.len(), 2);
        // Stars do not multiply the work.
        let many = "*a".repeat(2000);
        assert!(!left_out(&[&many], &"a".repeat(1500)));
    }
}
