//! Blobs of the log store: where each is, and how many leases keep it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashTable;
use larder_format::clock::Hlc;
use larder_format::ids::{BlobId, LeaseToken, NamespaceId};
use larder_format::limits::{BLOB_LEN_MAX, HEAD_LEN_MAX, INLINE_FILE_LEN_MAX};
use larder_format::segment::body::{GRANT_BLOBS_MAX, Grant, Release};
use larder_format::segment::{FrameKind, frame_len};

use super::charge::Charges;
use super::leases::{Lease, Leases, REMEMBER_MS, Spent, UNKNOWN_RELEASES_MAX};
use super::segments::{Place, ReadError};
use super::{Core, LogStore};
use crate::api::{BlobStore, BlobUsage, LeaseGrant, LeaseInfo, StoreError, Ticket};
use crate::used::{Reach, Used};

/// Blobs leave this much of a namespace's quota to records, in bytes: the version that a file has now is kept before
/// the new one, whose blobs were accepted, takes its place, and the largest that is kept whole is a file inside its
/// record.
const BLOB_ROOM_LEFT: u64 = 2 * (INLINE_FILE_LEN_MAX + HEAD_LEN_MAX) as u64;

/// How often a place is looked up again when its bytes were moved by compaction meanwhile.
const LOOKUPS_MAX: usize = 8;

/// One blob. Handles are positions in [`BlobIndex::slab`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Blob {
    pub(super) id: BlobId,
    /// `None`: leased but nowhere to be found, which only damage explains.
    pub(super) place: Option<Place>,
    pub(super) sequence: u64,
    pub(super) leases: u32,
    /// The namespace whose lease kept it first ([`super::charge`]).
    pub(super) home: u32,
    /// Its bytes did not match its id when last read.
    pub(super) damaged: bool,
}

/// All blobs and leases.
#[derive(Default)]
pub(super) struct BlobIndex {
    pub(super) slab: Vec<Option<Blob>>,
    pub(super) unused: Vec<u32>,
    pub(super) by_id: HashTable<u32>,
    pub(super) leases: Leases,
    /// Handles that lost their last lease; some may have got another since.
    pub(super) orphans: VecDeque<u32>,
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) orphan_count: u64,
    pub(super) orphan_bytes: u64,
    pub(super) charges: Charges,
}

/// Ids are hashes: their first bytes do.
fn hash_of(id: &BlobId) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&id.0[..8]);
    u64::from_le_bytes(word)
}

impl BlobIndex {
    pub(super) fn handle(&self, id: &BlobId) -> Option<u32> {
        let slab = &self.slab;
        let same = |handle: &u32| slab[*handle as usize].as_ref().is_some_and(|blob| blob.id == *id);
        self.by_id.find(hash_of(id), same).copied()
    }

    pub(super) fn blob(&self, handle: u32) -> Option<&Blob> {
        self.slab.get(handle as usize)?.as_ref()
    }

    pub(super) fn find(&self, id: &BlobId) -> Option<(u32, Blob)> {
        let handle = self.handle(id)?;
        Some((handle, *self.blob(handle)?))
    }

    /// The handle of an id, new if need be. A new blob is an orphan that is nowhere.
    pub(super) fn ensure(&mut self, id: BlobId) -> u32 {
        if let Some(handle) = self.handle(&id) {
            return handle;
        }
        let blob = Some(Blob { id, place: None, sequence: 0, leases: 0, damaged: false, home: 0 });
        let handle = match self.unused.pop() {
            Some(handle) => {
                self.slab[handle as usize] = blob;
                handle
            }
            None => {
                self.slab.push(blob);
                u32::try_from(self.slab.len() - 1).expect("4 billion blobs do not fit in memory")
            }
        };
        let slab = &self.slab;
        let hash = |handle: &u32| slab[*handle as usize].as_ref().map_or(0, |blob| hash_of(&blob.id));
        self.by_id.insert_unique(hash_of(&id), handle, hash);
        self.count += 1;
        self.orphan_count += 1;
        self.orphans.push_back(handle);
        handle
    }

