//! The files of an export on their way: records are asked for in one stream a batch, small files opened and written on one
//! thread; larger ones follow. Several batches are under way side by side, and no more than that is in memory.

use std::path::Path;
use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::manifest::Content;
use larder_format::operation::{Found, Outcome};
use larder_seal::manifest::check_chain;
use larder_seal::names::SealedKey;
use larder_seal::pipeline::Width;
use larder_wire::answer::Failure;
use larder_wire::request::Ask;
use tokio::task::JoinSet;

use super::{ExportReport, Exported, Job, Run, VERSIONS};
use crate::files::Destination;
use crate::local::same::is_same;
use crate::path::VaultPath;
use crate::transfer::pass;
use crate::tree::get::{Mode, write_inline};
use crate::tree::{SMALL_BATCH, jobs_at_once};
use crate::vault::{OpenFile, Vault, seal_failure, unexpected};

/// What became of a job: whether it was there already, or why it is missing.
type Fetched = Result<(Exported, bool), (VaultPath, Failure)>;

/// A file whose record is open and whose content is in blobs.
type Larger = (Job, OpenFile);

/// The file that was opened last, against which an older version of it is checked.
type Newer = Option<(SealedKey, OpenFile)>;

/// What became of a batch so far.
struct Opened {
    done: Vec<Fetched>,
    larger: Vec<Larger>,
    newer: Newer,
}

impl Vault {
    /// Reads records in one stream. Where that breaks off, the rest one by one, with the usual patience.
    async fn read_records(&self, keys: &[Vec<u8>]) -> Vec<Result<Option<Found>, Failure>> {
        let mut found = Vec::with_capacity(keys.len());
        // Why it broke off comes up again below.
        let _ = self.read_stream(keys, &mut found).await;
        while let Some(key) = keys.get(found.len()) {
            found.push(self.read(self.files, key, false).await);
        }
        found
    }

    async fn read_stream(
        &self,
        keys: &[Vec<u8>],
        found: &mut Vec<Result<Option<Found>, Failure>>,
    ) -> Result<(), Failure> {
        let (sender, mut answers) = self.remote.apply_stream().await?;
        // A batch is shorter than what may be under way: sending waits for no answer.
        for key in keys {
            sender.send(self.request(self.files, key, Ask::Get { head_only: false })?).await?;
        }
        drop(sender);
        while found.len() < keys.len() {
            let Some((_, answer)) = answers.next().await? else { return Ok(()) };
            found.push(match answer {
                Ok(Outcome::Found(record)) => Ok(Some(record)),
                Ok(Outcome::Absent) => Ok(None),
                Ok(other) => Err(unexpected(&other)),
                Err(failure) if failure.kind == Kind::Closed => return Err(failure),
                Err(failure) => Err(failure),
            });
        }
        Ok(())
    }
}

impl Run {
    /// Fetches versions side by side; those of one file one after the other.
    pub(super) async fn fetch_all(
        self: &Arc<Self>,
        jobs: Vec<Job>,
        report: &mut ExportReport,
    ) -> Vec<Exported> {
        let mut done = Vec::with_capacity(jobs.len());
        let mut waiting = jobs.into_iter().peekable();
        let mut running = JoinSet::new();
        loop {
            while running.len() < jobs_at_once() {
                let Some(first) = waiting.next() else { break };
                let mut batch = vec![first];
                while let Some(last) = batch.last().map(|last| last.key)
                    && let Some(next) = waiting.next_if(|next| batch.len() < SMALL_BATCH || next.key == last)
                {
                    batch.push(next);
                }
                let run = self.clone();
                running.spawn(async move { run.fetch_batch(batch).await });
            }
            let Some(ended) = running.join_next().await else { return done };
            let results = ended.unwrap_or_else(|e| vec![Err(defect(&e))]);
            for result in results {
                match result {
                    Ok((exported, unchanged)) => {
                        report.count(&exported, unchanged);
                        done.push(exported);
                    }
                    Err(failed) => report.failed.push(failed),
                }
            }
        }
    }

    /// Fetches a batch; of a file with many versions so many at a time.
    async fn fetch_batch(self: Arc<Self>, jobs: Vec<Job>) -> Vec<Fetched> {
        let mut results = Vec::with_capacity(jobs.len());
        let (mut rest, mut newer) = (jobs, None);
        while !rest.is_empty() {
            let later = rest.split_off(rest.len().min(SMALL_BATCH));
            let some = std::mem::replace(&mut rest, later);
            let keys: Vec<Vec<u8>> = some.iter().map(Job::record).collect();
            let found = self.vault.read_records(&keys).await;
            let bytes = found.iter().flatten().flatten().map(|found| found.body.len() as u64).sum();
            self.meter.fetched(bytes);
            pass(self.vault.transfers().down.as_ref(), bytes).await;
            let (run, before) = (self.clone(), newer.take());
            let opening = tokio::task::spawn_blocking(move || run.open_all(some, found, before)).await;
            match opening {
                Ok(opened) => {
                    results.extend(opened.done);
                    newer = opened.newer;
                    results.extend(self.fetch_larger(opened.larger).await);
                }
                Err(error) => results.push(Err(defect(&error))),
            }
        }
        results
    }

