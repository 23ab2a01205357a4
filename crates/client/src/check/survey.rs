//! Every record of the vault's files and folders, as far as names are concerned.

use std::collections::{HashMap, HashSet};

use larder_format::error::Kind;
use larder_format::head::{DirId, DirState, Directory, Entry, EntryTarget, FileId, Head, MovePlan};
use larder_format::operation::Found;
use larder_format::record::{Expiry, Key, Version};
use larder_seal::names::{DIR_PREFIX_LEN, SealedKey};
use larder_wire::answer::Failure;

use super::Counts;
use crate::remote::Scan;
use crate::vault::Vault;

/// A folder's own record.
pub(super) struct FolderSeen {
    pub(super) record: Directory,
    pub(super) version: Version,
    pub(super) expiry: Expiry,
}

impl FolderSeen {
    /// Whether it was deleted, and waits for the end of its trash time.
    pub(super) fn is_deleted(&self) -> bool {
        self.record.state == DirState::Closing && self.expiry != Expiry::NEVER
    }
}

/// An entry that is there.
pub(super) struct EntrySeen {
    pub(super) key: SealedKey,
    pub(super) name: Box<str>,
    pub(super) moves: u64,
    pub(super) version: Version,
    pub(super) target: Target,
}

#[derive(Clone, Copy)]
pub(super) enum Target {
    File(FileId),
    Folder(DirId),
}

/// What is kept of files beside one key.
pub(super) struct KeptSeen {
    /// Those that would be kept for good.
    pub(super) endless: u64,
    pub(super) name: String,
    pub(super) id: FileId,
}

/// All of it: some 110 bytes for each name that is there. What is kept beside a file that is there is only counted.
pub(super) struct Survey {
    pub(super) counts: Counts,
    pub(super) folders: HashMap<DirId, FolderSeen>,
    /// In the order of their keys.
    pub(super) entries: Vec<EntrySeen>,
    /// Of entries that are not there.
    pub(super) kept: HashMap<SealedKey, KeptSeen>,
    pub(super) unreadable: Vec<Vec<u8>>,
    pub(super) plan: Option<MovePlan>,
    /// Folders that an entry names.
    pub(super) named: HashSet<DirId>,
    /// Folders that others hang in which were not deleted.
    pub(super) hung_in: HashSet<DirId>,
    /// Whose keys begin so.
    pub(super) prefixes: HashMap<[u8; DIR_PREFIX_LEN], DirId>,
    pub(super) root: DirId,
}

impl Survey {
    /// Looks at every record once.
    pub(super) async fn of(vault: &Vault) -> Result<Self, Failure> {
        let mut survey = Self {
            counts: Counts::default(),
            folders: HashMap::new(),
            entries: Vec::new(),
            kept: HashMap::new(),
            unreadable: Vec::new(),
            plan: None,
            named: HashSet::new(),
            hung_in: HashSet::new(),
            prefixes: HashMap::new(),
            root: vault.names.root_dir(),
        };
        let mut pages = vault.remote.scan(Scan::heads(vault.files, &[])).await?;
        while let Some(page) = pages.next().await? {
            survey.counts.records += (page.records.len() + page.damaged.len()) as u64;
            survey.unreadable.extend(page.damaged.iter().map(|key| key.as_bytes().to_vec()));
            for (record, found) in page.records {
                survey.add(vault, &record, &found)?;
            }
        }
        // They came so; what rests on it should not rest on that alone.
        survey.entries.sort_by(|a, b| a.key.as_bytes().cmp(b.key.as_bytes()));
        survey.know_prefixes(vault);
        Ok(survey)
    }