    /// Says where a blob is now; answers where it was.
    pub(super) fn locate(&mut self, handle: u32, place: Place, sequence: u64) -> Option<Place> {
        let blob = self.slab[handle as usize].as_mut()?;
        let old = blob.place.replace(place);
        blob.sequence = blob.sequence.max(sequence);
        blob.damaged = false;
        let grown = u64::from(place.value_len) - old.map_or(0, |old| u64::from(old.value_len));
        self.bytes += grown;
        if blob.leases == 0 {
            self.orphan_bytes += grown;
        }
        if grown > 0 {
            let blob = *blob;
            self.count_found(handle, &blob, grown);
        }
        old
    }

    /// Notes that a blob's bytes do not match its id.
    pub(super) fn mark_damaged(&mut self, handle: u32, at: Place) {
        if let Some(Some(blob)) = self.slab.get_mut(handle as usize)
            && blob.place == Some(at)
        {
            blob.damaged = true;
        }
    }

    /// Adds blobs to a lease.
    pub(super) fn grant(
        &mut self,
        grant: &LeaseGrant,
        confirmed: bool,
        handles: &[u32],
        sequence: u64,
        segment: u32,
    ) {
        self.leases.grant(grant, confirmed, sequence, segment);
        let new = self.leases.add_blobs(grant.token, handles);
        let space = self.space(grant.namespace);
        for handle in new {
            self.keep(handle, space);
        }
    }

    /// Ends a lease for good; answers what it was.
    pub(super) fn release(&mut self, token: LeaseToken, spent: Spent) -> Option<Lease> {
        let lease = self.leases.release(token, spent)?;
        let space = self.space(lease.namespace);
        for handle in &lease.blobs {
            self.let_go(*handle, space);
        }
        Some(lease)
    }

    /// Forgets a blob that nothing keeps.
    pub(super) fn forget(&mut self, handle: u32) -> Option<Blob> {
        let blob = self.blob(handle).copied().filter(|blob| blob.leases == 0)?;
        let same = |other: &u32| *other == handle;
        self.by_id.find_entry(hash_of(&blob.id), same).ok()?.remove();
        self.slab[handle as usize] = None;
        self.unused.push(handle);
        let len = blob.place.map_or(0, |place| u64::from(place.value_len));
        self.count -= 1;
        self.bytes -= len;
        self.orphan_count -= 1;
        self.orphan_bytes -= len;
        Some(blob)
    }
}

impl Core {
    pub(super) fn log_used(&self, namespace: NamespaceId) -> Arc<Used> {
        self.records.used.of(namespace)
    }

