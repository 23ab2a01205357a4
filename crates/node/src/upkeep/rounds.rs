//! The rounds themselves: one step after the other on a blocking thread, with a look at the clock, at requests and at
//! whether to stop in between.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use larder_store::api::StoreError;
use larder_store::log::{ScrubCursor, Scrubber};

use super::state::Pass;
use super::{FIRST_AFTER, Keeper, Pace, Running};
use crate::maintenance::Collecting;
use crate::registers::store_failure;

/// Name of the note of how far the scrub has come.
pub(super) const NOTE: &str = "scrub";

/// Name of the note of what is damaged.
pub(super) const DAMAGED: &str = "damaged";

/// How often it is noted how far the scrub has come: so much is read again after a kill. Seldom, because each note
/// wakes the disk.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// How often it is looked whether something is to be done.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Longest time on a blocking thread before the next look.
const TURN_MAX: Duration = Duration::from_millis(200);

/// The part of a period by which a round of scrubbing may be ahead of being spread evenly, so that it reads in longer
/// stretches: a round of a week has 168 of them.
const STRETCHES: u64 = 168;

fn ms_of(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// What to do after a turn.
enum Next {
    At(Duration),
    Later,
}

/// Starts the rounds that are asked for.
pub(crate) fn start(keeper: Arc<Keeper>) -> Running {
    let again = keeper.clone();
    let mut tasks = vec![tokio::task::spawn_blocking(move || again.look_again())];
    if keeper.config.scrub_every.is_some() {
        tasks.push(every(keeper.clone(), Keeper::scrub_turn));
    }
    if keeper.config.collect_every.is_some() {
        tasks.push(every(keeper.clone(), Keeper::collect_turn));
    }
    Running { keeper, tasks }
}

fn every(
    keeper: Arc<Keeper>,
    turn: fn(&Keeper, &mut Turns) -> Result<Next, StoreError>,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut turns = Turns { started: keeper.time.monotonic(), ..Turns::default() };
        loop {
            let work = keeper.clone();
            let done = tokio::task::spawn_blocking(move || {
                let next = turn(&work, &mut turns);
                (turns, next)
            })
            .await;
            let pause = match done {
                Ok((back, next)) => {
                    turns = back;
                    match next {
                        Ok(Next::At(pause)) => pause,
                        Ok(Next::Later) => LOOK_EVERY,
                        Err(StoreError::Closed { .. }) => return,
                        Err(error) => {
                            tracing::warn!(%error, "background upkeep failed; it is tried again");
                            LOOK_EVERY * 20
                        }
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "background upkeep panicked and is given up until the next start");
                    return;
                }
            };
            // In short sleeps, so that a node that is told to stop does.
            let mut left = pause.max(Duration::from_millis(1));
            while left > Duration::ZERO {
                if keeper.stopping.load(Ordering::Acquire) {
                    return;
                }
                let part = left.min(Duration::from_millis(100));
                tokio::time::sleep(part).await;
                left -= part;
            }
        }
    })
}

/// What a task remembers from turn to turn.
#[derive(Default)]
struct Turns {
    started: Duration,
    pace: Pace,
    noted: Duration,
}

impl Keeper {
    fn is_settled(&self, turns: &Turns, every: Duration) -> bool {
        self.time.monotonic().saturating_sub(turns.started) >= FIRST_AFTER.min(every)
    }

