//! Folders. A folder has a random id and a record of its own {parent, name, state}; its children are the
//! records whose keys begin with a keyed hash of that id, so that listing is one scan and moving a folder
//! touches none of its children. An entry that its folder's record does not confirm is ignored.
//!
//! While a folder is deleted its record says *closing*: nothing new is put in it, and its name is not free until the
//! deletion is through. An interrupted one is finished by deleting again, or undone by restoring
//! ([`crate::files`]).

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::head::{Attributes, DirId, DirState, Directory, Entry, EntryTarget, Head};
use larder_format::operation::{Condition, Found, Outcome};
use larder_format::record::Version;
use larder_format::rng::{Rng, SystemRng};
use larder_seal::names::{SEALED_KEY_LEN, SealedKey};
use larder_wire::answer::Failure;
use larder_wire::request::{Ask, AskPut, RecordRequest};

use crate::files::at as located;
use crate::path::VaultPath;
use crate::remote::Scan;
use crate::vault::{Vault, unexpected};

/// An entry of a folder, as found.
#[derive(Debug, Clone)]
pub struct EntryNow {
    /// Its record's key.
    pub(crate) key: SealedKey,
    /// What the head says.
    pub entry: Entry,
    /// The record, still sealed; without its body if only the head was read.
    pub(crate) found: Found,
}

/// What a folder's own record says to an entry that names the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It hangs there. Files and links always do.
    Open,
    /// It is being deleted, or its deletion was interrupted.
    Closing,
    /// It hangs elsewhere: the entry is left over from a move, or belongs to one that is under way.
    Elsewhere,
    /// There is no such folder.
    Gone,
}

impl Standing {
    pub(crate) fn of(record: Option<&Directory>, parent: DirId, name: &str) -> Self {
        match record {
            Some(d) if d.parent != parent || d.name != name => Self::Elsewhere,
            Some(d) if d.state == DirState::Closing => Self::Closing,
            Some(_) => Self::Open,
            None => Self::Gone,
        }
    }

    /// Whether readers see the entry.
    pub(crate) fn is_shown(self) -> bool {
        matches!(self, Self::Open | Self::Closing)
    }
}

impl Vault {
    /// The entry under a name, and what the folder that it may name says to it.
    pub(crate) async fn look_up(
        &self,
        dir: DirId,
        name: &str,
        head_only: bool,
    ) -> Result<Option<(EntryNow, Standing)>, Failure> {
        let key = self.names.entry_key(dir, name);
        let Some(found) = self.read(self.files, key.as_bytes(), head_only).await? else { return Ok(None) };
        let entry = self.open_entry(key.as_bytes(), &found)?;
        let standing = match entry.target {
            EntryTarget::Directory { id, .. } => {
                let record = self.folder_record(id).await?;
                Standing::of(record.as_ref().map(|(_, d)| d), dir, name)
            }
            EntryTarget::File { .. } => Standing::Open,
        };
        Ok(Some((EntryNow { key, entry, found }, standing)))
    }

    /// The folder's own record.
    pub(crate) async fn folder_record(&self, id: DirId) -> Result<Option<(Version, Directory)>, Failure> {
        let key = self.names.directory_key(id);
        let request = self.request(self.files, key.as_bytes(), Ask::Get { head_only: true })?;
        self.folder_record_of(id, self.ask(request).await?)
    }

    /// What a read of a folder's own record brought.
    pub(crate) fn folder_record_of(
        &self,
        id: DirId,
        outcome: Outcome,
    ) -> Result<Option<(Version, Directory)>, Failure> {
        let found = match outcome {
            Outcome::Found(found) => found,
            Outcome::Absent => return Ok(None),
            other => return Err(unexpected(&other)),
        };
        let key = self.names.directory_key(id);
        self.check_folder(key.as_bytes(), &found)?;
        match self.open_head(self.files, key.as_bytes(), &found.head)? {
            Head::Directory(directory) if directory.id == id => Ok(Some((found.version, directory))),
            _ => Err(Failure::new(Kind::Damaged, "the node shows another record where a folder's belongs")),
        }
    }

    /// The folder at a path.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Conflict`] if a file stands in the way, or if it is being deleted.
    pub async fn folder(&self, path: &VaultPath) -> Result<DirId, Failure> {
        let mut dir = self.names.root_dir();
        let mut at = VaultPath::default();
        for name in path.names() {
            at = at.join(name)?;
            match self.look_up(dir, name, true).await.map_err(|f| located(&at, f))? {
                None | Some((_, Standing::Gone | Standing::Elsewhere)) => {
                    return Err(Failure::new(Kind::NotFound, format!("no such folder: {at}")));
                }
                Some((_, Standing::Closing)) => return Err(being_deleted(&at)),
                Some((now, Standing::Open)) => match now.entry.target {
                    EntryTarget::Directory { id, .. } => dir = id,
                    EntryTarget::File { .. } => return Err(not_a_folder(&at)),
                },
            }
        }
        Ok(dir)
    }

