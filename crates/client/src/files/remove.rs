//! Deleting. What is deleted can be brought back until its trash time is over, unless it is deleted for good.
//!
//! An interrupted deletion of a folder leaves a closed folder: deleting it again goes on, restoring it undoes. One that
//! cannot delete everything opens the folder again, so that what is left can be reached.

mod folders;

use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::head::{DirId, EntryTarget};
use larder_format::operation::{Condition, Found, Outcome};
use larder_seal::names::SealedKey;
use larder_wire::answer::Failure;
use larder_wire::request::Ask;

use self::folders::Level;
use super::closing::Closed;
use super::damage::FRAMES_LOST;
use super::keep::{KEEP_WITHIN_MS, Kept};
use super::put::at;
use crate::directory::EntryNow;
use crate::path::VaultPath;
use crate::vault::{FileInfo, Vault, unexpected};

/// How long a deleted file can be brought back, in milliseconds: a week.
pub const TRASH_MS_DEFAULT: u64 = 7 * 24 * 3600 * 1000;

/// Files dealt with side by side: each waits for the disk several times, and one sync serves all that wait.
pub(super) const FILES_AT_ONCE: usize = 64;

/// How often a deletion is tried again because others keep writing.
const TRIES: u32 = 32;

/// How to delete.
#[derive(Debug, Clone, Copy)]
pub struct RemoveOptions {
    /// Folders too, with everything in them.
    pub recursive: bool,
    /// How long it can be brought back, in milliseconds; 0: not at all.
    pub trash_ms: u64,
    /// Only if the file has this version.
    pub condition: Condition,
}

impl Default for RemoveOptions {
    fn default() -> Self {
        Self { recursive: false, trash_ms: TRASH_MS_DEFAULT, condition: Condition::Any }
    }
}

/// What was deleted.
#[derive(Debug, Clone, Default)]
pub struct RemoveReport {
    /// Files and links.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Bytes of content of the files; of files that cannot be read none.
    pub bytes: u64,
    /// Where there was no file any more: its older versions, and deleted folders of that name, that went or were
    /// given an end.
    pub leftovers: u64,
    /// What in a folder could not be deleted, and why. It is still there, and so are the folders it is in.
    pub failed: Vec<(VaultPath, Failure)>,
}

/// One deletion under way.
struct Removal {
    vault: Arc<Vault>,
    options: RemoveOptions,
    report: RemoveReport,
}

impl Vault {
    /// Deletes a file, or a folder with everything in it. Of what is deleted already, gives older versions the end
    /// that an interrupted deletion owes them, or (without trash) deletes what could be brought back.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Conflict`] for a folder without `recursive`, or a version that is not the
    /// current one; [`Kind::Invalid`] for a folder with a condition. A [`Failure`] in the middle of a folder leaves
    /// the rest of it there.
    pub async fn remove(
        self: &Arc<Self>,
        path: &VaultPath,
        options: RemoveOptions,
    ) -> Result<RemoveReport, Failure> {
        let Some((parent, name)) = path.split() else {
            return Err(Failure::new(Kind::Invalid, "/: the root cannot be deleted"));
        };
        let dir = self.folder(&parent).await?;
        let key = self.names.entry_key(dir, name);
        let mut removal = Removal { vault: self.clone(), options, report: RemoveReport::default() };
        let found = match self.read(self.files, key.as_bytes(), true).await {
            Err(failure) if failure.kind == Kind::Damaged && options.trash_ms == 0 => {
                removal.unreadable(dir, key, None, path).await?;
                return Ok(removal.report);
            }
            found => found.map_err(|f| only_for_good(path, f))?,
        };
        let Some(found) = found else {
            removal.leftovers(dir, key, path).await?;
            return Ok(removal.report);
        };
        match self.open_entry(key.as_bytes(), &found) {
            Ok(entry) => match entry.target {
                EntryTarget::File { .. } => removal.file(key, path).await?,
                EntryTarget::Directory { id, .. } if self.hangs_elsewhere(id, dir, name).await? => {
                    // What a move left behind is nothing that anybody sees.
                    self.clear_elsewhere(&EntryNow { key, entry, found }, id, path).await?;
                    removal.leftovers(dir, key, path).await?;
                }
                EntryTarget::Directory { id, .. } => {
                    removal.top_folder(dir, id, EntryNow { key, entry, found }, path).await?;
                }
            },
            Err(failure) if failure.kind == Kind::Damaged && options.trash_ms == 0 => {
                removal.unreadable(dir, key, Some(found), path).await?;
            }
            Err(failure) if failure.kind == Kind::Damaged => return Err(only_for_good(path, failure)),
            Err(failure) => return Err(at(path, failure)),
        }
        Ok(removal.report)
    }

