//! Copies inside the vault: new files with the same content. Blobs that are there are leased once more and do not travel;
//! only what is small enough to live in a record is written again.

use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::head::{Attributes, DirId, EntryTarget};
use larder_format::manifest::Content;
use larder_format::namespace::LifetimeRequest;
use larder_format::operation::Condition;
use larder_wire::answer::Failure;
use tokio::task::JoinSet;

use super::carry::lifetime_of;
use super::{Place, into_itself, nothing_there};
use crate::directory::{Standing, being_deleted, not_a_folder};
use crate::files::{FolderReading, PutOptions, damaged};
use crate::path::VaultPath;
use crate::vault::Vault;

/// Files copied side by side: each waits for the disk, and one sync serves all that wait.
const FILES_AT_ONCE: usize = 64;

/// How often a copy is tried again because its leases had ended when it got its place.
const LEASE_TRIES: u32 = 3;

/// How to copy.
#[derive(Debug, Clone, Copy, Default)]
pub struct CopyOptions {
    /// Folders too, with everything in them.
    pub recursive: bool,
    /// Until when the copies live; `None`: as long as what they are copies of.
    pub lifetime: Option<LifetimeRequest>,
    /// Not over files that are there.
    pub no_clobber: bool,
}

/// What was copied.
#[derive(Debug, Clone, Default)]
pub struct CopyReport {
    /// Files and links.
    pub files: u64,
    /// Folders that were made.
    pub folders: u64,
    /// Bytes of content of the files.
    pub bytes: u64,
    /// Bytes of those that lived in records and were sent once more. All others did not travel.
    pub sent_bytes: u64,
    /// What in a folder could not be copied, and why.
    pub failed: Vec<(VaultPath, Failure)>,
}

impl CopyReport {
    fn add(&mut self, size: u64, sent: u64) {
        self.files += 1;
        self.bytes += size;
        self.sent_bytes += sent;
    }
}

/// A file's length, and how much of it was sent.
type Copied = (u64, u64);

/// A folder still to be copied.
struct Todo {
    id: DirId,
    path: VaultPath,
    to: Place,
    attributes: Attributes,
}

impl Vault {
    /// Copies a file, a link, or a folder with everything in it: attributes and content, not the older versions. A file
    /// that is there gets the copy as a new version; a folder that is there gets what is missing.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Conflict`] for a folder without `recursive`, or if something is in the way;
    /// [`Kind::Invalid`] for a folder into itself; [`Kind::Damaged`] if content is missing on the node.
    pub async fn copy(
        self: &Arc<Self>,
        from: &VaultPath,
        to: &VaultPath,
        options: CopyOptions,
    ) -> Result<CopyReport, Failure> {
        if from == to {
            return Err(Failure::new(Kind::Invalid, format!("{from}: is to be copied to where it is")));
        }
        let mut report = CopyReport::default();
        let source = self.place_of(from).await?;
        let found = self.look_up(source.dir, source.name(), true).await.map_err(|f| damaged(from, f))?;
        let Some((now, standing)) = found.filter(|(_, standing)| standing.is_shown()) else {
            return Err(nothing_there(from));
        };
        let EntryTarget::Directory { id, attributes } = now.entry.target else {
            let (size, sent) = self.copy_file(&source, &self.place_of(to).await?, options).await?;
            report.add(size, sent);
            return Ok(report);
        };
        if standing == Standing::Closing {
            return Err(being_deleted(from));
        }
        if !options.recursive {
            let message =
                format!("{from}: is a folder; copy it and all in it with: larder cp -r {from} {to}");
            return Err(Failure::new(Kind::Conflict, message));
        }
        let to = self.place_of(to).await?;
        self.must_not_hold(&to, id, from).await?;
        self.copy_folder(Todo { id, path: from.clone(), to, attributes }, options, &mut report).await?;
        Ok(report)
    }

    /// Refuses a place that is in the folder itself, which would be copied without end.
    async fn must_not_hold(&self, to: &Place, folder: DirId, from: &VaultPath) -> Result<(), Failure> {
        let mut dir = to.dir;
        while dir != self.names.root_dir() {
            if dir == folder {
                return Err(into_itself(from));
            }
            let Some((_, record)) = self.folder_record(dir).await? else {
                return Err(nothing_there(&to.path));
            };
            dir = record.parent;
        }
        Ok(())
    }