    /// Opens records, and writes those files whose content is in them.
    fn open_all(&self, jobs: Vec<Job>, found: Vec<Result<Option<Found>, Failure>>, newer: Newer) -> Opened {
        let mut opened = Opened { done: Vec::with_capacity(jobs.len()), larger: Vec::new(), newer };
        for (job, found) in jobs.into_iter().zip(found) {
            let after = opened.newer.take().filter(|(key, _)| *key == job.key);
            let file = match self.open(&job, found, after.as_ref().map(|(_, file)| file)) {
                Ok(file) => file,
                Err(failure) => {
                    // An older one than that is checked against what is known to be right.
                    opened.newer = after;
                    opened.done.push(Err((job.path, failure)));
                    continue;
                }
            };
            opened.newer = Some((job.key, file.clone()));
            match self.write_small(&job, &file) {
                Ok(Some(unchanged)) => opened.done.push(Ok((job.exported(&file), unchanged))),
                Ok(None) => opened.larger.push((job, file)),
                Err(failure) => opened.done.push(Err((job.path, failure))),
            }
        }
        opened
    }

    fn open(
        &self,
        job: &Job,
        found: Result<Option<Found>, Failure>,
        newer: Option<&OpenFile>,
    ) -> Result<OpenFile, Failure> {
        let vault = &self.vault;
        let gone = || Failure::new(Kind::NotFound, "was deleted for good meanwhile");
        let mut file = match job.called {
            Some(version) => {
                let found = found.map_err(|f| crate::files::damaged(&job.path, f))?.ok_or_else(gone)?;
                vault.open_kept(&job.path, job.key, version, found)?
            }
            None => vault.open_file(job.key.as_bytes(), found?.ok_or_else(gone)?)?,
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
        Ok(file)
    }

    /// Writes a file whose content is at hand. Answers whether it was there already; `None`: its content is to be fetched.
    fn write_small(&self, job: &Job, file: &OpenFile) -> Result<Option<bool>, Failure> {
        if let (Some(top), Some(parent)) = (job.local.iter().next(), job.local.parent()) {
            let below = parent.strip_prefix(top).unwrap_or(Path::new(""));
            self.make_folders(&top.to_string_lossy(), below, Mode::Usual)?;
        }
        let local = self.to.join(&job.local);
        self.meter.expect(1, file.info.size);
        let unchanged = is_same(&local, file, self.options.compare, true);
        if !unchanged {
            if !matches!(file.manifest.content, Content::Inline(_)) {
                return Ok(None);
            }
            write_inline(&self.vault, file, &local, false)?;
        }
        self.meter.advance(file.info.size);
        self.meter.file_done();
        Ok(Some(unchanged))
    }

    async fn fetch_larger(self: &Arc<Self>, larger: Vec<Larger>) -> Vec<Fetched> {
        let mut results = Vec::with_capacity(larger.len());
        let mut fetching = JoinSet::new();
        for (job, file) in larger {
            let Ok(permit) = self.large_permits.clone().acquire_owned().await else { return results };
            let run = self.clone();
            fetching.spawn(async move {
                let destination = Destination::File { path: run.to.join(&job.local), sync: false };
                let width = Width { workers: 2, window: 4 };
                let written = run.vault.write_out(&file, destination, width, &run.meter).await;
                drop(permit);
                match written {
                    Ok(()) => {
                        run.meter.file_done();
                        Ok((job.exported(&file), false))
                    }
                    Err(failure) => Err((job.path, failure)),
                }
            });
        }
        while let Some(ended) = fetching.join_next().await {
            results.push(ended.unwrap_or_else(|error| Err(defect(&error))));
        }
        results
    }
}

fn defect(error: &tokio::task::JoinError) -> (VaultPath, Failure) {
    (VaultPath::default(), Failure::new(Kind::Bug, error.to_string()))
}

impl ExportReport {
    fn count(&mut self, exported: &Exported, unchanged: bool) {
        self.unchanged += u64::from(unchanged);
        self.bytes += exported.size;
        match (exported.deleted, exported.local.starts_with(VERSIONS)) {
            (true, _) => self.deleted += 1,
            (false, true) => self.versions += 1,
            (false, false) => self.files += 1,
        }
    }
}

impl Job {
    /// The key of its record.
    fn record(&self) -> Vec<u8> {
        match self.called {
            Some(version) => self.key.version_key(version).to_vec(),
            None => self.key.as_bytes().to_vec(),
        }
    }

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
