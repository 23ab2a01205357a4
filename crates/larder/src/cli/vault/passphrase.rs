//! `larder vault passphrase`: another passphrase in the place of one. The root is wrapped anew and nothing else changes;
//! the proof is the old passphrase or the recovery code, even where the vault is open: whoever finds an unlocked machine
//! must not be able to shut its owner out.

use std::path::PathBuf;

use larder_format::error::Kind;

use crate::agent::change::What;
use crate::agent::protocol::Secret;
use crate::cli::Context;
use crate::cli::unlock::recovery_code;
use crate::cli::vault::{done, hand_over, need_both};
use crate::failure::{Failure, Outcome};
use crate::passphrase::{NewPassphraseArgs, Passphrase, PassphraseArgs};
use crate::vault_header::{change, file};

/// Flags of `vault passphrase`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    current: PassphraseArgs,
    #[command(flatten)]
    new: NewPassphraseArgs,
    /// Prove it with the recovery code in this file instead of the current passphrase
    #[arg(long, value_name = "FILE", conflicts_with_all = ["passphrase_file", "passphrase_fd"])]
    recovery_code_file: Option<PathBuf>,
}

/// Changes the passphrase.
///
/// # Errors
/// Denied for a wrong proof; invalid, naming the flags, if something is missing and nobody can be asked; as
/// [`change::run`].
pub fn run(context: &Context, args: &Args) -> Outcome {
    // First, before anything else in this process opens a file: inherited descriptors are taken over here.
    let (current, new) = (args.current.resolve()?, args.new.resolve()?);
    file::read_existing(&context.folders)?;
    need_both(context)?;
    let proof = match &args.recovery_code_file {
        Some(path) => Secret::RecoveryCode(recovery_code(Some(path))?),
        None => Secret::Passphrase(asked(current)?),
    };
    let what = What::Passphrase { slot: None, new: new.another()?, new_code: false };
    let result = change::run(context, Some(proof), what, |_| Ok(()));
    let made = result.map_err(|failure| match failure.kind() {
        Some(Kind::Denied) => failure.hint("larder vault recover sets a new one with the recovery code"),
        _ => failure,
    })?;
    hand_over(context, &made)?;
    done(context, "The passphrase is changed; the old one opens nothing any more. What was open stays open.");
    Ok(())
}

fn asked(current: Passphrase) -> Outcome<zeroize::Zeroizing<Vec<u8>>> {
    match current {
        Passphrase::Ask(mut terminal) => terminal.ask_secret("Current passphrase: "),
        Passphrase::Nowhere => {
            Err(Failure::invalid("the current passphrase is needed, and there is no terminal to ask on")
                .hint("--passphrase-file FILE or --passphrase-fd N (or --recovery-code-file FILE)"))
        }
        given @ Passphrase::Given(_) => given.existing(),
    }
}
