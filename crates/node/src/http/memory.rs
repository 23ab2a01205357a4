//! Memory that clients can make the door hold: a number of bytes over all connections, and of these a share for each
//! caller's network, so that whoever is slow, or means harm, is in the way of itself first.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use larder_door::caller::Network;
use larder_door::http::limits::CALLERS_PER_MEMORY;
use larder_door::{Caller, Refusal};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits are counted in units of this many bytes, because a semaphore counts in `u32`.
const PERMIT_BYTES: usize = 1024;

/// Callers known before those that hold nothing any more are forgotten.
const CALLERS_KEPT: usize = 256;

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX)
}

/// A number of bytes.
pub(super) struct Memory {
    free: Arc<Semaphore>,
    /// Permits of one caller.
    each: usize,
    callers: Mutex<HashMap<Network, Weak<Own>>>,
}

/// What one caller has of it.
struct Own {
    free: Arc<Semaphore>,
    /// Requests of this caller that wait for some of it.
    waiting: AtomicUsize,
}

/// A part of it, given back when this is dropped.
pub(super) struct Share {
    own: OwnedSemaphorePermit,
    common: OwnedSemaphorePermit,
    of: Arc<Own>,
}

/// Counted among those who wait until it is dropped, however waiting ends.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Share {
    /// Whether other requests of the same caller wait for what this one has.
    pub(super) fn is_wanted(&self) -> bool {
        self.of.waiting.load(Ordering::Relaxed) > 0
    }

    /// Adds another part of the same caller.
    pub(super) fn merge(&mut self, other: Share) {
        self.own.merge(other.own);
        self.common.merge(other.common);
    }

    /// Gives back what is more than is needed for this many bytes.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let surplus = self.common.num_permits().saturating_sub(permits(bytes) as usize);
        drop((self.own.split(surplus), self.common.split(surplus)));
    }
}

impl Memory {
    /// This many bytes in all; a caller has [`CALLERS_PER_MEMORY`]'s part of them, and at least `least`.
    pub(super) fn new(bytes: usize, least: usize) -> Self {
        let each = (bytes / CALLERS_PER_MEMORY).max(least);
        Self {
            free: Arc::new(Semaphore::new(bytes.max(each) / PERMIT_BYTES)),
            each: each.div_ceil(PERMIT_BYTES),
            callers: Mutex::default(),
        }
    }

    /// Waits for so many bytes, all at once: who has a part and waits for more could wait for another who does so too.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if they are not there in time.
    pub(super) async fn take(&self, caller: &Caller, bytes: usize, wait: Duration) -> Result<Share, Refusal> {
        let permits = permits(bytes);
        let of = self.of(caller);
        of.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&of.waiting);
        let taking = async {
            let own = of.free.clone().acquire_many_owned(permits).await.ok()?;
            drop(waiting);
            let common = self.free.clone().acquire_many_owned(permits).await.ok()?;
            Some(Share { own, common, of: of.clone() })
        };
        tokio::time::timeout(wait, taking).await.ok().flatten().ok_or(Refusal::Busy)
    }

    fn of(&self, caller: &Caller) -> Arc<Own> {
        // All of 127.0.0.0/8 is this machine: one caller.
        let network = match caller.address.is_loopback() {
            true => Network::of(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            false => caller.network(),
        };
        let mut callers = self.callers.lock();
        if let Some(own) = callers.get(&network).and_then(Weak::upgrade) {
            return own;
        }
        if callers.len() >= CALLERS_KEPT {
            callers.retain(|_, own| own.strong_count() > 0);
        }
        let free = Arc::new(Semaphore::new(self.each));
        let own = Arc::new(Own { free, waiting: AtomicUsize::new(0) });
        callers.insert(network, Arc::downgrade(&own));
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_caller_is_in_its_own_way_only() {
        let memory = Memory::new(4 * PERMIT_BYTES, 0);
        let at = |text: &str| Caller::at(text.parse().unwrap());
        let soon = Duration::from_millis(20);
        let first = memory.take(&at("127.0.0.1"), PERMIT_BYTES, soon).await.unwrap();
        assert_eq!(memory.take(&at("127.9.9.9"), 1, soon).await.err(), Some(Refusal::Busy));
        let mut other = memory.take(&at("192.0.2.1"), PERMIT_BYTES, soon).await.unwrap();
        other.shrink(0);
        assert!(memory.take(&at("192.0.2.1"), 1, soon).await.is_ok());
        assert!(!first.is_wanted(), "who gave up waiting");
        let local = at("127.0.0.1");
        let waiting = memory.take(&local, 1, Duration::from_secs(9));
        let mut waiting = std::pin::pin!(waiting);
        assert!(tokio::time::timeout(soon, &mut waiting).await.is_err());
        assert!(first.is_wanted() && !other.is_wanted());
        drop(first);
        assert!(!waiting.await.unwrap().is_wanted());
        assert!(memory.take(&at("::1"), 1, soon).await.is_ok());
    }
}
