//! Leases in memory: which blobs a token keeps, until when, and which tokens are spent.
//!
//! What a lease is only ever grows (blobs, deadline, confirmed) until it is released, and a release beats
//! everything, so that frames of one lease may be repeated by compaction in any order.
//!
//! **Spent tokens.** A released token is remembered until its latest known deadline (at least
//! [`REMEMBER_MS`] from the release) has passed by the store's own high-water time. After that a late
//! repetition of an old grant is refused because its deadline is past. Of more than [`SPENT_TOKENS_MAX`] those that had to be
//! remembered for the shortest time are forgotten before: should a grant of one of them come again, that is a lease that no
//! record lists, which ends at its deadline like any other.
//!
//! **Probes.** Whoever wants to end a lease because no record lists it puts a probe on it, then looks at the
//! records, then ends it only if the probe is still there. A record that is about to list the lease takes the
//! probe away ([`super::listing`]).

use std::collections::{BTreeSet, HashMap, HashSet};

use hashbrown::HashTable;
use larder_format::ids::{LeaseToken, NamespaceId};
use larder_format::limits::LEASE_DEADLINE_MS_MAX;
use larder_format::record::Key;
use larder_format::segment::checksum;

use super::segments::Place;
use crate::api::{LeaseGrant, LeaseInfo, StoreError};

/// Shortest time for which a released token is remembered, in milliseconds of hybrid time: as long as a lease can be
/// asked for, and longer than any request can wander about.
pub(super) const REMEMBER_MS: u64 = LEASE_DEADLINE_MS_MAX;

/// Most tokens released before they were ever granted that are remembered. They cost 50 bytes each and
/// anyone may send them.
pub(super) const UNKNOWN_RELEASES_MAX: usize = 1 << 20;

/// Most spent tokens that are remembered, over all clients: some 150 bytes each, 150 MiB in all. A file of more than 32 KiB
/// that is deleted or replaced spends one, so a busy node may well spend more than that in 25 hours; no request comes
/// again that late, and whoever grants and gives up without end is not to take the node's memory with it.
pub(super) const SPENT_TOKENS_MAX: usize = UNKNOWN_RELEASES_MAX;

/// Most leases with a deadline, over all clients: no record lists them yet, so that no quota counts them, and each takes some
/// 600 bytes of memory (80 MiB in all). An upload has one for each file that is under way.
pub(super) const UNLISTED_LEASES_MAX: usize = 1 << 17;

/// Most blobs that leases with a deadline keep, each counted as often as it is kept: so many, and
/// [`UNLISTED_BLOBS_EACH`] times those that the store has. Each takes some 10 bytes of memory, a blob in the index 100.
pub(super) const UNLISTED_BLOBS_MIN: u64 = 1 << 22;
pub(super) const UNLISTED_BLOBS_EACH: u64 = 4;

/// A lease that holds.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub(super) namespace: NamespaceId,
    pub(super) key: Key,
    pub(super) deadline_ms: u64,
    pub(super) confirmed: bool,
    /// Handles of the blobs it keeps.
    pub(super) blobs: HashSet<u32>,
    /// Number of the newest frame about it.
    pub(super) sequence: u64,
    /// Oldest segment that may hold a grant of it.
    pub(super) since: u32,
    /// Segments and lengths of the frames that say it.
    pub(super) frames: Vec<(u32, u32)>,
}

/// A token that can never be granted again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spent {
    pub(super) remember_until_ms: u64,
    pub(super) sequence: u64,
    /// It was given up before it was ever granted.
    pub(super) was_unknown: bool,
}

/// All leases.
#[derive(Default)]
pub(super) struct Leases {
    held: HashMap<LeaseToken, Lease>,
    spent: HashMap<LeaseToken, Spent>,
    spent_order: BTreeSet<(u64, LeaseToken)>,
    /// Spent tokens that were never granted.
    unknown: usize,
    deadlines: BTreeSet<(u64, LeaseToken)>,
    /// By the hash of their record's namespace and key. Leases of one record are one entry: that many hash alike costs nothing.
    by_record: HashTable<OfRecord>,
    /// Probes that nothing has taken away, by number.
    probes: HashMap<LeaseToken, u64>,
    probes_made: u64,
    /// Blobs of leases with a deadline, each as often as it is kept.
    unlisted_blobs: u64,
}

/// The leases of one record. Almost always that is one, a version of a file.
enum OfRecord {
    One(LeaseToken),
    #[allow(clippy::box_collection, reason = "there may be a million of the others, which would be as large")]
    Many(Box<BTreeSet<LeaseToken>>),
}

impl OfRecord {
    /// One of them: it says which record it is.
    fn any(&self) -> Option<LeaseToken> {
        match self {
            Self::One(token) => Some(*token),
            Self::Many(tokens) => tokens.first().copied(),
        }
    }

    fn add(&mut self, token: LeaseToken) {
        match self {
            Self::One(first) => *self = Self::Many(Box::new(BTreeSet::from([*first, token]))),
            Self::Many(tokens) => {
                tokens.insert(token);
            }
        }
    }

