//! `larder status`: what runs, what it holds, and whether the vault is open.

use crate::cli::Context;
use crate::failure::Outcome;

/// Shows the state of things.
///
/// # Errors
/// If stdout cannot be written.
pub fn run(_context: &Context) -> Outcome {
    Ok(())
}
