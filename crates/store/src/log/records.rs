//! Records of the log store: reading, and changing under the shard lock.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use larder_format::clock::Hlc;
use larder_format::codec::DecodeError;
use larder_format::ids::NamespaceId;
use larder_format::record::{Ballot, Ballots, Content, Key, RecordMeta, RecordSlot, RecordState};
use larder_format::segment::body::{Floor, RecordName, Remove, encode_number};
use larder_format::segment::{FrameKind, frame_len};
use larder_format::slot::Slot;

use super::index::{BallotsAt, Entry, Group};
use super::queue::{Told, check_parts};
use super::segments::{Place, ReadError};
use super::space::Admission;
use super::{Core, LogStore, scan};
use crate::api::{
    Address, Current, Next, RecordStore, RecordUsage, ScanPage, ScanRequest, StoreError, Ticket, Want,
};
use crate::feed::Change;
use crate::shard::{SHARDS, shard_of};

/// Bytes by which ballots lengthen a record's name part.
const BALLOTS_ROOM: usize = 32;

/// How often a place is looked up again when its bytes were moved by compaction meanwhile.
const LOOKUPS_MAX: usize = 8;

/// A record as `decide` sees it.
struct View<'a> {
    core: &'a Core,
    at: Address<'a>,
    entry: Option<&'a Entry>,
    floor: Ballot,
}

impl Current for View<'_> {
    fn meta(&self) -> Option<RecordMeta> {
        self.entry?.meta()
    }

    fn ballots(&self) -> Option<Ballots> {
        self.entry?.ballots()
    }

    fn floor(&self) -> Ballot {
        self.floor
    }

    fn load(&mut self) -> Result<Option<RecordState>, StoreError> {
        let Some(entry) = self.entry else { return Ok(None) };
        // Under the shard lock the entry cannot change, so bytes that do not match are damaged.
        let loaded = self.core.load_state(self.at.namespace, self.at.key.as_bytes(), entry, Want::All);
        loaded.map_err(|e| e.into_store_error(&entry.place))
    }
}

/// The two parts of a record's frame.
pub(super) fn encode_record(at: Address<'_>, record: &RecordSlot) -> (Bytes, Bytes) {
    let meta = record.state.as_ref().map(RecordState::meta);
    let name = RecordName {
        namespace: at.namespace,
        slot: at.slot.number(),
        key: at.key.as_bytes(),
        meta,
        ballots: record.ballots,
    };
    let mut out = Vec::with_capacity(128 + at.key.as_bytes().len());
    name.encode_into(&mut out);
    let mut value = Bytes::new();
    if let Some(state) = &record.state {
        // The body comes last in a state's bytes: everything before it belongs to the name part, so that
        // heads can be read alone; the body is the value part and is shared, not copied.
        let mut small = state.clone();
        if let Content::Live(live) = &mut small.content {
            value = std::mem::take(&mut live.body);
        }
        out.extend_from_slice(&small.encode());
    }
    (out.into(), value)
}

/// Refuses a record that could be written but never be read back.
fn check_readable(name: &Bytes, value_len: usize) -> Result<(), StoreError> {
    // Compaction writes it again with the ballots it has then.
    check_parts(name.len() + BALLOTS_ROOM, value_len)?;
    let unreadable = |error: DecodeError| match error {
        DecodeError::TooLong { field, len, max } => {
            StoreError::TooLarge { what: field, len: len as u64, max: max as u64 }
        }
        other => StoreError::Invalid { what: other.to_string().into() },
    };
    let (found, len) = RecordName::decode(name).map_err(unreadable)?;
    if found.meta.is_some() {
        RecordState::decode(name.slice(len..)).map_err(unreadable)?;
    }
    Ok(())
}

