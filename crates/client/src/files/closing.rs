//! A folder's way out and back: closed to new entries, kept under its entry's key for as long as it can be brought
//! back, away; or opened again. Every step leaves a state that deleting again finishes and restoring undoes.

use larder_format::error::Kind;
use larder_format::head::{DirId, DirState, Directory, EntryTarget, Head};
use larder_format::namespace::LifetimeRequest;
use larder_format::operation::{Condition, Outcome};
use larder_format::record::{Key, Version};
use larder_seal::names::SealedKey;
use larder_wire::answer::Failure;
use larder_wire::request::{Ask, AskPut};

use super::remove::TRASH_MS_DEFAULT;
use crate::directory::{EntryNow, Standing, being_deleted};
use crate::path::VaultPath;
use crate::remote::Scan;
use crate::vault::{Vault, unexpected};

/// How often a folder's record is written again because somebody else was quicker.
const TRIES: u32 = 32;

impl Vault {
    /// Closes a folder to new entries if it hangs there. Its record has no end of its own while its entry is there.
    pub(crate) async fn close_folder(
        &self,
        id: DirId,
        parent: DirId,
        path: &VaultPath,
    ) -> Result<Closed, Failure> {
        let name = path.names().last().map_or("", String::as_str);
        for _ in 0..TRIES {
            let Some((version, directory)) = self.folder_record(id).await? else { return Ok(Closed::Gone) };
            // Looked at under the same condition as the change: somebody may move it at this moment.
            if directory.parent != parent || directory.name != name {
                return Ok(Closed::Elsewhere);
            }
            if directory.state == DirState::Closing {
                return Ok(Closed::At(version));
            }
            let closing = Head::Directory(Directory { state: DirState::Closing, ..directory });
            let key = self.names.directory_key(id);
            let ask = self.put_head(key, &closing, Condition::Version(version))?.ask;
            match self.change(self.files, key.as_bytes(), ask).await? {
                Outcome::Written { version, .. } => return Ok(Closed::At(version)),
                Outcome::Conflict { .. } => {}
                other => return Err(unexpected(&other)),
            }
        }
        Err(Failure::new(Kind::Retry, format!("{path}: keeps changing; try again")))
    }

    /// Opens a folder again, whatever is left of its record.
    pub(crate) async fn open_folder_again(
        &self,
        id: DirId,
        parent: DirId,
        path: &VaultPath,
    ) -> Result<(), Failure> {
        let name = path.names().last().cloned().unwrap_or_default();
        for _ in 0..TRIES {
            let (condition, directory) = match self.folder_record(id).await? {
                Some((_, d)) if d.state == DirState::Open => return Ok(()),
                Some((version, d)) => (Condition::Version(version), d),
                None => {
                    let state = DirState::Open;
                    (Condition::Absent, Directory { id, parent, name: name.clone(), moves: 0, state })
                }
            };
            let open = Head::Directory(Directory { state: DirState::Open, ..directory });
            let key = self.names.directory_key(id);
            let ask = self.put_head(key, &open, condition)?.ask;
            match self.change(self.files, key.as_bytes(), ask).await? {
                Outcome::Written { .. } => return Ok(()),
                Outcome::Conflict { .. } => {}
                other => return Err(unexpected(&other)),
            }
        }
        Err(Failure::new(Kind::Retry, format!("{path}: keeps changing; try again")))
    }

