//! Keeps an index as the node has it: a first scan of all heads, then the feed of changes; and lets others ask.
//!
//! [`Follower::run`] is one task that works until the connection breaks or it is dropped; what it learnt stays in
//! [`Shared`], and the next one goes on from there. Every head passes the checks that any other read of it passes:
//! it opens under its own key, and this device has not seen a newer one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::head::Head;
use larder_format::operation::{Found, Outcome};
use larder_format::record::{Expiry, Version};
use larder_seal::keys::VaultRoot;
use larder_seal::names::{SEALED_KEY_LEN, SealedKey};
use larder_wire::answer::Failure;
use larder_wire::request::Ask;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::change::Change;
use super::log::ChangeLog;
use super::snapshot;
use super::tree::{IndexFull, NameIndex};
use crate::feed::{FeedPage, FeedPosition, KeyChange, KeyEvent};
use crate::remote::{Remote, Scan};
use crate::vault::{Vault, unexpected};

/// Longest wait until the index has what the node said is newest. Beyond it the node is asked for everything.
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(2);

/// Up to so many heads are read one by one; beyond, a stream costs less.
const SINGLE_READS_MAX: usize = 4;

/// An index that one task keeps and others ask.
pub struct Shared {
    inner: Mutex<Inner>,
    /// Where the index is, for whoever waits.
    at: watch::Sender<Option<FeedPosition>>,
}

#[derive(Default)]
struct Inner {
    index: Option<NameIndex>,
    /// Whether the index has all there is; what `at` says holds only then.
    complete: bool,
    log: ChangeLog,
    /// The open vault while the node is followed.
    vault: Option<Arc<Vault>>,
    /// Why there will be no index.
    given_up: Option<String>,
    /// Why the node does not admit this device (any more).
    refused: Option<String>,
    /// Counts since the snapshot was last written.
    changed: u64,
    scan_ms: u64,
}

/// What an index is like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexStatus {
    /// Whether it answers.
    pub ready: bool,
    /// Entries in it.
    pub entries: u64,
    /// Bytes of memory it takes.
    pub bytes: u64,
    /// How long the last whole scan took, in milliseconds; 0: there was none, a snapshot was enough.
    pub scan_ms: u64,
}

/// Some changes and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangesPage {
    /// In order.
    pub changes: Vec<(FeedPosition, Change)>,
    /// Where to go on.
    pub next: FeedPosition,
    /// Changes between the position asked for and `next` are not known.
    pub reset: bool,
}

/// Why the index cannot answer now: ask the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotReady;

impl Default for Shared {
    fn default() -> Self {
        Self { inner: Mutex::default(), at: watch::Sender::new(None) }
    }
}

impl Shared {
    /// Nothing known yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Waits until the index has every change that was answered before this call, and shows it with the node's time in
    /// milliseconds. `None` from `look` is that the index does not know.
    ///
    /// # Errors
    /// [`NotReady`] if there is no index, it is being built, or the node does not answer in time.
    pub async fn ask<T>(
        &self,
        look: impl FnOnce(&NameIndex, &Vault, u64) -> Option<T>,
    ) -> Result<T, NotReady> {
        let vault = {
            let inner = self.inner.lock();
            inner.vault.clone().filter(|_| inner.complete).ok_or(NotReady)?
        };
        let now_ms = self.catch_up(&vault.remote).await?;
        // What another command saw a moment ago binds this answer too.
        vault.refresh_memory().map_err(|_| NotReady)?;
        let inner = self.inner.lock();
        let index = inner.index.as_ref().filter(|_| inner.complete).ok_or(NotReady)?;
        look(index, &vault, now_ms).ok_or(NotReady)
    }

    /// Waits until the index is where the node's feed is now; the node's time.
    async fn catch_up(&self, remote: &Remote) -> Result<u64, NotReady> {
        let mut at = self.at.subscribe();
        let work = async {
            let files = larder_format::ids::NamespaceId::of(crate::vault::FILES);
            let (wanted, time) = remote.newest(files).await.map_err(|_| NotReady)?;
            // Another life: what the index has is of before.
            let there = |at: &Option<FeedPosition>| match at {
                Some(at) if at.life == wanted.life => at.sequence >= wanted.sequence,
                Some(_) | None => true,
            };
            let found = *at.wait_for(there).await.map_err(|_| NotReady)?;
            match found {
                Some(found) if found.life == wanted.life => Ok(time.ms()),
                _ => Err(NotReady),
            }
        };
        tokio::time::timeout(CATCH_UP_TIME_MAX, work).await.unwrap_or(Err(NotReady))
    }

