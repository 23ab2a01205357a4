//! Time in tests, without a bet on how fast the machine is: what certainly comes is waited for, what is looked at before its
//! time is up is looked at again with more time, and what is promised within a time has several tries.
#![allow(dead_code, unreachable_pub, clippy::disallowed_methods, reason = "looks at the real clock")]

use std::time::{Duration, Instant};

use super::pause;

/// Longest wait for what certainly comes, on however busy a machine. Whoever reaches it has found a bug.
pub const WAIT_MAX: Duration = Duration::from_secs(120);

/// Tries of what is promised within a time.
const TRIES: usize = 6;

/// Longest lifetime of a scene that has to be over before its end.
const LIFETIME_MAX_S: u64 = 64;

/// Waits until this holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < WAIT_MAX, "never: {what}");
        pause(20);
    }
}

/// What is seen of something that lives for the seconds that the scene is given, so many at first. A machine that was too slow
/// to see it in time is given more of them.
#[track_caller]
pub fn while_it_lives<T>(first_seconds: u64, mut scene: impl FnMut(u64) -> T) -> T {
    let mut seconds = first_seconds;
    loop {
        let began = Instant::now();
        let seen = scene(seconds);
        if began.elapsed() < Duration::from_secs(seconds) {
            return seen;
        }
        seconds *= 4;
        assert!(seconds <= LIFETIME_MAX_S, "{:?} for a scene of {} s", began.elapsed(), seconds / 4);
    }
}

/// What is promised within a time is so in one of several tries: whatever else a machine does makes it later, never sooner,
/// and who does not keep the promise keeps it in none of them.
#[track_caller]
pub fn in_time(promised: Duration, mut takes: impl FnMut() -> Duration) {
    let mut all = Vec::new();
    while all.len() < TRIES {
        let took = takes();
        if took < promised {
            return;
        }
        all.push(took);
    }
    panic!("never within {promised:?}: {all:?}");
}
