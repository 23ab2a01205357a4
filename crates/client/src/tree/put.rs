//! A local folder into the vault. What was there already: [`mod@before`]; how folders go: [`mod@folders`]; how one file
//! goes: [`mod@one`]; what the node's answers settle: [`mod@settle`].

pub(super) mod before;
mod folders;
mod one;
mod settle;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::head::{Attributes, DirId, FileKind};
use larder_format::ids::LeaseToken;
use larder_format::limits::INLINE_FILE_LEN_MAX;
use larder_format::operation::Condition;
use larder_format::retention;
use larder_seal::names::SealedKey;
use larder_seal::pipeline::Width;
use larder_wire::answer::Failure;
use larder_wire::request::{Ask, RecordRequest};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use self::before::Before;
use super::{PutTreeOptions, SMALL_BATCH, TreeReport, jobs_at_once};
use crate::directory::Described;
use crate::files::{NewFile, PutOptions};
use crate::local::walk::{Found, Item, Rules, Walk};
use crate::local::xattrs;
use crate::meter::Meter;
use crate::path::VaultPath;
use crate::remote::ApplySender;
use crate::transfer::pass;
use crate::vault::{Vault, local_failure};

/// Found things that may wait to be dealt with.
const FOUND_QUEUED_MAX: usize = 4096;

/// A folder being filled.
struct Folder {
    id: DirId,
    path: VaultPath,
    /// What was in it before; `None` if this run made it.
    before: Option<HashMap<String, Before>>,
    /// Of folders that this run made: the request that makes their record.
    made_by: Option<u64>,
}

/// A small file or link on its way.
struct Small {
    dir: DirId,
    local: PathBuf,
    path: VaultPath,
    key: SealedKey,
    kind: FileKind,
    /// Of links: their target.
    content: Option<Bytes>,
    attributes: Attributes,
    /// The request that makes its folder, if this run does.
    folder_made_by: Option<u64>,
    /// Its content went to the node ahead of its record.
    uploaded: bool,
}

/// What is sent and not answered yet, by tag.
enum Sent {
    FolderPart {
        path: PathBuf,
        key: SealedKey,
    },
    /// Other attributes of a folder that is there.
    FolderAttributes {
        local: PathBuf,
        path: VaultPath,
        key: SealedKey,
        folder: Box<Described>,
    },
    /// The lifetime of a file of this length that is as it was stored.
    Lifetime {
        small: Box<Small>,
        len: u64,
    },
    File {
        small: Box<Small>,
        size: u64,
        /// What went to the node ahead of the record. Content that is in the record is read again should it be needed: up to
        /// 32 KiB for each file under way would be most of what a run takes.
        ahead: Option<Box<NewFile>>,
        revision: u64,
    },
}

impl Sent {
    /// What was sent, on the local side.
    fn local(&self) -> PathBuf {
        match self {
            Self::FolderPart { path: local, .. } | Self::FolderAttributes { local, .. } => local.clone(),
            Self::Lifetime { small, .. } | Self::File { small, .. } => small.local.clone(),
        }
    }
}

/// All that the workers of one run share.
struct Run {
    vault: Arc<Vault>,
    options: PutOptions,
    /// The vault's, for the lifetimes they give.
    retention: retention::Rules,
    rules: Rules,
    meter: Arc<Meter>,
    sent: Mutex<HashMap<u64, Sent>>,
    /// Told when a folder's request was answered, and that no more answers will come.
    settled: watch::Sender<bool>,
    next_tag: Mutex<u64>,
    report: Mutex<TreeReport>,
    /// Files whose content went ahead and whose name was taken meanwhile: they go the careful way.
    again: Mutex<Vec<(Small, NewFile)>>,
    /// Files that were as they were stored until somebody changed them meanwhile, and small ones whose name was taken: they
    /// are read after all, or once more.
    changed: Mutex<Vec<Small>>,
    /// Folders whose entry somebody changed meanwhile: it is looked at again.
    describe_again: Mutex<Vec<(PathBuf, VaultPath, Described)>>,
    /// New files that are in place, and the leases of their content.
    placed: Mutex<Vec<(SealedKey, LeaseToken)>>,
    /// Leases of content whose record was refused.
    unlisted: Mutex<Vec<LeaseToken>>,
}

