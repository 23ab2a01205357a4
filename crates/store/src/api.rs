//! The contract of a storage backend: records, blobs and leases of one machine.
//!
//! **Durability.** Whatever changes something, and whatever *reads* something, returns a [`Ticket`]. It
//! resolves when all that was changed or seen is durable; only then may anyone be told. A backend that keeps
//! nothing (memory) returns tickets that are resolved already.
//!
//! **Order.** Updates of one key take effect in the order of their calls. After a crash, if an update is
//! there, so is every update ticketed before it.
//!
//! **Failure.** After a failed sync a backend is closed for good ([`StoreError::Closed`]); it never retries.
//! Damage is a typed error for exactly what it may have hit, never a wrong value and never "absent".

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use larder_format::clock::Hlc;
use larder_format::error::Kind;
use larder_format::ids::{BlobId, LeaseToken, NamespaceId};
use larder_format::record::{Ballot, Ballots, Key, RecordMeta, RecordSlot, RecordState};
use larder_format::size::show;
use larder_format::slot::Slot;
use thiserror::Error;

pub use crate::ticket::{Durability, Ticket};

/// Why a storage operation failed. Unless said otherwise nothing was changed.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store has stopped itself and must be opened anew; what was not acknowledged is unknown.
    #[error("store is closed: {reason}")]
    Closed {
        /// What made it stop, in words for the operator.
        reason: Arc<str>,
    },
    /// No room below a limit of this program. Deleting and releasing still work.
    #[error("no room: the {what} is reached: {} of {} used", show(*used), show(*max))]
    Full {
        /// Which limit: memory cap.
        what: &'static str,
        /// Bytes used.
        used: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// No room on the disk beside what is kept for deleting. Deleting and releasing still work.
    #[error("no room: the disk is full: {} free{}", show(*free), Kept(*kept))]
    DiskFull {
        /// Bytes that are free.
        free: u64,
        /// Bytes that writers may not have.
        kept: u64,
    },
    /// Too many of something that is bounded by number.
    #[error("no room: {what} max={max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        max: u64,
    },
    /// It would exceed a quota. Nothing was changed; deleting and releasing still work.
    #[error(
        "no room: the quota of the {} is reached: {} of {} used{}, {} asked for",
        of.name(), show(*used), show(*limit), Kept(*kept), show(*asked)
    )]
    Quota {
        /// Whose.
        of: QuotaOf,
        /// Bytes used.
        used: u64,
        /// Most bytes allowed.
        limit: u64,
        /// Bytes of the limit that writers may not have: they are kept for deleting and for giving space back.
        kept: u64,
        /// Bytes asked for.
        asked: u64,
    },
    /// The disk is full, so this change waits: it is made when there is room, or lost if the process ends
    /// before.
    #[error("no room: the disk is full; what was being written waits until there is room")]
    Stalled,
    /// A record would list a lease that has ended: the blobs it kept may be gone. Nothing was changed; store
    /// the blobs again under a new lease.
    #[error("a lease of this write has ended: send its content again token={token}")]
    LeaseEnded {
        /// Which.
        token: LeaseToken,
    },
    /// Stored bytes are not what was written.
    #[error("damaged: {what} place={place}")]
    Damaged {
        /// What is damaged.
        what: Arc<str>,
        /// File and offset.
        place: Arc<str>,
    },
    /// The folder was written by a newer program.
    #[error(
        "data is of a newer version than this program: {what} version={version} supported={supported}; upgrade larder"
    )]
    TooNew {
        /// What carries the version.
        what: &'static str,
        /// Version found.
        version: u64,
        /// Newest version this program reads.
        supported: u64,
    },
    /// Another process has the folder open.
    #[error("data folder is in use by another process folder={folder}")]
    InUse {
        /// The folder.
        folder: Arc<str>,
    },
    /// More than could ever be read back.
    #[error("too large: {what} len={len} max={max}")]
    TooLarge {
        /// What is too long, or has too many parts.
        what: &'static str,
        /// Its length in bytes, or how many parts.
        len: u64,
        /// The longest, or the most, that is taken.
        max: u64,
    },
    /// Blob bytes do not hash to their id, or something makes no sense.
    #[error("refused: {what}")]
    Invalid {
        /// What is wrong.
        what: Arc<str>,
    },
    /// The operating system said no, before anything was changed (opening, reading).
    #[error("input/output error: {what}: {message}")]
    Io {
        /// What was attempted.
        what: Arc<str>,
        /// The system's message.
        message: Arc<str>,
    },
    /// The log ends in a place that the disk cannot read. Nothing was changed: what is there may have been acknowledged, and
    /// only somebody's word ([`crate::log::LogStore::give_up_end`]) gives it up.
    #[error(
        "input/output error: reading the end of the log: the disk cannot read the end of {file}, and what is there may have been acknowledged"
    )]
    EndUnread {
        /// Which segment file.
        file: Arc<str>,
    },
    /// The operating system does not permit it; nothing was changed.
    #[error("not permitted: {what}: {message}")]
    Denied {
        /// What was attempted.
        what: Arc<str>,
        /// The system's message.
        message: Arc<str>,
    },
}

