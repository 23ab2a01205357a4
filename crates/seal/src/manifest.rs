//! Making and checking manifests: the signature, and what it is worth.
//!
//! A manifest is sealed as its record's body ([`crate::record`]), so nodes read nothing of it. Its signature covers
//! a [`Statement`] without secrets: whoever has the file's bytes, the statement, the signature and the vault's
//! public key can check authorship without any key ([`verify_statement`]). The tree of pages is built and
//! walked in [`crate::tree`].

use bytes::Bytes;
use larder_format::head::{Attributes, FileId, FileKind};
use larder_format::ids::VaultId;
use larder_format::limits::INLINE_FILE_LEN_MAX;
use larder_format::manifest::{Chunking, Content, Manifest, Statement, attributes_hash};

use crate::error::SealError;
use crate::keys::{PublicKey, Signer};

/// What a new version replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Previous {
    /// The record version; 0: there was none.
    pub version: u64,
    /// Its manifest's revision.
    pub revision: u64,
    /// Hash of its statement; zeros: there was none.
    pub statement: [u8; 32],
}

impl Previous {
    /// From the record version and the manifest that stood there.
    #[must_use]
    pub fn of(version: u64, manifest: &Manifest, vault: VaultId) -> Self {
        Self { version, revision: manifest.revision, statement: manifest.statement(vault).hash() }
    }
}

/// What a manifest is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The file's identity.
    pub file: FileId,
    /// File or link.
    pub kind: FileKind,
    /// The writer's hybrid time; raised above the previous revision if it is not.
    pub revision: u64,
    /// What it replaces.
    pub previous: Previous,
    /// Length of the content, in bytes.
    pub size: u64,
    /// BLAKE3 of the content.
    pub content_hash: [u8; 32],
    /// How it was cut.
    pub chunking: Chunking,
    /// Where it is.
    pub content: Content,
}

impl Draft {
    /// For content that lives in the record itself: small files, targets of links.
    ///
    /// # Errors
    /// [`SealError::TooLong`] above [`INLINE_FILE_LEN_MAX`].
    pub fn inline(
        file: FileId,
        kind: FileKind,
        revision: u64,
        previous: Previous,
        data: Bytes,
    ) -> Result<Self, SealError> {
        if data.len() > INLINE_FILE_LEN_MAX {
            return Err(SealError::TooLong {
                what: "inline file",
                len: data.len(),
                max: INLINE_FILE_LEN_MAX,
            });
        }
        Ok(Self {
            file,
            kind,
            revision,
            previous,
            size: data.len() as u64,
            content_hash: *blake3::hash(&data).as_bytes(),
            chunking: Chunking::Fixed { len: larder_format::pages::CHUNK_LEN_DEFAULT as u32 },
            content: Content::Inline(data),
        })
    }

    /// Signs it.
    #[must_use]
    pub fn sign(self, attributes: &Attributes, vault: VaultId, signer: &Signer) -> Manifest {
        let mut manifest = Manifest {
            file: self.file,
            kind: self.kind,
            revision: self.revision.max(self.previous.revision.saturating_add(1)),
            previous_version: self.previous.version,
            previous_statement: self.previous.statement,
            size: self.size,
            content_hash: self.content_hash,
            attributes_hash: attributes_hash(attributes),
            chunking: self.chunking,
            content: self.content,
            signature: [0; 64],
        };
        manifest.signature = signer.sign(&manifest.statement(vault));
        manifest
    }
}

/// Decodes an opened body and checks its signature. Inline content is checked against its hash, too.
///
/// # Errors
/// [`SealError::BadSignature`]; [`SealError::Decode`]; [`SealError::Contradiction`] if inline content has
/// another hash.
pub fn open_manifest(body: Bytes, vault: VaultId, public: PublicKey) -> Result<Manifest, SealError> {
    let manifest = Manifest::decode(body)?;
    public.verify(&manifest.statement(vault), &manifest.signature)?;
    if let Content::Inline(data) = &manifest.content
        && *blake3::hash(data).as_bytes() != manifest.content_hash
    {
        return Err(SealError::Contradiction { what: "content hash" });
    }
    Ok(manifest)
}

/// Checks that a head's attributes, size, identity and kind are the ones that were signed.
///
/// # Errors
/// [`SealError::Contradiction`].
pub fn check_head(
    manifest: &Manifest,
    file: FileId,
    kind: FileKind,
    size: u64,
    attributes: &Attributes,
) -> Result<(), SealError> {
    let agrees = manifest.file == file
        && manifest.kind == kind
        && manifest.size == size
        && manifest.attributes_hash == attributes_hash(attributes);
    if agrees { Ok(()) } else { Err(SealError::Contradiction { what: "head and manifest" }) }
}

/// Checks that `older`, found at version `older_version`, is what `newer` says it replaced: so that a node
/// cannot hand out one old version for another.
///
/// # Errors
/// [`SealError::Contradiction`].
pub fn check_chain(
    newer: &Manifest,
    older: &Manifest,
    older_version: u64,
    vault: VaultId,
) -> Result<(), SealError> {
    let follows = newer.previous_version == older_version
        && newer.previous_statement == older.statement(vault).hash()
        && newer.revision > older.revision
        && newer.file == older.file;
    if follows { Ok(()) } else { Err(SealError::Contradiction { what: "previous version" }) }
}

/// Checks, with no key of the vault, that its owner signed for a file with this hash and length.
///
/// # Errors
/// [`SealError::BadSignature`]; [`SealError::Contradiction`] if the statement is about other content.
pub fn verify_statement(
    statement: &Statement,
    signature: &[u8; 64],
    public: PublicKey,
    content_hash: &[u8; 32],
    size: u64,
) -> Result<(), SealError> {
    public.verify(statement, signature)?;
    if statement.content_hash == *content_hash && statement.size == size {
        Ok(())
    } else {
        Err(SealError::Contradiction { what: "signed content" })
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
