//! Compaction: copies what is still needed out of the emptiest segment to the end of the log, then frees it.
//! Which that is: [`super::victim`]. How it gets past frames that cannot be read: [`super::skip`].
//!
//! A copy is an ordinary frame with a new number, added under the lock of what it copies, so replaying the
//! log in order stays right whatever happens next. The index follows a copy only after the copy is durable,
//! so that readers never wait for compaction. A segment is freed in three durable steps: copies, a frame that
//! says so, the file.
//!
//! *When a removal may go.* A removal hides older frames of its key; it names the segments that may hold
//! such frames. It is dropped once none of them is left, and copied as long as one is. If the key exists
//! again, its entry takes over the range, so that its own removal will hide them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use larder_format::ids::{BlobId, NamespaceId};
use larder_format::segment::FrameKind;
use larder_format::segment::body::{
    Accept, Floor, Grant, RecordName, Release, Remove, decode_blob, decode_token, encode_number,
};
use larder_format::slot::Slot;

use super::queue::Appended;
use super::segments::{FIRST_FRAME, Place, ReadError, Segment};
pub use super::victim::Effort;
use super::{Core, LogStore};
use crate::api::StoreError;
use crate::shard::SHARDS;

/// What one step of compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// Bytes read from the segment being emptied.
    pub read_bytes: u64,
    /// Bytes copied to the end of the log.
    pub copied_bytes: u64,
    /// Segments freed.
    pub freed_segments: u64,
    /// Bytes given back: files removed or kept for reuse.
    pub freed_bytes: u64,
    /// Whether another step would find something to do.
    pub more: bool,
}

/// Where compaction stands between two steps.
#[derive(Debug, Default)]
pub(super) struct Compaction {
    /// The segment being emptied and the offset of the next frame to look at.
    victim: Option<(u32, u64)>,
    /// Segments that hold damage that is needed, and how much of them was needed when that was found.
    unmovable: BTreeMap<u32, i64>,
}

/// A copy whose index entry must follow once it is durable.
enum Moved {
    Record { namespace: NamespaceId, slot: Slot, key: Bytes, from: Place, to: Place, promise: Option<Place> },
    Promise { namespace: NamespaceId, slot: Slot, key: Bytes, from: Place, to: Place },
    Blob { id: BlobId, from: Place, to: Place },
}

impl Moved {
    /// Where the copy is.
    fn to(&self) -> &Place {
        match self {
            Moved::Record { to, .. } | Moved::Promise { to, .. } | Moved::Blob { to, .. } => to,
        }
    }
}

impl LogStore {
    /// [`LogStore::compact_with`] normal effort.
    ///
    /// # Errors
    /// As [`LogStore::compact_with`].
    pub fn compact(&self, budget_bytes: u64) -> Result<CompactReport, StoreError> {
        self.compact_with(Effort::Normal, budget_bytes)
    }

    /// One step of compaction, reading at most about `budget_bytes` of a segment. Blocks until what was
    /// copied is durable.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] while frames are lost and not accepted: what is lost may be what keeps
    /// something from being forgotten. [`StoreError::Full`] and [`StoreError::Stalled`] while the disk has no
    /// room for what must be written. [`StoreError::Closed`].
    pub fn compact_with(&self, effort: Effort, budget_bytes: u64) -> Result<CompactReport, StoreError> {
        let core = &*self.core;
        core.log.check_open()?;
        core.damage.check(0)?;
        let mut state = core.compaction.lock();
        let mut report = CompactReport::default();
        core.look_at_space()?;
        let victim = match state.victim {
            Some(victim) => Some(victim),
            None => core.choose_victim(&state.unmovable, effort)?.map(|number| (number, FIRST_FRAME)),
        };
        let Some((number, offset)) = victim else { return Ok(report) };
        let Some(segment) = core.log.segments.get(number) else {
            state.victim = None;
            return Ok(report);
        };
        report.more = true;
        match core.copy_live(&segment, offset, budget_bytes, &mut report) {
            Ok(next) if next < segment.end.load(Ordering::Acquire) => state.victim = Some((number, next)),
            Ok(_) => {
                state.victim = None;
                core.copy_rest(number)?;
                core.free_segment(&segment, &mut report)?;
                state.unmovable.remove(&number);
            }
            Err(ReadError::Closed(error)) => return Err(error),
            Err(error) => {
                tracing::warn!(number, ?error, "a segment holds damage that is needed; it stays");
                state.victim = None;
                state.unmovable.insert(number, segment.live.load(Ordering::Relaxed));
            }
        }
        Ok(report)
    }
}