    /// Copies one file; answers its length, and how much of it was sent.
    async fn copy_file(&self, from: &Place, to: &Place, options: CopyOptions) -> Result<Copied, Failure> {
        let old = self.file_in(from.dir, &from.path, from.name(), None).await?;
        let options = PutOptions {
            lifetime: options.lifetime.unwrap_or(lifetime_of(old.info.expiry)),
            condition: if options.no_clobber { Condition::Absent } else { Condition::Any },
            ..PutOptions::default()
        };
        let key = self.names.entry_key(to.dir, to.name());
        let sent = match old.manifest.content {
            Content::Inline(_) => old.manifest.size,
            Content::Chunks(_) | Content::Pages { .. } => 0,
        };
        let mut tries = LEASE_TRIES;
        loop {
            tries -= 1;
            let new = self.again(key, &old).await.map_err(|f| damaged(&from.path, f))?;
            match self.commit(to.dir, &to.path, to.name(), &new, &options).await {
                Err(failure) if failure.kind == Kind::Retry && tries > 0 => {}
                done => return done.map(|_| (old.manifest.size, sent)),
            }
        }
    }

    async fn copy_folder(
        self: &Arc<Self>,
        top: Todo,
        options: CopyOptions,
        report: &mut CopyReport,
    ) -> Result<(), Failure> {
        // Not by recursion: folders nest deeper than a thread's stack.
        let mut todo = vec![top];
        let mut is_top = true;
        while let Some(folder) = todo.pop() {
            let done = self.copy_level(&folder, options, &mut todo, report).await;
            match done {
                Err(failure) if is_top || !only_this(&failure) => return Err(failure),
                Err(failure) => report.failed.push((folder.path, failure)),
                Ok(()) => {}
            }
            is_top = false;
        }
        Ok(())
    }

    /// Makes a folder and copies the files in it; notes the folders in it.
    async fn copy_level(
        self: &Arc<Self>,
        folder: &Todo,
        options: CopyOptions,
        todo: &mut Vec<Todo>,
        report: &mut CopyReport,
    ) -> Result<(), Failure> {
        let Todo { id, path, to, attributes } = folder;
        if let Some((now, standing)) = self.look_up(to.dir, to.name(), true).await?
            && standing.is_shown()
            && matches!(now.entry.target, EntryTarget::File { .. })
        {
            return Err(not_a_folder(&to.path));
        }
        let (dir, made) = self.child_folder(to.dir, to.name(), attributes.clone(), &to.path).await?;
        report.folders += u64::from(made);
        let mut reading = FolderReading::start(self, *id, false);
        let mut files = JoinSet::new();
        while let Some(page) = reading.next().await? {
            if page.damaged > 0 {
                let message = format!("{path}: has entries that cannot be read count={}", page.damaged);
                report.failed.push((path.clone(), Failure::new(Kind::Damaged, message)));
            }
            for (now, standing) in page.entries {
                let from = Place { dir: *id, path: path.join(&now.entry.name)? };
                let to = Place { dir, path: to.path.join(&now.entry.name)? };
                match (now.entry.target, standing) {
                    (EntryTarget::File { .. }, _) => {
                        if files.len() >= FILES_AT_ONCE {
                            joined(&mut files, report).await?;
                        }
                        let vault = self.clone();
                        files.spawn(async move {
                            let result = vault.copy_file(&from, &to, options).await;
                            (from.path, result)
                        });
                    }
                    (EntryTarget::Directory { id, attributes }, Ok(Standing::Open)) => {
                        todo.push(Todo { id, path: from.path, to, attributes });
                    }
                    (EntryTarget::Directory { .. }, Ok(_)) => {
                        report.failed.push((from.path.clone(), being_deleted(&from.path)));
                    }
                    (EntryTarget::Directory { .. }, Err(failure)) => report.failed.push((from.path, failure)),
                }
            }
        }
        while !files.is_empty() {
            joined(&mut files, report).await?;
        }
        Ok(())
    }
}

/// The next file that is done.
async fn joined(
    files: &mut JoinSet<(VaultPath, Result<Copied, Failure>)>,
    report: &mut CopyReport,
) -> Result<(), Failure> {
    match files.join_next().await {
        Some(Ok((_, Ok((size, sent))))) => report.add(size, sent),
        Some(Ok((path, Err(failure)))) if only_this(&failure) => report.failed.push((path, failure)),
        Some(Ok((_, Err(failure)))) => return Err(failure),
        Some(Err(error)) => return Err(Failure::new(Kind::Bug, error.to_string())),
        None => {}
    }
    Ok(())
}

/// Whether a failure is that of one thing, and the next one may do.
fn only_this(failure: &Failure) -> bool {
    !matches!(failure.kind, Kind::Closed | Kind::Unknown | Kind::Full | Kind::Denied)
}
