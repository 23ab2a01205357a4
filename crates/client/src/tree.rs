//! Whole folders in and out. Small files, which are most files, travel in one stream of records without waiting
//! for each other; larger ones go side by side. What fails is named and the rest goes on.

mod again;
mod get;
mod put;

use std::path::PathBuf;

use larder_wire::answer::Failure;

use crate::local::same::Compare;

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
    /// What has no content that could be kept (sockets, pipes, devices), and temporary files of interrupted fetches.
    pub skipped: Vec<(PathBuf, &'static str)>,
    /// What could not be dealt with, and why.
    pub failed: Vec<(PathBuf, Failure)>,
}
