//! What a compiler cannot check: that layers point down, files stay short and say what they are, documents
//! lead somewhere, and nothing of one person's machine is committed.
//!
//! Every check is a pure function from text to [`Finding`]s, tested beside its code on a bad sample, so that
//! each is known to bite. `tests/project.rs` runs them all on the project. Read [`tree`] for which files are
//! looked at, [`layers`] for the arrows.

pub mod documents;
pub mod layers;
pub mod leaks;
pub mod limits;
pub mod makefile;
pub mod manifest;
pub mod sources;
pub mod tree;

/// Something to put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// File, with a line where there is one.
    pub place: String,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl Finding {
    /// A finding about a whole file.
    #[must_use]
    pub fn at(place: &str, what: impl Into<String>) -> Self {
        Self { place: place.to_owned(), what: what.into() }
    }

    /// A finding about a line, counted from 1.
    #[must_use]
    pub fn at_line(place: &str, line: usize, what: impl Into<String>) -> Self {
        Self { place: format!("{place}:{line}"), what: what.into() }
    }
}
