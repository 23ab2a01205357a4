//! Keys of disk records that were replaced or removed: their leases may have lost the last record that lists
//! them, so that they are looked at soon rather than at the next audit.

use std::collections::HashSet;

use bytes::Bytes;
use larder_format::ids::NamespaceId;
use larder_format::record::Key;
use parking_lot::Mutex;

/// Most keys that wait to be looked at. At about a hundred bytes each they stay within a few mebibytes; when
/// more come at once, all leases are looked at instead.
const SUSPECTS_MAX: usize = 1 << 16;

/// What waits to be looked at.
#[derive(Default)]
pub(crate) struct Suspects {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    keys: HashSet<(NamespaceId, Bytes)>,
    overflowed: bool,
}

impl Suspects {
    /// Notes that what this key held was replaced or removed.
    pub(crate) fn note(&self, namespace: NamespaceId, key: &Key) {
        let mut waiting = self.waiting.lock();
        if waiting.keys.len() >= SUSPECTS_MAX {
            waiting.overflowed = true;
            return;
        }
        // A key shares the buffer of the request it came in; what waits must not keep that.
        waiting.keys.insert((namespace, Bytes::copy_from_slice(key.as_bytes())));
    }

    /// Takes up to `limit` keys out.
    pub(crate) fn take(&self, limit: usize) -> Vec<(NamespaceId, Bytes)> {
        let mut waiting = self.waiting.lock();
        let some: Vec<_> = waiting.keys.iter().take(limit).cloned().collect();
        for key in &some {
            waiting.keys.remove(key);
        }
        some
    }

    /// Takes those back that nobody came to look at.
    pub(crate) fn give_back(&self, keys: &[(NamespaceId, Bytes)]) {
        self.waiting.lock().keys.extend(keys.iter().cloned());
    }

    /// Whether there were too many since this was asked last.
    pub(crate) fn take_overflow(&self) -> bool {
        std::mem::take(&mut self.waiting.lock().overflowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        Key::new(Bytes::from(format!("{number:040}"))).unwrap()
    }

    #[test]
    fn each_key_is_given_out_once_and_too_many_are_said() {
        let suspects = Suspects::default();
        let namespace = NamespaceId(1);
        suspects.note(namespace, &key(1));
        suspects.note(namespace, &key(1));
        assert_eq!(suspects.take(9).len(), 1);
        assert!(suspects.take(9).is_empty());
        assert!(!suspects.take_overflow());
        (0..=SUSPECTS_MAX).for_each(|number| suspects.note(namespace, &key(number)));
        assert!(suspects.take_overflow());
        assert!(!suspects.take_overflow());
        assert_eq!(suspects.take(usize::MAX).len(), SUSPECTS_MAX);
    }
}
