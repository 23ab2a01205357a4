//! What changed: by one record, and by looking at everything anew.

use std::collections::{HashMap, HashSet};

use super::change::{Change, ChangeKind, Seen, compare};
use super::item::{NONE, Thing};
use super::tree::{NameIndex, Prefix, halves};
use larder_seal::names::SealedKey;

/// Most things compared before and after a scan; with more changes than that, watchers look for themselves.
const COMPARED_MAX: usize = 64 << 10;

/// A scan under way.
#[derive(Default)]
pub(super) struct Scanning {
    pub(super) before: HashMap<Thing, Option<Seen>>,
    pub(super) unreadable: HashSet<SealedKey>,
    pub(super) too_many: bool,
}

impl NameIndex {
    pub(super) fn look_before(&mut self, things: [Option<Thing>; 2]) -> Vec<(Thing, Option<Seen>)> {
        if !self.telling {
            return Vec::new();
        }
        let before: Vec<_> = things.into_iter().flatten().map(|thing| (thing, self.seen(thing))).collect();
        let Some(scanning) = &mut self.scanning else { return before };
        // A scan meets records in the order of their keys, children before their folders too: what changed is told
        // when all of it is known.
        for (thing, seen) in before {
            if scanning.before.len() >= COMPARED_MAX {
                scanning.too_many = true;
            } else {
                scanning.before.entry(thing).or_insert(seen);
            }
        }
        Vec::new()
    }

    pub(super) fn look_after(&mut self, before: Vec<(Thing, Option<Seen>)>, cause: ChangeKind) {
        for (thing, before) in before {
            let after = self.seen(thing);
            self.changes.extend(compare(thing, before, after, cause));
        }
    }

    /// Everything is about to be looked at anew: what is not put until [`NameIndex::end_scan`] is gone.
    pub fn begin_scan(&mut self) {
        self.mark = self.mark.wrapping_add(1);
        // If a scan was broken off, what was before it still counts.
        let scanning = self.scanning.get_or_insert_default();
        scanning.unreadable.clear();
    }

    /// Everything was looked at: what was not seen is removed, and what changed meanwhile is told, in no order.
    /// `now_ms` tells what expired from what was deleted.
    pub fn end_scan(&mut self, now_ms: u64) {
        let mark = self.mark;
        let gone: Vec<u32> =
            self.items.iter().filter(|(_, item)| item.mark != mark).map(|(n, _)| n).collect();
        // What cannot be read now is there all the same, as it was.
        let unread = self.scanning.as_ref().map(|s| s.unreadable.clone()).unwrap_or_default();
        let unreadable: HashSet<[u8; 16]> = unread.iter().map(|key| halves(*key).1).collect();
        for number in gone {
            if !unreadable.contains(&self.items.get(number).suffix) {
                self.remove_entry(number, ChangeKind::Deleted);
            }
        }
        let folders: Vec<u32> = (0..self.folders.len())
            .filter(|n| self.folders[*n].own.as_ref().is_some_and(|own| own.mark != mark))
            .map(|n| u32::try_from(n).unwrap_or(NONE))
            .collect();
        let unread_in: HashSet<Prefix> = unread.iter().map(|key| halves(*key).0).collect();
        for number in folders {
            if !unread_in.contains(&self.folders[number as usize].prefix) {
                self.remove_folder(number, ChangeKind::Deleted);
            }
        }
        self.unreadable = unread;
        let Some(scanning) = self.scanning.take() else { return };
        if scanning.too_many {
            self.changes.push(Change::reset());
            return;
        }
        for (thing, before) in scanning.before {
            let expired = before.as_ref().is_some_and(|seen| seen.expiry.ms().is_some_and(|ms| ms <= now_ms));
            let cause = if expired { ChangeKind::Expired } else { ChangeKind::Deleted };
            let after = self.seen(thing);
            self.changes.extend(compare(thing, before, after, cause));
        }
    }
}
