//! What each namespace holds, and its limit: live counters that every change of a record or lease keeps in step, so
//! that a quota is asked before anything is accepted and never by counting. They are made anew with the index at
//! every start.
//!
//! Charged to a namespace: keys and values of its records as stored (old versions and trash are records too), and the
//! bytes of each blob that at least one of its leases keeps, once. Blobs that nothing keeps are charged to nobody.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_format::ids::NamespaceId;
use parking_lot::RwLock;

use crate::api::{QuotaOf, StoreError};

/// A limit that nobody set.
const NO_LIMIT: u64 = u64::MAX;

/// What one namespace holds.
#[derive(Debug)]
pub struct Used {
    limit: AtomicU64,
    records: AtomicU64,
    record_bytes: AtomicU64,
    blobs: AtomicU64,
    blob_bytes: AtomicU64,
    reserved: AtomicU64,
    /// Bytes that it held when the limit was set, and of them no more than it has held since.
    held_then: AtomicU64,
}

impl Default for Used {
    fn default() -> Self {
        Self {
            limit: NO_LIMIT.into(),
            records: 0.into(),
            record_bytes: 0.into(),
            blobs: 0.into(),
            blob_bytes: 0.into(),
            reserved: 0.into(),
            held_then: 0.into(),
        }
    }
}

/// A look at [`Used`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsedNow {
    /// Records, shadows included.
    pub records: u64,
    /// Bytes of their keys and values.
    pub record_bytes: u64,
    /// Blobs that leases of the namespace keep.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Most bytes it may hold; `None`: what the node has.
    pub limit: Option<u64>,
}

impl UsedNow {
    /// All bytes that are charged.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.record_bytes.saturating_add(self.blob_bytes)
    }
}

/// Bytes set aside for something that is about to be stored, until dropped. Drop it after what it is for was counted:
/// then others never see too much room.
#[derive(Debug)]
#[must_use = "what is set aside is given back when this is dropped"]
pub struct Reserved {
    used: Arc<Used>,
    bytes: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.used.reserved.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// How near the limit somebody may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Not beyond this many bytes before the limit.
    Before(u64),
    /// Up to this many bytes over it, or over what is left of what was held already when it was set.
    Over(u64),
}

impl Used {
    /// Sets bytes aside, if the limit allows.
    ///
    /// # Errors
    /// [`StoreError::Quota`]; then nothing is set aside.
    pub fn reserve(self: &Arc<Self>, bytes: u64, reach: Reach) -> Result<Reserved, StoreError> {
        let before = self.reserved.fetch_add(bytes, Ordering::AcqRel);
        let reserved = Reserved { used: self.clone(), bytes };
        let limit = self.limit.load(Ordering::Acquire);
        let used = self.look().bytes().saturating_add(before);
        let (wanted, allowed) = match reach {
            Reach::Before(spare) => (used.saturating_add(bytes).saturating_add(spare), limit),
            Reach::Over(over) => {
                // What has gone since does not come back.
                let held = self.held_then.fetch_min(used, Ordering::AcqRel).min(used);
                (used.saturating_add(bytes), limit.max(held).saturating_add(over))
            }
        };
        if limit != NO_LIMIT && wanted > allowed {
            return Err(StoreError::Quota { of: QuotaOf::Namespace, used, limit, kept: 0, asked: bytes });
        }
        Ok(reserved)
    }

    /// Sets the limit, in bytes; `None`: none. What is there already stays.
    pub fn set_limit(&self, limit: Option<u64>) {
        self.held_then.store(self.look().bytes(), Ordering::Release);
        self.limit.store(limit.unwrap_or(NO_LIMIT), Ordering::Release);
    }

    /// The counters now.
    #[must_use]
    pub fn look(&self) -> UsedNow {
        let limit = self.limit.load(Ordering::Acquire);
        UsedNow {
            records: self.records.load(Ordering::Acquire),
            record_bytes: self.record_bytes.load(Ordering::Acquire),
            blobs: self.blobs.load(Ordering::Acquire),
            blob_bytes: self.blob_bytes.load(Ordering::Acquire),
            limit: (limit != NO_LIMIT).then_some(limit),
        }
    }

