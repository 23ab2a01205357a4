//! Reading one file back, whole and verified, in constant memory.

use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::head::{DirId, FileKind};
use larder_format::manifest::Statement;
use larder_format::operation::Found;
use larder_format::record::Version;
use larder_seal::keys::PublicKey;
use larder_seal::manifest::{check_chain, verify_statement};
use larder_seal::names::SealedKey;
use larder_seal::pipeline::Width;
use larder_wire::answer::Failure;

use super::damage::damaged;
use super::reading::RESUMABLE_BYTES_MIN;
use crate::local::part;
use crate::meter::Meter;
use crate::path::VaultPath;
use crate::vault::{OpenFile, Vault, seal_failure};

/// Where content goes.
pub enum Destination {
    /// A local file, which appears whole or not at all.
    File {
        /// Where.
        path: PathBuf,
        /// Synced before it gets its name.
        sync: bool,
    },
    /// Anything else, written in order.
    Stream(Box<dyn Write + Send>),
    /// Only these bytes of it, written in order; only the chunks that hold them are fetched.
    Range {
        /// Where to.
        out: Box<dyn Write + Send>,
        /// Which bytes, within the file.
        range: Range<u64>,
    },
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetReport {
    /// File or link.
    pub kind: FileKind,
    /// Which version.
    pub version: Version,
    /// Length of the content, in bytes.
    pub size: u64,
    /// BLAKE3 of the content, verified.
    pub content_hash: [u8; 32],
}

/// Who wrote a file: a signed statement about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// What was signed.
    pub statement: Statement,
    /// The signature.
    pub signature: [u8; 64],
    /// Whose it is.
    pub public: PublicKey,
}

impl Proof {
    /// Checks that the owner of the public key signed for content with this hash and length. Needs no vault.
    ///
    /// # Errors
    /// [`Kind::Damaged`] if the signature or the content is not what the proof says.
    pub fn check(&self, content_hash: &[u8; 32], size: u64) -> Result<(), Failure> {
        verify_statement(&self.statement, &self.signature, self.public, content_hash, size)
            .map_err(seal_failure)
    }
}

/// Where a walk along a file's versions came to.
enum Walked {
    Found(Box<OpenFile>),
    /// The oldest version that the chain led to.
    Ended(Version),
}

impl Vault {
    /// Reads a file, or one of its versions.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Damaged`]; then a local file is as it was, and of a stream what was
    /// written is right as far as it goes.
    pub async fn get_file(
        &self,
        path: &VaultPath,
        version: Option<Version>,
        destination: Destination,
        meter: &Arc<Meter>,
    ) -> Result<GetReport, Failure> {
        let file = self.file(path, version).await?;
        self.get_opened(path, &file, destination, meter).await
    }

    /// Reads a file that was opened with [`Vault::file`].
    ///
    /// # Errors
    /// As [`Vault::get_file`].
    pub async fn get_opened(
        &self,
        path: &VaultPath,
        file: &OpenFile,
        destination: Destination,
        meter: &Arc<Meter>,
    ) -> Result<GetReport, Failure> {
        meter.expect(1, file.info.size);
        if let Destination::File { path: local, .. } = &destination
            && file.info.size >= RESUMABLE_BYTES_MIN
        {
            part::remove_old(local.parent().unwrap_or(Path::new(".")));
        }
        let written = self.write_out(file, destination, Width::default(), meter).await;
        written.map_err(|failure| damaged(path, failure))?;
        meter.file_done();
        Ok(GetReport {
            kind: file.info.kind,
            version: file.info.version,
            size: file.info.size,
            content_hash: file.manifest.content_hash,
        })
    }

    /// Writes the content of a file that was opened with [`Vault::file`], or a part of it.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if a range is beyond its end; as [`Vault::get_file`].
    pub async fn read_out(
        &self,
        file: &OpenFile,
        destination: Destination,
        meter: &Arc<Meter>,
    ) -> Result<(), Failure> {
        if let Destination::Range { range, .. } = &destination
            && (range.start > range.end || range.end > file.info.size)
        {
            let (start, end, size) = (range.start, range.end, file.info.size);
            let message = format!("range is beyond the file start={start} end={end} size={size}");
            return Err(Failure::new(Kind::Invalid, message));
        }
        self.write_out(file, destination, Width::default(), meter).await
    }

    /// What proves who wrote a file (or one of its versions), to anyone who has its bytes and the vault's
    /// public key. It holds no key and nothing of the content but its hash and length.
    ///
    /// # Errors
    /// As [`Vault::file`].
    pub async fn proof(&self, path: &VaultPath, version: Option<Version>) -> Result<Proof, Failure> {
        let file = self.file(path, version).await?;
        Ok(Proof {
            statement: file.manifest.statement(self.root.id()),
            signature: file.manifest.signature,
            public: self.public,
        })
    }

