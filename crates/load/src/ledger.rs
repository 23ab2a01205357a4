//! What is known of every key while a run writes and reads it from many connections at once, so that what a read
//! answers can be judged: one word a key, and a second one where values expire.
//!
//! Writes of a key are numbered: generations, beginning at 1. Two bounds are kept. `issued` is the newest generation
//! sent; `floor` is the newest one that was acknowledged and was alone under way when it was sent, so that every
//! earlier one is known to be overwritten. A read sees a generation from the floor at the time it was sent up to the
//! newest issued when it came back; anything else the server made up, mixed up or brought back. This never accuses a
//! server whose single keys are linearizable; it overlooks swaps between writes that overlapped.
//!
//! Generations are numbers of 28 bits that wrap; comparisons are made within a window of half of them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::values;

const BITS: u32 = 28;
const MASK: u64 = (1 << BITS) - 1;
/// Generations farther behind than this are in front.
const HALF: u64 = 1 << (BITS - 1);
/// Writes of one key that may be under way at once; more are not begun.
const WRITES_MAX: u64 = 0xff;

/// How far a server may be off with a value's end, by our clock.
#[derive(Debug, Clone, Copy)]
pub struct Slack {
    /// A value may vanish this much before its time, in milliseconds.
    early_ms: u64,
    /// A value may be served this much after its time, in milliseconds.
    late_ms: u64,
}

impl Slack {
    /// Of servers that count in milliseconds: their clock may run a little faster, and they may be a little late.
    pub const MILLISECONDS: Slack = Slack { early_ms: 20, late_ms: 1_000 };
    /// Of servers whose clock ticks once a second.
    pub const SECONDS: Slack = Slack { early_ms: 1_100, late_ms: 2_100 };
}

/// Everything about the keys of a run.
#[derive(Debug)]
pub struct Ledger {
    keys: Vec<AtomicU64>,
    /// Where values expire: when the floor's write was sent and acknowledged.
    times: Vec<AtomicU64>,
    ttl_ms: Option<u64>,
    slack: Slack,
}

/// A write that was begun.
#[derive(Debug, Clone, Copy)]
pub struct Write {
    /// Its number.
    pub generation: u32,
    /// Whether no other write of the key was under way.
    alone: bool,
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Acknowledged.
    Stored,
    /// Refused: nothing was stored.
    Refused,
    /// Not known: it may be there, or come later.
    Unknown,
}

/// What a read may see, from what was known when it was sent.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    floor: u32,
    /// No write was under way: what is there is the floor's.
    alone: bool,
    /// The floor's write: sent and acknowledged, in milliseconds.
    times_ms: Option<(u32, u32)>,
}

/// What a read came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A value it may see.
    Right,
    /// No value, and there may be none: never written, or its time may be up.
    Absent,
    /// No value, where one was acknowledged and its time is not up.
    Missing,
    /// Older than a write that was acknowledged before.
    Stale,
    /// Of another key or run, or of a generation that was never sent.
    Wrong,
    /// Damaged, cut, or put together from several.
    Torn,
    /// A value whose time was up long before.
    Outlived,
}

fn issued(state: u64) -> u64 {
    state & MASK
}

fn floor(state: u64) -> u64 {
    (state >> BITS) & MASK
}

fn under_way(state: u64) -> u64 {
    state >> (2 * BITS)
}

fn pack(issued: u64, floor: u64, under_way: u64) -> u64 {
    (issued & MASK) | ((floor & MASK) << BITS) | (under_way << (2 * BITS))
}

/// The low bits of a generation stand beside its times, so that both are known to belong together.
const TAG_BITS: u32 = 8;

fn pack_times(generation: u32, sent_ms: u64, acknowledged_ms: u64) -> u64 {
    let tag = u64::from(generation) & ((1 << TAG_BITS) - 1);
    (tag << (2 * BITS)) | ((sent_ms & MASK) << BITS) | (acknowledged_ms & MASK)
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value & MASK).unwrap_or(0)
}

impl Ledger {
    /// For so many keys, none of them written; `ttl_ms` if values expire.
    #[must_use]
    pub fn new(keys: u32, ttl_ms: Option<u64>, slack: Slack) -> Self {
        let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        let count = keys as usize;
        Self { keys: zeros(count), times: zeros(if ttl_ms.is_some() { count } else { 0 }), ttl_ms, slack }
    }

