//! Everything out of the vault into plain files, so that one can leave at any time: what is there now, on request the older
//! versions, what was deleted and is still kept, or what was there at a moment. Each thing is told with all that is known
//! of it, for an index. A second run fetches what is missing only.

mod fetch;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::head::{Attributes, DirId, EntryTarget, FileKind};
use larder_format::record::{Expiry, Version};
use larder_seal::names::SealedKey;
use larder_wire::answer::Failure;
use tokio::sync::Semaphore;

use super::get::{Mode, make_local_folder};
use crate::directory::Standing;
use crate::files::{History, at};
use crate::local::exclude::Exclude;
use crate::local::same::Compare;
use crate::local::target;
use crate::meter::Meter;
use crate::path::VaultPath;
use crate::remote::Scan;
use crate::vault::{Vault, local_failure};

/// Folders of an export: what is there, older versions, what was deleted.
const FILES: &str = "files";
const VERSIONS: &str = "versions";
const DELETED: &str = "deleted";

/// What to export.
#[derive(Debug, Clone, Default)]
pub struct ExportOptions {
    /// Older versions too.
    pub versions: bool,
    /// What was deleted and is still kept, too.
    pub deleted: bool,
    /// What was there at this moment of the node's time, in milliseconds since 1970, as far as it is still kept; instead
    /// of what is there now.
    pub at_ms: Option<u64>,
    /// What is left out.
    pub exclude: Exclude,
    /// By what a file of an earlier export counts as unchanged.
    pub compare: Compare,
}

/// One thing that is in the export.
#[derive(Debug, Clone)]
pub struct Exported {
    /// Where it is or was in the vault.
    pub path: VaultPath,
    /// Where it is in the export, below its folder.
    pub local: PathBuf,
    /// `None`: a folder.
    pub kind: Option<FileKind>,
    /// Which version.
    pub version: Version,
    /// Whether it is what the path shows now.
    pub current: bool,
    /// Whether it was deleted, itself or with a folder.
    pub deleted: bool,
    /// Length, in bytes.
    pub size: u64,
    /// BLAKE3 of the content; of folders zeros.
    pub content_hash: [u8; 32],
    /// Mode, time, type, custom attributes.
    pub attributes: Attributes,
    /// Until when the vault keeps it.
    pub expiry: Expiry,
}

/// What an export came to.
#[derive(Debug, Default)]
pub struct ExportReport {
    /// Files and links that are there, current ones (or those of the moment asked for).
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Older versions.
    pub versions: u64,
    /// Versions of deleted files.
    pub deleted: u64,
    /// Bytes of content of all these.
    pub bytes: u64,
    /// Of all these, what was there from an earlier export.
    pub unchanged: u64,
    /// What was to be left out.
    pub excluded: u64,
    /// What is missing, and why.
    pub failed: Vec<(VaultPath, Failure)>,
}

/// A folder of the vault still to be exported.
struct Todo {
    id: DirId,
    path: VaultPath,
    /// Its path below the folder that is exported.
    below: PathBuf,
    /// The same in the export, where a former folder has another name if a file was deleted that had its own.
    local: PathBuf,
    deleted: bool,
}

/// A name in a folder.
struct Name {
    path: VaultPath,
    below: PathBuf,
    local: PathBuf,
    /// What was deleted of a file of that name is in the export, too.
    beside: bool,
}

impl Name {
    fn folder(&self, id: DirId) -> Todo {
        Todo {
            id,
            path: self.path.clone(),
            below: self.below.clone(),
            local: self.local.clone(),
            deleted: false,
        }
    }

    /// A folder that was deleted, called by the version that closed it. Where the versions of a deleted file are in a folder
    /// of its name, what was in it must not be among them: a file in it may be called like one.
    fn former(&self, id: DirId, mark: Version) -> Todo {
        let mut todo = Todo { deleted: true, ..self.folder(id) };
        if self.beside
            && let Some(name) = self.local.file_name()
        {
            todo.local = self.local.with_file_name(format!("{}.folder-{mark}", name.to_string_lossy()));
        }
        todo
    }
}

/// A version of a file to be exported.
struct Job {
    key: SealedKey,
    path: VaultPath,
    local: PathBuf,
    /// `None`: the current one.
    called: Option<Version>,
    current: bool,
    deleted: bool,
}

/// One export under way.
struct Run {
    vault: Arc<Vault>,
    to: PathBuf,
    options: ExportOptions,
    meter: Arc<Meter>,
    /// For files whose content is not in their record.
    large_permits: Arc<Semaphore>,
}

