//! Looking ahead: what lookups of several keys are about to read is read for all of them side by side, so that main memory
//! is waited for once and not for each key in turn. Answers nothing and changes nothing.
//!
//! A lookup is a chain of reads, each of which says where the next one is: shard, bucket, entry, value. In a table much
//! larger than the processor's caches most of them wait for memory, and a lock between two lookups keeps the processor
//! from beginning the second while the first waits. Here the locks are taken first, and then each link is followed for all
//! keys before the next one is.

use std::hint::black_box;

use larder_format::ids::NamespaceId;
use parking_lot::MutexGuard;

use super::MemoryTable;
use super::arena::NONE;
use super::entry::{At, HEADER_LEN};
use super::shard::Shard;

/// Most keys that are looked at together: the processor has about so many reads under way at a time.
pub const AHEAD_MAX: usize = 16;

/// Entries of one bucket that are followed; there are seldom more.
const CHAIN_MAX: usize = 3;

/// Bytes of an entry that are read ahead. What follows in a longer one the processor fetches by itself, because it is read in order.
const ENTRY_BYTES: usize = 512;

/// What the processor's caches hold at once, in bytes.
const LINE: usize = 64;

/// One of the keys on its way.
struct Way<'t, 'k> {
    at: At<'k>,
    shard: MutexGuard<'t, Shard>,
    handle: u32,
    is_found: bool,
}

impl MemoryTable {
    /// Brings near what the next operations on these keys will read; of more than [`AHEAD_MAX`] keys, of the first. A shard that
    /// somebody else holds is left out: nobody is waited for.
    pub fn bring_near<'k>(&self, namespace: NamespaceId, keys: impl Iterator<Item = &'k [u8]>) {
        let mut found = [const { None }; AHEAD_MAX];
        let mut len = 0;
        for (place, key) in found.iter_mut().zip(keys) {
            let (number, at) = self.at(namespace, key);
            // Touches the line that the lock is in, for all of them before the first is taken.
            black_box(self.places[number].shard.is_locked());
            *place = Some((number, at));
            len += 1;
        }
        let mut ways: [Option<Way<'_, '_>>; AHEAD_MAX] = [const { None }; AHEAD_MAX];
        for (way, place) in ways.iter_mut().zip(&found[..len]) {
            let Some((number, at)) = *place else { continue };
            let Some(shard) = self.places[number].shard.try_lock() else { continue };
            *way = Some(Way { at, shard, handle: NONE, is_found: false });
        }
        let ways = &mut ways[..len];
        for way in ways.iter_mut().flatten() {
            way.handle = way.shard.index.first_of(way.at.hash);
        }
        let mut read = 0;
        for _ in 0..CHAIN_MAX {
            for way in ways.iter().flatten() {
                read ^= way.read_head();
            }
            for way in ways.iter_mut().flatten() {
                way.go_on();
            }
        }
        for way in ways.iter().flatten() {
            read ^= way.read_rest();
        }
        black_box(read);
    }
}

impl Shard {
    /// Brings near the entries of the timers that come next.
    pub(super) fn bring_near_due(&self, now_tick: u64) {
        let due = self.wheel.next(now_tick, AHEAD_MAX);
        let mut handles = [NONE; AHEAD_MAX];
        for (handle, hash) in handles.iter_mut().zip(due) {
            *handle = self.index.first_of(*hash);
        }
        let mut read = 0;
        for _ in 0..CHAIN_MAX {
            for handle in handles.iter_mut().filter(|handle| **handle != NONE) {
                let entry = self.arena.entry(*handle);
                // The last byte of its key too, which may be in the next line.
                read ^= entry.0[0] ^ entry.0.get(LINE).copied().unwrap_or(0);
                *handle = entry.next();
            }
        }
        black_box(read);
    }
}

impl Way<'_, '_> {
    /// Reads of the entry what tells whether it is the right one.
    #[inline]
    fn read_head(&self) -> u8 {
        if self.handle == NONE || self.is_found {
            return 0;
        }
        let entry = self.shard.arena.entry(self.handle).0;
        let last = HEADER_LEN + self.at.key.len();
        entry[0] ^ entry.get(last.min(LINE)).copied().unwrap_or(0)
    }

    /// Reads a byte of each of its lines.
    #[inline]
    fn read_rest(&self) -> u8 {
        if !self.is_found {
            return 0;
        }
        let entry = self.shard.arena.entry(self.handle);
        let end = entry.room().min(ENTRY_BYTES);
        let (mut at, mut read) = (2 * LINE, entry.0[end - 1]);
        while at < end {
            read ^= entry.0[at];
            at += LINE;
        }
        read
    }

    /// From an entry of another key to the next of the bucket.
    #[inline]
    fn go_on(&mut self) {
        if self.handle == NONE || self.is_found {
            return;
        }
        let entry = self.shard.arena.entry(self.handle);
        if entry.is(self.at.space, self.at.key) {
            self.is_found = true;
        } else {
            self.handle = entry.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use larder_format::record::{Expiry, Version};

    use super::*;
    use crate::api::RecordStore;
    use crate::memory::{Look, MemoryConfig};

    #[test]
    fn it_waits_for_nobody_and_changes_nothing() {
        let table = MemoryTable::new(MemoryConfig { cap_bytes: 64 << 20, hash_seed: 3 });
        let namespace = NamespaceId(1);
        let keys: Vec<Vec<u8>> = (0..200).map(|n| format!("key {n}").into_bytes()).collect();
        table.bring_near(namespace, keys.iter().map(Vec::as_slice));
        for (n, key) in keys.iter().enumerate() {
            let value = vec![n as u8; n * 40];
            let expiry = Expiry::at_ms(1 << 40);
            table.lock_one(namespace, key).put(key, &[&value], Version::from_u64(9), expiry).unwrap();
        }
        let before = table.usage();
        // Lengths of every kind, keys that are not there, the same key twice, and more than there are places.
        for some in keys.chunks(AHEAD_MAX + 3) {
            let some = some.iter().map(Vec::as_slice);
            table.bring_near(namespace, some.clone().chain([&b"none"[..], b"", &keys[0]]));
            table.bring_near(NamespaceId(2), some);
        }
        let held = table.lock_all(namespace);
        table.bring_near(namespace, keys.iter().map(Vec::as_slice));
        for (n, key) in keys.iter().enumerate() {
            assert!(matches!(held.look(key), Look::Plain(seen) if seen.value == vec![n as u8; n * 40]));
        }
        drop(held);
        assert_eq!(table.usage(), before);
    }
}
