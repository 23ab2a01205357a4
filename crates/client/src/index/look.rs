//! Answers: a folder's entries by name, everything below a folder by path, each from any place on.

use std::ops::ControlFlow;

use larder_format::record::{Expiry, Version};

use super::item::{Item, ItemKind, NONE};
use super::order::{Order, Place};
use super::tree::{NameIndex, ROOT};
use crate::directory::Standing;
use crate::files::{Listed, ListedKind};
use crate::path::VaultPath;

/// An entry in an answer.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub(super) item: &'a Item,
    pub(super) prefix: &'a [u8; 16],
    deleting: bool,
}

impl<'a> Row<'a> {
    /// Its name in its folder.
    #[must_use]
    pub fn name(&self) -> &'a str {
        &self.item.name
    }

    /// Whether it is a folder that can be looked into.
    #[must_use]
    pub fn is_open_folder(&self) -> bool {
        self.item.kind == ItemKind::Folder && !self.deleting
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> ListedKind {
        self.item.listed_kind()
    }

    /// Which version of its record.
    #[must_use]
    pub fn version(&self) -> Version {
        self.item.version()
    }

    /// Until when it lives.
    #[must_use]
    pub fn expiry(&self) -> Expiry {
        self.item.expiry()
    }

    /// Time of last modification, in nanoseconds since 1970; 0: not known.
    #[must_use]
    pub fn mtime_ns(&self) -> i64 {
        self.item.mtime_ns
    }

    /// Media type; empty: not known.
    #[must_use]
    pub fn content_type(&self) -> &'a str {
        self.item.content_type()
    }

    /// Custom attributes, by name.
    #[must_use]
    pub fn custom(&self) -> &'a [(String, bytes::Bytes)] {
        self.item.custom()
    }

    /// Key of its record.
    #[must_use]
    pub fn key(&self) -> larder_seal::names::SealedKey {
        let mut key = [0; 32];
        key[..16].copy_from_slice(self.prefix);
        key[16..].copy_from_slice(&self.item.suffix);
        larder_seal::names::SealedKey(key)
    }

    /// As a listing shows it.
    #[must_use]
    pub fn listed(&self, path: VaultPath) -> Listed {
        Listed {
            path,
            kind: self.kind(),
            attributes: self.item.attributes(),
            version: self.version(),
            expiry: self.expiry(),
            deleting: self.deleting,
        }
    }
}

/// A folder of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderRef(u32);

/// Why the index does not answer: ask the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotHere;

/// How far a walk came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Walked {
    /// To the end.
    All,
    /// Up to this path; go on after it.
    To(VaultPath),
}

/// A folder being walked through.
struct Frame {
    folder: u32,
    at: Place,
}

impl NameIndex {
    /// The folder at a path, if it is there and open, and every record on the way and in it can be read.
    ///
    /// # Errors
    /// [`NotHere`]: whoever asks the node learns why.
    pub fn folder(&self, path: &VaultPath) -> Result<FolderRef, NotHere> {
        let mut at = ROOT;
        for name in path.names() {
            at = self.child(at, name, u64::MAX).ok_or(NotHere)?;
        }
        Ok(FolderRef(at))
    }

    /// Whether something in this folder cannot be read.
    #[must_use]
    pub fn has_unreadable(&self, folder: FolderRef) -> bool {
        let prefix = &self.folders[folder.0 as usize].prefix;
        !self.unreadable.is_empty() && self.unreadable.iter().any(|key| key.0.starts_with(prefix))
    }

    /// Records in any known folder that cannot be read.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable.iter().filter(|key| self.knows_folder(key)).count() as u64
    }

    /// An open child folder of this name.
    fn child(&self, folder: u32, name: &str, now_ms: u64) -> Option<u32> {
        let order = &self.folders[folder as usize].order;
        let open = |number: u32| self.row(number, now_ms).is_some_and(|row| row.is_open_folder());
        let number = order.find(name, |n| self.items.name(n), open)?;
        Some(self.items.get(number).child).filter(|child| *child != NONE)
    }

    /// An entry as it is shown, if it is.
    fn row(&self, number: u32, now_ms: u64) -> Option<Row<'_>> {
        let item = self.items.get(number);
        // A path is looked up without a time: folders have none of their own.
        if now_ms != u64::MAX && item.expiry().ms().is_some_and(|end| end <= now_ms) {
            return None;
        }
        if !self.is_place(number) {
            return None;
        }
        let deleting = self.standing(item) == Standing::Closing;
        Some(Row { item, prefix: &self.folders[item.folder as usize].prefix, deleting })
    }

    /// A folder's entries by name, those after `after` only, until `each` says stop.
    pub fn list<'a>(
        &'a self,
        folder: FolderRef,
        after: Option<&str>,
        now_ms: u64,
        mut each: impl FnMut(Row<'a>) -> ControlFlow<()>,
    ) {
        let order = &self.folders[folder.0 as usize].order;
        let mut at = after.map_or(Order::START, |name| order.after(name, |n| self.items.name(n)));
        while let Some(number) = order.next(&mut at) {
            if let Some(row) = self.row(number, now_ms)
                && each(row).is_break()
            {
                return;
            }
        }
    }

    /// Everything below a folder in the order of paths (a folder before what is in it), what comes after the path
    /// `after` only, until `each` says stop or `most` entries were looked at. `each` gets the folder's path and the entry.
    pub fn walk<'a>(
        &'a self,
        folder: FolderRef,
        top: &VaultPath,
        after: Option<&VaultPath>,
        now_ms: u64,
        most: usize,
        mut each: impl FnMut(&VaultPath, Row<'a>) -> ControlFlow<()>,
    ) -> Walked {
        let mut at = top.clone();
        let mut frames = self.frames_after(folder, &mut at, top, after, now_ms);
        let mut looked = 0;
        while let Some(frame) = frames.last_mut() {
            let order = &self.folders[frame.folder as usize].order;
            let Some(number) = order.next(&mut frame.at) else {
                frames.pop();
                at = at.split().map_or_else(VaultPath::default, |(parent, _)| parent);
                continue;
            };
            let Some(row) = self.row(number, now_ms) else { continue };
            looked += 1;
            if each(&at, row).is_break() || looked >= most {
                // A name that no path can hold cannot be gone on after either: then the one before it is.
                return Walked::To(at.join(row.name()).unwrap_or(at));
            }
            if row.is_open_folder()
                && let Ok(path) = at.join(row.name())
            {
                frames.push(Frame { folder: row.item.child, at: Order::START });
                at = path;
            }
        }
        Walked::All
    }

    /// Where a walk goes on after a path; `at` becomes the path of the last folder.
    fn frames_after(
        &self,
        folder: FolderRef,
        at: &mut VaultPath,
        top: &VaultPath,
        after: Option<&VaultPath>,
        now_ms: u64,
    ) -> Vec<Frame> {
        let mut frames = vec![Frame { folder: folder.0, at: Order::START }];
        let Some(after) = after else { return frames };
        let Some(below) = after.names().strip_prefix(top.names()) else {
            // Of another place: all of ours is after it, or all of it before.
            if after > top {
                frames.clear();
            }
            return frames;
        };
        for name in below {
            let Some(frame) = frames.last_mut() else { break };
            let folder = frame.folder;
            frame.at = self.folders[folder as usize].order.after(name, |n| self.items.name(n));
            let (Some(child), Ok(path)) = (self.child(folder, name, now_ms), at.join(name)) else { break };
            frames.push(Frame { folder: child, at: Order::START });
            *at = path;
        }
        frames
    }
}