/// Whose quota it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaOf {
    /// The node's: its whole data folder.
    Node,
    /// One namespace's.
    Namespace,
}

impl QuotaOf {
    fn name(self) -> &'static str {
        match self {
            QuotaOf::Node => "node",
            QuotaOf::Namespace => "namespace",
        }
    }
}

/// Says how much of the room is kept from writers, if any is.
struct Kept(u64);

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            bytes => write!(f, " ({} are kept for deleting)", show(bytes)),
        }
    }
}

impl StoreError {
    /// What the caller should do.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            StoreError::Closed { .. } => Kind::Closed,
            StoreError::Full { .. }
            | StoreError::DiskFull { .. }
            | StoreError::TooMany { .. }
            | StoreError::Quota { .. } => Kind::Full,
            StoreError::Stalled => Kind::Unknown,
            StoreError::LeaseEnded { .. } => Kind::Retry,
            StoreError::Damaged { .. } => Kind::Damaged,
            StoreError::TooNew { .. } => Kind::TooNew,
            StoreError::InUse { .. } => Kind::Conflict,
            StoreError::TooLarge { .. } | StoreError::Invalid { .. } => Kind::Invalid,
            StoreError::Io { .. } | StoreError::EndUnread { .. } => Kind::Closed,
            StoreError::Denied { .. } => Kind::Denied,
        }
    }
}

/// Where a record is.
#[derive(Debug, Clone, Copy)]
pub struct Address<'a> {
    /// Its namespace.
    pub namespace: NamespaceId,
    /// Its slot, which the caller computes by the namespace's rule (raw or sealed). Decides the shard; floors
    /// are kept per namespace and slot group.
    pub slot: Slot,
    /// Its key.
    pub key: &'a Key,
}

/// A record as the store holds it now, seen under its shard lock.
pub trait Current {
    /// The small part; `None` if there is nothing for this key.
    fn meta(&self) -> Option<RecordMeta>;

    /// Ballots, in replicated namespaces.
    fn ballots(&self) -> Option<Ballots>;

    /// Every ballot of per-key state dropped in this record's partition is at or below this. With one
    /// acceptor, `round` is a version number: new versions must be above it.
    fn floor(&self) -> Ballot;

    /// The whole state, read from disk where need be.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if its bytes are.
    fn load(&mut self) -> Result<Option<RecordState>, StoreError>;
}

/// What an update does to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Keep,
    /// Replaces the slot.
    Store(RecordSlot),
    /// As [`Next::Store`], also where a writer would be told that the disk is full: for what ends something that was
    /// begun, or belongs to a deletion. The room kept for deleting is for these.
    StoreInto(RecordSlot),
    /// Replaces only the ballots, leaving the state's bytes where they are.
    Promise(Ballots),
    /// Drops all that is kept for this key and raises its partition's floor.
    Remove {
        /// At least every ballot (or version, with one acceptor) dropped.
        floor: Ballot,
    },
}

/// How much of a record a read wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// The state with an empty body where that saves reading it (tokens and head are there).
    Head,
    /// All of it.
    All,
}

/// One page of a scan.
#[derive(Debug, Clone)]
pub struct ScanRequest {
    /// Only keys that begin with this; may be empty.
    pub prefix: Bytes,
    /// Where the page before ended ([`ScanPage::next`]); empty for the first.
    pub cursor: Bytes,
    /// Most records in the page, at least 1.
    pub limit: usize,
    /// Longest key to return: leaves out old versions, whose keys are longer than their file's.
    pub key_len_max: usize,
    /// How much of each.
    pub want: Want,
}

/// Records of one page. Expired ones and shadows are included as stored: the caller judges.
#[derive(Debug)]
pub struct ScanPage {
    /// Keys and states. In key order where the backend is ordered.
    pub records: Vec<(Key, RecordState)>,
    /// Keys in this page that exist but whose bytes are damaged.
    pub damaged: Vec<Key>,
    /// Where to go on; `None` at the end.
    pub next: Option<Bytes>,
    /// Resolves when all of the page is durable.
    pub durable: Ticket,
}

