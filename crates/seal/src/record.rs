//! Sealing and opening records: heads and bodies.
//!
//! A record changes under one name, so its key cannot follow from its content. A *sealing session* draws a random
//! 16-byte salt, derives an AES-256-GCM key from it, and counts nonces up from zero; salt and counter stand in
//! the clear header. Two sessions share a key only if 128 random bits repeat. The associated data binds suite,
//! vault, namespace, record key and kind; a body binds its head as well, so that a node cannot pair the head of
//! one version with the body of another. Lengths are padded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use larder_format::ids::{NamespaceId, VaultId};
use larder_format::limits::{HEAD_LEN_MAX, VALUE_LEN_MAX};
use larder_format::rng::Rng;
use larder_format::sealed::{
    PART_HEADER_LEN, PART_OVERHEAD_LEN, PART_PADDED_LEN_MIN, SESSION_SALT_LEN, SUITE_1, SealedKind,
    check_body, check_head,
};

use crate::error::SealError;
use crate::keys::VaultRoot;
use crate::pad::padded_len;
use crate::primitives::{AeadKey, NonceBytes, Secret, hkdf_secret};

/// Longest body payload, in bytes. It pads to a size that, sealed and beside the largest head, stays within
/// [`VALUE_LEN_MAX`].
pub const BODY_PLAIN_LEN_MAX: usize = 15 * 1024 * 1024 - LEN_FIELD;

/// Longest head payload, in bytes.
pub const HEAD_PLAIN_LEN_MAX: usize = larder_format::head::HEAD_PLAIN_LEN_MAX;

/// Most parts one session seals. Far below where AES-GCM's bounds matter; a session per process start and
/// per this many parts is cheap.
const SESSION_PARTS_MAX: u64 = 1 << 32;

/// Session keys an opener remembers. Every client that wrote what is being read is one; deriving anew costs
/// microseconds, so the bound is small.
const SESSION_CACHE_MAX: usize = 512;

/// Payload length, before the payload.
const LEN_FIELD: usize = 4;

/// First part of a part's associated data and of a session's derivation.
const DOMAIN: &[u8] = b"larder/1/record";

const _: () = assert!(HEAD_PLAIN_LEN_MAX + LEN_FIELD + PART_OVERHEAD_LEN <= HEAD_LEN_MAX);
const _: () = assert!(BODY_PLAIN_LEN_MAX + LEN_FIELD + PART_OVERHEAD_LEN + HEAD_LEN_MAX <= VALUE_LEN_MAX);

/// Where a record is: bound to what is sealed there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordPlace<'a> {
    /// The namespace.
    pub namespace: NamespaceId,
    /// The record key. Of a longer one (an older version's key: entry key, then version) the first 32 bytes
    /// count, so that a version is moved to its own key without being sealed anew.
    pub key: &'a [u8],
}

/// Bytes of a record key that are bound.
const BOUND_KEY_LEN: usize = 32;

impl<'a> RecordPlace<'a> {
    /// A place.
    #[must_use]
    pub fn new(namespace: NamespaceId, key: &'a [u8]) -> Self {
        Self { namespace, key }
    }

    fn associated_data(&self, vault: VaultId, kind: SealedKind, head: Option<&[u8]>) -> Vec<u8> {
        let bound = &self.key[..self.key.len().min(BOUND_KEY_LEN)];
        let mut aad = Vec::with_capacity(128);
        aad.extend_from_slice(DOMAIN);
        aad.extend_from_slice(&[SUITE_1, kind.byte()]);
        aad.extend_from_slice(&vault.0);
        aad.extend_from_slice(&self.namespace.0.to_le_bytes());
        // Keys here have at most 32 bytes, so one byte says how many.
        aad.push(bound.len() as u8);
        aad.extend_from_slice(bound);
        if let Some(head) = head {
            aad.extend_from_slice(blake3::hash(head).as_bytes());
        }
        aad
    }
}

