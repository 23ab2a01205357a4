//! `larder vault kit`: a page for paper. The recovery code is stored nowhere, so a kit comes with a new one.

use std::path::PathBuf;

use larder_format::clock::{Clock, SystemClock};
use larder_format::error::Kind;
use serde_json::json;
use zeroize::Zeroizing;

use crate::agent::change::What;
use crate::atomic_file::{self, Existing};
use crate::cli::Context;
use crate::cli::vault::{done, need_open, not_handed_over};
use crate::failure::{Failure, Outcome, shown};
use crate::moment;
use crate::session;
use crate::vault_header::change::{self, Made};
use crate::vault_header::file;

/// Flags of `vault kit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write the page (must not exist); without it, standard output
    file: Option<PathBuf>,
    /// Make the new recovery code that the kit is for; the old one stops working
    #[arg(long)]
    new_code: bool,
}

/// Makes the page.
///
/// # Errors
/// Invalid without `--new-code`; locked; I/O if the page could not be handed over, and then the old code stays; as
/// [`change::run`].
pub fn run(context: &Context, args: &Args) -> Outcome {
    file::read_existing(&context.folders)?;
    if !args.new_code {
        return Err(Failure::invalid(
            "the recovery code is stored nowhere, so that a kit needs a new one; the old one stops working then",
        )
        .hint("larder vault kit --new-code FILE"));
    }
    if let Some(path) = args.file.as_ref().filter(|path| path.exists()) {
        return Err(Failure::new(Kind::Conflict, format!("{} is there already", shown(path)))
            .hint("name another file"));
    }
    need_open(context)?;
    let node = session::node_address(&context.folders)?.to_string();
    change::run(context, None, What::RecoveryCode, |made| {
        let page = page(made, &node)?;
        if let Some(path) = &args.file {
            atomic_file::write(path, page.as_bytes(), Existing::Keep)?;
        }
        hand_over(context, args, &page, made).map_err(|failure| {
            if let Some(path) = &args.file {
                // Its code opens nothing, and it would be in the way of the next one.
                let _ = atomic_file::remove_if(path, |held| held == page.as_bytes());
            }
            not_handed_over(&failure)
        })
    })?;
    done(
        context,
        "The recovery code in the kit counts from now on; the old one opens nothing any more. Print the page, and \
         keep it where this machine is not.",
    );
    Ok(())
}

fn hand_over(context: &Context, args: &Args, page: &str, made: &Made) -> Outcome {
    context.output.document(&json!({
        "file": args.file,
        "slot": made.slot.to_string(),
        "revision": made.header.revision(),
        "recovery_code": made.recovery_code.as_ref().map(|code| code.as_str()),
        "page": args.file.is_none().then_some(page),
    }))?;
    if args.file.is_none() && !context.output.json() {
        // A reader that went away has not seen it.
        context.output.text(page)?;
    }
    Ok(())
}

fn page(made: &Made, node: &str) -> Outcome<Zeroizing<String>> {
    let missing = || Failure::new(Kind::Bug, "a new recovery code comes with no code");
    let code = made.recovery_code.as_ref().ok_or_else(missing)?;
    let fingerprint = made.header.fingerprint().map(|f| f.to_string()).unwrap_or_default();
    let made_at = moment::show_ms(SystemClock::new().wall_ms());
    Ok(Zeroizing::new(format!(
        "LARDER RECOVERY KIT                                {made_at}\n\
         \n\
         Recovery code   {}\n\
         Vault           {}\n\
         Fingerprint     {fingerprint}\n\
         Node            {node}\n\
         \n\
         Whoever has this page and can reach the node's data can read the vault.\n\
         Keep it where you keep a passport, and not beside the machine.\n\
         \n\
         The passphrase is lost:\n\
         \x20 1. larder up\n\
         \x20 2. larder vault recover        type the code above, choose a new passphrase\n\
         \n\
         The machine is lost, the node's data is there (its folder, or a backup of it):\n\
         \x20 1. install larder, put the data folder back in its place\n\
         \x20 2. larder up --vault {}\n\
         \x20    It takes the vault's header from the node.\n\
         \x20 3. larder vault slots          the fingerprint must be the one above\n\
         \x20 4. larder vault recover\n",
        code.as_str(),
        made.header.vault(),
        made.header.vault(),
    )))
}
