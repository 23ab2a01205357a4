//! The memory table as a store of records of every kind: what is a value with an end lies in its page, sealed or plain,
//! and is made a state when somebody wants one; anything else lies outside as it is.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use larder_format::clock::Hlc;
use larder_format::ids::NamespaceId;
use larder_format::record::{
    Ballot, Ballots, Content as Body, Expiry, Key, Live, RecordMeta, RecordSlot, RecordState, Version,
};
use larder_format::slot::Slot;

use super::MemoryTable;
use super::entry::{At, Content, Entry, INLINE_LEN_MAX, Kind, fits};
use super::locked::{Look, Seen};
use super::outside::{Outside, detach, detached};
use super::shard::Shard;
use crate::api::{
    Address, Current, Next, RecordStore, RecordUsage, ScanPage, ScanRequest, StoreError, Ticket, Want,
};
use crate::feed::Change;

/// A record under its shard's lock.
struct View<'a> {
    shard: &'a Shard,
    entry: Option<Entry<'a>>,
}

impl Current for View<'_> {
    fn meta(&self) -> Option<RecordMeta> {
        self.shard.meta(self.entry?)
    }

    fn ballots(&self) -> Option<Ballots> {
        self.shard.record_of(self.entry?)?.ballots
    }

    fn floor(&self) -> Ballot {
        self.shard.floor
    }

    fn load(&mut self) -> Result<Option<RecordState>, StoreError> {
        Ok(self.entry.and_then(|entry| self.shard.state(entry, Want::All)))
    }
}

impl Shard {
    /// An entry's state, with an empty body where only the head is wanted.
    pub(super) fn state(&self, entry: Entry<'_>, want: Want) -> Option<RecordState> {
        let all = want == Want::All;
        let (head, body) = match entry.kind() {
            Kind::Record => {
                let state = self.record_of(entry)?.state.clone();
                return if all { state } else { state.map(without_body) };
            }
            Kind::Plain => (&[][..], Bytes::copy_from_slice(if all { entry.value() } else { &[] })),
            Kind::Headed => {
                let (head, body) = entry.headed();
                (head, Bytes::copy_from_slice(if all { body } else { &[] }))
            }
            Kind::Large => match self.outside.get(entry.outside()) {
                Outside::Large(value) => (&[][..], if all { value.clone() } else { Bytes::new() }),
                Outside::Record(_) => return None,
            },
        };
        Some(RecordState {
            version: entry.version(),
            expiry: entry.expiry(),
            content: Body::Live(Live { head: Bytes::copy_from_slice(head), body, ..Live::default() }),
            operations: Vec::new(),
        })
    }

    /// What there is under a key whose entry was found.
    #[inline]
    pub(super) fn look_at<'a>(&'a self, entry: Entry<'a>) -> Look<'a> {
        let value = match entry.kind() {
            Kind::Plain => entry.value(),
            Kind::Large => match self.outside.get(entry.outside()) {
                Outside::Large(value) => value,
                Outside::Record(_) => return Look::Nothing,
            },
            Kind::Headed | Kind::Record => return self.meta(entry).map_or(Look::Nothing, Look::Other),
        };
        Look::Plain(Seen { version: entry.version(), expiry: entry.expiry(), value })
    }
}

fn without_body(mut state: RecordState) -> RecordState {
    if let Body::Live(live) = &mut state.content {
        live.body = Bytes::new();
    }
    state
}

/// A record's head and body, if it is nothing but those and an end.
fn simple(record: &RecordSlot) -> Option<(&RecordState, &Live)> {
    let RecordSlot { ballots: None, state: Some(state) } = record else { return None };
    let Body::Live(live) = &state.content else { return None };
    let is_simple = live.takes_left.is_none()
        && live.tokens.is_empty()
        && state.operations.is_empty()
        && fits(state.expiry);
    is_simple.then_some((state, live))
}

impl MemoryTable {
    /// Puts a record of any kind.
    fn store(&self, shard: &mut Shard, at: &At<'_>, record: &RecordSlot) -> Result<(), StoreError> {
        self.check(at, 0, Expiry::NEVER)?;
        let Some((state, live)) = simple(record) else {
            let mut record = record.clone();
            let before = shard.get(at).and_then(|entry| shard.record_of(entry));
            detach(&mut record, before);
            let version = record.state.as_ref().map_or(Version::from_u64(0), |state| state.version);
            let outside = Outside::Record(Box::new(record));
            return shard.put_outside(&self.shared, at, outside, version, Expiry::NEVER);
        };
        let (version, expiry) = (state.version, state.expiry);
        let head_len = (live.head.len() as u16).to_le_bytes();
        let (kind, parts, len) = if live.head.is_empty() {
            (Kind::Plain, [&live.body[..], &[], &[]], live.body.len())
        } else {
            (Kind::Headed, [&head_len[..], &live.head, &live.body], 2 + live.head.len() + live.body.len())
        };
        if len <= INLINE_LEN_MAX {
            let content = Content { kind, parts: &parts, len, version, expiry };
            return shard.put(&self.shared, at, &content).map(|_| ());
        }
        let outside = if kind == Kind::Plain {
            let is_held = matches!(
                shard.get(at).map(|entry| shard.look_at(entry)),
                Some(Look::Plain(seen)) if seen.value.as_ptr() == live.body.as_ptr()
            );
            Outside::Large(if is_held { live.body.clone() } else { detached(&live.body) })
        } else {
            let mut record = record.clone();
            detach(&mut record, shard.get(at).and_then(|entry| shard.record_of(entry)));
            Outside::Record(Box::new(record))
        };
        shard.put_outside(&self.shared, at, outside, version, expiry)
    }

