//! Going back: to an older version of a file, to a deleted file, to a deleted folder with all that was deleted with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::head::{DirId, EntryTarget};
use larder_format::ids::BlobId;
use larder_format::limits::LEASE_BLOBS_MAX;
use larder_format::manifest::Content;
use larder_format::namespace::LifetimeRequest;
use larder_format::operation::{Condition, Outcome};
use larder_format::record::Version;
use larder_seal::names::SealedKey;
use larder_seal::tree::{Step, TreeWalker};
use larder_wire::answer::Failure;
use larder_wire::request::Ask;
use tokio::task::JoinSet;

use super::content::Uploaded;
use super::damage::damaged;
use super::history::History;
use super::put::{NewFile, PutOptions, PutReport, at};
use super::remove::FILES_AT_ONCE;
use super::trail::{Deleted, name_is_taken};
use crate::directory::Standing;
use crate::path::VaultPath;
use crate::remote::{Lease, Scan};
use crate::vault::{OpenFile, Vault, record_key, seal_failure, unexpected};

/// What was brought back.
#[derive(Debug, Clone)]
pub enum Restored {
    /// A file or link.
    File {
        /// As which version it was.
        from: Version,
        /// The version it is now.
        report: PutReport,
    },
    /// A folder.
    Folder(RestoredFolder),
}

/// A folder that was brought back, with what was deleted with it.
#[derive(Debug, Clone)]
pub struct RestoredFolder {
    /// What the deletion was called by.
    pub from: Version,
    /// Files and links.
    pub files: u64,
    /// Folders, itself among them.
    pub folders: u64,
    /// Bytes of content of the files.
    pub bytes: u64,
    /// What in it could not be brought back, and why.
    pub failed: Vec<(VaultPath, Failure)>,
}

/// What there is of one name in a folder that is being brought back.
enum Missing {
    File(VaultPath, Version),
    Folder(Deleted),
}

impl Vault {
    /// Makes an older version the current one again, as a new version with the same content; brings back a deleted
    /// file, or a deleted folder with all that was deleted with it. Deleted folders above come back, too, with
    /// nothing else in them. Without a version: the newest that is not current.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if there is no such version; [`Kind::Conflict`] if something new has the folder's name;
    /// [`Kind::Damaged`] if parts of a file are missing.
    pub async fn restore(
        self: &Arc<Self>,
        path: &VaultPath,
        version: Option<Version>,
    ) -> Result<Restored, Failure> {
        let Some((parent, name)) = path.split() else {
            return Err(Failure::new(Kind::Conflict, "/: is a folder; versions belong to files"));
        };
        let trail = self.trail(&parent).await?;
        let key = self.names.entry_key(trail.dir, name);
        let folder = self.folder_to_restore(trail.dir, key, path, version).await?;
        let file = match (&folder, version) {
            (Some(_), _) => None,
            (None, Some(version)) => Some(version),
            (None, None) => {
                let history = self.history(key).await?;
                let newest = history.files().next_back().map(|(version, _)| version);
                Some(newest.ok_or_else(|| no_older_version(path, &history))?)
            }
        };
        for above in &trail.deleted {
            self.undelete_folder(above).await?;
        }
        match (folder, file) {
            (Some(deleted), _) => self.restore_folder(&deleted).await.map(Restored::Folder),
            (None, Some(from)) => {
                let report = self.restore_file(trail.dir, path, name, from).await?;
                Ok(Restored::File { from, report })
            }
            (None, None) => Err(Failure::new(Kind::Bug, "neither a file nor a folder to restore")),
        }
    }

    /// Takes a file as the node shows it, though this device has seen a newer state, and writes it as a new version,
    /// which this device accepts.
    ///
    /// # Errors
    /// As [`Vault::file`], but for [`Kind::Damaged`] because of its age.
    pub async fn accept_older(&self, path: &VaultPath) -> Result<PutReport, Failure> {
        let Some((parent, name)) = path.split() else {
            return Err(Failure::new(Kind::Conflict, "/: is a folder, not a file"));
        };
        let dir = self.folder(&parent).await?;
        let key = self.names.entry_key(dir, name);
        let found = self.read(self.files, key.as_bytes(), false).await.map_err(|f| damaged(path, f))?;
        let Some(found) = found else {
            return Err(Failure::new(Kind::NotFound, format!("no such file: {path}")));
        };
        let old = self.open_file_as_shown(key, found).map_err(|f| damaged(path, f))?;
        let new = self.again(key, &old).await?;
        self.commit(dir, path, name, &new, &PutOptions { force: true, ..PutOptions::default() }).await
    }