impl Vault {
    /// One walk of [`Vault::put_tree`].
    pub(super) async fn put_tree_once(
        self: &Arc<Self>,
        local: &Path,
        remote: &VaultPath,
        options: PutTreeOptions,
        meter: &Arc<Meter>,
    ) -> Result<TreeReport, Failure> {
        let run = Arc::new(Run {
            vault: self.clone(),
            retention: self.retention_if_readable().await?,
            options: options.put,
            rules: options.rules,
            meter: meter.clone(),
            sent: Mutex::default(),
            settled: watch::Sender::new(false),
            next_tag: Mutex::new(0),
            report: Mutex::default(),
            again: Mutex::default(),
            changed: Mutex::default(),
            describe_again: Mutex::default(),
            placed: Mutex::default(),
            unlisted: Mutex::default(),
        });
        let (sender, answers) = self.remote.apply_stream().await?;
        let answering = tokio::spawn(run.clone().settle(answers));
        let walked = Filling::new(run.clone(), sender).fill(local, remote).await;
        // The sender is gone: the answers end when the last one has come.
        let broke_off = answering.await.map_err(|e| Failure::new(Kind::Bug, e.to_string()))?;
        let unknown = run.unanswered(broke_off.as_deref());
        let touched = walked?;
        run.careful_again().await;
        // Where the connection broke off, the report says already that not all is known.
        if broke_off.is_none()
            && !unknown
            && let Err(failure) = run.check_folders(touched).await
        {
            let message = format!("whether its folders are still there is not known: {}", failure.message);
            run.fail(local.to_path_buf(), Failure::new(Kind::Unknown, message));
        }
        let report = std::mem::take(&mut *run.report.lock());
        Ok(report)
    }
}

/// The coordinating side: walks, makes folders, hands files to workers.
struct Filling {
    run: Arc<Run>,
    sender: Arc<ApplySender>,
    folders: HashMap<PathBuf, Folder>,
    /// The folder that the walk is in, and those above it.
    open: Vec<PathBuf>,
    batch: Vec<Small>,
    jobs: JoinSet<()>,
    job_permits: Arc<Semaphore>,
    large_permits: Arc<Semaphore>,
}

impl Filling {
    fn new(run: Arc<Run>, sender: ApplySender) -> Self {
        let large_at_once = run.vault.transfers().jobs;
        Self {
            run,
            sender: Arc::new(sender),
            folders: HashMap::new(),
            open: Vec::new(),
            batch: Vec::new(),
            jobs: JoinSet::new(),
            job_permits: Arc::new(Semaphore::new(jobs_at_once())),
            large_permits: Arc::new(Semaphore::new(large_at_once)),
        }
    }

