//! `larder vault repair`: both copies of the vault's header are lost, and the vault is still open: a new header, with a new
//! passphrase and a new recovery code.

use crate::cli::Context;
use crate::cli::vault::{done, hand_over, not_handed_over};
use crate::failure::Outcome;
use crate::passphrase::NewPassphraseArgs;
use crate::vault_header::repair;

/// Flags of `vault repair`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    new: NewPassphraseArgs,
}

/// Makes it.
///
/// # Errors
/// As [`repair::run`]; invalid, naming the flags, if there is no passphrase and nobody can be asked.
pub fn run(context: &Context, args: &Args) -> Outcome {
    // First, before anything else in this process opens a file: inherited descriptors are taken over here.
    let new = args.new.resolve()?;
    // Nobody is asked for a passphrase that is not needed.
    repair::check(&context.folders)?;
    let new = new.another()?;
    repair::run(&context.folders, context.output, new, |made| {
        hand_over(context, made).map_err(|failure| not_handed_over(&failure))
    })?;
    done(
        context,
        "The vault has a header again, here and on the node. The new passphrase and the new recovery code open it; former \
         ones, and people and devices that had a slot, do not: larder vault slots add lets them in again.",
    );
    Ok(())
}