/// The state in a record's frame. An empty `value` gives the state without its body.
pub(super) fn decode_state(
    namespace: NamespaceId,
    key: &[u8],
    name: &Bytes,
    value: &Bytes,
) -> Result<Option<RecordState>, ReadError> {
    let (found, len) = RecordName::decode(name).map_err(|_| ReadError::Damaged)?;
    if found.namespace != namespace || found.key != key {
        return Err(ReadError::Moved);
    }
    if found.meta.is_none() {
        return Ok(None);
    }
    let small = name.slice(len..);
    let whole = if value.is_empty() {
        small
    } else {
        let mut joined = BytesMut::with_capacity(small.len() + value.len());
        joined.extend_from_slice(&small);
        joined.extend_from_slice(value);
        joined.freeze()
    };
    RecordState::decode(whole).map(Some).map_err(|_| ReadError::Damaged)
}

impl Core {
    /// Reads a record's state from the queue or its file.
    pub(super) fn load_state(
        &self,
        namespace: NamespaceId,
        key: &[u8],
        entry: &Entry,
        want: Want,
    ) -> Result<Option<RecordState>, ReadError> {
        if !entry.has_state() {
            return Ok(None);
        }
        let place = &entry.place;
        // The key's newest frame may be a promise younger than the state's: ask by place, not by number.
        let (name, value) = match (self.log.pending_place(entry.sequence, place), want) {
            (Some((name, _)), Want::Head) => (name, Bytes::new()),
            (Some(parts), Want::All) => parts,
            (None, Want::Head) => (self.log.segments.read_name(place)?.1, Bytes::new()),
            (None, Want::All) => {
                let (_, name, value) = self.log.segments.read_frame(place)?;
                (name, value)
            }
        };
        let state = decode_state(namespace, key, &name, &value)?;
        // The file may have been recycled since the place was looked up, for an older state of this key.
        match (&state, entry.meta()) {
            (Some(state), Some(meta)) if state.version == meta.version => Ok(Some(state.clone())),
            _ => Err(ReadError::Moved),
        }
    }

    /// The highest floor that binds a group.
    fn floor_of(&self, group: Option<&Group>) -> Ballot {
        let accepted = self.damage.accepted.lock().floor;
        group.map_or(accepted, |group| group.floor.max(accepted))
    }

    fn apply(&self, at: Address<'_>, group: &mut Group, next: Next) -> Result<Ticket, StoreError> {
        let before = group.records.get(at.key.as_bytes()).and_then(Entry::meta);
        let change = Change::of(before, &next);
        match next {
            Next::Keep => {
                let seen = group.records.get(at.key.as_bytes()).map_or(0, |entry| entry.sequence);
                Ok(self.log.ticket(seen.max(group.removed_sequence)))
            }
            Next::Store(record) => self.store_record(at, group, &record, Admission::Writer, change),
            Next::StoreInto(record) => self.store_record(at, group, &record, Admission::Ending, change),
            Next::Promise(ballots) => self.store_promise(at, group, ballots),
            Next::Remove { floor } => self.remove_record(at, group, floor, change),
        }
    }

    fn store_record(
        &self,
        at: Address<'_>,
        group: &mut Group,
        record: &RecordSlot,
        admission: Admission,
        change: Option<Change>,
    ) -> Result<Ticket, StoreError> {
        let (name, value) = encode_record(at, record);
        check_readable(&name, value.len())?;
        // Deleting ends in a shadow where an operation is remembered: the reserve is for that.
        let is_shadow = record.state.as_ref().is_some_and(|state| state.meta().shadow.is_some());
        if !is_shadow {
            self.log.admit_as(frame_len(name.len(), value.len()), admission)?;
        }
        let told = told(at, change);
        let appended = self.log.append_told(FrameKind::Record, name, value, told)?;
        let meta = record.state.as_ref().map(RecordState::meta);
        let mut entry = Entry::new(appended.sequence, appended.place, at.slot.number(), meta);
        let state_sequence = appended.sequence;
        entry.ballots =
            record.ballots.map(|ballots| Box::new(BallotsAt { ballots, promise: None, state_sequence }));
        self.replace_entry(at.namespace, group, at.key.as_bytes(), Some(entry), false);
        Ok(self.log.ticket(appended.sequence))
    }