impl Vault {
    /// Exports a folder of the vault to a local folder. `each` gets everything that is in the export, folder by folder.
    ///
    /// # Errors
    /// [`Failure`] if nothing could be done, or `each` fails. What is missing is in the report.
    pub async fn export(
        self: &Arc<Self>,
        from: &VaultPath,
        to: &Path,
        options: ExportOptions,
        meter: &Arc<Meter>,
        mut each: impl FnMut(&Exported) -> Result<(), Failure>,
    ) -> Result<ExportReport, Failure> {
        let with_deleted = options.deleted || options.at_ms.is_some();
        let id = match self.folder(from).await {
            Err(failure) if failure.kind == Kind::NotFound && with_deleted => self.trail(from).await?.dir,
            id => id?,
        };
        let large_permits = Arc::new(Semaphore::new(self.transfers().jobs));
        let (vault, to_here) = (self.clone(), to.to_path_buf());
        let run = Arc::new(Run { vault, to: to_here, options, meter: meter.clone(), large_permits });
        for name in [FILES, VERSIONS, DELETED] {
            if name == FILES
                || (name == VERSIONS && run.options.versions)
                || (name == DELETED && run.options.deleted)
            {
                // What was set aside or deleted gets no folders with modes of their own: all of it is for the owner.
                let mode = if name == FILES { Mode::Usual } else { Mode::Private };
                make_local_folder(&to.join(name), mode)?;
            }
        }
        let mut report = ExportReport::default();
        let (below, local) = (PathBuf::new(), PathBuf::new());
        let mut todo = vec![Todo { id, path: from.clone(), below, local, deleted: false }];
        let mut seen = HashSet::new();
        let mut folders: Vec<(PathBuf, Attributes)> = Vec::new();
        while let Some(folder) = todo.pop() {
            if !seen.insert(folder.id) {
                continue;
            }
            match run.folder(&folder, &mut todo, &mut folders, &mut report, &mut each).await {
                Ok(()) => {}
                Err(Stop::Folder(failure)) => report.failed.push((folder.path.clone(), failure)),
                Err(Stop::All(failure)) => return Err(failure),
            }
        }
        for (local, attributes) in folders.iter().rev().filter(|(local, _)| local.is_dir()) {
            if let Err(error) = target::finish_folder(local, attributes).map(|kept| self.xattrs_kept(kept)) {
                report.failed.push((from.clone(), local_failure(local, &error)));
            }
        }
        Ok(report)
    }
}

/// Why it does not go on: with a folder, or at all.
enum Stop {
    Folder(Failure),
    All(Failure),
}

impl Run {
    async fn folder(
        self: &Arc<Self>,
        folder: &Todo,
        todo: &mut Vec<Todo>,
        folders: &mut Vec<(PathBuf, Attributes)>,
        report: &mut ExportReport,
        each: &mut impl FnMut(&Exported) -> Result<(), Failure>,
    ) -> Result<(), Stop> {
        let histories = self.read(folder, report).await.map_err(Stop::Folder)?;
        // Of a moment, the folders that something was in.
        if !folder.deleted && self.options.at_ms.is_none() {
            self.make_folders(FILES, &folder.local, Mode::Usual).map_err(Stop::Folder)?;
        }
        let mut jobs = Vec::new();
        let mut below = Vec::new();
        for (key, history) in histories {
            let Some(first) = history.kept.first() else { continue };
            let name = first.entry.name.clone();
            let path = folder.path.join(&name).map_err(Stop::Folder)?;
            let rest = folder.below.join(&name);
            let local = folder.local.join(&name);
            let is_folder = matches!(first.entry.target, EntryTarget::Directory { .. });
            if self.options.exclude.leaves_out(&rest, is_folder) {
                report.excluded += 1;
                continue;
            }
            let chosen = jobs.len();
            self.choose_files(folder, key, &history, &path, &local, &mut jobs);
            let beside = jobs[chosen..].iter().any(|job| job.local.starts_with(DELETED));
            let name = Name { path: path.clone(), below: rest, local, beside };
            match self.choose_folders(folder, &history, &name).await {
                Ok(chosen) => below.extend(chosen),
                Err(failure) => report.failed.push((path, failure)),
            }
        }
        let mut done = self.fetch_all(jobs, report).await;
        for (next, exported) in below.into_iter().rev() {
            if let Some(exported) = exported {
                let mode = Mode::of(&exported.attributes);
                if let Err(failure) = self.make_folders(FILES, &next.local, mode) {
                    report.failed.push((next.path, failure));
                    continue;
                }
                folders.push((self.to.join(&exported.local), exported.attributes.clone()));
                report.folders += 1;
                done.push(exported);
            }
            todo.push(next);
        }
        done.sort_by(|a, b| a.path.cmp(&b.path).then(b.version.cmp(&a.version)));
        done.iter().try_for_each(each).map_err(Stop::All)
    }

