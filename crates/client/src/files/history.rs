//! What lies under one entry's key: the entry, the older versions of a file, and what is kept of folders that had
//! the name and were deleted. One thing that cannot be read hides no other.

use larder_format::error::Kind;
use larder_format::head::{DirId, Entry, EntryTarget};
use larder_format::namespace::LifetimeRequest;
use larder_format::operation::{Condition, Found, Outcome};
use larder_format::record::{Expiry, Key, Version};
use larder_seal::names::SealedKey;
use larder_wire::answer::Failure;
use larder_wire::request::Ask;

use crate::remote::Scan;
use crate::vault::{Vault, unexpected};

/// One record under an entry's key.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// Its own key.
    pub(crate) record: Key,
    /// Of what is kept beside the entry: the version it is called by. `None`: the entry itself.
    pub(crate) called: Option<Version>,
    pub(crate) entry: Entry,
    /// Without its body; its version is that of this record, not that which it is called by.
    pub(crate) found: Found,
}

/// Everything under one entry's key.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) kept: Vec<Kept>,
    /// Records that are there and cannot be read.
    pub(crate) unreadable: Vec<Key>,
}

/// A folder that was deleted, or whose deletion has begun, as it is kept under its entry's key.
#[derive(Debug, Clone)]
pub(crate) struct DeletedFolder {
    pub(crate) record: Key,
    pub(crate) id: DirId,
    /// The version that closed it. What was deleted with it was kept later than this.
    pub(crate) mark: Version,
    pub(crate) entry: Entry,
}

impl Kept {
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.entry.target, EntryTarget::File { .. })
    }

    pub(crate) fn deleted_folder(&self) -> Option<DeletedFolder> {
        let (Some(mark), EntryTarget::Directory { id, .. }) = (self.called, &self.entry.target) else {
            return None;
        };
        let (record, entry) = (self.record.clone(), self.entry.clone());
        Some(DeletedFolder { record, id: *id, mark, entry })
    }
}

impl History {
    /// The entry itself.
    pub(crate) fn current(&self) -> Option<&Kept> {
        self.kept.iter().find(|k| k.called.is_none())
    }

    /// Older versions of files, oldest first.
    pub(crate) fn files(&self) -> impl DoubleEndedIterator<Item = (Version, &Kept)> {
        self.kept.iter().filter(|k| k.is_file()).filter_map(|k| Some((k.called?, k)))
    }

    /// Deleted folders, oldest first.
    pub(crate) fn folders(&self) -> impl DoubleEndedIterator<Item = DeletedFolder> {
        self.kept.iter().filter_map(Kept::deleted_folder)
    }

    /// Adds a record of a scan over this key or a whole folder.
    pub(crate) fn add(&mut self, vault: &Vault, record: Key, found: Found) -> Result<(), Failure> {
        let Some((_, called)) = SealedKey::parse(record.as_bytes()) else { return Ok(()) };
        match vault.open_entry(record.as_bytes(), &found) {
            Ok(entry) => self.kept.push(Kept { record, called, entry, found }),
            Err(failure) if failure.kind == Kind::Damaged => self.unreadable.push(record),
            Err(failure) => return Err(failure),
        }
        Ok(())
    }
}

impl Vault {
    /// Everything under one entry's key. It comes sorted: the entry, then what is kept, oldest first.
    pub(crate) async fn history(&self, key: SealedKey) -> Result<History, Failure> {
        let mut history = History::default();
        let mut pages = self.remote.scan(Scan::heads(self.files, key.as_bytes())).await?;
        while let Some(page) = pages.next().await? {
            history.unreadable.extend(page.damaged);
            for (record, found) in page.records {
                history.add(self, record, found)?;
            }
        }
        history.kept.sort_by_key(|k| k.called);
        Ok(history)
    }

