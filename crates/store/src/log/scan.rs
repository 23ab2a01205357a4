//! Scans of the log store: in key order over all shards.
//!
//! Each shard is asked for a few keys at a time, and the shards' answers are merged. A prefix that lies in
//! one folder, hence one shard, costs the others one look each.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;
use larder_format::ids::NamespaceId;
use larder_format::limits::{SCAN_PAGE_BYTES_MAX, SCAN_PAGE_RECORDS_MAX};
use larder_format::record::Key;

use super::index::{Entry, IndexKey};
use super::{Core, LogStore};
use crate::api::{Address, RecordStore, ScanPage, ScanRequest, StoreError, Ticket, Want};
use crate::shard::SHARDS;

/// Keys asked of a shard first; each further time twice as many.
const FIRST_FETCH: usize = 8;

/// One shard's part of a scan.
struct Source {
    fetched: VecDeque<(IndexKey, Entry)>,
    fetch: usize,
    ended: bool,
}

/// The merge of all shards' parts, in key order.
struct Merge<'a> {
    core: &'a Core,
    namespace: NamespaceId,
    request: &'a ScanRequest,
    sources: Vec<Source>,
    heads: BinaryHeap<Reverse<(IndexKey, usize)>>,
    /// Number of the newest removal seen: what is absent may be absent because of it.
    seen: u64,
}

impl<'a> Merge<'a> {
    fn new(core: &'a Core, namespace: NamespaceId, request: &'a ScanRequest) -> Self {
        let fresh = || Source { fetched: VecDeque::new(), fetch: FIRST_FETCH, ended: false };
        let sources = (0..SHARDS).map(|_| fresh()).collect();
        let mut merge = Self { core, namespace, request, sources, heads: BinaryHeap::new(), seen: 0 };
        for shard in 0..SHARDS {
            let start = if request.cursor.is_empty() {
                Bound::Included(&request.prefix[..])
            } else {
                Bound::Excluded(&request.cursor[..])
            };
            merge.fetch(shard, start);
        }
        merge
    }

    fn fetch(&mut self, shard: usize, start: Bound<&[u8]>) {
        let source = &mut self.sources[shard];
        let guard = self.core.records.shard(shard).lock();
        if let Some(group) = guard.groups.get(&self.namespace) {
            self.seen = self.seen.max(group.removed_sequence);
            let range = group.records.range::<[u8], _>((start, Bound::Unbounded));
            let inside = range.take_while(|(key, _)| key.starts_with(&self.request.prefix));
            let short =
                inside.filter(|(key, entry)| key.len() <= self.request.key_len_max && entry.has_state());
            source.fetched.extend(short.take(source.fetch).map(|(key, entry)| (key.clone(), entry.clone())));
        }
        drop(guard);
        source.ended = source.fetched.len() < source.fetch;
        source.fetch = (source.fetch * 2).min(SCAN_PAGE_RECORDS_MAX);
        self.heads.extend(source.fetched.front().map(|(key, _)| Reverse((key.clone(), shard))));
    }
}

impl Iterator for Merge<'_> {
    type Item = (IndexKey, Entry);

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((_, shard)) = self.heads.pop()?;
        let source = &mut self.sources[shard];
        let (key, entry) = source.fetched.pop_front()?;
        if let Some((next, _)) = source.fetched.front() {
            self.heads.push(Reverse((next.clone(), shard)));
        } else if !source.ended {
            self.fetch(shard, Bound::Excluded(&key));
        }
        Some((key, entry))
    }
}

impl LogStore {
    /// As [`RecordStore::scan`], but also while frames are lost that nobody accepted: then records may be
    /// missing, or be older than the newest. For what only ever grows and never changes.
    ///
    /// # Errors
    /// As [`RecordStore::scan`].
    pub fn scan_known(&self, namespace: NamespaceId, request: &ScanRequest) -> Result<ScanPage, StoreError> {
        known_page(self, namespace, request)
    }
}

/// One page of a namespace's records, in key order.
pub(super) fn page(
    store: &LogStore,
    namespace: NamespaceId,
    request: &ScanRequest,
) -> Result<ScanPage, StoreError> {
    store.core.damage.check(0)?;
    known_page(store, namespace, request)
}

fn known_page(
    store: &LogStore,
    namespace: NamespaceId,
    request: &ScanRequest,
) -> Result<ScanPage, StoreError> {
    let core = &*store.core;
    core.log.check_open()?;
    if !request.cursor.is_empty() && !request.cursor.starts_with(&request.prefix) {
        return Err(StoreError::Invalid { what: "scan cursor is not of this scan".into() });
    }
    let limit = request.limit.clamp(1, SCAN_PAGE_RECORDS_MAX);
    let mut page = ScanPage { records: Vec::new(), damaged: Vec::new(), next: None, durable: Ticket::done() };
    let mut merge = Merge::new(core, namespace, request);
    let (mut seen, mut bytes) = (0, 0);
    let mut last: Option<IndexKey> = None;
    for (key, entry) in merge.by_ref() {
        let count = page.records.len() + page.damaged.len();
        let meta_len = usize::try_from(entry.value_len()).unwrap_or(usize::MAX);
        let len = if request.want == Want::Head { key.len() } else { key.len().saturating_add(meta_len) };
        if count >= limit || (count > 0 && bytes + len > SCAN_PAGE_BYTES_MAX) {
            page.next = last.as_deref().map(Bytes::copy_from_slice);
            break;
        }
        let whole = Key::new(Bytes::copy_from_slice(&key)).expect("the index holds only keys");
        last = Some(key.clone());
        let address = Address { namespace, slot: entry.slot(), key: &whole };
        match core.load_state(namespace, &key, &entry, request.want) {
            Ok(Some(state)) => {
                seen = seen.max(entry.sequence);
                bytes += key.len() + state.value_len();
                page.records.push((whole, state));
            }
            // Changed or moved since the shard was asked, or damaged: the single read knows which.
            _ => match store.read(address, request.want) {
                Ok((Some(state), ticket)) => {
                    bytes += key.len() + state.value_len();
                    page.durable.join(ticket);
                    page.records.push((whole, state));
                }
                Ok((None, ticket)) => page.durable.join(ticket),
                Err(StoreError::Damaged { .. }) => page.damaged.push(whole),
                Err(other) => return Err(other),
            },
        }
    }
    let seen = seen.max(merge.seen);
    page.durable.join(core.log.ticket(seen));
    Ok(page)
}
