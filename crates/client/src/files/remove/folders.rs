//! Deleting a folder with everything in it, step by step: closed, emptied, away. What cannot be deleted is named, and the
//! folders it is in stay.

use larder_format::error::Kind;
use larder_format::head::{DirId, EntryTarget};
use larder_format::operation::Found;
use larder_format::record::Version;
use larder_seal::names::SealedKey;
use larder_wire::answer::Failure;
use tokio::task::JoinSet;

use super::super::closing::Closed;
use super::{FILES_AT_ONCE, Removal, RemoveReport, TRIES, only_for_good};
use crate::directory::EntryNow;
use crate::path::VaultPath;

/// A folder to delete.
pub(super) struct Level {
    pub(super) parent: DirId,
    pub(super) id: DirId,
    pub(super) now: EntryNow,
    pub(super) path: VaultPath,
    /// How often it was begun again, because somebody opened it meanwhile.
    pub(super) tries: u32,
}

/// A folder that is closed and without files.
struct Left {
    level: Level,
    /// The version that closed it.
    closed: Option<Version>,
    until_ms: Option<u64>,
    /// How much had failed before: what failed since is in this folder.
    failed_before: usize,
}

/// A step of deleting folders. The last one noted comes first, so that what is in a folder goes before it.
enum Step {
    Enter(Level),
    Leave(Left),
}

impl Step {
    fn level(&self) -> &Level {
        match self {
            Self::Enter(level) => level,
            Self::Leave(left) => &left.level,
        }
    }
}

impl Removal {
    /// Closes a folder to new entries, deletes what is in it, then the folder itself; and so with folders in it.
    pub(super) async fn folder(&mut self, top: Level) -> Result<(), Failure> {
        // Not by recursion: folders nest deeper than a thread's stack.
        let mut todo = vec![Step::Enter(top)];
        while let Some(step) = todo.pop() {
            let (path, is_top) = (step.level().path.clone(), todo.is_empty());
            let done = match step {
                Step::Enter(level) => self.enter(level, &mut todo).await,
                Step::Leave(left) => self.leave(left, &mut todo).await,
            };
            let Err(failure) = done else { continue };
            if !is_top && only_this(&failure) {
                self.report.failed.push((path, failure));
                continue;
            }
            // Where the node does not answer it would not answer this either.
            if !matches!(failure.kind, Kind::Closed | Kind::Unknown) {
                while let Some(step) = todo.pop() {
                    if let Step::Leave(left) = step {
                        self.give_up(&left.level).await?;
                    }
                }
            }
            return Err(failure);
        }
        Ok(())
    }

    /// Closes a folder and deletes the files in it; what is left of it to do comes after the folders in it.
    async fn enter(&mut self, level: Level, todo: &mut Vec<Step>) -> Result<(), Failure> {
        let (vault, path) = (self.vault.clone(), level.path.clone());
        let closed = if self.options.trash_ms == 0 {
            vault.close_folder_if_readable(level.id, level.parent, &path).await?
        } else {
            vault.close_folder(level.id, level.parent, &path).await.map_err(|f| only_for_good(&path, f))?
        };
        if closed == Closed::Elsewhere {
            return self.moved_away(&level, todo.is_empty()).await;
        }
        let closed = closed.version();
        let until_ms = self.until_ms();
        if let Some(until_ms) = until_ms {
            vault.keep_folder(&level.now, level.id, closed, until_ms).await?;
        }
        let (id, failed_before) = (level.id, self.report.failed.len());
        todo.push(Step::Leave(Left { level, closed, until_ms, failed_before }));
        let place = todo.len() - 1;
        if let Err(failure) = self.empty(id, &path, todo).await {
            todo.truncate(place + 1);
            if !only_this(&failure) {
                return Err(failure);
            }
            self.report.failed.push((path, failure));
        }
        Ok(())
    }

    /// A folder that somebody moved elsewhere meanwhile is not among what is to be deleted.
    async fn moved_away(&self, level: &Level, is_top: bool) -> Result<(), Failure> {
        let Level { path, now, id, .. } = level;
        if is_top {
            let message = format!("{path}: was moved by somebody else meanwhile; nothing was deleted");
            return Err(Failure::new(Kind::Conflict, message));
        }
        self.vault.clear_elsewhere(now, *id, path).await
    }

