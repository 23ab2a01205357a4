//! `larder lock`: forget the opened vault's key. Locking what is locked, or when no agent runs, is done already.

use larder_format::error::Kind;
use serde_json::json;

use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::cli::Context;
use crate::failure::Outcome;

/// Locks.
///
/// # Errors
/// If the agent runs and does not answer.
pub fn run(context: &Context) -> Outcome {
    match Agent::connect(&context.folders) {
        Ok(mut agent) => agent.tell(&Request::Lock)?,
        // Without an agent nothing is open.
        Err(failure) if failure.kind() == Some(Kind::Closed) => {}
        Err(failure) => return Err(failure),
    }
    context.output.document(&json!({ "locked": true }))?;
    context.output.note("The vault is locked.");
    Ok(())
}
