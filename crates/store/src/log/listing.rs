//! Records and the leases they list: a record may list only what is held, and a lease ends only while no
//! record lists it. Neither side can slip in between the other's looking and doing.
//!
//! A record's writer calls [`LogStore::list_leases`] under the record's lock, before the record is there. It
//! fails for a lease that has ended, and takes away the probe of whoever is about to end it. Whoever ends a
//! lease puts a probe on it ([`LogStore::probe_lease`]), looks through the records, and calls
//! [`LogStore::end_unlisted`], which does nothing if the probe is gone. A writer that came before the probe
//! holds the record's lock until its record is there, so that looking sees it; one that came after takes the
//! probe away; one that came after the end is refused.

use bytes::Bytes;
use larder_format::ids::{LeaseToken, NamespaceId};
use larder_format::record::Key;
use larder_format::segment::FrameKind;

use super::LogStore;
use crate::api::{LeaseInfo, StoreError, Ticket};

/// A look at whether a lease is still listed, under way.
#[derive(Debug)]
#[must_use = "end the lease with it, or let it be"]
pub struct LeaseProbe {
    /// The lease as it was when the look began.
    pub info: LeaseInfo,
    number: u64,
}

impl LogStore {
    /// Says that a record with this key is about to list these leases: they have no deadline from now on and
    /// nobody ends them who has not seen the record. Call it under the record's lock (from `decide`).
    ///
    /// # Errors
    /// [`StoreError::LeaseEnded`] if one is not held: the blobs may be gone. [`StoreError::Invalid`] if one
    /// belongs to another record. [`StoreError::Damaged`], [`StoreError::Closed`].
    pub fn list_leases(
        &self,
        namespace: NamespaceId,
        key: &Key,
        tokens: &[LeaseToken],
    ) -> Result<(), StoreError> {
        let core = &*self.core;
        let mut index = core.blobs.lock();
        for token in tokens {
            let Some(lease) = index.leases.get(*token) else {
                core.damage.check(0)?;
                return Err(StoreError::LeaseEnded { token: *token });
            };
            // Versions of a file are kept at keys that begin with the file's.
            if lease.namespace != namespace || !key.as_bytes().starts_with(lease.key.as_bytes()) {
                return Err(StoreError::Invalid { what: "lease token belongs to another record".into() });
            }
        }
        for token in tokens {
            if !crate::planted::is("lease ended although it was listed meanwhile") {
                index.leases.take_probe(*token);
            }
            if index.leases.get(*token).is_some_and(|lease| !lease.confirmed) {
                let body = Bytes::copy_from_slice(&token.0);
                let appended = core.log.append(FrameKind::Confirm, body, Bytes::new())?;
                index.leases.confirm(*token, appended.sequence);
                index.leases.add_frame(*token, &appended.place);
            }
        }
        Ok(())
    }

    /// The leases granted for exactly this key.
    #[must_use]
    pub fn leases_of(&self, namespace: NamespaceId, key: &[u8]) -> Vec<LeaseToken> {
        self.core.blobs.lock().leases.of_record(namespace, key)
    }

    /// Begins to look at whether a lease is still listed. `None` if it is not held.
    pub fn probe_lease(&self, token: LeaseToken) -> Option<LeaseProbe> {
        let mut index = self.core.blobs.lock();
        let info = index.leases.info(token)?;
        let number = index.leases.probe(token);
        Some(LeaseProbe { info, number })
    }

    /// Ends a lease for good, because no record was found to list it. `None` if one may have come meanwhile:
    /// then it holds.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] while frames are lost and not accepted: a lost one may be a record that lists
    /// it. As [`crate::api::BlobStore::release`].
    pub fn end_unlisted(&self, probe: &LeaseProbe) -> Result<Option<Ticket>, StoreError> {
        let core = &*self.core;
        core.log.check_open()?;
        core.damage.check(0)?;
        let mut index = core.blobs.lock();
        if index.leases.probe_on(probe.info.token) != Some(probe.number) {
            return Ok(None);
        }
        core.append_release(&mut index, probe.info.token).map(Some)
    }

    /// Ends the look at a lease that goes on.
    pub fn let_be(&self, probe: &LeaseProbe) {
        let mut index = self.core.blobs.lock();
        if index.leases.probe_on(probe.info.token) == Some(probe.number) {
            index.leases.take_probe(probe.info.token);
        }
    }
}
