//! How content travels: how much at once, how fast, how long a node that goes away in the middle is waited for, and for
//! how long what an interrupted upload has sent can still be found. Nothing here waits on the clock of the machine but
//! through [`Clock`].

use std::sync::Arc;
use std::time::Duration;

use larder_format::clock::Clock;
use larder_format::error::Kind;
use larder_wire::answer::Failure;
use parking_lot::Mutex;

use crate::vault::Vault;

/// Files that travel side by side unless said otherwise. Each holds a few chunks, so this bounds memory.
pub const JOBS_DEFAULT: usize = 10;

/// Most files that may travel side by side: beyond it a link is full and memory is not.
pub const JOBS_MAX: usize = 256;

/// How long what an interrupted upload has sent is kept for the next try unless said otherwise: the same command the
/// next day still finds it, and what is given up does not hold its space for longer.
pub const RESUME_WITHIN_DEFAULT: Duration = Duration::from_secs(24 * 3600);

/// Shortest time to keep that: below it a lease would have to be renewed all the time.
pub const RESUME_WITHIN_MIN: Duration = Duration::from_secs(600);

/// Slowest rate that may be asked for, in bytes a second: at it a chunk of a mebibyte takes a quarter of an hour.
pub const RATE_MIN: u64 = 1024;

/// First and longest pause between two tries to reach a node that went away.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What somebody is told while a node is away, and when it is back.
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// How content travels.
#[derive(Clone)]
pub struct Transfers {
    /// Files under way side by side, at most [`JOBS_MAX`].
    pub jobs: usize,
    /// Bytes a second to the node; `None`: as fast as it goes.
    pub up: Option<Arc<Throttle>>,
    /// Bytes a second from the node.
    pub down: Option<Arc<Throttle>>,
    /// How long a node that goes away in the middle is waited for; zero: not at all.
    pub wait: Duration,
    /// How long what an interrupted upload has sent is kept, at most [`RESUME_WITHIN_DEFAULT`].
    pub resume_within: Duration,
    /// Told about waiting.
    pub notice: Notice,
}

impl std::fmt::Debug for Transfers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transfers")
            .field("jobs", &self.jobs)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

impl Default for Transfers {
    fn default() -> Self {
        Self {
            jobs: JOBS_DEFAULT,
            up: None,
            down: None,
            wait: Duration::ZERO,
            resume_within: RESUME_WITHIN_DEFAULT,
            notice: Arc::new(|_| ()),
        }
    }
}

/// Holds a flow of bytes to a rate, over all who share it. A chunk goes as a whole: the rate is that of a few seconds,
/// not of every moment.
pub struct Throttle {
    rate: u64,
    clock: Arc<dyn Clock>,
    /// When the next bytes may go.
    next: Mutex<Duration>,
}

impl Throttle {
    /// At most `rate` bytes a second.
    #[must_use]
    pub fn new(rate: u64, clock: Arc<dyn Clock>) -> Self {
        Self { rate: rate.max(RATE_MIN), next: Mutex::new(clock.monotonic()), clock }
    }

    /// Books bytes and answers how long to wait before they go. Time in which nothing went is not saved up.
    fn book(&self, bytes: u64) -> Duration {
        let now = self.clock.monotonic();
        let mut next = self.next.lock();
        let begin = (*next).max(now);
        *next = begin + Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        begin - now
    }

    /// Waits until these bytes may go.
    pub async fn pass(&self, bytes: u64) {
        let wait = self.book(bytes);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// Waits until bytes may go, if there is a rate at all.
pub(crate) async fn pass(throttle: Option<&Arc<Throttle>>, bytes: u64) {
    if let Some(throttle) = throttle {
        throttle.pass(bytes).await;
    }
}

/// One piece of work's patience with a node that goes away: it begins to count when the node is first missed, and anew
/// whenever the work got on.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    since: Option<Duration>,
}

impl Outage {
    /// The work got on.
    pub(crate) fn over(&mut self) {
        self.since = None;
    }

    /// After a failure: waits until the node answers again, if it is one of the connection and there is patience left.
    ///
    /// # Errors
    /// The failure, if there is nothing to wait for, or no more.
    pub(crate) async fn ride_out(&mut self, vault: &Vault, failure: Failure) -> Result<(), Failure> {
        let wait = vault.transfers.wait;
        // What waits for room on the node's disk is not a node that is away.
        if wait.is_zero()
            || failure.no_room.is_some()
            || !matches!(failure.kind, Kind::Closed | Kind::Unknown)
        {
            return Err(failure);
        }
        let since = *self.since.get_or_insert_with(|| vault.clock.monotonic());
        let mut pause = PAUSES.0;
        loop {
            if vault.clock.monotonic().saturating_sub(since) > wait {
                return Err(failure);
            }
            vault.node_is_away(&failure, wait);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
            match vault.remote.status().await {
                // It is there and will not serve again by itself: waiting helps nobody.
                Ok(status) if !status.closed_reason.is_empty() => return Err(failure),
                Ok(_) => {
                    vault.node_is_back();
                    return Ok(());
                }
                Err(_) => {}
            }
        }
    }
}

impl Vault {
    /// Sets how content travels.
    #[must_use]
    pub fn with_transfers(mut self, transfers: Transfers) -> Self {
        self.transfers = transfers;
        self
    }

    /// How content travels.
    #[must_use]
    pub fn transfers(&self) -> &Transfers {
        &self.transfers
    }

    /// Said once, however many wait.
    fn node_is_away(&self, failure: &Failure, wait: Duration) {
        if !std::mem::replace(&mut *self.away.lock(), true) {
            (self.transfers.notice)(&format!(
                "{}; waiting up to {} s for it",
                failure.message,
                wait.as_secs()
            ));
        }
    }

    /// Says once that a file system keeps no extended attributes, if that is so.
    pub(crate) fn xattrs_kept(&self, kept: bool) {
        if !kept && !std::mem::replace(&mut *self.xattrs_lost.lock(), true) {
            (self.transfers.notice)(
                "the file system written to keeps no extended attributes: they are left out",
            );
        }
    }

    fn node_is_back(&self) {
        if std::mem::take(&mut *self.away.lock()) {
            (self.transfers.notice)("the node is back; going on");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_format::clock::ManualClock;

    #[test]
    fn bytes_wait_for_those_before_them() {
        let clock = Arc::new(ManualClock::default());
        let throttle = Throttle::new(1_000_000, clock.clone());
        assert_eq!(throttle.book(500_000), Duration::ZERO);
        clock.advance(Duration::from_millis(100));
        assert_eq!(throttle.book(1_000_000), Duration::from_millis(400));
        assert_eq!(throttle.book(1), Duration::from_millis(1_400));
        // Time in which nothing went is not saved up.
        clock.advance(Duration::from_secs(9));
        assert_eq!(throttle.book(500_000), Duration::ZERO);
        assert_eq!(throttle.book(1), Duration::from_millis(500));
    }
}
