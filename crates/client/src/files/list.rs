//! Listing folders: names, sizes, times, without touching content.

use larder_format::error::Kind;
use larder_format::head::{Attributes, DirId, DirState, EntryTarget, FileId, FileKind, Head};
use larder_format::operation::Outcome;
use larder_format::record::{Expiry, Version};
use larder_wire::answer::Failure;
use larder_wire::request::Ask;

use crate::directory::EntryNow;
use crate::path::VaultPath;
use crate::vault::{Vault, unexpected};

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
        let Some(entry) = self.lookup(dir, name, true).await? else {
            return Err(Failure::new(Kind::NotFound, format!("no such file or folder: {path}")));
        };
        Ok(listed(path.clone(), entry))
    }

    /// Lists a folder, sorted by name, or everything below it, each folder after its parent. A file's path
    /// lists that file. `each` gets everything as it comes.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; what `each` fails with.
    pub async fn list(
        &self,
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
        let mut open = vec![(self.folder(path).await?, path.clone())];
        while let Some((dir, at)) = open.pop() {
            let (mut children, damaged) = self.children(dir, &at).await?;
            total.damaged += damaged;
            children.sort_by(|a, b| a.path.cmp(&b.path));
            let mut below = Vec::new();
            for child in children {
                total.count(&child);
                if let (true, ListedKind::Folder { id }) = (recursive, &child.kind) {
                    below.push((*id, child.path.clone()));
                }
                each(child)?;
            }
            open.extend(below.into_iter().rev());
        }
        Ok(total)
    }

    /// All children of a folder, child folders confirmed.
    pub(crate) async fn children(&self, dir: DirId, at: &VaultPath) -> Result<(Vec<Listed>, u64), Failure> {
        let mut found = Vec::new();
        let mut damaged = 0;
        let mut entries = self.entries(dir, false).await?;
        while let Some(some) = entries.next(self).await? {
            damaged += some.damaged;
            for entry in some.entries {
                let path = at.join(&entry.entry.name)?;
                found.push(listed(path, entry));
            }
        }
        let folders: Vec<(DirId, String)> = found
            .iter()
            .filter_map(|l| match (&l.kind, l.path.split()) {
                (ListedKind::Folder { id }, Some((_, name))) => Some((*id, name.to_owned())),
                _ => None,
            })
            .collect();
        if !folders.is_empty() {
            let mut confirmed = self.confirm_all(dir, folders).await?.into_iter();
            found.retain(|l| match l.kind {
                ListedKind::Folder { .. } => confirmed.next().unwrap_or(false),
                _ => true,
            });
        }
        Ok((found, damaged))
    }

    /// Which of these child folders their own records confirm; asked in one stream.
    pub(crate) async fn confirm_all(
        &self,
        parent: DirId,
        folders: Vec<(DirId, String)>,
    ) -> Result<Vec<bool>, Failure> {
        let (sender, mut answers) = self.remote.apply_stream().await?;
        let mut requests = Vec::with_capacity(folders.len());
        for (id, _) in &folders {
            let key = self.names.directory_key(*id);
            requests.push(self.request(self.files, key.as_bytes(), Ask::Get { head_only: true })?);
        }
        let sending = tokio::spawn(async move {
            for request in requests {
                sender.send(request).await?;
            }
            Ok::<_, Failure>(())
        });
        let mut confirmed = Vec::with_capacity(folders.len());
        for (id, name) in &folders {
            let Some((_, answer)) = answers.next().await? else {
                return Err(Failure::new(Kind::Closed, "the node ended the stream early; try again"));
            };
            confirmed.push(match answer? {
                Outcome::Absent => false,
                Outcome::Found(found) => {
                    let key = self.names.directory_key(*id);
                    match self.open_head(self.files, key.as_bytes(), &found.head)? {
                        Head::Directory(d) => {
                            d.parent == parent && d.name == *name && d.state == DirState::Open
                        }
                        _ => false,
                    }
                }
                other => return Err(unexpected(&other)),
            });
        }
        sending.await.map_err(|e| Failure::new(Kind::Bug, e.to_string()))??;
        Ok(confirmed)
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
    Listed { path, kind, attributes, version: now.found.version, expiry: now.found.expiry }
}