    /// Changes after a position, or after now; waits for one at most this long.
    ///
    /// # Errors
    /// [`NotReady`] if there is no index yet.
    pub async fn changes(
        &self,
        after: Option<FeedPosition>,
        top: &str,
        most: usize,
        wait: Duration,
    ) -> Result<ChangesPage, NotReady> {
        let mut moved = self.at.subscribe();
        let deadline = tokio::time::sleep(wait);
        tokio::pin!(deadline);
        let mut after = after;
        loop {
            let found = {
                let inner = self.inner.lock();
                if inner.refused.is_some() {
                    return Err(NotReady);
                }
                // While a scan is under way its outcome is waited for.
                match inner.log.at().filter(|_| inner.complete) {
                    None => None,
                    Some(at) => {
                        let from = *after.get_or_insert(at);
                        let Some(found) = inner.log.after(from, top, most) else {
                            return Ok(ChangesPage { changes: Vec::new(), next: at, reset: true });
                        };
                        Some(found)
                    }
                }
            };
            let page = found.map(|(changes, next)| ChangesPage { changes, next, reset: false });
            if let Some(page) = page.as_ref().filter(|page| !page.changes.is_empty()) {
                return Ok(page.clone());
            }
            tokio::select! {
                changed = moved.changed() => changed.map_err(|_| NotReady)?,
                () = &mut deadline => return page.ok_or(NotReady),
            }
        }
    }

    /// What the index is like.
    #[must_use]
    pub fn status(&self) -> IndexStatus {
        let inner = self.inner.lock();
        let Some(index) = &inner.index else { return IndexStatus::default() };
        IndexStatus {
            ready: inner.complete && inner.vault.is_some(),
            entries: index.len() as u64,
            bytes: index.bytes() as u64,
            scan_ms: inner.scan_ms,
        }
    }

    /// Changes since the snapshot was written.
    #[must_use]
    pub fn changed(&self) -> u64 {
        self.inner.lock().changed
    }

    /// Whether there is an index with a place in the feed: then a snapshot can be written.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.inner.lock().complete
    }

    /// Writes a snapshot. The index can be asked meanwhile.
    ///
    /// # Errors
    /// What the file system says; [`Kind::Retry`] if there is nothing to write.
    pub fn save(&self, root: &VaultRoot, path: &Path) -> Result<(), Failure> {
        let not_now = || Failure::new(Kind::Retry, "there is no complete index to write");
        let (at, before) = {
            let inner = self.inner.lock();
            let at = inner.log.at().filter(|_| inner.complete).ok_or_else(not_now)?;
            (at, inner.changed)
        };
        snapshot::save(path, root, at, |from, write| {
            let inner = self.inner.lock();
            let index = inner.index.as_ref().filter(|_| inner.complete).ok_or_else(not_now)?;
            index.some_records(from, |key, head, version, expiry| {
                write(&snapshot::encode_record(key, head.as_ref(), version, expiry)?)
            })
        })?;
        let mut inner = self.inner.lock();
        inner.changed = inner.changed.saturating_sub(before);
        Ok(())
    }

    /// Gives up: there will be no index until [`Shared::clear`].
    pub fn give_up(&self, why: &str) {
        *self.inner.lock() = Inner { given_up: Some(why.to_owned()), ..Inner::default() };
    }

    /// Whether, and why, the node does not admit this device: whoever waits for changes is told.
    pub fn set_refused(&self, why: Option<String>) {
        self.inner.lock().refused = why;
        self.at.send_modify(|_| {});
    }

    /// As [`Shared::set_refused`] was told.
    pub fn refused(&self) -> Option<String> {
        self.inner.lock().refused.clone()
    }

    /// Why there will be no index.
    #[must_use]
    pub fn given_up(&self) -> Option<String> {
        self.inner.lock().given_up.clone()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.inner.lock() = Inner::default();
        self.at.send_replace(None);
    }
}

/// The task that keeps an index.
pub struct Follower {
    vault: Arc<Vault>,
    shared: Arc<Shared>,
}