impl Core {
    /// Makes everything queued so far durable.
    pub(super) fn commit(&self, sequence: u64) -> Result<(), StoreError> {
        if self.log.config.threads { self.log.ticket(sequence).wait() } else { self.log.pump() }
    }

    /// Takes note of how much room there is, and does what follows from that.
    fn look_at_space(&self) -> Result<(), StoreError> {
        let log = &self.log;
        log.space.measure();
        log.space.fit_segments(log.segments.disk_bytes());
        let done =
            if log.space.is_short() { log.drop_spares().map(|_| ()) } else { log.space.take_reserve_again() };
        done.map_err(|e| log.fail("keeping space", &e))
    }

    /// Copies what is needed from `offset` on; answers where to go on.
    fn copy_live(
        &self,
        segment: &Segment,
        mut offset: u64,
        budget: u64,
        report: &mut CompactReport,
    ) -> Result<u64, ReadError> {
        let end = segment.end.load(Ordering::Acquire);
        let mut moved = Vec::new();
        let mut last = 0;
        let mut copy_all = || -> Result<(), ReadError> {
            while offset < end && report.read_bytes < budget.max(1) {
                let frame = self.frame_at(segment, offset)?;
                let before = self.log.queue.lock().next_sequence;
                moved.extend(self.copy_frame(frame.kind, frame.name, frame.place)?);
                let after = self.log.queue.lock().next_sequence;
                let len = frame.next - offset;
                if after > before {
                    report.copied_bytes += len;
                    last = after - 1;
                }
                report.read_bytes += len;
                offset = frame.next;
                self.log.wait_for_room()?;
            }
            Ok(())
        };
        // What was copied before an error is followed too, or would count as needed although nobody uses it.
        let copied = copy_all();
        if !crate::planted::is("segment freed before copies are durable")
            && let Err(error) = self.commit(last)
        {
            // The copies may become durable all the same; the originals are what counts until then.
            moved.iter().for_each(|moved: &Moved| self.unneeded(moved.to()));
            return Err(error.into());
        }
        for moved in moved {
            self.follow(moved);
        }
        copied.map(|()| offset)
    }

    /// Copies one frame if it is needed.
    fn copy_frame(&self, kind: FrameKind, name: Bytes, place: Place) -> Result<Option<Moved>, ReadError> {
        match kind {
            FrameKind::Record => self.copy_record(&name, place),
            FrameKind::Promise => self.copy_promise(&name, place),
            FrameKind::Remove => self.copy_remove(name, place.segment).map(|()| None),
            FrameKind::Blob => self.copy_blob(&name, place),
            FrameKind::Grant => self.copy_grant(name, place).map(|()| None),
            FrameKind::Confirm => self.copy_confirm(name, place).map(|()| None),
            FrameKind::Release => self.copy_release(name, place.segment).map(|()| None),
            // What these say is said again at the end, from memory, or no longer matters.
            FrameKind::Floor
            | FrameKind::Time
            | FrameKind::Accept
            | FrameKind::Segments
            | FrameKind::Boot
            | FrameKind::Freed
            | FrameKind::End => Ok(None),
        }
    }

    fn copy_record(&self, name: &Bytes, place: Place) -> Result<Option<Moved>, ReadError> {
        let (said, len) = RecordName::decode(name).map_err(|_| ReadError::Damaged)?;
        let slot = Slot::from_number(said.slot).ok_or(ReadError::Damaged)?;
        let shard = self.records.lock(slot);
        let group = shard.groups.get(&said.namespace);
        let entry = group.and_then(|group| group.records.get(said.key)).filter(|entry| entry.place == place);
        let Some(entry) = entry else { return Ok(None) };
        // A list tells only the first part of the name; what follows it is the state.
        let (_, whole, value) = self.log.segments.read_frame(&place)?;
        let mut copy = Vec::with_capacity(whole.len() + 32);
        RecordName { ballots: entry.ballots(), ..said }.encode_into(&mut copy);
        copy.extend_from_slice(whole.get(len..).ok_or(ReadError::Damaged)?);
        let promise = entry.ballots.as_ref().and_then(|at| at.promise);
        let appended = self.log.append(FrameKind::Record, copy.into(), value)?;
        let key = name.slice_ref(said.key);
        Ok(Some(Moved::Record {
            namespace: said.namespace,
            slot,
            key,
            from: place,
            to: appended.place,
            promise,
        }))
    }

