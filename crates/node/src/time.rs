//! A node's hybrid time: one clock for all its records, resumed after a restart, and wary of jumps.
//!
//! The time goes on by the wall clock or by the steady clock (which counts suspension too), whichever is further on.
//! So a wall clock that steps back, or that is behind the store's newest time at start because it was ahead in an
//! earlier run, changes nothing: lifetimes still end when as much time has passed.
//!
//! A wall clock that jumps forward further than the bound while the node runs is not believed at once: time goes
//! on by the steady clock alone, so that nothing is written, expired or freed in a false future. A jump that has
//! held for [`JUMP_BELIEVED_AFTER`] is believed. A clock that is further on at start than the store's newest time is
//! believed, because the machine may have been off; but nothing stored is freed by it until it has held as long, and
//! while it has stepped back since, never. Why, is said in `docs/design/store.md`.

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
    /// The time to go by, and the monotonic time, when the wall clock was last not behind it.
    base_ms: u64,
    base_monotonic: Duration,
    /// The wall clock is further on than time can have passed.
    jump: Option<Jump>,
    /// Until then the clock found at start frees nothing.
    held_until: Option<Duration>,
    /// The time to go by is further on than the wall clock by more than the bound.
    ahead: bool,
}

impl State {
    /// Looks at both clocks; answers the physical time to go by.
    fn look(&mut self, wall_ms: u64, monotonic: Duration) -> u64 {
        let passed = monotonic.saturating_sub(self.base_monotonic);
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let expected_ms = self.base_ms.saturating_add(passed_ms);
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
                return expected_ms;
            }
            tracing::warn!(ahead_ms = by_ms, "the wall clock's jump has held and is believed from now on");
        } else if self.jump.is_some() {
            tracing::info!("the wall clock is back within its bound");
        }
        self.jump = None;
        self.note_ahead(expected_ms.saturating_sub(wall_ms));
        if self.ahead {
            // The clock that was further on at start was wrong: what it hides must not go for it.
            self.held_until = self.held_until.map(|_| monotonic + JUMP_BELIEVED_AFTER);
        } else {
            self.held_until = self.held_until.filter(|until| monotonic < *until);
        }
        if wall_ms < expected_ms {
            return expected_ms;
        }
        self.base_ms = wall_ms;
        self.base_monotonic = monotonic;
        wall_ms
    }

    fn note_ahead(&mut self, ahead_ms: u64) {
        let ahead = ahead_ms > CLOCK_AHEAD_MS_MAX;
        if ahead && !self.ahead {
            tracing::warn!(
                ahead_ms,
                "the wall clock is behind the node's time, which goes on by the steady clock"
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
            // Of a store whose time is ahead, lifetimes have to go on ending.
            base_ms: wall_ms.max(high.ms()),
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
        // Read under the lock: whoever is later in line is later in time. The wall clock first: what passes
        // between the two readings must not be counted twice.
        let (wall_ms, monotonic) = (self.clock.wall_ms(), self.clock.monotonic());
        let physical_ms = state.look(wall_ms, monotonic);
        let now = state.hlc.tick(physical_ms);
        self.latest.store(now.to_u64(), Ordering::Relaxed);
        now
    }

    /// The latest time that was given out; looks at no clock. Not before any that the calling thread was given.
    pub fn latest(&self) -> Hlc {
        Hlc::from_u64(self.latest.load(Ordering::Relaxed))
    }

    /// Whether what is stored and has expired may be freed, judged by the clock as it was last looked at. What is in
    /// memory only was written since the start and may always be: in between, nothing but believed time passes.
    pub fn may_free(&self) -> bool {
        let state = self.state.lock();
        state.jump.is_none() && state.held_until.is_none()
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
    fn after_a_change_in_a_false_future_time_goes_on_by_the_steady_clock() {
        let clock = Arc::new(ManualClock::at(1_000_000));
        let time = NodeTime::resume(clock.clone(), Hlc::from_ms(9_000_000));
        let first = time.now();
        assert!(first > Hlc::from_ms(9_000_000), "versions rise");
        assert!(time.may_free(), "what the store's own time has ended is over for good");
        clock.advance(Duration::from_secs(3));
        assert_eq!(time.now().ms(), 9_003_000, "lifetimes end");
        clock.jump_to(8_000_000);
        clock.advance(Duration::from_secs(1));
        assert_eq!(time.now().ms(), 9_004_000, "a jump to what is past is none");
        assert!(time.may_free());
        clock.jump_to(9_030_000);
        assert_eq!(time.now().ms(), 9_030_000, "the wall clock has caught up");
        clock.jump_to(19_000_000);
        assert_eq!(time.now().ms(), 9_030_000, "and is not believed at once either");
        assert!(!time.may_free());
    }

    #[test]
    fn lifetimes_go_on_ending_when_the_clock_steps_back_while_running() {
        let (clock, time) = running(9_000_000);
        let before = time.now();
        clock.jump_to(9_000_000 - 3_600_000);
        assert!(time.now() > before);
        clock.advance(Duration::from_secs(2));
        assert_eq!(time.now().ms(), 9_002_000);
        assert!(time.may_free());
        clock.advance(Duration::from_secs(3600));
        assert_eq!(time.now().ms(), 12_602_000);
        clock.jump_to(12_602_000);
        clock.advance(Duration::from_secs(1));
        assert_eq!(time.now().ms(), 12_603_000, "set right again is no jump");
        assert!(time.may_free());
    }

    #[test]
    fn a_clock_further_on_at_start_that_steps_back_frees_nothing_while_it_is_behind() {
        let clock = Arc::new(ManualClock::at(50_000_000));
        let time = NodeTime::resume(clock.clone(), Hlc::from_ms(1_000_000));
        time.now();
        clock.jump_to(1_100_000);
        time.now();
        for _ in 0..3 {
            clock.advance(JUMP_BELIEVED_AFTER);
            time.now();
            assert!(!time.may_free());
        }
        assert_eq!(time.latest().ms(), 51_800_000, "lifetimes end all the same");
        clock.jump_to(51_800_000);
        time.now();
        assert!(!time.may_free(), "from here on it has to hold");
        clock.advance(JUMP_BELIEVED_AFTER);
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
