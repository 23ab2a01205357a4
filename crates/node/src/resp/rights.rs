//! What a certificate or token lets its holder do at this door: reading, changing values, and on which keys.

use larder_door::resp::table::{Command, Flags, Group};
use larder_door::resp::{Args, Verb};

use super::session::Space;
use crate::identity::{Identity, Right};

/// The least right that a command needs; `None`: none at all, it is about the connection.
fn needed(command: &Command) -> Option<Right> {
    match command.verb {
        Verb::Publish => Some(Right::Write),
        _ if command.flags.has(Flags::WRITE) => Some(Right::Write),
        _ if command.group == Group::Connection || command.group == Group::Transactions => None,
        _ => Some(Right::Read),
    }
}

/// Whether somebody may use a command on these keys.
///
/// # Errors
/// What is told instead.
pub(super) fn check(
    who: &Identity,
    space: &Space,
    command: &'static Command,
    _args: Args<'_>,
) -> Result<(), String> {
    let Some(right) = needed(command) else { return Ok(()) };
    if who.right < right {
        return Err(format!(
            "NOPERM this user has no permissions to run the '{}' command: {:?} lacks the right {right}",
            command.name, who.name
        ));
    }
    let is_named = |name: &String| *name == space.settings.name;
    if who.namespaces.as_ref().is_some_and(|names| !names.iter().any(is_named)) {
        return Err(format!(
            "NOPERM {:?} has no rights in the namespace {:?}",
            who.name, space.settings.name
        ));
    }
    Ok(())
}
