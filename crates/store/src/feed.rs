//! The changes feed of one table: which records changed, in order, as far back as a bounded ring reaches.
//!
//! A feed says *that* a key changed and how (changed, deleted, expired), never to what: whoever wants to know
//! reads the record. It never holds up a writer: when the ring is full the oldest events go, and a reader that
//! is behind them is told so ([`Lost`]) and looks at everything anew.
//!
//! Of the log store an event's number is that of the frame that made the change, pushed under the lock that gives
//! numbers out: the feed is in the order of the log, and what the log says is durable holds for it as well. The
//! memory table counts for itself, and only while its feed is on ([`Feed::turn_on`]), so that nobody pays for a feed
//! that nobody reads.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use larder_format::ids::NamespaceId;
use larder_format::record::{RecordMeta, RecordState, ShadowReason, Version};
use parking_lot::{Mutex, RwLock};

use crate::api::Next;

/// Most bytes of events kept: about 1.1 million of sealed keys, which a client that was away for a while can catch
/// up with sooner than read everything anew.
pub const FEED_BYTES_MAX: usize = 64 << 20;

/// Events are kept and dropped in pieces of this many bytes; one look reads one piece at most.
const PIECE_LEN: usize = 64 << 10;

/// Bytes of an event beside its key: number, namespace, version, kind, length of the key.
const EVENT_OVERHEAD: usize = 8 + 8 + 8 + 1 + 2;

/// In the byte of an event's kind: whoever made the change tells of it, too.
const IS_TOLD: u8 = 1 << 7;

/// What happened to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// There is a value where there was none.
    Created,
    /// There is another value than before, or the same with another end.
    Changed,
    /// It was deleted, or its last read was taken.
    Deleted,
    /// Its time was up.
    Expired,
}

/// A change as a table tells it to its feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: EventKind,
    /// Of a change or deletion the version it made; of an expiry the version that expired.
    pub version: Version,
}

impl Change {
    /// What a decision means to whoever watches; `None` for what nobody can see: ballots, shadows that go.
    #[must_use]
    pub fn of(before: Option<RecordMeta>, next: &Next) -> Option<Self> {
        let was_value = before.as_ref().is_some_and(|meta| meta.shadow.is_none());
        let after = match next {
            Next::Keep | Next::Promise(_) => return None,
            Next::Store(slot) | Next::StoreInto(slot) => slot.state.as_ref().map(RecordState::meta),
            Next::Remove { floor } => {
                let before = before.filter(|_| was_value)?;
                // A sweep drops the version it finds; a deletion has made a newer one.
                let expired = floor.round <= before.version.to_u64();
                let kind = if expired { EventKind::Expired } else { EventKind::Deleted };
                let version = if expired { before.version } else { Version::from_u64(floor.round) };
                return Some(Self { kind, version });
            }
        };
        let after = after?;
        let kind = match after.shadow {
            None if was_value => EventKind::Changed,
            None => EventKind::Created,
            Some(_) if !was_value => return None,
            Some(ShadowReason::Expired) => EventKind::Expired,
            Some(ShadowReason::Deleted | ShadowReason::Taken) => EventKind::Deleted,
        };
        Some(Self { kind, version: after.version })
    }
}

/// One event, as it lies in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its number: rising, with gaps.
    pub sequence: u64,
    /// Namespace of the record.
    pub namespace: NamespaceId,
    /// Key of the record.
    pub key: &'a [u8],
    /// What happened.
    pub change: Change,
    /// Whoever made the change tells of it in words of its own, too.
    pub is_told: bool,
}

/// Events after the one asked for are gone, or it is of another life of the feed: look at everything anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the feed does not reach back that far")]
pub struct Lost;

/// How far one look at a feed came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// Number of the last event looked at, or that asked for if there was none after it.
    pub through: u64,
    /// Whether there is more to look at already.
    pub more: bool,
}

/// A life of a feed and a number in it: all events up to that number were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Random, another for each life: after a restart, after damage, after the feed was off.
    pub life: u64,
    /// Number of the last event seen.
    pub sequence: u64,
}

/// A bounded ring of events.
pub struct Feed {
    ring: RwLock<Ring>,
    newest: AtomicU64,
    /// As in the ring, to be looked at without its lock.
    life: AtomicU64,
    on: AtomicBool,
    waiting: AtomicBool,
    waker: Mutex<Option<Waker>>,
    bytes_max: usize,
}