    fn add(&mut self, vault: &Vault, record: &Key, found: &Found) -> Result<(), Failure> {
        let opened = match SealedKey::parse(record.as_bytes()) {
            Some((key, called)) => {
                vault.open_head(vault.files, record.as_bytes(), &found.head).map(|h| (key, called, h))
            }
            None => Err(Failure::new(Kind::Damaged, "a key of no known length")),
        };
        match opened {
            Ok((key, None, Head::Entry(entry))) => self.add_entry(key, entry, found.version),
            Ok((key, Some(_), Head::Entry(entry))) => self.add_kept(key, entry, found.expiry),
            Ok((key, None, Head::Directory(record))) if vault.names.directory_key(record.id) == key => {
                self.counts.folders += u64::from(record.state == DirState::Open);
                let seen = FolderSeen { version: found.version, expiry: found.expiry, record };
                self.folders.insert(seen.record.id, seen);
            }
            // The vault's rules: a record of its own, in no folder.
            Ok((key, None, Head::Value(_))) if vault.names.retention_key() == key => {}
            Ok((key, None, Head::Move(plan))) if vault.names.moves_key() == key => self.plan = Some(plan),
            Ok(_) => self.unreadable.push(record.as_bytes().to_vec()),
            Err(failure) if failure.kind == Kind::Damaged => {
                self.unreadable.push(record.as_bytes().to_vec());
            }
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    fn add_entry(&mut self, key: SealedKey, entry: Entry, version: Version) {
        let target = match entry.target {
            EntryTarget::File { id, .. } => {
                self.counts.files += 1;
                Target::File(id)
            }
            EntryTarget::Directory { id, .. } => Target::Folder(id),
        };
        let name = entry.name.into_boxed_str();
        self.entries.push(EntrySeen { key, name, moves: entry.moves, version, target });
    }

    /// The entry with this key, if it is there.
    pub(super) fn entry(&self, key: &SealedKey) -> Option<&EntrySeen> {
        let at = self.entries.binary_search_by(|entry| entry.key.as_bytes().cmp(key.as_bytes()));
        at.ok().map(|at| &self.entries[at])
    }

    fn add_kept(&mut self, key: SealedKey, entry: Entry, expiry: Expiry) {
        self.counts.versions += 1;
        // Its entry came right before, if it is there.
        if self.entries.last().is_some_and(|last| last.key == key) {
            return;
        }
        let EntryTarget::File { id, .. } = entry.target else { return };
        let kept = self.kept.entry(key).or_insert(KeptSeen { endless: 0, name: entry.name, id });
        if expiry == Expiry::NEVER {
            kept.endless += 1;
            kept.id = id;
        }
    }

    /// Folders are known by their own records, by entries that name them, and by what hangs in them.
    fn know_prefixes(&mut self, vault: &Vault) {
        let named = self.entries.iter().filter_map(|entry| match entry.target {
            Target::Folder(id) => Some(id),
            Target::File(_) => None,
        });
        self.named = named.collect();
        let hung = self.folders.values().filter(|folder| !folder.is_deleted());
        self.hung_in = hung.map(|folder| folder.record.parent).collect();
        let recorded = self.folders.values().flat_map(|folder| [folder.record.id, folder.record.parent]);
        let all = self.named.iter().copied().chain(recorded).chain([self.root]);
        self.prefixes = all.map(|id| (vault.names.dir_prefix(id), id)).collect();
    }

    /// The folder that a key belongs to.
    pub(super) fn folder_of(&self, key: &[u8]) -> Option<DirId> {
        let prefix: [u8; DIR_PREFIX_LEN] = key.get(..DIR_PREFIX_LEN)?.try_into().ok()?;
        self.prefixes.get(&prefix).copied()
    }

    /// The entry that a folder's own record speaks of, if it is there and names it.
    pub(super) fn entry_of(&self, vault: &Vault, folder: &FolderSeen) -> Option<&EntrySeen> {
        let record = &folder.record;
        let key = vault.names.entry_key(record.parent, &record.name);
        let entry = self.entry(&key)?;
        matches!(entry.target, Target::Folder(id) if id == record.id).then_some(entry)
    }

    /// The path of a folder; `None` if it does not lead to the root.
    pub(super) fn path_of(&self, folder: DirId) -> Option<String> {
        let mut names = Vec::new();
        let mut dir = folder;
        while dir != self.root {
            let record = &self.folders.get(&dir)?.record;
            // More than there are folders: they hang in each other.
            if names.len() > self.folders.len() {
                return None;
            }
            names.push(record.name.as_str());
            dir = record.parent;
        }
        Some(names.iter().rev().flat_map(|name| ["/", name]).collect())
    }

    /// The path of a name in a folder, as far as it is known.
    pub(super) fn path_in(&self, folder: Option<DirId>, name: &str) -> String {
        let above = folder.and_then(|folder| self.path_of(folder));
        format!("{}/{name}", above.as_deref().unwrap_or("(lost)"))
    }
}
