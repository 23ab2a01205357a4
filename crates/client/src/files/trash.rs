//! What was deleted and can be brought back: listing it, bringing it back, deleting it for good.

use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::head::{DirId, DirState, EntryTarget, FileKind};
use larder_format::operation::{Condition, Outcome};
use larder_format::record::{Expiry, Key, Version};
use larder_seal::names::SealedKey;
use larder_wire::answer::Failure;
use larder_wire::request::Ask;

use super::restore::Restored;
use super::survey::{Named, Now};
use super::versions::VersionKind;
use crate::path::VaultPath;
use crate::vault::Vault;

/// One thing that was deleted and can be brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trashed {
    /// Where it was.
    pub path: VaultPath,
    /// What it was.
    pub kind: VersionKind,
    /// What to call it by: of a file its newest version.
    pub version: Version,
    /// Files: 1, or those in the folder.
    pub files: u64,
    /// Bytes of content that would come back.
    pub bytes: u64,
    /// Versions that are kept of it.
    pub versions: u64,
    /// Bytes of content of all of them.
    pub all_bytes: u64,
    /// When it was deleted, in milliseconds since 1970; of a file whose own time was up, when its newest older version
    /// was replaced.
    pub deleted_ms: u64,
    /// Until when it can be brought back.
    pub expiry: Expiry,
    /// A folder whose deletion is under way or was interrupted.
    pub deleting: bool,
    place: Place,
}

/// Where the records of it are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    File { key: SealedKey, versions: Vec<(Key, Version)> },
    Folder { id: DirId, record: Key },
}

impl Vault {
    /// Everything below a folder that was deleted and can be brought back, folders as one thing each. Of a path that has
    /// no folder: what was deleted of that name; with `inside`, if that was a folder, what is in it too. `each` gets
    /// everything as it comes. Answers how many records are there that cannot be read.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if there is not even something deleted of that name; what `each` fails with.
    pub async fn trash(
        &self,
        path: &VaultPath,
        inside: bool,
        mut each: impl AsyncFnMut(Trashed) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let dir = match path.split() {
            None => Some(self.names.root_dir()),
            Some((parent, _)) => {
                let dir = self.trail(&parent).await?.dir;
                let named = self.survey_one(dir, path).await?;
                let now = named.now;
                for thing in self.trashed(&named).await? {
                    each(thing).await?;
                }
                match now {
                    Now::Folder(id) => Some(id),
                    Now::File | Now::Closing(_) => None,
                    Now::Nothing if is_unknown(&named) => return Err(never_was(path)),
                    Now::Nothing => named.history.folders().next_back().filter(|_| inside).map(|f| f.id),
                }
            }
        };
        let Some(dir) = dir else { return Ok(0) };
        self.survey(path, dir, async |named| {
            for thing in self.trashed(&named).await? {
                each(thing).await?;
            }
            Ok(())
        })
        .await
    }

    /// Brings back something that was deleted; as [`Vault::restore`], but never in the place of what is there. A folder of
    /// which only a part was brought back gets the rest.
    ///
    /// # Errors
    /// [`Kind::Conflict`] if it is there; otherwise as [`Vault::restore`].
    pub async fn undelete(
        self: &Arc<Self>,
        path: &VaultPath,
        version: Option<Version>,
    ) -> Result<Restored, Failure> {
        let Some((parent, _)) = path.split() else {
            return Err(Failure::new(
                Kind::Invalid,
                "/: the root cannot be deleted, and so not be brought back",
            ));
        };
        let dir = self.trail(&parent).await?.dir;
        let named = self.survey_one(dir, path).await?;
        let there = match named.now {
            Now::Nothing | Now::Closing(_) => None,
            Now::File => Some("a file"),
            Now::Folder(_) => Some("a folder"),
        };
        let Some(there) = there else {
            return if is_unknown(&named) { Err(never_was(path)) } else { self.restore(path, version).await };
        };
        // The folder is there because something in it was brought back before: the rest of it follows.
        if let Now::Folder(id) = named.now
            && let Some(kept) = named.history.folders().find(|kept| kept.id == id)
            && version.is_none_or(|version| version == kept.mark)
        {
            return self.restore(path, Some(kept.mark)).await;
        }
        let mut message = format!("{path}: is there, {there}; nothing to bring back");
        if named.now == Now::File && named.history.files().next().is_some() {
            message.push_str(&format!(" (an older version: larder restore {path})"));
        } else if named.history.folders().next().is_some() {
            message.push_str(" (an older folder of that name was deleted: delete or move this one first)");
        }
        Err(Failure::new(Kind::Conflict, message))
    }