    fn store_promise(
        &self,
        at: Address<'_>,
        group: &mut Group,
        ballots: Ballots,
    ) -> Result<Ticket, StoreError> {
        let key = at.key.as_bytes();
        // Without a state to leave alone, it is a record without one. On replay a promise would leave there
        // what an older frame says, although a removal in between, long forgotten, said that it is gone.
        let has_state = group.records.get(key).is_some_and(Entry::has_state);
        if !has_state && !crate::planted::is("promise alone where there is no state") {
            let slot = RecordSlot { ballots: Some(ballots), state: None };
            return self.store_record(at, group, &slot, Admission::Writer, None);
        }
        let name = RecordName {
            namespace: at.namespace,
            slot: at.slot.number(),
            key,
            meta: None,
            ballots: Some(ballots),
        };
        let mut out = Vec::with_capacity(96 + key.len());
        name.encode_into(&mut out);
        self.log.admit(frame_len(out.len(), 0))?;
        let appended = self.log.append(FrameKind::Promise, out.into(), Bytes::new())?;
        let entry = promised(group.records.get(key), &appended, at.slot.number(), ballots);
        self.replace_entry(at.namespace, group, at.key.as_bytes(), Some(entry), false);
        Ok(self.log.ticket(appended.sequence))
    }

    fn remove_record(
        &self,
        at: Address<'_>,
        group: &mut Group,
        floor: Ballot,
        change: Option<Change>,
    ) -> Result<Ticket, StoreError> {
        let raised = group.floor.max(floor);
        let Some(entry) = group.records.get(at.key.as_bytes()) else {
            if raised > group.floor {
                let group_number = u8::try_from(shard_of(at.slot)).expect("there are fewer than 256 groups");
                let body = Floor { namespace: at.namespace, group: group_number, floor: raised };
                let appended = self.log.append(FrameKind::Floor, body.encode(), Bytes::new())?;
                self.set_floor(group, raised, &appended);
            }
            return Ok(self.log.ticket(group.removed_sequence));
        };
        let removal = Remove {
            namespace: at.namespace,
            slot: at.slot.number(),
            key: at.key.clone(),
            floor: raised,
            since: entry.since,
            // Not known before it has its place, and later is only more careful.
            until: self.log.last_segment().saturating_add(1),
        };
        let (since, until) = (removal.since, removal.until);
        let told = told(at, change);
        let appended = self.log.append_told(FrameKind::Remove, removal.encode(), Bytes::new(), told)?;
        self.log.segments.count_tomb(&appended.place, since, until, 0);
        self.set_floor(group, raised, &appended);
        self.replace_entry(at.namespace, group, at.key.as_bytes(), None, false);
        Ok(self.log.ticket(appended.sequence))
    }

    fn set_floor(&self, group: &mut Group, floor: Ballot, said: &super::queue::Appended) {
        group.floor = floor;
        group.floor_segment = said.place.segment;
        group.removed_sequence = said.sequence;
    }
}