    /// Deletes a folder that is empty now, or opens it again if something in it stays.
    async fn leave(&mut self, left: Left, todo: &mut Vec<Step>) -> Result<(), Failure> {
        let Left { level, closed, until_ms, failed_before } = left;
        if self.report.failed.len() > failed_before {
            return self.give_up(&level).await;
        }
        if self.vault.finish_folder(&level.now, level.id, closed, until_ms).await? {
            self.report.folders += 1;
            return Ok(());
        }
        if level.tries < TRIES {
            todo.push(Step::Enter(Level { tries: level.tries + 1, ..level }));
            return Ok(());
        }
        let message = format!("{}: others keep writing to it; try again", level.path);
        Err(Failure::new(Kind::Retry, message))
    }

    /// What is in it stays, and can be reached again.
    async fn give_up(&self, level: &Level) -> Result<(), Failure> {
        self.vault.open_folder_again(level.id, level.parent, &level.path).await?;
        self.vault.forget_kept_folder(level.now.key, level.id).await
    }

    /// Deletes all files in a closed folder; goes on past what cannot be deleted; notes the folders.
    async fn empty(&mut self, id: DirId, path: &VaultPath, todo: &mut Vec<Step>) -> Result<(), Failure> {
        let vault = self.vault.clone();
        // Whoever created in it before it was closed is seen by a listing that begins after.
        let mut entries = vault.entries(id).await?;
        while let Some(some) = entries.next(&vault).await? {
            self.empty_of_unreadable(id, some.unreadable, path).await?;
            let mut files = JoinSet::new();
            for now in some.entries {
                let child = path.join(&now.entry.name)?;
                match now.entry.target {
                    EntryTarget::File { .. } => {
                        if files.len() >= FILES_AT_ONCE {
                            self.joined(&mut files).await?;
                        }
                        let (vault, options) = (vault.clone(), self.options);
                        files.spawn(async move {
                            let result = vault.remove_file(now.key, &child, options).await;
                            (child, result)
                        });
                    }
                    EntryTarget::Directory { id: below, .. } => {
                        let level = Level { parent: id, id: below, now, path: child, tries: 0 };
                        todo.push(Step::Enter(level));
                    }
                }
            }
            while !files.is_empty() {
                self.joined(&mut files).await?;
            }
        }
        Ok(())
    }

    async fn empty_of_unreadable(
        &mut self,
        id: DirId,
        unreadable: Vec<(SealedKey, Option<Found>)>,
        path: &VaultPath,
    ) -> Result<(), Failure> {
        if self.options.trash_ms == 0 {
            for (key, found) in unreadable {
                let done = self.unreadable(id, key, found, path).await;
                self.note(path.clone(), done)?;
            }
        } else if !unreadable.is_empty() {
            let what = format!("has entries that cannot be read count={}", unreadable.len());
            self.report.failed.push((path.clone(), only_for_good(path, Failure::new(Kind::Damaged, what))));
        }
        Ok(())
    }

    /// The next file that is done.
    async fn joined(
        &mut self,
        files: &mut JoinSet<(VaultPath, Result<RemoveReport, Failure>)>,
    ) -> Result<(), Failure> {
        match files.join_next().await {
            None => Ok(()),
            Some(Ok((path, result))) => {
                let done = result.map(|done| self.add(&done));
                self.note(path, done)
            }
            Some(Err(error)) => Err(Failure::new(Kind::Bug, error.to_string())),
        }
    }

    /// Keeps the books on one child; what would fail for all others as well ends the work.
    fn note(&mut self, path: VaultPath, done: Result<(), Failure>) -> Result<(), Failure> {
        match done {
            Err(failure) if only_this(&failure) => {
                self.report.failed.push((path, failure));
                Ok(())
            }
            other => other,
        }
    }
}

/// Whether a failure is that of one thing, and the next one may do.
fn only_this(failure: &Failure) -> bool {
    matches!(failure.kind, Kind::Damaged | Kind::Conflict | Kind::Retry)
}
