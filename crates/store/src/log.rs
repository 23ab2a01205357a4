//! The log: one run of segment files that holds the truth for disk records and blobs.
//!
//! Map of this folder, from the disk up:
//! - [`segments`]: which segment files there are, and reading frames from them;
//! - [`queue`]: the order of all changes: gives out sequence numbers and places, holds what is not written;
//! - [`commit`]: group commit: writes, syncs, marks, publishes;
//! - [`index`], [`records`], [`scan`]: records in memory order, and what callers ask of them;
//! - [`blobs`], [`leases`], [`listing`], [`charge`]: blobs, the reasons to keep them, and who pays for them;
//! - [`open`], [`head`], [`load`], [`judge`], [`replay`], [`batch`]: from files to index;
//! - [`sidecar`]: lists of sealed segments, to open fast;
//! - [`collect`], [`victim`], [`compact`], [`skip`]: giving space back;
//! - [`scrub`], [`repair`], [`mend`], [`accept`], [`unread`]: damage: finding it, undoing it, living with it;
//! - [`space`]: the reserve, and what is full.
//!
//! What a crash may lose: everything whose ticket has not resolved, from the first lost frame on, and nothing
//! else. The index is in memory and is made anew from the log at every start.

mod accept;
mod batch;
mod blobs;
mod charge;
mod collect;
mod commit;
mod compact;
mod head;
mod index;
mod judge;
mod leases;
mod listing;
mod load;
mod mend;
mod open;
mod queue;
mod records;
mod repair;
mod replay;
mod scan;
mod scrub;
mod segments;
mod sidecar;
mod skip;
mod space;
mod unread;
mod victim;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_format::clock::Hlc;
use larder_format::ids::{LeaseToken, StoreId};
use larder_format::record::{Ballot, Version};
use parking_lot::Mutex;

use crate::api::{Durability, LeaseInfo, StoreError, Ticket};
use crate::feed::Feed;
use crate::used::UsedTable;
use blobs::BlobIndex;
pub use collect::CollectReport;
use commit::Threads;
pub use compact::{CompactReport, Effort};
use index::RecordIndex;
pub use listing::LeaseProbe;
pub use open::OpenReport;
use queue::Log;
pub use scrub::{DamagedItem, ScrubCursor, ScrubReport, Scrubber};
pub use unread::{AsideFile, EndLoss, UnreadFile};

/// How a log store is set up.
#[derive(Debug, Clone, Copy)]
pub struct LogConfig {
    /// Length of a segment file, in bytes. Only tests choose another than
    /// [`larder_format::segment::SEGMENT_LEN`].
    pub segment_len: u64,
    /// Most bytes that may wait to become durable before writers are held up. Also bounds how much
    /// unacknowledged data a crash can leave behind.
    pub queue_bytes_max: u64,
    /// Most bytes written in one group, between two looks at whether a sync could start.
    pub group_bytes_max: u64,
    /// While a sync is running, the next group is written early once it has this many bytes.
    pub early_write_bytes: u64,
    /// Disk space kept aside, in bytes, so that deleting and compacting work on a full disk.
    pub reserve_bytes: u64,
    /// Writers are told [`StoreError::DiskFull`] when the disk has no more than this left, in bytes.
    pub margin_bytes: u64,
    /// Whether commits run on threads of their own. Without, [`LogStore::pump`] commits: for simulation,
    /// where the order of calls must be the same each time.
    pub threads: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_len: larder_format::segment::SEGMENT_LEN,
            queue_bytes_max: 32 << 20,
            group_bytes_max: 16 << 20,
            early_write_bytes: 1 << 20,
            reserve_bytes: 16 << 20,
            margin_bytes: 64 << 20,
            threads: true,
        }
    }
}

/// Records and blobs of class disk, in one folder.
pub struct LogStore {
    core: Arc<Core>,
    threads: Option<Threads>,
    report: OpenReport,
}

/// What the store's parts share. Locks are taken in this order, and never two of one kind: record shard,
/// then blobs, then time, then the queue, then segments.
struct Core {
    log: Log,
    records: RecordIndex,
    blobs: Mutex<BlobIndex>,
    time: Mutex<Time>,
    damage: Damage,
    compaction: Mutex<compact::Compaction>,
    /// Where scrubbing goes on.
    scrub: Mutex<Scrubber>,
}

/// The high-water mark of hybrid time.
#[derive(Debug, Clone, Copy, Default)]
struct Time {
    high: Hlc,
    sequence: u64,
    segment: u32,
}

/// What is known to be lost and cannot be attributed to a key.
#[derive(Default)]
struct Damage {
    /// Highest sequence number among lost frames; 0: none. An answer that a frame up to here could have
    /// changed is an error.
    lost_through: AtomicU64,
    accepted: Mutex<Accepted>,
}

/// What the operator accepted as lost.
#[derive(Debug, Clone, Copy, Default)]
struct Accepted {
    /// Lost frames up to this number.
    through: u64,
    /// Every floor is at least this since.
    floor: Ballot,
    /// Segment of the frame that says so.
    segment: u32,
}

