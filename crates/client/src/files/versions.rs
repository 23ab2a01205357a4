//! Which versions there are of a file, also of a deleted one.

use larder_format::error::Kind;
use larder_format::head::{Attributes, EntryTarget, FileKind};
use larder_format::record::{Expiry, Version};
use larder_wire::answer::Failure;

use super::history::Kept;
use crate::path::VaultPath;
use crate::vault::Vault;

/// What had a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionKind {
    /// A file.
    File,
    /// A symbolic link.
    Symlink,
    /// A folder that was deleted and can be brought back.
    DeletedFolder,
}

/// One version of a file, or one folder that was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionInfo {
    /// What to call it by.
    pub version: Version,
    /// Of what.
    pub kind: VersionKind,
    /// Whether it is the one that a plain read shows.
    pub current: bool,
    /// Length, in bytes; of folders 0.
    pub size: u64,
    /// Mode, time, type, custom attributes.
    pub attributes: Attributes,
    /// Until when it is kept.
    pub expiry: Expiry,
}

/// What was found under a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions {
    /// Newest first.
    pub versions: Vec<VersionInfo>,
    /// Versions that are there but cannot be read.
    pub damaged: u64,
}

impl VersionInfo {
    fn of(kept: Kept) -> Option<Self> {
        let (kind, size, attributes) = match kept.entry.target {
            EntryTarget::File { kind: FileKind::File, size, attributes, .. } => {
                (VersionKind::File, size, attributes)
            }
            EntryTarget::File { kind: FileKind::Symlink, size, attributes, .. } => {
                (VersionKind::Symlink, size, attributes)
            }
            // A folder that is there has no versions.
            EntryTarget::Directory { .. } if kept.called.is_none() => return None,
            EntryTarget::Directory { attributes, .. } => (VersionKind::DeletedFolder, 0, attributes),
        };
        Some(Self {
            version: kept.called.unwrap_or(kept.found.version),
            kind,
            current: kept.called.is_none(),
            size,
            attributes,
            expiry: kept.found.expiry,
        })
    }
}

impl Vault {
    /// The versions of a file, newest first, and deleted folders of that name. What was deleted is there until its
    /// trash time is over; also in a folder that was deleted.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if there is none.
    pub async fn versions(&self, path: &VaultPath) -> Result<Versions, Failure> {
        let Some((parent, name)) = path.split() else {
            return Err(Failure::new(Kind::Conflict, "/: is a folder; versions belong to files"));
        };
        let dir = self.trail(&parent).await?.dir;
        let history = self.history(self.names.entry_key(dir, name)).await?;
        let damaged = history.unreadable.len() as u64;
        let mut versions: Vec<VersionInfo> = history.kept.into_iter().filter_map(VersionInfo::of).collect();
        // While a file is being replaced its current version is there twice for a moment.
        versions.sort_by(|a, b| b.version.cmp(&a.version).then(b.current.cmp(&a.current)));
        versions.dedup_by_key(|v| v.version);
        if versions.is_empty() && damaged == 0 {
            return Err(Failure::new(Kind::NotFound, format!("no such file: {path}")));
        }
        Ok(Versions { versions, damaged })
    }
}
