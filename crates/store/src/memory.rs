//! Records that live in memory: 64 shards of hash tables under short locks, a cap with overhead counted,
//! scans in hash order with a stateless cursor, and an exact list of what is due.
//!
//! Nothing survives a restart, so every ticket is resolved already. Whether a record's time is up is for the
//! caller to judge on each read; [`RecordStore::due`] only says what may be swept.

use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::mem::{size_of, size_of_val};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;
use larder_format::clock::Hlc;
use larder_format::ids::NamespaceId;
use larder_format::limits::{SCAN_PAGE_BYTES_MAX, SCAN_PAGE_RECORDS_MAX};
use larder_format::record::{
    Ballot, Ballots, Content, Key, OperationRecord, OperationResult, RecordMeta, RecordSlot, RecordState,
};
use larder_format::slot::Slot;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::api::{
    Address, Current, Next, RecordStore, RecordUsage, ScanPage, ScanRequest, StoreError, Ticket, Want,
};
use crate::feed::{Change, Feed};
use crate::shard::SHARDS;
use crate::used::UsedTable;

mod locked;
mod plain;
mod watched;

pub use locked::{Locked, Look, Seen, Swept};
use watched::Watched;

/// Bytes counted for each record beside its key and value: its place in a table that is on average three
/// quarters full, two allocations with their headers, and its entry in the list of what is due.
const RECORD_OVERHEAD: u64 = (size_of::<Held>() * 4 / 3 + 2 * 16 + 48) as u64;

/// Longest value that is copied out of its request's buffer, in bytes. A longer one fills most of its buffer.
const DETACH_LEN_MAX: usize = 256 * 1024;

/// Length of a scan cursor: shard, hash.
const CURSOR_LEN: usize = 9;

/// How a memory table is set up.
#[derive(Debug, Clone, Copy)]
pub struct MemoryConfig {
    /// Most bytes it may hold, overhead counted; 0: no cap.
    pub cap_bytes: u64,
    /// Random, so that nobody outside can choose keys whose hashes collide.
    pub hash_seed: u64,
}

/// Records of class memory.
pub struct MemoryTable {
    shards: Vec<Mutex<Shard>>,
    config: MemoryConfig,
    time: AtomicU64,
    records: AtomicU64,
    payload: AtomicU64,
    accounted: AtomicU64,
    used: Arc<UsedTable>,
    feed: Arc<Feed>,
}

#[derive(Default)]
struct Shard {
    table: HashTable<Held>,
    floors: HashMap<NamespaceId, Ballot>,
    due: BTreeSet<(u64, u64)>,
    watched: Watched,
}

struct Held {
    hash: u64,
    namespace: NamespaceId,
    slot: Slot,
    key: Key,
    record: RecordSlot,
}

impl Held {
    fn payload(&self) -> u64 {
        (self.key.as_bytes().len() + value_len(&self.record)) as u64
    }

    /// What it counts for against the cap.
    fn accounted(&self) -> u64 {
        self.payload() + extra_len(&self.record) + RECORD_OVERHEAD
    }
}

fn value_len(record: &RecordSlot) -> usize {
    record.state.as_ref().map_or(0, RecordState::value_len)
}

/// When a sweep should look at this record: a value at its end, a shadow when no operation it remembers can be
/// asked about any more. Shadows of replicated records stay until the register says.
fn due_ms(record: &RecordSlot) -> Option<u64> {
    let state = record.state.as_ref()?;
    match state.content {
        Content::Live(_) => state.expiry.ms(),
        Content::Shadow(_) if record.ballots.is_none() => {
            state.operations.iter().map(|operation| operation.deadline_ms).max()
        }
        Content::Shadow(_) => None,
    }
}

/// Bytes held for a record beside its key, value and [`RECORD_OVERHEAD`]: leases, and operations with the bytes
/// they handed out (counted even where they are shared with the value).
fn extra_len(record: &RecordSlot) -> u64 {
    let Some(state) = &record.state else { return 0 };
    let tokens = match &state.content {
        Content::Live(live) => size_of_val(live.tokens.as_slice()),
        Content::Shadow(_) => 0,
    };
    let handed_out = |operation: &OperationRecord| match &operation.result {
        OperationResult::Taken { head, body, .. } => head.len() + body.len(),
        _ => 0,
    };
    let operations: usize = state.operations.iter().map(handed_out).sum();
    (tokens + size_of_val(state.operations.as_slice()) + operations) as u64
}