impl Damage {
    /// Fails if a lost frame could have changed what is known as of `sequence` (0: nothing is known).
    fn check(&self, sequence: u64) -> Result<(), StoreError> {
        let lost = self.lost_through.load(Ordering::Acquire);
        if sequence >= lost {
            return Ok(());
        }
        Err(StoreError::Damaged {
            what: "frames were lost that may have said something about this".into(),
            place: format!("frames up to {lost}").into(),
        })
    }
}

impl LogStore {
    /// The store's own id, made when its folder was. A copy of the folder has the same.
    #[must_use]
    pub fn id(&self) -> StoreId {
        self.core.log.store_id
    }

    /// Which records changed, in the order of the log. An event may be told once [`LogStore::durability`] reaches its number.
    #[must_use]
    pub fn feed(&self) -> Arc<Feed> {
        self.core.log.feed.clone()
    }

    /// How far the log is durable, apart from the store itself.
    #[must_use]
    pub fn durability(&self) -> Durability {
        Durability::of(self.core.log.progress.clone())
    }

    /// The newest version that any record here has, or that was dropped with one.
    #[must_use]
    pub fn newest_version(&self) -> Version {
        self.core.records.newest_version()
    }

    /// How often the folder has been opened, this time included.
    #[must_use]
    pub fn boots(&self) -> u64 {
        self.core.log.boot
    }

    /// What opening found.
    #[must_use]
    pub fn open_report(&self) -> &OpenReport {
        &self.report
    }

    /// The tokens of all leases that hold, in no order.
    #[must_use]
    pub fn lease_tokens(&self) -> Vec<LeaseToken> {
        self.core.blobs.lock().leases.tokens()
    }

    /// A lease, if it holds.
    #[must_use]
    pub fn lease_info(&self, token: LeaseToken) -> Option<LeaseInfo> {
        self.core.blobs.lock().leases.info(token)
    }

    /// Whether a token was released and is still remembered as such.
    #[must_use]
    pub fn is_released(&self, token: LeaseToken) -> bool {
        self.core.blobs.lock().leases.spent(token).is_some()
    }

    /// What each namespace holds, and its limit. Limits are not kept by the store: whoever opens it sets them.
    #[must_use]
    pub fn used(&self) -> &Arc<UsedTable> {
        &self.core.records.used
    }

    /// Sets the most bytes that the folder may take, from now on and until it is closed. With less room than that
    /// takes, writers are refused and what can be given back is; below it some room is kept for deleting.
    pub fn set_quota(&self, quota_bytes: Option<u64>) {
        self.core.log.space.set_quota(quota_bytes);
        self.core.log.space.fit_segments(self.core.log.segments.disk_bytes());
    }

    /// What the disk has left, whatever the quota.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the system does not say.
    pub fn disk_free_bytes(&self) -> Result<u64, StoreError> {
        self.core.log.disk.free_bytes().map_err(|e| StoreError::Io {
            what: "measuring free space".into(),
            message: e.to_string().into(),
        })
    }

    /// The most bytes that the folder may take, and how many it takes.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the folder cannot be listed.
    pub fn quota(&self) -> Result<(Option<u64>, u64), StoreError> {
        let space = &self.core.log.space;
        let own = space.own_bytes().map_err(|e| StoreError::Io {
            what: "listing the data folder".into(),
            message: e.to_string().into(),
        })?;
        Ok((space.quota(), own))
    }

    /// Why the store does not serve any more; `None` while it does.
    #[must_use]
    pub fn closed(&self) -> Option<StoreError> {
        self.core.log.check_open().err()
    }

    /// Whether a write would be taken without holding up the calling thread.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.core.log.has_room()
    }

    /// Resolves when there is room in the queue. Asynchronous callers await this before `update` or `put`,
    /// which block the calling thread while the queue is full.
    pub fn room(&self) -> Ticket {
        self.core.log.room_ticket()
    }

    /// Commits all that is queued, on the calling thread. For stores without threads.
    ///
    /// # Errors
    /// [`StoreError::Closed`] if a write or sync failed.
    pub fn pump(&self) -> Result<(), StoreError> {
        self.core.log.pump()?;
        while self.core.log.make_sidecar() {}
        Ok(())
    }

    /// Commits all that is queued and stops. Dropping the store does the same and forgets the outcome.
    ///
    /// # Errors
    /// [`StoreError::Closed`] if not everything could be made durable.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), StoreError> {
        if let Some(threads) = self.threads.take() {
            threads.stop(&self.core.log);
        }
        self.core.log.pump()?;
        self.core.log.rest()
    }
}

impl Drop for LogStore {
    fn drop(&mut self) {
        if self.threads.is_some()
            && let Err(error) = self.stop()
        {
            tracing::warn!(%error, "the store could not be closed cleanly");
        }
        // Nobody will make durable what is not: whoever still waits is told.
        self.core.log.progress.close("the store was closed");
    }
}
