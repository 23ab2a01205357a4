//! What `larder doctor` looks at: each area its own file, each check a sentence of what was found and, where something
//! is unsafe, what to do about it. Checks read and change nothing.

mod certificates;
mod folders;
mod machine;
mod node;
mod settings;
mod tokens;
mod vault;

use larder_format::error::Kind;

use crate::cli::Context;
use crate::failure::Failure;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Good,
    /// Works, and could be safer.
    Advice,
    /// Something will fail, or is open to others, unless something is done.
    Warning,
    /// Something is broken now.
    Bad,
}

impl Level {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Advice => "advice",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

/// What one check found.
#[derive(Debug)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub about: &'static str,
    /// How bad.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do; nothing where all is well.
    pub remedy: Option<String>,
    /// What kind of failure it is where it is [`Level::Bad`]: decides the exit code.
    pub kind: Option<Kind>,
}

impl Finding {
    fn good(about: &'static str, found: impl Into<String>) -> Self {
        Self { about, level: Level::Good, found: found.into(), remedy: None, kind: None }
    }

    fn advice(about: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Advice, remedy: Some(remedy.into()), ..Self::good(about, found) }
    }

    fn warning(about: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warning, remedy: Some(remedy.into()), ..Self::good(about, found) }
    }

    fn bad(about: &'static str, kind: Kind, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Bad, remedy: Some(remedy.into()), kind: Some(kind), ..Self::good(about, found) }
    }

    /// A check that failed itself.
    fn failed(about: &'static str, failure: &Failure, remedy: &str) -> Self {
        let kind = failure.kind().unwrap_or(Kind::Io);
        let remedy = failure.hint_text().unwrap_or(remedy).to_owned();
        Self::bad(about, kind, failure.message(), remedy)
    }
}

/// Looks at everything. The order is that in which things build on each other: what is wrong above explains what is
/// wrong below.
pub fn look(context: &Context) -> Vec<Finding> {
    let mut findings = Vec::new();
    let folders = &context.folders;
    if !folders.config().exists() && !folders.data().exists() {
        // All else would follow from that.
        findings.push(Finding::bad("folders", Kind::Closed, "nothing is set up here yet", "larder up"));
        return findings;
    }
    machine::look(context, &mut findings);
    folders::look(context, &mut findings);
    settings::look(context, &mut findings);
    certificates::look(context, &mut findings);
    let node = node::look(context, &mut findings);
    if node.is_some() {
        tokens::look(context, &mut findings);
    }
    vault::look(context, node.as_ref(), &mut findings);
    findings
}
