//! Documents: every link leads somewhere, every file they name exists, and every page can be reached.

use std::collections::BTreeSet;

use crate::Finding;

/// Beginnings of names in backticks that are taken for files of the project.
const FILE_STARTS: &[&str] = &["crates/", "scripts/", "docs/", "tools/", "bench/", "fuzz/", ".ci/"];

/// A link of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Line, counted from 1.
    pub line: usize,
    /// Path from the project's root; of the document itself for a link within it.
    pub path: String,
    /// Heading it points at, if any.
    pub anchor: Option<String>,
}

/// Links of a document to files of the project (not to other hosts), code left out.
#[must_use]
pub fn links(path: &str, text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let mut plain = String::new();
        for (index, part) in line.split('`').enumerate() {
            plain.push_str(if index % 2 == 0 { part } else { "code" });
        }
        for (at, _) in plain.match_indices("](") {
            let Some(target) = plain[at + 2..].split(')').next() else { continue };
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) =
                target.split_once('#').map_or((target, None), |(f, a)| (f, Some(a.to_owned())));
            let path = if file.is_empty() { path.to_owned() } else { resolve(path, file) };
            found.push(Link { line: number, path, anchor });
        }
    }
    found
}

/// Files that a document names in backticks, with their lines. Patterns (`*`, `{`, `<`, `…`) are left out.
#[must_use]
pub fn files_named(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        for code in line.split('`').skip(1).step_by(2) {
            let word = code.split([' ', ':', '#']).next().unwrap_or(code);
            let pattern = word.contains(['*', '{', '<', '[', '…', '$']);
            if FILE_STARTS.iter().any(|start| word.starts_with(start)) && !pattern {
                found.push((number, word.trim_end_matches('/').to_owned()));
            }
        }
    }
    found
}

/// The anchors of a document's headings, as code forges make them.
#[must_use]
pub fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).into_iter().filter(|(_, line)| line.starts_with('#'));
    headings
        .map(|(_, line)| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Checks one document. `exists` answers for a path from the root, `text_of` gives a document's text.
#[must_use]
pub fn broken(
    path: &str,
    text: &str,
    exists: &dyn Fn(&str) -> bool,
    text_of: &dyn Fn(&str) -> Option<String>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for link in links(path, text) {
        if !exists(&link.path) {
            findings.push(Finding::at_line(
                path,
                link.line,
                format!("links to {}, which is not there", link.path),
            ));
        } else if let (Some(anchor), Some(target)) = (&link.anchor, text_of(&link.path))
            && !anchors(&target).contains(anchor)
        {
            findings.push(Finding::at_line(
                path,
                link.line,
                format!("{} has no heading #{anchor}", link.path),
            ));
        }
    }
    for (line, file) in files_named(text) {
        if !exists(&file) {
            findings.push(Finding::at_line(path, line, format!("names {file}, which is not there")));
        }
    }
    findings
}

/// Pages under `docs/` that no other document links to.
#[must_use]
pub fn orphans(documents: &[(String, String)]) -> Vec<Finding> {
    let mut linked = BTreeSet::new();
    for (path, text) in documents {
        linked.extend(links(path, text).into_iter().filter(|l| l.path != *path).map(|l| l.path));
    }
    let pages = documents.iter().filter(|(path, _)| path.starts_with("docs/"));
    pages
        .filter(|(path, _)| !linked.contains(path.as_str()))
        .map(|(path, _)| Finding::at(path, "no other document links here"))
        .collect()
}

/// Lines outside fenced code, with their numbers.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut kept = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            kept.push((number + 1, line));
        }
    }
    kept
}

/// A link's target, from the root.
fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Vec<Finding> {
        let there =
            |path: &str| matches!(path, "docs/a.md" | "docs/start/b.md" | "crates/x/src/lib.rs" | "docs");
        let texts = |path: &str| (path == "docs/a.md").then(|| "# A page: `x`, and more\n".to_owned());
        broken("docs/start/b.md", text, &there, &texts)
    }

    #[test]
    fn a_dead_link_a_dead_heading_and_a_dead_file_are_found() {
        let text = "[a](../a.md#a-page-x-and-more) [up](..) [web](https://example.com/x)\n\
            [dead](c.md)\n[no heading](../a.md#nowhere)\n`crates/x/src/lib.rs` `crates/x/src/gone.rs`\n";
        let places: Vec<_> = check(text).into_iter().map(|f| f.place).collect();
        assert_eq!(places, ["docs/start/b.md:2", "docs/start/b.md:3", "docs/start/b.md:4"]);
    }

    #[test]
    fn code_and_patterns_are_no_links() {
        assert_eq!(check("`[a](b.md)` and `crates/*/src`\n```\n[a](b.md)\n```\n"), []);
    }

    #[test]
    fn a_page_that_nobody_links_to_is_found() {
        let page = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let pages =
            [page("README.md", "[d](docs/a.md)"), page("docs/a.md", ""), page("docs/b.md", "[self](b.md)")];
        let found = orphans(&pages);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].place, "docs/b.md");
    }
}
