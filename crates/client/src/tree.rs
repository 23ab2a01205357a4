//! Whole folders in and out. Small files, which are most files, travel in one stream of records without waiting
//! for each other; larger ones go side by side. What fails is named and the rest goes on.

mod again;
pub mod export;
mod get;
mod plan;
mod put;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder_seal::names::BadName;
use larder_wire::answer::Failure;

use crate::files::PutOptions;
use crate::local::exclude::Exclude;
use crate::local::same::Compare;
use crate::local::walk::Rules;
use crate::path::VaultPath;

/// Small files sealed or opened by one job. Many enough that a job costs nothing beside its work.
const SMALL_BATCH: usize = 32;

/// Jobs under way at once: one more than cores, so that none of them waits for work.
fn jobs_at_once() -> usize {
    std::thread::available_parallelism().map_or(2, |n| n.get() + 1)
}

/// How to fetch a folder.
#[derive(Debug, Clone, Default)]
pub struct GetTreeOptions {
    /// Sync files to disk before they get their names.
    pub sync: bool,
    /// By what a local file counts as unchanged.
    pub compare: Compare,
    /// What is left out.
    pub exclude: Exclude,
    /// Only told what would be done.
    pub plan: Option<Planner>,
}

/// How to store a folder, beside how to store each file.
#[derive(Debug, Clone, Default)]
pub struct PutTreeOptions {
    /// How to store each file.
    pub put: PutOptions,
    /// What is left out.
    pub rules: Rules,
}

/// What would become of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planned {
    /// There is none of that name yet.
    New,
    /// It takes the place of another.
    Replace,
}

/// One file of a plan.
#[derive(Debug, Clone)]
pub struct PlannedFile {
    /// In the vault.
    pub path: VaultPath,
    /// On this machine.
    pub local: PathBuf,
    /// What would become of it.
    pub what: Planned,
    /// Its length, in bytes: at most so much would travel.
    pub bytes: u64,
}

/// Told of each file that would travel.
#[derive(Clone)]
pub struct Planner(pub Arc<dyn Fn(PlannedFile) + Send + Sync>);

impl std::fmt::Debug for Planner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Planner")
    }
}

/// What became of a folder.
#[derive(Debug, Default)]
pub struct TreeReport {
    /// Files and links that travelled.
    pub files: u64,
    /// Folders made.
    pub folders: u64,
    /// Bytes of content that were dealt with.
    pub bytes: u64,
    /// Files that were there already, unchanged by length, time and mode.
    pub unchanged: u64,
    /// What was to be left out; what is below it is not counted.
    pub excluded: u64,
    /// What has no content that could be kept (sockets, pipes, devices), and temporary files of interrupted fetches.
    pub skipped: Vec<(PathBuf, &'static str)>,
    /// What could not be dealt with, and why.
    pub failed: Vec<(PathBuf, Failure)>,
}

/// A name that the vault cannot hold, and what can be done about it.
fn name_refused(local: &Path, refused: &BadName) -> Failure {
    let message = format!("{}: {refused}; rename it, or leave it out with --exclude", local.display());
    Failure::new(refused.kind(), message)
}
