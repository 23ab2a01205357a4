//! The index itself: entries and folders as their records say them, and what follows for who is where.
//!
//! Pure: records come in ([`NameIndex::put`], [`NameIndex::remove`]), changes come out ([`NameIndex::take_changes`]).
//! The rules are those of a listing that asks the node: an entry that names a folder counts only if the folder's own
//! record confirms it, and of two entries of one file (a move that is not through) the one moved more often counts.

use std::collections::{HashMap, HashSet};

use hashbrown::HashTable;
use larder_format::head::{DirId, DirState, Directory, Entry, Head};
use larder_format::limits::PATH_DEPTH_MAX;
use larder_format::record::{Expiry, Version};
use larder_seal::names::{DIR_PREFIX_LEN, SealedKey};

use super::change::{Change, ChangeKind, Seen};
use super::item::{Item, ItemKind, Items, NONE, Thing};
use super::order::Order;
use super::scan::Scanning;
use crate::directory::Standing;

/// What the keys of one folder's records begin with.
pub type Prefix = [u8; DIR_PREFIX_LEN];

/// Most entries of an index: 600 MiB of memory. Beyond it, commands ask the node.
pub const INDEX_ENTRIES_MAX: usize = 4 << 20;

/// Folders of one piece of [`NameIndex::some_records`].
const RECORDS_PIECE: usize = 1024;

/// Most keys remembered that cannot be read. Beyond it the index gives up: too much is wrong.
pub const UNREADABLE_MAX: usize = 100_000;

/// A folder: its own record, and what is in it.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub(super) prefix: Prefix,
    pub(super) own: Option<Own>,
    pub(super) order: Order,
    /// Entries that name it and folders that hang in it.
    refs: u32,
}

/// What a folder's own record says.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) record: Directory,
    pub(super) version: Version,
    /// Second half of the record's key.
    suffix: [u8; 16],
    parent: u32,
    pub(super) mark: u8,
}

/// Why something cannot be taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IndexFull {
    /// More than [`INDEX_ENTRIES_MAX`].
    #[error("the vault has more entries than an index holds max={INDEX_ENTRIES_MAX}")]
    Entries,
    /// More than [`UNREADABLE_MAX`].
    #[error("too many records cannot be read max={UNREADABLE_MAX}")]
    Unreadable,
}

/// Names and attributes of a whole vault.
pub struct NameIndex {
    pub(super) items: Items,
    pub(super) folders: Vec<Folder>,
    free_folders: Vec<u32>,
    by_prefix: HashMap<Prefix, u32>,
    by_key: HashTable<u32>,
    by_id: HashTable<u32>,
    pub(super) unreadable: HashSet<SealedKey>,
    prefix_of: Box<dyn Fn(DirId) -> Prefix + Send>,
    pub(super) mark: u8,
    pub(super) telling: bool,
    pub(super) changes: Vec<Change>,
    /// While everything is looked at anew: where things were before.
    pub(super) scanning: Option<Scanning>,
}

/// Number of the root folder.
pub(super) const ROOT: u32 = 0;

fn short_hash(bytes: &[u8; 16]) -> u64 {
    // Keys are keyed hashes and ids are random: the first bytes are as good as any hash of them.
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(out)
}

pub(super) fn halves(key: SealedKey) -> (Prefix, [u8; 16]) {
    let (mut prefix, mut suffix) = ([0; 16], [0; 16]);
    prefix.copy_from_slice(&key.0[..16]);
    suffix.copy_from_slice(&key.0[16..]);
    (prefix, suffix)
}

impl NameIndex {
    /// An empty index of a vault, given how folders' ids become prefixes.
    #[must_use]
    pub fn new(root: DirId, prefix_of: impl Fn(DirId) -> Prefix + Send + 'static) -> Self {
        let prefix = prefix_of(root);
        Self {
            items: Items::default(),
            folders: vec![Folder { prefix, refs: 1, ..Folder::default() }],
            free_folders: Vec::new(),
            by_prefix: HashMap::from([(prefix, ROOT)]),
            by_key: HashTable::new(),
            by_id: HashTable::new(),
            unreadable: HashSet::new(),
            prefix_of: Box::new(prefix_of),
            mark: 0,
            telling: false,
            changes: Vec::new(),
            scanning: None,
        }
    }