    /// Returns the folders that files were put in: those that were there, and those that this run made.
    async fn fill(mut self, local: &Path, remote: &VaultPath) -> Result<Vec<(DirId, VaultPath)>, Failure> {
        let (found_sender, mut found) = mpsc::channel(FOUND_QUEUED_MAX);
        let (root, meter) = (local.to_path_buf(), self.run.meter.clone());
        let rules = self.run.rules.clone();
        let walking: JoinHandle<()> = tokio::task::spawn_blocking(move || {
            for found in Walk::new(root, rules) {
                if let Found::File(item) = &found {
                    meter.expect(1, item.metadata.len());
                }
                if found_sender.blocking_send(found).is_err() {
                    return;
                }
            }
        });
        while let Some(next) = found.recv().await {
            if *self.run.settled.borrow() {
                let message = "the connection to the node broke off; the rest was not sent: put it again";
                self.run.fail(local.to_path_buf(), Failure::new(Kind::Closed, message));
                break;
            }
            match next {
                Found::Folder(item) => {
                    let at = item.path.clone();
                    if let Err(failure) = self.folder(item, remote).await {
                        if self.folders.is_empty() {
                            return Err(failure);
                        }
                        self.run.fail(at, failure);
                    }
                }
                Found::File(item) => self.file(item, None).await?,
                Found::Link(item, target) => {
                    use std::os::unix::ffi::OsStrExt;
                    let target = Bytes::copy_from_slice(target.as_os_str().as_bytes());
                    self.file(item, Some(target)).await?;
                }
                Found::Excluded => self.run.report.lock().excluded += 1,
                Found::Skipped { path, what } => self.run.report.lock().skipped.push((path, what)),
                Found::Failed { path, error } => self.run.fail(path.clone(), local_failure(&path, &error)),
            }
        }
        drop(found);
        walking.await.map_err(|e| Failure::new(Kind::Bug, e.to_string()))?;
        self.start_batch().await?;
        while let Some(job) = self.jobs.join_next().await {
            job.map_err(|e| Failure::new(Kind::Bug, e.to_string()))?;
        }
        Ok(self.folders.into_values().map(|f| (f.id, f.path)).collect())
    }

    async fn file(&mut self, item: Item, link: Option<Bytes>) -> Result<(), Failure> {
        let Some((folder, name)) = self.place(&item) else {
            self.run.meter.file_done();
            return Ok(());
        };
        let (name, path) = match name.and_then(|name| folder.path.join(&name).map(|path| (name, path))) {
            Ok(both) => both,
            Err(failure) => {
                self.run.fail(item.path, failure);
                return Ok(());
            }
        };
        let mut attributes = Attributes {
            mode: item.mode(),
            mtime_ns: item.mtime_ns(),
            ..self.run.options.attributes.clone()
        };
        if link.is_none() {
            self.run.add_xattrs(&item.path, &mut attributes);
        }
        let len = link.as_ref().map_or(item.metadata.len(), |t| t.len() as u64);
        let before = folder.before.as_ref().and_then(|b| b.get(&name));
        // Length and time do not tell whether what is stored can still be read: by force it is stored anew.
        let same = before.filter(|b| !self.run.options.force && b.is_same(len, &attributes, link.is_some()));
        let lifetime = self.run.lifetime(&path);
        if same.is_some_and(|b| !b.ends_otherwise(lifetime)) {
            self.run.unchanged(len);
            return Ok(());
        }
        let key = self.run.vault.names.entry_key(folder.id, &name);
        let kind = if link.is_some() { FileKind::Symlink } else { FileKind::File };
        let folder_made_by = folder.made_by;
        let small = Small {
            dir: folder.id,
            local: item.path,
            path,
            key,
            kind,
            content: link,
            attributes,
            folder_made_by,
            uploaded: false,
        };
        if let Some(same) = same {
            let ask = Ask::Touch { condition: Condition::Version(same.version()), lifetime };
            let request = self.run.vault.request(self.run.vault.files, key.as_bytes(), ask)?;
            let sent = Sent::Lifetime { small: Box::new(small), len };
            let local = sent.local();
            if let Err(failure) = self.run.send(&self.sender, sent, request).await {
                self.run.fail(local, failure);
            }
            return Ok(());
        }
        if before.is_some() || len > INLINE_FILE_LEN_MAX as u64 {
            let is_new = before.is_none();
            return self.start_large(small, is_new).await;
        }
        self.batch.push(small);
        if self.batch.len() >= SMALL_BATCH { self.start_batch().await } else { Ok(()) }
    }

