//! `larder put`: files, folders or standard input into the vault.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use larder_client::files::{ListedKind, PutOptions, Reading};
use larder_client::local::walk::{FolderId, Rules};
use larder_client::path::VaultPath;
use larder_client::tree::{Planned, PlannedFile, PutTreeOptions};
use larder_client::vault::Vault;
use larder_format::error::Kind;
use larder_format::operation::Condition;
use serde_json::json;

use crate::cli::Context;
use crate::cli::content::ContentArgs;
use crate::cli::lifetime::{ConditionArgs, LifetimeArgs};
use crate::cli::listing::hex;
use crate::cli::report;
use crate::cli::selection::{ExcludeArgs, Plan};
use crate::cli::several::Several;
use crate::cli::transfer::{self, TransferArgs};
use crate::failure::{Failure, Outcome, clean, shown};
use crate::progress::Progress;
use crate::size;

/// Flags of `put`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to store: files and folders, or - for standard input; the last of several names where to (a name, or a
    /// folder when it ends in / or is one). Alone: under its own name
    #[arg(required = true, value_name = "SOURCE... DESTINATION")]
    paths: Vec<PathBuf>,
    /// The destination is the name to give, also where a folder is there already: the same command twice stores
    /// the same thing
    #[arg(short = 'T', long)]
    no_target_directory: bool,
    #[command(flatten)]
    lifetime: LifetimeArgs,
    #[command(flatten)]
    condition: ConditionArgs,
    #[command(flatten)]
    content: ContentArgs,
    #[command(flatten)]
    exclude: ExcludeArgs,
    /// Leave out of folders what is on another file system than the folder
    #[arg(long)]
    one_file_system: bool,
    /// Say what would be stored and change nothing; how much the node has already is known only by doing it
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    transfer: TransferArgs,
    /// How long what an interrupted put has sent is kept for the next one: 10m to 24h
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = transfer::resume_within)]
    resume_within: Duration,
    /// Also over a file that cannot be read, or that is older than what this machine has seen. In a folder every file is
    /// stored anew, also those that are unchanged in length and time; only chunks that the node does not hold whole
    /// are sent
    #[arg(long)]
    force: bool,
    /// As other tools want it for folders, which are stored whole here in any case
    #[arg(id = "recursive", short = 'r', short_alias = 'R', long = "recursive", hide = true)]
    _recursive: bool,
}

/// Stores everything named.
///
/// # Errors
/// As [`Several`] says; what was stored stays.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let (sources, destination) = match args.paths.as_slice() {
        [only] => (std::slice::from_ref(only), Path::new(context.here())),
        [sources @ .., destination] => (sources, destination.as_path()),
        [] => return Err(Failure::invalid("nothing to put was named")),
    };
    one_name(args.no_target_directory, sources.len())?;
    let text = destination.to_str().ok_or_else(|| {
        Failure::invalid(format!("{} is not UTF-8, as names in a vault are", shown(destination)))
    })?;
    let target = context.path(text)?;
    let options = PutOptions {
        lifetime: args.lifetime.request(),
        condition: args.condition.condition(),
        attributes: args.content.attributes()?,
        force: args.force,
        ..PutOptions::default()
    };
    let rules = Rules {
        exclude: args.exclude.patterns()?,
        one_file_system: args.one_file_system,
        store: FolderId::at(context.folders.data()),
    };
    let transfers = args.transfer.transfers(context, Some(args.resume_within))?;
    crate::session::with_vault_as(context, transfers, async |vault| {
        let put = PutOptions { content: args.content.options(vault), ..options };
        let options = PutTreeOptions { put, rules };
        let into_folder = !args.no_target_directory
            && (text.ends_with('/')
                || target.is_root()
                || sources.len() > 1
                || is_folder(vault, &target).await?);
        let mut several = Several::new(context, sources.len());
        for source in sources {
            let path = match into_folder {
                true => named(&target, source),
                false => Ok(target.clone()),
            };
            several.one(match path {
                Err(failure) => Err(failure),
                Ok(path) if args.dry_run => plan_one(context, vault, source, path, &options).await,
                Ok(path) => put_one(context, vault, source, path, &options).await,
            })?;
        }
        several.end()
    })
}

/// Refuses to give one name to several things.
///
/// # Errors
/// Invalid.
pub(super) fn one_name(no_target_directory: bool, sources: usize) -> Outcome {
    match no_target_directory && sources > 1 {
        true => Err(Failure::invalid("--no-target-directory gives one name, to one thing")
            .hint("name one source and one destination")),
        false => Ok(()),
    }
}

pub(super) async fn is_folder(vault: &Arc<Vault>, path: &VaultPath) -> Outcome<bool> {
    match vault.stat(path).await {
        Ok(listed) => Ok(matches!(listed.kind, ListedKind::Folder { .. })),
        // What cannot be read or is in the way is for the put itself to judge: it may be replaced by force.
        Err(failure) if matches!(failure.kind, Kind::NotFound | Kind::Conflict | Kind::Damaged) => Ok(false),
        Err(failure) => Err(failure.into()),
    }
}

/// What to do about a name that a vault cannot hold.
const OTHER_NAME: &str = "larder put SOURCE /NAME stores it under another name";