    /// Which folder is meant, if a folder is.
    async fn folder_to_restore(
        &self,
        dir: DirId,
        key: SealedKey,
        path: &VaultPath,
        version: Option<Version>,
    ) -> Result<Option<Deleted>, Failure> {
        let name = path.names().last().cloned().unwrap_or_default();
        let now = self.look_up(dir, &name, true).await.map_err(|f| damaged(path, f))?;
        if let (Some((_, Standing::Closing | Standing::Gone)), None) = (&now, version) {
            return self.deleted_folder(dir, path, None).await;
        }
        let history = self.history(key).await?;
        let newest = history.kept.iter().rfind(|k| k.called.is_some());
        let wanted = match version {
            Some(version) => history.folders().find(|k| k.mark == version),
            None => newest.and_then(super::history::Kept::deleted_folder),
        };
        let taken_by = match &now {
            Some((now, Standing::Open)) => match now.entry.target {
                EntryTarget::Directory { id, .. } => Some(Some(id)),
                EntryTarget::File { .. } => Some(None),
            },
            _ => None,
        };
        match (wanted, taken_by) {
            // Restored in part: what is still missing comes, too.
            (Some(wanted), Some(Some(id))) if wanted.id == id => {
                self.deleted_folder(dir, path, Some(wanted.mark)).await
            }
            // A file has older versions of its own; a folder of that name must be asked for.
            (Some(_), Some(None)) if version.is_none() && history.files().next().is_some() => Ok(None),
            (Some(_), Some(_)) => Err(name_is_taken(path)),
            (Some(wanted), None) => self.deleted_folder(dir, path, Some(wanted.mark)).await,
            (None, Some(Some(_))) => {
                let message = format!("{path}: is a folder, and nothing of that name was deleted");
                Err(Failure::new(Kind::Conflict, message))
            }
            (None, _) => Ok(None),
        }
    }

    async fn restore_file(
        &self,
        dir: DirId,
        path: &VaultPath,
        name: &str,
        version: Version,
    ) -> Result<PutReport, Failure> {
        let key = self.names.entry_key(dir, name);
        let old = self.file_in(dir, path, name, Some(version)).await?;
        let new = self.again(key, &old).await.map_err(|f| damaged(path, f))?;
        // A current version that is damaged is what to get away from.
        let options = PutOptions { over_damaged: true, ..PutOptions::default() };
        let report = self.commit(dir, path, name, &new, &options).await?;
        if report.replaced.is_none() {
            self.prolong_versions(key, report.expiry, None).await?;
        }
        Ok(report)
    }

    /// Brings a file back that was deleted with its folder: as what it was, with its identity and in its place in the chain of
    /// versions, so that the version it was is not kept beside it. If something has its name by now: as
    /// [`Vault::restore_file`], which keeps that as a version.
    async fn bring_back(
        &self,
        dir: DirId,
        path: &VaultPath,
        name: &str,
        version: Version,
    ) -> Result<PutReport, Failure> {
        let key = self.names.entry_key(dir, name);
        let old = self.file_in(dir, path, name, Some(version)).await?;
        let lease = self.lease_again(key, &old).await.map_err(|f| damaged(path, f))?;
        let (mut put, revision) = self.file_again(key, name, &old, old.info.moves, old.manifest.revision)?;
        put.condition = Condition::Absent;
        put.lifetime = LifetimeRequest::Default;
        put.tokens = lease.iter().map(|(token, _)| *token).collect();
        put.not_after_ms = lease.map(|(_, deadline_ms)| deadline_ms);
        let mut may_be_listed = false;
        let outcome = self.put_once(key, Ask::Put(put), &mut may_be_listed).await;
        if let (false, Some((token, _))) = (may_be_listed, lease) {
            self.give_up(token).await;
        }
        let (written, expiry) = match outcome.map_err(|f| at(path, f))? {
            Outcome::Written { version, expiry } => (version, expiry),
            Outcome::Conflict { .. } => return self.restore_file(dir, path, name, version).await,
            other => return Err(unexpected(&other)),
        };
        self.wrote(key.as_bytes(), written, revision)?;
        if !self.takes_entries(dir).await? {
            let condition = Condition::Version(written);
            self.change(self.files, key.as_bytes(), Ask::Delete { condition }).await?;
            return Err(Failure::new(Kind::Conflict, format!("{path}: its folder is being deleted")));
        }
        self.prolong_versions(key, expiry, Some(version)).await?;
        let (size, content_hash) = (old.manifest.size, old.manifest.content_hash);
        Ok(PutReport { version: written, replaced: None, not_kept: false, expiry, size, content_hash })
    }

    /// The same file once more, its blobs leased anew.
    pub(crate) async fn again(&self, key: SealedKey, old: &OpenFile) -> Result<NewFile, Failure> {
        let lease = self.lease_again(key, old).await?;
        Ok(NewFile {
            kind: old.info.kind,
            attributes: old.info.attributes.clone(),
            uploaded: Uploaded {
                size: old.manifest.size,
                content_hash: old.manifest.content_hash,
                chunking: old.manifest.chunking,
                content: old.manifest.content.clone(),
                lease,
            },
        })
    }