    /// Entries held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.len() == 0
    }

    /// Bytes of memory it takes, nearly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let orders: usize = self.folders.iter().map(|folder| folder.order.heap_bytes()).sum();
        let tables = (self.by_key.capacity() + self.by_id.capacity()) * 8 / 7 * 5;
        self.items.bytes() + orders + tables + self.folders.capacity() * (size_of::<Folder>() + 64)
    }

    /// From now on changes are told.
    pub fn tell_changes(&mut self) {
        self.telling = true;
    }

    /// What changed since the last call.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Takes in what a record says now.
    ///
    /// # Errors
    /// [`IndexFull`]; the index is of no use then.
    pub fn put(
        &mut self,
        key: SealedKey,
        head: Head,
        version: Version,
        expiry: Expiry,
    ) -> Result<(), IndexFull> {
        self.unreadable.remove(&key);
        match head {
            Head::Entry(entry) => self.put_entry(key, entry, version, expiry),
            Head::Directory(record) => {
                self.put_folder(key, record, version);
                Ok(())
            }
            // What folders wait for when they move: no name.
            Head::Move(_) => Ok(()),
            Head::Value(_) => self.put_unreadable(key),
        }
    }

    /// Takes in that a record is there and cannot be read. Its folder is not answered for until it can.
    ///
    /// # Errors
    /// As [`NameIndex::put`].
    pub fn put_unreadable(&mut self, key: SealedKey) -> Result<(), IndexFull> {
        if let Some(scanning) = &mut self.scanning {
            scanning.unreadable.insert(key);
        }
        self.unreadable.insert(key);
        if self.unreadable.len() > UNREADABLE_MAX { Err(IndexFull::Unreadable) } else { Ok(()) }
    }

    fn put_entry(
        &mut self,
        key: SealedKey,
        entry: Entry,
        version: Version,
        expiry: Expiry,
    ) -> Result<(), IndexFull> {
        let (prefix, suffix) = halves(key);
        let there = self.entry_at(&prefix, &suffix);
        let mark = self.mark;
        if let Some(number) = there {
            let item = self.items.get_mut(number);
            item.mark = mark;
            if item.version() == version && item.expiry() == expiry {
                return Ok(());
            }
        } else if self.items.len() >= INDEX_ENTRIES_MAX {
            return Err(IndexFull::Entries);
        }
        let thing = Thing::of(&entry.target);
        let old = there.map(|number| self.items.get(number).thing());
        let affected = [Some(thing), old.filter(|old| *old != thing)];
        let before = self.look_before(affected);
        if let Some(number) = there {
            self.take_entry(number);
        }
        let folder = self.folder_of(prefix);
        let mut item = Item::new(entry, version, expiry);
        (item.folder, item.suffix, item.mark) = (folder, suffix, mark);
        if let Thing::Folder(id) = thing {
            item.child = self.folder_of((self.prefix_of)(id));
            self.folders[item.child as usize].refs += 1;
        }
        self.add_entry(item);
        self.look_after(before, ChangeKind::Deleted);
        Ok(())
    }

    fn put_folder(&mut self, key: SealedKey, record: Directory, version: Version) {
        let (prefix, suffix) = halves(key);
        let number = self.folder_of(prefix);
        let mark = self.mark;
        if let Some(own) = &mut self.folders[number as usize].own {
            own.mark = mark;
            if own.version == version {
                return;
            }
        }
        let before = self.look_before([Some(Thing::Folder(record.id)), None]);
        let parent = self.folder_of((self.prefix_of)(record.parent));
        self.folders[parent as usize].refs += 1;
        let own = Own { record, version, suffix, parent, mark };
        let old = self.folders[number as usize].own.replace(own);
        self.let_go_of_parent(old);
        self.look_after(before, ChangeKind::Deleted);
    }

    /// Takes in that a record is gone; `version` is that of its deletion, or the one that expired. Whoever has a newer
    /// one keeps it.
    pub fn remove(&mut self, key: SealedKey, version: Version, expired: bool) {
        self.unreadable.remove(&key);
        let (prefix, suffix) = halves(key);
        let cause = if expired { ChangeKind::Expired } else { ChangeKind::Deleted };
        if let Some(number) = self.entry_at(&prefix, &suffix) {
            let item = self.items.get(number);
            if item.version() <= version {
                self.remove_entry(number, cause);
            }
            return;
        }
        // Not an entry: perhaps the folder's own record.
        let Some(number) = self.by_prefix.get(&prefix).copied() else { return };
        let own = self.folders[number as usize].own.as_ref();
        if own.is_some_and(|own| own.version <= version && own.suffix == suffix) {
            self.remove_folder(number, cause);
        }
    }

    pub(super) fn remove_entry(&mut self, number: u32, cause: ChangeKind) {
        let before = self.look_before([Some(self.items.get(number).thing()), None]);
        let folder = self.items.get(number).folder;
        self.take_entry(number);
        self.drop_folder_if_unused(folder);
        self.look_after(before, cause);
    }

    pub(super) fn remove_folder(&mut self, number: u32, cause: ChangeKind) {
        let Some(own) = &self.folders[number as usize].own else { return };
        let before = self.look_before([Some(Thing::Folder(own.record.id)), None]);
        let own = self.folders[number as usize].own.take();
        self.let_go_of_parent(own);
        self.drop_folder_if_unused(number);
        self.look_after(before, cause);
    }

    fn let_go_of_parent(&mut self, own: Option<Own>) {
        if let Some(own) = own {
            self.folders[own.parent as usize].refs -= 1;
            self.drop_folder_if_unused(own.parent);
        }
    }

    /// Whether a key lies in a folder that the index knows.
    pub(super) fn knows_folder(&self, key: &SealedKey) -> bool {
        self.by_prefix.contains_key(&halves(*key).0)
    }

    fn entry_at(&self, prefix: &Prefix, suffix: &[u8; 16]) -> Option<u32> {
        let folder = *self.by_prefix.get(prefix)?;
        let is_it = |number: &u32| {
            let item = self.items.get(*number);
            item.suffix == *suffix && item.folder == folder
        };
        self.by_key.find(short_hash(suffix), is_it).copied()
    }

    /// Entries of one thing.
    fn entries_of(&self, thing: Thing) -> impl Iterator<Item = u32> {
        let hash = short_hash(thing.bytes());
        self.by_id.iter_hash(hash).copied().filter(move |number| self.items.get(*number).thing() == thing)
    }

    fn add_entry(&mut self, item: Item) {
        let (folder, by_key, by_id) = (item.folder, short_hash(&item.suffix), short_hash(&item.id));
        let number = self.items.add(item);
        let items = &self.items;
        self.by_key.insert_unique(by_key, number, |n| short_hash(&items.get(*n).suffix));
        self.by_id.insert_unique(by_id, number, |n| short_hash(&items.get(*n).id));
        let order = &mut self.folders[folder as usize].order;
        order.insert(number, items.name(number), |n| items.name(n));
    }

    /// Takes an entry out of everything; its folder stays, used or not.
    fn take_entry(&mut self, number: u32) {
        let item = self.items.get(number);
        let (folder, child) = (item.folder, item.child);
        let (by_key, by_id) = (short_hash(&item.suffix), short_hash(&item.id));
        for (table, hash) in [(&mut self.by_key, by_key), (&mut self.by_id, by_id)] {
            if let Ok(found) = table.find_entry(hash, |n| *n == number) {
                found.remove();
            }
        }
        let items = &self.items;
        let order = &mut self.folders[folder as usize].order;
        let was_there = order.remove(number, items.name(number), |n| items.name(n));
        debug_assert!(was_there, "an entry is in its folder's order");
        self.items.take(number);
        if child != NONE {
            self.folders[child as usize].refs -= 1;
            self.drop_folder_if_unused(child);
        }
    }

    fn folder_of(&mut self, prefix: Prefix) -> u32 {
        if let Some(number) = self.by_prefix.get(&prefix) {
            return *number;
        }
        let folder = Folder { prefix, ..Folder::default() };
        let number = if let Some(number) = self.free_folders.pop() {
            self.folders[number as usize] = folder;
            number
        } else {
            self.folders.push(folder);
            u32::try_from(self.folders.len() - 1).expect("there are fewer folders than records")
        };
        self.by_prefix.insert(prefix, number);
        number
    }

    fn drop_folder_if_unused(&mut self, number: u32) {
        let folder = &self.folders[number as usize];
        if number != ROOT
            && folder.refs == 0
            && folder.own.is_none()
            && folder.order.is_empty()
            && self.by_prefix.remove(&folder.prefix).is_some()
        {
            self.folders[number as usize] = Folder::default();
            self.free_folders.push(number);
        }
    }

    /// What the folder's own record says to an entry; files always stand.
    pub(super) fn standing(&self, item: &Item) -> Standing {
        if item.kind != ItemKind::Folder {
            return Standing::Open;
        }
        match &self.folders[item.child as usize].own {
            Some(own) if own.parent != item.folder || own.record.name != *item.name => Standing::Gone,
            Some(own) if own.record.id.0 != item.id => Standing::Gone,
            Some(own) if own.record.state == DirState::Closing => Standing::Closing,
            Some(_) => Standing::Open,
            None => Standing::Gone,
        }
    }

    /// Whether an entry is where its thing is. Of a file's entries it is the one moved most often; if several were, all
    /// of them are, and so is one that was written to since: it is another thing by now.
    pub(super) fn is_place(&self, number: u32) -> bool {
        let item = self.items.get(number);
        match item.thing() {
            Thing::Folder(_) => self.standing(item) != Standing::Gone,
            thing => !self.entries_of(thing).any(|other| {
                let other = self.items.get(other);
                other.moves > item.moves && other.is_like(item)
            }),
        }
    }

    pub(super) fn seen(&self, thing: Thing) -> Option<Seen> {
        // Of several that count the same, always the same one.
        let places = self.entries_of(thing).filter(|number| self.is_place(*number));
        let number = places.min_by_key(|n| (self.items.get(*n).folder, self.items.get(*n).suffix))?;
        let item = self.items.get(number);
        let path = self.path_of(item.folder).map(|parent| format!("{parent}/{}", item.name));
        let (name, version, expiry) = (item.name.clone(), item.version(), item.expiry());
        Some(Seen { folder: item.folder, name, version, expiry, path })
    }

    /// The path of a folder without a final slash: empty for the root; `None` if it hangs nowhere.
    pub(super) fn path_of(&self, mut folder: u32) -> Option<String> {
        let mut names = Vec::new();
        while folder != ROOT {
            let own = self.folders[folder as usize].own.as_ref()?;
            names.push(own.record.name.as_str());
            folder = own.parent;
            if names.len() > PATH_DEPTH_MAX {
                return None;
            }
        }
        Some(names.iter().rev().fold(String::new(), |path, name| path + "/" + name))
    }

    /// Some of the records again, as they came in, from place `from` on: 0 is the first. Answers the next place; `None`
    /// at the end. Whoever changes the index meanwhile changes what later places have.
    ///
    /// # Errors
    /// What `each` fails with.
    pub fn some_records<E>(
        &self,
        from: usize,
        mut each: impl FnMut(SealedKey, Option<Head>, Version, Expiry) -> Result<(), E>,
    ) -> Result<Option<usize>, E> {
        let folder_pieces = self.folders.len().div_ceil(RECORDS_PIECE);
        let end = folder_pieces + self.items.blocks();
        if from == 0 {
            for key in &self.unreadable {
                each(*key, None, Version::from_u64(0), Expiry::NEVER)?;
            }
        }
        if from < folder_pieces {
            for folder in self.folders.iter().skip(from * RECORDS_PIECE).take(RECORDS_PIECE) {
                if let Some(own) = &folder.own {
                    let head = Head::Directory(own.record.clone());
                    each(whole(&folder.prefix, &own.suffix), Some(head), own.version, Expiry::NEVER)?;
                }
            }
        } else {
            for item in self.items.block(from - folder_pieces) {
                let key = whole(&self.folders[item.folder as usize].prefix, &item.suffix);
                each(key, Some(Head::Entry(item.entry())), item.version(), item.expiry())?;
            }
        }
        Ok(Some(from + 1).filter(|next| *next < end))
    }
}

fn whole(prefix: &Prefix, suffix: &[u8; 16]) -> SealedKey {
    let mut key = [0; 32];
    key[..DIR_PREFIX_LEN].copy_from_slice(prefix);
    key[DIR_PREFIX_LEN..].copy_from_slice(suffix);
    SealedKey(key)
}
