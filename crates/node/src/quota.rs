//! Quotas, asked before anything is accepted. Which puts a namespace's quota counts strictly, and which may go over it:
//!
//! - one that lists leases ends what was begun when its blobs were accepted: it may go over by more than all clients
//!   together can have begun, and no further, because one lease may be listed by any number of records;
//! - a version that is kept beside its file with an end is the first half of a deletion into the trash: it may go over
//!   by a little, because the deletion that follows takes as much away again;
//! - everything else stays within the limit. Deleting, touching, reading and releasing are never asked.

use larder_format::error::Kind;
use larder_format::ids::NamespaceId;
use larder_format::limits::{HEAD_LEN_MAX, INLINE_FILE_LEN_MAX};
use larder_format::namespace::{Namespace, Privacy};
use larder_format::operation::{Lifetime, Put};
use larder_format::record::{Key, RecordMeta, RecordSlot, RecordState};
use larder_format::size::show;
use larder_store::api::StoreError;
use larder_store::log::LogStore;
use larder_store::used::{Reach, Reserved};
use larder_wire::answer::Failure;

use crate::leases::FILE_KEY_LEN;

/// Longest record that may go over a quota, in bytes: twice what a file inside its record takes with its head.
const OVER_LEN_MAX: u64 = 2 * (INLINE_FILE_LEN_MAX + HEAD_LEN_MAX) as u64;

/// Deletions may go over a quota by this part of it, and by at least [`OVER_MIN`].
const OVER_PART: u64 = 16;

/// Deletions may go over a quota by this much, in bytes: as many as a client has under way at once.
const OVER_MIN: u64 = 4 << 20;

/// Puts that end what was begun may go over a quota by the same part of it, and by at least this much, in bytes: a
/// thousand clients with 16 KiB of records each.
const OVER_BEGUN_MIN: u64 = 16 << 20;

/// Smallest quota of a namespace, in bytes: below it not even a folder with a few files fits.
pub const NAMESPACE_QUOTA_MIN: u64 = 1 << 20;

/// Smallest quota of a node, in bytes: what is kept for deleting and compacting is 40 MiB of it, and the reserve 16.
pub const NODE_QUOTA_MIN: u64 = 128 << 20;

/// Largest quota, in bytes: beyond any disk, within arithmetic.
pub const QUOTA_MAX: u64 = 1 << 60;

/// What a put needs of its namespace's quota.
pub(crate) struct Claim {
    bytes: u64,
    reach: Reach,
    /// It may use the room that is kept for deleting.
    pub(crate) is_ending: bool,
}

impl Claim {
    /// Of a put that replaces `before` by `after`.
    pub(crate) fn of(
        namespace: &Namespace,
        key: &Key,
        put: &Put,
        before: Option<RecordMeta>,
        after: &RecordSlot,
    ) -> Self {
        let key_len = key.as_bytes().len() as u64;
        let old = before.map_or(0, |meta| key_len + u64::from(meta.value_len));
        let new = key_len + after.state.as_ref().map_or(0, RecordState::value_len) as u64;
        let bytes = new.saturating_sub(old);
        let ends =
            matches!(put.lifetime, Lifetime::Until(expiry) | Lifetime::Keep(expiry) if expiry.ms().is_some());
        let is_small = new <= OVER_LEN_MAX;
        let of_begun = !put.tokens.is_empty() && is_small;
        let sealed = namespace.privacy == Privacy::Sealed;
        let of_deletion = sealed && key.as_bytes().len() > FILE_KEY_LEN && ends && is_small;
        let reach = match namespace.quota_bytes {
            Some(limit) if of_begun => Reach::Over((limit / OVER_PART).max(OVER_BEGUN_MIN)),
            Some(limit) if of_deletion => Reach::Over((limit / OVER_PART).max(OVER_MIN)),
            _ => Reach::Before(0),
        };
        // A folder that is being deleted is first written anew, closed, as long as it was.
        let is_ending = of_begun || of_deletion || (sealed && bytes == 0 && old > 0 && is_small);
        Self { bytes, reach, is_ending }
    }