    /// Brings a folder back with all that was deleted with it. What is kept of it goes last, so that an interrupted
    /// one goes on where it was.
    async fn restore_folder(self: &Arc<Self>, top: &Deleted) -> Result<RestoredFolder, Failure> {
        let mut report =
            RestoredFolder { from: top.mark, files: 0, folders: 0, bytes: 0, failed: Vec::new() };
        let mut todo = vec![top.clone()];
        let mut done: Vec<Deleted> = Vec::new();
        while let Some(folder) = todo.pop() {
            self.undelete_folder(&folder).await?;
            report.folders += 1;
            let mut files = JoinSet::new();
            for missing in self.missing(&folder, &mut report).await? {
                match missing {
                    Missing::Folder(below) => todo.push(below),
                    Missing::File(path, version) => {
                        if files.len() >= FILES_AT_ONCE {
                            joined(&mut files, &mut report).await?;
                        }
                        let (vault, dir) = (self.clone(), folder.id);
                        files.spawn(async move {
                            let name = path.names().last().cloned().unwrap_or_default();
                            let result = vault.bring_back(dir, &path, &name, version).await;
                            (path, result)
                        });
                    }
                }
            }
            while !files.is_empty() {
                joined(&mut files, &mut report).await?;
            }
            done.push(folder);
        }
        if report.failed.is_empty() {
            for folder in done.iter().rev() {
                let name = folder.path.names().last().map_or("", String::as_str);
                self.forget_kept_folder(self.names.entry_key(folder.parent, name), folder.id).await?;
            }
        }
        Ok(report)
    }

    /// What was deleted with a folder, and is not there.
    async fn missing(&self, folder: &Deleted, report: &mut RestoredFolder) -> Result<Vec<Missing>, Failure> {
        let own = self.names.directory_key(folder.id);
        let mut names: BTreeMap<Vec<u8>, History> = BTreeMap::new();
        let mut pages = self.remote.scan(Scan::heads(self.files, &self.names.dir_prefix(folder.id))).await?;
        while let Some(page) = pages.next().await? {
            let mut damaged = page.damaged.len();
            for (record, found) in page.records {
                let Some((key, _)) = SealedKey::parse(record.as_bytes()) else { continue };
                if key == own {
                    continue;
                }
                let history = names.entry(key.as_bytes().to_vec()).or_default();
                history.add(self, record, found)?;
                damaged += std::mem::take(&mut history.unreadable).len();
            }
            if damaged > 0 {
                let message = format!("{}: has entries that cannot be read count={damaged}", folder.path);
                report.failed.push((folder.path.clone(), Failure::new(Kind::Damaged, message)));
            }
        }
        let mut missing = Vec::new();
        for history in names.into_values() {
            missing.extend(self.missing_of(folder, &history).await?);
        }
        Ok(missing)
    }

    async fn missing_of(&self, folder: &Deleted, history: &History) -> Result<Option<Missing>, Failure> {
        let newest = history.kept.iter().filter(|k| k.called.is_some()).max_by_key(|k| k.called);
        let Some(shown) = history.current().or(newest) else { return Ok(None) };
        let path = folder.path.join(&shown.entry.name)?;
        if let Some(now) = history.current() {
            // A folder that is there may be one whose deletion was interrupted.
            let EntryTarget::Directory { id, .. } = now.entry.target else { return Ok(None) };
            let record = self.folder_record(id).await?;
            let standing = Standing::of(record.as_ref().map(|(_, d)| d), folder.id, &now.entry.name);
            let kept = history.folders().any(|k| k.id == id);
            if standing == Standing::Open && !kept {
                return Ok(None);
            }
            return Ok(self.deleted_folder(folder.id, &path, None).await?.map(Missing::Folder));
        }
        // What was kept before the folder was closed was deleted for itself.
        if shown.found.version <= folder.mark {
            return Ok(None);
        }
        if let Some(deleted) = shown.deleted_folder() {
            let below = self.deleted_folder(folder.id, &path, Some(deleted.mark)).await?;
            return Ok(below.map(Missing::Folder));
        }
        Ok(shown.called.map(|version| Missing::File(path, version)))
    }

    /// Leases all blobs of a version anew for the same file.
    pub(crate) async fn lease_again(
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
}

/// The next file that is done.
async fn joined(
    files: &mut JoinSet<(VaultPath, Result<PutReport, Failure>)>,
    report: &mut RestoredFolder,
) -> Result<(), Failure> {
    match files.join_next().await {
        Some(Ok((_, Ok(done)))) => {
            report.files += 1;
            report.bytes += done.size;
        }
        Some(Ok((_, Err(failure)))) if matches!(failure.kind, Kind::Closed | Kind::Unknown) => {
            return Err(failure);
        }
        Some(Ok((path, Err(failure)))) => report.failed.push((path, failure)),
        Some(Err(error)) => return Err(Failure::new(Kind::Bug, error.to_string())),
        None => {}
    }
    Ok(())
}

fn no_older_version(path: &VaultPath, history: &History) -> Failure {
    let damaged = history.unreadable.len();
    if damaged > 0 {
        let message = format!("{path}: has older versions that cannot be read count={damaged}");
        return Failure::new(Kind::Damaged, message);
    }
    Failure::new(Kind::NotFound, format!("{path} has no older version"))
}
