//! `larder get`: files and folders out of the vault.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder_client::files::{Destination, ListedKind};
use larder_client::local::exclude::Exclude;
use larder_client::local::same::{Compare, is_same};
use larder_client::local::target::Target;
use larder_client::meter::Reading;
use larder_client::path::VaultPath;
use larder_client::tree::{GetTreeOptions, Planned, PlannedFile};
use larder_client::vault::{OpenFile, Vault};
use larder_format::error::Kind;
use larder_format::head::{Attributes, FileKind};
use larder_format::record::Version;
use serde_json::json;

use crate::cli::Context;
use crate::cli::cat::Stdout;
use crate::cli::lifetime::parse_version;
use crate::cli::listing::hex;
use crate::cli::report;
use crate::cli::selection::{ExcludeArgs, Plan};
use crate::cli::several::Several;
use crate::cli::span::Span;
use crate::cli::transfer::TransferArgs;
use crate::failure::{Failure, Outcome, clean, shown};
use crate::progress::Progress;
use crate::size;

/// Flags of `get`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to fetch from the vault; the last of several names where to (a local name, or a folder when it ends in /
    /// or is one, or - for standard output). Alone: into the current folder
    #[arg(required = true, value_name = "PATH... DESTINATION")]
    paths: Vec<PathBuf>,
    /// The destination is the name to give, also where a folder is there already: the same command twice fetches
    /// to the same place
    #[arg(short = 'T', long)]
    no_target_directory: bool,
    /// An older version of a file
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    version: Option<Version>,
    /// Sync files to disk before they get their names
    #[arg(long)]
    sync: bool,
    /// Files that are here count as unchanged by their content, which is read, and not by length, time and mode
    #[arg(long, conflicts_with = "force")]
    checksum: bool,
    /// Fetch everything, also files that are here unchanged in length, time and mode
    #[arg(long)]
    force: bool,
    /// Only these bytes of a file: FIRST-END (END not included), FIRST-, or -LAST; like 10M-20M
    #[arg(long, value_name = "RANGE", value_parser = Span::parse, allow_hyphen_values = true, conflicts_with_all = ["checksum", "dry_run"])]
    range: Option<Span>,
    #[command(flatten)]
    exclude: ExcludeArgs,
    /// Say what would be fetched and change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    transfer: TransferArgs,
    /// As other tools want it for folders, which are fetched whole here in any case
    #[arg(id = "recursive", short = 'r', short_alias = 'R', long = "recursive", hide = true)]
    _recursive: bool,
}

/// Fetches everything named.
///
/// # Errors
/// As [`Several`] says; what was fetched stays.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let (sources, destination) = match args.paths.as_slice() {
        [only] => (std::slice::from_ref(only), Path::new(".")),
        [sources @ .., destination] => (sources, destination.as_path()),
        [] => return Err(Failure::invalid("nothing to get was named")),
    };
    let mut paths = Vec::with_capacity(sources.len());
    for source in sources {
        let text = source.to_str().ok_or_else(|| {
            Failure::invalid(format!("{} is not UTF-8, as names in a vault are", shown(source)))
        })?;
        paths.push(context.path(text)?);
    }
    super::put::one_name(args.no_target_directory, sources.len())?;
    let to_stdout = destination == Path::new("-");
    let into_folder = !to_stdout
        && !args.no_target_directory
        && (destination.as_os_str().as_encoded_bytes().ends_with(b"/")
            || destination.is_dir()
            || paths.len() > 1);
    let transfers = args.transfer.transfers(context, None)?;
    let exclude = args.exclude.patterns()?;
    crate::session::with_vault_as(context, transfers, async |vault| {
        let mut several = Several::new(context, paths.len());
        for path in &paths {
            if to_stdout {
                several.one(super::cat::print(context, vault, path, args.version, args.range).await)?;
                continue;
            }
            let local = match path.split() {
                Some((_, name)) if into_folder => destination.join(name),
                _ => destination.to_owned(),
            };
            several.one(get_one(context, vault, path, &local, args, &exclude).await)?;
        }
        several.end()
    })
}