    /// Keeps a folder's entry under its key until then, before what is in the folder is deleted. A deletion that
    /// goes on after an interruption keeps its first mark, so that all it deleted belongs to one.
    pub(crate) async fn keep_folder(
        &self,
        now: &EntryNow,
        id: DirId,
        closed: Option<Version>,
        until_ms: u64,
    ) -> Result<(), Failure> {
        let lifetime = LifetimeRequest::Until(until_ms);
        let history = self.history(now.key).await?;
        if let Some(kept) = history.folders().find(|k| k.id == id) {
            let ask = Ask::Touch { condition: Condition::Any, lifetime };
            if let Outcome::Written { .. } = self.change(self.files, kept.record.as_bytes(), ask).await? {
                return Ok(());
            }
        }
        let key = now.key.version_key(closed.unwrap_or(now.found.version));
        let sealed = self.seal(self.files, &key, &Head::Entry(now.entry.clone()), &[])?;
        let put = AskPut { lifetime, head: sealed.head, body: sealed.body, ..AskPut::default() };
        match self.change(self.files, &key, Ask::Put(put)).await? {
            Outcome::Written { .. } => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Deletes what is kept of a folder under its entry's key, once the folder is there again.
    pub(crate) async fn forget_kept_folder(&self, key: SealedKey, id: DirId) -> Result<(), Failure> {
        for kept in self.history(key).await?.folders().filter(|k| k.id == id) {
            self.delete_any(kept.record.as_bytes()).await?;
        }
        Ok(())
    }

    /// The last steps, when a closed folder is empty: its record ends with its trash (`None`: everything of it
    /// goes now), then its entry goes. Answers `false` if the folder was opened again meanwhile.
    pub(crate) async fn finish_folder(
        &self,
        now: &EntryNow,
        id: DirId,
        closed: Option<Version>,
        until_ms: Option<u64>,
    ) -> Result<bool, Failure> {
        let key = self.names.directory_key(id);
        if let Some(version) = closed {
            let condition = Condition::Version(version);
            let ask = match until_ms {
                Some(ms) => Ask::Touch { condition, lifetime: LifetimeRequest::Until(ms) },
                None => Ask::Delete { condition },
            };
            match self.change(self.files, key.as_bytes(), ask).await? {
                Outcome::Written { .. } | Outcome::Deleted { .. } | Outcome::Absent => {}
                Outcome::Conflict { .. } => return Ok(false),
                other => return Err(unexpected(&other)),
            }
        }
        match until_ms {
            Some(ms) => self.end_strays(id, ms).await?,
            None => self.purge_folder(id).await?,
        }
        let mut version = now.found.version;
        for _ in 0..TRIES {
            let ask = Ask::Delete { condition: Condition::Version(version) };
            match self.change(self.files, now.key.as_bytes(), ask).await? {
                Outcome::Deleted { .. } | Outcome::Absent => return Ok(true),
                Outcome::Conflict { .. } => {}
                other => return Err(unexpected(&other)),
            }
            // Somebody gave the folder other attributes meanwhile; or finished this, and may have made something new of
            // that name.
            match self.read(self.files, now.key.as_bytes(), true).await? {
                Some(found) if self.folder_shown(now.key.as_bytes(), &found.head) == Some(id) => {
                    version = found.version;
                }
                _ => return Ok(true),
            }
        }
        Err(Failure::new(Kind::Retry, format!("{}: keeps changing; try again", now.entry.name)))
    }

    /// Frees a name whose folder is gone, or is being deleted and empty: a deletion that was interrupted late.
    pub(crate) async fn clear_name(
        &self,
        now: &EntryNow,
        id: DirId,
        standing: Standing,
        at: &VaultPath,
    ) -> Result<(), Failure> {
        if standing == Standing::Elsewhere {
            return self.clear_elsewhere(now, id, at).await;
        }
        if standing == Standing::Closing && !self.is_empty_folder(id).await? {
            return Err(being_deleted(at));
        }
        // Even an empty folder may have files in it that can be brought back.
        let until_ms = self.now_ms() + TRASH_MS_DEFAULT;
        let closed = match standing {
            Standing::Closing => self.folder_record(id).await?.map(|(version, _)| version),
            Standing::Open | Standing::Elsewhere | Standing::Gone => None,
        };
        self.keep_folder(now, id, closed, until_ms).await?;
        // If it was opened again, whoever asked looks again and finds it.
        self.finish_folder(now, id, closed, Some(until_ms)).await.map(|_| ())
    }

    pub(crate) async fn is_empty_folder(&self, id: DirId) -> Result<bool, Failure> {
        let mut entries = self.entries(id).await?;
        while let Some(some) = entries.next(self).await? {
            if !some.entries.is_empty() || some.damaged > 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Versions left in a deleted folder without an end, of files whose own time was up before: they would lie
    /// there for good, out of reach.
    async fn end_strays(&self, id: DirId, until_ms: u64) -> Result<(), Failure> {
        let mut pages = self.remote.scan(Scan::heads(self.files, &self.names.dir_prefix(id))).await?;
        while let Some(page) = pages.next().await? {
            for (record, found) in page.records {
                if found.expiry.ms().is_none()
                    && matches!(SealedKey::parse(record.as_bytes()), Some((_, Some(_))))
                {
                    let condition = Condition::Version(found.version);
                    let ask = Ask::Touch { condition, lifetime: LifetimeRequest::Until(until_ms) };
                    self.change(self.files, record.as_bytes(), ask).await?;
                }
            }
        }
        Ok(())
    }

    /// Deletes everything that has to do with a folder, also what could still be brought back; readable or not. What
    /// is below a folder goes before its entry, so that an interrupted one leaves nothing out of reach.
    pub(crate) async fn purge_folder(&self, id: DirId) -> Result<(), Failure> {
        self.purge(Purge::Folder(id)).await
    }

    /// As [`Vault::purge_folder`], unless the folder hangs elsewhere by now: then it is not this one that was deleted.
    pub(crate) async fn purge_folder_if_there(
        &self,
        id: DirId,
        parent: DirId,
        name: &str,
    ) -> Result<(), Failure> {
        self.purge(Purge::FolderIfThere { id, parent, name: name.to_owned() }).await
    }

    async fn purge(&self, first: Purge) -> Result<(), Failure> {
        // Not by recursion: folders nest deeper than a thread's stack.
        let mut todo = vec![first];
        while let Some(step) = todo.pop() {
            match step {
                Purge::Own(id) => self.forget_folder(id).await?,
                Purge::Entry(record) => {
                    self.delete_any(record.as_bytes()).await?;
                }
                Purge::FolderIfThere { id, parent, name } => {
                    if !self.hangs_elsewhere(id, parent, &name).await? {
                        todo.push(Purge::Folder(id));
                    }
                }
                Purge::Folder(id) => {
                    todo.push(Purge::Own(id));
                    self.purge_files(id, &mut todo).await?;
                }
            }
        }
        Ok(())
    }

    /// Deletes all but folders in a folder; notes the folders.
    async fn purge_files(&self, id: DirId, todo: &mut Vec<Purge>) -> Result<(), Failure> {
        let own = self.names.directory_key(id);
        let mut pages = self.remote.scan(Scan::heads(self.files, &self.names.dir_prefix(id))).await?;
        while let Some(page) = pages.next().await? {
            for (record, found) in page.records {
                if record.as_bytes() == own.as_bytes() {
                    continue;
                }
                match self.folder_entry(record.as_bytes(), &found.head) {
                    Some((below, name)) => todo
                        .extend([Purge::Entry(record), Purge::FolderIfThere { id: below, parent: id, name }]),
                    None => {
                        self.delete_any(record.as_bytes()).await?;
                    }
                }
            }
            for record in page.damaged {
                self.delete_any(record.as_bytes()).await?;
            }
        }
        Ok(())
    }

    /// The folder that an entry names, if it can be opened at all; how old it is does not matter.
    pub(crate) fn folder_shown(&self, key: &[u8], head: &[u8]) -> Option<DirId> {
        self.folder_entry(key, head).map(|(id, _)| id)
    }

    /// As [`Vault::folder_shown`], with the name.
    fn folder_entry(&self, key: &[u8], head: &[u8]) -> Option<(DirId, String)> {
        match self.open_head(self.files, key, head) {
            Ok(Head::Entry(entry)) => match entry.target {
                EntryTarget::Directory { id, .. } => Some((id, entry.name)),
                EntryTarget::File { .. } => None,
            },
            _ => None,
        }
    }

    /// Whether a folder's own record says that it hangs somewhere else. One that cannot be read says nothing.
    pub(crate) async fn hangs_elsewhere(
        &self,
        id: DirId,
        parent: DirId,
        name: &str,
    ) -> Result<bool, Failure> {
        match self.folder_record(id).await {
            Ok(record) => {
                let standing = Standing::of(record.as_ref().map(|(_, d)| d), parent, name);
                Ok(standing == Standing::Elsewhere)
            }
            Err(failure) if failure.kind == Kind::Damaged => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}

/// What came of closing a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// It is closed; the version of its record.
    At(Version),
    /// It has no record.
    Gone,
    /// It hangs elsewhere: it was moved.
    Elsewhere,
}

impl Closed {
    /// The version that closed it.
    pub(crate) fn version(self) -> Option<Version> {
        match self {
            Self::At(version) => Some(version),
            Self::Gone | Self::Elsewhere => None,
        }
    }
}

/// A step of deleting a folder with all that is kept of it.
enum Purge {
    /// All that is in it, then its own record.
    Folder(DirId),
    /// The same, if it hangs there.
    FolderIfThere { id: DirId, parent: DirId, name: String },
    /// The record of a folder's entry, after what is below it.
    Entry(Key),
    /// A folder's own record.
    Own(DirId),
}
