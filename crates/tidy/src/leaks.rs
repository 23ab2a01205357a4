//! Nothing of one person's machine is committed: no absolute paths of a home or workplace, no package
//! registry but the public ones, no address that is not meant for readers.

use crate::Finding;

/// Beginnings of paths that exist on one machine only. In halves, so that this file passes its own check.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tmp/tar", "get"), concat!("/Us", "ers/")];

/// Hosts that a committed address may name. Whoever adds one says by that it is public and meant.
const HOSTS: &[&str] = &[
    "127.0.0.1",
    "[::1]",
    "larder.node",
    "localhost",
    // Stands for one in help texts.
    "HOST",
    // Names the language of pictures (SVG).
    "www.w3.org",
    "apache.org",
    "www.apache.org",
    "crates.io",
    "doc.rust-lang.org",
    "docs.rs",
    "example.com",
    "example.org",
    "github.com",
    "keepachangelog.com",
    "restic.net",
    "rustup.rs",
    "semver.org",
    "spdx.org",
    "www.rfc-editor.org",
    "datatracker.ietf.org",
];

/// Settings that point a package client elsewhere. In halves for the same reason.
const REGISTRY_SETTINGS: &[&str] = &[
    concat!("replace", "-with"),
    concat!("index", "-url"),
    concat!("index", "_url"),
    concat!("trusted", "-host"),
    concat!("GO", "PROXY="),
];

/// The only source that the lock file may name.
const LOCK_SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Looks through one text file.
#[must_use]
pub fn leaks(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut found = |what: String| findings.push(Finding::at_line(path, number + 1, what));
        for start in MACHINE_PATHS.iter().filter(|start| contains_path(line, start)) {
            found(format!("names a path of one machine ({start}…)"));
        }
        for setting in REGISTRY_SETTINGS.iter().filter(|setting| line.contains(**setting)) {
            found(format!("points a package client elsewhere ({setting})"));
        }
        for host in hosts(line).into_iter().filter(|host| !is_public(host)) {
            found(format!("names the host {host}, which is not on the list in crates/tidy/src/leaks.rs"));
        }
        if path.ends_with("Cargo.lock") && line.starts_with("source = ") && !line.contains(LOCK_SOURCE) {
            found("a locked package comes from elsewhere than crates.io".to_owned());
        }
    }
    findings
}

/// Whether a host is meant for readers: on the list, or of a domain that is reserved for examples.
fn is_public(host: &str) -> bool {
    HOSTS.contains(&host) || [".example", ".invalid"].iter().any(|domain| host.ends_with(domain))
}

/// Whether `start` begins a path here rather than sitting inside a longer one (`a/work/b`).
fn contains_path(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | '>' | '*'))
    })
}

/// The hosts of the addresses in a line.
fn hosts(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for scheme in ["http://", "https://"] {
        for (at, _) in line.match_indices(scheme) {
            let rest = &line[at + scheme.len()..];
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || ".-[:]".contains(c)))
                .unwrap_or(rest.len());
            let authority = rest[..end].trim_end_matches(['.', ':']);
            let host = match authority.strip_prefix('[') {
                Some(inner) => format!("[{}]", inner.split(']').next().unwrap_or(inner)),
                None => authority.split(':').next().unwrap_or(authority).to_owned(),
            };
            // An address put together at run time (`https://{host}`) names none.
            if !host.is_empty() {
                found.push(host);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_this_machine_is_found() {
        let text = format!("a\nlet x = \"{}main\";\n", concat!("/wo", "rk/"));
        assert_eq!(leaks("a.rs", &text)[0].place, "a.rs:2");
        let inside = format!("see $HOME{}x and my{}y", "/folder/", concat!("/wo", "rk/"));
        assert_eq!(leaks("a.md", &inside), [], "part of a longer path");
    }

    #[test]
    fn a_private_registry_is_found() {
        let host = ["https", "://packages.internal:8080/simple"].concat();
        assert_eq!(leaks("setup.sh", &format!("pip install -i {host} x")).len(), 1);
        assert_eq!(leaks(".cargo/config.toml", concat!("replace", "-with = \"mirror\"")).len(), 1);
        let lock = ["source = \"registry+https", "://mirror.internal/index\""].concat();
        assert_eq!(leaks("Cargo.lock", &lock).len(), 2);
        assert_eq!(leaks("Cargo.lock", &format!("source = \"{LOCK_SOURCE}\"")), []);
    }

    #[test]
    fn public_and_local_addresses_pass() {
        let text =
            "https://127.0.0.1:7420, http://[::1]:80/x https://{host}/ (https://github.com/larder/larder).";
        assert_eq!(leaks("a.md", text), []);
    }
}
