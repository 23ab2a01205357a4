//! What is known of damage, and putting single bytes right where they lie, so that a second wrong byte in the same
//! place is not one too many.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use larder_format::ids::{BlobId, NamespaceId};
use larder_format::record::Key;

use super::scrub::DamagedItem;
use super::segments::{ReadError, Segment};
use super::{Core, LogStore};
use crate::api::{Address, BlobStore, StoreError, Want};
use crate::shard::SHARDS;

impl Core {
    /// Writes the bytes of `right` that differ from `wrong` at `offset` of a segment, and syncs it. Answers whether it
    /// was done: not if the segment was freed meanwhile, nor if the disk does not take it.
    ///
    /// # Errors
    /// [`StoreError::Closed`] if it was written and could not be synced: nothing is known of the disk then.
    pub(super) fn write_back(
        &self,
        segment: &Arc<Segment>,
        offset: u64,
        wrong: &[u8],
        right: &[u8],
    ) -> Result<bool, StoreError> {
        // Nobody frees it, and lets another write over its file, before this is done.
        let _alone = self.compaction.lock();
        let same = self.log.segments.get(segment.number).is_some_and(|held| Arc::ptr_eq(&held, segment));
        let Some(file) = segment.file.get().filter(|_| same) else { return Ok(false) };
        let differing = wrong.iter().zip(right).enumerate().filter(|(_, (wrong, right))| wrong != right);
        for (at, (_, right)) in differing {
            // One byte at a time is written as a whole or not at all.
            if let Err(error) = file.write_at(offset + at as u64, &[IoSlice::new(&[*right])]) {
                tracing::warn!(%error, segment = segment.number, "a damaged byte could not be written back");
                return Ok(false);
            }
        }
        file.sync().map_err(|e| self.log.fail("syncing a repaired segment", &e))?;
        Ok(true)
    }
}

impl LogStore {
    /// How often a single wrong byte was put right, at the start and by reading since.
    #[must_use]
    pub fn repaired(&self) -> u64 {
        self.report.repaired + self.core.log.segments.repaired.load(Ordering::Relaxed)
    }

    /// A blob that was found damaged and was not stored anew since.
    #[must_use]
    pub fn damaged_blob(&self, id: BlobId) -> Option<DamagedItem> {
        let (_, blob) = self.core.blobs.lock().find(&id)?;
        let place = match blob.place {
            Some(_) if !blob.damaged => return None,
            Some(place) => place.describe(),
            None => "nowhere".into(),
        };
        Some(DamagedItem { blob: Some(id), key: None, namespace: None, place, at: blob.place })
    }

    /// A record whose bytes could not be read.
    #[must_use]
    pub fn damaged_record(&self, at: Address<'_>) -> Option<DamagedItem> {
        let shard = self.core.records.lock(at.slot);
        let entry = shard.groups.get(&at.namespace)?.records.get(at.key.as_bytes())?;
        let (namespace, place) = (Some(at.namespace), entry.place.describe());
        let key = Key::new(Bytes::copy_from_slice(at.key.as_bytes())).ok();
        Some(DamagedItem { blob: None, key, namespace, place, at: Some(entry.place) })
    }

    /// Reads a blob again that was known to be damaged before a restart. `None` if it is whole, or nothing needs it.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub fn read_blob_again(&self, id: BlobId) -> Result<Option<DamagedItem>, StoreError> {
        match BlobStore::get(self, id) {
            Err(StoreError::Damaged { .. }) => Ok(self.damaged_blob(id)),
            Err(error @ StoreError::Closed { .. }) => Err(error),
            _ => Ok(None),
        }
    }

    /// As [`LogStore::read_blob_again`], of a record.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub fn read_record_again(
        &self,
        namespace: NamespaceId,
        key: &[u8],
    ) -> Result<Option<DamagedItem>, StoreError> {
        let entry_in = |shard: usize| {
            let shard = self.core.records.shard(shard).lock();
            shard.groups.get(&namespace)?.records.get(key).cloned()
        };
        let Some(entry) = (0..SHARDS).find_map(entry_in) else { return Ok(None) };
        match self.core.load_state(namespace, key, &entry, Want::All) {
            Err(ReadError::Closed(error)) => Err(error),
            Err(_) => {
                let (place, at) = (entry.place.describe(), Some(entry.place));
                let (namespace, key) = (Some(namespace), Key::new(Bytes::copy_from_slice(key)).ok());
                Ok(Some(DamagedItem { blob: None, key, namespace, place, at }))
            }
            Ok(_) => Ok(None),
        }
    }

    /// Whether what was found damaged is so still: not if it was replaced, deleted or stored anew since.
    #[must_use]
    pub fn is_still_damaged(&self, item: &DamagedItem) -> bool {
        if let Some(id) = item.blob {
            return self.damaged_blob(id).is_some_and(|now| now.at == item.at);
        }
        match (&item.key, item.namespace, item.at) {
            (Some(key), Some(namespace), Some(place)) => {
                let holds = |shard| self.core.holds_record_at(shard, namespace, key.as_bytes(), place);
                (0..SHARDS).any(holds)
            }
            (_, _, Some(place)) => self.core.log.segments.get(place.segment).is_some(),
            _ => true,
        }
    }

    /// The records whose leases keep a blob.
    #[must_use]
    pub fn kept_by(&self, id: BlobId) -> Vec<(NamespaceId, Key)> {
        let index = self.core.blobs.lock();
        let Some(handle) = index.handle(&id) else { return Vec::new() };
        let keeps = index.leases.all().filter(|lease| lease.blobs.contains(&handle));
        keeps.map(|lease| (lease.namespace, lease.key.clone())).collect()
    }
}