    /// Numbers a write. `None` if too many of this key are under way.
    #[must_use]
    pub fn begin_write(&self, key: u32) -> Option<Write> {
        let state = &self.keys[key as usize];
        let before = state
            .try_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                let next = issued(state).wrapping_add(1) & MASK;
                let mut low = floor(state);
                // A floor that was left behind is pulled along: a write that was under way for so long is none.
                if next.wrapping_sub(low) & MASK >= HALF {
                    low = next.wrapping_sub(HALF - 1) & MASK;
                }
                (under_way(state) < WRITES_MAX).then(|| pack(next, low, under_way(state) + 1))
            })
            .ok()?;
        Some(Write { generation: narrow(issued(before).wrapping_add(1)), alone: under_way(before) == 0 })
    }

    /// Says how a write ended; when it was sent, and now, in milliseconds of the run.
    pub fn end_write(&self, key: u32, write: Write, ended: Ended, sent_ms: u64, now_ms: u64) {
        if ended == Ended::Unknown {
            // It stays under way for ever: nothing may be concluded from later ones.
            return;
        }
        let raises = ended == Ended::Stored && write.alone;
        let state = &self.keys[key as usize];
        let updated = state.try_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            let mine = u64::from(write.generation);
            let raised = raises && mine.wrapping_sub(floor(state)) & MASK < HALF;
            let low = if raised { mine } else { floor(state) };
            Some(pack(issued(state), low, under_way(state).saturating_sub(1)))
        });
        if raises && updated.is_ok() && self.ttl_ms.is_some() {
            // After the floor: who reads the times first and the floor then has times that are not too young.
            let times = pack_times(write.generation, sent_ms, now_ms);
            self.times[key as usize].store(times, Ordering::Release);
        }
    }

    /// What a read that is sent now may see.
    #[must_use]
    pub fn begin_read(&self, key: u32) -> Expected {
        let times = self.times.get(key as usize).map(|times| times.load(Ordering::Acquire));
        let state = self.keys[key as usize].load(Ordering::Acquire);
        let low = narrow(floor(state));
        let belongs = |times: u64| times >> (2 * BITS) == u64::from(low) & ((1 << TAG_BITS) - 1);
        let times_ms = times.filter(|times| belongs(*times)).map(|t| (narrow(t >> BITS), narrow(t)));
        Expected { floor: low, alone: under_way(state) == 0, times_ms }
    }

    /// Judges what came back: a value as it was recognised, or none; when the read was sent, and now.
    #[must_use]
    pub fn judge(
        &self,
        key: u32,
        expected: Expected,
        seen: Option<values::Read>,
        sent_ms: u64,
        now_ms: u64,
    ) -> Verdict {
        let Some(seen) = seen else { return self.judge_absence(expected, now_ms) };
        let generation = match seen {
            values::Read::Generation(generation) => u64::from(generation),
            values::Read::Foreign => return Verdict::Wrong,
            values::Read::Torn => return Verdict::Torn,
        };
        if generation > MASK {
            return Verdict::Wrong;
        }
        let state = self.keys[key as usize].load(Ordering::Acquire);
        let low = u64::from(expected.floor);
        let ahead = generation.wrapping_sub(low) & MASK;
        if ahead > issued(state).wrapping_sub(low) & MASK {
            return if ahead >= HALF && generation != 0 { Verdict::Stale } else { Verdict::Wrong };
        }
        match (self.ttl_ms, expected.times_ms) {
            (Some(ttl_ms), Some((_, acknowledged_ms)))
                if expected.alone
                    && ahead == 0
                    && sent_ms > u64::from(acknowledged_ms) + ttl_ms + self.slack.late_ms =>
            {
                Verdict::Outlived
            }
            _ => Verdict::Right,
        }
    }

    fn judge_absence(&self, expected: Expected, now_ms: u64) -> Verdict {
        if expected.floor == 0 {
            return Verdict::Absent;
        }
        match (self.ttl_ms, expected.times_ms) {
            (None, _) => Verdict::Missing,
            // A newer write took the floor's place meanwhile, with times of its own.
            (Some(_), None) => Verdict::Absent,
            (Some(ttl_ms), Some((sent_ms, _))) => {
                let over = u64::from(sent_ms) + ttl_ms <= now_ms + self.slack.early_ms;
                if over { Verdict::Absent } else { Verdict::Missing }
            }
        }
    }
}

#[cfg(test)]
mod tests;
