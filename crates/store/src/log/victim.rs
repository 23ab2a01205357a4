//! Which segment compaction empties next, when the last one is sealed for its sake, and what becomes of the
//! files of freed ones.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Core;
use super::queue::Log;
use super::segments::{FIRST_FRAME, Segment, segment_name};
use crate::api::StoreError;

/// Freed segment files kept to be used again: writing into them needs no new blocks, hence faster syncs.
/// More than this go back to the file system, and all of them when space is short.
pub(super) const SPARE_MAX: usize = 2;

/// How much is done to give space back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// What pays for itself; more when the disk is short of space.
    Normal,
    /// As much as when the disk is short of space, because somebody asked for it.
    High,
}

/// What must be dead for copying the rest to be worth it.
struct Worth {
    /// Share of a sealed segment, in percent.
    sealed_percent: u64,
    /// Share of the last segment, in percent. It is higher, because what is young may die soon by itself.
    last_percent: u64,
    /// Bytes of the last segment.
    last_bytes: u64,
}

impl Worth {
    fn of(log: &Log, effort: Effort) -> Self {
        let eighth = log.space.segment_len() / 8;
        if effort == Effort::High || log.space.is_short() {
            return Self { sealed_percent: 10, last_percent: 25, last_bytes: eighth.min(1 << 20) };
        }
        Self { sealed_percent: 25, last_percent: 50, last_bytes: eighth }
    }
}

impl Core {
    /// The segment to empty next: of those worth it that there is room for, the one of which the largest
    /// share is dead. Seals the last segment if that is the one.
    pub(super) fn choose_victim(
        &self,
        unmovable: &BTreeMap<u32, i64>,
        effort: Effort,
    ) -> Result<Option<u32>, StoreError> {
        let worth = Worth::of(&self.log, effort);
        if let Some(number) = self.emptiest(unmovable, worth.sealed_percent) {
            return Ok(Some(number));
        }
        let Some(sealed_through) = self.seal_last(&worth) else { return Ok(None) };
        self.commit(sealed_through)?;
        Ok(self.emptiest(unmovable, worth.sealed_percent))
    }

    fn emptiest(&self, unmovable: &BTreeMap<u32, i64>, percent_min: u64) -> Option<u32> {
        let numbers = self.numbers();
        let room = self.log.space.for_copies();
        let sealed = self.log.segments.durable_sealed(self.log.progress.durable());
        let candidates = sealed.iter().filter_map(|segment| {
            // One that holds damage that is needed stays, until less of it is needed.
            let live = segment.live.load(Ordering::Relaxed);
            if unmovable.get(&segment.number) == Some(&live) {
                return None;
            }
            let len = segment.end.load(Ordering::Acquire).saturating_sub(FIRST_FRAME).max(1);
            let needed = self.needed(segment, &numbers);
            let dead = len.saturating_sub(needed);
            let fits = needed == 0 || needed <= room;
            (fits && dead * 100 >= len * percent_min).then_some((dead * 1000 / len, segment.number))
        });
        candidates.max().map(|(_, number)| number)
    }

    fn numbers(&self) -> BTreeSet<u32> {
        self.log.segments.all().iter().map(|segment| segment.number).collect()
    }

    /// Bytes of a segment that would have to be copied.
    fn needed(&self, segment: &Segment, numbers: &BTreeSet<u32>) -> u64 {
        let live = u64::try_from(segment.live.load(Ordering::Relaxed)).unwrap_or(0);
        let now_ms = self.now_ms();
        let tombs = *segment.tombs.lock();
        let others = |range: std::ops::RangeInclusive<u32>| {
            numbers.range(range).any(|number| *number != segment.number)
        };
        let kept = tombs.bytes > 0
            && (tombs.remember_until_ms > now_ms
                || (tombs.since <= tombs.until && others(tombs.since..=tombs.until)));
        live + if kept { tombs.bytes } else { 0 }
    }

    /// Ends the last segment if enough of it is dead, so that it can be emptied like any other. Answers
    /// what must be durable before.
    fn seal_last(&self, worth: &Worth) -> Option<u64> {
        let numbers = self.numbers();
        let segment = self.log.segments.get(self.log.last_segment())?;
        let needed = self.needed(&segment, &numbers);
        let room = self.log.space.for_copies();
        let mut queue = self.log.queue.lock();
        let written = queue.offset - FIRST_FRAME;
        let dead = written.saturating_sub(needed);
        let worth_it = dead >= worth.last_bytes && dead * 100 >= written * worth.last_percent;
        if queue.segment != segment.number || !worth_it || needed > room || self.log.progress.is_stalled() {
            return None;
        }
        self.log.roll(&mut queue);
        self.log.work.notify_one();
        Some(queue.next_sequence - 1)
    }
}

/// File name of a freed segment that waits to be used again.
fn spare_name(number: u32) -> String {
    format!("{number:08}.free")
}

impl Log {
    /// Keeps a freed segment's file for reuse, or removes it.
    pub(super) fn retire_file(&self, segment: &Arc<Segment>) -> io::Result<()> {
        let number = segment.number;
        let mut spares = self.spares.lock();
        if spares.len() < SPARE_MAX && !self.space.is_short() {
            self.disk.rename(&segment_name(number), &spare_name(number))?;
            self.disk.sync_dir()?;
            spares.push(spare_name(number));
            return Ok(());
        }
        drop(spares);
        self.disk.remove(&segment_name(number))?;
        self.disk.sync_dir()
    }

    /// Removes the files kept for reuse; answers how many there were.
    pub(super) fn drop_spares(&self) -> io::Result<usize> {
        let spares = std::mem::take(&mut *self.spares.lock());
        for spare in &spares {
            self.disk.remove(spare)?;
        }
        Ok(spares.len())
    }
}
