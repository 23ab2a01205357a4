//! The one-acceptor path of plain values: bytes and an end, nothing else. The same rules as [`super::apply`], for
//! callers that hold the value themselves and want no allocation between them and it: what goes in is the version and
//! end of what is there, what comes out the version and end of what replaces it.
//!
//! A value is plain if it may be read any number of times, lists no leases and remembers no operations; what is written
//! here is plain again. Anything else under the key goes through [`super::apply`]. That both agree on every plain value
//! is a property test beside this file.

use larder_format::operation::{Condition, Lifetime, Outcome, Refusal};
use larder_format::record::{Expiry, Version};

use super::Context;
use crate::planted::Planted;
use crate::rules::check_expiry;

/// Why nothing is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unchanged {
    /// There is no value to act on.
    Absent,
    /// The condition does not hold.
    Conflict {
        /// The version there is; `None` if there is no value.
        current: Option<Version>,
    },
    /// Refused whatever is there.
    Refused(Refusal),
}

impl From<Unchanged> for Outcome {
    fn from(unchanged: Unchanged) -> Self {
        match unchanged {
            Unchanged::Absent => Outcome::Absent,
            Unchanged::Conflict { current } => Outcome::Conflict { current },
            Unchanged::Refused(refusal) => Outcome::Refused(refusal),
        }
    }
}

/// Version and end of a value that is kept for a key, whether or not its time is up.
pub type Held = (Version, Expiry);

/// The value if its time is not up.
#[must_use]
#[inline]
pub fn alive(held: Option<Held>, ctx: &Context) -> Option<Held> {
    held.filter(|(_, expiry)| !expiry.is_past(ctx.now))
}

/// Version and end of a value written now.
///
/// # Errors
/// [`Unchanged`]: a condition that does not hold, an end that is not allowed.
#[inline]
pub fn write(
    held: Option<Held>,
    condition: Condition,
    lifetime: Lifetime,
    ctx: &Context,
) -> Result<Held, Unchanged> {
    let alive = alive(held, ctx);
    let current = alive.map(|(version, _)| version);
    let met = match condition {
        Condition::Any => true,
        Condition::Absent => current.is_none(),
        Condition::Version(wanted) => current == Some(wanted),
    };
    if !met {
        return Err(Unchanged::Conflict { current });
    }
    let expiry = match (lifetime, alive) {
        // A kept end was allowed when it was set; a new one is checked.
        (Lifetime::Keep(_), Some((_, expiry))) => expiry,
        (Lifetime::Keep(expiry) | Lifetime::Until(expiry), _) => {
            check_expiry(expiry, ctx).map_err(Unchanged::Refused)?;
            expiry
        }
    };
    Ok((next_version(held, ctx), expiry))
}

/// Version and end of a value whose end is changed now, and nothing else.
///
/// # Errors
/// [`Unchanged`]: no value, a condition that does not hold, an end that is not allowed.
#[inline]
pub fn touch(
    held: Option<Held>,
    condition: Condition,
    expiry: Expiry,
    ctx: &Context,
) -> Result<Held, Unchanged> {
    acts_on(held, condition, ctx)?;
    check_expiry(expiry, ctx).map_err(Unchanged::Refused)?;
    Ok((next_version(held, ctx), expiry))
}

/// Version of the removal of a value now: what comes after must be above it, so it is also the floor to leave.
///
/// # Errors
/// [`Unchanged`]: no value, a condition that does not hold.
#[inline]
pub fn remove(held: Option<Held>, condition: Condition, ctx: &Context) -> Result<Version, Unchanged> {
    acts_on(held, condition, ctx)?;
    Ok(next_version(held, ctx))
}

/// Whether there is a value that an operation may act on.
fn acts_on(held: Option<Held>, condition: Condition, ctx: &Context) -> Result<(), Unchanged> {
    let current = alive(held, ctx).map(|(version, _)| version);
    match (condition, current) {
        (Condition::Any | Condition::Absent, None) => Err(Unchanged::Absent),
        (Condition::Any, Some(_)) => Ok(()),
        (Condition::Version(wanted), Some(found)) if wanted == found => Ok(()),
        _ => Err(Unchanged::Conflict { current }),
    }
}

/// The version a change makes: the operation's time, and above all versions before, also that of a value whose time is
/// up and that nobody has removed yet.
fn next_version(held: Option<Held>, ctx: &Context) -> Version {
    if ctx.faults.has(Planted::WallClockOrder) {
        return Version(ctx.now);
    }
    let before = held.map_or(ctx.floor, |(version, _)| version.max(ctx.floor));
    Version(ctx.now.max(before.0.next()))
}

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
