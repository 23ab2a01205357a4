//! What is done on request and takes long: giving all space back now, reading everything to verify it. In
//! small steps, each told to whoever asked; it ends early when nobody listens any more.

use std::sync::Arc;
use std::time::Duration;

use larder_format::error::Kind;
use larder_store::api::BlobStore;
use larder_store::log::{DamagedItem, Effort, LogStore, Scrubber};
use larder_wire::answer::Failure;
use parking_lot::Mutex;

use crate::leases::Leases;
use crate::registers::store_failure;
use crate::time::NodeTime;
use crate::upkeep::{Keeper, Pace, ScrubSum};

/// Leases looked at in one step.
const LEASES_PER_STEP: usize = 1024;

/// Blobs forgotten in one step.
const BLOBS_PER_STEP: usize = 4096;

/// In the background steps are this many times smaller.
const GENTLE_PARTS: usize = 16;

/// Bytes read in one step of compaction or scrubbing.
const BYTES_PER_STEP: u64 = 16 << 20;

/// Longest wait for the turn of a scrub in the background to end.
const SCRUB_TURN_MAX: Duration = Duration::from_secs(5);

/// Work on request.
pub(crate) struct Maintenance {
    pub(crate) log: Arc<LogStore>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) collecting: Mutex<()>,
    pub(crate) scrubbing: Mutex<()>,
}

/// How far a collection has come, counted from its beginning.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Collecting {
    pub(crate) leases_total: u64,
    pub(crate) leases_seen: u64,
    pub(crate) leases_ended: u64,
    pub(crate) blobs: u64,
    pub(crate) blob_bytes: u64,
    pub(crate) read_bytes: u64,
    pub(crate) copied_bytes: u64,
    pub(crate) freed_segments: u64,
    pub(crate) freed_bytes: u64,
    pub(crate) disk_free_before_bytes: u64,
    pub(crate) disk_free_bytes: u64,
    pub(crate) finished: bool,
}

/// How far a scrub has come; what is damaged is that of the last step.
#[derive(Debug, Default)]
pub(crate) struct Scrubbing {
    pub(crate) total_bytes: u64,
    pub(crate) read_bytes: u64,
    pub(crate) frames: u64,
    pub(crate) damaged: Vec<DamagedItem>,
    pub(crate) finished: bool,
    /// At the end: frames that are lost as a whole, which no reading finds.
    pub(crate) lost: Vec<String>,
}

fn busy(what: &str) -> Failure {
    Failure::new(Kind::Conflict, format!("{what} is under way already"))
}

impl Maintenance {
    /// Ends leases that no record lists, forgets blobs that no lease keeps, gives their space back. `tell`
    /// answers whether to go on.
    ///
    /// # Errors
    /// [`Kind::Conflict`] if one is under way; [`Kind::Damaged`] while lost frames are not accepted; others.
    pub(crate) fn collect(&self, tell: impl FnMut(Collecting) -> bool) -> Result<(), Failure> {
        self.collect_with(Effort::High, GENTLE_PARTS, tell)
    }

    /// As [`Maintenance::collect`], in smaller steps, and moving only what pays for itself.
    ///
    /// # Errors
    /// As [`Maintenance::collect`].
    pub(crate) fn collect_gently(&self, tell: impl FnMut(Collecting) -> bool) -> Result<(), Failure> {
        self.collect_with(Effort::Normal, 1, tell)
    }