/// Replaces small slices of a request's buffer by copies, so that what is kept for long does not hold on to the
/// whole buffer. Slices that `before` holds already are left as they are.
fn detach(record: &mut RecordSlot, before: Option<&RecordSlot>) {
    let Some(Content::Live(live)) = record.state.as_mut().map(|state| &mut state.content) else { return };
    let held = match before.and_then(|slot| slot.state.as_ref()).map(|state| &state.content) {
        Some(Content::Live(held)) => [held.head.as_ptr(), held.body.as_ptr()],
        _ => [std::ptr::null(); 2],
    };
    for bytes in [&mut live.head, &mut live.body] {
        if bytes.len() <= DETACH_LEN_MAX && !held.contains(&bytes.as_ptr()) {
            *bytes = Bytes::copy_from_slice(bytes);
        }
    }
}

struct View<'a> {
    record: Option<&'a RecordSlot>,
    floor: Ballot,
}

impl Current for View<'_> {
    fn meta(&self) -> Option<RecordMeta> {
        Some(self.record?.state.as_ref()?.meta())
    }

    fn ballots(&self) -> Option<Ballots> {
        self.record?.ballots
    }

    fn floor(&self) -> Ballot {
        self.floor
    }

    fn load(&mut self) -> Result<Option<RecordState>, StoreError> {
        Ok(self.record.and_then(|record| record.state.clone()))
    }
}

impl MemoryTable {
    /// An empty table.
    #[must_use]
    pub fn new(config: MemoryConfig) -> Self {
        Self::counting(config, Arc::default())
    }

    /// An empty table that counts what each namespace holds in `used`.
    #[must_use]
    pub fn counting(config: MemoryConfig, used: Arc<UsedTable>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            config,
            time: AtomicU64::new(0),
            records: AtomicU64::new(0),
            payload: AtomicU64::new(0),
            accounted: AtomicU64::new(0),
            used,
            // A life must not be that of another process; the seed is random for each.
            feed: Arc::new(Feed::new(xxh3_64_with_seed(b"feed", config.hash_seed), 0, false)),
        }
    }

    /// Which records changed. Off until somebody turns it on.
    #[must_use]
    pub fn feed(&self) -> Arc<Feed> {
        self.feed.clone()
    }

    fn hash(&self, namespace: NamespaceId, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.config.hash_seed ^ namespace.0)
    }

    /// Which shard holds a key, and the key's hash.
    fn shard_at(&self, namespace: NamespaceId, key: &[u8]) -> (usize, u64) {
        let hash = self.hash(namespace, key);
        (shard_of_hash(hash), hash)
    }

    /// Counts a change of size, or refuses it.
    fn charge(&self, old: u64, new: u64) -> Result<(), StoreError> {
        let cap = self.config.cap_bytes;
        let used = self.accounted.fetch_add(new.wrapping_sub(old), Ordering::Relaxed);
        let after = used.wrapping_add(new.wrapping_sub(old));
        if cap > 0 && new > old && after > cap {
            self.accounted.fetch_sub(new.wrapping_sub(old), Ordering::Relaxed);
            return Err(StoreError::Full { what: "memory cap", used, max: cap });
        }
        Ok(())
    }

    fn store(
        &self,
        shard: &mut Shard,
        at: Address<'_>,
        hash: u64,
        mut record: RecordSlot,
    ) -> Result<(), StoreError> {
        let Shard { table, due, .. } = shard;
        let same = |held: &Held| held.hash == hash && held.namespace == at.namespace && held.key == *at.key;
        let new_due = due_ms(&record);
        let (old_due, old, new) = match table.entry(hash, same, |held| held.hash) {
            TableEntry::Occupied(mut place) => {
                let held = place.get_mut();
                detach(&mut record, Some(&held.record));
                let old = held.payload();
                let new = (held.key.as_bytes().len() + value_len(&record)) as u64;
                self.charge(old + extra_len(&held.record), new + extra_len(&record))?;
                let old_due = due_ms(&held.record);
                held.record = record;
                (old_due, Some(old), new)
            }
            TableEntry::Vacant(place) => {
                detach(&mut record, None);
                // The caller's key may share a whole request's buffer; what is kept for long is a copy.
                let bytes = Bytes::copy_from_slice(at.key.as_bytes());
                let key = Key::new(bytes).expect("a copy of a key is as long as the key");
                let held = Held { hash, namespace: at.namespace, slot: at.slot, key, record };
                let new = held.payload();
                self.charge(0, held.accounted())?;
                place.insert(held);
                self.records.fetch_add(1, Ordering::Relaxed);
                (None, None, new)
            }
        };
        self.payload.fetch_add(new.wrapping_sub(old.unwrap_or(0)), Ordering::Relaxed);
        self.used.count_record(at.namespace, old, Some(new));
        if old_due != new_due {
            // Another key with the same hash may be due at the same moment; then the sweep finds both.
            let shared = |ms| table.iter_hash(hash).any(|h| h.hash == hash && due_ms(&h.record) == Some(ms));
            if let Some(ms) = old_due
                && !shared(ms)
            {
                due.remove(&(ms, hash));
            }
            due.extend(new_due.map(|ms| (ms, hash)));
        }
        Ok(())
    }

    fn remove(&self, shard: &mut Shard, at: Address<'_>, hash: u64) {
        let same = |held: &Held| held.hash == hash && held.namespace == at.namespace && held.key == *at.key;
        let Ok(place) = shard.table.find_entry(hash, same) else { return };
        let held = place.remove().0;
        if let Some(ms) = due_ms(&held.record) {
            let mut others = shard.table.iter_hash(hash);
            if !others.any(|h| h.hash == hash && due_ms(&h.record) == Some(ms)) {
                shard.due.remove(&(ms, hash));
            }
        }
        self.records.fetch_sub(1, Ordering::Relaxed);
        self.payload.fetch_sub(held.payload(), Ordering::Relaxed);
        self.used.count_record(at.namespace, Some(held.payload()), None);
        self.accounted.fetch_sub(held.accounted(), Ordering::Relaxed);
    }

    /// The `limit` records of one shard with the lowest hashes from `start` on that match, in hash order, and
    /// whether there are more. Records that share a hash are never split between pages.
    fn lowest(
        &self,
        shard: usize,
        start: u64,
        limit: usize,
        matches: &dyn Fn(&Held) -> bool,
    ) -> (Vec<(u64, Key, RecordState)>, Option<u64>) {
        let shard = self.shards[shard].lock();
        let mut heap = BinaryHeap::with_capacity(limit + 2);
        let wanted = |held: &&Held| held.hash >= start && held.record.state.is_some() && matches(held);
        for held in shard.table.iter().filter(wanted) {
            heap.push(held.hash);
            if heap.len() > limit + 1 {
                heap.pop();
            }
        }
        let mut hashes = heap.into_sorted_vec();
        let more = (hashes.len() > limit).then(|| hashes[limit]);
        hashes.truncate(limit);
        hashes.dedup();
        let mut out = Vec::with_capacity(hashes.len());
        for hash in hashes {
            let same = shard.table.iter_hash(hash).filter(|held| held.hash == hash);
            for held in same.filter(wanted) {
                let state = held.record.state.clone().expect("only records with a state are wanted");
                out.push((hash, held.key.clone(), state));
            }
        }
        // If the next page would begin with a hash that is in this one, it is here in full already.
        let last = out.last().map(|(hash, ..)| *hash);
        (out, more.map(|next| if Some(next) == last { next.saturating_add(1) } else { next }))
    }
}

