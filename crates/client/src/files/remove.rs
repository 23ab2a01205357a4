//! Deleting. A deleted file can be brought back until its trash time is over, unless it is deleted for good.

use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::head::{DirId, DirState, Directory, EntryTarget, Head};
use larder_format::namespace::LifetimeRequest;
use larder_format::operation::{Condition, Outcome};
use larder_format::record::Expiry;
use larder_seal::names::SealedKey;
use larder_wire::answer::Failure;
use larder_wire::request::{Ask, AskPut};
use tokio::task::JoinSet;

use super::put::{KEEP_WITHIN_MS, Kept, at};
use crate::directory::EntryNow;
use crate::path::VaultPath;
use crate::remote::Scan;
use crate::vault::{Vault, unexpected};

/// How long a deleted file can be brought back, in milliseconds: a week.
pub const TRASH_MS_DEFAULT: u64 = 7 * 24 * 3600 * 1000;

/// Files deleted side by side: each waits for the disk several times, and one sync serves all that wait.
const FILES_AT_ONCE: usize = 64;

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveReport {
    /// Files and links.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Bytes of content of the files.
    pub bytes: u64,
}

impl RemoveReport {
    fn add(&mut self, more: Self) {
        self.files += more.files;
        self.folders += more.folders;
        self.bytes += more.bytes;
    }
}

impl Vault {
    /// Deletes a file, or a folder with everything in it.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Conflict`] for a folder without `recursive`, or a version that is not the
    /// current one; other [`Failure`]s in the middle of a folder leave the rest of it there.
    pub async fn remove(
        self: &Arc<Self>,
        path: &VaultPath,
        options: RemoveOptions,
    ) -> Result<RemoveReport, Failure> {
        let Some((parent, name)) = path.split() else {
            return Err(Failure::new(Kind::Invalid, "/: the root cannot be deleted"));
        };
        let dir = self.folder(&parent).await?;
        let Some(entry) = self.lookup(dir, name, true).await? else {
            return Err(Failure::new(Kind::NotFound, format!("no such file or folder: {path}")));
        };
        let mut report = RemoveReport::default();
        match entry.entry.target {
            EntryTarget::File { .. } => report.add(self.remove_file(entry.key, path, options).await?),
            EntryTarget::Directory { .. } if !options.recursive => {
                let message =
                    format!("{path}: is a folder; delete it and all in it with: larder rm -r {path}");
                return Err(Failure::new(Kind::Conflict, message));
            }
            EntryTarget::Directory { id, .. } => {
                Box::pin(self.remove_folder(dir, id, &entry, path, options, &mut report)).await?;
            }
        }
        Ok(report)
    }

    async fn remove_file(
        &self,
        key: SealedKey,
        path: &VaultPath,
        options: RemoveOptions,
    ) -> Result<RemoveReport, Failure> {
        let mut lost = None;
        for _ in 0..TRIES {
            let keep_by_ms = self.now_ms() + KEEP_WITHIN_MS;
            let Some(found) = self.read(self.files, key.as_bytes(), false).await? else {
                return Ok(RemoveReport::default());
            };
            let file = self.open_file(key.as_bytes(), found).map_err(|f| at(path, f))?;
            let version = file.info.version;
            if matches!(options.condition, Condition::Version(wanted) if wanted != version) {
                let message = format!("{path}: has another version found={version}");
                return Err(Failure::new(Kind::Conflict, message));
            }
            let until_ms = self.now_ms() + options.trash_ms;
            if options.trash_ms > 0
                && lost != Some(version)
                && self.keep_version(key, &file, Some(until_ms), keep_by_ms).await? == Kept::Lost
            {
                lost = Some(version);
                continue;
            }
            let condition = Condition::Version(version);
            match self.change(self.files, key.as_bytes(), Ask::Delete { condition }).await? {
                Outcome::Deleted { .. } => {
                    self.settle_versions(key, (options.trash_ms > 0).then_some(until_ms)).await?;
                    return Ok(RemoveReport { files: 1, folders: 0, bytes: file.info.size });
                }
                Outcome::Conflict { .. } | Outcome::Absent => {}
                other => return Err(unexpected(&other)),
            }
        }
        Err(Failure::new(Kind::Retry, format!("{path}: others keep writing to it; try again")))
    }

