//! `larder namespace delete`: an empty namespace, or with `--force` and after a question one with all that is in it.

use larder_format::error::Kind;
use serde_json::json;

use super::{find, known, own_name};
use crate::cli::Context;
use crate::failure::{Failure, Outcome};
use crate::size;
use crate::terminal::{self, Consent};

/// Flags of `namespace delete`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which
    #[arg(value_name = "NAME")]
    name: String,
    /// Also what is in it, for good
    #[arg(long)]
    force: bool,
    /// Do not ask first; needed for --force without a terminal
    #[arg(short = 'y', long, requires = "force")]
    yes: bool,
}

/// Deletes it.
///
/// # Errors
/// Not found; a conflict if it is not empty, or a door serves it; invalid without a terminal and without `--yes`.
pub fn run(context: &Context, args: &Args) -> Outcome {
    own_name(&args.name)?;
    let folders = &context.folders;
    if args.force && !args.yes {
        let found =
            crate::session::with_node(folders, async |remote| find(known(remote).await?, &args.name))?;
        let what = format!("{} with all that is in it ({})", args.name, found.held());
        match terminal::consent(
            context.output,
            &format!("Delete {what}? Nothing of it can be brought back."),
        )? {
            Consent::Yes => {}
            Consent::No => {
                context.output.note("nothing was deleted");
                return Ok(());
            }
            Consent::Nobody => {
                return Err(
                    Failure::invalid(format!("not deleted: {what}")).hint("--yes does it without asking")
                );
            }
        }
    }
    let deleted = crate::session::with_node(folders, async |remote| {
        Ok(remote.delete_namespace(&args.name, args.force).await?)
    });
    let records = deleted.map_err(|failure| match failure.kind() {
        Some(Kind::Conflict) if failure.message().contains("is not empty") => failure.hint(format!(
            "larder namespace show {} says what is in it; larder namespace delete --force {} deletes that, too",
            args.name, args.name
        )),
        _ => failure,
    })?;
    context.output.document(&json!({ "name": args.name, "deleted": true, "values": records }))?;
    let with = if records == 0 { String::new() } else { format!(", and {}", size::count(records, "value")) };
    context.output.note(&format!("{} is deleted{with}", args.name));
    Ok(())
}