    /// The folder at a path, made with all its parents where they are missing.
    ///
    /// # Errors
    /// [`Kind::Conflict`] if a file stands in the way, or a folder that is being deleted.
    pub async fn make_folder(&self, path: &VaultPath) -> Result<DirId, Failure> {
        let mut dir = self.names.root_dir();
        let mut at = VaultPath::default();
        for name in path.names() {
            at = at.join(name)?;
            dir = self.child_folder(dir, name, Attributes::default(), &at).await?.0;
        }
        Ok(dir)
    }

    /// A folder's child folder, made if it is missing; and whether it was made.
    pub(crate) async fn child_folder(
        &self,
        parent: DirId,
        name: &str,
        attributes: Attributes,
        at: &VaultPath,
    ) -> Result<(DirId, bool), Failure> {
        // Another client may delete what is found or make what is missing: look again, a few times.
        for _ in 0..8 {
            let there = self.look_up(parent, name, true).await.map_err(|f| located(at, f))?;
            if let Some((now, standing)) = there {
                let EntryTarget::Directory { id, .. } = now.entry.target else {
                    return Err(not_a_folder(at));
                };
                if standing == Standing::Open {
                    return Ok((id, false));
                }
                self.clear_name(&now, id, standing, at).await?;
            }
            let made = self.new_folder(parent, name, attributes.clone())?;
            let record_key = self.names.directory_key(made.id);
            self.change(self.files, record_key.as_bytes(), made.record.ask).await?;
            let entry_key = self.names.entry_key(parent, name);
            match self.change(self.files, entry_key.as_bytes(), made.entry.ask).await? {
                Outcome::Written { .. } if self.takes_entries(parent).await? => return Ok((made.id, true)),
                Outcome::Written { version, .. } => {
                    // The parent is being deleted: take back what was made in it.
                    let condition = Condition::Version(version);
                    self.change(self.files, entry_key.as_bytes(), Ask::Delete { condition }).await?;
                    self.forget_folder(made.id).await?;
                    return Err(Failure::new(Kind::Conflict, format!("{at}: its folder is being deleted")));
                }
                Outcome::Conflict { .. } => self.forget_folder(made.id).await?,
                other => return Err(unexpected(&other)),
            }
        }
        Err(Failure::new(Kind::Retry, format!("folder keeps changing: {at}; try again")))
    }

    /// Whether a folder is there and not being deleted. The root always is.
    pub(crate) async fn takes_entries(&self, id: DirId) -> Result<bool, Failure> {
        if id == self.names.root_dir() {
            return Ok(true);
        }
        Ok(self.folder_record(id).await?.is_some_and(|(_, d)| d.state == DirState::Open))
    }

    /// Deletes a folder's own record.
    pub(crate) async fn forget_folder(&self, id: DirId) -> Result<(), Failure> {
        let key = self.names.directory_key(id);
        self.change(self.files, key.as_bytes(), Ask::Delete { condition: Condition::Any }).await?;
        Ok(())
    }

    /// The two requests that make a folder, its own record first: an entry must never name a folder that is
    /// not there.
    pub(crate) fn new_folder(
        &self,
        parent: DirId,
        name: &str,
        attributes: Attributes,
    ) -> Result<NewFolder, Failure> {
        let id = DirId(SystemRng.array());
        let record = Directory { id, parent, name: name.to_owned(), moves: 0, state: DirState::Open };
        let target = EntryTarget::Directory { id, attributes };
        let entry = Entry { name: name.to_owned(), moves: 0, target };
        Ok(NewFolder {
            id,
            record: self.put_head(
                self.names.directory_key(id),
                &Head::Directory(record),
                Condition::Absent,
            )?,
            entry: self.put_head(
                self.names.entry_key(parent, name),
                &Head::Entry(entry),
                Condition::Absent,
            )?,
        })
    }

    /// A request that gives a folder other attributes, if its entry is as it was found.
    pub(crate) fn describing(
        &self,
        now: &EntryNow,
        id: DirId,
        attributes: Attributes,
    ) -> Result<RecordRequest, Failure> {
        let entry = Entry { target: EntryTarget::Directory { id, attributes }, ..now.entry.clone() };
        self.put_head(now.key, &Head::Entry(entry), Condition::Version(now.found.version))
    }