struct Ring {
    life: u64,
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// Events up to this number are gone, or were before this life.
    lost_through: u64,
    newest_of: HashMap<NamespaceId, u64>,
}

struct Piece {
    last: u64,
    bytes: Vec<u8>,
}

impl Feed {
    /// A feed that begins after `sequence`, with a random `life`.
    #[must_use]
    pub fn new(life: u64, sequence: u64, on: bool) -> Self {
        Self::bounded(life, sequence, on, FEED_BYTES_MAX)
    }

    /// As [`Feed::new`], keeping at most so many bytes.
    #[must_use]
    pub fn bounded(life: u64, sequence: u64, on: bool, bytes_max: usize) -> Self {
        let ring = Ring {
            life,
            pieces: VecDeque::new(),
            bytes: 0,
            lost_through: sequence,
            newest_of: HashMap::new(),
        };
        Self {
            ring: RwLock::new(ring),
            newest: AtomicU64::new(sequence),
            life: AtomicU64::new(life),
            on: AtomicBool::new(on),
            waiting: AtomicBool::new(false),
            waker: Mutex::new(None),
            bytes_max,
        }
    }

    /// Whether events are kept.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// Begins to keep events; positions of before are lost if it was off.
    pub fn turn_on(&self) {
        let mut ring = self.ring.write();
        if !self.on.load(Ordering::Acquire) {
            self.forget(&mut ring);
            self.on.store(true, Ordering::Release);
        }
    }

    /// Stops keeping events and gives their memory back.
    pub fn turn_off(&self) {
        let mut ring = self.ring.write();
        self.on.store(false, Ordering::Release);
        self.forget(&mut ring);
    }

    /// Begins a new life: whoever reads is told that events were lost. For when what was told may not hold any more.
    pub fn break_off(&self) {
        self.forget(&mut self.ring.write());
        self.wake();
    }

    /// Adds an event under a number given out by a log, above all before it.
    pub(crate) fn push(&self, sequence: u64, namespace: NamespaceId, key: &[u8], change: Change) {
        let mut ring = self.ring.write();
        self.add(&mut ring, Event { sequence, namespace, key, change, is_told: false });
        drop(ring);
        self.wake();
    }

    /// Adds an event under the next number, if the feed is on.
    pub(crate) fn push_next(&self, namespace: NamespaceId, key: &[u8], change: Change) {
        self.push_by(namespace, key, change, false);
    }

    /// As [`Feed::push_next`], of a change whose maker may tell of it in words of its own.
    pub(crate) fn push_by(&self, namespace: NamespaceId, key: &[u8], change: Change, is_told: bool) {
        let mut ring = self.ring.write();
        if !self.on.load(Ordering::Acquire) {
            return;
        }
        let sequence = self.newest.load(Ordering::Acquire) + 1;
        self.add(&mut ring, Event { sequence, namespace, key, change, is_told });
        drop(ring);
        self.wake();
    }

    fn forget(&self, ring: &mut Ring) {
        ring.forget(self.newest.load(Ordering::Acquire));
        self.life.store(ring.life, Ordering::Release);
    }

    fn add(&self, ring: &mut Ring, event: Event<'_>) {
        debug_assert!(event.sequence > self.newest.load(Ordering::Acquire), "events come in order");
        ring.push(event);
        while ring.bytes > self.bytes_max && ring.pieces.len() > 1 {
            ring.drop_oldest();
        }
        self.newest.store(event.sequence, Ordering::Release);
    }

    fn wake(&self) {
        if self.waiting.swap(false, Ordering::AcqRel)
            && let Some(waker) = self.waker.lock().take()
        {
            waker.wake();
        }
    }

    /// Number of the newest event, durable or not.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    /// Where the feed is now.
    #[must_use]
    pub fn position(&self) -> Position {
        let ring = self.ring.read();
        Position { life: ring.life, sequence: self.newest() }
    }

    /// The newest event of a namespace; the feed's beginning if there was none. Whoever has seen it has seen every
    /// change of the namespace that was answered before this call.
    #[must_use]
    pub fn newest_of(&self, namespace: NamespaceId) -> Position {
        let ring = self.ring.read();
        let sequence = ring.newest_of.get(&namespace).copied().unwrap_or(0);
        Position { life: ring.life, sequence }
    }

