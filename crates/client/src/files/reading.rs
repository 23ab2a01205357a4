//! Content on its way from the node: chunks are fetched in order, opened on all cores and handed on, each verified. A node
//! that goes away is waited for as long as there is patience, and the work goes on where it was. What an interrupted fetch
//! left in a local file is read and hashed instead of fetched; the file gets its name only if the whole is what was
//! signed, so that bytes of any origin are never trusted.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::head::FileKind;
use larder_format::ids::BlobId;
use larder_format::manifest::{Content, Manifest};
use larder_format::pages::ChunkEntry;
use larder_seal::pipeline::Width;
use larder_seal::pipeline::open::{Begun, OpenJob, Reading, SupplyError, open_rest};
use larder_seal::tree::{Step, TreeWalker};
use larder_wire::answer::Failure;
use tokio::sync::mpsc;

use super::Destination;
use super::content::pipeline_failure;
use crate::local::target::{self, Target};
use crate::meter::Meter;
use crate::remote::{BlobAsker, Blobs, Remote};
use crate::transfer::{Outage, Throttle, pass};
use crate::vault::{OpenFile, Vault, local_failure, seal_failure};

/// Chunks asked for ahead of the one being opened: the node reads them while others travel.
const ASK_AHEAD: usize = 4;

/// Files from this length on leave what was fetched of them behind when a fetch is interrupted, in bytes. Below it
/// fetching again costs less than a file that was left.
pub(crate) const RESUMABLE_BYTES_MIN: u64 = 8 * 1024 * 1024;

/// Where a part of a file's content goes, with its offset.
type Write = Box<dyn FnMut(u64, &[u8]) -> std::io::Result<()> + Send>;

/// Content being read: where it goes and how far it is.
struct Flow {
    begun: Begun,
    write: Write,
    /// What it writes to, for messages.
    place: PathBuf,
}