    /// Counts a record that came, changed or went, by its bytes before and after.
    pub(crate) fn count_record(&self, old: Option<u64>, new: Option<u64>) {
        let (before, after) = (old.unwrap_or(0), new.unwrap_or(0));
        self.record_bytes.fetch_add(after.wrapping_sub(before), Ordering::AcqRel);
        let (had, has) = (u64::from(old.is_some()), u64::from(new.is_some()));
        self.records.fetch_add(has.wrapping_sub(had), Ordering::AcqRel);
    }

    /// Counts records and bytes that came or went; both may fall.
    pub(crate) fn count_by(&self, records: i64, bytes: i64) {
        if bytes != 0 {
            self.record_bytes.fetch_add(bytes.cast_unsigned(), Ordering::AcqRel);
        }
        if records != 0 {
            self.records.fetch_add(records.cast_unsigned(), Ordering::AcqRel);
        }
    }

    /// Counts a blob that came or went, or (neither) whose bytes were found.
    pub(crate) fn count_blob(&self, had: Option<u64>, has: Option<u64>) {
        let (before, after) = (had.unwrap_or(0), has.unwrap_or(0));
        self.blob_bytes.fetch_add(after.wrapping_sub(before), Ordering::AcqRel);
        let (had, has) = (u64::from(had.is_some()), u64::from(has.is_some()));
        self.blobs.fetch_add(has.wrapping_sub(had), Ordering::AcqRel);
    }
}

/// All namespaces of a node that hold something or have a limit.
#[derive(Debug, Default)]
pub struct UsedTable {
    spaces: RwLock<HashMap<NamespaceId, Arc<Used>>>,
}

impl UsedTable {
    /// The counters of a namespace.
    #[must_use]
    pub fn of(&self, namespace: NamespaceId) -> Arc<Used> {
        if let Some(used) = self.spaces.read().get(&namespace) {
            return used.clone();
        }
        self.spaces.write().entry(namespace).or_default().clone()
    }

    /// All of them, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<(NamespaceId, UsedNow)> {
        self.spaces.read().iter().map(|(namespace, used)| (*namespace, used.look())).collect()
    }

    /// As [`Used::count_record`], of a namespace.
    pub(crate) fn count_record(&self, namespace: NamespaceId, old: Option<u64>, new: Option<u64>) {
        if let Some(used) = self.spaces.read().get(&namespace) {
            return used.count_record(old, new);
        }
        self.of(namespace).count_record(old, new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_who_fit_alone_do_not_fit_together() {
        let table = UsedTable::default();
        let used = table.of(NamespaceId(7));
        used.set_limit(Some(100));
        table.count_record(NamespaceId(7), None, Some(30));
        let first = used.reserve(60, Reach::Before(0)).unwrap();
        let refused = used.reserve(60, Reach::Before(0)).unwrap_err();
        assert!(matches!(refused, StoreError::Quota { used: 90, limit: 100, asked: 60, .. }), "{refused:?}");
        drop(first);
        let _second = used.reserve(60, Reach::Before(10)).unwrap();
        assert!(used.reserve(1, Reach::Before(10)).is_err());
        let _third = used.reserve(20, Reach::Over(10)).unwrap();
        used.set_limit(None);
        assert!(used.reserve(u64::MAX / 2, Reach::Before(0)).is_ok());
    }

    #[test]
    fn what_may_go_over_a_limit_may_also_where_more_was_held_when_it_was_set() {
        let table = UsedTable::default();
        let used = table.of(NamespaceId(7));
        table.count_record(NamespaceId(7), None, Some(500));
        used.set_limit(Some(100));
        assert!(used.reserve(1, Reach::Before(0)).is_err());
        let over = used.reserve(10, Reach::Over(10)).unwrap();
        assert!(used.reserve(1, Reach::Over(10)).is_err(), "but not without end");
        drop(over);
        table.count_record(NamespaceId(7), Some(500), Some(120));
        drop(used.reserve(10, Reach::Over(10)).unwrap());
        table.count_record(NamespaceId(7), Some(120), Some(125));
        assert!(used.reserve(10, Reach::Over(10)).is_err(), "nor up to what was deleted");
    }
}