    /// Gives all older versions of a deleted file an end, or deletes them at once. Answers how many that changed.
    pub(crate) async fn end_versions(&self, key: SealedKey, until_ms: Option<u64>) -> Result<u64, Failure> {
        let history = self.history(key).await?;
        let mut changed = 0;
        for (_, kept) in history.files() {
            let condition = Condition::Version(kept.found.version);
            let ask = match until_ms {
                None => Ask::Delete { condition },
                Some(ms) if ends_by(kept.found.expiry, ms) => continue,
                Some(ms) => Ask::Touch { condition, lifetime: LifetimeRequest::Until(ms) },
            };
            let outcome = self.change(self.files, kept.record.as_bytes(), ask).await?;
            changed += u64::from(matches!(outcome, Outcome::Deleted { .. } | Outcome::Written { .. }));
        }
        if until_ms.is_none() {
            changed += self.drop_unreadable_versions(&history).await?;
        }
        Ok(changed)
    }

    /// Deletes all older versions for good that were not changed after this one was written, and what cannot be read;
    /// answers how many.
    pub(crate) async fn drop_versions(&self, key: SealedKey, until: Version) -> Result<u64, Failure> {
        let history = self.history(key).await?;
        let mut gone = 0;
        for (_, kept) in history.files().filter(|(_, kept)| kept.found.version <= until) {
            let ask = Ask::Delete { condition: Condition::Version(kept.found.version) };
            let outcome = self.change(self.files, kept.record.as_bytes(), ask).await?;
            gone += u64::from(matches!(outcome, Outcome::Deleted { .. }));
        }
        Ok(gone + self.drop_unreadable_versions(&history).await?)
    }

    async fn drop_unreadable_versions(&self, history: &History) -> Result<u64, Failure> {
        let mut gone = 0;
        for record in &history.unreadable {
            // The entry itself is not a version of itself.
            if matches!(SealedKey::parse(record.as_bytes()), Some((_, Some(_)))) {
                gone += u64::from(self.delete_any(record.as_bytes()).await?);
            }
        }
        Ok(gone)
    }

    /// After a deleted file was restored: what was to end with it lives on as long as the file. `same`: the version that the
    /// file is again, which goes, because it would be there twice; last, so that all lifetimes are known until they are
    /// set.
    pub(crate) async fn prolong_versions(
        &self,
        key: SealedKey,
        expiry: Expiry,
        same: Option<Version>,
    ) -> Result<(), Failure> {
        let history = self.history(key).await?;
        // Deleting cut all lifetimes to the same end; what ends before that has an end of its own.
        let Some(end) = history.files().map(|(_, kept)| kept.found.expiry).max() else { return Ok(()) };
        let lifetime = expiry.ms().map_or(LifetimeRequest::Never, LifetimeRequest::Until);
        let ends_with_it = |kept: &Kept| kept.found.expiry == end && end < expiry;
        for (_, kept) in history.files().filter(|(called, kept)| Some(*called) != same && ends_with_it(kept))
        {
            let ask = Ask::Touch { condition: Condition::Version(kept.found.version), lifetime };
            self.change(self.files, kept.record.as_bytes(), ask).await?;
        }
        let Some((_, same)) = history.files().find(|(called, _)| Some(*called) == same) else {
            return Ok(());
        };
        let ask = Ask::Delete { condition: Condition::Version(same.found.version) };
        match self.change(self.files, same.record.as_bytes(), ask).await {
            // Whoever may only add leaves it: it is one version too many, and ends by itself.
            Err(denied) if denied.kind == Kind::Denied => Ok(()),
            done => done.map(drop),
        }
    }

    /// Deletes a record whatever it is; whether it was there.
    pub(crate) async fn delete_any(&self, record: &[u8]) -> Result<bool, Failure> {
        match self.change(self.files, record, Ask::Delete { condition: Condition::Any }).await? {
            Outcome::Deleted { .. } => Ok(true),
            Outcome::Absent => Ok(false),
            other => Err(unexpected(&other)),
        }
    }
}

/// Whether a life is over at this moment.
pub(crate) fn ends_by(expiry: Expiry, ms: u64) -> bool {
    expiry.ms().is_some_and(|end| end <= ms)
}
