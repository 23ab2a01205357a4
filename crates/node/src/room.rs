//! Room in memory for what passes through the node: a number of bytes for all clients together, given out in the
//! order in which it was asked for, so that memory is bounded however many come and each has its turn.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of blobs that are being read for clients or that clients have not taken yet, over all clients: sixty of the
/// largest, so that disk and network stay busy while many are slow.
pub(crate) const OUTGOING_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes of messages with blobs that are arriving, over all clients, before they wait for the disk. Less than what goes
/// out: the disk is slower at it, and what waits for it has room of its own.
pub(crate) const INCOMING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of answers with records, over all clients, that are on their way to them; half of it for one identity.
pub(crate) const RECORDS_OUT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of messages with records that are arriving, over all clients; half of it for one identity.
pub(crate) const RECORDS_IN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of pages of listings and of changes, over all clients, that are being made or on their way to them; half of it for
/// one identity. Apart from
/// records, so that who lists slowly holds up nobody who reads.
pub(crate) const PAGES_OUT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Single messages and answers up to this long need no room: connections and their streams bound these.
pub(crate) const SMALL_BYTES: usize = 16 * 1024;

/// How long a client that has room may move nothing while others wait for it. Longer than what networks take to mend
/// themselves.
pub(crate) const STALLED_AFTER: Duration = Duration::from_secs(30);

/// What counts as having moved: so many bytes, or all that is left. Within [`STALLED_AFTER`] any modem moves them.
pub(crate) const STEP_BYTES: usize = 256 * 1024;

/// Permits are counted in units of this many bytes, because a semaphore counts in `u32`.
const PERMIT_BYTES: usize = 1024;

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX)
}

/// Room for a number of bytes.
pub(crate) struct Room {
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// A part of a room, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share(OwnedSemaphorePermit);

impl Share {
    /// How many bytes it is for.
    pub(crate) fn bytes(&self) -> usize {
        self.0.num_permits() * PERMIT_BYTES
    }

    /// Gives back what is more than is needed for this many bytes.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let surplus = self.0.num_permits().saturating_sub(permits(bytes) as usize);
        drop(self.0.split(surplus));
    }
}

/// Counted among those who wait until it is dropped, however waiting ends.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn among(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Room {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes / PERMIT_BYTES)), waiting: AtomicUsize::new(0) }
    }

    /// Waits for its turn. At most what the room has: who asks for more waits for ever.
    pub(crate) async fn take(&self, bytes: usize) -> Share {
        let permits = permits(bytes);
        // Passes nobody: what comes back while somebody waits goes to them at once, and is not free.
        if let Ok(permit) = self.free.clone().try_acquire_many_owned(permits) {
            return Share(permit);
        }
        let _waiting = Waiting::among(&self.waiting);
        match self.free.clone().acquire_many_owned(permits).await {
            Ok(permit) => Share(permit),
            // Nobody closes it.
            Err(_) => std::future::pending().await,
        }
    }

    /// Whether somebody waits.
    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

/// Room of which one identity has a part only, where that is said: it is in its own way before it is in that of others.
pub(crate) struct Rooms {
    common: Arc<Room>,
    each: Option<usize>,
    owners: Mutex<HashMap<String, Weak<Room>>>,
}

/// What somebody may take of it.
#[derive(Clone)]
pub(crate) struct Claim {
    common: Arc<Room>,
    own: Option<Arc<Room>>,
}

/// A part of everybody's room, and of what its owner has; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    common: Share,
    own: Option<Share>,
}

impl Rooms {
    /// So many bytes, and so many for each identity.
    pub(crate) fn new(bytes: usize, each: Option<usize>) -> Self {
        Self { common: Arc::new(Room::new(bytes)), each, owners: Mutex::default() }
    }

    /// What somebody of this name may take.
    pub(crate) fn of(&self, name: &str) -> Claim {
        Claim { common: self.common.clone(), own: self.each.map(|each| self.own(name, each)) }
    }

    fn own(&self, name: &str, each: usize) -> Arc<Room> {
        let mut owners = self.owners.lock();
        if let Some(own) = owners.get(name).and_then(Weak::upgrade) {
            return own;
        }
        // As many as there are identities with something under way.
        owners.retain(|_, own| own.strong_count() > 0);
        let own = Arc::new(Room::new(each));
        owners.insert(name.to_owned(), Arc::downgrade(&own));
        own
    }
}

impl Claim {
    /// Waits for its turn, first among its own. At most what it has: who asks for more waits for ever.
    pub(crate) async fn take(&self, bytes: usize) -> Held {
        let own = match &self.own {
            Some(own) => Some(own.take(bytes).await),
            None => None,
        };
        Held { common: self.common.take(bytes).await, own }
    }

    /// Whether somebody waits for what this one has.
    pub(crate) fn is_wanted(&self) -> bool {
        self.common.is_wanted() || self.own.as_ref().is_some_and(|own| own.is_wanted())
    }
}

impl Held {
    /// How many bytes it is for.
    pub(crate) fn bytes(&self) -> usize {
        self.common.bytes()
    }

    /// Gives back what is more than is needed for this many bytes.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        self.common.shrink(bytes);
        self.own.iter_mut().for_each(|own| own.shrink(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_identity_is_in_its_own_way_only() {
        let rooms = Rooms::new(4 * PERMIT_BYTES, Some(2 * PERMIT_BYTES));
        let (greedy, other) = (rooms.of("greedy"), rooms.of("other"));
        let held = greedy.take(2 * PERMIT_BYTES).await;
        let again = rooms.of("greedy");
        let mut more = Box::pin(again.take(1));
        assert!(tokio::time::timeout(Duration::from_millis(10), &mut more).await.is_err());
        assert!(greedy.is_wanted() && !other.is_wanted());
        drop(other.take(2 * PERMIT_BYTES).await);
        drop(held);
        assert_eq!(more.as_mut().await.bytes(), PERMIT_BYTES);
        drop(more);
        drop((greedy, again, other));
        assert_eq!(
            rooms.of("third").own.map(|_| rooms.owners.lock().len()),
            Some(1),
            "nothing is kept of who left"
        );
    }

    #[tokio::test]
    async fn room_is_given_in_the_order_asked_and_comes_back() {
        let room = Arc::new(Room::new(4 * PERMIT_BYTES));
        let mut first = room.take(4 * PERMIT_BYTES).await;
        assert!(!room.is_wanted());
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for bytes in [3 * PERMIT_BYTES, 1] {
            let (room, order) = (room.clone(), order.clone());
            tasks.push(tokio::spawn(async move {
                let share = room.take(bytes).await;
                order.lock().push(bytes);
                share
            }));
            tokio::task::yield_now().await;
        }
        assert!(room.is_wanted());
        // Enough for the small one only, which came later.
        first.shrink(2 * PERMIT_BYTES);
        tokio::task::yield_now().await;
        assert!(order.lock().is_empty());
        drop(first);
        for task in tasks {
            drop(task.await.unwrap());
        }
        assert_eq!(*order.lock(), [3 * PERMIT_BYTES, 1]);
        assert!(!room.is_wanted());
        drop(room.take(4 * PERMIT_BYTES).await);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_does_not_count() {
        let room = Room::new(PERMIT_BYTES);
        let _all = room.take(1).await;
        assert!(tokio::time::timeout(Duration::from_millis(10), room.take(1)).await.is_err());
        assert!(!room.is_wanted());
    }
}
