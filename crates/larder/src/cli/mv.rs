//! `larder mv`: give files and folders other names, or other folders to be in. Content does not travel; older versions of a
//! file come along. The same command again finishes an interrupted one.

use larder_client::moves::{MoveOptions, MoveReport};
use larder_client::path::VaultPath;
use larder_format::record::Version;
use larder_node::identity::Right;
use serde_json::json;

use crate::certificates::Certificates;
use crate::cli::Context;
use crate::cli::cp::Destination;
use crate::cli::lifetime::parse_version;
use crate::cli::several::Several;
use crate::failure::{Failure, Outcome, clean};
use crate::size;

/// Flags of `mv`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files and folders in the vault; the last of the names where to (a name, or a folder when it ends in / or is one)
    #[arg(required = true, value_name = "SOURCE... DESTINATION")]
    paths: Vec<String>,
    /// The destination is the name to give, also where a folder is there already; an empty one gives way
    #[arg(short = 'T', long)]
    no_target_directory: bool,
    /// Not over a file that is there
    #[arg(short, long)]
    no_clobber: bool,
    /// Only if the file has this version (not for folders)
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    if_version: Option<Version>,
}

/// Moves everything named.
///
/// # Errors
/// Not found; a conflict if something is in the way; of several as [`Several`] says.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let destination = Destination::parse(context, &args.paths, args.no_target_directory)?;
    if args.if_version.is_some() && destination.sources.len() > 1 {
        return Err(Failure::invalid("--if-version is for a single file"));
    }
    // A move ends with a deletion; who may not delete must not begin one.
    Certificates::in_folder(context.folders.certificates()).check_client(Right::Write)?;
    let options = MoveOptions { no_clobber: args.no_clobber, if_version: args.if_version };
    crate::session::with_vault(context, async |vault| {
        let mut several = Several::new(context, destination.sources.len());
        for (from, to) in destination.pairs(vault).await? {
            let done = vault.rename(&from, &to, options).await.map_err(Failure::from);
            several.one(done.and_then(|done| say(context, &from, &done)))?;
        }
        several.end()
    })
}

fn say(context: &Context, from: &VaultPath, done: &MoveReport) -> Outcome {
    context.output.document(&json!({
        "path": from.to_string(),
        "to": done.to.to_string(),
        "kind": if done.folder { "folder" } else { "file" },
        "version": done.version.map(|v| v.to_string()),
        "replaced": done.replaced.map(|v| v.to_string()),
        "versions": done.versions,
        "left_behind": done.left_behind,
        "finished": done.finished,
    }))?;
    let (from, to) = (clean(&from.to_string()), clean(&done.to.to_string()));
    let mut line = format!("{from}: moved to {to}");
    if done.finished {
        line.push_str(" (finished what was begun before)");
    }
    if done.versions > 0 {
        line.push_str(&format!(", with {}", size::count(done.versions, "older version")));
    }
    if done.replaced.is_some() {
        line.push_str("; what was there is an older version now");
    }
    context.output.note(&line);
    if done.left_behind > 0 {
        let count = size::count(done.left_behind, "older version");
        context.output.note(&format!("{from}: {count} cannot be read and stayed under the old name"));
    }
    Ok(())
}
