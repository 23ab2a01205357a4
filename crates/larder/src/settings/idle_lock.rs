//! The setting `idle_lock`: when an open vault locks itself.

use std::time::Duration;

use crate::duration;

/// The vault locks itself after this long without a command.
pub const IDLE_LOCK_DEFAULT: Duration = Duration::from_secs(15 * 60);
/// Shortest idle lock: shorter would lock between two commands of one script.
pub const IDLE_LOCK_MIN: Duration = Duration::from_secs(1);
/// Longest idle lock; `never` is another word.
pub const IDLE_LOCK_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// When an open vault locks itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleLock {
    /// After this long without a command.
    After(Duration),
    /// Only when told to.
    Never,
}

impl IdleLock {
    /// Parses `15m` or `never`.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self::Never);
        }
        duration::parse(text, IDLE_LOCK_MIN, IDLE_LOCK_MAX)
            .map(Self::After)
            .map_err(|e| format!("{e}, or never"))
    }

    /// Exactly, as [`IdleLock::parse`] reads it.
    pub fn text(self) -> String {
        match self {
            Self::Never => "never".to_owned(),
            Self::After(length) => duration::text(length),
        }
    }
}
