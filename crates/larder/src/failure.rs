//! The one error type of the binary: what went wrong, of which kind, and what a person can do about it.
//!
//! Every library error ends here with its kind kept, so that the exit code and the JSON form come from one
//! table ([`crate::exit`]). Messages are lower-case and say what to do; the hint is a command or a flag.

use std::fmt;
use std::io;
use std::path::Path;

use larder_client::local::io_words;
use larder_format::error::Kind;

use crate::exit::Reason;

/// What a verb returns.
pub type Outcome<T = ()> = Result<T, Failure>;

/// A verb could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    reason: Reason,
    message: String,
    hint: Option<String>,
    node_is_full: bool,
}

impl Failure {
    /// A failure of a kind, with a lower-case message.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { reason: Reason::Kind(kind), message: message.into(), hint: None, node_is_full: false }
    }

    /// The request itself is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// The reader of our standard output went away: a quiet end, not an error.
    pub fn broken_pipe() -> Self {
        Self {
            reason: Reason::BrokenPipe,
            message: "standard output was closed".to_owned(),
            hint: None,
            node_is_full: false,
        }
    }

    /// What was measured is not what was required.
    pub fn unmet(message: impl Into<String>) -> Self {
        Self { reason: Reason::Unmet, message: message.into(), hint: None, node_is_full: false }
    }

    /// Somebody pressed ctrl-C or asked the process to stop.
    pub fn interrupted() -> Self {
        Self {
            reason: Reason::Interrupted,
            message: "interrupted".to_owned(),
            hint: None,
            node_is_full: false,
        }
    }

    /// An I/O error, with what was being done: `cannot <action> <path>: <error>`.
    pub fn io(action: &str, path: &Path, error: &io::Error) -> Self {
        Self::io_text(format!("cannot {action} {}: {}", shown(path), io_words(error)), error)
    }

    /// An I/O error with a message of its own.
    pub fn io_text(message: String, error: &io::Error) -> Self {
        Self { reason: reason_of_io(error), message, hint: None, node_is_full: false }
    }

    /// Notes that it is the node that has no room: what could be deleted may be offered.
    #[must_use]
    pub fn of_full_node(mut self) -> Self {
        self.node_is_full = true;
        self
    }

    /// Whether it is the node that has no room.
    pub fn node_is_full(&self) -> bool {
        self.node_is_full
    }

    /// Adds what to do about it: a command or a flag.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same reason with a message about several things. What to do was said with each.
    #[must_use]
    pub fn summed_up(self, message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, ..self }
    }

    /// Puts what was being done in front of the message.
    #[must_use]
    pub fn context(mut self, doing: &str) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// Why, for exit code and JSON.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The error kind, if it is one of the kinds that all layers share.
    pub fn kind(&self) -> Option<Kind> {
        match self.reason {
            Reason::Kind(kind) => Some(kind),
            _ => None,
        }
    }

    /// What went wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// A path as shown to a person: control characters escaped, so that a file name cannot drive the terminal.
pub fn shown(path: &Path) -> String {
    clean(&path.to_string_lossy())
}

/// Text from elsewhere with control characters escaped, those of writing direction too: they show a name as another.
pub fn clean(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|c| if c.is_control() || turns(c) { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

fn reason_of_io(error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::NotFound => Reason::Kind(Kind::NotFound),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Reason::Kind(Kind::Denied),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Reason::Kind(Kind::Full),
        io::ErrorKind::AlreadyExists => Reason::Kind(Kind::Conflict),
        io::ErrorKind::InvalidInput
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::InvalidFilename => Reason::Kind(Kind::Invalid),
        io::ErrorKind::BrokenPipe => Reason::BrokenPipe,
        _ => Reason::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_error_names_the_path_and_keeps_its_kind() {
        let error = io::Error::from_raw_os_error(28);
        let failure = Failure::io("write", Path::new("/x/y\u{1b}[31m"), &error);
        assert_eq!(failure.kind(), Some(Kind::Full));
        assert_eq!(failure.message(), "cannot write /x/y\\u{1b}[31m: no space left on device");
    }

    #[test]
    fn context_goes_in_front() {
        let failure = Failure::invalid("too long").context("reading the header");
        assert_eq!(failure.to_string(), "reading the header: too long");
    }
}