    /// Shows events after a position, and not beyond number `through`, in order; one piece of the ring at most.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn look(
        &self,
        after: Position,
        through: u64,
        mut each: impl FnMut(Event<'_>),
    ) -> Result<Looked, Lost> {
        let ring = self.ring.read();
        let newest = self.newest();
        if after.life != ring.life || after.sequence < ring.lost_through || after.sequence > newest {
            return Err(Lost);
        }
        let mut looked = Looked { through: after.sequence, more: false };
        let at = ring.pieces.partition_point(|piece| piece.last <= after.sequence);
        let Some(piece) = ring.pieces.get(at) else { return Ok(looked) };
        for event in piece.events() {
            if event.sequence > through {
                return Ok(looked);
            }
            if event.sequence > after.sequence {
                each(event);
                looked.through = event.sequence;
            }
        }
        looked.more = looked.through < newest.min(through);
        Ok(looked)
    }

    /// Resolves once there is an event after this position, or another life. For one task: the last that asked is
    /// woken.
    pub fn poll_past(&self, after: Position, cx: &mut Context<'_>) -> Poll<()> {
        let past = || self.newest() > after.sequence || self.life.load(Ordering::Acquire) != after.life;
        if past() {
            return Poll::Ready(());
        }
        *self.waker.lock() = Some(cx.waker().clone());
        self.waiting.store(true, Ordering::Release);
        // An event may have come between the look and the note.
        if past() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Ring {
    fn forget(&mut self, newest: u64) {
        // Another life; that it differs is all that counts.
        self.life = self.life.wrapping_add(1);
        self.pieces = VecDeque::new();
        self.bytes = 0;
        self.lost_through = newest;
        self.newest_of.clear();
    }

    fn push(&mut self, event: Event<'_>) {
        let len = EVENT_OVERHEAD + event.key.len();
        if self.pieces.back().is_none_or(|piece| piece.bytes.len() + len > PIECE_LEN) {
            // Small at first: a node with little to tell keeps little.
            self.pieces.push_back(Piece { last: 0, bytes: Vec::with_capacity(len) });
        }
        let Some(piece) = self.pieces.back_mut() else { return };
        piece.last = event.sequence;
        piece.push(event);
        self.bytes += len;
        self.newest_of.insert(event.namespace, event.sequence);
    }

    fn drop_oldest(&mut self) {
        let Some(piece) = self.pieces.pop_front() else { return };
        self.bytes -= piece.bytes.len();
        self.lost_through = piece.last;
    }
}

impl Piece {
    fn push(&mut self, event: Event<'_>) {
        let kind = match event.change.kind {
            EventKind::Changed => 1,
            EventKind::Deleted => 2,
            EventKind::Expired => 3,
            EventKind::Created => 4,
        };
        let key_len = u16::try_from(event.key.len()).expect("a key has at most 4 KiB");
        self.bytes.extend_from_slice(&event.sequence.to_le_bytes());
        self.bytes.extend_from_slice(&event.namespace.0.to_le_bytes());
        self.bytes.extend_from_slice(&event.change.version.to_u64().to_le_bytes());
        self.bytes.push(kind | if event.is_told { IS_TOLD } else { 0 });
        self.bytes.extend_from_slice(&key_len.to_le_bytes());
        self.bytes.extend_from_slice(event.key);
    }

    fn events(&self) -> impl Iterator<Item = Event<'_>> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (fixed, after) = rest.split_first_chunk::<EVENT_OVERHEAD>()?;
            let number = |at: usize| {
                let mut out = [0; 8];
                out.copy_from_slice(&fixed[at..at + 8]);
                u64::from_le_bytes(out)
            };
            let kind = match fixed[24] & !IS_TOLD {
                1 => EventKind::Changed,
                2 => EventKind::Deleted,
                3 => EventKind::Expired,
                _ => EventKind::Created,
            };
            let (key, after) = after.split_at_checked(u16::from_le_bytes([fixed[25], fixed[26]]).into())?;
            rest = after;
            let change = Change { kind, version: Version::from_u64(number(16)) };
            let (namespace, is_told) = (NamespaceId(number(8)), fixed[24] & IS_TOLD != 0);
            Some(Event { sequence: number(0), namespace, key, change, is_told })
        })
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
