//! Pace of background reading: as fast as the disk while nobody wants anything, a small part of the time while somebody
//! does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder_format::ids::{BlobId, NamespaceId};
use larder_format::record::Key;
use larder_format::slot::Slot;
use parking_lot::Mutex;

/// Read at once while nobody wants anything, in bytes: long enough for the disk to read ahead.
const IDLE_STEP_BYTES: u64 = 4 << 20;

/// Read at once while somebody does, in bytes: about a tenth of a millisecond for somebody who has to wait for it.
const BUSY_STEP_BYTES: u64 = 128 << 10;

/// After a request the node counts as busy for this long.
const BUSY_FOR: Duration = Duration::from_millis(100);

/// While busy, a step is followed by a pause of this many times its length: then fewer requests than one in a hundred
/// meet a step at all, so that the 99th percentile does not feel it.
const BUSY_PAUSE_FACTOR: u32 = 150;

/// Shortest and longest pause while busy.
const BUSY_PAUSE_MIN: Duration = Duration::from_millis(10);
const BUSY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Most damage that readers may have found and nobody has looked at yet.
const FOUND_MAX: usize = 1000;

/// What a reader found damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Blob(BlobId),
    Record(NamespaceId, Slot, Key),
}

/// What requests leave a trace in: that they came, and what they found damaged.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    beats: AtomicU64,
    found: Mutex<Vec<Found>>,
}

impl Pulse {
    /// Somebody asked for something.
    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody could not read a blob.
    pub(crate) fn found_damaged_blob(&self, id: BlobId) {
        self.note(Found::Blob(id));
    }

    /// Somebody could not read a record.
    pub(crate) fn found_damaged_record(&self, namespace: NamespaceId, slot: Slot, key: &Key) {
        self.note(Found::Record(namespace, slot, key.clone()));
    }

    /// What was found since this was asked last.
    pub(super) fn take_found(&self) -> Vec<Found> {
        std::mem::take(&mut self.found.lock())
    }

    fn note(&self, what: Found) {
        let mut found = self.found.lock();
        if found.len() < FOUND_MAX && !found.contains(&what) {
            found.push(what);
        }
    }

    fn count(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }
}

/// The pace of one reader.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    seen: u64,
    busy_until: Duration,
}

impl Pace {
    /// How much to read now, in bytes. `now` is time by a steady clock.
    pub(crate) fn step_bytes(&mut self, pulse: &Pulse, now: Duration) -> u64 {
        if self.is_busy(pulse, now) { BUSY_STEP_BYTES } else { IDLE_STEP_BYTES }
    }

    /// How long to pause after a step that took this long.
    pub(crate) fn pause(&mut self, pulse: &Pulse, now: Duration, took: Duration) -> Duration {
        if self.is_busy(pulse, now) {
            (took * BUSY_PAUSE_FACTOR).clamp(BUSY_PAUSE_MIN, BUSY_PAUSE_MAX)
        } else {
            Duration::ZERO
        }
    }

    fn is_busy(&mut self, pulse: &Pulse, now: Duration) -> bool {
        let count = pulse.count();
        if count != self.seen {
            self.seen = count;
            self.busy_until = now + BUSY_FOR;
        }
        now < self.busy_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_speed_when_idle_and_a_small_part_of_the_time_when_busy() {
        let (pulse, mut pace) = (Pulse::default(), Pace::default());
        let ms = Duration::from_millis;
        assert_eq!(pace.step_bytes(&pulse, ms(1000)), IDLE_STEP_BYTES);
        assert_eq!(pace.pause(&pulse, ms(1000), ms(5)), Duration::ZERO);
        pulse.beat();
        // A request that came during a step is noticed right after it.
        assert_eq!(pace.pause(&pulse, ms(1001), ms(2)), ms(300));
        assert_eq!(pace.step_bytes(&pulse, ms(1050)), BUSY_STEP_BYTES);
        assert_eq!(pace.step_bytes(&pulse, ms(1102)), IDLE_STEP_BYTES);
    }
}