    fn copy_promise(&self, name: &Bytes, place: Place) -> Result<Option<Moved>, ReadError> {
        let (said, _) = RecordName::decode(name).map_err(|_| ReadError::Damaged)?;
        let slot = Slot::from_number(said.slot).ok_or(ReadError::Damaged)?;
        let shard = self.records.lock(slot);
        let entry = shard.groups.get(&said.namespace).and_then(|group| group.records.get(said.key));
        if !entry.is_some_and(|entry| entry.places().any(|held| held == place)) {
            return Ok(None);
        }
        let appended = self.log.append(FrameKind::Promise, name.clone(), Bytes::new())?;
        let key = name.slice_ref(said.key);
        Ok(Some(Moved::Promise { namespace: said.namespace, slot, key, from: place, to: appended.place }))
    }

    fn copy_remove(&self, name: Bytes, victim: u32) -> Result<(), ReadError> {
        let body = Remove::decode(name.clone()).map_err(|_| ReadError::Damaged)?;
        let slot = Slot::from_number(body.slot).ok_or(ReadError::Damaged)?;
        let mut shard = self.records.lock(slot);
        let hides = self.log.segments.any_but(body.since, body.until, victim);
        if !hides || crate::planted::is("tombstone dropped early") {
            return Ok(());
        }
        let group = shard.groups.get_mut(&body.namespace);
        match group.and_then(|group| group.records.get_mut(body.key.as_bytes())) {
            Some(entry) => entry.since = entry.since.min(body.since),
            None => {
                let appended = self.log.append(FrameKind::Remove, name, Bytes::new())?;
                self.log.segments.count_tomb(&appended.place, body.since, body.until, 0);
            }
        }
        Ok(())
    }

    fn copy_blob(&self, name: &Bytes, place: Place) -> Result<Option<Moved>, ReadError> {
        let id = decode_blob(name.clone()).map_err(|_| ReadError::Damaged)?;
        let held = |index: &super::blobs::BlobIndex| {
            index.find(&id).is_some_and(|(_, blob)| blob.place == Some(place))
        };
        if !held(&self.blobs.lock()) {
            return Ok(None);
        }
        // Reading and hashing happen outside the lock; whether it is still wanted is asked again.
        let value = self.log.segments.read_value(&place)?;
        if BlobId::of(&value) != id {
            return Err(ReadError::Damaged);
        }
        let index = self.blobs.lock();
        if !held(&index) {
            return Ok(None);
        }
        let appended = self.log.append(FrameKind::Blob, name.clone(), value)?;
        Ok(Some(Moved::Blob { id, from: place, to: appended.place }))
    }

    fn copy_grant(&self, name: Bytes, place: Place) -> Result<(), ReadError> {
        let mut body = Grant::decode(name).map_err(|_| ReadError::Damaged)?;
        let mut index = self.blobs.lock();
        let Some(lease) = index.leases.get(body.token) else { return Ok(()) };
        body.deadline_ms = lease.deadline_ms;
        body.confirmed = lease.confirmed;
        let appended = self.log.append(FrameKind::Grant, body.encode(), Bytes::new())?;
        index.leases.move_frame(body.token, place.segment, &appended.place);
        Ok(())
    }

    fn copy_confirm(&self, name: Bytes, place: Place) -> Result<(), ReadError> {
        let token = decode_token(name.clone()).map_err(|_| ReadError::Damaged)?;
        let mut index = self.blobs.lock();
        if index.leases.get(token).is_some() {
            let appended = self.log.append(FrameKind::Confirm, name, Bytes::new())?;
            index.leases.move_frame(token, place.segment, &appended.place);
        }
        Ok(())
    }

