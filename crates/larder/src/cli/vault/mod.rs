//! `larder vault`: who can open the vault, and with what. One verb, one file.

pub mod key_file;
mod kit;
mod passphrase;
mod recipient;
mod recover;
mod recovery_code;
mod repair;
mod slots;

use serde_json::json;

use crate::agent::client::{Agent, opened_vault};
use crate::cli::Context;
use crate::failure::{Failure, Outcome};
use crate::output::Tone;
use crate::session;
use crate::vault_header::change::Made;
use larder_format::error::Kind;

/// Flags of `vault`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// What opens the vault: passphrases, the recovery code, people and devices
    Slots(slots::Args),
    /// Change the passphrase; the old one stops working
    Passphrase(passphrase::Args),
    /// Set a new passphrase with the recovery code, when the old one is lost
    Recover(recover::Args),
    /// Make a new recovery code; the old one stops working
    RecoveryCode(recovery_code::Args),
    /// Make a new header from the vault that is open, when file and node's copy are both lost
    Repair(repair::Args),
    /// Keys of a person or device that can be given a slot
    Recipient(recipient::Args),
    /// A page to print and keep: what is needed to get back to the vault
    Kit(kit::Args),
}

/// Runs the verb.
///
/// # Errors
/// As the verb says.
pub fn run(context: &Context, args: Args) -> Outcome {
    match args.verb {
        Verb::Slots(args) => slots::run(context, args),
        Verb::Passphrase(args) => passphrase::run(context, &args),
        Verb::Recover(args) => recover::run(context, &args),
        Verb::RecoveryCode(args) => recovery_code::run(context, &args),
        Verb::Repair(args) => repair::run(context, &args),
        Verb::Recipient(args) => recipient::run(context, args),
        Verb::Kit(args) => kit::run(context, &args),
    }
}

/// Makes sure that the vault is open, asking for the passphrase where somebody can be asked.
fn need_open(context: &Context) -> Outcome {
    opened_vault(&context.folders, context.output).map(drop)
}

/// Makes sure, before a person types anything, that agent and node are there to change it.
fn need_both(context: &Context) -> Outcome {
    Agent::connect(&context.folders)?;
    session::with_node(&context.folders, async |_| Ok(()))
}

/// Hands over what a change made, before it counts: in the answer with `--json`, else a new code before a person's eyes.
fn hand_over(context: &Context, made: &Made) -> Outcome {
    context.output.document(&json!({
        "slot": made.slot.to_string(),
        "revision": made.header.revision(),
        "recovery_code": made.recovery_code.as_ref().map(|code| code.as_str()),
    }))?;
    let Some(code) = &made.recovery_code else { return Ok(()) };
    let line = "─".repeat(64);
    context.output.must_note(&format!(
        "{line}\n  Your new recovery code, shown this once:\n\n      {}\n\n  It opens the vault if the passphrase is lost. Keep it away from this machine.\n{line}",
        context.output.paint_err(Tone::Strong, code)
    ))
}

/// What it means that a new code did not arrive.
fn not_handed_over(failure: &Failure) -> Failure {
    let message = format!("nothing was changed, because the answer could not be handed over: {failure}");
    Failure::new(Kind::Io, message)
}

/// Says that a change is done, to people; programs had their answer.
fn done(context: &Context, words: &str) {
    context.output.note(words);
}
