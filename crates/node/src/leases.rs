//! Ending leases that no record lists any more. A lease is looked at when its record changes, when its
//! deadline has passed, in an audit of all, and when somebody gives it up; it ends only if none of its
//! record's versions lists it, which the store makes sure of until the end is written.

use std::sync::Arc;

use bytes::Bytes;
use larder_format::ids::{LeaseToken, NamespaceId};
use larder_format::limits::KEY_LEN_MAX;
use larder_format::namespace::Class;
use larder_format::record::Content;
use larder_store::api::{BlobStore, LeaseInfo, ScanRequest, StoreError, Ticket, Want};
use larder_store::log::LogStore;

use crate::namespaces::Namespaces;
use crate::registers::Registers;

/// Length of a file's key in sealed namespaces, in bytes. Its versions are kept at keys that begin with it.
pub(crate) const FILE_KEY_LEN: usize = 32;

/// Records looked at in one page.
const PAGE_RECORDS: usize = 256;

/// Leases of this node, as far as records are concerned.
pub(crate) struct Leases {
    pub(crate) registers: Arc<Registers>,
    pub(crate) namespaces: Arc<Namespaces>,
    pub(crate) log: Arc<LogStore>,
}

impl Leases {
    /// Ends a lease unless a record lists it; waits for no deadline. `None` if it goes on, or is not held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn end_if_unlisted(&self, token: LeaseToken) -> Result<Option<Ticket>, StoreError> {
        let Some(probe) = self.log.probe_lease(token) else { return Ok(None) };
        match self.is_listed(&probe.info) {
            Ok(false) => self.log.end_unlisted(&probe),
            listed => {
                self.log.let_be(&probe);
                listed.map(|_| None)
            }
        }
    }

    /// As [`Leases::end_if_unlisted`], but leaves alone what a write may still be about to list. Answers
    /// whether the lease ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn end_if_over(&self, token: LeaseToken) -> Result<bool, StoreError> {
        match self.log.lease_info(token) {
            None => Ok(false),
            // Decided about when its deadline comes.
            Some(info) if info.deadline_ms.is_some() => Ok(false),
            // Nobody waits for this to be durable.
            Some(_) => Ok(self.end_if_unlisted(token)?.is_some()),
        }
    }

    /// Looks at the leases of a record that changed, or of the file that it is a version of.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn look_at_record(&self, namespace: NamespaceId, key: &Bytes) -> Result<(), StoreError> {
        let of_file = key.get(..FILE_KEY_LEN).filter(|file| file.len() < key.len());
        for key in [Some(&key[..]), of_file].into_iter().flatten() {
            for token in self.log.leases_of(namespace, key) {
                self.end_if_over(token)?;
            }
        }
        Ok(())
    }

    /// Gives a lease up: ends it if no record lists it. A token that was never granted is spent at once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn give_up(&self, token: LeaseToken) -> Result<Ticket, StoreError> {
        if self.log.lease_info(token).is_none() {
            return self.log.release(token);
        }
        Ok(self.end_if_unlisted(token)?.unwrap_or_default())
    }

    /// Whether the lease's record, or an older version kept beside it, lists the token.
    fn is_listed(&self, lease: &LeaseInfo) -> Result<bool, StoreError> {
        // One that is not known was deleted, and whoever was late left the lease behind; or its settings were lost, and
        // then its records, if there are any, are on disk: those in memory do not outlive a start.
        let class = self.namespaces.get(lease.namespace).map_or(Class::Disk, |namespace| namespace.class);
        let table = self.registers.table(class);
        let mut request = ScanRequest {
            prefix: lease.key.to_bytes(),
            cursor: Bytes::new(),
            limit: PAGE_RECORDS,
            key_len_max: KEY_LEN_MAX,
            want: Want::Head,
        };
        loop {
            let page = table.scan(lease.namespace, &request)?;
            // A record that cannot be read might list it: keep what may be the only copy.
            if !page.damaged.is_empty() {
                return Ok(true);
            }
            let listed = page.records.iter().any(|(_, state)| match &state.content {
                Content::Live(live) => live.tokens.contains(&lease.token),
                Content::Shadow(_) => false,
            });
            match page.next {
                _ if listed => return Ok(true),
                Some(cursor) => request.cursor = cursor,
                None => return Ok(false),
            }
        }
    }
}

#[cfg(test)]
#[path = "leases_tests.rs"]
mod tests;
