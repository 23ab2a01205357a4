//! Disk space: how much is left, when writers are told that the disk is full, and the reserve that keeps
//! deleting and compacting possible then.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::LogConfig;
use crate::api::{QuotaOf, StoreError};
use crate::disk::{Disk, DiskFile, OpenMode, is_full};

/// Name of the file whose blocks are the reserve.
pub(super) const RESERVE_NAME: &str = "reserve";

/// How much of the reserve is written at once where that is the way to take it, in bytes.
const FILL_LEN: usize = 64 << 10;

/// The last measurement of free space is trusted until this much was admitted since, in bytes.
const MEASURE_EVERY_BYTES: u64 = 8 << 20;

/// Segments are this part of what the disk could hold for us, so that emptying one takes little room.
const SEGMENTS_PER_DISK: u64 = 32;

/// Segments are never made shorter than this, in bytes: the longest frame (a record of 16 MiB) fits.
const SEGMENT_LEN_MIN: u64 = 20 << 20;

/// Below a quota this share of it is kept for deleting and compacting, within [`QUOTA_MARGIN_MIN`] and the margin.
const QUOTA_MARGIN_PART: u64 = 8;

/// Least that is kept below a quota, in bytes: more than the queue may hold that is not written yet.
const QUOTA_MARGIN_MIN: u64 = 40 << 20;

/// A quota that nobody set.
const NO_QUOTA: u64 = u64::MAX;

/// For whom something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Somebody who could as well be refused.
    Writer,
    /// Somebody who ends what was begun, or deletes: the margin is for them.
    Ending,
}

/// What the disk has left.
pub(super) struct Space {
    disk: Arc<dyn Disk>,
    margin: u64,
    /// Most bytes that the folder may take.
    quota: AtomicU64,
    /// Bytes that it took when last measured.
    own: AtomicU64,
    reserve: u64,
    segment_len_max: u64,
    segment_len: AtomicU64,
    free: AtomicU64,
    admitted: AtomicU64,
    has_reserve: AtomicBool,
}

/// Takes space for the first `len` bytes of a file. Where the file system cannot do that without writing,
/// they are written.
fn fill(file: &dyn DiskFile, len: u64) -> io::Result<()> {
    match file.allocate(len) {
        Err(e) if e.kind() == io::ErrorKind::Unsupported => {}
        other => return other,
    }
    let zeros = [0; FILL_LEN];
    let mut at = 0;
    while at < len {
        let part = usize::try_from(len - at).map_or(FILL_LEN, |left| left.min(FILL_LEN));
        file.write_at(at, &[IoSlice::new(&zeros[..part])])?;
        at += part as u64;
    }
    file.sync()
}

impl Space {
    pub(super) fn new(disk: Arc<dyn Disk>, config: &LogConfig) -> io::Result<Self> {
        let free = disk.free_bytes()?;
        Ok(Self {
            disk,
            margin: config.margin_bytes,
            quota: NO_QUOTA.into(),
            own: AtomicU64::new(0),
            reserve: config.reserve_bytes,
            segment_len_max: config.segment_len,
            segment_len: AtomicU64::new(config.segment_len),
            free: AtomicU64::new(free),
            admitted: AtomicU64::new(0),
            has_reserve: AtomicBool::new(false),
        })
    }

    /// How long segments are to be, in bytes.
    pub(super) fn segment_len(&self) -> u64 {
        self.segment_len.load(Ordering::Relaxed)
    }

    /// Chooses how long segments are to be. On a small or nearly full disk they are shorter. `own`: bytes
    /// that the store takes itself.
    pub(super) fn fit_segments(&self, own: u64) {
        let ours = self.free.load(Ordering::Relaxed).saturating_add(own);
        let len = (ours / SEGMENTS_PER_DISK).max(SEGMENT_LEN_MIN).min(self.segment_len_max);
        self.segment_len.store(len, Ordering::Relaxed);
    }

