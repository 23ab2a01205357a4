//! Building the index in bulk. Putting a million keys into ordered maps one by one is mostly waiting for
//! memory; sorted first, they are laid out in one pass.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use larder_format::ids::NamespaceId;
use larder_format::segment::body::RecordName;
use larder_format::segment::sidecar::SidecarEntry;

use super::Core;
use super::index::{BallotsAt, Entry, Group, IndexKey, Shard};
use super::replay::{FrameList, appended};

/// A map is laid out anew when the batch has at least one key for this many in the map; for fewer, putting
/// them in one by one is faster.
const REBUILD_SHARE: usize = 4;

/// Record frames of one shard and one segment that wait to be applied: per namespace the first bytes of each
/// key, to sort by, and where in the segment's list the frame is.
#[derive(Default)]
pub(super) struct Batch {
    waiting: HashMap<NamespaceId, Vec<(u64, usize)>>,
}

fn first_bytes(key: &[u8]) -> u64 {
    let mut word = [0; 8];
    let len = key.len().min(8);
    word[..len].copy_from_slice(&key[..len]);
    u64::from_be_bytes(word)
}

/// The frame at an offset of a list; it was read there before.
fn frame<'a>(list: &FrameList<'a>, offset: usize) -> (SidecarEntry<'a>, RecordName<'a>) {
    let (entry, _) = SidecarEntry::decode(&list.list[offset..]).expect("it was read there before");
    let (name, _) = RecordName::decode(entry.name).expect("it was read there before");
    (entry, name)
}

impl Batch {
    /// Adds a record frame.
    pub(super) fn add(&mut self, name: &RecordName<'_>, offset: usize) {
        self.waiting.entry(name.namespace).or_default().push((first_bytes(name.key), offset));
    }

    /// Applies everything that waits.
    pub(super) fn flush(&mut self, core: &Core, shard: &mut Shard, list: &FrameList<'_>) {
        for (namespace, mut waiting) in self.waiting.drain() {
            let group = shard.groups.entry(namespace).or_default();
            if waiting.len() * REBUILD_SHARE < group.records.len() || waiting.len() < 8 {
                for (_, offset) in waiting {
                    apply_one(core, namespace, group, list, offset);
                }
                continue;
            }
            waiting.sort_unstable_by(|a, b| compare(list, *a, *b));
            rebuild(core, namespace, group, list, &waiting);
        }
    }
}

/// By key, then by place in the log.
fn compare(list: &FrameList<'_>, a: (u64, usize), b: (u64, usize)) -> Ordering {
    a.0.cmp(&b.0).then_with(|| frame(list, a.1).1.key.cmp(frame(list, b.1).1.key)).then(a.1.cmp(&b.1))
}

fn entry_of(list: &FrameList<'_>, frame: &SidecarEntry<'_>, name: &RecordName<'_>) -> Entry {
    let said = appended(list.segment, frame);
    let mut entry = Entry::new(said.sequence, said.place, name.slot, name.meta);
    let state_sequence = said.sequence;
    entry.ballots =
        name.ballots.map(|ballots| Box::new(BallotsAt { ballots, promise: None, state_sequence }));
    entry
}

fn apply_one(core: &Core, namespace: NamespaceId, group: &mut Group, list: &FrameList<'_>, offset: usize) {
    let (frame, name) = frame(list, offset);
    core.replace_entry(namespace, group, name.key, Some(entry_of(list, &frame, &name)), true);
}

/// Lays the group's map out anew from what it has and what is sorted.
fn rebuild(
    core: &Core,
    namespace: NamespaceId,
    group: &mut Group,
    list: &FrameList<'_>,
    sorted: &[(u64, usize)],
) {
    let mut all: Vec<(IndexKey, Entry)> = Vec::with_capacity(group.records.len() + sorted.len());
    let mut held = std::mem::take(&mut group.records).into_iter().peekable();
    let mut live = 0;
    let length = |entry: &Entry| i64::try_from(entry.place.frame_len()).unwrap_or(0);
    for (_, offset) in sorted {
        let (frame, name) = frame(list, *offset);
        while let Some(before) = held.next_if(|(key, _)| key[..] <= *name.key) {
            all.push(before);
        }
        let mut entry = entry_of(list, &frame, &name);
        live += length(&entry);
        let due = entry.due_ms();
        match all.last_mut().filter(|(key, _)| key[..] == *name.key) {
            Some((key, old)) => {
                entry.since = entry.since.min(old.since);
                if let Some(ms) = old.due_ms() {
                    group.due.remove(&(ms, key.clone()));
                }
                group.due.extend(due.map(|ms| (ms, key.clone())));
                for place in old.places() {
                    let len = i64::try_from(place.frame_len()).unwrap_or(0);
                    core.log.segments.count_live(place.segment, -len);
                }
                core.records.count(namespace, name.key.len(), Some(old.value_len()), Some(entry.value_len()));
                *old = entry;
            }
            None => {
                core.records.count(namespace, name.key.len(), None, Some(entry.value_len()));
                let key: IndexKey = name.key.into();
                group.due.extend(due.map(|ms| (ms, key.clone())));
                all.push((key, entry));
            }
        }
    }
    all.extend(held);
    core.log.segments.count_live(list.segment, live);
    group.records = BTreeMap::from_iter(all);
}
