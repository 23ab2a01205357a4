//! `larder vault recovery-code`: a new recovery code in the place of the old one. It counts once it was shown (or
//! written, or answered): a code that nobody saw never replaces one that somebody has.

use std::path::PathBuf;

use larder_format::error::Kind;

use crate::agent::change::What;
use crate::atomic_file::{self, Existing};
use crate::cli::Context;
use crate::cli::vault::{done, hand_over, need_open, not_handed_over};
use crate::failure::{Failure, Outcome, shown};
use crate::up::code_file;
use crate::vault_header::{change, file};

/// Flags of `vault recovery-code`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also write the new code to this file (which must not exist)
    #[arg(long, value_name = "FILE")]
    recovery_code_file: Option<PathBuf>,
}

/// Makes a new code.
///
/// # Errors
/// Locked; I/O if the code could not be handed over, and then the old one stays; as [`change::run`].
pub fn run(context: &Context, args: &Args) -> Outcome {
    file::read_existing(&context.folders)?;
    if let Some(path) = args.recovery_code_file.as_ref().filter(|path| path.exists()) {
        return Err(Failure::new(Kind::Conflict, format!("{} is there already", shown(path)))
            .hint("name another file with --recovery-code-file"));
    }
    need_open(context)?;
    change::run(context, None, What::RecoveryCode, |made| {
        if let (Some(path), Some(code)) = (&args.recovery_code_file, &made.recovery_code) {
            atomic_file::write(path, code_file::line(code).as_bytes(), Existing::Keep)?;
        }
        hand_over(context, made).map_err(|failure| {
            if let (Some(path), Some(code)) = (&args.recovery_code_file, &made.recovery_code) {
                // It opens nothing, and would be in the way of the next one. That it could not go changes nothing about that.
                let _ = code_file::withdraw(path, code);
            }
            not_handed_over(&failure)
        })
    })?;
    done(context, "The new recovery code counts from now on; the old one opens nothing any more.");
    Ok(())
}