    /// Answers whether none is left.
    fn remove(&mut self, token: LeaseToken) -> bool {
        match self {
            Self::One(only) => *only == token,
            Self::Many(tokens) => {
                tokens.remove(&token);
                tokens.is_empty()
            }
        }
    }
}

fn hash_of(namespace: NamespaceId, key: &[u8]) -> u64 {
    checksum(key, namespace.0)
}

/// Whether these are the leases of that record.
fn is_of(held: &HashMap<LeaseToken, Lease>, of: &OfRecord, namespace: NamespaceId, key: &[u8]) -> bool {
    let lease = of.any().and_then(|token| held.get(&token));
    lease.is_some_and(|lease| lease.namespace == namespace && lease.key.as_bytes() == key)
}

impl Leases {
    pub(super) fn get(&self, token: LeaseToken) -> Option<&Lease> {
        self.held.get(&token)
    }

    /// The leases of exactly this record.
    pub(super) fn of_record(&self, namespace: NamespaceId, key: &[u8]) -> Vec<LeaseToken> {
        match self.by_record.find(hash_of(namespace, key), |of| is_of(&self.held, of, namespace, key)) {
            Some(OfRecord::One(token)) => vec![*token],
            Some(OfRecord::Many(tokens)) => tokens.iter().copied().collect(),
            None => Vec::new(),
        }
    }

    /// Notes a lease of a record, which is not among those held yet.
    fn note_record(&mut self, token: LeaseToken, namespace: NamespaceId, key: &[u8]) {
        let held = &self.held;
        let own = hash_of(namespace, key);
        match self.by_record.find_mut(own, |of| is_of(held, of, namespace, key)) {
            Some(of) => of.add(token),
            None => {
                let hash = |of: &OfRecord| {
                    let lease = of.any().and_then(|token| held.get(&token));
                    lease.map_or(0, |lease| hash_of(lease.namespace, lease.key.as_bytes()))
                };
                self.by_record.insert_unique(own, OfRecord::One(token), hash);
            }
        }
    }

    /// Forgets a lease of a record, which is still among those held.
    fn forget_record(&mut self, token: LeaseToken) {
        let held = &self.held;
        let Some(lease) = held.get(&token) else { return };
        let (namespace, key) = (lease.namespace, lease.key.as_bytes());
        let found = self.by_record.find_entry(hash_of(namespace, key), |of| is_of(held, of, namespace, key));
        if let Ok(mut of) = found
            && of.get_mut().remove(token)
        {
            of.remove();
        }
    }

    /// Puts a probe on a lease, in place of any other; answers its number.
    pub(super) fn probe(&mut self, token: LeaseToken) -> u64 {
        self.probes_made += 1;
        self.probes.insert(token, self.probes_made);
        self.probes_made
    }

    /// Takes the probe away; answers which it was.
    pub(super) fn take_probe(&mut self, token: LeaseToken) -> Option<u64> {
        self.probes.remove(&token)
    }

    /// The probe on a lease, if there is one.
    pub(super) fn probe_on(&self, token: LeaseToken) -> Option<u64> {
        self.probes.get(&token).copied()
    }

