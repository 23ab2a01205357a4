//! `larder restore`: make an older version of a file the current one again, or bring back a deleted file or folder.

use larder_client::files::{PutReport, Restored, RestoredFolder};
use larder_client::path::VaultPath;
use larder_format::record::Version;
use serde_json::json;

use crate::cli::Context;
use crate::cli::lifetime::parse_version;
use crate::cli::listing::hex;
use crate::cli::report;
use crate::failure::{Outcome, clean};
use crate::moment;
use crate::size;

/// Flags of `restore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File or deleted folder in the vault
    #[arg(value_name = "PATH")]
    path: String,
    /// Which version [default: the newest that is not current]
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    version: Option<Version>,
    /// Take the file as the node shows it, though this machine has seen a newer state (as after the node was put back
    /// from a backup)
    #[arg(long, conflicts_with = "version")]
    accept_older: bool,
}

/// Restores; the version that was current is kept as one more. A folder comes back with all that was deleted with it.
///
/// # Errors
/// Not found; a conflict if something new has the folder's name; damaged if parts of that version are missing.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let path = context.path(&args.path)?;
    crate::session::with_vault(context, async |vault| {
        if args.accept_older {
            let done = vault.accept_older(&path).await?;
            let from = done.replaced.unwrap_or(done.version);
            return say_file(context, &path, from, &done);
        }
        say(context, &path, &vault.restore(&path, args.version).await?)
    })
}

/// Says what was brought back.
///
/// # Errors
/// The first failure's kind, if something in a folder could not be.
pub fn say(context: &Context, path: &VaultPath, restored: &Restored) -> Outcome {
    match restored {
        Restored::File { from, report } => say_file(context, path, *from, report),
        Restored::Folder(done) => say_folder(context, path, done),
    }
}

fn say_file(context: &Context, path: &VaultPath, from: Version, done: &PutReport) -> Outcome {
    context.output.document(&json!({
        "path": path.to_string(),
        "kind": "file",
        "restored": from.to_string(),
        "version": done.version.to_string(),
        "replaced": done.replaced.map(|v| v.to_string()),
        "not_kept": done.not_kept,
        "size": done.size,
        "blake3": hex(&done.content_hash),
    }))?;
    context.output.note(&format!(
        "{}: as it was written {} ({}){}",
        clean(&path.to_string()),
        moment::show_ms(from.0.ms()),
        size::show(done.size),
        report::not_kept(done)
    ));
    Ok(())
}

fn say_folder(context: &Context, path: &VaultPath, done: &RestoredFolder) -> Outcome {
    let shown = clean(&path.to_string());
    context.output.document(&json!({
        "path": path.to_string(),
        "kind": "folder",
        "restored": done.from.to_string(),
        "files": done.files,
        "folders": done.folders,
        "bytes": done.bytes,
        "failed": report::failures(&done.failed),
    }))?;
    context.output.note(&format!(
        "{shown}: as it was deleted {} ({}, {}, {})",
        moment::show_ms(done.from.0.ms()),
        size::count(done.files, "file"),
        size::count(done.folders, "folder"),
        size::show(done.bytes)
    ));
    report::some_failed(context, &shown, "could not be brought back", &done.failed)
}
