//! `larder rm`: delete files and folders. For a week they can be brought back with `larder restore`, unless `--now`.
//! Again, after an interruption, it goes on where it was.

use std::time::Duration;

use larder_client::files::{RemoveOptions, RemoveReport, TRASH_MS_DEFAULT};
use larder_client::path::VaultPath;
use larder_format::operation::Condition;
use larder_format::record::Version;
use serde_json::json;

use crate::cli::Context;
use crate::cli::lifetime::parse_version;
use crate::cli::report;
use crate::duration;
use crate::failure::{Failure, Outcome, clean};
use crate::size;

/// Flags of `rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files and folders in the vault
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// Folders too, with everything in them
    #[arg(short, long, visible_short_alias = 'R')]
    recursive: bool,
    /// At once and for good, all versions; also of what was deleted before, and of what cannot be read
    #[arg(long, conflicts_with = "trash")]
    now: bool,
    /// How long it can be brought back [default: 7d]
    #[arg(long, value_name = "TIME", value_parser = duration::lifetime, allow_hyphen_values = true)]
    trash: Option<Duration>,
    /// Only if the file has this version (not for folders)
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    if_version: Option<Version>,
}

/// Deletes.
///
/// # Errors
/// Not found; a conflict for a folder without `-r`, or another version.
pub fn run(context: &Context, args: &Args) -> Outcome {
    if args.if_version.is_some() && args.paths.len() > 1 {
        return Err(Failure::invalid("--if-version is for a single file"));
    }
    let paths = args.paths.iter().map(|p| VaultPath::parse(p)).collect::<Result<Vec<_>, _>>()?;
    let trash_ms = match (args.now, args.trash) {
        (true, _) => 0,
        (false, Some(time)) => u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        (false, None) => TRASH_MS_DEFAULT,
    };
    let condition = args.if_version.map_or(Condition::Any, Condition::Version);
    let options = RemoveOptions { recursive: args.recursive, trash_ms, condition };
    crate::session::with_vault(context, async |vault| {
        for path in &paths {
            let done = vault.remove(path, options).await?;
            say(context, path, trash_ms, &done)?;
        }
        Ok(())
    })
}

/// Says what was deleted, and what was not.
///
/// # Errors
/// The first failure's kind, if something in a folder could not be deleted.
fn say(context: &Context, path: &VaultPath, trash_ms: u64, done: &RemoveReport) -> Outcome {
    let shown = clean(&path.to_string());
    context.output.document(&json!({
        "path": path.to_string(),
        "files": done.files,
        "folders": done.folders,
        "bytes": done.bytes,
        "leftovers": done.leftovers,
        "kept_ms": trash_ms,
        "failed": report::failures(&done.failed),
    }))?;
    let kept = if trash_ms == 0 {
        "for good".to_owned()
    } else {
        format!("can be restored for {}", duration::show(Duration::from_millis(trash_ms)))
    };
    let what = match (done.files, done.folders, done.leftovers) {
        (1, 0, _) => size::show(done.bytes),
        (0, 0, leftovers) if leftovers > 0 => {
            format!("what was left of it: {}", size::count(leftovers, "version"))
        }
        (files, folders, _) => format!(
            "{}, {}, {}",
            size::count(files, "file"),
            size::count(folders, "folder"),
            size::show(done.bytes)
        ),
    };
    context.output.note(&format!("{shown}: deleted ({what}), {kept}"));
    report::some_failed(context, &shown, "could not be deleted", &done.failed)
}
