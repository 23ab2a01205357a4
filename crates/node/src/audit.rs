//! Which leases to look at, and which have been without a record for how long.
//!
//! A lease that its record once listed has no deadline any more. When the record goes (deleted, replaced and
//! its versions expired) nothing says so to the lease, so all leases are looked at from time to time. One that
//! no record lists is ended only if the same is found again [`GRACE_MS`] later: a client that replaces a file
//! keeps its old version beside it under the old token, and may take up to ten minutes between reading the
//! one and writing the other (it says so to the node, which refuses it later).

use std::collections::HashMap;

use larder_format::ids::LeaseToken;

/// When the first audit begins, in milliseconds after the start.
const FIRST_MS: u64 = 5 * 60 * 1000;

/// From the end of one audit to the next, in milliseconds.
const PAUSE_MS: u64 = 60 * 60 * 1000;

/// How long a lease must have been without a record, in milliseconds. Above the ten minutes that a client may
/// take, and what a clock may be off.
const GRACE_MS: u64 = 15 * 60 * 1000;

/// Leases looked at in one portion.
const PORTION: usize = 256;

/// An audit, under way or waiting.
#[derive(Debug, Default)]
pub(crate) struct LeaseAudit {
    /// Still to be looked at.
    queue: Vec<LeaseToken>,
    /// Found without a record, and since when.
    suspects: HashMap<LeaseToken, u64>,
    /// When the next one begins; 0: not known yet.
    next_ms: u64,
    /// When suspects are looked at again before that.
    again_ms: u64,
}

impl LeaseAudit {
    /// The next leases to look at; none while it is not time. `all` lists every lease there is.
    pub(crate) fn portion(&mut self, now_ms: u64, all: impl FnOnce() -> Vec<LeaseToken>) -> Vec<LeaseToken> {
        if self.next_ms == 0 {
            self.next_ms = now_ms + FIRST_MS;
        }
        if self.queue.is_empty() && now_ms >= self.next_ms {
            self.queue = all();
            self.next_ms = now_ms + PAUSE_MS;
            self.again_ms = now_ms + GRACE_MS;
        } else if self.queue.is_empty() && !self.suspects.is_empty() && now_ms >= self.again_ms {
            self.queue = self.suspects.keys().copied().collect();
            self.again_ms = now_ms + GRACE_MS;
        }
        self.queue.split_off(self.queue.len().saturating_sub(PORTION))
    }

    /// Whether the audit under way has more to look at.
    pub(crate) fn has_more(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Notes that a lease has no record now; answers whether it has had none for long enough.
    pub(crate) fn is_overdue(&mut self, token: LeaseToken, now_ms: u64) -> bool {
        let since_ms = *self.suspects.entry(token).or_insert(now_ms);
        now_ms.saturating_sub(since_ms) >= GRACE_MS
    }

    /// Notes that there is nothing against a lease, or that it has ended.
    pub(crate) fn cleared(&mut self, token: LeaseToken) {
        self.suspects.remove(&token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: LeaseToken = LeaseToken([1; 16]);

    #[test]
    fn a_lease_ends_only_when_it_was_without_a_record_twice() {
        let mut audit = LeaseAudit::default();
        assert!(audit.portion(1_000, || vec![A]).is_empty(), "not at once");
        let begin = 1_000 + FIRST_MS;
        assert_eq!(audit.portion(begin, || vec![A]), [A]);
        assert!(!audit.is_overdue(A, begin));
        assert!(audit.portion(begin + GRACE_MS - 1, Vec::new).is_empty());
        assert_eq!(audit.portion(begin + GRACE_MS, Vec::new), [A]);
        assert!(audit.is_overdue(A, begin + GRACE_MS));
        audit.cleared(A);
        assert!(audit.portion(begin + 2 * GRACE_MS, Vec::new).is_empty());
    }

    #[test]
    fn one_that_is_listed_again_begins_anew() {
        let mut audit = LeaseAudit::default();
        audit.portion(0, Vec::new);
        assert!(!audit.is_overdue(A, 10));
        audit.cleared(A);
        assert!(!audit.is_overdue(A, 10 + GRACE_MS));
    }
}
