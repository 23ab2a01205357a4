//! When all leases are looked at, in portions.
//!
//! A lease that lost its last record is noticed at once ([`crate::suspects`]), unless the node stopped before
//! it looked, or too many came at a time. An audit finds those. Nothing has to be seen twice: a record cannot
//! list a lease that has ended ([`larder_store::log::LogStore::list_leases`]).

use larder_format::ids::LeaseToken;

/// When the first audit begins, in milliseconds after the start: soon, because what the node did not get to
/// before it stopped may be what the disk is full of; not at once, because starting is busy enough.
const FIRST_MS: u64 = 20 * 1000;

/// From the beginning of one audit to the next, in milliseconds.
const PAUSE_MS: u64 = 60 * 60 * 1000;

/// Leases looked at in one portion.
const PORTION: usize = 256;

/// An audit, under way or waiting.
#[derive(Debug, Default)]
pub(crate) struct LeaseAudit {
    /// Still to be looked at.
    queue: Vec<LeaseToken>,
    /// When the next one begins; `None`: not known yet.
    next_ms: Option<u64>,
    /// One is wanted as soon as the one under way is done.
    wanted: bool,
}

impl LeaseAudit {
    /// The next leases to look at; none while it is not time. `all` lists every lease there is.
    pub(crate) fn portion(&mut self, now_ms: u64, all: impl FnOnce() -> Vec<LeaseToken>) -> Vec<LeaseToken> {
        let next_ms = *self.next_ms.get_or_insert(now_ms + FIRST_MS);
        if self.queue.is_empty() && (self.wanted || now_ms >= next_ms) {
            self.queue = all();
            self.wanted = false;
            self.next_ms = Some(now_ms + PAUSE_MS);
        }
        self.queue.split_off(self.queue.len().saturating_sub(PORTION))
    }

    /// Takes those back that nobody came to look at.
    pub(crate) fn give_back(&mut self, tokens: &[LeaseToken]) {
        self.queue.extend_from_slice(tokens);
    }

    /// Whether the audit under way has more to look at.
    pub(crate) fn has_more(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The next audit begins without waiting.
    pub(crate) fn begin_now(&mut self) {
        self.wanted = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(count: usize) -> Vec<LeaseToken> {
        (0..count).map(|n| LeaseToken([n as u8; 16])).collect()
    }

    #[test]
    fn an_audit_begins_after_the_start_and_again_after_the_pause() {
        let mut audit = LeaseAudit::default();
        assert!(audit.portion(1_000, || tokens(3)).is_empty(), "not at once");
        assert!(audit.portion(999 + FIRST_MS, || tokens(3)).is_empty());
        assert_eq!(audit.portion(1_000 + FIRST_MS, || tokens(PORTION + 3)).len(), PORTION);
        assert!(audit.has_more());
        assert_eq!(audit.portion(1_000 + FIRST_MS, || unreachable!("one is under way")).len(), 3);
        assert!(!audit.has_more());
        assert!(audit.portion(999 + FIRST_MS + PAUSE_MS, || tokens(3)).is_empty());
        assert_eq!(audit.portion(1_000 + FIRST_MS + PAUSE_MS, || tokens(3)).len(), 3);
    }

    #[test]
    fn one_that_is_wanted_does_not_wait() {
        let mut audit = LeaseAudit::default();
        audit.begin_now();
        assert_eq!(audit.portion(1_000, || tokens(3)).len(), 3);
        assert!(audit.portion(1_001, || tokens(3)).is_empty());
    }
}
