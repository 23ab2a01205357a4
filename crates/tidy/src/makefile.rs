//! The Makefile: every target is phony, has one line of help, and whatever the documents tell a reader to
//! make exists.

use std::collections::BTreeSet;

use crate::Finding;

/// A target with its line of help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name.
    pub name: String,
    /// Help; empty if there is none.
    pub help: String,
}

/// The targets of a Makefile, in file order.
#[must_use]
pub fn targets(makefile: &str) -> Vec<Target> {
    let mut found = Vec::new();
    for line in makefile.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let named = !name.is_empty()
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if named && !rest.starts_with('=') {
            let help = rest.split_once("##").map_or("", |(_, help)| help.trim());
            found.push(Target { name: name.to_owned(), help: help.to_owned() });
        }
    }
    found
}

/// Every target has help and is declared phony.
#[must_use]
pub fn complete(makefile: &str) -> Vec<Finding> {
    let phony: BTreeSet<&str> =
        makefile.lines().filter_map(|l| l.strip_prefix(".PHONY:")).flat_map(str::split_whitespace).collect();
    let mut findings = Vec::new();
    for target in targets(makefile) {
        if target.help.is_empty() {
            findings.push(Finding::at("Makefile", format!("target {} has no `## help`", target.name)));
        }
        if !phony.contains(target.name.as_str()) {
            findings.push(Finding::at("Makefile", format!("target {} is not in .PHONY", target.name)));
        }
    }
    findings
}

/// What a document tells its reader to make exists.
#[must_use]
pub fn mentioned(path: &str, text: &str, makefile: &str) -> Vec<Finding> {
    let known: BTreeSet<String> = targets(makefile).into_iter().map(|t| t.name).collect();
    let mut findings = Vec::new();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let commands: Vec<&str> =
            if fenced { vec![line] } else { line.split('`').skip(1).step_by(2).collect() };
        for command in commands {
            let command = command.trim_start_matches(['$', ' ']);
            let Some(rest) = command.strip_prefix("make ") else { continue };
            let words = rest.split('#').next().unwrap_or(rest).split_whitespace();
            for word in words.filter(|w| !w.contains('=') && !w.starts_with('-')) {
                let word = word.trim_end_matches([',', '.', ';']);
                if !known.contains(word) {
                    findings.push(Finding::at_line(
                        path,
                        number + 1,
                        format!("`make {word}`: no such target"),
                    ));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAKEFILE: &str =
        "SEEDS := 1\n.PHONY: run test\nrun: ## Runs.\n\tcargo run\ntest: build ## Tests.\n";

    #[test]
    fn reads_targets_with_help() {
        let found = targets(MAKEFILE);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1], Target { name: "test".into(), help: "Tests.".into() });
        assert_eq!(complete(MAKEFILE), []);
    }

    #[test]
    fn a_target_without_help_or_phony_is_found() {
        assert_eq!(complete(".PHONY: a\na:\n\ttrue\nb: ## B.\n").len(), 2);
    }

    #[test]
    fn a_target_that_is_not_there_is_found() {
        let text = "Use `make run` and `make bunch`.\n```\n$ make test SEEDS=1   # all\nmake tset\n```\n";
        let found: Vec<_> = mentioned("README.md", text, MAKEFILE).into_iter().map(|f| f.place).collect();
        assert_eq!(found, ["README.md:1", "README.md:4"]);
    }
}
