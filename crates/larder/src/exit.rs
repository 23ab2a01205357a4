//! Exit codes: one table from the kind of an error to the code of the process, for people, scripts, the
//! reference page and `larder help exit-codes` alike.

use std::fmt::Write as _;

use larder_format::error::Kind;

/// Why a command ended without doing what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// One of the kinds that all layers share.
    Kind(Kind),
    /// An I/O error that is none of those kinds (for instance a failing disk under a local file).
    Io,
    /// What was measured is not what was required.
    Unmet,
    /// ctrl-C, or a request to stop.
    Interrupted,
    /// Whoever read our standard output has had enough.
    BrokenPipe,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The process's exit code.
    pub code: u8,
    /// Names of the error kinds that end with it, as in JSON.
    pub names: &'static [&'static str],
    /// What it means and what to do.
    pub meaning: &'static str,
}

/// The table. Codes are stable: scripts depend on them.
pub const TABLE: &[Row] = &[
    Row { code: 0, names: &[], meaning: "done (also when the reader of the output went away)" },
    Row { code: 1, names: &["io", "bug"], meaning: "an I/O error on this machine, or a defect in Larder" },
    Row { code: 2, names: &["invalid"], meaning: "the request is malformed or out of range: change it" },
    Row { code: 3, names: &["not_found"], meaning: "there is no such thing, or its time is up" },
    Row {
        code: 4,
        names: &["conflict"],
        meaning: "it exists already, or somebody else changed it or holds it",
    },
    Row { code: 5, names: &["full"], meaning: "no room: delete something or raise the limit" },
    Row { code: 6, names: &["damaged"], meaning: "stored bytes are not what was written" },
    Row {
        code: 7,
        names: &["denied"],
        meaning: "not permitted, wrong passphrase, or a stranger's certificate",
    },
    Row { code: 8, names: &["locked"], meaning: "the vault is locked: run `larder unlock`" },
    Row {
        code: 9,
        names: &["retry", "closed"],
        meaning: "not available now, nothing changed: `larder up`, or try again",
    },
    Row {
        code: 10,
        names: &["unknown"],
        meaning: "it may or may not have happened: look before doing it again",
    },
    Row { code: 11, names: &["too_new"], meaning: "written by a newer Larder: upgrade" },
    Row {
        code: 12,
        names: &["unmet"],
        meaning: "what was measured is not what was required (`larder bench`)",
    },
    Row {
        code: 130,
        names: &["interrupted"],
        meaning: "interrupted (ctrl-C or a stop signal); no file is half done, the same command again goes on (a folder under a new name: with `-T`)",
    },
];

impl Reason {
    /// Stable name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Kind(kind) => kind.name(),
            Reason::Io => "io",
            Reason::Unmet => "unmet",
            Reason::Interrupted => "interrupted",
            Reason::BrokenPipe => "broken_pipe",
        }
    }

    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Reason::BrokenPipe => 0,
            Reason::Unmet => 12,
            Reason::Interrupted => 130,
            Reason::Io => 1,
            Reason::Kind(kind) => match kind {
                Kind::Invalid => 2,
                Kind::NotFound => 3,
                Kind::Conflict => 4,
                Kind::Full => 5,
                Kind::Damaged => 6,
                Kind::Denied => 7,
                Kind::Locked => 8,
                Kind::Retry | Kind::Closed => 9,
                Kind::Unknown => 10,
                Kind::TooNew => 11,
                Kind::Io | Kind::Bug => 1,
                // `Kind` may grow; a kind this table does not know yet is a plain failure.
                _ => 1,
            },
        }
    }
}

/// The table as text for `larder help exit-codes`.
pub fn table_text() -> String {
    let mut out = String::from("code  kinds            meaning\n");
    for row in TABLE {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{:>4}  {:<15}  {}", row.code, row.names.join(", "), row.meaning);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: &[Kind] = &[
        Kind::Invalid,
        Kind::NotFound,
        Kind::Conflict,
        Kind::Full,
        Kind::Damaged,
        Kind::Denied,
        Kind::Locked,
        Kind::Retry,
        Kind::Unknown,
        Kind::TooNew,
        Kind::Closed,
        Kind::Io,
        Kind::Bug,
    ];

    #[test]
    fn every_kind_is_in_the_table_under_its_own_code() {
        let reasons =
            KINDS.iter().map(|k| Reason::Kind(*k)).chain([Reason::Io, Reason::Unmet, Reason::Interrupted]);
        for reason in reasons {
            let row = TABLE.iter().find(|row| row.names.contains(&reason.name()));
            assert_eq!(row.map(|row| row.code), Some(reason.code()), "{}", reason.name());
        }
        assert_eq!(Reason::BrokenPipe.code(), 0);
    }

    #[test]
    fn the_reference_page_says_the_same() {
        let page = include_str!("../../../docs/reference/cli.md");
        for row in TABLE {
            let kinds = row.names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
            let line = format!("| {} | {} | {} |", row.code, kinds, row.meaning);
            assert!(page.contains(&line), "docs/reference/cli.md lacks: {line}");
        }
    }
}
