//! What `WATCH` named: the keys, bounded in number and bytes, and the flag that the table sets once one of them changes.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use larder_door::resp::limits::{WATCHED_BYTES_MAX, WATCHED_MAX};

/// Keys that are watched for the next transaction.
#[derive(Debug, Default)]
pub(crate) struct Watching {
    /// Set once one of them has changed.
    pub(crate) flag: Arc<AtomicBool>,
    keys: HashSet<Box<[u8]>>,
    bytes: usize,
}

impl Watching {
    /// Whether a key is among them.
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        self.keys.contains(key)
    }

    /// Adds a key; answers whether there was room for it.
    pub(crate) fn add(&mut self, key: &[u8]) -> bool {
        if self.keys.len() >= WATCHED_MAX || self.bytes + key.len() > WATCHED_BYTES_MAX {
            return false;
        }
        self.bytes += key.len();
        self.keys.insert(key.into());
        true
    }

    /// All of them.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|key| &**key)
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Bytes that it holds.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes + self.keys.capacity() * size_of::<Box<[u8]>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bounded_in_number_and_bytes() {
        let mut watching = Watching::default();
        assert!(watching.add(b"a") && watching.has(b"a") && !watching.has(b"b"));
        assert!(!watching.add(&vec![0; WATCHED_BYTES_MAX]));
        for number in 1..WATCHED_MAX {
            assert!(watching.add(number.to_string().as_bytes()));
        }
        assert!(!watching.add(b"one more"));
        assert_eq!(watching.keys().count(), WATCHED_MAX);
    }
}
