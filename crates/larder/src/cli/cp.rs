//! `larder cp`: copy files and folders inside the vault. The copies are files of their own over the same content, which
//! does not travel; and how `cp` and `mv` read their destination.

use std::sync::Arc;

use larder_client::moves::{CopyOptions, CopyReport};
use larder_client::path::VaultPath;
use larder_client::vault::Vault;
use serde_json::json;

use crate::cli::Context;
use crate::cli::lifetime::LifetimeArgs;
use crate::cli::put::{is_folder, one_name};
use crate::cli::report;
use crate::cli::several::Several;
use crate::failure::{Failure, Outcome, clean};
use crate::size;

/// Flags of `cp`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files and folders in the vault; the last of the names where to (a name, or a folder when it ends in / or is one)
    #[arg(required = true, value_name = "SOURCE... DESTINATION")]
    paths: Vec<String>,
    /// Folders too, with everything in them
    #[arg(short, long, visible_short_alias = 'R')]
    recursive: bool,
    /// The destination is the name to give, also where a folder is there already, which then gets what is copied
    #[arg(short = 'T', long)]
    no_target_directory: bool,
    /// Not over files that are there
    #[arg(short, long)]
    no_clobber: bool,
    #[command(flatten)]
    lifetime: LifetimeArgs,
}

/// Copies everything named.
///
/// # Errors
/// Not found; a conflict for a folder without `-r`, or if something is in the way; damaged if content is missing.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let destination = Destination::parse(context, &args.paths, args.no_target_directory)?;
    let options = CopyOptions {
        recursive: args.recursive,
        lifetime: args.lifetime.ttl.map(|_| args.lifetime.request()),
        no_clobber: args.no_clobber,
    };
    crate::session::with_vault(context, async |vault| {
        let mut several = Several::new(context, destination.sources.len());
        for (from, to) in destination.pairs(vault).await? {
            let done = vault.copy(&from, &to, options).await.map_err(Failure::from);
            several.one(done.and_then(|done| say(context, &from, &to, &done)))?;
        }
        several.end()
    })
}

fn say(context: &Context, from: &VaultPath, to: &VaultPath, done: &CopyReport) -> Outcome {
    context.output.document(&json!({
        "path": from.to_string(),
        "to": to.to_string(),
        "files": done.files,
        "folders": done.folders,
        "bytes": done.bytes,
        "sent_bytes": done.sent_bytes,
        "failed": report::failures(&done.failed),
    }))?;
    let (shown, to) = (clean(&from.to_string()), clean(&to.to_string()));
    let kept = done.bytes - done.sent_bytes;
    let mut line =
        format!("{shown}: copied to {to}: {}, {}", size::count(done.files, "file"), size::show(done.bytes));
    if kept > 0 {
        line.push_str(&format!(", {} of it without being sent", size::show(kept)));
    }
    context.output.note(&line);
    report::some_failed(context, &shown, "could not be copied", &done.failed)
}

/// What goes where, as `cp` and `mv` on Unix read it.
pub(super) struct Destination {
    /// What to move or copy.
    pub(super) sources: Vec<VaultPath>,
    target: VaultPath,
    /// It ends in a slash, is the root, or several things go there.
    surely_folder: bool,
    never_folder: bool,
}

impl Destination {
    /// Reads the names of a command line, the last being the destination.
    ///
    /// # Errors
    /// Invalid.
    pub(super) fn parse(context: &Context, paths: &[String], no_target_directory: bool) -> Outcome<Self> {
        let [sources @ .., destination] = paths else {
            return Err(Failure::invalid("name what to take and where to"));
        };
        if sources.is_empty() {
            return Err(Failure::invalid("name what to take and where to"));
        }
        one_name(no_target_directory, sources.len())?;
        let sources = sources.iter().map(|p| context.path(p)).collect::<Outcome<Vec<_>>>()?;
        let target = context.path(destination)?;
        let surely_folder = destination.ends_with('/') || target.is_root() || sources.len() > 1;
        Ok(Self { sources, target, surely_folder, never_folder: no_target_directory })
    }

    /// Each source with the name it is to get.
    ///
    /// # Errors
    /// Invalid for the root as a source; not found if a folder was meant that is not there.
    pub(super) async fn pairs(&self, vault: &Arc<Vault>) -> Outcome<Vec<(VaultPath, VaultPath)>> {
        let there = self.target.is_root() || is_folder(vault, &self.target).await?;
        if self.surely_folder && !there && !self.never_folder {
            let target = clean(&self.target.to_string());
            // Says so too if a file is in the way.
            vault.folder(&self.target).await?;
            return Err(Failure::invalid(format!("{target}: is not a folder")));
        }
        let into = there && !self.never_folder;
        let pair = |from: &VaultPath| match from.split() {
            None => Err(Failure::invalid("/: the root stays where it is; name what is in it")),
            Some((_, name)) if into => Ok((from.clone(), self.target.join(name)?)),
            Some(_) => Ok((from.clone(), self.target.clone())),
        };
        self.sources.iter().map(pair).collect()
    }
}
