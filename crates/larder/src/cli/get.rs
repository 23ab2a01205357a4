//! `larder get`: files and folders out of the vault.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder_client::files::{Destination, ListedKind};
use larder_client::path::VaultPath;
use larder_client::vault::Vault;
use larder_format::error::Kind;
use larder_format::head::FileKind;
use larder_format::record::Version;
use serde_json::json;

use crate::cli::Context;
use crate::cli::cat::Stdout;
use crate::cli::lifetime::parse_version;
use crate::cli::listing::hex;
use crate::cli::report;
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
}

/// Fetches everything named.
///
/// # Errors
/// What the first that failed says; what was fetched stays.
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
    crate::session::with_vault(context, async |vault| {
        for path in &paths {
            if to_stdout {
                super::cat::print(context, vault, path, args.version).await?;
                continue;
            }
            let local = match path.split() {
                Some((_, name)) if into_folder => destination.join(name),
                _ => destination.to_owned(),
            };
            get_one(context, vault, path, &local, args).await?;
        }
        Ok(())
    })
}

async fn get_one(
    context: &Context,
    vault: &Arc<Vault>,
    path: &VaultPath,
    local: &Path,
    args: &Args,
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
    let progress = Progress::begin("get", context.output);
    if is_folder {
        let done = vault.get_tree(path, local, args.sync, progress.meter()).await?;
        drop(progress);
        return report::tree(context, "fetched", path, Some(local), &done);
    }
    let destination = Destination::File { path: local.to_owned(), sync: args.sync };
    let done = vault.get_file(path, args.version, destination, progress.meter()).await?;
    drop(progress);
    context.output.document(&json!({
        "path": path.to_string(),
        "local": local.to_string_lossy(),
        "kind": if done.kind == FileKind::Symlink { "link" } else { "file" },
        "size": done.size,
        "version": done.version.to_string(),
        "blake3": hex(&done.content_hash),
    }))?;
    context.output.note(&format!(
        "{}: {}, from {}",
        shown(local),
        size::show(done.size),
        clean(&path.to_string())
    ));
    Ok(())
}

impl Stdout {
    /// As a destination of content.
    pub fn destination(self) -> Destination {
        Destination::Stream(Box::new(self))
    }
}
