//! A node's hybrid time: one clock for all its records, resumed after a restart, and wary of jumps.
//!
//! A wall clock that jumps forward further than the bound while the node runs is not believed at once: time goes
//! on by the steady clock (which counts suspension too), so that nothing is written, expired or freed in a false
//! future. A jump that has held for [`JUMP_BELIEVED_AFTER`] is believed. A clock that is further on at start than
//! the store's newest time is believed, because the machine may have been off; but nothing is freed by it until
//! it has held as long. A clock that steps back changes nothing: hybrid time stands still meanwhile, and while it
//! is ahead by more than the bound, what it has expired is not freed either.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder_format::clock::{Clock, Hlc, HlcState};
use larder_format::limits::CLOCK_AHEAD_MS_MAX;
use parking_lot::Mutex;

/// How long a clock that is suddenly further on must hold before it is believed: long enough for time
/// synchronisation to correct a clock that was read wrongly at start, or set wrongly by hand.
pub const JUMP_BELIEVED_AFTER: Duration = Duration::from_secs(600);

/// Shared hybrid time.
pub struct NodeTime {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    latest: AtomicU64,
}

/// A forward jump that is not believed yet.
#[derive(Debug, Clone, Copy)]
struct Jump {
    since: Duration,
    by_ms: u64,
}

struct State {
    hlc: HlcState,
    /// Wall clock and monotonic time when they last agreed.
    base_wall_ms: u64,
    base_monotonic: Duration,
    /// The wall clock is further on than time can have passed.
    jump: Option<Jump>,
    /// Until then the clock found at start frees nothing.
    held_until: Option<Duration>,
    /// Hybrid time is further on than the wall clock.
    ahead: bool,
}

impl State {
    /// Looks at both clocks; answers the wall-clock time to go by.
    fn look(&mut self, wall_ms: u64, monotonic: Duration) -> u64 {
        let passed = monotonic.saturating_sub(self.base_monotonic);
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let expected_ms = self.base_wall_ms.saturating_add(passed_ms);
        let by_ms = wall_ms.saturating_sub(expected_ms);
        if by_ms > CLOCK_AHEAD_MS_MAX {
            let same = self.jump.filter(|jump| jump.by_ms.abs_diff(by_ms) <= CLOCK_AHEAD_MS_MAX);
            let jump = same.unwrap_or_else(|| {
                tracing::warn!(
                    ahead_ms = by_ms,
                    believed_after_s = JUMP_BELIEVED_AFTER.as_secs(),
                    "the wall clock jumped forward; time goes on by the steady clock until the jump has held"
                );
                Jump { since: monotonic, by_ms }
            });
            if monotonic.saturating_sub(jump.since) < JUMP_BELIEVED_AFTER {
                self.jump = Some(jump);
                self.note_ahead(expected_ms);
                return expected_ms;
            }
            tracing::warn!(ahead_ms = by_ms, "the wall clock's jump has held and is believed from now on");
        } else if self.jump.is_some() {
            tracing::info!("the wall clock is back within its bound");
        }
        self.jump = None;
        self.base_wall_ms = wall_ms;
        self.base_monotonic = monotonic;
        self.held_until = self.held_until.filter(|until| monotonic < *until);
        self.note_ahead(wall_ms);
        wall_ms
    }

    fn note_ahead(&mut self, wall_ms: u64) {
        let ahead_ms = self.hlc.high().ms().saturating_sub(wall_ms);
        let ahead = ahead_ms > CLOCK_AHEAD_MS_MAX;
        if ahead && !self.ahead {
            tracing::warn!(
                ahead_ms,
                "the wall clock is behind the time of stored changes; nothing expired is freed"
            );
        }
        self.ahead = ahead;
    }
}

impl NodeTime {
    /// Continues from the highest time the store has on record.
    #[must_use]
    pub fn resume(clock: Arc<dyn Clock>, high: Hlc) -> Self {
        let (wall_ms, monotonic) = (clock.wall_ms(), clock.monotonic());
        let gap = high > Hlc::ZERO && wall_ms > high.ms().saturating_add(CLOCK_AHEAD_MS_MAX);
        let state = State {
            hlc: HlcState::resume(high),
            base_wall_ms: wall_ms,
            base_monotonic: monotonic,
            jump: None,
            held_until: gap.then(|| monotonic + JUMP_BELIEVED_AFTER),
            ahead: false,
        };
        Self { clock, state: Mutex::new(state), latest: AtomicU64::new(high.to_u64()) }
    }

