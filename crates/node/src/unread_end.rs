//! A log whose end the disk cannot read, seen from outside a node: none runs on it, because it does not start. What giving
//! that end up costs, in words, and doing it. [`larder_store::log::LogStore::give_up_end`] says how.

use std::path::Path;

use larder_format::rng::SystemRng;
use larder_format::size::show;
use larder_store::api::StoreError;
use larder_store::log::{AsideFile, EndLoss, LogConfig, LogStore};

use crate::NodeError;
use crate::maintenance::lost_words;

/// What giving up the end of a log costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// What is lost, in words.
    pub lost: Vec<String>,
    /// Names that the files get, as they are: nothing reads them any more.
    pub kept: Vec<String>,
}

impl From<EndLoss> for GivenUp {
    fn from(loss: EndLoss) -> Self {
        let file = |file: &larder_store::log::UnreadFile| match file.unread_bytes {
            Some(bytes) => format!("the disk cannot read {} of {}", show(bytes), file.name),
            None => format!(
                "the disk cannot read the head of {}, and nobody can read the rest without",
                file.name
            ),
        };
        let mut lost: Vec<String> = loss.files.iter().map(file).collect();
        lost.extend(loss.lost.iter().map(lost_words));
        let readable = match loss.cut_frames {
            0 => String::new(),
            frames => format!(", {frames} of them readable in part"),
        };
        lost.push(format!(
            "whatever was written from frame {} on is lost, acknowledged or not{readable}",
            loss.next_sequence
        ));
        Self { lost, kept: loss.files.into_iter().map(|file| file.kept_as).collect() }
    }
}

impl NodeError {
    /// Whether the node does not start because the disk cannot read the end of its log: [`look`] and [`give_up`].
    #[must_use]
    pub fn is_end_unread(&self) -> bool {
        matches!(self, NodeError::Store(StoreError::EndUnread { .. }))
    }
}

/// What giving up the end of the log in a data folder would cost; `None` if the disk can read it, or there is none. Changes
/// nothing.
///
/// # Errors
/// As opening the store.
pub fn look(data_dir: &Path) -> Result<Option<GivenUp>, NodeError> {
    // Opening a folder makes it.
    if !data_dir.is_dir() {
        return Ok(None);
    }
    Ok(LogStore::end_loss(data_dir)?.map(GivenUp::from))
}

/// Gives the end of the log up, and keeps what could not be read under other names. `None`: there was nothing to give up.
///
/// # Errors
/// As opening the store; [`larder_format::error::Kind::Full`] if there is no room for a copy of what can be read.
pub fn give_up(data_dir: &Path) -> Result<Option<GivenUp>, NodeError> {
    if !data_dir.is_dir() {
        return Ok(None);
    }
    Ok(LogStore::give_up_end(data_dir, LogConfig::default(), &mut SystemRng)?.map(GivenUp::from))
}

/// A file that was kept aside when the end of the log was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// What it is called, in the data folder.
    pub name: String,
    /// Its length, in bytes.
    pub len: u64,
}

impl From<AsideFile> for Aside {
    fn from(file: AsideFile) -> Self {
        Self { name: file.name, len: file.len }
    }
}

/// Files of a data folder that were kept aside when the end of its log was given up. Changes nothing.
///
/// # Errors
/// If the folder cannot be read.
pub fn kept_aside(data_dir: &Path) -> Result<Vec<Aside>, NodeError> {
    if !data_dir.is_dir() {
        return Ok(Vec::new());
    }
    Ok(LogStore::kept_aside(data_dir)?.into_iter().map(Aside::from).collect())
}

/// Removes them, whether a node runs or not; answers which went. What an interrupted giving-up still needs stays until the
/// node was started.
///
/// # Errors
/// If the folder cannot be read or changed.
pub fn remove_aside(data_dir: &Path) -> Result<Vec<Aside>, NodeError> {
    if !data_dir.is_dir() {
        return Ok(Vec::new());
    }
    Ok(LogStore::remove_aside(data_dir)?.into_iter().map(Aside::from).collect())
}
