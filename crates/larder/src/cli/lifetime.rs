//! Flags about lifetimes and conditions, shared by the verbs that write.

use std::time::Duration;

use larder_format::namespace::LifetimeRequest;
use larder_format::operation::Condition;
use larder_format::record::Version;

use crate::duration;

/// Until when.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct LifetimeArgs {
    /// How long it lives: 90s, 15m, 2h, 7d, 1.5h, or plain seconds
    #[arg(long, value_name = "TIME", value_parser = duration::lifetime, allow_hyphen_values = true)]
    pub ttl: Option<Duration>,
}

impl LifetimeArgs {
    /// As the client asks for it.
    pub fn request(self) -> LifetimeRequest {
        match self.ttl {
            Some(ttl) => LifetimeRequest::Ttl(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
            None => LifetimeRequest::Default,
        }
    }
}

/// Only when.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct ConditionArgs {
    /// Only if nothing is there
    #[arg(long, conflicts_with = "if_version")]
    pub if_absent: bool,
    /// Only if it has this version
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    pub if_version: Option<Version>,
}

impl ConditionArgs {
    /// As the client asks for it.
    pub fn condition(self) -> Condition {
        match (self.if_absent, self.if_version) {
            (true, _) => Condition::Absent,
            (false, Some(version)) => Condition::Version(version),
            (false, None) => Condition::Any,
        }
    }
}

/// Reads a version as listings show it.
///
/// # Errors
/// A sentence that says what a version looks like.
pub fn parse_version(text: &str) -> Result<Version, String> {
    match text.parse::<u64>() {
        Ok(number) if number > 0 => Ok(Version::from_u64(number)),
        _ => Err("a version is a number, as `larder versions` or `larder stat` shows it".to_owned()),
    }
}
