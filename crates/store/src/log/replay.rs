//! From frames to index: every frame of the log, in order, says what it said when it was written.

use bytes::Bytes;
use larder_format::codec::DecodeError;
use larder_format::ids::NamespaceId;
use larder_format::segment::FrameKind;
use larder_format::segment::body::{
    Accept, Floor, Grant, RecordName, Release, Remove, decode_blob, decode_time, decode_token,
};
use larder_format::segment::sidecar::SidecarEntry;
use larder_format::slot::Slot;

use super::batch::Batch;
use super::index::{Entry, Group, Shard};
use super::leases::Spent;
use super::queue::Appended;
use super::records::promised;
use super::segments::Place;
use super::{Core, Time};
use crate::api::LeaseGrant;
use crate::shard::{SHARDS, shard_of};

/// The frames of one segment, as a sidecar lists them.
pub(super) struct FrameList<'a> {
    pub(super) segment: u32,
    pub(super) list: &'a [u8],
}

/// What only the log's own order knows.
#[derive(Default)]
pub(super) struct Replayed {
    /// Frames applied.
    pub(super) frames: u64,
    /// Lost frames up to here were accepted as lost.
    pub(super) accepted_through: u64,
}

fn entries<'a>(list: &'a FrameList<'a>, before: u64) -> impl Iterator<Item = SidecarEntry<'a>> {
    let mut rest = list.list;
    std::iter::from_fn(move || {
        let (entry, next) = SidecarEntry::decode(rest)?;
        rest = next;
        Some(entry)
    })
    .take_while(move |entry| entry.sequence < before)
}

pub(super) fn appended(segment: u32, entry: &SidecarEntry<'_>) -> Appended {
    let place = Place { segment, at: entry.place, name_len: entry.name_len, value_len: entry.value_len };
    Appended { sequence: entry.sequence, place }
}

/// Applies one segment's frames with numbers below `before`, records on `threads` threads.
pub(super) fn replay(
    core: &Core,
    list: &FrameList<'_>,
    before: u64,
    threads: usize,
    replayed: &mut Replayed,
) -> Result<(), DecodeError> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..threads)
            .map(|part| scope.spawn(move || replay_records(core, list, before, (part, threads))))
            .collect();
        replay_records(core, list, before, (0, threads))?;
        replay_others(core, list, before, replayed)?;
        for worker in workers {
            worker.join().expect("replay does not panic")?;
        }
        Ok(())
    })
}

/// Applies records whose shard falls to this part.
fn replay_records(
    core: &Core,
    list: &FrameList<'_>,
    before: u64,
    part: (usize, usize),
) -> Result<(), DecodeError> {
    let mut shards: Vec<_> =
        (0..SHARDS).map(|i| (i % part.1 == part.0).then(|| core.records.shard(i).lock())).collect();
    let mut batches: Vec<Batch> = (0..SHARDS).map(|_| Batch::default()).collect();
    let mut rest = list.list;
    while let Some((entry, next)) = SidecarEntry::decode(rest) {
        let offset = list.list.len() - rest.len();
        rest = next;
        if entry.sequence >= before {
            break;
        }
        let said = appended(list.segment, &entry);
        match entry.kind {
            FrameKind::Record => {
                let (name, _) = RecordName::decode(entry.name)?;
                let number = shard_of(slot(name.slot)?);
                if shards[number].is_some() {
                    batches[number].add(&name, offset);
                }
            }
            FrameKind::Promise => {
                let (name, _) = RecordName::decode(entry.name)?;
                let number = shard_of(slot(name.slot)?);
                if let Some(shard) = &mut shards[number] {
                    batches[number].flush(core, shard, list);
                    promise(core, shard, &name, &said);
                }
            }
            FrameKind::Remove => {
                let body = Remove::decode(Bytes::copy_from_slice(entry.name))?;
                let number = shard_of(slot(body.slot)?);
                if let Some(shard) = &mut shards[number] {
                    batches[number].flush(core, shard, list);
                    remove(core, shard, &body, &said);
                }
            }
            FrameKind::Floor => {
                let body = Floor::decode(Bytes::copy_from_slice(entry.name))?;
                if let Some(Some(shard)) = shards.get_mut(usize::from(body.group)) {
                    raise_floor(shard.groups.entry(body.namespace).or_default(), body.floor, &said);
                }
            }
            _ => {}
        }
    }
    for (shard, batch) in shards.iter_mut().zip(&mut batches) {
        if let Some(shard) = shard {
            batch.flush(core, shard, list);
        }
    }
    Ok(())
}

fn slot(number: u16) -> Result<Slot, DecodeError> {
    Slot::from_number(number).ok_or(DecodeError::BadValue { field: "slot", value: number.into() })
}

fn promise(core: &Core, shard: &mut Shard, name: &RecordName<'_>, said: &Appended) {
    let group = shard.groups.entry(name.namespace).or_default();
    let ballots = name.ballots.unwrap_or_default();
    let entry = promised(group.records.get(name.key), said, name.slot, ballots);
    core.replace_entry(name.namespace, group, name.key, Some(entry), true);
}

