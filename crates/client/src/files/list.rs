//! Listing folders: names, sizes, times, without touching content.

use std::collections::HashMap;
use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::head::{Attributes, DirId, DirState, Directory, EntryTarget, FileId, FileKind};
use larder_format::record::{Expiry, Version};
use larder_wire::answer::Failure;
use larder_wire::request::Ask;

use super::damage::damaged;
use crate::directory::{EntryNow, Standing};
use crate::files::FolderReading;
use crate::path::VaultPath;
use crate::vault::Vault;

/// What a listed thing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedKind {
    /// A file.
    File {
        /// Its identity.
        id: FileId,
        /// Length, in bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Its identity.
        id: FileId,
    },
    /// A folder.
    Folder {
        /// Its identity.
        id: DirId,
    },
}

/// One thing in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where it is.
    pub path: VaultPath,
    /// What it is.
    pub kind: ListedKind,
    /// Mode, time, type, custom attributes.
    pub attributes: Attributes,
    /// Which version of its record.
    pub version: Version,
    /// Until when it lives.
    pub expiry: Expiry,
    /// A folder that is being deleted, or whose deletion was interrupted: what is left in it cannot be reached
    /// until that is finished, or undone by restoring it.
    pub deleting: bool,
}

/// What a listing came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Listing {
    /// Files and links.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Bytes of content of the files.
    pub bytes: u64,
    /// Things that are there but cannot be read.
    pub damaged: u64,
}

/// Folders read ahead from where a recursive listing is.
const NEXT_AHEAD: usize = 24;

/// Folders read ahead in all: those next to folders further up wait meanwhile.
const ALL_AHEAD: usize = 192;

/// A folder still to be listed.
struct Ahead {
    path: VaultPath,
    dir: DirId,
    reading: Option<FolderReading>,
}

impl Vault {
    /// One thing by its path.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub async fn stat(&self, path: &VaultPath) -> Result<Listed, Failure> {
        let Some((parent, name)) = path.split() else {
            return Err(Failure::new(Kind::Invalid, "/: the root has no attributes of its own"));
        };
        let dir = self.folder(&parent).await?;
        match self.look_up(dir, name, true).await.map_err(|f| damaged(path, f))? {
            Some((entry, standing)) if standing.is_shown() => {
                Ok(Listed { deleting: standing == Standing::Closing, ..listed(path.clone(), entry) })
            }
            _ => Err(Failure::new(Kind::NotFound, format!("no such file or folder: {path}"))),
        }
    }

    /// Lists a folder, sorted by name, or everything below it, each folder after its parent. A file's path
    /// lists that file. `each` gets everything as it comes.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; what `each` fails with.
    pub async fn list(
        self: &Arc<Self>,
        path: &VaultPath,
        recursive: bool,
        mut each: impl FnMut(Listed) -> Result<(), Failure>,
    ) -> Result<Listing, Failure> {
        let mut total = Listing::default();
        if !path.is_root() {
            let top = self.stat(path).await?;
            if !matches!(top.kind, ListedKind::Folder { .. }) {
                total.count(&top);
                each(top)?;
                return Ok(total);
            }
        }
        let dir = self.folder(path).await?;
        let mut open = vec![Ahead { path: path.clone(), dir, reading: None }];
        let mut under_way = 0;
        while let Some(folder) = open.pop() {
            let at = folder.path;
            under_way -= usize::from(folder.reading.is_some());
            let mut reading = folder.reading.unwrap_or_else(|| FolderReading::start(self, folder.dir, false));
            let mut children = Vec::new();
            while let Some(page) = reading.next().await? {
                total.damaged += page.damaged;
                for (entry, standing) in page.entries {
                    let Ok(standing) = standing else {
                        total.damaged += 1;
                        continue;
                    };
                    let path = at.join(&entry.entry.name)?;
                    let deleting = standing == Standing::Closing;
                    children.push((entry.entry.moves, Listed { deleting, ..listed(path, entry) }));
                }
            }
            let mut children = without_doubles(children);
            children.sort_by(|a, b| a.path.cmp(&b.path));
            if recursive {
                let below = children.iter().rev().filter_map(|child| match child.kind {
                    ListedKind::Folder { id } if !child.deleting => Some((child.path.clone(), id)),
                    _ => None,
                });
                open.extend(below.map(|(path, dir)| Ahead { path, dir, reading: None }));
                under_way += self.read_ahead(&mut open, ALL_AHEAD - under_way);
            }
            for child in children {
                total.count(&child);
                each(child)?;
            }
        }
        Ok(total)
    }

    /// Begins to read the folders that come next, at most so many; answers how many.
    fn read_ahead(self: &Arc<Self>, open: &mut [Ahead], most: usize) -> usize {
        let next = open.iter_mut().rev().take(NEXT_AHEAD).filter(|folder| folder.reading.is_none());
        let begin = |folder: &mut Ahead| {
            folder.reading = Some(FolderReading::start(self, folder.dir, false));
        };
        next.take(most).map(begin).count()
    }

    /// What these child folders' own records say, asked in one stream. One that cannot be read hides no other.
    pub(crate) async fn confirm_all(
        &self,
        parent: DirId,
        folders: Vec<(DirId, String)>,
    ) -> Result<Vec<Result<Standing, Failure>>, Failure> {
        let records = self.folder_records(folders.iter().map(|(id, _)| *id).collect()).await?;
        let standing = |(_, name): &(DirId, String), record: Option<Directory>| {
            Standing::of(record.as_ref(), parent, name)
        };
        Ok(folders.iter().zip(records).map(|(f, record)| record.map(|r| standing(f, r))).collect())
    }

    /// Which of these folders are there and not being deleted; asked in one stream. The root always is.
    pub(crate) async fn take_entries(&self, ids: Vec<DirId>) -> Result<Vec<bool>, Failure> {
        let root = self.names.root_dir();
        let records = self.folder_records(ids.clone()).await?;
        let open = |record: Result<Option<Directory>, Failure>| {
            record.is_ok_and(|d| d.is_some_and(|d| d.state == DirState::Open))
        };
        Ok(ids.into_iter().zip(records).map(|(id, record)| id == root || open(record)).collect())
    }

    async fn folder_records(
        &self,
        ids: Vec<DirId>,
    ) -> Result<Vec<Result<Option<Directory>, Failure>>, Failure> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let (sender, mut answers) = self.remote.apply_stream().await?;
        let mut requests = Vec::with_capacity(ids.len());
        for id in &ids {
            let key = self.names.directory_key(*id);
            requests.push(self.request(self.files, key.as_bytes(), Ask::Get { head_only: true })?);
        }
        let sending = tokio::spawn(async move {
            for request in requests {
                sender.send(request).await?;
            }
            Ok::<_, Failure>(())
        });
        let mut records = Vec::with_capacity(ids.len());
        for id in ids {
            let Some((_, answer)) = answers.next().await? else {
                return Err(Failure::new(Kind::Closed, "the node ended the stream early; try again"));
            };
            let record = answer.and_then(|outcome| self.folder_record_of(id, outcome));
            records.push(match record {
                Err(failure) if failure.kind != Kind::Damaged => return Err(failure),
                record => record.map(|r| r.map(|(_, directory)| directory)),
            });
        }
        sending.await.map_err(|e| Failure::new(Kind::Bug, e.to_string()))??;
        Ok(records)
    }
}