impl Vault {
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
        let whole = 0..file.info.size;
        match destination {
            Destination::Stream(mut out) => {
                let write = Box::new(move |_, bytes: &[u8]| out.write_all(bytes).and_then(|()| out.flush()));
                let begun = Begun::new(Reading::whole(&file.manifest));
                let flow = Flow { begun, write, place: PathBuf::from("output") };
                self.read_content(&file.manifest, flow, whole, width, meter).await
            }
            Destination::Range { mut out, range } => {
                let (begin, end) = (range.start, range.end);
                let write = Box::new(move |offset: u64, bytes: &[u8]| {
                    let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
                    let part = at(begin.saturating_sub(offset))..at(end.saturating_sub(offset));
                    out.write_all(&bytes[part]).and_then(|()| out.flush())
                });
                let flow = Flow { begun: Begun::new(Reading::Part), write, place: PathBuf::from("output") };
                self.read_content(&file.manifest, flow, range, width, meter).await
            }
            Destination::File { path, .. } if file.info.kind == FileKind::Symlink => {
                let Content::Inline(target_path) = &file.manifest.content else {
                    return Err(Failure::new(Kind::Invalid, "link target too long"));
                };
                use std::os::unix::ffi::OsStrExt;
                let to = Path::new(std::ffi::OsStr::from_bytes(target_path));
                target::link(to, &path, file.info.attributes.mtime_ns).map_err(|e| local_failure(&path, &e))
            }
            Destination::File { path, sync } => self.write_file(file, path, sync, width, meter).await,
        }
    }

    async fn write_file(
        &self,
        file: &OpenFile,
        path: PathBuf,
        sync: bool,
        width: Width,
        meter: &Arc<Meter>,
    ) -> Result<(), Failure> {
        let failed = |e: std::io::Error| local_failure(&path, &e);
        let resumable = file.info.size >= RESUMABLE_BYTES_MIN;
        let mut begun = Begun::new(Reading::whole(&file.manifest));
        let target = Target::create(&path, resumable.then(|| part_number(file, &path))).map_err(failed)?;
        if let Some(rest) = target.rest() {
            let kept = self.look_at_rest(file, rest, begun, meter).await?;
            target.cut(kept.size()).map_err(failed)?;
            meter.kept(kept.size());
            meter.advance(kept.size());
            begun = kept;
        }
        let kept = begun.size();
        let target = Arc::new(target);
        let writer = target.clone();
        let write = Box::new(move |offset, bytes: &[u8]| writer.write_at(bytes, offset));
        let flow = Flow { begun, write, place: path.clone() };
        let read = self.read_content(&file.manifest, flow, 0..file.info.size, width, meter).await;
        let target =
            Arc::into_inner(target).ok_or_else(|| Failure::new(Kind::Bug, "a writer outlived its file"))?;
        match read {
            Ok(()) => {}
            // What is there is of use to the next try.
            Err(failure) if failure.kind == Kind::Closed => return Err(failure),
            Err(failure) => {
                target.discard();
                if kept == 0 || failure.kind != Kind::Damaged {
                    return Err(failure);
                }
                // Perhaps what was left from before is what is wrong: it does not count.
                meter.rewind(meter.read().bytes_done.min(file.info.size));
                return Box::pin(self.write_file(file, path, sync, width, meter)).await;
            }
        }
        let (size, attributes) = (file.info.size, file.info.attributes.clone());
        tokio::task::spawn_blocking(move || {
            target.finish(size, &attributes, sync).map_err(|e| local_failure(&path, &e))
        })
        .await
        .map_err(|e| Failure::new(Kind::Bug, e.to_string()))?
        .map(|kept| self.xattrs_kept(kept))
    }

    /// Reads what an interrupted fetch of the same version left, as far as it is whole chunks.
    async fn look_at_rest(
        &self,
        file: &OpenFile,
        rest: File,
        mut begun: Begun,
        meter: &Meter,
    ) -> Result<Begun, Failure> {
        let len = rest.metadata().map_or(0, |m| m.len());
        let mut walker = TreeWalker::new(self.blobs.opener(), &file.manifest, 0..file.manifest.size);
        let (lengths, to_read) = mpsc::channel::<u32>(64);
        let reading = tokio::task::spawn_blocking(move || read_rest(rest, to_read, begun));
        let mut end = 0;
        loop {
            match walker.step().map_err(seal_failure)? {
                Step::Done => break,
                Step::NeedPage(page) => {
                    let blob = self.page(page.blob).await?;
                    meter.fetched(blob.len() as u64);
                    walker.supply(&blob).map_err(seal_failure)?;
                }
                Step::Chunk { entry, .. } => {
                    end += u64::from(entry.plain_len);
                    // The last of all is fetched in any case: then the node has said that the version is still there.
                    if end > len || end == file.manifest.size || lengths.send(entry.plain_len).await.is_err()
                    {
                        break;
                    }
                }
            }
        }
        drop(lengths);
        begun = reading.await.map_err(|e| Failure::new(Kind::Bug, e.to_string()))?;
        Ok(begun)
    }

    /// A page of a manifest's tree, which the node may have to be waited for.
    async fn page(&self, id: BlobId) -> Result<Bytes, Failure> {
        let mut outage = Outage::default();
        loop {
            match self.remote.get_blob(id).await.map_err(lost) {
                Err(failure) => outage.ride_out(self, failure).await?,
                page => return page,
            }
        }
    }

    /// Fetches, opens and verifies content from where the flow is to the end of the range, handing it in order to its
    /// writer on a thread of its own. Of a part, the chunks that overlap the range.
    async fn read_content(
        &self,
        manifest: &Manifest,
        mut flow: Flow,
        range: Range<u64>,
        width: Width,
        meter: &Arc<Meter>,
    ) -> Result<(), Failure> {
        if let Content::Inline(data) = &manifest.content {
            meter.advance(data.len() as u64);
            meter.fetched(data.len() as u64);
            let data = data.clone();
            return tokio::task::spawn_blocking(move || {
                (flow.write)(0, &data).map_err(|e| local_failure(&flow.place, &e))
            })
            .await
            .map_err(|e| Failure::new(Kind::Bug, e.to_string()))?;
        }
        let mut outage = Outage::default();
        let mut at = range.start + flow.begun.size();
        loop {
            let (result, after) = match self.start(manifest, at..range.end, meter).await {
                Ok(jobs) => {
                    let (opener, reading) = (self.blobs.opener(), reading_of(manifest, &range, &flow));
                    let meter = meter.clone();
                    tokio::task::spawn_blocking(move || {
                        let jobs = Jobs(jobs);
                        let begun = std::mem::replace(&mut flow.begun, Begun::new(Reading::Part));
                        match open_rest(opener, jobs, reading, begun, width) {
                            Ok(stream) => pour(stream, flow, at, &meter),
                            Err(error) => (Err(pipeline_failure(error)), (flow, at)),
                        }
                    })
                    .await
                    .map_err(|e| Failure::new(Kind::Bug, e.to_string()))?
                }
                Err(failure) => (Err(failure), (flow, at)),
            };
            let Err(failure) = result else { return Ok(()) };
            if after.1 > at {
                outage.over();
            }
            outage.ride_out(self, failure).await?;
            (flow, at) = after;
        }
    }

    async fn start(
        &self,
        manifest: &Manifest,
        range: Range<u64>,
        meter: &Arc<Meter>,
    ) -> Result<mpsc::Receiver<Result<OpenJob, Failure>>, Failure> {
        let walker = TreeWalker::new(self.blobs.opener(), manifest, range);
        fetch(self, walker, meter).await
    }

    /// Reads a range of a file into memory.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if the range is beyond the file's end; as [`Vault::get_file`].
    pub async fn read_range(&self, file: &OpenFile, range: Range<u64>) -> Result<Bytes, Failure> {
        let out = Collected::default();
        let destination = Destination::Range { out: Box::new(out.clone()), range };
        self.read_out(file, destination, &Arc::default()).await?;
        let bytes = std::mem::take(&mut *out.0.lock());
        Ok(bytes.into())
    }
}

