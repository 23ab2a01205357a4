//! A folder of the vault onto the local disk.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::head::{Attributes, DirId, EntryTarget};
use larder_format::manifest::Content;
use larder_seal::pipeline::Width;
use larder_wire::answer::Failure;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{GetTreeOptions, Planned, PlannedFile, SMALL_BATCH, TreeReport, jobs_at_once};
use crate::directory::{EntryNow, Standing, being_deleted, not_a_folder};
use crate::files::{Destination, FolderReading, ListedKind, at};
use crate::local::part;
use crate::local::same::is_same;
use crate::local::target::{self, Target};
use crate::meter::Meter;
use crate::path::VaultPath;
use crate::transfer::pass;
use crate::vault::{OpenFile, Vault, local_failure};

/// Files below this length are opened by one thread each: several are under way at once anyway.
const ONE_THREAD_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// All that the workers of one run share.
struct Run {
    vault: Arc<Vault>,
    options: GetTreeOptions,
    meter: Arc<Meter>,
    report: Mutex<TreeReport>,
    large_permits: Arc<Semaphore>,
}

/// Folders read at a time, ahead of the one whose files are being written. Each holds a page of small files.
const FOLDERS_AHEAD: usize = 4;

/// A folder still to be read.
struct Todo {
    id: DirId,
    path: VaultPath,
    /// Its path below the folder that is fetched.
    below: PathBuf,
    local: PathBuf,
    attributes: Attributes,
    reading: Option<FolderReading>,
}

impl Todo {
    fn read(&self, vault: &Arc<Vault>) -> FolderReading {
        FolderReading::start(vault, self.id, true)
    }
}

/// Files found in a record, with their content or what leads to it.
struct Batch {
    files: Vec<(EntryNow, VaultPath, PathBuf)>,
}

impl Vault {
    /// One walk of [`Vault::get_tree`].
    pub(super) async fn get_tree_once(
        self: &Arc<Self>,
        remote: &VaultPath,
        local: &Path,
        options: &GetTreeOptions,
        meter: &Arc<Meter>,
    ) -> Result<TreeReport, Failure> {
        let (id, attributes) = self.folder_to_get(remote).await?;
        let run = Arc::new(Run {
            vault: self.clone(),
            options: options.clone(),
            meter: meter.clone(),
            report: Mutex::default(),
            large_permits: Arc::new(Semaphore::new(self.transfers().jobs)),
        });
        let (path, local_path) = (remote.clone(), local.to_path_buf());
        let mut todo = VecDeque::from([Todo {
            id,
            path,
            below: PathBuf::new(),
            local: local_path,
            attributes,
            reading: None,
        }]);
        let mut made = Vec::new();
        let mut jobs = JoinSet::new();
        let permits = Arc::new(Semaphore::new(jobs_at_once()));
        while let Some(mut folder) = todo.pop_front() {
            let planned = run.options.plan.is_some();
            if planned {
                run.report.lock().folders += u64::from(!folder.local.is_dir());
            } else if let Err(failure) = make_local_folder(&folder.local, Mode::of(&folder.attributes)) {
                if made.is_empty() {
                    return Err(failure);
                }
                run.fail(&folder.local, failure);
                continue;
            }
            run.report.lock().folders += u64::from(!planned);
            if let Err(failure) = run.read_folder(&mut folder, &mut todo, &mut jobs, &permits).await {
                run.fail(&folder.local, failure);
            }
            made.push(folder);
        }
        while let Some(job) = jobs.join_next().await {
            job.map_err(|e| Failure::new(Kind::Bug, e.to_string()))?;
        }
        // Last, and children before parents: writing into a folder changes its time.
        for Todo { local, attributes, .. } in made.iter().rev().filter(|_| run.options.plan.is_none()) {
            if let Err(error) = target::finish_folder(local, attributes).map(|kept| self.xattrs_kept(kept)) {
                run.fail(local, local_failure(local, &error));
            }
        }
        if let Err(failure) = run.check_folders(&made).await {
            let message =
                format!("whether its folders were there to the end is not known: {}", failure.message);
            run.fail(local, Failure::new(failure.kind, message));
        }
        let report = std::mem::take(&mut *run.report.lock());
        Ok(report)
    }
}