    /// Reads on, if the round is behind what it should have read by now.
    fn scrub_turn(&self, turns: &mut Turns) -> Result<Next, StoreError> {
        let Some(every) = self.config.scrub_every else { return Ok(Next::Later) };
        if !self.is_settled(turns, every) {
            return Ok(Next::Later);
        }
        let now_ms = self.time.now().ms();
        let mut scrub = *self.scrub.lock();
        if scrub.now.is_none() {
            if now_ms < scrub.next_ms {
                return Ok(Next::Later);
            }
            let pass = Pass { started_ms: now_ms, total_bytes: self.log.scrub_bytes(), ..Pass::default() };
            scrub.now = Some((pass, ScrubCursor::default()));
            *self.scrub.lock() = scrub;
        }
        let Some((pass, cursor)) = scrub.now else { return Ok(Next::Later) };
        if pass.checked_bytes >= due_bytes(&pass, now_ms, ms_of(every)) {
            return Ok(Next::Later);
        }
        let Some(_alone) = self.maintenance.scrubbing.try_lock() else { return Ok(Next::Later) };
        let (mut pass, mut scrubber) = (pass, Scrubber::from(cursor));
        let turn_began = self.time.monotonic();
        loop {
            let began = self.time.monotonic();
            let budget = turns.pace.step_bytes(&self.pulse, began);
            let step = self.log.scrub_at(&mut scrubber, budget)?;
            let took = self.time.monotonic().saturating_sub(began);
            pass.took_ms =
                (pass.took_ms * 1000 + u64::try_from(took.as_micros()).unwrap_or(0)).div_ceil(1000);
            self.count_step(&mut pass, &step);
            if step.finished {
                self.scrub_ended(pass, ms_of(every))?;
                return Ok(Next::Later);
            }
            self.scrub.lock().now = Some((pass, scrubber.cursor()));
            let now = self.time.monotonic();
            if now.saturating_sub(turns.noted) >= NOTE_EVERY {
                turns.noted = now;
                let _durable = self.own.set(NOTE, &self.scrub.lock().encode(), self.time.now())?;
            }
            let pause = turns.pace.pause(&self.pulse, now, took);
            let is_enough = now.saturating_sub(turn_began) >= TURN_MAX
                || pass.checked_bytes >= due_bytes(&pass, self.time.now().ms(), ms_of(every));
            if pause > Duration::ZERO || is_enough || self.stopping.load(Ordering::Acquire) {
                return Ok(Next::At(pause));
            }
        }
    }

    fn count_step(&self, pass: &mut Pass, step: &larder_store::log::ScrubReport) {
        pass.checked_bytes += step.bytes;
        pass.checked_frames += step.frames;
        pass.damaged += step.damaged.len() as u64;
        pass.repaired += step.repaired;
        pass.total_bytes = pass.total_bytes.max(pass.checked_bytes);
        self.counts.scrubbed_bytes.fetch_add(step.bytes, Ordering::Relaxed);
        self.counts.scrubbed_frames.fetch_add(step.frames, Ordering::Relaxed);
        self.counts.damaged.fetch_add(step.damaged.len() as u64, Ordering::Relaxed);
        self.counts.mended.fetch_add(step.repaired, Ordering::Relaxed);
        let mut news = false;
        for item in &step.damaged {
            tracing::warn!(place = %item.place, "stored bytes are not what was written");
            news |= self.note_damaged(item.clone());
        }
        if news {
            self.keep_damaged();
        }
    }

    fn scrub_ended(&self, mut pass: Pass, every_ms: u64) -> Result<(), StoreError> {
        let now = self.time.now();
        pass.ended_ms = now.ms();
        self.counts.scrub_rounds.fetch_add(1, Ordering::Relaxed);
        tracing::info!(
            checked_bytes = pass.checked_bytes,
            frames = pass.checked_frames,
            damaged = pass.damaged,
            repaired = pass.repaired,
            took_ms = pass.took_ms,
            "scrub: everything was read once"
        );
        let mut scrub = self.scrub.lock();
        scrub.now = None;
        scrub.last = Some(pass);
        scrub.next_ms = now.ms().max(pass.started_ms.saturating_add(every_ms));
        let note = scrub.encode();
        drop(scrub);
        let _durable = self.own.set(NOTE, &note, now)?;
        Ok(())
    }

    /// A scrub on request came to its end: that is a round, and the next one is a period away.
    pub(crate) fn scrubbed_on_request(&self, steps: &ScrubSum) {
        let now_ms = self.time.now().ms();
        let every_ms = self.config.scrub_every.map_or(0, ms_of);
        let pass = Pass {
            started_ms: steps.started_ms,
            took_ms: now_ms.saturating_sub(steps.started_ms),
            checked_bytes: steps.bytes,
            checked_frames: steps.frames,
            total_bytes: steps.bytes,
            damaged: steps.damaged,
            repaired: steps.repaired,
            ..Pass::default()
        };
        if let Err(error) = self.scrub_ended(pass, every_ms) {
            tracing::debug!(%error, "the end of a scrub could not be noted");
        }
    }

    /// Counts a step of a scrub on request.
    pub(crate) fn scrub_step(&self, sum: &mut ScrubSum, step: &larder_store::log::ScrubReport) {
        let mut pass = Pass::default();
        self.count_step(&mut pass, step);
        sum.bytes += pass.checked_bytes;
        sum.frames += pass.checked_frames;
        sum.damaged += pass.damaged;
        sum.repaired += pass.repaired;
    }