    /// Ends a lease; its grants are no longer needed.
    pub(super) fn release(&self, index: &mut BlobIndex, token: LeaseToken, spent: Spent) {
        let ended = index.release(token, spent);
        for (segment, len) in ended.into_iter().flat_map(|lease| lease.frames) {
            self.log.segments.count_live(segment, -i64::from(len));
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.time.lock().high.ms()
    }

    /// Writes that these blobs are kept by a lease, and notes it. Answers the number of the last frame.
    fn append_grant(
        &self,
        index: &mut BlobIndex,
        grant: &LeaseGrant,
        blobs: &[(u32, BlobId)],
    ) -> Result<u64, StoreError> {
        let lease = index.leases.get(grant.token);
        let mut sequence = lease.map_or(0, |lease| lease.sequence);
        let later = lease.is_none_or(|lease| !lease.confirmed && grant.deadline_ms > lease.deadline_ms);
        let new: Vec<(u32, BlobId)> = match lease {
            Some(lease) => {
                blobs.iter().filter(|(handle, _)| !lease.blobs.contains(handle)).copied().collect()
            }
            None => blobs.to_vec(),
        };
        if new.is_empty() && !later {
            return Ok(sequence);
        }
        let parts: Vec<&[(u32, BlobId)]> =
            if new.is_empty() { vec![&[][..]] } else { new.chunks(GRANT_BLOBS_MAX).collect() };
        for part in parts {
            let body = Grant {
                token: grant.token,
                namespace: grant.namespace,
                key: grant.key.clone(),
                deadline_ms: grant.deadline_ms,
                confirmed: false,
                blobs: part.iter().map(|(_, id)| *id).collect(),
            };
            let appended = self.log.append(FrameKind::Grant, body.encode(), Bytes::new())?;
            let handles: Vec<u32> = part.iter().map(|(handle, _)| *handle).collect();
            index.grant(grant, false, &handles, appended.sequence, appended.place.segment);
            index.leases.add_frame(grant.token, &appended.place);
            sequence = appended.sequence;
        }
        Ok(sequence)
    }

    /// Writes that a token is spent, and notes it.
    pub(super) fn append_release(
        &self,
        index: &mut BlobIndex,
        token: LeaseToken,
    ) -> Result<Ticket, StoreError> {
        let now_ms = self.now_ms();
        index.leases.forget_spent(now_ms);
        if let Some(spent) = index.leases.spent(token) {
            return Ok(self.log.ticket(spent.sequence));
        }
        let until = self.log.last_segment().saturating_add(1);
        let (deadline_ms, since) = match index.leases.get(token) {
            Some(lease) => (lease.deadline_ms, lease.since),
            None if index.leases.unknown_len() >= UNKNOWN_RELEASES_MAX => {
                let max = UNKNOWN_RELEASES_MAX as u64;
                return Err(StoreError::TooMany { what: "too many unknown leases were given up", max });
            }
            None => (0, until),
        };
        let remember_until_ms = deadline_ms.max(now_ms.saturating_add(REMEMBER_MS));
        let body = Release { token, remember_until_ms, since, until };
        let appended = self.log.append(FrameKind::Release, body.encode(), Bytes::new())?;
        self.log.segments.count_tomb(&appended.place, since, until, remember_until_ms);
        let spent = Spent { remember_until_ms, sequence: appended.sequence, was_unknown: since == until };
        self.release(index, token, spent);
        Ok(self.log.ticket(appended.sequence))
    }

    fn read_blob(&self, blob: &Blob) -> Result<Bytes, ReadError> {
        let place = blob.place.ok_or(ReadError::Damaged)?;
        let bytes = match self.log.pending_place(blob.sequence, &place) {
            Some((_, value)) => value,
            None => self.log.segments.read_value(&place)?,
        };
        if BlobId::of(&bytes) == blob.id { Ok(bytes) } else { Err(ReadError::Damaged) }
    }
}

impl BlobStore for LogStore {
    fn put(&self, id: BlobId, bytes: Bytes, lease: &LeaseGrant) -> Result<Ticket, StoreError> {
        let core = &*self.core;
        if bytes.len() > BLOB_LEN_MAX {
            let what = format!("blob is too large len={} max={BLOB_LEN_MAX}", bytes.len());
            return Err(StoreError::Invalid { what: what.into() });
        }
        if BlobId::of(&bytes) != id {
            return Err(StoreError::Invalid { what: "blob bytes do not match their id".into() });
        }
        core.log.wait_for_room()?;
        let now_ms = core.now_ms();
        let mut index = core.blobs.lock();
        index.leases.check(lease, now_ms)?;
        index.leases.check_blobs(lease.token, 1, index.count)?;
        let held = index.find(&id).filter(|(_, blob)| blob.place.is_some() && !blob.damaged);
        let len = bytes.len() as u64;
        let held_for = held.filter(|(handle, _)| index.is_charged(*handle, lease.namespace));
        // Until it is counted. What is held for the namespace already costs nothing more.
        let reserve = || core.log_used(lease.namespace).reserve(len, Reach::Before(BLOB_ROOM_LEFT));
        let _reserved = if held_for.is_none() { Some(reserve()?) } else { None };
        let (handle, written) = match held {
            Some((handle, blob)) => (handle, blob.sequence),
            None => {
                core.log.admit(frame_len(BlobId::LEN, bytes.len()))?;
                let name = Bytes::copy_from_slice(&id.0);
                let appended = core.log.append(FrameKind::Blob, name, bytes)?;
                let handle = index.ensure(id);
                if let Some(old) = index.locate(handle, appended.place, appended.sequence) {
                    core.log.segments.count_live(old.segment, -i64::try_from(old.frame_len()).unwrap_or(0));
                }
                (handle, appended.sequence)
            }
        };
        let granted = core.append_grant(&mut index, lease, &[(handle, id)])?;
        Ok(core.log.ticket(written.max(granted)))
    }