/// A record as it goes to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRecord {
    /// The sealed head.
    pub head: Bytes,
    /// The sealed body.
    pub body: Bytes,
}

/// One sealing session: seals records of one vault. Make one per process and key generation, and share it
/// between threads.
pub struct RecordSealer {
    vault: VaultId,
    key: AeadKey,
    generation: u32,
    salt: [u8; SESSION_SALT_LEN],
    counter: AtomicU64,
}

impl std::fmt::Debug for RecordSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordSealer").field("vault", &self.vault).finish_non_exhaustive()
    }
}

fn session_key(record_key: &Secret, salt: &[u8; SESSION_SALT_LEN]) -> AeadKey {
    AeadKey::new(hkdf_secret(salt, record_key.expose(), &[DOMAIN, b"/session"]).expose())
}

fn nonce(counter: u64) -> NonceBytes {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

impl RecordSealer {
    /// Begins a session.
    #[must_use]
    pub fn new(root: &VaultRoot, generation: u32, rng: &mut impl Rng) -> Self {
        let salt = rng.array();
        let key = session_key(&root.derive_generation("record", generation), &salt);
        Self { vault: root.id(), key, generation, salt, counter: AtomicU64::new(0) }
    }

    /// Seals a record's head and body together.
    ///
    /// # Errors
    /// [`SealError::TooLong`] above [`HEAD_PLAIN_LEN_MAX`] or [`BODY_PLAIN_LEN_MAX`];
    /// [`SealError::SessionSpent`].
    pub fn seal(&self, place: RecordPlace<'_>, head: &[u8], body: &[u8]) -> Result<SealedRecord, SealError> {
        let head = self.seal_head(place, head)?;
        let body = self.seal_body(place, &head, body)?;
        Ok(SealedRecord { head, body })
    }

    /// Seals a head alone.
    ///
    /// # Errors
    /// As [`RecordSealer::seal`].
    pub fn seal_head(&self, place: RecordPlace<'_>, head: &[u8]) -> Result<Bytes, SealError> {
        let aad = place.associated_data(self.vault, SealedKind::Head, None);
        self.seal_part(SealedKind::Head, &aad, head, HEAD_PLAIN_LEN_MAX)
    }

    /// Seals a body for a sealed head (empty: the record has none).
    ///
    /// # Errors
    /// As [`RecordSealer::seal`].
    pub fn seal_body(
        &self,
        place: RecordPlace<'_>,
        sealed_head: &[u8],
        body: &[u8],
    ) -> Result<Bytes, SealError> {
        let aad = place.associated_data(self.vault, SealedKind::Body, Some(sealed_head));
        self.seal_part(SealedKind::Body, &aad, body, BODY_PLAIN_LEN_MAX)
    }

    fn seal_part(
        &self,
        kind: SealedKind,
        aad: &[u8],
        payload: &[u8],
        max: usize,
    ) -> Result<Bytes, SealError> {
        if payload.len() > max {
            let what = if kind == SealedKind::Head { "head" } else { "body" };
            return Err(SealError::TooLong { what, len: payload.len(), max });
        }
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        if counter >= SESSION_PARTS_MAX {
            return Err(SealError::SessionSpent);
        }
        let mut padded = vec![0; padded_len(LEN_FIELD + payload.len(), PART_PADDED_LEN_MIN)];
        let len = u32::try_from(payload.len()).expect("a payload is at most 15 MiB");
        padded[..LEN_FIELD].copy_from_slice(&len.to_le_bytes());
        padded[LEN_FIELD..LEN_FIELD + payload.len()].copy_from_slice(payload);
        let mut out = vec![0; padded.len() + PART_OVERHEAD_LEN];
        let (header, sealed) = out.split_at_mut(PART_HEADER_LEN);
        header[0] = SUITE_1;
        header[1] = kind.byte();
        header[2..6].copy_from_slice(&self.generation.to_le_bytes());
        header[6..22].copy_from_slice(&self.salt);
        header[22..].copy_from_slice(&counter.to_le_bytes());
        self.key.seal(nonce(counter), aad, &padded, sealed)?;
        Ok(out.into())
    }
}

type SessionId = (u32, [u8; SESSION_SALT_LEN]);

/// Opens records of one vault, of any session and generation. Share it between threads.
pub struct RecordOpener {
    root: VaultRoot,
    sessions: Mutex<HashMap<SessionId, Arc<AeadKey>>>,
}

impl std::fmt::Debug for RecordOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordOpener").field("vault", &self.root.id()).finish_non_exhaustive()
    }
}