    /// Looks through all leases and gives all space back, if it is time.
    fn collect_turn(&self, turns: &mut Turns) -> Result<Next, StoreError> {
        let Some(every) = self.config.collect_every else { return Ok(Next::Later) };
        let now_ms = self.time.now().ms();
        let first = FIRST_AFTER.min(every);
        let next_ms = {
            let mut collected = self.collected.lock();
            if collected.1 == 0 {
                collected.1 = now_ms + ms_of(first);
            }
            collected.1
        };
        if !self.is_settled(turns, every) || now_ms < next_ms || !self.time.may_free() {
            return Ok(Next::Later);
        }
        let began = self.time.monotonic();
        let mut last = Collecting::default();
        let result = self.maintenance.collect_gently(|done| {
            last = done;
            let now = self.time.monotonic();
            let pause = turns.pace.pause(&self.pulse, now, Duration::from_millis(1));
            self.rest(pause);
            !self.stopping.load(Ordering::Acquire)
        });
        self.collected.lock().1 = self.time.now().ms() + ms_of(every);
        if let Err(failure) = result {
            tracing::warn!(%failure.message, "the collection did not come to its end");
            return Ok(Next::Later);
        }
        if last.finished {
            self.collect_ended(now_ms, self.time.monotonic().saturating_sub(began), &last);
        }
        Ok(Next::Later)
    }

    fn collect_ended(&self, started_ms: u64, took: Duration, done: &Collecting) {
        let pass = Pass {
            started_ms,
            ended_ms: self.time.now().ms(),
            took_ms: ms_of(took),
            checked_frames: done.leases_seen,
            checked_bytes: done.read_bytes,
            orphaned: done.blobs,
            orphaned_bytes: done.blob_bytes,
            removed_bytes: done.freed_bytes,
            ..Pass::default()
        };
        self.counts.collect_rounds.fetch_add(1, Ordering::Relaxed);
        self.counts.orphaned.fetch_add(pass.orphaned, Ordering::Relaxed);
        self.counts.removed_bytes.fetch_add(pass.removed_bytes, Ordering::Relaxed);
        tracing::info!(
            leases = done.leases_seen,
            leases_ended = done.leases_ended,
            orphaned = pass.orphaned,
            orphaned_bytes = pass.orphaned_bytes,
            removed_bytes = pass.removed_bytes,
            took_ms = pass.took_ms,
            "collection: nothing that nobody needs is left"
        );
        self.collected.lock().0 = Some(pass);
    }

    /// Notes where the scrub is, before the node ends.
    pub(crate) fn note_at_end(&self) {
        // What readers found and nobody has asked for since.
        let _ = self.still_damaged();
        let note = self.scrub.lock().encode();
        let noted = self.own.set(NOTE, &note, self.time.now()).map_err(store_failure);
        if let Err(failure) = noted {
            tracing::debug!(%failure.message, "how far the scrub has come could not be noted");
        }
    }
}

/// What a scrub on request has done so far.
#[derive(Debug, Default)]
pub(crate) struct ScrubSum {
    pub(crate) started_ms: u64,
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    pub(crate) damaged: u64,
    pub(crate) repaired: u64,
}

/// How much of a round should be read by now: evenly over the period, in stretches.
fn due_bytes(pass: &Pass, now_ms: u64, every_ms: u64) -> u64 {
    let stretch_ms = (every_ms / STRETCHES).max(1);
    let passed_ms = now_ms.saturating_sub(pass.started_ms);
    // The stretch that has begun is read as soon as it has.
    let until_ms = (passed_ms / stretch_ms + 1).saturating_mul(stretch_ms);
    if until_ms >= every_ms {
        return u64::MAX;
    }
    let due = u128::from(pass.total_bytes) * u128::from(until_ms) / u128::from(every_ms);
    u64::try_from(due).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_spread_evenly_over_its_period() {
        let pass = Pass { started_ms: 1000, total_bytes: 168_000, ..Pass::default() };
        let week = 168 * 3_600_000;
        assert_eq!(due_bytes(&pass, 1000, week), 1000);
        assert_eq!(due_bytes(&pass, 1000 + 3_600_000, week), 2000);
        assert_eq!(due_bytes(&pass, 1000 + week / 2, week), 85_000);
        // After its period, and for a clock that went back, it is simply behind or at its beginning.
        assert_eq!(due_bytes(&pass, 1000 + week, week), u64::MAX);
        assert_eq!(due_bytes(&pass, 0, week), 1000);
    }
}