    fn collect_with(
        &self,
        effort: Effort,
        parts: usize,
        mut tell: impl FnMut(Collecting) -> bool,
    ) -> Result<(), Failure> {
        let _alone = self.collecting.try_lock().ok_or_else(|| busy("a collection"))?;
        let tokens = self.log.lease_tokens();
        let mut done = Collecting {
            leases_total: tokens.len() as u64,
            disk_free_before_bytes: self.free_bytes(),
            ..Collecting::default()
        };
        for some in tokens.chunks(LEASES_PER_STEP / GENTLE_PARTS * parts) {
            for token in some {
                done.leases_ended += u64::from(self.leases.end_if_over(*token).map_err(store_failure)?);
            }
            done.leases_seen += some.len() as u64;
            if !self.told(&mut done, &mut tell) {
                return Ok(());
            }
        }
        loop {
            let step = self.log.collect(BLOBS_PER_STEP / GENTLE_PARTS * parts).map_err(store_failure)?;
            done.blobs += step.blobs;
            done.blob_bytes += step.bytes;
            if !self.told(&mut done, &mut tell) {
                return Ok(());
            }
            if !step.more {
                break;
            }
        }
        loop {
            let step = self
                .log
                .compact_with(effort, BYTES_PER_STEP / GENTLE_PARTS as u64 * parts as u64)
                .map_err(store_failure)?;
            done.read_bytes += step.read_bytes;
            done.copied_bytes += step.copied_bytes;
            done.freed_segments += step.freed_segments;
            done.freed_bytes += step.freed_bytes;
            done.finished = !step.more;
            if !self.told(&mut done, &mut tell) || done.finished {
                return Ok(());
            }
        }
    }

    fn told(&self, done: &mut Collecting, tell: &mut impl FnMut(Collecting) -> bool) -> bool {
        done.disk_free_bytes = self.free_bytes();
        tell(*done)
    }

    fn free_bytes(&self) -> u64 {
        BlobStore::usage(self.log.as_ref()).disk_free_bytes
    }

    /// Reads everything that is durable and verifies it, at full speed while nobody else wants anything. `tell` answers
    /// whether to go on.
    ///
    /// # Errors
    /// [`Kind::Conflict`] if one is under way; [`Kind::Closed`].
    pub(crate) fn scrub(
        &self,
        keeper: &Keeper,
        time: &NodeTime,
        mut tell: impl FnMut(Scrubbing) -> bool,
    ) -> Result<(), Failure> {
        // In the background it is held for a moment at a time.
        let alone = self.scrubbing.try_lock_for(SCRUB_TURN_MAX);
        let _alone = alone.ok_or_else(|| busy("a scrub"))?;
        let (mut scrubber, mut pace) = (Scrubber::default(), Pace::default());
        let mut sum = ScrubSum { started_ms: time.now().ms(), ..ScrubSum::default() };
        let total = self.log.scrub_bytes();
        loop {
            let began = time.monotonic();
            let budget = pace.step_bytes(&keeper.pulse, began);
            let step = self.log.scrub_at(&mut scrubber, budget).map_err(store_failure)?;
            let now = time.monotonic();
            keeper.scrub_step(&mut sum, &step);
            let finished = step.finished;
            // More may have been written meanwhile.
            let total_bytes = total.max(sum.bytes);
            let lost = if finished { lost(&self.log) } else { Vec::new() };
            let (read_bytes, frames) = (sum.bytes, sum.frames);
            let told =
                tell(Scrubbing { total_bytes, read_bytes, frames, damaged: step.damaged, finished, lost });
            if finished {
                keeper.scrubbed_on_request(&sum);
            }
            if !told || finished {
                return Ok(());
            }
            keeper.rest(pace.pause(&keeper.pulse, now, now.saturating_sub(began)));
        }
    }

    /// Accepts that lost frames stay lost; answers what was lost, in words.
    ///
    /// # Errors
    /// [`Kind::Closed`]; [`Kind::Full`].
    pub(crate) fn accept_damage(&self) -> Result<Vec<String>, Failure> {
        let lost = lost(&self.log);
        self.log.accept_damage().map_err(store_failure)?;
        Ok(lost)
    }
}

/// Frames that are lost and whose loss nobody accepted, in words.
pub(crate) fn lost(log: &LogStore) -> Vec<String> {
    if !log.has_unaccepted_damage() {
        return Vec::new();
    }
    log.open_report().lost.iter().map(lost_words).collect()
}

/// A stretch of lost frames in words.
pub(crate) fn lost_words((from, through): &(u64, u64)) -> String {
    format!("frames {from} to {through} of the log are lost")
}
