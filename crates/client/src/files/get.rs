//! Reading one file back, whole and verified, in constant memory.

use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::head::{DirId, FileKind};
use larder_format::manifest::{Content, Manifest, Statement};
use larder_format::pages::ChunkEntry;
use larder_format::record::Version;
use larder_seal::keys::PublicKey;
use larder_seal::manifest::{check_chain, verify_statement};
use larder_seal::names::SealedKey;
use larder_seal::pipeline::Width;
use larder_seal::pipeline::open::{OpenJob, Reading, SupplyError, open_stream};
use larder_seal::tree::{Step, TreeWalker};
use larder_wire::answer::Failure;
use tokio::sync::mpsc;

use super::content::pipeline_failure;
use super::damage::damaged;
use crate::local::target::{self, Target};
use crate::meter::Meter;
use crate::path::VaultPath;
use crate::remote::{BlobAsker, Blobs, Remote};
use crate::vault::{OpenFile, Vault, local_failure, seal_failure};

/// Chunks asked for ahead of the one being opened: the node reads them while others travel.
const ASK_AHEAD: usize = 4;

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
        meter.expect(1, file.info.size);
        let written = self.write_out(&file, destination, Width::default(), meter).await;
        written.map_err(|failure| damaged(path, failure))?;
        meter.file_done();
        Ok(GetReport {
            kind: file.info.kind,
            version: file.info.version,
            size: file.info.size,
            content_hash: file.manifest.content_hash,
        })
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
    async fn kept(
        &self,
        path: &VaultPath,
        key: SealedKey,
        version: Version,
    ) -> Result<Option<OpenFile>, Failure> {
        let version_key = key.version_key(version);
        let found = self.read(self.files, &version_key, false).await.map_err(|f| damaged(path, f))?;
        let Some(mut found) = found else { return Ok(None) };
        // What counts is the version it had as the file, not the one its copy was written with.
        found.version = version;
        let file = self.open_file(&version_key, found).map_err(|f| damaged(path, f))?;
        self.check_kept(key, &file).map_err(|f| damaged(path, f))?;
        Ok(Some(file))
    }

    /// Writes a file's content out.
    pub(crate) async fn write_out(
        &self,
        file: &OpenFile,
        destination: Destination,
        width: Width,
        meter: &Arc<Meter>,
    ) -> Result<(), Failure> {
        match self.write_to(file, destination, width, meter).await {
            Err(failure) => Err(self.why_unreadable(file, failure).await),
            written => written,
        }
    }

    async fn write_to(
        &self,
        file: &OpenFile,
        destination: Destination,
        width: Width,
        meter: &Arc<Meter>,
    ) -> Result<(), Failure> {
        let (mode, mtime_ns) = (file.info.attributes.mode, file.info.attributes.mtime_ns);
        match destination {
            Destination::Stream(out) => {
                let mut out = out;
                let write = move |_, bytes: &[u8]| out.write_all(bytes).and_then(|()| out.flush());
                self.read_content(&file.manifest, PathBuf::from("output"), write, width, meter).await
            }
            Destination::File { path, .. } if file.info.kind == FileKind::Symlink => {
                let Content::Inline(target_path) = &file.manifest.content else {
                    return Err(Failure::new(Kind::Invalid, "link target too long"));
                };
                use std::os::unix::ffi::OsStrExt;
                let to = Path::new(std::ffi::OsStr::from_bytes(target_path));
                target::link(to, &path).map_err(|e| local_failure(&path, &e))
            }
            Destination::File { path, sync } => {
                let target = Arc::new(Target::create(&path).map_err(|e| local_failure(&path, &e))?);
                let writer = target.clone();
                let write = move |offset, bytes: &[u8]| writer.write_at(bytes, offset);
                self.read_content(&file.manifest, path.clone(), write, width, meter).await?;
                let target = Arc::into_inner(target)
                    .ok_or_else(|| Failure::new(Kind::Bug, "a writer outlived its file"))?;
                let size = file.info.size;
                tokio::task::spawn_blocking(move || {
                    target.finish(size, mode, mtime_ns, sync).map_err(|e| local_failure(&path, &e))
                })
                .await
                .map_err(|e| Failure::new(Kind::Bug, e.to_string()))?
            }
        }
    }

    /// Fetches, opens and verifies all content, handing it in order to `write` on a thread of its own. `place`
    /// is what it writes to, for messages.
    async fn read_content(
        &self,
        manifest: &Manifest,
        place: PathBuf,
        mut write: impl FnMut(u64, &[u8]) -> std::io::Result<()> + Send + 'static,
        width: Width,
        meter: &Arc<Meter>,
    ) -> Result<(), Failure> {
        let writing = move |e: std::io::Error| local_failure(&place, &e);
        if let Content::Inline(data) = &manifest.content {
            meter.advance(data.len() as u64);
            let data = data.clone();
            return tokio::task::spawn_blocking(move || write(0, &data).map_err(&writing))
                .await
                .map_err(|e| Failure::new(Kind::Bug, e.to_string()))?;
        }
        let walker = TreeWalker::new(self.blobs.opener(), manifest, 0..manifest.size);
        let jobs = fetch(self.remote.clone(), walker).await?;
        let (opener, reading, meter) = (self.blobs.opener(), Reading::whole(manifest), meter.clone());
        tokio::task::spawn_blocking(move || {
            for opened in open_stream(opener, Jobs(jobs), reading, width).map_err(pipeline_failure)? {
                let chunk = opened.map_err(pipeline_failure)?;
                write(chunk.offset, &chunk.bytes).map_err(&writing)?;
                meter.advance(chunk.bytes.len() as u64);
            }
            Ok(())
        })
        .await
        .map_err(|e| Failure::new(Kind::Bug, e.to_string()))?
    }

    /// Reads a range of a file into memory.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if the range is beyond the file's end; as [`Vault::get_file`].
    #[allow(clippy::missing_panics_doc, reason = "offsets were checked against a length in memory")]
    pub async fn read_range(&self, file: &OpenFile, range: Range<u64>) -> Result<Bytes, Failure> {
        if range.start > range.end || range.end > file.info.size {
            let message = format!(
                "range is beyond the file start={} end={} size={}",
                range.start, range.end, file.info.size
            );
            return Err(Failure::new(Kind::Invalid, message));
        }
        if let Content::Inline(data) = &file.manifest.content {
            let at = |n: u64| usize::try_from(n).expect("inline content is small");
            return Ok(data.slice(at(range.start)..at(range.end)));
        }
        let walker = TreeWalker::new(self.blobs.opener(), &file.manifest, range.clone());
        let jobs = fetch(self.remote.clone(), walker).await?;
        let opener = self.blobs.opener();
        tokio::task::spawn_blocking(move || {
            let mut out = Vec::new();
            for opened in
                open_stream(opener, Jobs(jobs), Reading::Part, Width::default()).map_err(pipeline_failure)?
            {
                let chunk = opened.map_err(pipeline_failure)?;
                let begin = range.start.saturating_sub(chunk.offset);
                let end = (range.end - chunk.offset).min(chunk.bytes.len() as u64);
                let at = |n: u64| usize::try_from(n).expect("within a chunk");
                out.extend_from_slice(&chunk.bytes[at(begin)..at(end)]);
            }
            Ok(Bytes::from(out))
        })
        .await
        .map_err(|e| Failure::new(Kind::Bug, e.to_string()))?
    }
}

