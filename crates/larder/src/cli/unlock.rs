//! `larder unlock`: open the vault with the passphrase or the recovery code. The key is derived in the agent.

use std::path::PathBuf;

use larder_format::error::Kind;
use serde_json::json;
use zeroize::Zeroizing;

use crate::agent::client::Agent;
use crate::agent::protocol::{RECOVERY_CODE_LEN_MAX, Request, Secret};
use crate::atomic_file;
use crate::cli::Context;
use crate::failure::{Failure, Outcome, shown};
use crate::moment;
use crate::passphrase::{Passphrase, PassphraseArgs};
use crate::terminal::Terminal;

/// Flags of `unlock`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Ask for the recovery code instead of the passphrase
    #[arg(long, conflicts_with_all = ["passphrase_file", "passphrase_fd"])]
    recovery: bool,
    /// Read the recovery code from a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["passphrase_file", "passphrase_fd", "recovery"])]
    recovery_code_file: Option<PathBuf>,
}

/// Opens the vault; without flags on a terminal, asks up to three times.
///
/// # Errors
/// Denied for a wrong passphrase; invalid, naming the flags, if there is none and nobody to ask.
pub fn run(context: &Context, args: &Args) -> Outcome {
    // First, before anything else in this process opens a file: an inherited descriptor is taken over here.
    let source = args.passphrase.resolve()?;
    let mut agent = Agent::connect(&context.folders)?;
    let result = if args.recovery || args.recovery_code_file.is_some() {
        let code = recovery_code(args)?;
        agent.tell(&Request::Unlock(Secret::RecoveryCode(code)))
    } else {
        match source {
            Passphrase::Ask(mut terminal) => agent.unlock_by_asking(&mut terminal),
            given => agent.tell(&Request::Unlock(Secret::Passphrase(given.existing()?))),
        }
    };
    result.map_err(|failure| {
        if failure.kind() == Some(Kind::Denied) && !args.recovery {
            failure.hint("larder unlock --recovery opens it with the recovery code")
        } else {
            failure
        }
    })?;
    let status = agent.status()?;
    context
        .output
        .document(&json!({ "locked": status.open.is_none(), "locks_in_ms": status.locks_in_ms }))?;
    context.output.note(&match status.locks_in_ms {
        Some(ms) => {
            let idle = moment::show_rounded(ms);
            format!("The vault is open; it locks itself after {idle} without a command.")
        }
        None => "The vault is open until `larder lock`.".to_owned(),
    });
    Ok(())
}

fn recovery_code(args: &Args) -> Outcome<Zeroizing<Vec<u8>>> {
    if let Some(path) = &args.recovery_code_file {
        return match atomic_file::read(path, RECOVERY_CODE_LEN_MAX)? {
            Some(bytes) => Ok(Zeroizing::new(bytes)),
            None => Err(Failure::new(Kind::NotFound, format!("{} is missing", shown(path)))),
        };
    }
    let mut terminal = Terminal::open().ok_or_else(|| {
        Failure::invalid("a recovery code is needed, and there is no terminal to ask on")
            .hint("--recovery-code-file FILE")
    })?;
    terminal.ask_secret("Recovery code: ")
}
