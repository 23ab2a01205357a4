//! Older versions of files that are there, deleted for good: those that no rule keeps. The current version of a file is
//! never among them, and what was deleted is left to [`mod@super::trash`].

use std::sync::Arc;

use larder_format::head::EntryTarget;
use larder_format::operation::{Condition, Outcome};
use larder_format::record::Version;
use larder_format::retention::Keep;
use larder_seal::names::SealedKey;
use larder_wire::answer::Failure;
use larder_wire::request::Ask;
use tokio::task::JoinSet;

use super::remove::FILES_AT_ONCE;
use super::survey::{Named, Now};
use crate::path::VaultPath;
use crate::retention::stays;
use crate::vault::{Vault, unexpected};

/// A version that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superfluous {
    /// Of which file.
    pub path: VaultPath,
    /// What it is called by.
    pub version: Version,
    /// Bytes of its content. Chunks that other versions have too stay with them.
    pub size: u64,
    key: SealedKey,
    /// The record's own version, which is the condition of its deletion.
    found: Version,
}

impl Superfluous {
    /// What deleting it takes.
    #[must_use]
    pub fn listed(&self) -> ListedVersion {
        ListedVersion { key: self.key, version: self.version, found: self.found, size: self.size }
    }
}

/// A version that was listed to go, without its path: 56 bytes, so that a list of millions can be kept until somebody has
/// answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedVersion {
    key: SealedKey,
    version: Version,
    found: Version,
    size: u64,
}

impl ListedVersion {
    /// Bytes of its content.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// What went of what was listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gone {
    /// Versions.
    pub versions: u64,
    /// Bytes of their content.
    pub bytes: u64,
}

impl Gone {
    fn add(&mut self, went: Option<u64>) {
        self.versions += u64::from(went.is_some());
        self.bytes += went.unwrap_or(0);
    }
}

/// What became of older versions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VersionsReport {
    /// Files that have older versions.
    pub files: u64,
    /// Versions that went, or would.
    pub versions: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// Versions that stay.
    pub kept: u64,
    /// Records that are there and cannot be read: they stay.
    pub damaged: u64,
}

impl Vault {
    /// Deletes the older versions, of a file or of all files below a folder, that `keep` does not keep (`None`: all
    /// stay). With `dry_run` only says which. `each` gets each of them.
    ///
    /// # Errors
    /// Not found; what `each` fails with. What was deleted until then is deleted.
    pub async fn purge_versions(
        self: &Arc<Self>,
        path: &VaultPath,
        keep: impl Fn(&VaultPath) -> Option<Keep>,
        dry_run: bool,
        mut each: impl FnMut(&Superfluous) -> Result<(), Failure>,
    ) -> Result<VersionsReport, Failure> {
        let mut report = VersionsReport::default();
        let mut going = JoinSet::new();
        let mut one = async |named: Named| {
            let Some(keep) = keep(&named.path).filter(|_| named.now == Now::File) else { return Ok(()) };
            let all = superfluous(&named, &keep, self.now_ms());
            report.files += u64::from(named.history.files().next().is_some());
            report.kept += named.history.files().count() as u64 - all.len() as u64;
            for version in all {
                report.versions += 1;
                report.bytes += version.size;
                each(&version)?;
                if !dry_run {
                    if going.len() >= FILES_AT_ONCE {
                        joined(&mut going).await?;
                    }
                    let (vault, version) = (self.clone(), version.listed());
                    going.spawn(async move { vault.drop_version(version).await });
                }
            }
            Ok(())
        };
        let damaged = match path.split() {
            None => self.survey(path, self.names.root_dir(), one).await?,
            Some((parent, _)) => {
                let parent = self.folder(&parent).await?;
                let named = self.survey_one(parent, path).await?;
                match named.now {
                    Now::Folder(dir) => self.survey(path, dir, one).await?,
                    Now::File => {
                        let damaged = named.history.unreadable.len() as u64;
                        one(named).await?;
                        damaged
                    }
                    Now::Nothing | Now::Closing(_) => return Err(self.not_there(path).await),
                }
            }
        };
        while !going.is_empty() {
            joined(&mut going).await?;
        }
        report.damaged = damaged;
        Ok(report)
    }