fn told(at: Address<'_>, change: Option<Change>) -> Option<Told<'_>> {
    change.map(|change| Told { namespace: at.namespace, key: at.key.as_bytes(), change })
}

/// The entry of a key after a promise frame.
pub(super) fn promised(
    held: Option<&Entry>,
    appended: &super::queue::Appended,
    slot: u16,
    ballots: Ballots,
) -> Entry {
    let mut entry = match held {
        Some(held) if held.has_state() => held.clone(),
        _ => Entry::new(appended.sequence, appended.place, slot, None),
    };
    let promise = entry.has_state().then_some(appended.place);
    entry.sequence = appended.sequence;
    let state_sequence = held.map_or(0, Entry::state_sequence);
    entry.ballots = Some(Box::new(BallotsAt { ballots, promise, state_sequence }));
    entry
}

impl RecordStore for LogStore {
    fn read(&self, at: Address<'_>, want: Want) -> Result<(Option<RecordState>, Ticket), StoreError> {
        let core = &self.core;
        core.log.check_open()?;
        let mut last: Option<(Place, ReadError)> = None;
        for _ in 0..LOOKUPS_MAX {
            let shard = core.records.lock(at.slot);
            let group = shard.groups.get(&at.namespace);
            let found = group.and_then(|group| group.records.get(at.key.as_bytes())).cloned();
            let removed = group.map_or(0, |group| group.removed_sequence);
            drop(shard);
            core.damage.check(found.as_ref().map_or(0, Entry::state_sequence))?;
            let Some(entry) = found else { return Ok((None, core.log.ticket(removed))) };
            if let Some((place, error)) = last
                && place == entry.place
            {
                return Err(error.into_store_error(&place));
            }
            match core.load_state(at.namespace, at.key.as_bytes(), &entry, want) {
                Ok(state) => return Ok((state, core.log.ticket(entry.sequence))),
                Err(error) => last = Some((entry.place, error)),
            }
        }
        let (place, error) = last.expect("the loop ran and did not return");
        Err(error.into_store_error(&place))
    }

    fn update(
        &self,
        at: Address<'_>,
        decide: &mut dyn FnMut(&mut dyn Current) -> Result<Next, StoreError>,
    ) -> Result<Ticket, StoreError> {
        let core = &*self.core;
        core.log.wait_for_room()?;
        let mut shard = core.records.lock(at.slot);
        let group = shard.groups.get(&at.namespace);
        let entry = group.and_then(|group| group.records.get(at.key.as_bytes()));
        core.damage.check(entry.map_or(0, Entry::state_sequence))?;
        let next = decide(&mut View { core, at, entry, floor: core.floor_of(group) })?;
        if next == Next::Keep && group.is_none() {
            return Ok(Ticket::done());
        }
        core.apply(at, shard.groups.entry(at.namespace).or_default(), next)
    }

    fn scan(&self, namespace: NamespaceId, request: &ScanRequest) -> Result<ScanPage, StoreError> {
        scan::page(self, namespace, request)
    }

    fn due(&self, high: Hlc, limit: usize) -> Vec<(NamespaceId, Slot, Key)> {
        let mut soonest = Vec::new();
        for index in 0..SHARDS {
            let shard = self.core.records.shard(index).lock();
            for (namespace, group) in &shard.groups {
                for (ms, key) in group.due.iter().take_while(|(ms, _)| *ms <= high.ms()).take(limit) {
                    let slot = group.records.get(key).map(Entry::slot);
                    soonest.extend(slot.map(|slot| (*ms, *namespace, slot, Arc::clone(key))));
                }
            }
        }
        soonest.sort_by_key(|(ms, ..)| *ms);
        soonest.truncate(limit);
        let whole = |key: &[u8]| Key::new(Bytes::copy_from_slice(key)).expect("the index holds only keys");
        soonest.into_iter().map(|(_, namespace, slot, key)| (namespace, slot, whole(&key))).collect()
    }

    fn raise_time(&self, high: Hlc) -> Result<Ticket, StoreError> {
        let core = &self.core;
        let mut time = core.time.lock();
        if high > time.high {
            let body = encode_number(high.to_u64());
            let appended = core.log.append(FrameKind::Time, body, Bytes::new())?;
            *time = super::Time { high, sequence: appended.sequence, segment: appended.place.segment };
        }
        core.log.check_open()?;
        Ok(core.log.ticket(time.sequence))
    }

    fn time(&self) -> Hlc {
        self.core.time.lock().high
    }

    fn usage(&self) -> RecordUsage {
        let records = self.core.records.records.load(Ordering::Relaxed);
        let payload_bytes = self.core.records.payload.load(Ordering::Relaxed);
        let overhead = records * size_of::<Entry>() as u64;
        RecordUsage { records, payload_bytes, accounted_bytes: payload_bytes + overhead, cap_bytes: 0 }
    }
}
