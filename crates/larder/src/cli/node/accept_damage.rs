//! `larder node accept-damage`: the operator's word that what was lost from the log stays lost.

use larder_format::error::Kind;
use larder_node::unread_end;
use serde_json::json;

use super::run::node_failure;
use crate::cli::Context;
use crate::failure::{Failure, Outcome};
use crate::life::pid_file;
use crate::settings::Resolved;

/// Flags of `node accept-damage`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do it; without, only say what was lost
    #[arg(long)]
    yes: bool,
}

/// Accepts the loss, or says what it is. Where no node runs because the disk cannot read the end of its log, that is given up.
///
/// # Errors
/// Invalid without `--yes` while there is something to accept; closed if the node does not run for another reason.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let asked = crate::session::with_node(&context.folders, async |remote| {
        let lost = remote.status().await?.damage;
        if lost.is_empty() || !args.yes {
            return Ok(lost);
        }
        Ok(remote.accept_damage().await?)
    });
    let lost = match asked {
        Err(failure) if failure.kind() == Some(Kind::Closed) => return without_node(context, args, failure),
        asked => asked?,
    };
    if lost.is_empty() {
        context.output.document(&json!({ "accepted": false, "lost": lost, "kept": [] }))?;
        return context.output.text("nothing is lost that had to be accepted\n");
    }
    if !args.yes {
        return Err(not_yet(&lost));
    }
    said(context, &lost, &[])
}

/// The node of this machine does not run: because it cannot start, or just so (`unreached`).
fn without_node(context: &Context, args: &Args, unreached: Failure) -> Outcome {
    let folders = &context.folders;
    let is_elsewhere = Resolved::load(&folders.settings_file(), &[])?.settings.connect.is_some();
    if is_elsewhere || pid_file::look(&folders.pid_file(crate::up::NODE))?.is_some() {
        return Err(unreached);
    }
    let end = if args.yes { unread_end::give_up(folders.data()) } else { unread_end::look(folders.data()) };
    let Some(end) = end.map_err(|error| node_failure(&error))? else { return Err(unreached) };
    if !args.yes {
        return Err(not_yet(&end.lost));
    }
    said(context, &end.lost, &end.kept)?;
    context.output.note("the node can start again: larder up");
    Ok(())
}

fn not_yet(lost: &[String]) -> Failure {
    Failure::invalid(format!("not accepted yet: {}", lost.join("; ")))
        .hint("larder node accept-damage --help says what it means; --yes does it")
}

fn said(context: &Context, lost: &[String], kept: &[String]) -> Outcome {
    context.output.document(&json!({ "accepted": true, "lost": lost, "kept": kept }))?;
    let mut lines: Vec<String> = lost.iter().map(|what| format!("accepted  {what}\n")).collect();
    lines.extend(kept.iter().map(|name| {
        format!("kept      {name}, in the data folder: all that the disk may give back one day\n")
    }));
    context.output.text(&lines.concat())
}
