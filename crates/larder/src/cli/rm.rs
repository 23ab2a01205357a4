//! `larder rm`: delete files and folders. For a week they can be brought back with `larder restore`, unless `--now`.
//! Again, after an interruption, it goes on where it was.

use std::sync::Arc;
use std::time::Duration;

use larder_client::files::{ListedKind, RemoveOptions, RemoveReport, TRASH_MS_DEFAULT};
use larder_client::path::VaultPath;
use larder_client::vault::Vault;
use larder_format::error::Kind;
use larder_format::operation::Condition;
use larder_format::record::Version;
use serde_json::json;

use crate::cli::Context;
use crate::cli::lifetime::parse_version;
use crate::cli::report;
use crate::cli::several::Several;
use crate::duration;
use crate::failure::{Failure, Outcome, clean};
use crate::size;
use crate::terminal::{self, Consent};

/// Most things counted for a question: whoever asks to delete more knows that it is much.
const COUNTED_MAX: u64 = 10_000;

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
    /// How long it can be brought back [default: as `larder retention` says, else 7d]
    #[arg(long, value_name = "TIME", value_parser = duration::lifetime, allow_hyphen_values = true)]
    trash: Option<Duration>,
    /// Do not ask first. On a terminal it asks before it deletes a folder, or anything for good
    #[arg(short = 'f', long, visible_short_alias = 'y', visible_alias = "force")]
    yes: bool,
    /// Only if the file has this version (not for folders)
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    if_version: Option<Version>,
}

/// Deletes.
///
/// # Errors
/// Not found; a conflict for a folder without `-r`, or another version; of several as [`Several`] says.
pub fn run(context: &Context, args: &Args) -> Outcome {
    if args.if_version.is_some() && args.paths.len() > 1 {
        return Err(Failure::invalid("--if-version is for a single file"));
    }
    let paths = args.paths.iter().map(|p| context.path(p)).collect::<Outcome<Vec<_>>>()?;
    let condition = args.if_version.map_or(Condition::Any, Condition::Version);
    crate::session::with_vault(context, async |vault| {
        let mut several = Several::new(context, paths.len());
        for path in &paths {
            several.one(remove_one(context, vault, path, args, condition).await)?;
        }
        several.end()
    })
}

async fn remove_one(
    context: &Context,
    vault: &Arc<Vault>,
    path: &VaultPath,
    args: &Args,
    condition: Condition,
) -> Outcome {
    let trash_ms = trash_ms(vault, args, path).await?;
    let options = RemoveOptions { recursive: args.recursive, trash_ms, condition };
    if !args.yes && !agreed(context, vault, path, args, trash_ms).await? {
        context.output.note(&format!("{}: left as it is", clean(&path.to_string())));
        return Ok(());
    }
    let done = vault.remove(path, options).await?;
    say(context, path, trash_ms, &done)
}

/// How long it can be brought back: as said, else as the vault's rules say, for a folder at least as long as they say of
/// anything in it.
async fn trash_ms(vault: &Arc<Vault>, args: &Args, path: &VaultPath) -> Outcome<u64> {
    match (args.now, args.trash) {
        (true, _) => Ok(0),
        (false, Some(time)) => Ok(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        (false, None) => match vault.retention().await {
            Ok(rules) => Ok(rules.trash_ms(&path.to_string(), args.recursive, TRASH_MS_DEFAULT)),
            Err(failure) => {
                Err(Failure::from(failure).hint("--trash TIME says how long it can be brought back"))
            }
        },
    }
}

/// Asks, if somebody is there, before a folder goes or anything goes for good. Without a terminal nobody is asked.
async fn agreed(
    context: &Context,
    vault: &Arc<Vault>,
    path: &VaultPath,
    args: &Args,
    trash_ms: u64,
) -> Outcome<bool> {
    if !(args.recursive || args.now) || !terminal::is_attended(context.output) {
        return Ok(true);
    }
    let shown = clean(&path.to_string());
    let what = match vault.stat(path).await {
        Ok(listed) if matches!(listed.kind, ListedKind::Folder { .. }) => {
            // Without -r it is refused anyway.
            if !args.recursive {
                return Ok(true);
            }
            format!("{shown} with {} in it", contents(vault, path).await)
        }
        Ok(_) if args.now => format!("{shown} with all its versions"),
        Ok(_) => return Ok(true),
        Err(failure) if failure.kind == Kind::NotFound && args.now => {
            format!("what was deleted of {shown}")
        }
        // What cannot be looked at is for the deletion itself to judge.
        Err(_) if args.now => shown,
        Err(_) => return Ok(true),
    };
    let question = if trash_ms == 0 {
        format!("Delete {what} for good?")
    } else {
        let kept = duration::show(Duration::from_millis(trash_ms));
        format!("Delete {what}? It can be brought back for {kept}.")
    };
    Ok(terminal::consent(context.output, &question)? != Consent::No)
}

/// How much is in a folder, in words; of a large one only that it is.
async fn contents(vault: &Arc<Vault>, path: &VaultPath) -> String {
    let (mut files, mut folders, mut bytes) = (0, 0, 0);
    let counted = vault
        .list(path, true, |listed| {
            match listed.kind {
                ListedKind::Folder { .. } => folders += 1,
                ListedKind::Symlink { .. } => files += 1,
                ListedKind::File { size, .. } => {
                    files += 1;
                    bytes += size;
                }
            }
            let enough = files + folders > COUNTED_MAX;
            if enough { Err(larder_client::Failure::new(Kind::Invalid, "enough")) } else { Ok(()) }
        })
        .await;
    match counted {
        Ok(_) if files + folders == 0 => "nothing".to_owned(),
        Ok(_) => {
            let below =
                if folders > 0 { format!(", {}", size::count(folders, "folder")) } else { String::new() };
            format!("{}{below}, {}", size::count(files, "file"), size::show(bytes))
        }
        Err(_) if files + folders > COUNTED_MAX => format!("more than {COUNTED_MAX} things"),
        Err(_) => "everything".to_owned(),
    }
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
