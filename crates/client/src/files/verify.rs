//! Reading content end to end and keeping none of it: what can be read back is whole, and of what cannot it is said
//! which older version still is.

use std::io;
use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::head::{DirId, EntryTarget};
use larder_format::record::Version;
use larder_format::rng::{Rng, SystemRng};
use larder_seal::pipeline::Width;
use larder_wire::answer::Failure;
use tokio::task::JoinSet;

use super::attempts::hex;
use super::damage::damaged;
use super::{Destination, ListedKind, VersionKind};
use crate::meter::Meter;
use crate::path::VaultPath;
use crate::vault::{OpenFile, Vault};

/// Files read side by side.
const FILES_AT_ONCE: usize = 4;

/// A file that cannot be read back.
#[derive(Debug, Clone)]
pub struct Unverified {
    /// Which.
    pub path: VaultPath,
    /// Why not.
    pub failure: Failure,
    /// The newest older version that can be read back whole, if there is one.
    pub whole_version: Option<Version>,
}

/// What came of verifying.
#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    /// Files and links read.
    pub files: u64,
    /// Folders looked into.
    pub folders: u64,
    /// Bytes of content read and right.
    pub bytes: u64,
    /// Files left out because only a part was asked for.
    pub left_out: u64,
    /// What cannot be read back.
    pub damaged: Vec<Unverified>,
}

/// One round under way.
struct Round {
    vault: Arc<Vault>,
    percent: u8,
    meter: Arc<Meter>,
    report: VerifyReport,
    files: JoinSet<(VaultPath, u64, Result<(), Failure>)>,
}

impl Vault {
    /// Reads a file, or everything in a folder, and verifies it: what the node stores, tags, hashes, signatures. Of
    /// each folder about `percent` of the files, at least one.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; what does not concern one file alone. Files that cannot be read are in the report.
    pub async fn verify(
        self: &Arc<Self>,
        path: &VaultPath,
        percent: u8,
        meter: &Arc<Meter>,
    ) -> Result<VerifyReport, Failure> {
        let mut round = Round {
            vault: self.clone(),
            percent,
            meter: meter.clone(),
            report: VerifyReport::default(),
            files: JoinSet::new(),
        };
        let top = if path.is_root() { None } else { Some(self.stat(path).await) };
        match top {
            Some(Err(failure)) if failure.kind == Kind::Damaged => {
                round.failed(path.clone(), failure).await?;
            }
            Some(Err(failure)) => return Err(failure),
            Some(Ok(listed)) if !matches!(listed.kind, ListedKind::Folder { .. }) => {
                let Some((parent, name)) = path.split() else { return Ok(round.report) };
                let dir = self.folder(&parent).await?;
                round.begin(dir, path.clone(), name.to_owned()).await?;
            }
            _ => round.folder(self.folder(path).await?, path.clone()).await?,
        }
        while !round.files.is_empty() {
            round.joined().await?;
        }
        Ok(round.report)
    }

    /// Reads one file and drops what it reads.
    async fn read_through(
        &self,
        dir: DirId,
        path: &VaultPath,
        name: &str,
        meter: &Arc<Meter>,
    ) -> Result<u64, Failure> {
        let file = self.file_in(dir, path, name, None).await?;
        self.read_through_open(path, &file, meter).await
    }

    async fn read_through_open(
        &self,
        path: &VaultPath,
        file: &OpenFile,
        meter: &Arc<Meter>,
    ) -> Result<u64, Failure> {
        meter.expect(1, file.info.size);
        let nowhere = Destination::Stream(Box::new(io::sink()));
        self.write_out(file, nowhere, Width::default(), meter).await.map_err(|f| damaged(path, f))?;
        meter.file_done();
        Ok(file.info.size)
    }

    /// The newest older version of a file that can be read back.
    async fn whole_version(&self, path: &VaultPath) -> Option<Version> {
        let versions = self.versions(path).await.ok()?.versions;
        let meter = Arc::new(Meter::default());
        for older in versions.iter().filter(|v| !v.current && v.kind != VersionKind::DeletedFolder) {
            let Ok(file) = self.file(path, Some(older.version)).await else { continue };
            if self.read_through_open(path, &file, &meter).await.is_ok() {
                return Some(older.version);
            }
        }
        None
    }
}

impl Round {
    /// Everything in a folder, and in folders in it.
    async fn folder(&mut self, dir: DirId, path: VaultPath) -> Result<(), Failure> {
        // Not by recursion: folders nest deeper than a thread's stack.
        let mut todo = vec![(dir, path)];
        while let Some((dir, path)) = todo.pop() {
            self.report.folders += 1;
            let vault = self.vault.clone();
            let mut taken = 0;
            let mut entries = vault.entries(dir).await?;
            while let Some(some) = entries.next(&vault).await? {
                for (key, _) in some.unreadable {
                    let what =
                        format!("an entry cannot be read, not even its name key={}", hex(key.as_bytes()));
                    self.failed(path.clone(), Failure::new(Kind::Damaged, what)).await?;
                }
                for now in some.entries {
                    let child = path.join(&now.entry.name)?;
                    match now.entry.target {
                        EntryTarget::Directory { id, .. } => todo.push((id, child)),
                        EntryTarget::File { .. } if taken > 0 && self.is_left_out() => {
                            self.report.left_out += 1;
                        }
                        EntryTarget::File { .. } => {
                            taken += 1;
                            self.begin(dir, child, now.entry.name).await?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn is_left_out(&self) -> bool {
        self.percent < 100 && SystemRng.u64() % 100 >= u64::from(self.percent)
    }

    async fn begin(&mut self, dir: DirId, path: VaultPath, name: String) -> Result<(), Failure> {
        if self.files.len() >= FILES_AT_ONCE {
            self.joined().await?;
        }
        let (vault, meter) = (self.vault.clone(), self.meter.clone());
        self.files.spawn(async move {
            match vault.read_through(dir, &path, &name, &meter).await {
                Ok(bytes) => (path, bytes, Ok(())),
                Err(failure) => (path, 0, Err(failure)),
            }
        });
        Ok(())
    }

    /// Takes in the next file that is done.
    async fn joined(&mut self) -> Result<(), Failure> {
        match self.files.join_next().await {
            None => Ok(()),
            Some(Err(error)) => Err(Failure::new(Kind::Bug, error.to_string())),
            Some(Ok((_, bytes, Ok(())))) => {
                self.report.files += 1;
                self.report.bytes += bytes;
                Ok(())
            }
            // Deleted meanwhile.
            Some(Ok((_, _, Err(failure)))) if failure.kind == Kind::NotFound => Ok(()),
            Some(Ok((path, _, Err(failure)))) => {
                self.report.files += 1;
                self.failed(path, failure).await
            }
        }
    }

    async fn failed(&mut self, path: VaultPath, failure: Failure) -> Result<(), Failure> {
        if failure.kind != Kind::Damaged {
            return Err(failure);
        }
        let whole_version = self.vault.whole_version(&path).await;
        self.report.damaged.push(Unverified { path, failure, whole_version });
        Ok(())
    }
}
