//! Rust sources: every file says what it is, stays short, has short functions, a name that means something,
//! and nothing left undone.

use crate::Finding;

/// Most lines of a file, tests not counted.
pub const FILE_LINES_MAX: usize = 500;

/// Most lines of a function, from its signature to its closing brace, tests not counted.
pub const FUNCTION_LINES_MAX: usize = 70;

/// Names that gather what belongs elsewhere.
const NAMES_REFUSED: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc"];

/// Words that mark what was left undone. Written in halves so that this file passes its own check.
const MARKERS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
];

/// Whether a path holds only tests, benches or examples, whose length is not limited.
#[must_use]
pub fn is_test_path(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name == "tests.rs"
        || name.ends_with("_tests.rs")
        || path.split('/').any(|part| matches!(part, "tests" | "benches" | "examples"))
}

/// The file opens with `//!`.
#[must_use]
pub fn opens_with_purpose(path: &str, text: &str) -> Option<Finding> {
    let opens = text.lines().next().is_some_and(|line| line.len() > "//! ".len() && line.starts_with("//! "));
    (!opens).then(|| Finding::at_line(path, 1, "does not open with `//!`: say what lives here"))
}

/// Lines before the tests of the file itself.
#[must_use]
pub fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{'));
    tests.unwrap_or(lines.len())
}

/// The file is not too long.
#[must_use]
pub fn length(path: &str, text: &str) -> Option<Finding> {
    let lines = lines_without_tests(text);
    (!is_test_path(path) && lines > FILE_LINES_MAX).then(|| {
        Finding::at(
            path,
            format!("has {lines} lines without tests, more than {FILE_LINES_MAX}: split it by topic"),
        )
    })
}

/// No function is too long. Relies on rustfmt: a function ends where a brace closes at its own indent.
#[must_use]
pub fn functions(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if is_test_path(path) {
        return findings;
    }
    let lines: Vec<&str> = text.lines().take(lines_without_tests(text)).collect();
    for (start, line) in lines.iter().enumerate().filter(|(_, line)| is_function(line)) {
        let indent = &line[..line.len() - line.trim_start().len()];
        let closing = format!("{indent}}}");
        let one_line = line.ends_with('}') || line.ends_with(';');
        let end = lines[start..]
            .iter()
            .position(|l| l.trim_end() == closing || l.trim_end() == format!("{indent};"));
        let count = if one_line { 1 } else { end.map_or(0, |end| end + 1) };
        if count > FUNCTION_LINES_MAX {
            let name = line.split("fn ").nth(1).and_then(|n| n.split(['(', '<']).next()).unwrap_or("?");
            findings.push(Finding::at_line(
                path,
                start + 1,
                format!(
                    "function {name} has {count} lines, more than {FUNCTION_LINES_MAX}: give its parts names"
                ),
            ));
        }
    }
    findings
}

fn is_function(line: &str) -> bool {
    let mut rest = line.trim_start();
    if let Some(after) = rest.strip_prefix("pub(") {
        rest = after.split_once(") ").map_or("", |(_, after)| after);
    }
    loop {
        let before = rest;
        for word in ["pub ", "const ", "async ", "unsafe ", "extern \"C\" "] {
            rest = rest.strip_prefix(word).unwrap_or(rest);
        }
        if rest == before {
            return rest.starts_with("fn ");
        }
    }
}

/// The file's name, and its folders', mean something.
#[must_use]
pub fn name(path: &str) -> Option<Finding> {
    let refused = path.split('/').map(|part| part.split('.').next().unwrap_or(part));
    let bad = refused.into_iter().find(|part| NAMES_REFUSED.contains(part))?;
    Some(Finding::at(path, format!("`{bad}` says nothing about what is inside: name the topic")))
}

/// Nothing is left undone. For every kind of text file.
#[must_use]
pub fn markers(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for marker in MARKERS {
            if contains_word(line, marker) {
                findings.push(Finding::at_line(
                    path,
                    number + 1,
                    format!("`{marker}`: do it, or write it into docs/roadmap.md"),
                ));
            }
        }
    }
    findings
}

fn contains_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(part_of_word);
        let after = line[at + word.len()..].chars().next().is_some_and(part_of_word);
        !before && !after
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function_of(lines: usize) -> String {
        format!(
            "//! A.\n\nimpl X {{\n    pub(crate) async fn long(\n        a: u8,\n    ) {{\n{}    }}\n}}\n",
            "        x();\n".repeat(lines - 4)
        )
    }

    #[test]
    fn a_file_without_a_purpose_is_found() {
        assert!(opens_with_purpose("a.rs", "use std::fmt;\n").is_some());
        assert!(opens_with_purpose("a.rs", "//!\n").is_some());
        assert!(opens_with_purpose("a.rs", "").is_some());
        assert!(opens_with_purpose("a.rs", "//! Does a.\n").is_none());
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_are_not_counted() {
        let long = "x\n".repeat(FILE_LINES_MAX + 1);
        assert!(length("src/a.rs", &long).is_some());
        assert!(length("src/a_tests.rs", &long).is_none());
        let tested =
            format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(FILE_LINES_MAX), "x\n".repeat(99));
        assert!(length("src/a.rs", &tested).is_none());
    }

    #[test]
    fn a_long_function_is_found_to_the_line() {
        let at_limit = functions("a.rs", &function_of(FUNCTION_LINES_MAX));
        assert_eq!(at_limit, []);
        let over = functions("a.rs", &function_of(FUNCTION_LINES_MAX + 1));
        assert_eq!(over.len(), 1);
        assert_eq!(over[0].place, "a.rs:4");
        assert!(over[0].what.contains("long has 71 lines"), "{}", over[0].what);
    }

    #[test]
    fn tells_functions_from_other_lines() {
        assert!(is_function("    pub const unsafe fn a() {") && is_function("fn a() {"));
        assert!(!is_function("    call(|| fn_name());") && !is_function("// fn a() {"));
    }

    #[test]
    fn names_without_meaning_are_found() {
        assert!(name("crates/x/src/util.rs").is_some() && name("crates/common/src/a.rs").is_some());
        assert!(name("crates/x/src/utility_meter.rs").is_none());
    }

    #[test]
    fn what_is_left_undone_is_found() {
        let marker = concat!("FIX", "ME");
        assert_eq!(markers("a.rs", &format!("fine\n// {marker}: later\n"))[0].place, "a.rs:2");
        assert_eq!(markers("a.rs", &format!("{}()", concat!("to", "do!"))).len(), 1);
        assert_eq!(markers("a.sh", "mktemp -d larder.XXXXXX\n"), []);
    }
}