impl RecordOpener {
    /// For an open vault.
    #[must_use]
    pub fn new(root: &VaultRoot) -> Self {
        Self { root: root.clone(), sessions: Mutex::default() }
    }

    /// Opens a head. An empty one opens to nothing.
    ///
    /// # Errors
    /// [`SealError::Damaged`] if it was not sealed for this place; [`SealError::Shape`].
    pub fn open_head(&self, place: RecordPlace<'_>, head: &[u8]) -> Result<Bytes, SealError> {
        check_head(head)?;
        if head.is_empty() {
            return Ok(Bytes::new());
        }
        let aad = place.associated_data(self.root.id(), SealedKind::Head, None);
        self.open_part(&aad, head, "record head")
    }

    /// Opens a body, given the sealed head that came with it.
    ///
    /// # Errors
    /// [`SealError::Damaged`] if it was not sealed for this place and beside this head; [`SealError::Shape`].
    pub fn open_body(
        &self,
        place: RecordPlace<'_>,
        sealed_head: &[u8],
        body: &[u8],
    ) -> Result<Bytes, SealError> {
        if check_body(body)? != SealedKind::Body {
            return Err(SealError::Damaged { what: "record body" });
        }
        let aad = place.associated_data(self.root.id(), SealedKind::Body, Some(sealed_head));
        self.open_part(&aad, body, "record body")
    }

    fn open_part(&self, aad: &[u8], part: &[u8], what: &'static str) -> Result<Bytes, SealError> {
        let (header, sealed) = part.split_at(PART_HEADER_LEN);
        let generation = u32::from_le_bytes(header[2..6].try_into().expect("four bytes"));
        let salt: [u8; SESSION_SALT_LEN] = header[6..22].try_into().expect("sixteen bytes");
        let counter = u64::from_le_bytes(header[22..].try_into().expect("eight bytes"));
        let key = self.session(&(generation, salt));
        let mut padded = vec![0; part.len() - PART_OVERHEAD_LEN];
        key.open(nonce(counter), aad, sealed, &mut padded, what)?;
        self.remember((generation, salt), key);
        let len = u32::from_le_bytes(padded[..LEN_FIELD].try_into().expect("four bytes")) as usize;
        // Exactly the padding that sealing adds, so that a payload has one padded form only.
        let fits = len <= padded.len() - LEN_FIELD
            && padded_len(LEN_FIELD + len, PART_PADDED_LEN_MIN) == padded.len()
            && padded[LEN_FIELD + len..].iter().all(|byte| *byte == 0);
        if !fits {
            return Err(SealError::Contradiction { what: "padding" });
        }
        Ok(Bytes::from(padded).slice(LEN_FIELD..LEN_FIELD + len))
    }

    /// The key of a session, from memory if it opened something lately.
    fn session(&self, id: &SessionId) -> Arc<AeadKey> {
        let known = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        known.unwrap_or_else(|| {
            let record_key = self.root.derive_generation("record", id.0);
            Arc::new(session_key(&record_key, &id.1))
        })
    }

    /// Keeps the key of a session that has opened something: forged salts never get here.
    fn remember(&self, id: SessionId, key: Arc<AeadKey>) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if !sessions.contains_key(&id) {
            if sessions.len() >= SESSION_CACHE_MAX {
                sessions.clear();
            }
            sessions.insert(id, key);
        }
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
