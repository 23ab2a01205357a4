//! `larder vault recipient`: the keys of a person or device. The secret half stays in a file of theirs; the public half
//! goes to whoever has the vault, who gives it a slot.

use std::path::PathBuf;

use larder_format::error::Kind;
use larder_format::rng::SystemRng;
use larder_seal::recipient::{Identity, Recipient};
use serde_json::json;
use zeroize::Zeroizing;

use crate::atomic_file::{self, Existing};
use crate::cli::Context;
use crate::cli::vault::key_file;
use crate::failure::{Failure, Outcome, shown};

/// Flags of `vault recipient`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make new keys: the secret identity in a file, the public recipient on standard output
    New(NewArgs),
    /// Show the public recipient of a secret identity
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
struct NewArgs {
    /// Where to write the secret identity (must not exist)
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The file with the secret identity
    file: PathBuf,
}

/// Runs the verb.
///
/// # Errors
/// A conflict if the file is there already; what the file system says.
pub fn run(context: &Context, args: Args) -> Outcome {
    match args.verb {
        Verb::New(args) => new(context, &args),
        Verb::Show(args) => {
            let text = key_file::read_text(&args.file)?;
            let identity = Identity::parse(&text)
                .map_err(|bad| Failure::new(bad.kind(), bad.to_string()).context(&shown(&args.file)))?;
            show(context, identity.recipient(), &args)
        }
    }
}

fn new(context: &Context, args: &NewArgs) -> Outcome {
    if args.file.exists() {
        return Err(Failure::new(Kind::Conflict, format!("{} is there already", shown(&args.file)))
            .hint("name another file; what is there may be the only key to a vault"));
    }
    let identity = Identity::generate(&mut SystemRng).map_err(|e| Failure::new(e.kind(), e.to_string()))?;
    let text = Zeroizing::new(format!(
        "# A secret identity of Larder: whoever has it opens every vault that has a slot for it. Keep it to yourself.\n\
         # Recipient fingerprint {}\n{}\n",
        identity.recipient().fingerprint(),
        *identity.to_text()
    ));
    atomic_file::write(&args.file, text.as_bytes(), Existing::Keep)?;
    show(context, identity.recipient(), &ShowArgs { file: args.file.clone() })?;
    context.output.note(&format!(
        "The secret identity is in {}. Send the line above to whoever has the vault open, who runs\n  \
         larder vault slots add --recipient FILE --label NAME\n\
         and compare the fingerprint with them: {}",
        shown(&args.file),
        identity.recipient().fingerprint()
    ));
    Ok(())
}

fn show(context: &Context, recipient: &Recipient, args: &ShowArgs) -> Outcome {
    context.output.document(&json!({
        "recipient": recipient.to_text(),
        "fingerprint": recipient.fingerprint().to_string(),
        "identity_file": args.file,
    }))?;
    if context.output.json() {
        return Ok(());
    }
    context.output.text(&format!("{}\n", recipient.to_text()))
}