impl Listing {
    fn count(&mut self, listed: &Listed) {
        match listed.kind {
            ListedKind::File { size, .. } => {
                self.files += 1;
                self.bytes += size;
            }
            ListedKind::Symlink { .. } => self.files += 1,
            ListedKind::Folder { .. } => self.folders += 1,
        }
    }
}

/// Leaves out what a move that was interrupted, or is under way, shows a second time in the same folder: the entry that was
/// moved less often. One that was written to since is another thing, and stays.
fn without_doubles(children: Vec<(u64, Listed)>) -> Vec<Listed> {
    let file = |child: &Listed| match child.kind {
        ListedKind::File { id, size } => Some((id, size)),
        ListedKind::Symlink { id } => Some((id, 0)),
        ListedKind::Folder { .. } => None,
    };
    let mut newest: HashMap<FileId, (u64, Listed)> = HashMap::new();
    // Files that were never moved have no second entry; only of the others is note taken.
    for (moves, child) in children.iter().filter(|(moves, _)| *moves > 0) {
        if let Some((id, _)) = file(child)
            && newest.get(&id).is_none_or(|(most, _)| most < moves)
        {
            newest.insert(id, (*moves, child.clone()));
        }
    }
    let is_double = |moves: u64, child: &Listed| {
        let newest = file(child).and_then(|(id, _)| newest.get(&id));
        newest.is_some_and(|(most, other)| {
            *most > moves && file(other) == file(child) && other.attributes == child.attributes
        })
    };
    children.into_iter().filter(|(moves, child)| !is_double(*moves, child)).map(|(_, child)| child).collect()
}

pub(crate) fn listed(path: VaultPath, now: EntryNow) -> Listed {
    let (kind, attributes) = match now.entry.target {
        EntryTarget::File { id, kind: FileKind::File, size, attributes } => {
            (ListedKind::File { id, size }, attributes)
        }
        EntryTarget::File { id, kind: FileKind::Symlink, attributes, .. } => {
            (ListedKind::Symlink { id }, attributes)
        }
        EntryTarget::Directory { id, attributes } => (ListedKind::Folder { id }, attributes),
    };
    let (version, expiry) = (now.found.version, now.found.expiry);
    Listed { path, kind, attributes, version, expiry, deleting: false }
}
