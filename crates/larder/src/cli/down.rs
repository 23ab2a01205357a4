//! `larder down`: stop agent and node, gracefully. What is stored stays; the vault is locked.

use serde_json::json;

use crate::cli::Context;
use crate::failure::Outcome;
use crate::up;

/// Stops everything. Stopping what does not run is done already.
///
/// # Errors
/// If a process does not end in time.
pub fn run(context: &Context) -> Outcome {
    let stopped = up::stop_all(context)?;
    context.output.document(&json!({ "stopped": stopped }))?;
    context.output.note(if stopped.is_empty() {
        "Nothing was running."
    } else {
        "Stopped. What is stored stays."
    });
    Ok(())
}