fn remove(core: &Core, shard: &mut Shard, body: &Remove, said: &Appended) {
    let group = shard.groups.entry(body.namespace).or_default();
    core.replace_entry(body.namespace, group, body.key.as_bytes(), None, true);
    raise_floor(group, body.floor, said);
    core.log.segments.add_tomb(&said.place, body.since, body.until, 0);
}

fn raise_floor(group: &mut Group, floor: larder_format::record::Ballot, said: &Appended) {
    if floor >= group.floor {
        group.floor = floor;
        group.floor_segment = said.place.segment;
    }
    group.removed_sequence = said.sequence;
}

/// Applies everything that is not a record.
fn replay_others(
    core: &Core,
    list: &FrameList<'_>,
    before: u64,
    replayed: &mut Replayed,
) -> Result<(), DecodeError> {
    let mut blobs = core.blobs.lock();
    for entry in entries(list, before) {
        replayed.frames += 1;
        let said = appended(list.segment, &entry);
        let len = i64::try_from(said.place.frame_len()).unwrap_or(0);
        let name = || Bytes::copy_from_slice(entry.name);
        match entry.kind {
            FrameKind::Blob => {
                let handle = blobs.ensure(decode_blob(name())?);
                core.log.segments.count_live(list.segment, len);
                if let Some(old) = blobs.locate(handle, said.place, said.sequence) {
                    let old_len = i64::try_from(old.frame_len()).unwrap_or(0);
                    core.log.segments.count_live(old.segment, -old_len);
                }
            }
            FrameKind::Grant => {
                let held = grant(&mut blobs, &Grant::decode(name())?, &said);
                core.log.segments.count_live(list.segment, if held { len } else { 0 });
            }
            FrameKind::Release => {
                let body = Release::decode(name())?;
                let until_ms = body.remember_until_ms;
                core.log.segments.add_tomb(&said.place, body.since, body.until, until_ms);
                // One that was granted has grants in a segment before.
                let was_unknown = body.since == body.until;
                let spent = Spent { remember_until_ms: until_ms, sequence: said.sequence, was_unknown };
                core.release(&mut blobs, body.token, spent);
            }
            FrameKind::Confirm => {
                let token = decode_token(name())?;
                if blobs.leases.confirm(token, said.sequence) {
                    core.log.segments.count_live(list.segment, len);
                    blobs.leases.add_frame(token, &said.place);
                }
            }
            FrameKind::Time => {
                let high = decode_time(name())?;
                let mut time = core.time.lock();
                if high >= time.high {
                    *time = Time { high, sequence: said.sequence, segment: list.segment };
                }
            }
            FrameKind::Accept => {
                let body = Accept::decode(name())?;
                replayed.accepted_through = replayed.accepted_through.max(body.through);
                let mut accepted = core.damage.accepted.lock();
                accepted.through = accepted.through.max(body.through);
                accepted.floor = accepted.floor.max(body.floor);
                accepted.segment = list.segment;
            }
            _ => {}
        }
    }
    let now_ms = core.time.lock().high.ms();
    blobs.leases.forget_spent(now_ms);
    Ok(())
}

fn grant(blobs: &mut super::blobs::BlobIndex, body: &Grant, said: &Appended) -> bool {
    // Nothing grants a token after its release.
    if blobs.leases.spent(body.token).is_some() {
        return false;
    }
    // A blob may come later in the log than its lease, because compaction moved it.
    let handles: Vec<u32> = body.blobs.iter().map(|id| blobs.ensure(*id)).collect();
    let grant = LeaseGrant {
        token: body.token,
        namespace: body.namespace,
        key: body.key.clone(),
        deadline_ms: body.deadline_ms,
    };
    blobs.grant(&grant, body.confirmed, &handles, said.sequence, said.place.segment);
    blobs.leases.add_frame(body.token, &said.place);
    true
}

impl Core {
    /// Puts an entry in the place of what is known of a key, and counts what is needed. `counts_new`: the
    /// new entry's frame was not counted when it was appended.
    pub(super) fn replace_entry(
        &self,
        namespace: NamespaceId,
        group: &mut Group,
        key: &[u8],
        entry: Option<Entry>,
        counts_new: bool,
    ) {
        let kept: Vec<Place> = entry.iter().flat_map(Entry::places).collect();
        let new_size = entry.as_ref().map(Entry::value_len);
        let old = match entry {
            Some(entry) => group.set(key, entry),
            None => group.unset(key),
        };
        let signed = |place: &Place| i64::try_from(place.frame_len()).unwrap_or(0);
        let old_places: Vec<Place> = old.iter().flat_map(Entry::places).collect();
        for place in old_places.iter().filter(|place| !kept.contains(place)) {
            self.log.segments.count_live(place.segment, -signed(place));
        }
        if counts_new {
            for place in kept.iter().filter(|place| !old_places.contains(place)) {
                self.log.segments.count_live(place.segment, signed(place));
            }
        }
        self.records.count(namespace, key.len(), old.as_ref().map(Entry::value_len), new_size);
    }
}