impl Vault {
    /// The folder that was named, with its mode and time, which are those of the local one. The root has none.
    async fn folder_to_get(&self, path: &VaultPath) -> Result<(DirId, Attributes), Failure> {
        if path.is_root() {
            return Ok((self.names.root_dir(), Attributes::default()));
        }
        let listed = self.stat(path).await?;
        match listed.kind {
            ListedKind::Folder { .. } if listed.deleting => Err(being_deleted(path)),
            ListedKind::Folder { id } => Ok((id, listed.attributes)),
            ListedKind::File { .. } | ListedKind::Symlink { .. } => Err(not_a_folder(path)),
        }
    }
}

/// With what mode a local folder is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// For its owner alone, until it gets another when everything in it is written.
    Private,
    /// As the system makes folders.
    Usual,
}

impl Mode {
    pub(super) fn of(attributes: &Attributes) -> Self {
        if attributes.mode == 0 { Self::Usual } else { Self::Private }
    }
}

/// Makes a folder, or takes one that is there; never a link to one, which could lead anywhere.
pub(super) fn make_local_folder(path: &Path, mode: Mode) -> Result<(), Failure> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            part::remove_old(path);
            match mode {
                // Of somebody else's folder the mode cannot be set in the end, either; files in it say what is wrong.
                Mode::Private => drop(target::reopen_folder(path)),
                Mode::Usual => {}
            }
            Ok(())
        }
        Ok(_) => {
            let message = format!(
                "{}: is there already and is not a folder: move it away, or fetch to another place",
                path.display()
            );
            Err(Failure::new(Kind::Conflict, message))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match mode {
            Mode::Private => target::begin_folder(path),
            Mode::Usual => std::fs::create_dir_all(path),
        }
        .map_err(|e| local_failure(path, &e)),
        Err(error) => Err(local_failure(path, &error)),
    }
}

impl Run {
    fn fail(&self, path: &Path, failure: Failure) {
        self.report.lock().failed.push((path.to_path_buf(), failure));
    }

    /// Reads a folder's records, starts jobs that write its files and queues its folders.
    async fn read_folder(
        self: &Arc<Self>,
        folder: &mut Todo,
        todo: &mut VecDeque<Todo>,
        jobs: &mut JoinSet<()>,
        permits: &Arc<Semaphore>,
    ) -> Result<(), Failure> {
        let mut reading = folder.reading.take().unwrap_or_else(|| folder.read(&self.vault));
        while let Some(page) = reading.next().await? {
            let bytes = page.entries.iter().map(|(entry, _)| entry.found.body.len() as u64).sum();
            self.meter.fetched(bytes);
            pass(self.vault.transfers().down.as_ref(), bytes).await;
            if page.damaged > 0 {
                let message = format!("{}: entries that cannot be read count={}", folder.path, page.damaged);
                self.fail(&folder.local, Failure::new(Kind::Damaged, message));
            }
            let mut files = Vec::new();
            for (entry, standing) in page.entries {
                // Checks the name once more: it becomes a local file's.
                let path = folder.path.join(&entry.entry.name)?;
                let local = folder.local.join(&entry.entry.name);
                let below = folder.below.join(&entry.entry.name);
                let is_folder = matches!(entry.entry.target, EntryTarget::Directory { .. });
                if self.options.exclude.leaves_out(&below, is_folder) {
                    self.report.lock().excluded += 1;
                    continue;
                }
                match (&entry.entry.target, standing) {
                    (&EntryTarget::File { size, .. }, _) => {
                        self.meter.expect(1, size);
                        files.push((entry, path, local));
                    }
                    (EntryTarget::Directory { id, attributes }, Ok(Standing::Open)) => {
                        let (id, attributes) = (*id, attributes.clone());
                        todo.push_back(Todo { id, path, below, local, attributes, reading: None });
                    }
                    (EntryTarget::Directory { .. }, Ok(Standing::Closing)) => {
                        self.fail(&local, being_deleted(&path));
                    }
                    (EntryTarget::Directory { .. }, Ok(Standing::Gone | Standing::Elsewhere)) => {}
                    (EntryTarget::Directory { .. }, Err(failure)) => self.fail(&local, at(&path, failure)),
                }
            }
            for next in todo.iter_mut().take(FOLDERS_AHEAD).filter(|next| next.reading.is_none()) {
                next.reading = Some(next.read(&self.vault));
            }
            while !files.is_empty() {
                let rest = files.split_off(files.len().min(SMALL_BATCH));
                let batch = Batch { files: std::mem::replace(&mut files, rest) };
                let permit = permits.clone().acquire_owned().await;
                let permit = permit.map_err(|e| Failure::new(Kind::Bug, e.to_string()))?;
                let run = self.clone();
                jobs.spawn(async move {
                    run.write_batch(batch).await;
                    drop(permit);
                });
            }
        }
        Ok(())
    }