    /// Whether space is so short that what can be given back is given back at some cost: writers are refused
    /// soon, or already.
    pub(super) fn is_short(&self) -> bool {
        self.free() < 2 * self.margin() + 2 * self.segment_len()
    }

    /// Sets how much the folder may take, in bytes.
    pub(super) fn set_quota(&self, quota: Option<u64>) {
        self.quota.store(quota.unwrap_or(NO_QUOTA), Ordering::Relaxed);
        self.measure();
    }

    /// How much the folder may take, in bytes.
    pub(super) fn quota(&self) -> Option<u64> {
        Some(self.quota.load(Ordering::Relaxed)).filter(|quota| *quota != NO_QUOTA)
    }

    /// Bytes of all files in the folder.
    pub(super) fn own_bytes(&self) -> io::Result<u64> {
        Ok(self.disk.list()?.into_iter().map(|(_, len)| len).sum())
    }

    /// What writers may not have.
    fn margin(&self) -> u64 {
        match self.quota() {
            Some(quota) => self.margin.min((quota / QUOTA_MARGIN_PART).max(QUOTA_MARGIN_MIN)),
            None => self.margin,
        }
    }

    /// Room for copies that compaction makes before it frees anything, in bytes. It may go into the margin,
    /// but leaves some of it to those who delete.
    pub(super) fn for_copies(&self) -> u64 {
        self.free().saturating_sub(self.margin() / 4)
    }

    /// What writers are told while not even the reserve is left.
    pub(super) fn nothing_left(&self) -> StoreError {
        StoreError::DiskFull { free: 0, kept: 0 }
    }

    /// May `len` more bytes be written?
    pub(super) fn admit(&self, len: u64, admission: Admission) -> Result<(), StoreError> {
        let margin = match admission {
            Admission::Writer => self.margin(),
            // Some of it is left to those who delete for good, and to compaction.
            Admission::Ending => self.margin() / 2,
        };
        let mut admitted = self.count(len);
        let near = self.free.load(Ordering::Relaxed) < admitted + margin + MEASURE_EVERY_BYTES;
        if admitted >= MEASURE_EVERY_BYTES || near {
            // Measuring forgets what was counted, this too.
            self.measure();
            admitted = self.count(len);
        }
        let free = self.free.load(Ordering::Relaxed);
        if free < margin + admitted {
            // Another thread may have measured in between, and forgotten it: never below zero.
            let less = |counted: u64| Some(counted.saturating_sub(len));
            let _ = self.admitted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            return Err(self.refusal(len, admitted, margin));
        }
        Ok(())
    }

    /// Why `asked` bytes are refused: the disk, or the quota if that is nearer.
    fn refusal(&self, asked: u64, admitted: u64, kept: u64) -> StoreError {
        let own = self.own.load(Ordering::Relaxed);
        let free = self.free.load(Ordering::Relaxed);
        let before = admitted.saturating_sub(asked);
        match self.quota() {
            Some(limit) if free == limit.saturating_sub(own) => {
                StoreError::Quota { of: QuotaOf::Node, used: own + before, limit, kept, asked }
            }
            _ => StoreError::DiskFull { free: free.saturating_sub(before), kept },
        }
    }

    /// Counts bytes as admitted; answers how many are now.
    fn count(&self, len: u64) -> u64 {
        self.admitted.fetch_add(len, Ordering::Relaxed).saturating_add(len)
    }

    /// Asks the system anew. What was admitted but not written yet is forgotten here; the queue bounds it
    /// and the margin is larger than the queue.
    pub(super) fn measure(&self) {
        if let Ok(mut free) = self.disk.free_bytes() {
            if let Some(quota) = self.quota() {
                let Ok(own) = self.own_bytes() else { return };
                self.own.store(own, Ordering::Relaxed);
                free = free.min(quota.saturating_sub(own));
            }
            self.free.store(free, Ordering::Relaxed);
            self.admitted.store(0, Ordering::Relaxed);
        }
    }