    /// All that lies under a folder's key, by entry.
    async fn read(
        &self,
        folder: &Todo,
        report: &mut ExportReport,
    ) -> Result<Vec<(SealedKey, History)>, Failure> {
        let vault = &self.vault;
        let own = vault.names.directory_key(folder.id);
        let mut names: BTreeMap<Vec<u8>, (SealedKey, History)> = BTreeMap::new();
        let mut damaged = 0;
        let mut pages =
            vault.remote.scan(Scan::heads(vault.files, &vault.names.dir_prefix(folder.id))).await?;
        while let Some(page) = pages.next().await? {
            damaged += page.damaged.len();
            for (record, found) in page.records {
                let Some((key, _)) = SealedKey::parse(record.as_bytes()) else { continue };
                if key == own {
                    continue;
                }
                let (_, history) =
                    names.entry(key.as_bytes().to_vec()).or_insert_with(|| (key, History::default()));
                history.add(vault, record, found)?;
                damaged += std::mem::take(&mut history.unreadable).len();
            }
        }
        if damaged > 0 {
            let message = format!("has entries that cannot be read count={damaged}");
            report.failed.push((folder.path.clone(), Failure::new(Kind::Damaged, message)));
        }
        let mut all: Vec<_> = names.into_values().collect();
        all.iter_mut().for_each(|(_, history)| history.kept.sort_by_key(|k| k.called));
        Ok(all)
    }

    /// Which versions of a file go where; newest first, so that each is checked against the one after it.
    fn choose_files(
        &self,
        folder: &Todo,
        key: SealedKey,
        history: &History,
        path: &VaultPath,
        rest: &Path,
        jobs: &mut Vec<Job>,
    ) {
        let current = history.current().filter(|now| now.is_file());
        let job = |called: Option<Version>, local: PathBuf, deleted: bool| Job {
            key,
            path: path.clone(),
            local,
            called,
            current: called.is_none() && !folder.deleted,
            deleted,
        };
        if let Some(at_ms) = self.options.at_ms {
            let there_now = current.filter(|now| now.found.version.0.ms() <= at_ms);
            let before = history.files().rev().find(|(version, _)| version.0.ms() <= at_ms);
            // A version that is not there any more was until it was set aside.
            let there = match (there_now, before) {
                (Some(_), _) => Some(None),
                (None, Some((version, kept))) => (at_ms < kept.found.version.0.ms()).then_some(Some(version)),
                (None, None) => None,
            };
            if let Some(called) = there {
                jobs.push(job(called, Path::new(FILES).join(rest), false));
            }
            return;
        }
        let gone = current.is_none() || folder.deleted;
        if current.is_some() {
            match folder.deleted {
                false => jobs.push(job(None, Path::new(FILES).join(rest), false)),
                true if self.options.deleted => {
                    jobs.push(job(None, Path::new(DELETED).join(rest).join("current"), true));
                }
                true => {}
            }
        }
        let wanted = if gone { self.options.deleted } else { self.options.versions };
        let top = if gone { DELETED } else { VERSIONS };
        let shown = current.map(|now| now.found.version);
        let older = history.files().rev().filter(|(version, _)| wanted && shown != Some(*version));
        // Of what was deleted, the last version; the others are older versions.
        let most = if gone && !self.options.versions { 1 } else { usize::MAX };
        for (version, _) in older.take(most) {
            jobs.push(job(Some(version), Path::new(top).join(rest).join(version.to_string()), gone));
        }
    }

    /// Which folders of this name are gone into, and which of them is itself in the export.
    async fn choose_folders(
        &self,
        folder: &Todo,
        history: &History,
        name: &Name,
    ) -> Result<Vec<(Todo, Option<Exported>)>, Failure> {
        let mut chosen = Vec::new();
        if let Some(now) = history.current()
            && let EntryTarget::Directory { id, attributes } = &now.entry.target
        {
            let record = self.vault.folder_record(*id).await.map_err(|f| at(&name.path, f))?;
            match Standing::of(record.as_ref().map(|(_, d)| d), folder.id, &now.entry.name) {
                Standing::Open if !folder.deleted => {
                    let exported = Exported {
                        path: name.path.clone(),
                        local: Path::new(FILES).join(&name.local),
                        kind: None,
                        version: now.found.version,
                        current: true,
                        deleted: false,
                        size: 0,
                        content_hash: [0; 32],
                        attributes: attributes.clone(),
                        expiry: now.found.expiry,
                    };
                    let then = self.options.at_ms.is_none_or(|at_ms| now.found.version.0.ms() <= at_ms);
                    chosen.push((name.folder(*id), then.then_some(exported)));
                }
                Standing::Open | Standing::Closing => {
                    chosen.push((name.former(*id, now.found.version), None));
                }
                Standing::Elsewhere | Standing::Gone => {}
            }
        }
        if self.options.deleted {
            chosen.extend(history.folders().rev().map(|gone| (name.former(gone.id, gone.mark), None)));
        } else if let Some(at_ms) = self.options.at_ms {
            let there = history.folders().filter(|gone| at_ms < gone.mark.0.ms());
            chosen.extend(there.map(|gone| (name.folder(gone.id), None)));
        }
        Ok(chosen)
    }

    /// Makes the folders from one of the export's own down; never through a link. What becomes of the last one's mode is
    /// said; those above it are there already, or get none.
    fn make_folders(&self, top: &str, below: &Path, mode: Mode) -> Result<(), Failure> {
        let mut at = self.to.join(top);
        let mut names = below.components().peekable();
        while let Some(name) = names.next() {
            at.push(name);
            make_local_folder(&at, if names.peek().is_none() { mode } else { Mode::Usual })?;
        }
        Ok(())
    }
}
