//! Plain values on the table, for [`Locked`](super::Locked) and for scans of plain values.

use bytes::Bytes;
use larder_format::clock::Hlc;
use larder_format::ids::NamespaceId;
use larder_format::record::{Ballot, Content, Expiry, Key, Live, RecordSlot, RecordState, Version};
use larder_format::slot::Slot;

use super::{Held, Look, MemoryTable, Seen, Shard};
use crate::api::{Address, StoreError};
use crate::feed::{Change, EventKind};

impl Held {
    fn plain(&self) -> Option<Seen<'_>> {
        let RecordSlot { ballots: None, state: Some(state) } = &self.record else { return None };
        let Content::Live(live) = &state.content else { return None };
        let plain = live.takes_left.is_none()
            && live.tokens.is_empty()
            && live.head.is_empty()
            && state.operations.is_empty();
        plain.then_some(Seen { version: state.version, expiry: state.expiry, value: &live.body })
    }
}

impl Shard {
    pub(super) fn look(&self, namespace: NamespaceId, key: &[u8], hash: u64) -> Look<'_> {
        let same =
            |held: &Held| held.hash == hash && held.namespace == namespace && held.key.as_bytes() == key;
        let Some(held) = self.table.find(hash, same) else { return Look::Nothing };
        match (held.plain(), &held.record.state) {
            (Some(seen), _) => Look::Plain(seen),
            (None, Some(state)) => Look::Other(state.meta()),
            (None, None) => Look::Nothing,
        }
    }

    pub(super) fn touch_plain(
        &mut self,
        namespace: NamespaceId,
        key: &[u8],
        hash: u64,
        version: Version,
        expiry: Expiry,
    ) -> bool {
        let same =
            |held: &Held| held.hash == hash && held.namespace == namespace && held.key.as_bytes() == key;
        let Some(held) = self.table.find_mut(hash, same) else { return false };
        if held.plain().is_none() {
            return false;
        }
        let Some(state) = &mut held.record.state else { return false };
        if let Some(ms) = state.expiry.ms() {
            self.due.remove(&(ms, hash));
        }
        (state.version, state.expiry) = (version, expiry);
        self.due.extend(expiry.ms().map(|ms| (ms, hash)));
        true
    }
}

impl MemoryTable {
    pub(super) fn put_plain(
        &self,
        shard: &mut Shard,
        namespace: NamespaceId,
        (key, hash): (&[u8], u64),
        value: &[&[u8]],
        (version, expiry): (Version, Expiry),
    ) -> Result<(), StoreError> {
        let body = Bytes::from(value.concat());
        let content = Content::Live(Live { body, ..Live::default() });
        let state = RecordState { version, expiry, content, operations: Vec::new() };
        let key = Key::new(Bytes::copy_from_slice(key))
            .map_err(|e| StoreError::Invalid { what: e.to_string().into() })?;
        let at = Address { namespace, slot: Slot::of_raw(key.as_bytes()), key: &key };
        self.store(shard, at, hash, RecordSlot { ballots: None, state: Some(state) })
    }

    pub(super) fn remove_plain(
        &self,
        shard: &mut Shard,
        namespace: NamespaceId,
        (key, hash): (&[u8], u64),
        floor: Version,
    ) -> bool {
        let Ok(key) = Key::new(Bytes::copy_from_slice(key)) else { return false };
        let before = shard.table.len();
        self.remove(shard, Address { namespace, slot: Slot::of_raw(key.as_bytes()), key: &key }, hash);
        let floor = Ballot { round: floor.to_u64(), proposer: 0 };
        let old = shard.floors.entry(namespace).or_default();
        *old = floor.max(*old);
        shard.table.len() < before
    }

    /// Shows plain values of a namespace from a cursor on (0: from the beginning), about `count` of them, and answers
    /// where to go on; 0: that was all. A key present throughout a whole scan is shown at least once.
    pub fn scan_plain(
        &self,
        namespace: NamespaceId,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&[u8], Seen<'_>),
    ) -> u64 {
        let matches = |held: &Held| held.namespace == namespace && held.plain().is_some();
        let (mut start, mut left) = (cursor, count.max(1));
        for shard in super::shard_of_hash(cursor)..super::SHARDS {
            let (found, more) = self.lowest(shard, start, left, &matches);
            left = left.saturating_sub(found.len());
            let last = found.last().map(|(hash, ..)| *hash);
            for (_, key, state) in found {
                let RecordState { version, expiry, content: Content::Live(live), .. } = state else {
                    continue;
                };
                visit(key.as_bytes(), Seen { version, expiry, value: &live.body });
            }
            start = more.unwrap_or(0);
            if more.is_some() || left == 0 {
                return if more.is_some() { start } else { last.map_or(0, |last| last.wrapping_add(1)) };
            }
        }
        0
    }

    /// A key of a namespace whose time is not up, chosen by a random number; `None` if none was found.
    #[must_use]
    pub fn random_key(&self, namespace: NamespaceId, random: u64, now: Hlc) -> Option<Vec<u8>> {
        let mut found = None;
        for start in [random, 0] {
            let mut cursor = start;
            loop {
                cursor = self.scan_plain(namespace, cursor, 1, &mut |key, seen| {
                    if !seen.expiry.is_past(now) {
                        found = Some(key.to_vec());
                    }
                });
                if found.is_some() || cursor == 0 {
                    break;
                }
            }
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Removes all records of a namespace, in steps; answers how many. Others see those go one by one.
    pub fn clear(&self, namespace: NamespaceId, floor: Version) -> u64 {
        let mut cleared = 0;
        for shard in &self.shards {
            let mut shard = shard.lock();
            let keys: Vec<(u64, Key)> = shard
                .table
                .iter()
                .filter(|held| held.namespace == namespace)
                .map(|held| (held.hash, held.key.clone()))
                .collect();
            for (hash, key) in keys {
                self.remove_plain(&mut shard, namespace, (key.as_bytes(), hash), floor);
                shard.watched.changed(hash);
                let change = Change { kind: EventKind::Deleted, version: floor };
                self.feed.push_next(namespace, key.as_bytes(), change);
                cleared += 1;
            }
        }
        cleared
    }
}
