//! What was deleted and can be brought back: listing it, bringing it back, deleting it for good.

use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::head::{DirId, DirState, EntryTarget, FileKind};
use larder_format::operation::{Condition, Outcome};
use larder_format::record::{Expiry, Version};
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

/// Where the records of it are. Keys of records are made again when they are needed: those that came with a page would keep all
/// of it in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Of each version what it is called by, and its record's own.
    File {
        key: SealedKey,
        versions: Vec<(Version, Version)>,
    },
    Folder {
        id: DirId,
        key: SealedKey,
    },
}

/// What comes next in a walk.
enum Step {
    Thing(Trashed),
    Folder(VaultPath, DirId),
}

impl Step {
    /// Things by path, those of one name by age, then what is in a folder of that name.
    fn order(&self) -> (&VaultPath, u64) {
        match self {
            Step::Thing(thing) => (&thing.path, thing.deleted_ms),
            Step::Folder(path, _) => (path, u64::MAX),
        }
    }
}

impl Vault {
    /// Everything below a folder that was deleted and can be brought back, folders as one thing each. Of a path that has
    /// no folder: what was deleted of that name; with `inside`, if that was a folder, what is in it too. `each` gets
    /// everything sorted by path, as it comes: no more is held than one folder of each level. Answers how many records are there that cannot be read.
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
                let mut own = self.trashed(&named).await?;
                own.sort_by_key(|thing| thing.deleted_ms);
                for thing in own {
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
        let (mut steps, mut damaged) = (Vec::new(), 0);
        steps.extend(dir.map(|dir| Step::Folder(path.clone(), dir)));
        while let Some(step) = steps.pop() {
            let (path, dir) = match step {
                Step::Thing(thing) => {
                    each(thing).await?;
                    continue;
                }
                Step::Folder(path, dir) => (path, dir),
            };
            let mut next = Vec::new();
            let visit = async |named: Named| {
                next.extend(self.trashed(&named).await?.into_iter().map(Step::Thing));
                if let Now::Folder(id) = named.now {
                    next.push(Step::Folder(named.path, id));
                }
                Ok(())
            };
            damaged += self.survey_folder(&path, dir, visit).await?;
            // The first is taken from the end.
            next.sort_by(|a, b| b.order().cmp(&a.order()));
            steps.append(&mut next);
        }
        Ok(damaged)
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
                for (called, found) in versions {
                    let condition = Condition::Version(*found);
                    let record = key.version_key(*called);
                    let outcome = self.change(self.files, &record, Ask::Delete { condition }).await?;
                    any |= matches!(outcome, Outcome::Deleted { .. });
                }
                Ok(any)
            }
            Place::Folder { id, key } => {
                if thing.deleting || self.is_open(*id).await? {
                    return Ok(false);
                }
                self.purge_folder(*id).await?;
                self.delete_any(&key.version_key(thing.version)).await
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
                place: Place::Folder { id: kept.id, key: named.key },
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
    let versions: Vec<_> = named.history.files().map(|(called, kept)| (called, kept.found.version)).collect();
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
