//! `larder vault recover`: the passphrase is lost; the recovery code sets a new one, and the vault is open afterwards.

use std::path::PathBuf;

use crate::agent::change::What;
use crate::agent::client::Agent;
use crate::agent::protocol::{Request, Secret};
use crate::cli::Context;
use crate::cli::unlock::recovery_code;
use crate::cli::vault::slots::find;
use crate::cli::vault::{done, hand_over, need_both, not_handed_over};
use crate::failure::Outcome;
use crate::passphrase::NewPassphraseArgs;
use crate::terminal::Terminal;
use crate::vault_header::{change, file};

/// Flags of `vault recover`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Read the recovery code from a file
    #[arg(long, value_name = "FILE")]
    recovery_code_file: Option<PathBuf>,
    #[command(flatten)]
    new: NewPassphraseArgs,
    /// Make a new recovery code, too; the one used now stops working (asked on a terminal)
    #[arg(long)]
    new_code: bool,
    /// Which passphrase is lost, if the vault has several (an id of `larder vault slots`)
    #[arg(long, value_name = "ID")]
    slot: Option<String>,
}

/// Sets a new passphrase.
///
/// # Errors
/// Denied for a wrong code; invalid for a mistyped one, or if something is missing and nobody can be asked; as
/// [`change::run`].
pub fn run(context: &Context, args: &Args) -> Outcome {
    // First, before anything else in this process opens a file: inherited descriptors are taken over here.
    let new = args.new.resolve()?;
    let header = file::read_existing(&context.folders)?;
    need_both(context)?;
    let slot = args.slot.as_deref().map(|id| find(&header, id)).transpose()?;
    let code = recovery_code(args.recovery_code_file.as_deref())?;
    let new = new.another()?;
    let new_code = args.new_code || offered(args)?;
    let what = What::Passphrase { slot, new: new.clone(), new_code };
    let proof = Some(Secret::RecoveryCode(code));
    let made = change::run(context, proof, what, |made| {
        hand_over(context, made).map_err(|failure| not_handed_over(&failure))
    })?;
    Agent::connect(&context.folders)?.tell(&Request::Unlock(Secret::Passphrase(new)))?;
    done(
        context,
        if made.recovery_code.is_some() {
            "The new passphrase counts, and so does the new recovery code; the old ones open nothing any more. The \
             vault is open."
        } else {
            "The new passphrase counts; the old one opens nothing any more. The recovery code stays as it is. The \
             vault is open."
        },
    );
    Ok(())
}

/// A code that was typed has been seen: a person is offered another one.
fn offered(args: &Args) -> Outcome<bool> {
    if args.recovery_code_file.is_some() {
        return Ok(false);
    }
    match Terminal::open() {
        Some(mut terminal) => terminal.ask_yes("Make a new recovery code, too, in the place of this one?"),
        None => Ok(false),
    }
}