    /// A file's record, opened and verified; of an older version if one is named.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Conflict`] if it is a folder; [`Kind::Damaged`].
    pub async fn file(&self, path: &VaultPath, version: Option<Version>) -> Result<OpenFile, Failure> {
        let Some((parent, name)) = path.split() else {
            return Err(Failure::new(Kind::Conflict, "/: is a folder, not a file"));
        };
        // An older version is there as long as it is kept, whatever became of its folder.
        let dir = match version {
            None => self.folder(&parent).await?,
            Some(_) => self.trail(&parent).await?.dir,
        };
        self.file_in(dir, path, name, version).await
    }

    /// As [`Vault::file`], by the folder it is or was in.
    pub(crate) async fn file_in(
        &self,
        dir: DirId,
        path: &VaultPath,
        name: &str,
        version: Option<Version>,
    ) -> Result<OpenFile, Failure> {
        let key = self.names.entry_key(dir, name);
        let current = match self.read(self.files, key.as_bytes(), false).await {
            Ok(None) => Ok(None),
            Ok(Some(found)) => self.open_file(key.as_bytes(), found).map(Some),
            Err(failure) => Err(failure),
        };
        match (version, current.map_err(|f| damaged(path, f))) {
            (None, Ok(None)) => Err(Failure::new(Kind::NotFound, format!("no such file: {path}"))),
            (None, Ok(Some(file))) => Ok(file),
            (Some(version), Ok(current)) => self.old_version(path, key, version, current).await,
            // It hides no older one: those are found as if it were deleted. What is not among them may be itself.
            (Some(version), Err(failure)) if failure.kind == Kind::Damaged => {
                match self.old_version(path, key, version, None).await {
                    Err(older) if older.kind == Kind::NotFound => Err(failure),
                    found => found,
                }
            }
            (_, Err(failure)) => Err(failure),
        }
    }

    /// Finds an old version by walking back from the current one: each manifest names and hashes the one it
    /// replaced, so a node cannot hand out one old version for another. Where the chain ends (the file was deleted,
    /// perhaps made again since, or a version between is gone) the walk goes on from the newest version below. That
    /// one is known if this device deleted the file; else its own signature is all there is.
    async fn old_version(
        &self,
        path: &VaultPath,
        key: SealedKey,
        version: Version,
        current: Option<OpenFile>,
    ) -> Result<OpenFile, Failure> {
        let mut lowest = match current {
            Some(file) => match self.walk_back(path, key, version, file).await? {
                Walked::Found(file) => return Ok(*file),
                Walked::Ended(lowest) => Some(lowest),
            },
            None => None,
        };
        let history = self.history(key).await?;
        for (top, _) in history.files().rev() {
            if top < version || lowest.is_some_and(|lowest| top >= lowest) {
                continue;
            }
            match self.kept(path, key, top).await {
                Ok(Some(file)) => match self.walk_back(path, key, version, file).await? {
                    Walked::Found(file) => return Ok(*file),
                    Walked::Ended(at) => lowest = Some(at),
                },
                Ok(None) => {}
                // It hides no older one.
                Err(failure) if failure.kind == Kind::Damaged && top != version => {}
                Err(failure) => return Err(failure),
            }
        }
        // Damaged, it may be there and not in the list.
        self.kept(path, key, version).await?.ok_or_else(|| {
            let message = format!("{path}: no such version={version}; see: larder versions {path}");
            Failure::new(Kind::NotFound, message)
        })
    }

    /// Walks back from a file as far as the chain goes, or to a version.
    async fn walk_back(
        &self,
        path: &VaultPath,
        key: SealedKey,
        version: Version,
        mut file: OpenFile,
    ) -> Result<Walked, Failure> {
        loop {
            if file.info.version == version {
                return Ok(Walked::Found(Box::new(file)));
            }
            let previous = Version::from_u64(file.manifest.previous_version);
            let older = match previous < version {
                true => Ok(None),
                false => self.kept(path, key, previous).await,
            };
            let older = match older {
                // It hides no older one.
                Err(failure) if failure.kind == Kind::Damaged && previous != version => None,
                older => older?,
            };
            let Some(older) = older else { return Ok(Walked::Ended(file.info.version)) };
            check_chain(&file.manifest, &older.manifest, previous.to_u64(), self.root.id())
                .map_err(seal_failure)
                .map_err(|f| damaged(path, f))?;
            file = older;
        }
    }

    /// A version kept beside a file.
    pub(crate) async fn kept(
        &self,
        path: &VaultPath,
        key: SealedKey,
        version: Version,
    ) -> Result<Option<OpenFile>, Failure> {
        let version_key = key.version_key(version);
        let found = self.read(self.files, &version_key, false).await.map_err(|f| damaged(path, f))?;
        found.map(|found| self.open_kept(path, key, version, found)).transpose()
    }

    /// As [`Vault::kept`], of a record that was read.
    pub(crate) fn open_kept(
        &self,
        path: &VaultPath,
        key: SealedKey,
        version: Version,
        mut found: Found,
    ) -> Result<OpenFile, Failure> {
        // What counts is the version it had as the file, not the one its copy was written with.
        found.version = version;
        let file = self.open_file(&key.version_key(version), found).map_err(|f| damaged(path, f))?;
        self.check_kept(key, &file).map_err(|f| damaged(path, f))?;
        Ok(file)
    }
}
