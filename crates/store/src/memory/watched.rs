//! Who wants to know whether a key changes. Kept by the key's hash: two keys of a shard that share its 32 bits set each
//! other's flags, which costs a needless second try and nothing else.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// Flags looked through at the first tidying of a shard; after each, twice as many as were left.
const TIDY_MIN: usize = 64;

/// Flags of one shard's keys.
#[derive(Default)]
pub(super) struct Watched {
    flags: HashMap<u32, Vec<Weak<AtomicBool>>>,
    held: usize,
    tidy_at: usize,
}

impl Watched {
    /// Sets `flag` at the next change of a key with this hash.
    pub(super) fn add(&mut self, hash: u32, flag: &Arc<AtomicBool>) {
        if self.held >= self.tidy_at.max(TIDY_MIN) {
            self.tidy();
        }
        self.flags.entry(hash).or_default().push(Arc::downgrade(flag));
        self.held += 1;
    }

    /// A key with this hash has changed.
    #[inline]
    pub(super) fn changed(&mut self, hash: u32) {
        if !self.flags.is_empty() {
            self.set(hash);
        }
    }

    #[cold]
    fn set(&mut self, hash: u32) {
        let Some(flags) = self.flags.remove(&hash) else { return };
        self.held -= flags.len();
        for flag in flags.iter().filter_map(Weak::upgrade) {
            flag.store(true, Ordering::Release);
        }
    }

    /// Forgets flags that nobody holds any more.
    fn tidy(&mut self) {
        self.flags.retain(|_, flags| {
            flags.retain(|flag| flag.strong_count() > 0);
            !flags.is_empty()
        });
        self.held = self.flags.values().map(Vec::len).sum();
        self.tidy_at = 2 * self.held;
    }
}