    /// All that hold, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Lease> {
        self.held.values()
    }

    pub(super) fn tokens(&self) -> Vec<LeaseToken> {
        self.held.keys().copied().collect()
    }

    pub(super) fn spent(&self, token: LeaseToken) -> Option<&Spent> {
        self.spent.get(&token)
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// How many spent tokens were never granted.
    pub(super) fn unknown_len(&self) -> usize {
        self.unknown
    }

    /// Whether this grant may be made.
    pub(super) fn check(&self, grant: &LeaseGrant, now_ms: u64) -> Result<(), StoreError> {
        let refused = |what: &str| Err(StoreError::Invalid { what: what.into() });
        if self.spent.contains_key(&grant.token) {
            return refused("lease token was released");
        }
        match self.held.get(&grant.token) {
            Some(lease) if lease.namespace != grant.namespace || lease.key != grant.key => {
                refused("lease token belongs to another record")
            }
            Some(_) => Ok(()),
            None if grant.deadline_ms <= now_ms => refused("lease deadline is past"),
            None if self.deadlines.len() >= UNLISTED_LEASES_MAX => Err(StoreError::TooMany {
                what: "too many leases that no record lists yet; each ends at its deadline",
                max: UNLISTED_LEASES_MAX as u64,
            }),
            None => Ok(()),
        }
    }

    /// Whether this grant may keep so many more blobs, of a store that has `count`.
    pub(super) fn check_blobs(&self, token: LeaseToken, more: usize, count: u64) -> Result<(), StoreError> {
        let max = UNLISTED_BLOBS_MIN.saturating_add(count.saturating_mul(UNLISTED_BLOBS_EACH));
        let is_listed = self.held.get(&token).is_some_and(|lease| lease.confirmed);
        if !is_listed && self.unlisted_blobs.saturating_add(more as u64) > max {
            return Err(StoreError::TooMany {
                what: "leases that no record lists yet keep too many blobs; each ends at its deadline",
                max,
            });
        }
        Ok(())
    }

    /// Adds blobs to a lease that is held; answers those that it did not keep yet.
    pub(super) fn add_blobs(&mut self, token: LeaseToken, handles: &[u32]) -> Vec<u32> {
        let Some(lease) = self.held.get_mut(&token) else { return Vec::new() };
        let new: Vec<u32> = handles.iter().copied().filter(|handle| lease.blobs.insert(*handle)).collect();
        if !lease.confirmed {
            self.unlisted_blobs += new.len() as u64;
        }
        new
    }

    /// Grants a lease, or says more of one that is held. Its blobs are added apart.
    pub(super) fn grant(&mut self, grant: &LeaseGrant, confirmed: bool, sequence: u64, segment: u32) {
        if !self.held.contains_key(&grant.token) {
            self.note_record(grant.token, grant.namespace, grant.key.as_bytes());
        }
        let lease = self.held.entry(grant.token).or_insert_with(|| Lease {
            namespace: grant.namespace,
            // What is kept for long does not share a request's buffer.
            key: Key::new(bytes::Bytes::copy_from_slice(grant.key.as_bytes())).expect("a copy of a key"),
            deadline_ms: 0,
            confirmed: false,
            blobs: HashSet::new(),
            sequence: 0,
            since: segment,
            frames: Vec::new(),
        });
        self.deadlines.remove(&(lease.deadline_ms, grant.token));
        lease.deadline_ms = lease.deadline_ms.max(grant.deadline_ms);
        if confirmed && !lease.confirmed {
            self.unlisted_blobs -= lease.blobs.len() as u64;
        }
        lease.confirmed |= confirmed;
        lease.sequence = lease.sequence.max(sequence);
        lease.since = lease.since.min(segment);
        if !lease.confirmed {
            self.deadlines.insert((lease.deadline_ms, grant.token));
        }
    }

    /// Takes the deadline off. Answers false for an unknown token.
    pub(super) fn confirm(&mut self, token: LeaseToken, sequence: u64) -> bool {
        let Some(lease) = self.held.get_mut(&token) else { return false };
        self.deadlines.remove(&(lease.deadline_ms, token));
        if !lease.confirmed {
            self.unlisted_blobs -= lease.blobs.len() as u64;
        }
        lease.confirmed = true;
        lease.sequence = lease.sequence.max(sequence);
        true
    }

    /// Notes a frame that this lease needs.
    pub(super) fn add_frame(&mut self, token: LeaseToken, place: &Place) {
        if let Some(lease) = self.held.get_mut(&token) {
            lease.frames.push((place.segment, u32::try_from(place.frame_len()).unwrap_or(u32::MAX)));
        }
    }

    /// Notes that a frame was copied out of a segment that is about to go.
    pub(super) fn move_frame(&mut self, token: LeaseToken, from: u32, to: &Place) {
        let Some(lease) = self.held.get_mut(&token) else { return };
        if let Some(at) = lease.frames.iter().position(|(segment, _)| *segment == from) {
            lease.frames.swap_remove(at);
        }
        self.add_frame(token, to);
    }

    /// Ends a lease; answers what it was.
    pub(super) fn release(&mut self, token: LeaseToken, spent: Spent) -> Option<Lease> {
        if let Some(old) = self.spent.insert(token, spent) {
            self.spent_order.remove(&(old.remember_until_ms, token));
            self.unknown -= usize::from(old.was_unknown);
        }
        self.unknown += usize::from(spent.was_unknown);
        self.spent_order.insert((spent.remember_until_ms, token));
        self.forget_record(token);
        let lease = self.held.remove(&token)?;
        self.probes.remove(&token);
        self.deadlines.remove(&(lease.deadline_ms, token));
        if !lease.confirmed {
            self.unlisted_blobs -= lease.blobs.len() as u64;
        }
        Some(lease)
    }

    /// Forgets tokens whose time has passed, and those that are too many.
    pub(super) fn forget_spent(&mut self, now_ms: u64) {
        while let Some((until, token)) = self.spent_order.first().copied() {
            if until >= now_ms && self.spent_order.len() <= SPENT_TOKENS_MAX {
                return;
            }
            self.spent_order.remove(&(until, token));
            let forgotten = self.spent.remove(&token);
            self.unknown -= usize::from(forgotten.is_some_and(|spent| spent.was_unknown));
        }
    }

    /// Leases whose deadline is at or before `now_ms`, soonest first.
    pub(super) fn due(&self, now_ms: u64, limit: usize) -> Vec<LeaseInfo> {
        let past = self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now_ms);
        past.take(limit).filter_map(|(_, token)| self.info(*token)).collect()
    }

    pub(super) fn info(&self, token: LeaseToken) -> Option<LeaseInfo> {
        let lease = self.held.get(&token)?;
        Some(LeaseInfo {
            token,
            namespace: lease.namespace,
            key: lease.key.clone(),
            deadline_ms: (!lease.confirmed).then_some(lease.deadline_ms),
            blobs: lease.blobs.len() as u64,
        })
    }
}

#[cfg(test)]
#[path = "leases_tests.rs"]
mod tests;