/// The shard of a hash: the top bits, so that the order of hashes is the order of shards.
fn shard_of_hash(hash: u64) -> usize {
    usize::try_from(hash >> (64 - SHARDS.trailing_zeros())).expect("there are few shards")
}

fn read_cursor(cursor: &[u8]) -> Result<(usize, u64), StoreError> {
    if cursor.is_empty() {
        return Ok((0, 0));
    }
    let bad = || StoreError::Invalid { what: "scan cursor is not of this store".into() };
    let bytes: &[u8; CURSOR_LEN] = cursor.try_into().map_err(|_| bad())?;
    let mut hash = [0; 8];
    hash.copy_from_slice(&bytes[1..]);
    if usize::from(bytes[0]) >= SHARDS {
        return Err(bad());
    }
    Ok((bytes[0].into(), u64::from_be_bytes(hash)))
}

fn write_cursor(shard: usize, hash: u64) -> Bytes {
    let mut out = Vec::with_capacity(CURSOR_LEN);
    out.push(u8::try_from(shard).expect("there are fewer than 256 shards"));
    out.extend_from_slice(&hash.to_be_bytes());
    out.into()
}

fn without_body(mut state: RecordState) -> RecordState {
    if let Content::Live(live) = &mut state.content {
        live.body = Bytes::new();
    }
    state
}

impl RecordStore for MemoryTable {
    fn read(&self, at: Address<'_>, want: Want) -> Result<(Option<RecordState>, Ticket), StoreError> {
        let hash = self.hash(at.namespace, at.key.as_bytes());
        let shard = self.shards[shard_of_hash(hash)].lock();
        let held =
            shard.table.find(hash, |h| h.hash == hash && h.namespace == at.namespace && h.key == *at.key);
        let state = held.and_then(|held| held.record.state.clone());
        drop(shard);
        Ok((if want == Want::Head { state.map(without_body) } else { state }, Ticket::done()))
    }