    /// Sets aside what is needed. Nothing has to be where there is no quota.
    ///
    /// # Errors
    /// [`StoreError::Quota`].
    pub(crate) fn reserve(
        &self,
        namespace: &Namespace,
        log: &LogStore,
    ) -> Result<Option<Reserved>, StoreError> {
        if namespace.quota_bytes.is_none() || self.bytes == 0 {
            return Ok(None);
        }
        log.used().of(namespace.id()).reserve(self.bytes, self.reach).map(Some)
    }
}

/// Checks a quota that somebody wants to set.
///
/// # Errors
/// [`Kind::Invalid`] names the range.
pub(crate) fn check(namespace: Option<NamespaceId>, quota_bytes: Option<u64>) -> Result<(), Failure> {
    let min = if namespace.is_some() { NAMESPACE_QUOTA_MIN } else { NODE_QUOTA_MIN };
    match quota_bytes {
        Some(bytes) if !(min..=QUOTA_MAX).contains(&bytes) => {
            let message = format!(
                "a quota of this kind is {} to {}, or none; asked for {}",
                show(min),
                show(QUOTA_MAX),
                show(bytes)
            );
            Err(Failure::new(Kind::Invalid, message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use larder_format::ids::LeaseToken;
    use larder_format::namespace::{Class, ScanOrder};
    use larder_format::operation::Condition;
    use larder_format::record::{Content, Expiry, Live, Version};
    use larder_format::rng::SeededRng;
    use larder_format::slot::Slot;
    use larder_store::api::{Address, Next, RecordStore};
    use larder_store::disk::sim::SimDisk;
    use larder_store::log::LogConfig;

    use super::*;

    /// Puts records as large as any that may list a lease, at the keys of a file's versions, until it is refused.
    fn fill(log: &LogStore, namespace: &Namespace, first: u64) -> u64 {
        let body = Bytes::from(vec![7; 70_000]);
        let tokens = vec![LeaseToken([1; 16])];
        let put = Put {
            condition: Condition::Any,
            lifetime: Lifetime::Until(Expiry::NEVER),
            takes: None,
            tokens: tokens.clone(),
            not_after_ms: None,
            head: Bytes::new(),
            body: body.clone(),
        };
        let live = Live { tokens, body, ..Live::default() };
        let state = RecordState {
            version: Version::from_u64(1),
            expiry: Expiry::NEVER,
            content: Content::Live(live),
            operations: Vec::new(),
        };
        let slot = RecordSlot { ballots: None, state: Some(state) };
        for number in first..first + 3_000 {
            let key = [&[9; FILE_KEY_LEN][..], &number.to_be_bytes()].concat();
            let key = Key::new(Bytes::from(key)).unwrap();
            let at = Address { namespace: namespace.id(), slot: Slot::of_sealed(key.as_bytes()), key: &key };
            let claim = Claim::of(namespace, &key, &put, None, &slot);
            let Ok(reserved) = claim.reserve(namespace, log) else {
                log.pump().unwrap();
                return number - first;
            };
            drop(log.update(at, &mut |_| Ok(Next::Store(slot.clone()))).unwrap());
            drop(reserved);
        }
        panic!("never refused");
    }

    #[test]
    fn records_that_list_a_lease_end_what_was_begun_and_not_more() {
        let disk = Arc::new(SimDisk::new());
        let config = LogConfig { threads: false, reserve_bytes: 0, margin_bytes: 0, ..LogConfig::default() };
        let log = LogStore::open_on(disk, config, &mut SeededRng::new(1)).unwrap();
        let mut namespace = Namespace::new("files", Privacy::Sealed, Class::Disk, ScanOrder::Key);
        namespace.quota_bytes = Some(1 << 20);
        let used = log.used().of(namespace.id());
        used.set_limit(namespace.quota_bytes);
        let begun = fill(&log, &namespace, 0);
        assert!((230..270).contains(&begun), "16 MiB over the limit: {begun} records");
        // Where a limit is set below what is held already, deleting goes on: versions are kept first.
        used.set_limit(namespace.quota_bytes);
        assert!(fill(&log, &namespace, 10_000) > 200);
    }
}
