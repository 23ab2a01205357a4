//! `larder node unread`: what was kept aside when the end of the log was given up, and removing it. Nothing reads it any more,
//! and it counts in the node's quota; but only a person knows whether there is still hope for it.

use larder_format::error::Kind;
use larder_node::unread_end::{self, Aside};
use serde_json::json;

use super::run::node_failure;
use crate::cli::Context;
use crate::failure::{Failure, Outcome};
use crate::settings::Resolved;
use crate::size;

/// Flags of `node unread`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Delete them: whatever the disk might still have given back of them is gone then
    #[arg(long)]
    remove: bool,
}

/// Lists or removes them, with or without a node.
///
/// # Errors
/// Invalid if the node is another machine's; conflict if giving up was interrupted and is not finished yet; what the file
/// system says.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let folders = &context.folders;
    if Resolved::load(&folders.settings_file(), &[])?.settings.connect.is_some() {
        return Err(Failure::invalid("the node's files are on another machine").hint("run it there"));
    }
    let kept = unread_end::kept_aside(folders.data()).map_err(|error| node_failure(&error))?;
    let removed = match args.remove {
        true => unread_end::remove_aside(folders.data()).map_err(|error| node_failure(&error))?,
        false => Vec::new(),
    };
    let left: Vec<&Aside> = kept.iter().filter(|file| !removed.contains(file)).collect();
    let bytes = |files: &mut dyn Iterator<Item = &Aside>| files.map(|file| file.len).sum::<u64>();
    let object = |file: &Aside| json!({ "name": file.name, "bytes": file.len });
    context.output.document(&json!({
        "kept": left.iter().map(|file| object(file)).collect::<Vec<_>>(),
        "removed": removed.iter().map(object).collect::<Vec<_>>(),
        "bytes": bytes(&mut kept.iter()),
    }))?;
    if kept.is_empty() {
        return context.output.text("nothing was kept aside\n");
    }
    let line = |word: &str, file: &Aside| format!("{word:<8} {:>10}  {}\n", size::show(file.len), file.name);
    let mut lines: Vec<String> = removed.iter().map(|file| line("removed", file)).collect();
    lines.extend(left.iter().map(|file| line("kept", file)));
    context.output.text(&lines.concat())?;
    if args.remove && !left.is_empty() {
        let message = "the end of the log was given up and that is not finished: it is still needed";
        return Err(Failure::new(Kind::Conflict, message).hint("larder up finishes it; then try again"));
    }
    Ok(())
}
