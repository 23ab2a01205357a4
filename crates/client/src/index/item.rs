//! One entry as the index holds it, and the slabs that entries and folders live in.
//!
//! An entry takes 112 bytes here and about 20 in tables beside its name; a million of them are meant to fit where a
//! person also works.

use bytes::Bytes;
use larder_format::head::{Attributes, DirId, Entry, EntryTarget, FileId, FileKind};
use larder_format::record::{Expiry, Version};

use crate::files::ListedKind;

/// No such number.
pub(super) const NONE: u32 = u32::MAX;

/// Entries of one block of a slab: blocks never move, so that growing copies nothing.
const BLOCK_LEN: usize = 1024;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum ItemKind {
    Free,
    File,
    Link,
    Folder,
}

/// Which thing an entry names: an identity that stays through renames and moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Thing {
    /// A file or link.
    File(FileId),
    /// A folder.
    Folder(DirId),
}

impl Thing {
    pub(super) fn of(target: &EntryTarget) -> Self {
        match target {
            EntryTarget::File { id, .. } => Self::File(*id),
            EntryTarget::Directory { id, .. } => Self::Folder(*id),
        }
    }

    pub(super) fn bytes(&self) -> &[u8; 16] {
        match self {
            Self::File(id) => &id.0,
            Self::Folder(id) => &id.0,
        }
    }
}

/// An entry.
#[derive(Debug)]
pub(super) struct Item {
    /// The folder it is in.
    pub(super) folder: u32,
    /// The folder it names, or [`NONE`].
    pub(super) child: u32,
    /// Second half of its record's key; the first is its folder's prefix.
    pub(super) suffix: [u8; 16],
    pub(super) id: [u8; 16],
    pub(super) version: u64,
    pub(super) expiry: u64,
    pub(super) size: u64,
    pub(super) mtime_ns: i64,
    pub(super) moves: u64,
    pub(super) mode: u32,
    pub(super) kind: ItemKind,
    /// Of the last scan that saw it.
    pub(super) mark: u8,
    pub(super) name: Box<str>,
    more: Option<Box<More>>,
}

/// What few entries have.
#[derive(Debug, PartialEq, Eq)]
struct More {
    content_type: Box<str>,
    custom: Vec<(String, Bytes)>,
}

impl Item {
    /// An entry as its head says it. Folders are told apart from what they name by `child`.
    pub(super) fn new(entry: Entry, version: Version, expiry: Expiry) -> Self {
        let (kind, id, size, attributes) = match entry.target {
            EntryTarget::File { id, kind: FileKind::File, size, attributes } => {
                (ItemKind::File, id.0, size, attributes)
            }
            EntryTarget::File { id, kind: FileKind::Symlink, size, attributes } => {
                (ItemKind::Link, id.0, size, attributes)
            }
            EntryTarget::Directory { id, attributes } => (ItemKind::Folder, id.0, 0, attributes),
        };
        let plain = attributes.content_type.is_empty() && attributes.custom.is_empty();
        // Slices of a message's buffer would keep all of it.
        let own = |(name, value): (String, Bytes)| (name, Bytes::copy_from_slice(&value));
        let more = (!plain).then(|| {
            Box::new(More {
                content_type: attributes.content_type.into(),
                custom: attributes.custom.into_iter().map(own).collect(),
            })
        });
        Self {
            folder: NONE,
            child: NONE,
            suffix: [0; 16],
            id,
            version: version.to_u64(),
            expiry: expiry.to_u64(),
            size,
            mtime_ns: attributes.mtime_ns,
            moves: entry.moves,
            mode: attributes.mode,
            kind,
            mark: 0,
            name: entry.name.into(),
            more,
        }
    }