/// Records of one class on one machine.
pub trait RecordStore: Send + Sync {
    /// Reads one record.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Closed`].
    fn read(&self, at: Address<'_>, want: Want) -> Result<(Option<RecordState>, Ticket), StoreError>;

    /// Calls `decide` under the record's shard lock and does what it says. `decide` is called exactly once
    /// unless an error is returned before. The ticket covers what `decide` saw as well as what it did.
    ///
    /// Only [`Current::load`] reads the record's bytes: where they are damaged, a `decide` that goes by
    /// [`Current::meta`] can still replace or remove it.
    ///
    /// # Errors
    /// What `decide` returns; [`StoreError::Full`] if there is no room for what it wants (then nothing is
    /// changed); [`StoreError::Closed`].
    fn update(
        &self,
        at: Address<'_>,
        decide: &mut dyn FnMut(&mut dyn Current) -> Result<Next, StoreError>,
    ) -> Result<Ticket, StoreError>;

    /// One page of a namespace's records. A key present throughout a whole scan appears at least once.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a cursor this store did not make; [`StoreError::Closed`].
    fn scan(&self, namespace: NamespaceId, request: &ScanRequest) -> Result<ScanPage, StoreError>;

    /// Up to `limit` keys whose expiry is at or before `high`, soonest first or nearly so. They stay until
    /// an update removes them.
    fn due(&self, high: Hlc, limit: usize) -> Vec<(NamespaceId, Slot, Key)>;

    /// Persists a new high-water mark of hybrid time (monotone; lower ones are ignored).
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    fn raise_time(&self, high: Hlc) -> Result<Ticket, StoreError>;

    /// The persisted high-water mark.
    fn time(&self) -> Hlc;

    /// Counts, live. Never takes a lock that a write holds.
    fn usage(&self) -> RecordUsage;
}

/// How many records, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordUsage {
    /// Records, shadows included.
    pub records: u64,
    /// Bytes of keys and values.
    pub payload_bytes: u64,
    /// Bytes with overhead, as the cap counts them.
    pub accounted_bytes: u64,
    /// The cap; 0: none.
    pub cap_bytes: u64,
}

/// A lease that has a deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Which lease.
    pub token: LeaseToken,
    /// Namespace of the record it belongs to.
    pub namespace: NamespaceId,
    /// The record it belongs to (or the file whose versions may list it: they share this as key prefix).
    pub key: Key,
    /// Hybrid time in milliseconds; `None` once confirmed.
    pub deadline_ms: Option<u64>,
    /// Blobs it keeps.
    pub blobs: u64,
}

/// A lease to be granted, or added to.
#[derive(Debug, Clone)]
pub struct LeaseGrant {
    /// Which lease: a new token, or one granted before with the same record.
    pub token: LeaseToken,
    /// Namespace of the record it belongs to.
    pub namespace: NamespaceId,
    /// The record it belongs to.
    pub key: Key,
    /// Hybrid time in milliseconds until which it holds without the record listing it.
    pub deadline_ms: u64,
}

/// Blobs and leases of one machine.
pub trait BlobStore: Send + Sync {
    /// Stores a blob and leases it. Storing the same bytes again only leases them. `bytes` must hash to `id`;
    /// the check happens here, before anything is queued.
    ///
    /// # Errors
    /// [`StoreError::Invalid`], [`StoreError::Full`], [`StoreError::Closed`].
    fn put(&self, id: BlobId, bytes: Bytes, lease: &LeaseGrant) -> Result<Ticket, StoreError>;

    /// Reads a blob, verifying that its bytes hash to its id. `None`: not here. The ticket is resolved
    /// already unless the blob was put a moment ago.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Closed`].
    fn get(&self, id: BlobId) -> Result<(Option<Bytes>, Ticket), StoreError>;

    /// Leases those blobs that are here; answers which are present *and now leased*.
    ///
    /// # Errors
    /// [`StoreError::Closed`], [`StoreError::Invalid`] if the token belongs to another record or was released.
    fn lease(&self, lease: &LeaseGrant, ids: &[BlobId]) -> Result<(Vec<bool>, Ticket), StoreError>;

    /// Ends a lease for good: the token can never be granted again. Unknown tokens are remembered as released.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    fn release(&self, token: LeaseToken) -> Result<Ticket, StoreError>;

    /// Takes the deadline off a lease, because its record lists it.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    fn confirm(&self, token: LeaseToken) -> Result<Ticket, StoreError>;

    /// Up to `limit` leases whose deadline is at or before `high`.
    fn due_leases(&self, high: Hlc, limit: usize) -> Vec<LeaseInfo>;

    /// Counts, live.
    fn usage(&self) -> BlobUsage;
}

/// How many blobs and leases, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlobUsage {
    /// Blobs held.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Blobs without a lease, waiting to be collected.
    pub orphans: u64,
    /// Bytes of those.
    pub orphan_bytes: u64,
    /// Leases.
    pub leases: u64,
    /// Bytes of all files of the store.
    pub disk_bytes: u64,
    /// Bytes the disk has left.
    pub disk_free_bytes: u64,
}
