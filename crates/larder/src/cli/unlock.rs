//! `larder unlock`: open the vault with the passphrase, the recovery code or an identity. The key is derived in the agent.

use std::path::{Path, PathBuf};

use larder_format::error::Kind;
use larder_seal::fingerprint::Fingerprint;
use serde_json::json;
use zeroize::Zeroizing;

use crate::agent::client::Agent;
use crate::agent::protocol::{RECOVERY_CODE_LEN_MAX, Request, Secret};
use crate::atomic_file;
use crate::cli::Context;
use crate::cli::vault::key_file;
use crate::failure::{Failure, Outcome, shown};
use crate::moment;
use crate::passphrase::{Passphrase, PassphraseArgs};
use crate::terminal::Terminal;
use crate::vault_header::{file, kept, pin};

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
    /// Open it with the secret identity in this file (`larder vault recipient new` makes one)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["passphrase_file", "passphrase_fd", "recovery", "recovery_code_file"])]
    identity: Option<PathBuf>,
    /// Open it only if it is the vault with this fingerprint (`larder vault slots` shows it)
    #[arg(long, value_name = "TEXT", value_parser = parse_fingerprint)]
    fingerprint: Option<Fingerprint>,
}

fn parse_fingerprint(text: &str) -> Result<Fingerprint, String> {
    Fingerprint::parse(text)
        .ok_or_else(|| "a fingerprint has 32 letters and digits in eight groups".to_owned())
}

/// Opens the vault; without flags on a terminal, asks up to three times.
///
/// # Errors
/// Denied for a wrong passphrase; invalid, naming the flags, if there is none and nobody to ask.
pub fn run(context: &Context, args: &Args) -> Outcome {
    // First, before anything else in this process opens a file: an inherited descriptor is taken over here.
    let source = args.passphrase.resolve()?;
    let mut agent = Agent::connect(&context.folders)?;
    check_header(context, args)?;
    let result = match secret(args, source)? {
        Source::Given(secret) => {
            let first = agent.tell(&Request::Unlock(secret.clone()));
            match first {
                // The passphrase may be the new one of a change made on another device.
                Err(failure) if failure.kind() == Some(Kind::Denied) && newer_header_came(context) => {
                    agent.tell(&Request::Unlock(secret))
                }
                first => first,
            }
        }
        Source::Ask(mut terminal) => agent.unlock_by_asking(&mut terminal),
    };
    result.map_err(|failure| {
        if failure.kind() == Some(Kind::Denied) && !args.recovery && args.identity.is_none() {
            failure.hint("larder unlock --recovery opens it with the recovery code")
        } else {
            failure
        }
    })?;
    if let Ok(Some(header)) = file::read(&context.folders) {
        pin::remember_header(&context.folders, &header)?;
    }
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

/// What opens the vault, or whom to ask for the passphrase.
enum Source {
    Given(Secret),
    Ask(Terminal),
}

fn secret(args: &Args, source: Passphrase) -> Outcome<Source> {
    if let Some(path) = &args.identity {
        return Ok(Source::Given(Secret::Identity(key_file::read(path)?)));
    }
    if args.recovery || args.recovery_code_file.is_some() {
        let code = recovery_code(args.recovery_code_file.as_deref())?;
        return Ok(Source::Given(Secret::RecoveryCode(code)));
    }
    Ok(match source {
        Passphrase::Ask(terminal) => Source::Ask(terminal),
        given => Source::Given(Secret::Passphrase(given.existing()?)),
    })
}

/// Whether the node had a newer header of this vault, which is in place now. If the node cannot be asked, it had none.
fn newer_header_came(context: &Context) -> bool {
    let (folders, output) = (&context.folders, context.output);
    let Ok(Some(header)) = file::read(folders) else { return false };
    let before = header.revision();
    kept::adopt_newer(folders, output, header, None).is_ok_and(|header| header.revision() > before)
}

/// Before a secret is used: the header is not an older one, and the vault's for whose fingerprint was asked.
fn check_header(context: &Context, args: &Args) -> Outcome {
    let Some(header) = file::read(&context.folders)? else { return Ok(()) };
    pin::refuse_older_here(&context.folders, &header)?;
    let other = pin::refuse_other(&context.folders, &header);
    let Some(fingerprint) = &args.fingerprint else { return other };
    header.verify_pinned(fingerprint).map_err(|e| {
        Failure::new(e.kind(), e.to_string())
            .hint("ask the vault's owner for its fingerprint: larder vault slots")
    })?;
    // Named by whom it concerns: what this machine knew before counts no more.
    match other {
        Err(failure) if failure.kind() == Some(Kind::Conflict) => pin::forget(&context.folders),
        other => other,
    }
}

/// A recovery code from a file, or asked for.
///
/// # Errors
/// Invalid, naming the flag, if there is neither a file nor somebody to ask.
pub fn recovery_code(file: Option<&Path>) -> Outcome<Zeroizing<Vec<u8>>> {
    if let Some(path) = file {
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