    async fn remove_file(
        &self,
        key: SealedKey,
        path: &VaultPath,
        options: RemoveOptions,
    ) -> Result<RemoveReport, Failure> {
        let mut lost = None;
        let for_good = options.trash_ms == 0;
        for _ in 0..TRIES {
            let keep_by_ms = self.now_ms() + KEEP_WITHIN_MS;
            let found = match self.read(self.files, key.as_bytes(), for_good).await {
                Err(failure) if failure.kind == Kind::Damaged && for_good => {
                    return self.remove_damaged(key).await;
                }
                found => found.map_err(|f| file_only_for_good(path, f))?,
            };
            let Some(found) = found else { return Ok(RemoveReport::default()) };
            let version = found.version;
            if matches!(options.condition, Condition::Version(wanted) if wanted != version) {
                let message = format!("{path}: has another version found={version}");
                return Err(Failure::new(Kind::Conflict, message));
            }
            let until_ms = self.now_ms() + options.trash_ms;
            let bytes = if for_good {
                // What goes for good need not be readable, nor as new as this device has seen.
                self.open_entry(key.as_bytes(), &found)
                    .ok()
                    .and_then(|entry| FileInfo::of(entry, &found))
                    .map_or(0, |info| info.size)
            } else {
                let file = self.open_file(key.as_bytes(), found).map_err(|f| file_only_for_good(path, f))?;
                if lost != Some(version)
                    && self.keep_version(key, &file, Some(until_ms), keep_by_ms).await? == Kept::Lost
                {
                    lost = Some(version);
                    continue;
                }
                self.note_kept(key, &file);
                file.info.size
            };
            let condition = Condition::Version(version);
            match self.change(self.files, key.as_bytes(), Ask::Delete { condition }).await? {
                Outcome::Deleted { .. } => {
                    self.end_versions(key, (!for_good).then_some(until_ms)).await?;
                    return Ok(RemoveReport { files: 1, bytes, ..RemoveReport::default() });
                }
                Outcome::Conflict { .. } | Outcome::Absent => {}
                other => return Err(unexpected(&other)),
            }
        }
        Err(Failure::new(Kind::Retry, format!("{path}: others keep writing to it; try again")))
    }

    /// A file whose record the node itself cannot read.
    async fn remove_damaged(&self, key: SealedKey) -> Result<RemoveReport, Failure> {
        let files = u64::from(self.delete_any(key.as_bytes()).await?);
        self.end_versions(key, None).await?;
        Ok(RemoveReport { files, ..RemoveReport::default() })
    }
}

impl Removal {
    fn add(&mut self, more: &RemoveReport) {
        self.report.files += more.files;
        self.report.bytes += more.bytes;
    }

    fn until_ms(&self) -> Option<u64> {
        (self.options.trash_ms > 0).then(|| self.vault.now_ms() + self.options.trash_ms)
    }

    async fn file(&mut self, key: SealedKey, path: &VaultPath) -> Result<(), Failure> {
        let done = self.vault.remove_file(key, path, self.options).await?;
        self.add(&done);
        Ok(())
    }

    async fn top_folder(
        &mut self,
        parent: DirId,
        id: DirId,
        now: EntryNow,
        path: &VaultPath,
    ) -> Result<(), Failure> {
        self.must_be_recursive(path)?;
        let key = now.key;
        self.folder(Level { parent, id, now, path: path.clone(), tries: 0 }).await?;
        if self.options.trash_ms == 0 && self.report.failed.is_empty() {
            self.purge_namesakes(parent, key).await?;
        }
        Ok(())
    }