    /// Gives all kept versions of a deleted file an end, or deletes them at once.
    async fn settle_versions(&self, key: SealedKey, until_ms: Option<u64>) -> Result<(), Failure> {
        let scan = Scan::heads(self.files, key.as_bytes());
        let mut pages = self.remote.scan(scan).await?;
        while let Some(page) = pages.next().await? {
            for (record, found) in page.records {
                if !matches!(SealedKey::parse(record.as_bytes()), Some((_, Some(_)))) {
                    continue;
                }
                let condition = Condition::Version(found.version);
                let ask = match until_ms {
                    None => Ask::Delete { condition },
                    Some(ms) if ends_before(found.expiry, ms) => continue,
                    Some(ms) => Ask::Touch { condition, lifetime: LifetimeRequest::Until(ms) },
                };
                self.change(self.files, record.as_bytes(), ask).await?;
            }
        }
        Ok(())
    }

    /// Closes a folder to new entries, deletes what is in it, then the folder itself.
    async fn remove_folder(
        self: &Arc<Self>,
        parent: DirId,
        id: DirId,
        entry: &EntryNow,
        path: &VaultPath,
        options: RemoveOptions,
        report: &mut RemoveReport,
    ) -> Result<(), Failure> {
        self.close_folder(id, path).await?;
        let inner = RemoveOptions { condition: Condition::Any, ..options };
        // Whoever created in it before it was closed is seen by a listing that begins after.
        let mut entries = self.entries(id, false).await?;
        while let Some(some) = entries.next(self).await? {
            if some.damaged > 0 {
                let message = format!("{path}: has entries that cannot be read count={}", some.damaged);
                return Err(Failure::new(Kind::Damaged, message));
            }
            let mut files = JoinSet::new();
            for child in some.entries {
                let child_path = path.join(&child.entry.name)?;
                match child.entry.target {
                    EntryTarget::File { .. } => {
                        if files.len() >= FILES_AT_ONCE {
                            report.add(joined(&mut files).await?);
                        }
                        let vault = self.clone();
                        let work = async move { vault.remove_file(child.key, &child_path, inner).await };
                        files.spawn(work);
                    }
                    EntryTarget::Directory { id: below, .. } => {
                        let work = self.remove_folder(id, below, &child, &child_path, inner, report);
                        Box::pin(work).await?;
                    }
                }
            }
            while !files.is_empty() {
                report.add(joined(&mut files).await?);
            }
        }
        let name = &entry.entry.name;
        let key = self.names.entry_key(parent, name);
        let condition = Condition::Version(entry.found.version);
        self.change(self.files, key.as_bytes(), Ask::Delete { condition }).await?;
        if options.trash_ms == 0 {
            self.forget_folder(id).await?;
        }
        report.folders += 1;
        Ok(())
    }

    /// Marks a folder as closing, so that nothing is created in it any more. Its record ends with its trash.
    async fn close_folder(&self, id: DirId, path: &VaultPath) -> Result<(), Failure> {
        for _ in 0..TRIES {
            let Some((version, directory)) = self.folder_record(id).await? else { return Ok(()) };
            if directory.state == DirState::Closing {
                return Ok(());
            }
            let closing = Head::Directory(Directory { state: DirState::Closing, ..directory });
            let key = self.names.directory_key(id);
            let sealed = self.seal(self.files, key.as_bytes(), &closing, &[])?;
            let put = AskPut {
                condition: Condition::Version(version),
                lifetime: LifetimeRequest::Ttl(TRASH_MS_DEFAULT),
                head: sealed.head,
                body: sealed.body,
                ..AskPut::default()
            };
            match self.change(self.files, key.as_bytes(), Ask::Put(put)).await? {
                Outcome::Written { .. } => return Ok(()),
                Outcome::Conflict { .. } => {}
                other => return Err(unexpected(&other)),
            }
        }
        Err(Failure::new(Kind::Retry, format!("{path}: keeps changing; try again")))
    }
}

/// The next file that is done.
async fn joined(files: &mut JoinSet<Result<RemoveReport, Failure>>) -> Result<RemoveReport, Failure> {
    match files.join_next().await {
        None => Ok(RemoveReport::default()),
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(Failure::new(Kind::Bug, error.to_string())),
    }
}

fn ends_before(expiry: Expiry, ms: u64) -> bool {
    expiry.ms().is_some_and(|end| end <= ms)
}