    /// The time to judge by, later than all before; also the time of a change.
    pub fn now(&self) -> Hlc {
        let mut state = self.state.lock();
        // Read under the lock: whoever is later in line is later in time.
        let (wall_ms, monotonic) = (self.clock.wall_ms(), self.clock.monotonic());
        let wall_ms = state.look(wall_ms, monotonic);
        let now = state.hlc.tick(wall_ms);
        self.latest.store(now.to_u64(), Ordering::Relaxed);
        now
    }

    /// The latest time that was given out; looks at no clock. Not before any that the calling thread was given.
    pub fn latest(&self) -> Hlc {
        Hlc::from_u64(self.latest.load(Ordering::Relaxed))
    }

    /// Whether what has expired may be freed, judged by the clock as it was last looked at.
    pub fn may_free(&self) -> bool {
        let state = self.state.lock();
        state.jump.is_none() && state.held_until.is_none() && !state.ahead
    }

    /// The wall clock, for what is only shown: nothing is judged by it.
    pub fn wall_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    /// Time since some fixed moment.
    pub fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_format::clock::ManualClock;

    fn running(at_ms: u64) -> (Arc<ManualClock>, NodeTime) {
        let clock = Arc::new(ManualClock::at(at_ms));
        let time = NodeTime::resume(clock.clone(), Hlc::ZERO);
        time.now();
        (clock, time)
    }

    #[test]
    fn a_forward_jump_is_not_believed_until_it_has_held() {
        let (clock, time) = running(1_000_000);
        assert!(time.may_free());
        clock.jump_to(9_000_000);
        let change = time.now();
        assert!(change.ms() <= 1_000_001, "not even by a change");
        assert!(!time.may_free());
        clock.advance(Duration::from_secs(1));
        assert_eq!(time.now().ms(), 1_001_000, "time goes on by the steady clock");
        clock.jump_to(1_002_000);
        assert_eq!(time.now().ms(), 1_002_000, "and by the wall clock when that is back");
        assert!(time.may_free());

        clock.jump_to(9_000_000);
        time.now();
        clock.advance(JUMP_BELIEVED_AFTER - Duration::from_millis(1));
        time.now();
        assert!(!time.may_free());
        clock.jump_to(20_000_000);
        time.now();
        clock.advance(JUMP_BELIEVED_AFTER - Duration::from_millis(1));
        time.now();
        assert!(!time.may_free(), "another jump has to hold for itself");
        clock.advance(Duration::from_millis(1));
        assert_eq!(time.now().ms(), 20_600_000);
        assert!(time.may_free());
    }

    #[test]
    fn a_clock_further_on_at_start_hides_at_once_and_frees_when_it_has_held() {
        let clock = Arc::new(ManualClock::at(50_000_000));
        let time = NodeTime::resume(clock.clone(), Hlc::from_ms(1_000_000));
        assert_eq!(time.now().ms(), 50_000_000);
        assert!(!time.may_free());
        clock.advance(JUMP_BELIEVED_AFTER);
        time.now();
        assert!(time.may_free());
        let soon = NodeTime::resume(clock.clone(), Hlc::from_ms(50_599_000));
        soon.now();
        assert!(soon.may_free(), "a short stop is none of this");
    }

    #[test]
    fn after_a_change_in_a_false_future_nothing_is_freed_until_then() {
        let clock = Arc::new(ManualClock::at(1_000_000));
        let time = NodeTime::resume(clock.clone(), Hlc::from_ms(9_000_000));
        assert!(time.now() > Hlc::from_ms(9_000_000), "versions rise");
        assert!(!time.may_free());
        clock.advance(Duration::from_millis(8_000_000 - CLOCK_AHEAD_MS_MAX));
        time.now();
        assert!(time.may_free());
    }

    #[test]
    fn long_quiet_hours_are_not_a_jump() {
        let (clock, time) = running(1_000_000);
        clock.advance(Duration::from_secs(24 * 3600));
        time.now();
        assert!(time.may_free());
    }

    #[test]
    fn time_never_goes_back() {
        let clock = Arc::new(ManualClock::at(1_000_000));
        let time = NodeTime::resume(clock.clone(), Hlc::from_ms(2_000_000));
        let a = time.now();
        assert!(a > Hlc::from_ms(2_000_000));
        assert_eq!(time.latest(), a);
        clock.jump_to(10);
        assert!(time.now() > a);
        assert!(time.latest() > a);
    }
}