    fn must_be_recursive(&self, path: &VaultPath) -> Result<(), Failure> {
        if !self.options.recursive {
            let message = format!("{path}: is a folder; delete it and all in it with: larder rm -r {path}");
            return Err(Failure::new(Kind::Conflict, message));
        }
        if self.options.condition != Condition::Any {
            let message = format!("{path}: is a folder; conditions on a version are for single files");
            return Err(Failure::new(Kind::Invalid, message));
        }
        Ok(())
    }

    /// Something that cannot be opened, for good: a file, or a folder if that much can be made out.
    async fn unreadable(
        &mut self,
        parent: DirId,
        key: SealedKey,
        found: Option<Found>,
        path: &VaultPath,
    ) -> Result<(), Failure> {
        let below = found.as_ref().and_then(|f| self.vault.folder_shown(key.as_bytes(), &f.head));
        let Some(below) = below else { return self.file(key, path).await };
        self.must_be_recursive(path)?;
        let closed = self.vault.close_folder_if_readable(below, parent, path).await?;
        if closed != Closed::Elsewhere {
            self.vault.purge_folder(below).await?;
        }
        self.report.folders += u64::from(self.vault.delete_any(key.as_bytes()).await?);
        Ok(())
    }

    /// There is nothing of that name any more: what a deletion left under it.
    async fn leftovers(&mut self, dir: DirId, key: SealedKey, path: &VaultPath) -> Result<(), Failure> {
        let history = self.vault.history(key).await?;
        let has_folders = history.folders().next().is_some();
        if self.options.condition != Condition::Any {
            return Err(Failure::new(Kind::NotFound, format!("no such file or folder: {path}")));
        }
        let until_ms = self.until_ms();
        if until_ms.is_none() && has_folders {
            self.must_be_recursive(path)?;
            self.purge_namesakes(dir, key).await?;
        }
        self.report.leftovers += self.vault.end_versions(key, until_ms).await?;
        if self.report.leftovers > 0 {
            return Ok(());
        }
        let mut message = format!("no such file or folder: {path}");
        if has_folders || history.files().next().is_some() {
            message.push_str(" (it was deleted before; for good: larder rm --now)");
        }
        Err(Failure::new(Kind::NotFound, message))
    }

    /// For good, what is kept of deleted folders that had this name.
    async fn purge_namesakes(&mut self, parent: DirId, key: SealedKey) -> Result<(), Failure> {
        for kept in self.vault.history(key).await?.folders() {
            self.vault.purge_folder_if_there(kept.id, parent, &kept.entry.name).await?;
            self.report.leftovers += u64::from(self.vault.delete_any(kept.record.as_bytes()).await?);
        }
        Ok(())
    }
}

impl Vault {
    /// As [`Vault::close_folder`]; a folder whose record cannot be read takes no entries anyway.
    async fn close_folder_if_readable(
        &self,
        id: DirId,
        parent: DirId,
        path: &VaultPath,
    ) -> Result<Closed, Failure> {
        match self.close_folder(id, parent, path).await {
            Err(failure) if failure.kind == Kind::Damaged => Ok(Closed::Gone),
            other => other,
        }
    }
}

/// What cannot be read cannot be kept either. What the node lost without knowing of what has a remedy of its own.
fn only_for_good(path: &VaultPath, failure: Failure) -> Failure {
    if failure.kind != Kind::Damaged || failure.message.contains(FRAMES_LOST) {
        return at(path, failure);
    }
    let message = format!("{path}: {} (to delete it unread: larder rm --now)", failure.message);
    Failure::new(Kind::Damaged, message)
}

/// As [`only_for_good`], of a file: its older versions may be whole, and would go with it.
fn file_only_for_good(path: &VaultPath, failure: Failure) -> Failure {
    if failure.kind != Kind::Damaged || failure.message.contains(FRAMES_LOST) {
        return at(path, failure);
    }
    let message = format!(
        "{path}: {} (to delete it unread, and all its versions with it: larder rm --now; larder versions {path} lists \
         them, larder restore {path} brings one back)",
        failure.message
    );
    Failure::new(Kind::Damaged, message)
}
