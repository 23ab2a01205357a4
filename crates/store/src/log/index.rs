//! The index of records: per shard and namespace an ordered map from key to where its newest frame is. It is
//! in memory only and made anew at every start.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_format::ids::NamespaceId;
use larder_format::limits::OPERATION_DEADLINE_MS_MAX;
use larder_format::record::{Ballot, Ballots, Expiry, RecordMeta, ShadowReason, Version};
use larder_format::slot::Slot;
use parking_lot::{Mutex, MutexGuard};

use super::segments::Place;
use crate::shard::{SHARDS, shard_of};
use crate::used::UsedTable;

/// A key as the index holds it: shared between the map and the list of what is due.
pub(super) type IndexKey = Arc<[u8]>;

/// All records.
pub(super) struct RecordIndex {
    shards: Vec<Mutex<Shard>>,
    pub(super) records: AtomicU64,
    pub(super) payload: AtomicU64,
    pub(super) used: Arc<UsedTable>,
}

/// The records of one slot group.
#[derive(Default)]
pub(super) struct Shard {
    pub(super) groups: HashMap<NamespaceId, Group>,
}

/// The records of one namespace in one slot group.
#[derive(Default)]
pub(super) struct Group {
    pub(super) records: BTreeMap<IndexKey, Entry>,
    /// What a sweep should look at ([`Entry::due_ms`]), soonest first.
    pub(super) due: BTreeSet<(u64, IndexKey)>,
    pub(super) floor: Ballot,
    /// Segment of the frame that says the floor.
    pub(super) floor_segment: u32,
    /// Number of the newest frame that removed something here: whoever sees a key absent has seen this.
    pub(super) removed_sequence: u64,
}

/// What is in memory for one record.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Number of the newest frame about this key.
    pub(super) sequence: u64,
    version: u64,
    expiry: u64,
    /// Where the state is; where the promise is, if nothing was accepted.
    pub(super) place: Place,
    value_len: u32,
    takes: u32,
    /// Older frames of this key may lie in this segment or a later one, and not in an earlier one.
    pub(super) since: u32,
    pub(super) slot: u16,
    flags: u8,
    pub(super) ballots: Option<Box<BallotsAt>>,
}

/// Ballots of a replicated register.
#[derive(Debug, Clone, Copy)]
pub(super) struct BallotsAt {
    pub(super) ballots: Ballots,
    /// The promise frame that says them, if they are newer than the state's frame.
    pub(super) promise: Option<Place>,
    /// Number of the newest frame that says what the state is, or that there is none; 0: no frame does.
    pub(super) state_sequence: u64,
}

const HAS_STATE: u8 = 1;
const HAS_OPERATIONS: u8 = 2;
const SHADOW_SHIFT: u8 = 2;

impl Entry {
    pub(super) fn new(sequence: u64, place: Place, slot: u16, meta: Option<RecordMeta>) -> Self {
        let mut entry = Self {
            sequence,
            version: 0,
            expiry: 0,
            place,
            value_len: 0,
            takes: 0,
            since: place.segment,
            slot,
            flags: 0,
            ballots: None,
        };
        if let Some(meta) = meta {
            let shadow = match meta.shadow {
                None => 0,
                Some(ShadowReason::Deleted) => 1,
                Some(ShadowReason::Expired) => 2,
                Some(ShadowReason::Taken) => 3,
            };
            let operations = if meta.has_operations { HAS_OPERATIONS } else { 0 };
            entry.flags = HAS_STATE | operations | (shadow << SHADOW_SHIFT);
            entry.version = meta.version.to_u64();
            entry.expiry = meta.expiry.to_u64();
            entry.value_len = meta.value_len;
            entry.takes = meta.takes_left.unwrap_or(0);
        }
        entry
    }

    pub(super) fn has_state(&self) -> bool {
        self.flags & HAS_STATE != 0
    }

    /// Number of the newest frame that says what the state is: of what a later one said, if it was lost, this
    /// entry knows nothing.
    pub(super) fn state_sequence(&self) -> u64 {
        self.ballots.as_ref().map_or(self.sequence, |at| at.state_sequence)
    }