    /// Seals a batch of small files on a thread of its own and sends what comes out.
    async fn start_batch(&mut self) -> Result<(), Failure> {
        let batch = std::mem::take(&mut self.batch);
        let permit = acquire(&self.job_permits).await?;
        let (run, sender) = (self.run.clone(), self.sender.clone());
        self.jobs.spawn(async move {
            let sealing = run.clone();
            let work = tokio::task::spawn_blocking(move || sealing.seal_batch(batch));
            match work.await {
                Ok(sealed) => {
                    for (sent, request) in sealed {
                        let local = sent.local();
                        if let Err(failure) = run.send(&sender, sent, request).await {
                            run.fail(local, failure);
                        }
                    }
                }
                Err(error) => run.fail(PathBuf::new(), Failure::new(Kind::Bug, error.to_string())),
            }
            drop(permit);
        });
        Ok(())
    }

    /// Stores one file beside others: a new one's content first and its record with the stream, another the
    /// careful way.
    async fn start_large(&mut self, file: Small, is_new: bool) -> Result<(), Failure> {
        let permit = acquire(&self.large_permits).await?;
        let (run, sender) = (self.run.clone(), self.sender.clone());
        self.jobs.spawn(async move {
            let mut options = run.options.clone();
            if file.attributes.mode != 0 && several_at_once(&file.local) {
                options.content.width = Width { workers: 1, window: 2 };
            }
            let local = file.local.clone();
            let put = match is_new {
                true => run.put_new(file, &options, &sender).await,
                false => run.put_large(&file, &options).await,
            };
            if let Err(failure) = put {
                run.fail(local, failure);
            }
            drop(permit);
        });
        Ok(())
    }
}

/// Files below this length are sealed by one thread each: several are under way at once anyway.
const ONE_THREAD_BYTES_MAX: u64 = 16 * 1024 * 1024;

fn several_at_once(local: &Path) -> bool {
    std::fs::symlink_metadata(local).is_ok_and(|m| m.len() < ONE_THREAD_BYTES_MAX)
}

async fn acquire(permits: &Arc<Semaphore>) -> Result<tokio::sync::OwnedSemaphorePermit, Failure> {
    permits.clone().acquire_owned().await.map_err(|e| Failure::new(Kind::Bug, e.to_string()))
}

impl Run {
    fn fail(&self, path: PathBuf, failure: Failure) {
        self.report.lock().failed.push((path, failure));
    }

    async fn send(
        &self,
        sender: &ApplySender,
        sent: Sent,
        mut request: RecordRequest,
    ) -> Result<u64, Failure> {
        let tag = {
            let mut next = self.next_tag.lock();
            *next += 1;
            *next
        };
        request.tag = tag;
        if let Ask::Put(put) = &request.ask {
            pass(self.vault.transfers().up.as_ref(), (put.head.len() + put.body.len()) as u64).await;
        }
        self.sent.lock().insert(tag, sent);
        sender.send(request).await.inspect_err(|_| {
            // It never left.
            self.sent.lock().remove(&tag);
        })?;
        Ok(tag)
    }

    /// Adds what a file or folder has of extended attributes. That some do not fit is said once.
    fn add_xattrs(&self, local: &Path, attributes: &mut Attributes) {
        let found = xattrs::read_path(local);
        xattrs::put_among(attributes, &found);
        let what = "some extended attributes here and perhaps in other places: a thing keeps 32 of them, of 2048 bytes in all";
        let mut report = self.report.lock();
        if found.left_out && !report.skipped.iter().any(|(_, why)| *why == what) {
            report.skipped.push((local.to_path_buf(), what));
        }
    }

    /// A file was left as it is.
    fn unchanged(&self, len: u64) {
        self.meter.advance(len);
        self.meter.file_done();
        self.report.lock().unchanged += 1;
    }

    /// A file is stored. Bytes that were counted while they were uploaded are not counted again.
    fn stored(&self, small: &Small, bytes: u64) {
        if !small.uploaded {
            self.meter.advance(bytes);
            self.meter.sent(bytes);
        }
        self.done(bytes);
    }

    fn done(&self, bytes: u64) {
        self.meter.file_done();
        let mut report = self.report.lock();
        report.files += 1;
        report.bytes += bytes;
    }
}