/// Jobs for the opening pipeline, as they arrive.
struct Jobs(mpsc::Receiver<Result<OpenJob, Failure>>);

impl Iterator for Jobs {
    type Item = Result<OpenJob, SupplyError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.blocking_recv().map(|job| job.map_err(|failure| Box::new(failure) as SupplyError))
    }
}

type Asked = (u64, ChunkEntry);

/// Starts fetching the chunks of a walk, in order, a few ahead of whoever takes them.
async fn fetch(
    remote: Remote,
    walker: TreeWalker,
) -> Result<mpsc::Receiver<Result<OpenJob, Failure>>, Failure> {
    let (asker, blobs) = remote.get_blobs().await?;
    let (asked, to_come) = mpsc::channel(ASK_AHEAD);
    let (jobs, receiver) = mpsc::channel(1);
    let failures = jobs.clone();
    tokio::spawn(async move {
        if let Err(failure) = ask(&remote, walker, &asker, &asked).await {
            let _ = failures.send(Err(failure)).await;
        }
    });
    tokio::spawn(take(blobs, to_come, jobs));
    Ok(receiver)
}

/// What a record lists and the node does not hold is damage, unless the record is gone, too.
fn lost(failure: Failure) -> Failure {
    match failure.kind {
        Kind::NotFound => {
            let message = format!("the node lost a part of its content: {}", failure.message);
            Failure::new(Kind::Damaged, message)
        }
        _ => failure,
    }
}

/// Walks the manifest's tree and asks for its chunks.
async fn ask(
    remote: &Remote,
    mut walker: TreeWalker,
    asker: &BlobAsker,
    asked: &mpsc::Sender<Asked>,
) -> Result<(), Failure> {
    loop {
        match walker.step().map_err(seal_failure)? {
            Step::Done => return Ok(()),
            Step::NeedPage(page) => {
                let blob = remote.get_blob(page.blob).await.map_err(lost)?;
                walker.supply(&blob).map_err(seal_failure)?;
            }
            Step::Chunk { offset, entry } => {
                // Whoever takes the jobs may have stopped; then so do we.
                if asked.send((offset, entry)).await.is_err() {
                    return Ok(());
                }
                asker.ask(entry.blob).await?;
            }
        }
    }
}

/// Joins blobs as they arrive with what was asked for.
async fn take(
    mut blobs: Blobs,
    mut to_come: mpsc::Receiver<Asked>,
    jobs: mpsc::Sender<Result<OpenJob, Failure>>,
) {
    while let Some((offset, entry)) = to_come.recv().await {
        let job = match blobs.next().await {
            Ok(Some((_, sealed))) => Ok(OpenJob { offset, entry, sealed }),
            Ok(None) => Err(Failure::new(Kind::Closed, "the node ended the stream early; try again")),
            Err(failure) => Err(lost(failure)),
        };
        let ended = job.is_err();
        if jobs.send(job).await.is_err() || ended {
            return;
        }
    }
}