    pub(super) fn meta(&self) -> Option<RecordMeta> {
        self.has_state().then(|| RecordMeta {
            version: Version::from_u64(self.version),
            expiry: Expiry::at_ms(self.expiry),
            shadow: match self.flags >> SHADOW_SHIFT {
                1 => Some(ShadowReason::Deleted),
                2 => Some(ShadowReason::Expired),
                3 => Some(ShadowReason::Taken),
                _ => None,
            },
            takes_left: (self.takes > 0).then_some(self.takes),
            has_operations: self.flags & HAS_OPERATIONS != 0,
            value_len: self.value_len,
        })
    }

    pub(super) fn ballots(&self) -> Option<Ballots> {
        self.ballots.as_ref().map(|at| at.ballots)
    }

    pub(super) fn slot(&self) -> Slot {
        Slot::from_number(self.slot).expect("slots are checked before they come here")
    }

    /// When a sweep should look at this record: a value at its end; a shadow that only remembers operations when
    /// the last of them is past its deadline, whatever that was. Shadows of replicated records stay until the
    /// register says.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let meta = self.meta()?;
        match meta.shadow {
            None => meta.expiry.ms(),
            Some(_) if meta.has_operations && self.ballots.is_none() => {
                Some(meta.version.0.ms().saturating_add(OPERATION_DEADLINE_MS_MAX))
            }
            Some(_) => None,
        }
    }

    pub(super) fn value_len(&self) -> u64 {
        self.value_len.into()
    }

    /// Frames that the log must keep for this record.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        let promise = self.ballots.as_ref().and_then(|at| at.promise);
        std::iter::once(self.place).chain(promise)
    }
}

impl Group {
    /// Sets what is known of a key, keeping the list of what is due in step. Answers what was there.
    pub(super) fn set(&mut self, key: &[u8], mut entry: Entry) -> Option<Entry> {
        let new_due = entry.due_ms();
        if let Some(held) = self.records.get_mut(key) {
            entry.since = entry.since.min(held.since);
            let old = std::mem::replace(held, entry);
            if old.due_ms() != new_due {
                let (shared, _) = self.records.get_key_value(key).expect("it was just there");
                let shared = shared.clone();
                if let Some(ms) = old.due_ms() {
                    self.due.remove(&(ms, shared.clone()));
                }
                self.due.extend(new_due.map(|ms| (ms, shared)));
            }
            return Some(old);
        }
        let shared: IndexKey = key.into();
        self.due.extend(new_due.map(|ms| (ms, shared.clone())));
        self.records.insert(shared, entry);
        None
    }

    /// Forgets a key.
    pub(super) fn unset(&mut self, key: &[u8]) -> Option<Entry> {
        let (shared, entry) = self.records.remove_entry(key)?;
        if let Some(ms) = entry.due_ms() {
            self.due.remove(&(ms, shared));
        }
        Some(entry)
    }
}

impl RecordIndex {
    pub(super) fn new(used: Arc<UsedTable>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            records: AtomicU64::new(0),
            payload: AtomicU64::new(0),
            used,
        }
    }

    pub(super) fn lock(&self, slot: Slot) -> MutexGuard<'_, Shard> {
        self.shards[shard_of(slot)].lock()
    }

    pub(super) fn shard(&self, index: usize) -> &Mutex<Shard> {
        &self.shards[index]
    }

    /// The newest version that any record has or had.
    pub(super) fn newest_version(&self) -> Version {
        let mut newest = Version::from_u64(0);
        for shard in &self.shards {
            for group in shard.lock().groups.values() {
                newest = newest.max(Version::from_u64(group.floor.round));
                let versions = group.records.values().map(|entry| Version::from_u64(entry.version));
                newest = newest.max(versions.max().unwrap_or(newest));
            }
        }
        newest
    }

    /// Counts a record that came, changed or went, by the length of its value.
    pub(super) fn count(&self, namespace: NamespaceId, key_len: usize, old: Option<u64>, new: Option<u64>) {
        let size = |value_len: u64| key_len as u64 + value_len;
        self.used.count_record(namespace, old.map(size), new.map(size));
        let (before, after) = (old.map_or(0, size), new.map_or(0, size));
        self.payload.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        let (had, has) = (u64::from(old.is_some()), u64::from(new.is_some()));
        self.records.fetch_add(has.wrapping_sub(had), Ordering::Relaxed);
    }
}