    /// Deletes older versions that were listed, and no others: what has become an older version since was shown to nobody.
    /// What somebody changed in between stays, too. `each` gets each of them; answers how many went.
    ///
    /// # Errors
    /// [`Failure`]. What was deleted until then is deleted.
    pub async fn purge_listed(
        self: &Arc<Self>,
        listed: &[ListedVersion],
        mut each: impl FnMut(&ListedVersion),
    ) -> Result<Gone, Failure> {
        let (mut going, mut gone) = (JoinSet::new(), Gone::default());
        for version in listed.iter().copied() {
            if going.len() >= FILES_AT_ONCE {
                gone.add(joined(&mut going).await?);
            }
            let vault = self.clone();
            each(&version);
            going.spawn(async move { vault.drop_version(version).await });
        }
        while !going.is_empty() {
            gone.add(joined(&mut going).await?);
        }
        Ok(gone)
    }

    /// Why there is nothing to be found at a path.
    async fn not_there(&self, path: &VaultPath) -> Failure {
        match self.stat(path).await {
            Err(failure) => failure,
            Ok(_) => crate::directory::being_deleted(path),
        }
    }

    /// Deletes the older versions of a file just written that the vault's rules do not keep. What cannot be deleted now
    /// stays until the rules are applied to all: the write itself was done.
    pub(crate) async fn thin_out_after_put(&self, key: SealedKey, path: &VaultPath) {
        let Ok(rules) = self.retention().await else { return };
        let Some(keep) = rules.keep(&path.to_string()) else { return };
        let Ok(history) = self.history(key).await else { return };
        let named = Named { key, path: path.clone(), history, now: Now::File };
        for version in superfluous(&named, &keep, self.now_ms()) {
            if self.drop_version(version.listed()).await.is_err() {
                return;
            }
        }
    }

    /// Answers how many bytes went with it; `None`: it did not go.
    async fn drop_version(&self, version: ListedVersion) -> Result<Option<u64>, Failure> {
        // Whoever changed it in between gave it another end, as with a deletion: that stands.
        let ask = Ask::Delete { condition: Condition::Version(version.found) };
        let record = version.key.version_key(version.version);
        match self.change(self.files, &record, ask).await? {
            Outcome::Deleted { .. } => Ok(Some(version.size)),
            Outcome::Absent | Outcome::Conflict { .. } => Ok(None),
            other => Err(unexpected(&other)),
        }
    }
}

/// The versions of a file that a rule does not keep.
fn superfluous(named: &Named, keep: &Keep, now_ms: u64) -> Vec<Superfluous> {
    let Some(current) = named.history.current() else { return Vec::new() };
    // While a file is being replaced its current version is there twice for a moment: that one is not older.
    let older: Vec<_> =
        named.history.files().rev().filter(|(called, _)| *called < current.found.version).collect();
    let written: Vec<u64> = older.iter().map(|(called, _)| called.0.ms()).collect();
    let stay = stays(keep, now_ms, current.found.version.0.ms(), &written);
    let gone = older.into_iter().zip(stay).filter(|(_, stay)| !stay);
    gone.map(|((version, kept), _)| Superfluous {
        path: named.path.clone(),
        version,
        size: match kept.entry.target {
            EntryTarget::File { size, .. } => size,
            EntryTarget::Directory { .. } => 0,
        },
        key: named.key,
        found: kept.found.version,
    })
    .collect()
}

/// What went with the next one.
async fn joined(going: &mut JoinSet<Result<Option<u64>, Failure>>) -> Result<Option<u64>, Failure> {
    match going.join_next().await {
        Some(Ok(done)) => done,
        Some(Err(error)) => Err(Failure::new(larder_format::error::Kind::Bug, error.to_string())),
        None => Ok(None),
    }
}