    /// Bytes left when last measured.
    pub(super) fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed).saturating_sub(self.admitted.load(Ordering::Relaxed))
    }

    /// Takes the reserve if there is room for it. A disk too full for it is no reason not to open: deleting
    /// may be just what the operator wants.
    pub(super) fn take_reserve(&self) -> io::Result<()> {
        if self.reserve == 0 || self.has_reserve.load(Ordering::Relaxed) {
            return Ok(());
        }
        let held = self.disk.list()?.into_iter().find(|(name, _)| name == RESERVE_NAME);
        // A shorter one is what a crash or a failed start left of it.
        if held.as_ref().is_some_and(|(_, len)| *len >= self.reserve) {
            self.has_reserve.store(true, Ordering::Relaxed);
            return Ok(());
        }
        if self.disk.free_bytes()? < self.reserve.saturating_add(self.margin()) {
            return Ok(());
        }
        let mode = if held.is_some() { OpenMode::ReadWrite } else { OpenMode::CreateNew };
        let file = self.disk.open(RESERVE_NAME, mode)?;
        match fill(file.as_ref(), self.reserve) {
            Err(e) if is_full(&e) => self.disk.remove(RESERVE_NAME),
            Ok(()) => {
                self.has_reserve.store(true, Ordering::Relaxed);
                Ok(())
            }
            other => other,
        }
    }

    /// Takes the reserve again once it was given up and there is room for it and as much again.
    pub(super) fn take_reserve_again(&self) -> io::Result<()> {
        let roomy = self.free() >= (2 * self.reserve).saturating_add(self.margin());
        if roomy { self.take_reserve() } else { Ok(()) }
    }

    /// Gives the reserve's blocks back to the file system because a write found none. Answers whether there
    /// was one.
    pub(super) fn release_reserve(&self) -> bool {
        let released = self.disk.remove(RESERVE_NAME).is_ok();
        self.has_reserve.store(false, Ordering::Relaxed);
        self.measure();
        released
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::SimDisk;

    #[test]
    fn who_is_refused_is_not_counted() {
        let disk = Arc::new(SimDisk::new());
        disk.set_capacity(Some(100));
        let config = LogConfig { margin_bytes: 1_000, reserve_bytes: 0, ..LogConfig::default() };
        let space = Space::new(disk.clone(), &config).unwrap();
        for len in [5_000, 10, 20_000_000, 10] {
            assert!(matches!(space.admit(len, Admission::Writer), Err(StoreError::DiskFull { .. })), "{len}");
            assert_eq!(space.admitted.load(Ordering::Relaxed), 0, "{len}");
        }
        disk.set_capacity(Some(1 << 30));
        for len in [5_000, 10] {
            space.admit(len, Admission::Writer).unwrap();
        }
        assert!(space.admit(1 << 30, Admission::Writer).is_err());
    }

    #[test]
    fn a_quota_is_a_smaller_disk_and_says_so() {
        let disk = Arc::new(SimDisk::new());
        disk.set_capacity(Some(1 << 40));
        let config = LogConfig { reserve_bytes: 0, ..LogConfig::default() };
        let space = Space::new(disk.clone(), &config).unwrap();
        let file = disk.open("a", OpenMode::CreateNew).unwrap();
        file.set_len(100 << 20).unwrap();
        space.set_quota(Some(150 << 20));
        space.admit(9 << 20, Admission::Writer).unwrap();
        // Written, so that the next measurement finds it.
        file.set_len(109 << 20).unwrap();
        let refused = space.admit(2 << 20, Admission::Writer).unwrap_err();
        let limit = 150 << 20;
        assert!(
            matches!(refused, StoreError::Quota { of: QuotaOf::Node, limit: l, asked, .. } if l == limit && asked == 2 << 20),
            "{refused:?}"
        );
        space.admit(2 << 20, Admission::Ending).unwrap();
        space.set_quota(None);
        space.admit(2 << 20, Admission::Writer).unwrap();
    }
}