impl Follower {
    /// For an open vault. If nothing is known yet, a snapshot is read; one that is of no use is deleted.
    #[must_use]
    pub fn new(vault: Arc<Vault>, shared: Arc<Shared>, snapshot: Option<&PathBuf>) -> Self {
        let follower = Self { vault, shared };
        if follower.shared.inner.lock().index.is_none() {
            let (index, at) = follower.load(snapshot);
            let mut inner = follower.shared.inner.lock();
            inner.index = Some(index);
            if let Some(at) = at {
                inner.log.begin(at);
                inner.index.as_mut().into_iter().for_each(NameIndex::tell_changes);
            }
        }
        follower
    }

    fn empty(&self) -> NameIndex {
        let keys = larder_seal::names::NameKeys::new(&self.vault.root);
        NameIndex::new(keys.root_dir(), move |dir| keys.dir_prefix(dir))
    }

    fn load(&self, path: Option<&PathBuf>) -> (NameIndex, Option<FeedPosition>) {
        let Some(path) = path else { return (self.empty(), None) };
        let mut index = self.empty();
        match snapshot::load(path, &self.vault.root, &mut index) {
            Ok(at) => (index, at),
            Err(failure) => {
                tracing::warn!(%failure, "the index's snapshot is of no use; it is made again");
                // If it cannot be removed, it is replaced later.
                let _ = std::fs::remove_file(path);
                (self.empty(), None)
            }
        }
    }

    /// Follows the node's changes until the connection breaks.
    ///
    /// # Errors
    /// [`Kind::Full`] if the vault is too large for an index; else why the connection broke.
    pub async fn run(&self) -> Result<(), Failure> {
        let from = self.shared.inner.lock().log.at();
        let key_len = u32::try_from(SEALED_KEY_LEN).unwrap_or(0);
        let mut pages = self.vault.remote.watch(self.vault.files, b"", key_len, from).await?;
        let mut fresh = from.is_none();
        loop {
            let page = pages.next().await?;
            if page.reset || std::mem::take(&mut fresh) {
                self.scan(page.position).await?;
            }
            self.take_in(page).await?;
        }
    }

    /// Looks at every head anew.
    async fn scan(&self, at: FeedPosition) -> Result<(), Failure> {
        let began = self.vault.now_ms();
        {
            let mut inner = self.shared.inner.lock();
            inner.complete = false;
            inner.index.get_or_insert_with(|| self.empty()).begin_scan();
        }
        let scan = Scan {
            key_len_max: u32::try_from(SEALED_KEY_LEN).unwrap_or(0),
            ..Scan::heads(self.vault.files, b"")
        };
        let mut pages = self.vault.remote.scan(scan).await?;
        while let Some(page) = pages.next().await? {
            let damaged = page.damaged.into_iter().map(|key| (key, None));
            let records = page.records.into_iter().map(|(key, found)| (key, Some(found))).chain(damaged);
            let opened: Vec<_> =
                records.filter_map(|(key, found)| self.open(key.as_bytes(), found)).collect();
            let mut inner = self.shared.inner.lock();
            let Some(index) = &mut inner.index else { return Err(cleared()) };
            for record in opened {
                record.put(index).map_err(|e| Failure::new(Kind::Full, e.to_string()))?;
            }
        }
        let now_ms = self.vault.now_ms();
        let mut inner = self.shared.inner.lock();
        inner.scan_ms = now_ms.saturating_sub(began);
        let Some(index) = &mut inner.index else { return Err(cleared()) };
        index.end_scan(now_ms);
        index.tell_changes();
        let changes = index.take_changes();
        let entries = index.len() as u64;
        // The index was something before: what is different now is told as if it had just happened.
        inner.log.go_on(at);
        inner.changed += 1 + entries;
        inner.log.add(at, changes);
        tracing::info!(ms = inner.scan_ms, "the index of names was made from the node's records");
        Ok(())
    }