async fn get_one(
    context: &Context,
    vault: &Arc<Vault>,
    path: &VaultPath,
    local: &Path,
    args: &Args,
    exclude: &Exclude,
) -> Outcome {
    // A version can be of a file that is deleted by now, so there may be nothing to look at.
    let kind = match args.version {
        None if !path.is_root() => Some(vault.stat(path).await?.kind),
        _ => None,
    };
    let is_folder = path.is_root() || matches!(kind, Some(ListedKind::Folder { .. }));
    let is_link = matches!(kind, Some(ListedKind::Symlink { .. }));
    // Writing through it could end anywhere, and replacing it is not what somebody who names it expects. A link takes
    // a link's place, as in a folder.
    if !is_folder && !is_link && local.is_symlink() {
        let message = format!("{} is a link; name the file it leads to, or remove it", shown(local));
        return Err(Failure::new(Kind::Conflict, message)
            .hint(format!("larder cat {} > FILE", clean(&path.to_string()))));
    }
    if !is_folder {
        must_have_folder(local)?;
    }
    let progress = Progress::begin("get", context.output);
    if is_folder {
        if args.range.is_some() {
            return Err(Failure::invalid(format!("--range is for files, and {path} is a folder")));
        }
        let plan = args.dry_run.then(|| Plan::new(context));
        let options = GetTreeOptions {
            sync: args.sync,
            compare: args.compare(),
            exclude: exclude.clone(),
            plan: plan.as_ref().map(Plan::planner),
        };
        let done = vault.get_tree(path, local, &options, progress.meter()).await?;
        let moved = progress.meter().read();
        drop(progress);
        if let Some(plan) = plan {
            plan.end()?;
            return report::plan(context, "fetch", path, Some(local), &done);
        }
        return report::tree(context, "fetched", path, Some(local), &done, &moved);
    }
    let destination = Destination::File { path: local.to_owned(), sync: args.sync };
    let file = vault.file(path, args.version).await?;
    if let Some(span) = args.range {
        let counts = write_range(vault, &file, local, span, args.sync, &progress).await?;
        drop(progress);
        return say(context, path, local, &file, Some(&counts));
    }
    let same = unchanged(local, &file, args.compare(), !args.dry_run).await?;
    if args.dry_run && !same {
        let what = if local.symlink_metadata().is_ok() { Planned::Replace } else { Planned::New };
        let plan = Plan::new(context);
        plan.say(&PlannedFile { path: path.clone(), local: local.to_owned(), what, bytes: file.info.size });
        return plan.end();
    }
    if same {
        drop(progress);
        return say(context, path, local, &file, None);
    }
    let done = vault.get_opened(path, &file, destination, progress.meter()).await?;
    let moved = progress.meter().read();
    drop(progress);
    debug_assert_eq!(done.version, file.info.version, "what was opened was read");
    say(context, path, local, &file, Some(&moved))
}

/// Refuses a name in a folder that is not there, before anything is fetched.
fn must_have_folder(local: &Path) -> Outcome {
    match local.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) if matches!(folder.try_exists(), Ok(false)) => {
            Err(Failure::new(Kind::NotFound, format!("the folder {} is not there", shown(folder)))
                .hint(format!("mkdir -p {}", shown(folder))))
        }
        _ => Ok(()),
    }
}

/// Writes a part of a file to a local one, which appears whole or not at all.
async fn write_range(
    vault: &Arc<Vault>,
    file: &OpenFile,
    local: &Path,
    span: Span,
    sync: bool,
    progress: &Progress,
) -> Outcome<Reading> {
    let range = span.within(file.info.size)?;
    let len = range.end - range.start;
    progress.meter().expect(1, len);
    let failed = |e: std::io::Error| Failure::io("write", local, &e);
    let target = Arc::new(Target::create(local, None).map_err(failed)?);
    let out = Box::new(InOrder { target: target.clone(), at: 0 });
    vault.read_out(file, Destination::Range { out, range }, progress.meter()).await?;
    let target =
        Arc::into_inner(target).ok_or_else(|| Failure::new(Kind::Bug, "a writer outlived its file"))?;
    let attributes = Attributes { mode: file.info.attributes.mode, ..Attributes::default() };
    target.finish(len, &attributes, sync).map_err(failed)?;
    Ok(progress.meter().read())
}

/// A local file that is written from its beginning.
struct InOrder {
    target: Arc<Target>,
    at: u64,
}

impl std::io::Write for InOrder {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.target.write_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whether a local file need not be fetched. It may have to be read for that.
async fn unchanged(local: &Path, file: &OpenFile, compare: Compare, may_set: bool) -> Outcome<bool> {
    let (local, file) = (local.to_owned(), file.clone());
    let looked = tokio::task::spawn_blocking(move || is_same(&local, &file, compare, may_set)).await;
    looked.map_err(|e| Failure::new(Kind::Bug, e.to_string()))
}

/// Says what became of a file. Without counts it was left alone.
fn say(
    context: &Context,
    path: &VaultPath,
    local: &Path,
    file: &OpenFile,
    moved: Option<&Reading>,
) -> Outcome {
    let counts = moved.copied().unwrap_or_default();
    context.output.document(&json!({
        "path": path.to_string(),
        "local": local.to_string_lossy(),
        "kind": if file.info.kind == FileKind::Symlink { "link" } else { "file" },
        "size": file.info.size,
        "version": file.info.version.to_string(),
        "blake3": hex(&file.manifest.content_hash),
        "unchanged": moved.is_none(),
        "fetched": counts.bytes_fetched,
        "kept": counts.bytes_kept,
    }))?;
    let from = clean(&path.to_string());
    context.output.note(&match moved {
        Some(_) => {
            format!(
                "{}: {}{}, from {from}",
                shown(local),
                size::show(file.info.size),
                report::fetched(&counts)
            )
        }
        None => format!("{}: unchanged ({})", shown(local), size::show(file.info.size)),
    });
    Ok(())
}

impl Args {
    fn compare(&self) -> Compare {
        match (self.force, self.checksum) {
            (true, _) => Compare::Never,
            (false, true) => Compare::Content,
            (false, false) => Compare::Attributes,
        }
    }
}

impl Stdout {
    /// As a destination of content.
    pub fn destination(self) -> Destination {
        Destination::Stream(Box::new(self))
    }
}
