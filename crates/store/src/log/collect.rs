//! Collecting blobs that no lease keeps.

use super::LogStore;
use crate::api::StoreError;

/// What one step of collecting did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CollectReport {
    /// Blobs forgotten.
    pub blobs: u64,
    /// Their bytes, which compaction will give back.
    pub bytes: u64,
    /// Whether there are more.
    pub more: bool,
}

impl LogStore {
    /// Forgets up to `limit` blobs that no lease keeps. Their bytes come back by compaction. Nothing is
    /// written: after a restart a blob whose segment is still there is an orphan again.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] while frames are lost and not accepted: a lost one may be a lease.
    /// [`StoreError::Closed`].
    pub fn collect(&self, limit: usize) -> Result<CollectReport, StoreError> {
        let core = &*self.core;
        core.log.check_open()?;
        core.damage.check(0)?;
        let mut report = CollectReport::default();
        let mut index = core.blobs.lock();
        for _ in 0..limit {
            let Some(handle) = index.orphans.pop_front() else { return Ok(report) };
            // Listed when it lost its last lease; it may have got another since, or be gone.
            let Some(blob) = index.forget(handle) else { continue };
            if let Some(place) = blob.place {
                let len = place.frame_len();
                core.log.segments.count_live(place.segment, -i64::try_from(len).unwrap_or(0));
                report.bytes += u64::from(place.value_len);
            }
            report.blobs += 1;
        }
        report.more = !index.orphans.is_empty();
        Ok(report)
    }
}
