//! Time: the [`Clock`] trait through which all of Larder reads it, and the hybrid logical time ([`Hlc`])
//! that orders versions.
//!
//! A hybrid logical time is wall-clock milliseconds with a counter in the low bits: it never goes back, runs
//! ahead of everything it has seen, and stays within a bound of real time. Versions and expiries are both
//! measured in it, so "expired" means the same on every machine of a mesh.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where time comes from. Simulations pass their own.
pub trait Clock: Send + Sync {
    /// Wall-clock time in milliseconds since 1970-01-01 UTC. May jump either way.
    fn wall_ms(&self) -> u64;

    /// Time since some fixed moment, that of a suspended machine included; never goes back. For durations and
    /// time-outs.
    fn monotonic(&self) -> Duration;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Duration,
}

/// Time since the machine started. Unlike [`std::time::Instant`] it goes on while the machine is suspended, so
/// that waking up does not look as if the wall clock had jumped.
#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanoseconds.unwrap_or(0))
}

/// Time since this was first asked for. Elsewhere the standard library's steady clock has to do.
#[cfg(not(target_os = "linux"))]
#[allow(clippy::disallowed_methods, reason = "this is the Clock that everything else uses")]
fn since_boot() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: since_boot() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the Clock that everything else uses")]
    fn wall_ms(&self) -> u64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        since_boot().saturating_sub(self.start)
    }
}

/// A clock that stands still until it is told to move. For tests and simulation.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall_ms: AtomicU64,
    monotonic_ms: AtomicU64,
}

impl ManualClock {
    /// Starts at the given wall-clock time.
    #[must_use]
    pub fn at(wall_ms: u64) -> Self {
        Self { wall_ms: AtomicU64::new(wall_ms), monotonic_ms: AtomicU64::new(0) }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
        self.monotonic_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Makes the wall clock jump, forward or back, without time passing.
    pub fn jump_to(&self, wall_ms: u64) {
        self.wall_ms.store(wall_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic_ms.load(Ordering::SeqCst))
    }
}

/// Hybrid logical time: 48 bits of milliseconds since 1970, 16 bits of counter. Good until the year 10889.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hlc(u64);

impl Hlc {
    /// Before all others.
    pub const ZERO: Hlc = Hlc(0);
    /// After all others.
    pub const MAX: Hlc = Hlc(u64::MAX);

    /// The first time of a wall-clock millisecond. Milliseconds beyond 48 bits saturate.
    #[must_use]
    pub fn from_ms(ms: u64) -> Self {
        if ms >= 1 << 48 { Self::MAX } else { Self(ms << 16) }
    }

    /// From the number that [`Hlc::to_u64`] gave.
    #[must_use]
    pub fn from_u64(value: u64) -> Self {
        Self(value)
    }

    /// As a number that sorts the same way.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        self.0
    }

    /// Wall-clock milliseconds since 1970.
    #[must_use]
    pub fn ms(self) -> u64 {
        self.0 >> 16
    }

    /// The next later time. Saturates at [`Hlc::MAX`].
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.ms(), self.0 & 0xffff)
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One machine's hybrid logical clock: the highest time it has given out or seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct HlcState {
    high: Hlc,
}

/// A time was further ahead than the bound allows; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("time too far ahead ahead_ms={ahead_ms} max_ms={max_ms}; check the clocks")]
pub struct TooFarAhead {
    /// How far ahead of max(clock, hybrid time) it was.
    pub ahead_ms: u64,
    /// The bound.
    pub max_ms: u64,
}

impl HlcState {
    /// Continues from a persisted high-water mark.
    #[must_use]
    pub fn resume(high: Hlc) -> Self {
        Self { high }
    }

    /// Highest time given out or seen.
    #[must_use]
    pub fn high(&self) -> Hlc {
        self.high
    }

    /// A new time: later than all before, and not before the wall clock.
    pub fn tick(&mut self, wall_ms: u64) -> Hlc {
        self.high = self.high.next().max(Hlc::from_ms(wall_ms));
        self.high
    }

    /// Takes note of somebody else's time.
    ///
    /// # Errors
    /// [`TooFarAhead`] if `seen` is more than `max_ahead_ms` ahead of both the wall clock and our own time.
    pub fn observe(&mut self, seen: Hlc, wall_ms: u64, max_ahead_ms: u64) -> Result<(), TooFarAhead> {
        let base_ms = wall_ms.max(self.high.ms());
        let ahead_ms = seen.ms().saturating_sub(base_ms);
        if ahead_ms > max_ahead_ms {
            return Err(TooFarAhead { ahead_ms, max_ms: max_ahead_ms });
        }
        self.high = self.high.max(seen);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_rise_while_the_wall_clock_steps_back() {
        let mut hlc = HlcState::default();
        let a = hlc.tick(1_000);
        let b = hlc.tick(10);
        assert!(b > a);
        assert_eq!(b.ms(), 1_000);
    }

    #[test]
    fn a_time_beyond_the_bound_is_refused_and_leaves_no_trace() {
        let mut hlc = HlcState::default();
        hlc.tick(1_000);
        let before = hlc.high();
        assert!(hlc.observe(Hlc::from_ms(1_000 + 61_000), 1_000, 60_000).is_err());
        assert_eq!(hlc.high(), before);
        assert!(hlc.observe(Hlc::from_ms(1_000 + 60_000), 1_000, 60_000).is_ok());
        assert_eq!(hlc.high().ms(), 61_000);
    }
}