    /// Whether both say the same of what they name.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.kind, self.size, self.mtime_ns, self.mode)
            == (other.kind, other.size, other.mtime_ns, other.mode)
            && self.more == other.more
    }

    fn free() -> Self {
        let target = EntryTarget::Directory { id: DirId([0; 16]), attributes: Attributes::default() };
        let entry = Entry { name: String::new(), moves: 0, target };
        Self { kind: ItemKind::Free, ..Self::new(entry, Version::from_u64(0), Expiry::NEVER) }
    }

    pub(super) fn thing(&self) -> Thing {
        match self.kind {
            ItemKind::Folder => Thing::Folder(DirId(self.id)),
            _ => Thing::File(FileId(self.id)),
        }
    }

    pub(super) fn version(&self) -> Version {
        Version::from_u64(self.version)
    }

    pub(super) fn expiry(&self) -> Expiry {
        Expiry::at_ms(self.expiry)
    }

    pub(super) fn content_type(&self) -> &str {
        self.more.as_ref().map_or("", |more| &more.content_type)
    }

    pub(super) fn custom(&self) -> &[(String, Bytes)] {
        self.more.as_ref().map_or(&[], |more| &more.custom)
    }

    pub(super) fn attributes(&self) -> Attributes {
        Attributes {
            mode: self.mode,
            mtime_ns: self.mtime_ns,
            content_type: self.content_type().to_owned(),
            custom: self.custom().to_vec(),
        }
    }

    pub(super) fn listed_kind(&self) -> ListedKind {
        match self.kind {
            ItemKind::Folder => ListedKind::Folder { id: DirId(self.id) },
            ItemKind::Link => ListedKind::Symlink { id: FileId(self.id) },
            ItemKind::File | ItemKind::Free => ListedKind::File { id: FileId(self.id), size: self.size },
        }
    }

    /// The entry again, as its head said it.
    pub(super) fn entry(&self) -> Entry {
        let attributes = self.attributes();
        let file = |kind| EntryTarget::File {
            id: FileId(self.id),
            kind,
            size: self.size,
            attributes: attributes.clone(),
        };
        let target = match self.kind {
            ItemKind::Folder => EntryTarget::Directory { id: DirId(self.id), attributes },
            ItemKind::Link => file(FileKind::Symlink),
            ItemKind::File | ItemKind::Free => file(FileKind::File),
        };
        Entry { name: self.name.to_string(), moves: self.moves, target }
    }

    /// Bytes on the heap.
    fn heap_bytes(&self) -> usize {
        let more = self.more.as_ref().map_or(0, |more| {
            let custom: usize = more.custom.iter().map(|(n, v)| 80 + n.len() + v.len()).sum();
            size_of::<More>() + more.content_type.len() + custom
        });
        self.name.len() + more
    }
}

/// All entries, by number.
#[derive(Debug, Default)]
pub(super) struct Items {
    blocks: Vec<Vec<Item>>,
    free: Vec<u32>,
    len: usize,
    heap: usize,
}

impl Items {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, number: u32) -> &Item {
        let number = number as usize;
        &self.blocks[number / BLOCK_LEN][number % BLOCK_LEN]
    }

    pub(super) fn get_mut(&mut self, number: u32) -> &mut Item {
        let number = number as usize;
        &mut self.blocks[number / BLOCK_LEN][number % BLOCK_LEN]
    }

    pub(super) fn name(&self, number: u32) -> &str {
        &self.get(number).name
    }

    pub(super) fn add(&mut self, item: Item) -> u32 {
        self.len += 1;
        self.heap += item.heap_bytes();
        if let Some(number) = self.free.pop() {
            *self.get_mut(number) = item;
            return number;
        }
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK_LEN) {
            self.blocks.push(Vec::with_capacity(BLOCK_LEN));
        }
        let blocks = self.blocks.len() - 1;
        let block = &mut self.blocks[blocks];
        block.push(item);
        u32::try_from(blocks * BLOCK_LEN + block.len() - 1).expect("the index holds fewer than 2^32 entries")
    }

    pub(super) fn take(&mut self, number: u32) -> Item {
        self.len -= 1;
        let item = std::mem::replace(self.get_mut(number), Item::free());
        self.heap -= item.heap_bytes();
        self.free.push(number);
        item
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Item)> {
        let numbered = self.blocks.iter().flatten().enumerate();
        numbered
            .filter(|(_, item)| item.kind != ItemKind::Free)
            .map(|(number, item)| (u32::try_from(number).unwrap_or(NONE), item))
    }

    /// Blocks there are.
    pub(super) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The entries of one block.
    pub(super) fn block(&self, number: usize) -> impl Iterator<Item = &Item> {
        self.blocks.get(number).into_iter().flatten().filter(|item| item.kind != ItemKind::Free)
    }

    /// Bytes held, names and attributes included.
    pub(super) fn bytes(&self) -> usize {
        self.blocks.len() * BLOCK_LEN * size_of::<Item>() + self.free.capacity() * 4 + self.heap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_as_small_as_promised() {
        assert!(size_of::<Item>() <= 112, "{}", size_of::<Item>());
    }
}