    /// Deletes something for good that was deleted. Answers whether it was still there and deleted.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn purge_trashed(&self, thing: &Trashed) -> Result<bool, Failure> {
        match &thing.place {
            Place::File { key, versions } => {
                // Brought back meanwhile, its versions are those of a file again.
                if self.read(self.files, key.as_bytes(), true).await?.is_some() {
                    return Ok(false);
                }
                let mut any = false;
                for (record, version) in versions {
                    let condition = Condition::Version(*version);
                    let outcome =
                        self.change(self.files, record.as_bytes(), Ask::Delete { condition }).await?;
                    any |= matches!(outcome, Outcome::Deleted { .. });
                }
                Ok(any)
            }
            Place::Folder { id, record } => {
                if thing.deleting || self.is_open(*id).await? {
                    return Ok(false);
                }
                self.purge_folder(*id).await?;
                self.delete_any(record.as_bytes()).await
            }
        }
    }

    async fn is_open(&self, id: DirId) -> Result<bool, Failure> {
        Ok(self.folder_record(id).await?.is_some_and(|(_, d)| d.state == DirState::Open))
    }

    /// What was deleted of one name.
    async fn trashed(&self, named: &Named) -> Result<Vec<Trashed>, Failure> {
        let mut all = Vec::new();
        for kept in named.history.folders() {
            let deleting = named.now == Now::Closing(kept.id);
            // Brought back, perhaps elsewhere, but not to the last step: it is not deleted.
            if !deleting && self.is_open(kept.id).await? {
                continue;
            }
            let Some(found) = named.history.kept.iter().find(|k| k.record == kept.record) else { continue };
            let contents = self.contents(kept.id).await?;
            all.push(Trashed {
                path: named.path.clone(),
                kind: VersionKind::DeletedFolder,
                version: kept.mark,
                files: contents.files,
                bytes: contents.bytes,
                versions: contents.versions,
                all_bytes: contents.all_bytes,
                deleted_ms: kept.mark.0.ms(),
                expiry: found.found.expiry,
                deleting,
                place: Place::Folder { id: kept.id, record: kept.record },
            });
        }
        if named.now == Now::Nothing {
            all.extend(trashed_file(named));
        }
        Ok(all)
    }
}

/// Whether there is nothing of a name, not even something deleted.
fn is_unknown(named: &Named) -> bool {
    named.now == Now::Nothing && named.history.kept.is_empty() && named.history.unreadable.is_empty()
}

fn never_was(path: &VaultPath) -> Failure {
    let message = format!("no such file or folder, and nothing of that name was deleted: {path}");
    Failure::new(Kind::NotFound, message)
}

/// The versions of a file that is not there any more, as one thing.
fn trashed_file(named: &Named) -> Option<Trashed> {
    let (version, newest) = named.history.files().next_back()?;
    let EntryTarget::File { kind, size, .. } = newest.entry.target else { return None };
    let sizes = named.history.files().map(|(_, kept)| match kept.entry.target {
        EntryTarget::File { size, .. } => size,
        EntryTarget::Directory { .. } => 0,
    });
    let versions: Vec<_> =
        named.history.files().map(|(_, kept)| (kept.record.clone(), kept.found.version)).collect();
    Some(Trashed {
        path: named.path.clone(),
        kind: if kind == FileKind::Symlink { VersionKind::Symlink } else { VersionKind::File },
        version,
        files: 1,
        bytes: size,
        versions: versions.len() as u64,
        all_bytes: sizes.sum(),
        deleted_ms: newest.found.version.0.ms(),
        expiry: newest.found.expiry,
        deleting: false,
        place: Place::File { key: named.key, versions },
    })
}
