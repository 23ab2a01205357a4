//! What is too large for a page, or more than a value and an end: it lies in allocations of its own, and its entry
//! holds its number here.

use std::mem::{size_of, size_of_val};

use bytes::Bytes;
use larder_format::record::{Content, OperationRecord, OperationResult, RecordSlot, RecordState};

/// Bytes counted for a large value beside its length: its place in the list and its allocation.
const VALUE_OVERHEAD: u64 = (2 * size_of::<Option<Outside>>() + 64) as u64;

/// Bytes counted for a whole record beside what it holds: that, the record itself, and its entry in the list of what is
/// due.
const RECORD_OVERHEAD: u64 = VALUE_OVERHEAD + (size_of::<RecordSlot>() + 2 * 16 + 48) as u64;

/// Longest value that is copied out of its request's buffer, in bytes. A longer one fills most of its buffer.
const DETACH_LEN_MAX: usize = 256 * 1024;

/// One of them.
pub(super) enum Outside {
    /// A large plain value.
    Large(Bytes),
    /// A whole record.
    Record(Box<RecordSlot>),
}

impl Outside {
    /// Bytes of value.
    pub(super) fn value_len(&self) -> usize {
        match self {
            Outside::Large(value) => value.len(),
            Outside::Record(record) => record.state.as_ref().map_or(0, RecordState::value_len),
        }
    }

    /// What it counts for against the cap.
    pub(super) fn cost(&self) -> u64 {
        match self {
            Outside::Large(value) => value.len() as u64 + VALUE_OVERHEAD,
            Outside::Record(record) => self.value_len() as u64 + extra_len(record) + RECORD_OVERHEAD,
        }
    }
}

/// Bytes held for a record beside its key and value: leases, and operations with the bytes they handed out (counted even
/// where they are shared with the value).
fn extra_len(record: &RecordSlot) -> u64 {
    let Some(state) = &record.state else { return 0 };
    let tokens = match &state.content {
        Content::Live(live) => size_of_val(live.tokens.as_slice()),
        Content::Shadow(_) => 0,
    };
    let handed_out = |operation: &OperationRecord| match &operation.result {
        OperationResult::Taken { head, body, .. } => head.len() + body.len(),
        _ => 0,
    };
    let operations: usize = state.operations.iter().map(handed_out).sum();
    (tokens + size_of_val(state.operations.as_slice()) + operations) as u64
}

/// A copy of a small slice of a request's buffer, so that what is kept for long does not hold on to all of it.
pub(super) fn detached(bytes: &Bytes) -> Bytes {
    if bytes.len() <= DETACH_LEN_MAX { Bytes::copy_from_slice(bytes) } else { bytes.clone() }
}

/// As [`detached`], of a record's head and body. Slices that `before` holds already are left as they are.
pub(super) fn detach(record: &mut RecordSlot, before: Option<&RecordSlot>) {
    let Some(Content::Live(live)) = record.state.as_mut().map(|state| &mut state.content) else { return };
    let held = match before.and_then(|slot| slot.state.as_ref()).map(|state| &state.content) {
        Some(Content::Live(held)) => [held.head.as_ptr(), held.body.as_ptr()],
        _ => [std::ptr::null(); 2],
    };
    for bytes in [&mut live.head, &mut live.body] {
        if !held.contains(&bytes.as_ptr()) {
            *bytes = detached(bytes);
        }
    }
}

/// When a sweep should look at this record: a value at its end, a shadow when no operation it remembers can be asked
/// about any more. Shadows of replicated records stay until the register says.
pub(super) fn due_ms(record: &RecordSlot) -> Option<u64> {
    let state = record.state.as_ref()?;
    match state.content {
        Content::Live(_) => state.expiry.ms(),
        Content::Shadow(_) if record.ballots.is_none() => {
            state.operations.iter().map(|operation| operation.deadline_ms).max()
        }
        Content::Shadow(_) => None,
    }
}

/// A shard's list of them.
#[derive(Default)]
pub(super) struct List {
    held: Vec<Option<Outside>>,
    vacant: Vec<u32>,
}

impl List {
    pub(super) fn get(&self, number: u32) -> &Outside {
        self.held[number as usize].as_ref().expect("numbers lead to what is there")
    }

    /// The record of a number, to change what costs nothing; `None` for a value.
    pub(super) fn record_mut(&mut self, number: u32) -> Option<&mut RecordSlot> {
        match self.held[number as usize].as_mut() {
            Some(Outside::Record(record)) => Some(record),
            _ => None,
        }
    }

    /// Keeps something; answers its number.
    pub(super) fn add(&mut self, outside: Outside) -> u32 {
        match self.vacant.pop() {
            Some(number) => {
                self.held[number as usize] = Some(outside);
                number
            }
            None => {
                self.held.push(Some(outside));
                (self.held.len() - 1) as u32
            }
        }
    }

    /// Gives something up.
    pub(super) fn remove(&mut self, number: u32) -> Option<Outside> {
        let outside = self.held[number as usize].take();
        self.vacant.push(number);
        if self.vacant.len() == self.held.len() {
            *self = Self::default();
        }
        outside
    }
}