    /// Gives a folder these attributes, whatever others write meanwhile. Of a folder that is gone by now nothing is
    /// written.
    pub(crate) async fn describe_folder(&self, folder: &Described, at: &VaultPath) -> Result<(), Failure> {
        let Described { parent, name, id, attributes } = folder;
        for _ in 0..8 {
            let Some((now, Standing::Open)) = self.look_up(*parent, name, true).await? else { return Ok(()) };
            match &now.entry.target {
                EntryTarget::Directory { id: found, attributes: old } if found == id && old != attributes => {
                }
                _ => return Ok(()),
            }
            let ask = self.describing(&now, *id, attributes.clone())?.ask;
            match self.change(self.files, now.key.as_bytes(), ask).await? {
                Outcome::Written { .. } => return Ok(()),
                Outcome::Conflict { .. } => {}
                other => return Err(unexpected(&other)),
            }
        }
        Err(Failure::new(Kind::Retry, format!("folder keeps changing: {at}; try again")))
    }

    /// A request that writes a record without content.
    pub(crate) fn put_head(
        &self,
        key: SealedKey,
        head: &Head,
        condition: Condition,
    ) -> Result<RecordRequest, Failure> {
        let sealed = self.seal(self.files, key.as_bytes(), head, &[])?;
        let put = AskPut { condition, head: sealed.head, body: sealed.body, ..AskPut::default() };
        self.request(self.files, key.as_bytes(), Ask::Put(put))
    }

    /// All entries of a folder, heads only. Child folders are not confirmed here.
    pub(crate) async fn entries(&self, dir: DirId) -> Result<Entries, Failure> {
        self.entries_of(dir, self.scan_of(dir, false)).await
    }

    /// As [`Vault::entries`], one page from where the one before ended ([`SomeEntries::cursor`]).
    pub(crate) async fn entries_page(
        &self,
        dir: DirId,
        with_bodies: bool,
        cursor: Bytes,
    ) -> Result<Entries, Failure> {
        self.entries_of(dir, Scan { cursor, pages: 1, ..self.scan_of(dir, with_bodies) }).await
    }

    async fn entries_of(&self, dir: DirId, scan: Scan) -> Result<Entries, Failure> {
        Ok(Entries { own: self.names.directory_key(dir), pages: self.remote.scan(scan).await? })
    }

    fn scan_of(&self, dir: DirId, with_bodies: bool) -> Scan {
        Scan {
            key_len_max: u32::try_from(SEALED_KEY_LEN).expect("32 fits"),
            head_only: !with_bodies,
            ..Scan::heads(self.files, &self.names.dir_prefix(dir))
        }
    }
}

/// A folder and the attributes it is to have.
pub(crate) struct Described {
    pub(crate) parent: DirId,
    pub(crate) name: String,
    pub(crate) id: DirId,
    pub(crate) attributes: Attributes,
}

/// A folder about to be made.
pub(crate) struct NewFolder {
    pub(crate) id: DirId,
    pub(crate) record: RecordRequest,
    pub(crate) entry: RecordRequest,
}

/// Entries of a folder as they arrive.
pub(crate) struct Entries {
    /// The folder's own record, which has the same prefix and is not an entry.
    own: SealedKey,
    pages: crate::remote::Pages,
}

/// Some entries of a folder.
pub(crate) struct SomeEntries {
    pub(crate) entries: Vec<EntryNow>,
    /// Entries that are there but cannot be read.
    pub(crate) damaged: u64,
    /// Their keys, with what was found if the node had something to show.
    pub(crate) unreadable: Vec<(SealedKey, Option<Found>)>,
    /// Where the next ones begin; empty at the end.
    pub(crate) cursor: Bytes,
}

impl Entries {
    /// The next ones; `None` at the end.
    pub(crate) async fn next(&mut self, vault: &Vault) -> Result<Option<SomeEntries>, Failure> {
        let Some(page) = self.pages.next().await? else { return Ok(None) };
        let mut entries = Vec::with_capacity(page.records.len());
        let entry_key = |key: &[u8]| match SealedKey::parse(key) {
            Some((key, None)) if key != self.own => Some(key),
            _ => None,
        };
        let mut unreadable: Vec<(SealedKey, Option<Found>)> =
            page.damaged.iter().filter_map(|k| entry_key(k.as_bytes())).map(|k| (k, None)).collect();
        for (key, found) in page.records {
            let Some(key) = entry_key(key.as_bytes()) else { continue };
            // One entry that was tampered with, or is older than what was seen, hides no other.
            match vault.open_entry(key.as_bytes(), &found) {
                Ok(entry) => entries.push(EntryNow { key, entry, found }),
                Err(failure) if failure.kind == Kind::Damaged => unreadable.push((key, Some(found))),
                Err(failure) => return Err(failure),
            }
        }
        Ok(Some(SomeEntries { entries, damaged: unreadable.len() as u64, unreadable, cursor: page.cursor }))
    }
}

pub(crate) fn not_a_folder(at: &VaultPath) -> Failure {
    Failure::new(Kind::Conflict, format!("is a file, not a folder: {at}"))
}

pub(crate) fn being_deleted(at: &VaultPath) -> Failure {
    let message = format!(
        "{at}: is being deleted; finish that with: larder rm -r {at}, or undo it: larder restore {at}"
    );
    Failure::new(Kind::Conflict, message)
}