    fn copy_release(&self, name: Bytes, victim: u32) -> Result<(), ReadError> {
        let body = Release::decode(name.clone()).map_err(|_| ReadError::Damaged)?;
        let now_ms = self.now_ms();
        let index = self.blobs.lock();
        let hides = self.log.segments.any_but(body.since, body.until, victim);
        // One that was forgotten because there were too many need not be remembered by the log either.
        let is_remembered = body.remember_until_ms >= now_ms && index.leases.spent(body.token).is_some();
        if is_remembered || hides {
            let appended = self.log.append(FrameKind::Release, name, Bytes::new())?;
            let until_ms = body.remember_until_ms;
            self.log.segments.count_tomb(&appended.place, body.since, body.until, until_ms);
        }
        drop(index);
        Ok(())
    }

    /// Says again, from memory, what only the segment said.
    fn copy_rest(&self, victim: u32) -> Result<(), StoreError> {
        for index in 0..SHARDS {
            let mut shard = self.records.shard(index).lock();
            for (namespace, group) in &mut shard.groups {
                if group.floor_segment == victim {
                    let number = u8::try_from(index).expect("there are fewer than 256 groups");
                    let body = Floor { namespace: *namespace, group: number, floor: group.floor };
                    let appended = self.log.append(FrameKind::Floor, body.encode(), Bytes::new())?;
                    group.floor_segment = appended.place.segment;
                }
            }
        }
        let mut time = self.time.lock();
        if time.segment == victim {
            let body = encode_number(time.high.to_u64());
            time.segment = self.log.append(FrameKind::Time, body, Bytes::new())?.place.segment;
        }
        drop(time);
        let mut accepted = self.damage.accepted.lock();
        if accepted.segment == victim {
            let body = Accept { through: accepted.through, floor: accepted.floor };
            accepted.segment = self.log.append(FrameKind::Accept, body.encode(), Bytes::new())?.place.segment;
        }
        Ok(())
    }

    fn unneeded(&self, place: &Place) {
        self.log.segments.count_live(place.segment, -i64::try_from(place.frame_len()).unwrap_or(0));
    }

    /// Lets the index follow a copy, unless the original was replaced meanwhile.
    fn follow(&self, moved: Moved) {
        match moved {
            Moved::Record { namespace, slot, key, from, to, promise } => {
                let mut shard = self.records.lock(slot);
                let group = shard.groups.get_mut(&namespace);
                let Some(entry) = group.and_then(|group| group.records.get_mut(&key[..])) else {
                    return self.unneeded(&to);
                };
                if entry.place != from {
                    return self.unneeded(&to);
                }
                entry.place = to;
                self.unneeded(&from);
                // The copy carries the ballots too, if no newer promise came.
                if let Some(at) = &mut entry.ballots
                    && at.promise == promise
                    && let Some(old) = at.promise.take()
                {
                    self.unneeded(&old);
                }
            }
            Moved::Promise { namespace, slot, key, from, to } => {
                let mut shard = self.records.lock(slot);
                let group = shard.groups.get_mut(&namespace);
                let entry = group.and_then(|group| group.records.get_mut(&key[..]));
                match entry {
                    Some(entry) if entry.place == from => entry.place = to,
                    Some(entry) if entry.places().any(|held| held == from) => {
                        if let Some(at) = &mut entry.ballots {
                            at.promise = Some(to);
                        }
                    }
                    _ => return self.unneeded(&to),
                }
                self.unneeded(&from);
            }
            Moved::Blob { id, from, to } => {
                let mut index = self.blobs.lock();
                match index.find(&id) {
                    Some((handle, blob)) if blob.place == Some(from) => {
                        index.locate(handle, to, 0);
                        self.unneeded(&from);
                    }
                    _ => self.unneeded(&to),
                }
            }
        }
    }

    /// Frees a segment of which nothing is needed any more.
    fn free_segment(&self, segment: &Arc<Segment>, report: &mut CompactReport) -> Result<(), StoreError> {
        let said: Appended =
            self.log.append(FrameKind::Freed, encode_number(segment.number.into()), Bytes::new())?;
        if !crate::planted::is("segment freed before copies are durable") {
            self.commit(said.sequence)?;
        }
        self.log.segments.remove(segment.number);
        let len = segment.file.get().and_then(|file| file.size().ok()).unwrap_or(0);
        match self.log.disk.remove(&super::sidecar::sidecar_name(segment.number)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(self.log.fail("removing a sidecar", &e));
            }
            _ => {}
        }
        self.log.retire_file(segment).map_err(|e| self.log.fail("freeing a segment", &e))?;
        self.log.space.measure();
        report.freed_segments += 1;
        report.freed_bytes += len;
        Ok(())
    }
}