    /// Takes in what happened.
    async fn take_in(&self, page: FeedPage) -> Result<(), Failure> {
        let mut read = self.read_changed(&page.events).await?;
        let mut inner = self.shared.inner.lock();
        inner.vault = Some(self.vault.clone());
        inner.complete = true;
        inner.changed += page.events.len() as u64;
        let Inner { index: Some(index), log, .. } = &mut *inner else { return Err(cleared()) };
        for event in page.events {
            match event.change {
                KeyChange::Changed => {
                    if let Some(record) = read.remove(event.key.as_bytes()) {
                        record.put(index).map_err(|e| Failure::new(Kind::Full, e.to_string()))?;
                    }
                }
                change @ (KeyChange::Deleted | KeyChange::Expired) => {
                    if let Some((key, None)) = SealedKey::parse(event.key.as_bytes()) {
                        index.remove(key, event.version, change == KeyChange::Expired);
                    }
                }
            }
            let changes = index.take_changes();
            // Never before what was told already: a scan may have been ahead of its page's events.
            let told = log.at().filter(|at| at.life == page.position.life).map_or(0, |at| at.sequence);
            log.add(FeedPosition { sequence: event.sequence.max(told), ..page.position }, changes);
        }
        log.move_to(page.position);
        drop(inner);
        self.shared.at.send_replace(Some(page.position));
        Ok(())
    }

    /// What the records say now that changed.
    async fn read_changed(&self, events: &[KeyEvent]) -> Result<HashMap<Bytes, Record>, Failure> {
        let mut keys: Vec<Bytes> =
            events.iter().filter(|e| e.change == KeyChange::Changed).map(|e| e.key.to_bytes()).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut read = HashMap::with_capacity(keys.len());
        if keys.len() <= SINGLE_READS_MAX {
            for key in keys {
                let request = self.vault.request(self.vault.files, &key, Ask::Get { head_only: true })?;
                let answer = self.vault.remote.apply(request).await;
                self.note(&mut read, key, answer)?;
            }
            return Ok(read);
        }
        let (sender, mut answers) = self.vault.remote.apply_stream().await?;
        let requests: Result<Vec<_>, Failure> = keys
            .iter()
            .map(|key| self.vault.request(self.vault.files, key, Ask::Get { head_only: true }))
            .collect();
        let requests = requests?;
        let sending = async move {
            for request in requests {
                sender.send(request).await?;
            }
            Ok::<_, Failure>(())
        };
        let reading = async {
            for key in keys {
                let Some((_, answer)) = answers.next().await? else {
                    return Err(Failure::new(Kind::Closed, "the node ended the stream early; try again"));
                };
                self.note(&mut read, key, answer)?;
            }
            Ok(())
        };
        tokio::try_join!(sending, reading)?;
        Ok(read)
    }

    fn note(
        &self,
        read: &mut HashMap<Bytes, Record>,
        key: Bytes,
        answer: Result<Outcome, Failure>,
    ) -> Result<(), Failure> {
        let found = match answer {
            Ok(Outcome::Found(found)) => Some(found),
            // Gone again: another event says so.
            Ok(Outcome::Absent) => return Ok(()),
            Err(failure) if failure.kind == Kind::Damaged => None,
            Ok(other) => return Err(unexpected(&other)),
            Err(failure) => return Err(failure),
        };
        if let Some(record) = self.open(&key, found) {
            read.insert(key, record);
        }
        Ok(())
    }

    /// Opens a head and checks it as any read of it is checked. `None` for what is no part of the tree.
    fn open(&self, key: &[u8], found: Option<Found>) -> Option<Record> {
        let vault = &self.vault;
        let (sealed, None) = SealedKey::parse(key)? else { return None };
        if sealed == vault.names.moves_key() || sealed == vault.names.retention_key() {
            return None;
        }
        let unreadable = Record { key: sealed, what: None };
        let Some(found) = found else { return Some(unreadable) };
        let checked = vault.open_head(vault.files, key, &found.head).and_then(|head| {
            vault.check_folder(key, &found)?;
            match &head {
                Head::Directory(own) if vault.names.directory_key(own.id) != sealed => {
                    Err(Failure::new(Kind::Damaged, "another record where a folder's belongs"))
                }
                _ => Ok(head),
            }
        });
        let Ok(head) = checked else { return Some(unreadable) };
        Some(Record { key: sealed, what: Some((head, found.version, found.expiry)) })
    }
}

/// A record as it goes into the index.
struct Record {
    key: SealedKey,
    /// `None`: it is there and cannot be read.
    what: Option<(Head, Version, Expiry)>,
}

impl Record {
    fn put(self, index: &mut NameIndex) -> Result<(), IndexFull> {
        match self.what {
            Some((head, version, expiry)) => index.put(self.key, head, version, expiry),
            None => index.put_unreadable(self.key),
        }
    }
}

fn cleared() -> Failure {
    Failure::new(Kind::Locked, "the vault was locked")
}
