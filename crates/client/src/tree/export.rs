//! Everything out of the vault into plain files, so that one can leave at any time: what is there now, on request the older
//! versions, what was deleted and is still kept, or what was there at a moment. Each thing is told with all that is known
//! of it, for an index. A second run fetches what is missing only.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::head::{Attributes, DirId, EntryTarget, FileKind};
use larder_format::record::{Expiry, Version};
use larder_seal::manifest::check_chain;
use larder_seal::names::SealedKey;
use larder_seal::pipeline::Width;
use larder_wire::answer::Failure;
use tokio::task::JoinSet;

use super::get::{Mode, make_local_folder};
use crate::directory::Standing;
use crate::files::{Destination, History, at};
use crate::local::exclude::Exclude;
use crate::local::same::{Compare, is_same};
use crate::local::target;
use crate::meter::Meter;
use crate::path::VaultPath;
use crate::remote::Scan;
use crate::vault::{OpenFile, Vault, local_failure, seal_failure};

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
    below: PathBuf,
    deleted: bool,
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
        let run = Arc::new(Run { vault: self.clone(), to: to.to_path_buf(), options, meter: meter.clone() });
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
        let mut todo = vec![Todo { id, path: from.clone(), below: PathBuf::new(), deleted: false }];
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
            self.make_folders(FILES, &folder.below, Mode::Usual).map_err(Stop::Folder)?;
        }
        let mut jobs = Vec::new();
        let mut below = Vec::new();
        for (key, history) in histories {
            let Some(first) = history.kept.first() else { continue };
            let name = first.entry.name.clone();
            let path = folder.path.join(&name).map_err(Stop::Folder)?;
            let rest = folder.below.join(&name);
            let is_folder = matches!(first.entry.target, EntryTarget::Directory { .. });
            if self.options.exclude.leaves_out(&rest, is_folder) {
                report.excluded += 1;
                continue;
            }
            self.choose_files(folder, key, &history, &path, &rest, &mut jobs);
            match self.choose_folders(folder, &history, &path, &rest).await {
                Ok(chosen) => below.extend(chosen),
                Err(failure) => report.failed.push((path, failure)),
            }
        }
        let mut done = self.fetch_all(jobs, report).await;
        for (next, exported) in below.into_iter().rev() {
            if let Some(exported) = exported {
                let mode = Mode::of(&exported.attributes);
                if let Err(failure) = self.make_folders(FILES, &next.below, mode) {
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
        path: &VaultPath,
        rest: &Path,
    ) -> Result<Vec<(Todo, Option<Exported>)>, Failure> {
        let mut chosen = Vec::new();
        let below = |id, deleted| Todo { id, path: path.clone(), below: rest.to_path_buf(), deleted };
        if let Some(now) = history.current()
            && let EntryTarget::Directory { id, attributes } = &now.entry.target
        {
            let record = self.vault.folder_record(*id).await.map_err(|f| at(path, f))?;
            match Standing::of(record.as_ref().map(|(_, d)| d), folder.id, &now.entry.name) {
                Standing::Open if !folder.deleted => {
                    let exported = Exported {
                        path: path.clone(),
                        local: Path::new(FILES).join(rest),
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
                    chosen.push((below(*id, false), then.then_some(exported)));
                }
                Standing::Open | Standing::Closing => chosen.push((below(*id, true), None)),
                Standing::Elsewhere | Standing::Gone => {}
            }
        }
        if self.options.deleted {
            chosen.extend(history.folders().rev().map(|gone| (below(gone.id, true), None)));
        } else if let Some(at_ms) = self.options.at_ms {
            let there = history.folders().filter(|gone| at_ms < gone.mark.0.ms());
            chosen.extend(there.map(|gone| (below(gone.id, false), None)));
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

    /// Fetches versions side by side; those of one file one after the other.
    async fn fetch_all(self: &Arc<Self>, jobs: Vec<Job>, report: &mut ExportReport) -> Vec<Exported> {
        let mut done = Vec::with_capacity(jobs.len());
        let mut waiting = jobs.into_iter().peekable();
        let mut running = JoinSet::new();
        loop {
            while running.len() < self.vault.transfers().jobs {
                let Some(first) = waiting.next() else { break };
                let mut of_one = vec![first];
                while let Some(next) = waiting.next_if(|next| next.key == of_one[0].key) {
                    of_one.push(next);
                }
                let run = self.clone();
                running.spawn(async move { run.fetch_versions(of_one).await });
            }
            let Some(ended) = running.join_next().await else { return done };
            let results = ended.unwrap_or_else(|e| {
                vec![Err((VaultPath::default(), Failure::new(Kind::Bug, e.to_string())))]
            });
            for result in results {
                match result {
                    Ok((exported, unchanged)) => {
                        report.unchanged += u64::from(unchanged);
                        report.bytes += exported.size;
                        match (exported.deleted, exported.local.starts_with(VERSIONS)) {
                            (true, _) => report.deleted += 1,
                            (false, true) => report.versions += 1,
                            (false, false) => report.files += 1,
                        }
                        done.push(exported);
                    }
                    Err(failed) => report.failed.push(failed),
                }
            }
        }
    }

    async fn fetch_versions(&self, jobs: Vec<Job>) -> Vec<Result<(Exported, bool), (VaultPath, Failure)>> {
        let mut results = Vec::with_capacity(jobs.len());
        let mut newer: Option<OpenFile> = None;
        for job in jobs {
            let fetched = self.fetch(&job, newer.as_ref()).await;
            results.push(match fetched {
                Ok((file, unchanged)) => {
                    let exported = job.exported(&file);
                    newer = Some(file);
                    Ok((exported, unchanged))
                }
                Err(failure) => Err((job.path, failure)),
            });
        }
        results
    }

    /// Opens one version, and fetches it unless it is there.
    async fn fetch(&self, job: &Job, newer: Option<&OpenFile>) -> Result<(OpenFile, bool), Failure> {
        let vault = &self.vault;
        let gone = || Failure::new(Kind::NotFound, "was deleted for good meanwhile");
        let mut file = match job.called {
            Some(version) => vault.kept(&job.path, job.key, version).await?.ok_or_else(gone)?,
            None => {
                let found = vault.read(vault.files, job.key.as_bytes(), false).await?.ok_or_else(gone)?;
                vault.open_file(job.key.as_bytes(), found)?
            }
        };
        if let Some(newer) = newer
            && newer.manifest.previous_version == file.info.version.to_u64()
        {
            check_chain(&newer.manifest, &file.manifest, file.info.version.to_u64(), vault.root.id())
                .map_err(seal_failure)?;
        }
        if file.info.attributes.mtime_ns == 0 {
            // So that the next run knows it again.
            let ms = i64::try_from(file.info.version.0.ms()).unwrap_or(0);
            file.info.attributes.mtime_ns = ms.saturating_mul(1_000_000);
        }
        if let (Some(top), Some(parent)) = (job.local.iter().next(), job.local.parent()) {
            let below = parent.strip_prefix(top).unwrap_or(Path::new(""));
            self.make_folders(&top.to_string_lossy(), below, Mode::Usual)?;
        }
        let local = self.to.join(&job.local);
        self.meter.expect(1, file.info.size);
        let (look, compare, at) = (file.clone(), self.options.compare, local.clone());
        let same = tokio::task::spawn_blocking(move || is_same(&at, &look, compare, true)).await;
        let unchanged = same.map_err(|e| Failure::new(Kind::Bug, e.to_string()))?;
        if unchanged {
            self.meter.advance(file.info.size);
        } else {
            let destination = Destination::File { path: local, sync: false };
            vault.write_out(&file, destination, Width { workers: 2, window: 4 }, &self.meter).await?;
        }
        self.meter.file_done();
        Ok((file, unchanged))
    }
}

impl Job {
    fn exported(&self, file: &OpenFile) -> Exported {
        Exported {
            path: self.path.clone(),
            local: self.local.clone(),
            kind: Some(file.info.kind),
            version: file.info.version,
            current: self.current,
            deleted: self.deleted,
            size: file.info.size,
            content_hash: file.manifest.content_hash,
            attributes: file.info.attributes.clone(),
            expiry: file.info.expiry,
        }
    }
}