    fn update(
        &self,
        at: Address<'_>,
        decide: &mut dyn FnMut(&mut dyn Current) -> Result<Next, StoreError>,
    ) -> Result<Ticket, StoreError> {
        let hash = self.hash(at.namespace, at.key.as_bytes());
        let mut shard = self.shards[shard_of_hash(hash)].lock();
        let shard = &mut *shard;
        let same = |held: &Held| held.hash == hash && held.namespace == at.namespace && held.key == *at.key;
        let held = shard.table.find(hash, same);
        let floor = shard.floors.get(&at.namespace).copied().unwrap_or_default();
        let next = decide(&mut View { record: held.map(|held| &held.record), floor })?;
        let change = if self.feed.is_on() {
            let before = held.and_then(|held| held.record.state.as_ref()).map(RecordState::meta);
            Change::of(before, &next)
        } else {
            None
        };
        let changes = !matches!(next, Next::Keep | Next::Promise(_));
        match next {
            Next::Keep => {}
            Next::Store(record) | Next::StoreInto(record) => self.store(shard, at, hash, record)?,
            Next::Promise(ballots) => {
                if let Some(held) = shard.table.find_mut(hash, same) {
                    held.record.ballots = Some(ballots);
                } else {
                    self.store(shard, at, hash, RecordSlot { ballots: Some(ballots), state: None })?;
                }
            }
            Next::Remove { floor: raised } => {
                self.remove(shard, at, hash);
                shard.floors.insert(at.namespace, floor.max(raised));
            }
        }
        if changes {
            shard.watched.changed(hash);
        }
        // Still under the record's lock, so that a key's events come in their order.
        if let Some(change) = change {
            self.feed.push_next(at.namespace, at.key.as_bytes(), change);
        }
        Ok(Ticket::done())
    }

    fn scan(&self, namespace: NamespaceId, request: &ScanRequest) -> Result<ScanPage, StoreError> {
        let (mut shard, mut start) = read_cursor(&request.cursor)?;
        let limit = request.limit.clamp(1, SCAN_PAGE_RECORDS_MAX);
        let matches = |held: &Held| {
            let key = held.key.as_bytes();
            held.namespace == namespace
                && key.starts_with(&request.prefix)
                && key.len() <= request.key_len_max
        };
        let mut page =
            ScanPage { records: Vec::new(), damaged: Vec::new(), next: None, durable: Ticket::done() };
        let mut bytes = 0;
        while shard < SHARDS {
            if page.records.len() >= limit {
                page.next = Some(write_cursor(shard, start));
                return Ok(page);
            }
            let (found, more) = self.lowest(shard, start, limit - page.records.len(), &matches);
            let mut last = None;
            for (hash, key, state) in found {
                let state = if request.want == Want::Head { without_body(state) } else { state };
                let len = key.as_bytes().len() + state.value_len();
                if bytes + len > SCAN_PAGE_BYTES_MAX && !page.records.is_empty() && last != Some(hash) {
                    page.next = Some(write_cursor(shard, hash));
                    return Ok(page);
                }
                bytes += len;
                last = Some(hash);
                page.records.push((key, state));
            }
            (shard, start) = more.map_or((shard + 1, 0), |next| (shard, next));
        }
        Ok(page)
    }

    fn due(&self, high: Hlc, limit: usize) -> Vec<(NamespaceId, Slot, Key)> {
        let mut soonest = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            for (ms, hash) in shard.due.range(..=(high.ms(), u64::MAX)).take(limit) {
                for held in shard.table.iter_hash(*hash) {
                    if held.hash == *hash && due_ms(&held.record) == Some(*ms) {
                        soonest.push((*ms, held.namespace, held.slot, held.key.clone()));
                    }
                }
            }
        }
        soonest.sort_by_key(|(ms, ..)| *ms);
        soonest.truncate(limit);
        soonest.into_iter().map(|(_, namespace, slot, key)| (namespace, slot, key)).collect()
    }

    fn raise_time(&self, high: Hlc) -> Result<Ticket, StoreError> {
        self.time.fetch_max(high.to_u64(), Ordering::AcqRel);
        Ok(Ticket::done())
    }

    fn time(&self) -> Hlc {
        Hlc::from_u64(self.time.load(Ordering::Acquire))
    }

    fn usage(&self) -> RecordUsage {
        RecordUsage {
            records: self.records.load(Ordering::Relaxed),
            payload_bytes: self.payload.load(Ordering::Relaxed),
            accounted_bytes: self.accounted.load(Ordering::Relaxed),
            cap_bytes: self.config.cap_bytes,
        }
    }
}