    /// Folders may have been deleted while they were read: then what was fetched of them is not all that was in them,
    /// which must be said.
    async fn check_folders(&self, read: &[Todo]) -> Result<(), Failure> {
        let ids = read.iter().map(|folder| folder.id).collect();
        let open = self.vault.take_entries(ids).await?;
        for (folder, open) in read.iter().zip(open) {
            if !open {
                let message = "was deleted meanwhile; what was fetched of it may not be all that was in it";
                self.fail(&folder.local, at(&folder.path, Failure::new(Kind::Conflict, message)));
            }
        }
        Ok(())
    }

    /// Opens and writes small files on one thread; then fetches the larger ones of the batch.
    async fn write_batch(self: &Arc<Self>, batch: Batch) {
        let run = self.clone();
        let opening = tokio::task::spawn_blocking(move || run.write_small(batch));
        let larger = match opening.await {
            Ok(larger) => larger,
            Err(error) => {
                self.fail(Path::new(""), Failure::new(Kind::Bug, error.to_string()));
                return;
            }
        };
        let mut fetching = JoinSet::new();
        for (file, local) in larger {
            let Ok(permit) = self.large_permits.clone().acquire_owned().await else { return };
            let run = self.clone();
            fetching.spawn(async move {
                let width = if file.info.size < ONE_THREAD_BYTES_MAX {
                    Width { workers: 1, window: 2 }
                } else {
                    Width::default()
                };
                let destination = Destination::File { path: local.clone(), sync: run.options.sync };
                match run.vault.write_out(&file, destination, width, &run.meter).await {
                    Ok(()) => run.done(file.info.size),
                    Err(failure) => run.fail(&local, failure),
                }
                drop(permit);
            });
        }
        while fetching.join_next().await.is_some() {}
    }

    /// Writes those files of a batch whose content is in their record; returns the others.
    fn write_small(&self, batch: Batch) -> Vec<(OpenFile, PathBuf)> {
        let mut larger = Vec::new();
        for (entry, path, local) in batch.files {
            let file = match self.vault.open_file(entry.key.as_bytes(), entry.found) {
                Ok(file) => file,
                Err(failure) => {
                    self.fail(&local, failure);
                    continue;
                }
            };
            if is_same(&local, &file, self.options.compare, self.options.plan.is_none()) {
                self.meter.advance(file.info.size);
                self.meter.file_done();
                self.report.lock().unchanged += 1;
                continue;
            }
            if let Some(planner) = &self.options.plan {
                let bytes = file.info.size;
                let what = if local.symlink_metadata().is_ok() { Planned::Replace } else { Planned::New };
                self.done(bytes);
                (planner.0)(PlannedFile { path, local, what, bytes });
                continue;
            }
            if !matches!(file.manifest.content, Content::Inline(_)) {
                larger.push((file, local));
                continue;
            }
            match write_inline(&self.vault, &file, &local, self.options.sync) {
                Ok(()) => {
                    self.meter.advance(file.info.size);
                    self.done(file.info.size);
                }
                Err(failure) => self.fail(&local, failure),
            }
        }
        larger
    }

    fn done(&self, bytes: u64) {
        self.meter.file_done();
        let mut report = self.report.lock();
        report.files += 1;
        report.bytes += bytes;
    }
}

/// Writes a file whose content is at hand.
pub(super) fn write_inline(vault: &Vault, file: &OpenFile, local: &Path, sync: bool) -> Result<(), Failure> {
    use std::os::unix::ffi::OsStrExt;
    let failed = |e: std::io::Error| local_failure(local, &e);
    let Content::Inline(data) = &file.manifest.content else {
        return Err(Failure::new(Kind::Bug, "content is not at hand"));
    };
    let attributes = &file.info.attributes;
    if file.info.kind == larder_format::head::FileKind::Symlink {
        let to = Path::new(std::ffi::OsStr::from_bytes(data));
        return target::link(to, local, attributes.mtime_ns).map_err(failed);
    }
    let target = Target::create(local, None).map_err(failed)?;
    target.write_at(data, 0).map_err(failed)?;
    target.finish(data.len() as u64, attributes, sync).map(|kept| vault.xattrs_kept(kept)).map_err(failed)
}
