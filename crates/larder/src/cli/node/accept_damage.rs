//! `larder node accept-damage`: the operator's word that what was lost from the log stays lost.

use serde_json::json;

use crate::cli::Context;
use crate::failure::{Failure, Outcome};

/// Flags of `node accept-damage`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do it; without, only say what was lost
    #[arg(long)]
    yes: bool,
}

/// Accepts the loss, or says what it is.
///
/// # Errors
/// Invalid without `--yes` while there is something to accept; closed if the node does not run.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let lost = crate::session::with_node(&context.folders, async |remote| {
        let lost = remote.status().await?.damage;
        if lost.is_empty() || !args.yes {
            return Ok(lost);
        }
        Ok(remote.accept_damage().await?)
    })?;
    if lost.is_empty() {
        context.output.document(&json!({ "accepted": false, "lost": lost }))?;
        return context.output.text("nothing is lost that had to be accepted\n");
    }
    if !args.yes {
        return Err(Failure::invalid(format!("not accepted yet: {}", lost.join("; ")))
            .hint("larder node accept-damage --help says what it means; --yes does it"));
    }
    context.output.document(&json!({ "accepted": true, "lost": lost }))?;
    let lines: Vec<String> = lost.iter().map(|what| format!("accepted  {what}\n")).collect();
    context.output.text(&lines.concat())
}
