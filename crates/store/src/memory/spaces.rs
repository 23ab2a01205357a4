//! The namespaces a memory table has seen, in a list that is read without a lock: an entry names its namespace by its
//! place here, in two bytes, and what a namespace holds is counted beside it.
//!
//! Places are never given up while the process lives: 6,144 different namespaces are far more than a node may have at
//! once, and what comes after is refused with a clear error.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use larder_format::ids::NamespaceId;
use parking_lot::Mutex;

use super::entry::Space;
use crate::used::{Used, UsedTable};

/// Places in the list, a power of two.
const PLACES: usize = 8192;

/// Places that may be taken: with a quarter free, looking for one that is not there ends soon.
pub(super) const PLACES_MAX: usize = PLACES / 4 * 3;

#[derive(Default)]
struct Place {
    /// The namespace's id, all bits turned; 0: nobody's place.
    name: AtomicU64,
    used: OnceLock<Arc<Used>>,
    evicts: AtomicBool,
}

/// The list.
pub(super) struct Spaces {
    places: Box<[Place]>,
    used: Arc<UsedTable>,
    taken: Mutex<usize>,
}

/// A namespace for which there is no place: nothing is kept for it.
pub(super) const NOWHERE: Space = Space(u16::MAX);

fn name_of(namespace: NamespaceId) -> u64 {
    // The one id that this makes 0 is as likely as any other of 2^64, and shares a place with the next.
    (!namespace.0).max(1)
}

impl Spaces {
    pub(super) fn new(used: Arc<UsedTable>) -> Self {
        Self { places: (0..PLACES).map(|_| Place::default()).collect(), used, taken: Mutex::new(0) }
    }

    /// The place of a namespace, a new one if it has none; [`NOWHERE`] if all are taken.
    #[inline]
    pub(super) fn of(&self, namespace: NamespaceId) -> Space {
        let name = name_of(namespace);
        let mut at = name as usize % PLACES;
        loop {
            match self.places[at].name.load(Ordering::Acquire) {
                found if found == name => return Space(at as u16),
                0 => return self.take(namespace, at),
                _ => at = (at + 1) % PLACES,
            }
        }
    }

    #[cold]
    fn take(&self, namespace: NamespaceId, mut at: usize) -> Space {
        let name = name_of(namespace);
        let mut taken = self.taken.lock();
        loop {
            match self.places[at].name.load(Ordering::Acquire) {
                found if found == name => return Space(at as u16),
                0 if *taken >= PLACES_MAX => return NOWHERE,
                0 => break,
                _ => at = (at + 1) % PLACES,
            }
        }
        *taken += 1;
        let place = &self.places[at];
        place.used.get_or_init(|| self.used.of(namespace));
        place.name.store(name, Ordering::Release);
        Space(at as u16)
    }

    fn place(&self, space: Space) -> Option<&Place> {
        self.places.get(usize::from(space.0))
    }

    /// The namespace at a place that was given out.
    pub(super) fn namespace(&self, space: Space) -> NamespaceId {
        NamespaceId(self.place(space).map_or(0, |place| !place.name.load(Ordering::Acquire)))
    }

    /// Counts what came and went, in records and bytes of keys and values; both may fall.
    #[inline]
    pub(super) fn count(&self, space: Space, records: i64, bytes: i64) {
        if (records, bytes) != (0, 0)
            && let Some(used) = self.place(space).and_then(|place| place.used.get())
        {
            used.count_by(records, bytes);
        }
    }

    /// Records of a namespace.
    pub(super) fn records(&self, space: Space) -> u64 {
        self.place(space).and_then(|place| place.used.get()).map_or(0, |used| used.look().records)
    }

    /// Whether values of a namespace may go before their time when the table is full.
    pub(super) fn evicts(&self, space: Space) -> bool {
        self.place(space).is_some_and(|place| place.evicts.load(Ordering::Relaxed))
    }

    /// Says so.
    pub(super) fn set_evicts(&self, space: Space, evicts: bool) {
        if let Some(place) = self.place(space) {
            place.evicts.store(evicts, Ordering::Relaxed);
        }
    }
}
