//! The settings `scrub_every`, `collect_every` and `retention_every`: how often node and agent look after what is held.

use std::time::Duration;

use crate::duration;

/// Shortest period: for trying out what it does.
pub const EVERY_MIN: Duration = Duration::from_secs(1);
/// Longest period; `off` is another word.
pub const EVERY_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// How often; `None`: not by itself. (A name of its own, so that a flag's value is one thing and not an optional one.)
pub type Every = Option<Duration>;

/// How often the agent applies the retention rules unless said otherwise: a rule set by mistake can be taken back for
/// up to so long.
pub const RETENTION_EVERY_DEFAULT: Duration = Duration::from_secs(3600);

/// Parses `7d` or `off`.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse(text: &str) -> Result<Option<Duration>, String> {
    if text == "off" {
        return Ok(None);
    }
    duration::parse(text, EVERY_MIN, EVERY_MAX).map(Some).map_err(|e| format!("{e}, or off"))
}

/// Exactly, as [`parse`] reads it.
pub fn text(every: Option<Duration>) -> String {
    every.map_or_else(|| "off".to_owned(), duration::text)
}

/// What is allowed, for people.
pub fn allowed() -> String {
    format!("{} to {}, or off", duration::show(EVERY_MIN), duration::show(EVERY_MAX))
}
