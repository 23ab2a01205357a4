//! A file's versions: which there are, and going back to one.

use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::head::Attributes;
use larder_format::ids::BlobId;
use larder_format::limits::LEASE_BLOBS_MAX;
use larder_format::manifest::Content;
use larder_format::record::{Expiry, Version};
use larder_seal::names::SealedKey;
use larder_seal::tree::{Step, TreeWalker};
use larder_wire::answer::Failure;

use super::content::Uploaded;
use super::put::{NewFile, PutOptions, PutReport};
use crate::meter::Meter;
use crate::path::VaultPath;
use crate::remote::{Lease, Scan};
use crate::vault::{FileInfo, OpenFile, Vault, record_key, seal_failure};

/// One version of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionInfo {
    /// What to call it by.
    pub version: Version,
    /// Whether it is the one that a plain read shows.
    pub current: bool,
    /// Length, in bytes.
    pub size: u64,
    /// Mode, time, type, custom attributes.
    pub attributes: Attributes,
    /// Until when it is kept.
    pub expiry: Expiry,
}

impl Vault {
    /// The versions of a file, newest first. A deleted file has versions until its trash time is over.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if there is none.
    pub async fn versions(&self, path: &VaultPath) -> Result<Vec<VersionInfo>, Failure> {
        let Some((parent, name)) = path.split() else {
            return Err(Failure::new(Kind::Conflict, "/: is a folder; versions belong to files"));
        };
        let dir = self.folder(&parent).await?;
        let key = self.names.entry_key(dir, name);
        let scan = Scan::heads(self.files, key.as_bytes());
        let mut pages = self.remote.scan(scan).await?;
        let mut versions: Vec<VersionInfo> = Vec::new();
        while let Some(page) = pages.next().await? {
            for (record, mut found) in page.records {
                let Some((_, old)) = SealedKey::parse(record.as_bytes()) else { continue };
                found.version = old.unwrap_or(found.version);
                let entry = self.open_entry(record.as_bytes(), &found)?;
                let Some(info) = FileInfo::of(entry, &found) else { continue };
                versions.push(VersionInfo {
                    version: info.version,
                    current: old.is_none(),
                    size: info.size,
                    attributes: info.attributes,
                    expiry: info.expiry,
                });
            }
        }
        // While a file is being replaced its current version is there twice for a moment.
        versions.sort_by(|a, b| b.version.cmp(&a.version).then(b.current.cmp(&a.current)));
        versions.dedup_by_key(|v| v.version);
        if versions.is_empty() {
            return Err(Failure::new(Kind::NotFound, format!("no such file: {path}")));
        }
        Ok(versions)
    }

    /// Makes an older version the current one again, as a new version with the same content. Brings back a
    /// deleted file, too.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if there is no such version; [`Kind::Damaged`] if parts of it are missing.
    pub async fn restore(&self, path: &VaultPath, version: Version) -> Result<PutReport, Failure> {
        let Some((parent, name)) = path.split() else {
            return Err(Failure::new(Kind::Conflict, "/: is a folder; versions belong to files"));
        };
        let dir = self.folder(&parent).await?;
        let key = self.names.entry_key(dir, name);
        let old = self.file(path, Some(version)).await?;
        let lease = self.lease_again(key, &old).await?;
        let new = NewFile {
            kind: old.info.kind,
            attributes: old.info.attributes.clone(),
            uploaded: Uploaded {
                size: old.manifest.size,
                content_hash: old.manifest.content_hash,
                chunking: old.manifest.chunking,
                content: old.manifest.content.clone(),
                lease,
            },
        };
        self.commit(dir, path, name, &new, &PutOptions::default()).await
    }

    /// Leases all blobs of a version anew for the same file.
    async fn lease_again(
        &self,
        key: SealedKey,
        file: &OpenFile,
    ) -> Result<Option<(larder_format::ids::LeaseToken, u64)>, Failure> {
        if matches!(file.manifest.content, Content::Inline(_)) {
            return Ok(None);
        }
        let lease = Lease {
            token: Self::new_token(),
            namespace: self.files,
            key: record_key(key.as_bytes())?,
            deadline_ms: self.lease_deadline_ms(),
        };
        let mut walker = TreeWalker::new(self.blobs.opener(), &file.manifest, 0..file.manifest.size);
        let mut ids: Vec<BlobId> = Vec::new();
        loop {
            match walker.step().map_err(seal_failure)? {
                Step::Chunk { entry, .. } => ids.push(entry.blob),
                Step::NeedPage(page) => {
                    ids.push(page.blob);
                    let blob = self.remote.get_blob(page.blob).await?;
                    walker.supply(&blob).map_err(seal_failure)?;
                }
                Step::Done => {
                    self.lease_some(&lease, &ids).await?;
                    return Ok(Some((lease.token, lease.deadline_ms)));
                }
            }
            if ids.len() == LEASE_BLOBS_MAX {
                self.lease_some(&lease, &ids).await?;
                ids.clear();
            }
        }
    }

    async fn lease_some(&self, lease: &Lease, ids: &[BlobId]) -> Result<(), Failure> {
        let present = self.remote.lease(lease, ids).await?;
        let missing = present.iter().filter(|p| !**p).count();
        if missing == 0 {
            return Ok(());
        }
        let _ = self.remote.release(lease.token).await;
        let message = format!("parts of this version are missing on the node count={missing}");
        Err(Failure::new(Kind::Damaged, message))
    }

    /// Reads all of a file and verifies it, keeping nothing.
    ///
    /// # Errors
    /// As [`Vault::get_file`].
    pub async fn verify_file(&self, path: &VaultPath, meter: &Arc<Meter>) -> Result<(), Failure> {
        let sink = super::get::Destination::Stream(Box::new(std::io::sink()));
        self.get_file(path, None, sink, meter).await.map(|_| ())
    }
}