/// Content collected in memory.
#[derive(Default, Clone)]
struct Collected(Arc<parking_lot::Mutex<Vec<u8>>>);

impl std::io::Write for Collected {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The number in the name of the file that a fetch of this version to this path leaves when it is interrupted: the same
/// for the same, and of no meaning to anyone else, because a file's id is random and known to nobody outside.
fn part_number(file: &OpenFile, path: &Path) -> u64 {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let parts: [&[u8]; 4] =
        [b"larder part 1\0", &file.info.id.0, &file.info.version.to_u64().to_le_bytes(), name];
    let hash = BlobId::of(&parts.concat()).0;
    hash[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Reads chunks of these lengths from a file and hashes them. Ends early where the file does.
fn read_rest(mut rest: File, mut lengths: mpsc::Receiver<u32>, mut begun: Begun) -> Begun {
    let mut chunk = Vec::new();
    while let Some(len) = lengths.blocking_recv() {
        chunk.resize(len as usize, 0);
        if rest.read_exact(&mut chunk).is_err() {
            break;
        }
        begun.push(&chunk);
    }
    begun
}

fn reading_of(manifest: &Manifest, range: &Range<u64>, flow: &Flow) -> Reading {
    let whole = *range == (0..manifest.size) && flow.begun.is_whole();
    if whole { Reading::whole(manifest) } else { Reading::Part }
}

/// Writes opened chunks where they go. Answers how it ended and how far it came.
fn pour(
    mut stream: larder_seal::pipeline::open::OpenStream,
    mut flow: Flow,
    mut at: u64,
    meter: &Meter,
) -> (Result<(), Failure>, (Flow, u64)) {
    let result = loop {
        match stream.next() {
            None => break Ok(()),
            Some(Err(error)) => break Err(pipeline_failure(error)),
            Some(Ok(chunk)) => {
                if let Err(error) = (flow.write)(chunk.offset, &chunk.bytes) {
                    break Err(local_failure(&flow.place, &error));
                }
                at = chunk.offset + chunk.bytes.len() as u64;
                meter.advance(chunk.bytes.len() as u64);
            }
        }
    };
    flow.begun = stream.into_begun();
    (result, (flow, at))
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
    vault: &Vault,
    walker: TreeWalker,
    meter: &Arc<Meter>,
) -> Result<mpsc::Receiver<Result<OpenJob, Failure>>, Failure> {
    let (remote, throttle) = (vault.remote.clone(), vault.transfers().down.clone());
    let (asker, blobs) = remote.get_blobs().await?;
    let (asked, to_come) = mpsc::channel(ASK_AHEAD);
    let (jobs, receiver) = mpsc::channel(1);
    let failures = jobs.clone();
    let counting = meter.clone();
    tokio::spawn(async move {
        if let Err(failure) = ask(&remote, walker, &asker, &asked, &counting).await {
            let _ = failures.send(Err(failure)).await;
        }
    });
    tokio::spawn(take(blobs, to_come, jobs, throttle, meter.clone()));
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
    meter: &Meter,
) -> Result<(), Failure> {
    loop {
        match walker.step().map_err(seal_failure)? {
            Step::Done => return Ok(()),
            Step::NeedPage(page) => {
                let blob = remote.get_blob(page.blob).await.map_err(lost)?;
                meter.fetched(blob.len() as u64);
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
    throttle: Option<Arc<Throttle>>,
    meter: Arc<Meter>,
) {
    while let Some((offset, entry)) = to_come.recv().await {
        let job = match blobs.next().await {
            Ok(Some((_, sealed))) => {
                let len = sealed.len() as u64;
                meter.fetched(len);
                pass(throttle.as_ref(), len).await;
                Ok(OpenJob { offset, entry, sealed })
            }
            Ok(None) => Err(Failure::new(Kind::Closed, "the node ended the stream early; try again")),
            Err(failure) => Err(lost(failure)),
        };
        let ended = job.is_err();
        if jobs.send(job).await.is_err() || ended {
            return;
        }
    }
}