    /// As [`RecordStore::due`], without the values that [`MemoryTable::sweep`] removes.
    #[must_use]
    pub fn due_records(&self, high: Hlc, limit: usize) -> Vec<(NamespaceId, Slot, Key)> {
        self.list_due(limit, |shard, each| shard.each_due_record(high, each))
    }

    fn list_due(
        &self,
        limit: usize,
        each_due: impl Fn(&Shard, &mut dyn FnMut(u64, Entry<'_>) -> bool) -> bool,
    ) -> Vec<(NamespaceId, Slot, Key)> {
        let mut soonest = Vec::new();
        for place in &self.places {
            let shard = place.shard.lock();
            let mut listed = 0;
            let _enough = each_due(&shard, &mut |ms, entry| {
                let key = Key::new(Bytes::copy_from_slice(entry.key()));
                soonest.extend(key.ok().map(|key| (ms, self.shared.spaces.namespace(entry.space()), key)));
                listed += 1;
                listed < limit
            });
        }
        soonest.sort_by_key(|(ms, ..)| *ms);
        soonest.truncate(limit);
        // A record's place in memory does not depend on its slot.
        let of_raw = |key: &Key| Slot::of_raw(key.as_bytes());
        soonest.into_iter().map(|(_, namespace, key)| (namespace, of_raw(&key), key)).collect()
    }

    /// Calls `decide` about a record whose shard is locked, and does what it says. `is_told`: whoever asks tells of the change in
    /// words of its own, too.
    pub(super) fn update_within(
        &self,
        number: usize,
        shard: &mut Shard,
        at: &At<'_>,
        decide: &mut dyn FnMut(&mut dyn Current) -> Result<Next, StoreError>,
        is_told: bool,
    ) -> Result<(), StoreError> {
        let mut view = View { entry: shard.get(at), shard };
        let next = decide(&mut view)?;
        let feed = &self.shared.feed;
        let change = if feed.is_on() { Change::of(view.meta(), &next) } else { None };
        let changes = !matches!(next, Next::Keep | Next::Promise(_));
        match next {
            Next::Keep => {}
            Next::Store(record) | Next::StoreInto(record) => {
                let need = record.state.as_ref().map_or(0, RecordState::value_len);
                self.change(number, shard, at, need, |table, shard| table.store(shard, at, &record))?;
            }
            Next::Promise(ballots) => {
                self.change(number, shard, at, 0, |table, shard| table.promise(shard, at, ballots))?;
            }
            Next::Remove { floor } => {
                self.remove(number, shard, at, Version::from_u64(floor.round));
                shard.floor = shard.floor.max(floor);
            }
        }
        if changes {
            shard.watched.changed(at.hash);
        }
        // Still under the record's lock, so that a key's events come in their order.
        if let Some(change) = change {
            feed.push_by(at.namespace, at.key, change, is_told);
        }
        Ok(())
    }

    fn promise(&self, shard: &mut Shard, at: &At<'_>, ballots: Ballots) -> Result<(), StoreError> {
        let (number, state) = match shard.get(at) {
            None => (None, None),
            Some(entry) if entry.kind() == Kind::Record => (Some(entry.outside()), None),
            Some(entry) => (None, shard.state(entry, Want::All)),
        };
        // Ballots change nothing that is counted, and a shadow that has some is not due by itself.
        match number.and_then(|number| shard.outside.record_mut(number)) {
            Some(record) if record.ballots.is_some() => {
                record.ballots = Some(ballots);
                Ok(())
            }
            Some(record) => {
                let record = RecordSlot { ballots: Some(ballots), state: record.state.clone() };
                self.store(shard, at, &record)
            }
            None => self.store(shard, at, &RecordSlot { ballots: Some(ballots), state }),
        }
    }
}

impl RecordStore for MemoryTable {
    fn read(&self, at: Address<'_>, want: Want) -> Result<(Option<RecordState>, Ticket), StoreError> {
        let (number, at) = self.at(at.namespace, at.key.as_bytes());
        let shard = self.places[number].shard.lock();
        let state = shard.get(&at).and_then(|entry| shard.state(entry, want));
        Ok((state, Ticket::done()))
    }

    fn update(
        &self,
        at: Address<'_>,
        decide: &mut dyn FnMut(&mut dyn Current) -> Result<Next, StoreError>,
    ) -> Result<Ticket, StoreError> {
        let (number, at) = self.at(at.namespace, at.key.as_bytes());
        self.update_within(number, &mut self.places[number].shard.lock(), &at, decide, false)?;
        Ok(Ticket::done())
    }

    fn scan(&self, namespace: NamespaceId, request: &ScanRequest) -> Result<ScanPage, StoreError> {
        self.scan_records(namespace, request)
    }

    fn due(&self, high: Hlc, limit: usize) -> Vec<(NamespaceId, Slot, Key)> {
        self.list_due(limit, |shard, each| shard.each_due(&self.shared, high, each))
    }

    fn raise_time(&self, high: Hlc) -> Result<Ticket, StoreError> {
        self.time.fetch_max(high.to_u64(), Ordering::AcqRel);
        Ok(Ticket::done())
    }

    fn time(&self) -> Hlc {
        Hlc::from_u64(self.time.load(Ordering::Acquire))
    }

    fn usage(&self) -> RecordUsage {
        let sum = |field: fn(&super::Cell) -> u64| self.places.iter().map(|place| field(&place.cell)).sum();
        RecordUsage {
            records: sum(|cell| cell.records.load(Ordering::Relaxed)),
            payload_bytes: sum(|cell| cell.payload.load(Ordering::Relaxed)),
            accounted_bytes: self.shared.budget.used(),
            cap_bytes: self.shared.budget.cap(),
        }
    }
}
