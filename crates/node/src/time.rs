//! A node's hybrid time: one clock for all its records, resumed after a restart, and wary of jumps.
//!
//! A wall clock that jumps forward further than the bound while the node runs is not believed for *freeing*
//! anything: what it makes expired is hidden, but stays stored, until the clock is back or the node is
//! started again with it. A clock that steps back changes nothing: hybrid time stands still meanwhile.

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
    jumped: bool,
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
        };
        Self { clock, state: Mutex::new(state) }
    }

    /// A new time, later than all before.
    pub fn now(&self) -> Hlc {
        let wall_ms = self.clock.wall_ms();
        let monotonic = self.clock.monotonic();
        let mut state = self.state.lock();
        let passed_ms = u64::try_from((monotonic.saturating_sub(state.base_monotonic)).as_millis())
            .unwrap_or(u64::MAX);
        let expected_ms = state.base_wall_ms.saturating_add(passed_ms);
        if wall_ms > expected_ms.saturating_add(CLOCK_AHEAD_MS_MAX) {
            if !state.jumped {
                tracing::warn!(
                    ahead_ms = wall_ms - expected_ms,
                    "the wall clock jumped forward; expired data is hidden but not freed until it is confirmed"
                );
            }
            state.jumped = true;
        } else {
            if state.jumped {
                tracing::info!("the wall clock is back within its bound");
            }
            state.jumped = false;
            state.base_wall_ms = wall_ms;
            state.base_monotonic = monotonic;
        }
        state.hlc.tick(wall_ms)
    }

    /// Whether what has expired may be freed now.
    pub fn may_free(&self) -> bool {
        !self.state.lock().jumped
    }

    /// Highest time given out.
    pub fn high(&self) -> Hlc {
        self.state.lock().hlc.high()
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
    fn a_forward_jump_stops_freeing_until_the_clock_is_back() {
        let clock = Arc::new(ManualClock::at(1_000_000));
        let time = NodeTime::resume(clock.clone(), Hlc::ZERO);
        time.now();
        assert!(time.may_free());
        clock.jump_to(1_000_000 + CLOCK_AHEAD_MS_MAX + 5_000);
        time.now();
        assert!(!time.may_free());
        clock.jump_to(1_001_000);
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
