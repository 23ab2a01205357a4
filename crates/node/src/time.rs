//! A node's hybrid time: one clock for all its records, resumed after a restart, and wary of jumps.
//!
//! A wall clock that jumps forward further than the bound while the node runs is not believed for *freeing*
//! anything: what it makes expired is hidden, but stays stored, until the node is started again with it. Only
//! changes move hybrid time into such a future (their versions must rise); reading does not, so that what was
//! hidden shows again when the clock is back and nothing was changed meanwhile. A clock that steps back
//! changes nothing: hybrid time stands still meanwhile, and while it is ahead by more than the bound, what it
//! has expired is not freed either.

use std::sync::Arc;
use std::time::Duration;

use larder_format::clock::{Clock, Hlc, HlcState};
use larder_format::limits::CLOCK_AHEAD_MS_MAX;
use parking_lot::Mutex;

/// Shared hybrid time.
pub struct NodeTime {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    hlc: HlcState,
    /// Wall clock and monotonic time when they last agreed.
    base_wall_ms: u64,
    base_monotonic: Duration,
    /// The wall clock is further on than time can have passed.
    jumped: bool,
    /// Hybrid time is further on than the wall clock.
    ahead: bool,
}

impl State {
    fn look(&mut self, wall_ms: u64, monotonic: Duration) {
        let passed = monotonic.saturating_sub(self.base_monotonic);
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let expected_ms = self.base_wall_ms.saturating_add(passed_ms);
        let jumped = wall_ms > expected_ms.saturating_add(CLOCK_AHEAD_MS_MAX);
        if jumped && !self.jumped {
            tracing::warn!(
                ahead_ms = wall_ms - expected_ms,
                "the wall clock jumped forward; what this expires is hidden but not freed; if the clock is right \
                 now, start the node again"
            );
        } else if self.jumped && !jumped {
            tracing::info!("the wall clock is back within its bound");
        }
        self.jumped = jumped;
        if !jumped {
            self.base_wall_ms = wall_ms;
            self.base_monotonic = monotonic;
        }
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
        let state = State {
            hlc: HlcState::resume(high),
            base_wall_ms: clock.wall_ms(),
            base_monotonic: clock.monotonic(),
            jumped: false,
            ahead: false,
        };
        Self { clock, state: Mutex::new(state) }
    }

    /// The time to judge by what has expired; also for chores and checks.
    pub fn now(&self) -> Hlc {
        let wall_ms = self.clock.wall_ms();
        let mut state = self.state.lock();
        state.look(wall_ms, self.clock.monotonic());
        if state.jumped { state.hlc.high().max(Hlc::from_ms(wall_ms)) } else { state.hlc.tick(wall_ms) }
    }

    /// The time of a change: later than all before.
    pub fn next(&self) -> Hlc {
        let wall_ms = self.clock.wall_ms();
        let mut state = self.state.lock();
        state.look(wall_ms, self.clock.monotonic());
        state.hlc.tick(wall_ms)
    }

    /// Whether what has expired may be freed, judged by the clock as it was last looked at.
    pub fn may_free(&self) -> bool {
        let state = self.state.lock();
        !state.jumped && !state.ahead
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

    #[test]
    fn a_forward_jump_stops_freeing_and_is_forgotten_if_nothing_was_changed() {
        let clock = Arc::new(ManualClock::at(1_000_000));
        let time = NodeTime::resume(clock.clone(), Hlc::ZERO);
        time.next();
        assert!(time.may_free());
        let jumped_ms = 1_000_000 + CLOCK_AHEAD_MS_MAX + 5_000;
        clock.jump_to(jumped_ms);
        assert_eq!(time.now().ms(), jumped_ms, "hides what it expires");
        assert!(!time.may_free());
        clock.jump_to(1_001_000);
        assert_eq!(time.now().ms(), 1_001_000, "and shows it again");
        assert!(time.may_free());
    }

    #[test]
    fn after_a_change_in_a_false_future_nothing_is_freed_until_then() {
        let clock = Arc::new(ManualClock::at(1_000_000));
        let time = NodeTime::resume(clock.clone(), Hlc::ZERO);
        time.next();
        clock.jump_to(9_000_000);
        let change = time.next();
        clock.jump_to(1_001_000);
        assert!(time.next() > change, "versions rise");
        assert!(!time.may_free());
        let again = NodeTime::resume(clock.clone(), change);
        again.now();
        assert!(!again.may_free(), "nor after a restart");
        clock.advance(Duration::from_millis(8_000_000 - CLOCK_AHEAD_MS_MAX));
        time.now();
        assert!(time.may_free());
    }

    #[test]
    fn long_quiet_hours_are_not_a_jump() {
        let clock = Arc::new(ManualClock::at(1_000_000));
        let time = NodeTime::resume(clock.clone(), Hlc::ZERO);
        time.now();
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
        clock.jump_to(10);
        assert!(time.now() > a);
    }
}
