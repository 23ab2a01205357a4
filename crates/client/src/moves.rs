//! Moving and copying inside the vault. Names change and records are written; content stays where it is.
//!
//! - A file or link ([`file`]): its target is created first, with the same identity and a higher move counter; its older
//!   versions follow ([`carry`]); the source is deleted last, and only if it is still what was moved. An interruption
//!   shows it twice and never zero times, and the same move again finishes it.
//! - A folder ([`folder`]): nothing below it is touched. Its own record says where it hangs, and changing that record is
//!   the step that decides. Moves of folders wait for each other ([`plan`]), so that no cycle can arise.
//! - Copies ([`copy`]) are new files over the same blobs, leased once more.
//!
//! Why it is done in this order is in `docs/design/names-moves.md`.

mod carry;
mod copy;
mod file;
mod folder;
mod plan;

use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::head::{DirId, EntryTarget};
use larder_format::record::Version;
use larder_wire::answer::Failure;

pub(crate) use self::carry::{Carried, same_content};
pub use self::copy::{CopyOptions, CopyReport};
use crate::directory::Standing;
use crate::path::VaultPath;
use crate::vault::Vault;

/// How often a move is tried again because somebody else was quicker.
const TRIES: u32 = 32;

/// How to move.
#[derive(Debug, Clone, Copy, Default)]
pub struct MoveOptions {
    /// Not over a file that is there.
    pub no_clobber: bool,
    /// Only if the file that is moved has this version.
    pub if_version: Option<Version>,
}

/// What was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveReport {
    /// Where it is now.
    pub to: VaultPath,
    /// Whether it is a folder, with everything in it.
    pub folder: bool,
    /// The version it is now; `None` for folders, which have none.
    pub version: Option<Version>,
    /// The version of the file that was there before and is kept beside it now.
    pub replaced: Option<Version>,
    /// Older versions that came along.
    pub versions: u64,
    /// Older versions that cannot be read, and stayed under the old name.
    pub left_behind: u64,
    /// Whether this only finished what an earlier move had begun.
    pub finished: bool,
}

impl MoveReport {
    fn of_folder(to: VaultPath, finished: bool) -> Self {
        Self { to, folder: true, version: None, replaced: None, versions: 0, left_behind: 0, finished }
    }
}

/// A name in a folder.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) dir: DirId,
    pub(crate) path: VaultPath,
}

impl Place {
    pub(crate) fn new(dir: DirId, path: VaultPath) -> Self {
        Self { dir, path }
    }

    pub(crate) fn name(&self) -> &str {
        self.path.names().last().map_or("", String::as_str)
    }
}

impl Vault {
    /// The place that a path names. Its folder must be there.
    pub(crate) async fn place_of(&self, path: &VaultPath) -> Result<Place, Failure> {
        let Some((parent, _)) = path.split() else {
            return Err(Failure::new(Kind::Invalid, "/: the root has no name to change"));
        };
        Ok(Place { dir: self.folder(&parent).await?, path: path.clone() })
    }

    /// Moves a file, a link or a folder to a name that is free, or over a file (which is kept as an older version) or an
    /// empty folder. Again, after an interruption, it finishes.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Invalid`] for a folder into itself; [`Kind::Conflict`] if something is in the way, or
    /// somebody else changed or moved it at the same time. Then nothing is lost: it is under the old name, the new one,
    /// or both.
    pub async fn rename(
        self: &Arc<Self>,
        from: &VaultPath,
        to: &VaultPath,
        options: MoveOptions,
    ) -> Result<MoveReport, Failure> {
        if from == to {
            return Err(Failure::new(Kind::Invalid, format!("{from}: is to be moved to where it is")));
        }
        if to.names().starts_with(from.names()) {
            return Err(into_itself(from));
        }
        let source = self.place_of(from).await?;
        if let Some(done) = self.finish_plan_of(&source, to).await? {
            return Ok(done);
        }
        let target = self.place_of(to).await?;
        match self.look_up(source.dir, source.name(), true).await? {
            Some((now, standing)) => match (now.entry.target, standing) {
                (EntryTarget::File { .. }, _) => self.move_file(&source, &target, options).await,
                (EntryTarget::Directory { id, .. }, Standing::Open) => {
                    if options.if_version.is_some() {
                        let message =
                            format!("{from}: is a folder; conditions on a version are for single files");
                        return Err(Failure::new(Kind::Invalid, message));
                    }
                    self.move_folder(id, &source, &target).await
                }
                (EntryTarget::Directory { .. }, Standing::Closing) => {
                    Err(crate::directory::being_deleted(from))
                }
                (EntryTarget::Directory { .. }, _) => Err(nothing_there(from)),
            },
            None => self.finish_file(&source, &target).await,
        }
    }
}

pub(crate) fn nothing_there(path: &VaultPath) -> Failure {
    Failure::new(Kind::NotFound, format!("no such file or folder: {path}"))
}

pub(crate) fn into_itself(path: &VaultPath) -> Failure {
    Failure::new(Kind::Invalid, format!("{path}: a folder cannot go into itself or what is in it"))
}