    fn get(&self, id: BlobId) -> Result<(Option<Bytes>, Ticket), StoreError> {
        let core = &*self.core;
        core.log.check_open()?;
        let mut last: Option<(Place, ReadError)> = None;
        for _ in 0..LOOKUPS_MAX {
            let found = core.blobs.lock().find(&id);
            let Some((handle, blob)) = found else {
                core.damage.check(0)?;
                return Ok((None, Ticket::done()));
            };
            let Some(place) = blob.place else {
                return Err(StoreError::Damaged {
                    what: "a leased blob is missing".into(),
                    place: id.to_string().into(),
                });
            };
            if let Some((was, error)) = last
                && was == place
            {
                core.blobs.lock().mark_damaged(handle, place);
                return Err(error.into_store_error(&place));
            }
            match core.read_blob(&blob) {
                Ok(bytes) => return Ok((Some(bytes), core.log.ticket(blob.sequence))),
                Err(error) => last = Some((place, error)),
            }
        }
        let (place, error) = last.expect("the loop ran and did not return");
        Err(error.into_store_error(&place))
    }

    fn lease(&self, lease: &LeaseGrant, ids: &[BlobId]) -> Result<(Vec<bool>, Ticket), StoreError> {
        let core = &*self.core;
        core.log.wait_for_room()?;
        let now_ms = core.now_ms();
        let mut index = core.blobs.lock();
        index.leases.check(lease, now_ms)?;
        index.leases.check_blobs(lease.token, ids.len(), index.count)?;
        let mut present = Vec::with_capacity(ids.len());
        let mut found = Vec::new();
        let (mut seen, mut new_bytes) = (0, 0);
        for id in ids {
            let held = index.find(id).filter(|(_, blob)| blob.place.is_some() && !blob.damaged);
            present.push(held.is_some());
            if let Some((handle, blob)) = held {
                seen = seen.max(blob.sequence);
                if !index.is_charged(handle, lease.namespace) {
                    new_bytes += blob.place.map_or(0, |place| u64::from(place.value_len));
                }
                found.push((handle, *id));
            }
        }
        if found.is_empty() {
            return Ok((present, core.log.ticket(0)));
        }
        core.log.admit(found.len() as u64 * 40)?;
        let used = core.log_used(lease.namespace);
        let _reserved =
            (new_bytes > 0).then(|| used.reserve(new_bytes, Reach::Before(BLOB_ROOM_LEFT))).transpose()?;
        let granted = core.append_grant(&mut index, lease, &found)?;
        Ok((present, core.log.ticket(seen.max(granted))))
    }

    fn release(&self, token: LeaseToken) -> Result<Ticket, StoreError> {
        let core = &*self.core;
        core.log.check_open()?;
        core.append_release(&mut core.blobs.lock(), token)
    }

    fn confirm(&self, token: LeaseToken) -> Result<Ticket, StoreError> {
        let core = &*self.core;
        core.log.check_open()?;
        let mut index = core.blobs.lock();
        match index.leases.get(token) {
            None => {
                let seen = index.leases.spent(token).map_or(0, |spent| spent.sequence);
                return Ok(core.log.ticket(seen));
            }
            Some(lease) if lease.confirmed => return Ok(core.log.ticket(lease.sequence)),
            Some(_) => {}
        }
        let body = Bytes::copy_from_slice(&token.0);
        let appended = core.log.append(FrameKind::Confirm, body, Bytes::new())?;
        index.leases.confirm(token, appended.sequence);
        index.leases.add_frame(token, &appended.place);
        Ok(core.log.ticket(appended.sequence))
    }

    fn due_leases(&self, high: Hlc, limit: usize) -> Vec<LeaseInfo> {
        self.core.blobs.lock().leases.due(high.ms(), limit)
    }

    fn usage(&self) -> BlobUsage {
        let core = &*self.core;
        let disk_bytes = core.log.segments.disk_bytes();
        let index = core.blobs.lock();
        BlobUsage {
            blobs: index.count,
            blob_bytes: index.bytes,
            orphans: index.orphan_count,
            orphan_bytes: index.orphan_bytes,
            leases: index.leases.len() as u64,
            disk_bytes,
            disk_free_bytes: core.log.space.free(),
        }
    }
}