/// Where something goes in a folder: under its own name.
fn named(target: &VaultPath, source: &Path) -> Outcome<VaultPath> {
    let name = own_name(source)?;
    target.join(&name).map_err(|failure| Failure::from(failure).context(&shown(source)).hint(OTHER_NAME))
}

/// The last name of a local path, also of `.` and `..`.
fn own_name(source: &Path) -> Outcome<String> {
    if source == Path::new("-") {
        return Err(Failure::invalid("standard input needs a name: larder put - /NAME"));
    }
    let whole;
    let name = match source.file_name() {
        Some(name) => name,
        None => {
            whole = std::fs::canonicalize(source).map_err(|e| Failure::io("find", source, &e))?;
            whole.file_name().ok_or_else(|| {
                Failure::invalid(format!("{} has no name of its own; name the destination", shown(source)))
            })?
        }
    };
    name.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::invalid(format!("{} is not UTF-8, as names in a vault are", shown(source))).hint(OTHER_NAME)
    })
}

async fn put_one(
    context: &Context,
    vault: &Arc<Vault>,
    source: &Path,
    path: VaultPath,
    options: &PutTreeOptions,
) -> Outcome {
    let progress = Progress::begin("put", context.output);
    let reading = if source == Path::new("-") {
        Reading::Stream(Box::new(io::stdin()))
    } else {
        // A link that is named is followed; links inside a folder are kept as links.
        let local = std::fs::canonicalize(source).map_err(|e| Failure::io("read", source, &e))?;
        let metadata = std::fs::metadata(&local).map_err(|e| Failure::io("read", source, &e))?;
        if metadata.is_dir() {
            return put_folder(context, vault, &local, path, options, progress).await;
        }
        if !metadata.is_file() {
            return Err(Failure::invalid(format!("{} is neither a file nor a folder", shown(source)))
                .hint("larder put - /NAME stores what standard input gives"));
        }
        progress.meter().expect(1, metadata.len());
        Reading::File(local)
    };
    let done = vault.put_file(&path, reading, &options.put, progress.meter()).await?;
    let moved = progress.meter().read();
    drop(progress);
    context.output.document(&json!({
        "path": path.to_string(),
        "kind": "file",
        "size": done.size,
        "version": done.version.to_string(),
        "replaced": done.replaced.map(|v| v.to_string()),
        "not_kept": done.not_kept,
        "expires_ms": done.expiry.ms(),
        "blake3": hex(&done.content_hash),
        "sent": moved.bytes_sent,
        "present": moved.bytes_present,
    }))?;
    let what = if done.replaced.is_some() { "new version" } else { "stored" };
    context.output.note(&format!(
        "{}: {what}, {}",
        clean(&path.to_string()),
        size::show(done.size) + &report::sent(&moved) + report::not_kept(&done)
    ));
    Ok(())
}

/// Refuses conditions on a single file where there is a whole folder of them.
fn no_condition(options: &PutTreeOptions) -> Outcome {
    match options.put.condition {
        Condition::Any => Ok(()),
        _ => Err(Failure::invalid("--if-absent and --if-version are for single files")),
    }
}

async fn put_folder(
    context: &Context,
    vault: &Arc<Vault>,
    local: &Path,
    path: VaultPath,
    options: &PutTreeOptions,
    progress: Progress,
) -> Outcome {
    no_condition(options)?;
    let done = vault.put_tree(local, &path, options.clone(), progress.meter()).await?;
    let moved = progress.meter().read();
    drop(progress);
    report::tree(context, "stored", &path, None, &done, &moved)
}

/// Says what [`put_one`] would do.
async fn plan_one(
    context: &Context,
    vault: &Arc<Vault>,
    source: &Path,
    path: VaultPath,
    options: &PutTreeOptions,
) -> Outcome {
    let plan = Plan::new(context);
    let metadata = match source == Path::new("-") {
        true => None,
        false => {
            let local = std::fs::canonicalize(source).map_err(|e| Failure::io("read", source, &e))?;
            let metadata = std::fs::metadata(&local).map_err(|e| Failure::io("read", source, &e))?;
            if metadata.is_dir() {
                no_condition(options)?;
                let done = vault.plan_put_tree(&local, &path, options, &plan.planner()).await?;
                plan.end()?;
                return report::plan(context, "store", &path, None, &done);
            }
            Some(metadata)
        }
    };
    let there = match vault.stat(&path).await {
        Ok(listed) if matches!(listed.kind, ListedKind::Folder { .. }) => {
            return Err(larder_client::files::is_a_folder(&path).into());
        }
        Ok(listed) => Some(listed.version),
        Err(failure) if failure.kind == Kind::NotFound => None,
        Err(failure) => return Err(failure.into()),
    };
    let refused = match options.put.condition {
        Condition::Any => false,
        Condition::Absent => there.is_some(),
        Condition::Version(wanted) => there != Some(wanted),
    };
    if refused {
        return Err(Failure::new(Kind::Conflict, format!("{path}: the condition does not hold")));
    }
    let what = if there.is_some() { Planned::Replace } else { Planned::New };
    let bytes = metadata.map_or(0, |m| m.len());
    plan.say(&PlannedFile { path, local: source.to_owned(), what, bytes });
    plan.end()
}
