//! Kinds of error, named by what the caller should do. Every layer's error type maps onto one of these, and
//! every door has one table from kind to its own status or exit code.

use std::fmt;

/// What a caller should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Fix the request: it is malformed, out of range or asks for what does not exist as a feature.
    Invalid,
    /// The named thing does not exist (or its time is up).
    NotFound,
    /// Somebody else changed it first, or it exists already: read again and decide.
    Conflict,
    /// No room: a quota, a memory cap or a disk. Delete something or raise the limit.
    Full,
    /// Stored bytes are not what was written. Run a check; restore from another copy.
    Damaged,
    /// Not permitted, or not who they say they are.
    Denied,
    /// The vault is locked: unlock it first.
    Locked,
    /// Temporarily impossible; nothing was changed. Try again.
    Retry,
    /// The outcome is not known: it may or may not have happened. Retry only under the same operation id.
    Unknown,
    /// Data or peer is of a newer version than this program. Upgrade.
    TooNew,
    /// The service has stopped itself, for instance after a failed sync. Look at its log.
    Closed,
    /// An I/O error of this machine that is none of the above, for instance a failing disk under a local file.
    Io,
    /// A defect in Larder.
    Bug,
}

impl Kind {
    /// Stable lower-case name, used in JSON output and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Invalid => "invalid",
            Kind::NotFound => "not_found",
            Kind::Conflict => "conflict",
            Kind::Full => "full",
            Kind::Damaged => "damaged",
            Kind::Denied => "denied",
            Kind::Locked => "locked",
            Kind::Retry => "retry",
            Kind::Unknown => "unknown",
            Kind::TooNew => "too_new",
            Kind::Closed => "closed",
            Kind::Io => "io",
            Kind::Bug => "bug",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
