//! Content on its way to the node: small content goes into the record, other content becomes sealed chunks that
//! are leased, and only those travel that are not there yet.

use std::io::{Cursor, Read};
use std::sync::Arc;

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::ids::{BlobId, LeaseToken};
use larder_format::limits::INLINE_FILE_LEN_MAX;
use larder_format::manifest::{Chunking, Content};
use larder_format::pages::CHUNK_LEN_DEFAULT;
use larder_seal::chunk::BlobSealer;
use larder_seal::compress::Compression;
use larder_seal::names::SealedKey;
use larder_seal::pipeline::seal::{Cutting, SealOptions, SealStream, SealedChunk, Summary, seal_stream};
use larder_seal::pipeline::single::ChunkSealer;
use larder_seal::pipeline::{PipelineError, Width};
use larder_seal::tree::{SealedPage, TreeBuilder};
use larder_wire::answer::Failure;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::meter::Meter;
use crate::remote::{BlobAnswers, BlobSender, Lease};
use crate::vault::{Vault, io_kind, record_key, seal_failure};

/// Chunks that are asked about at once: one question for several mebibytes costs nothing, and few enough are
/// held meanwhile.
const ASK_CHUNKS: usize = 4;

/// A lease is renewed when less than this is left of it.
const LEASE_RENEW_MS: u64 = 30 * 60 * 1000;

/// How content is cut, compressed and with how many threads.
#[derive(Debug, Clone, Default)]
pub struct ContentOptions {
    /// How to cut.
    pub cutting: Cutting,
    /// Whether to compress.
    pub compression: Compression,
    /// Threads and memory.
    pub width: Width,
}

/// Content that is durable on the node, waiting for the record that names it.
#[derive(Debug, Clone)]
pub struct Uploaded {
    /// Length, in bytes.
    pub size: u64,
    /// BLAKE3 of it.
    pub content_hash: [u8; 32],
    /// How it was cut.
    pub chunking: Chunking,
    /// Where it is.
    pub content: Content,
    /// What keeps its blobs, and until when in the node's time; `None` if it has none.
    pub lease: Option<(LeaseToken, u64)>,
}

impl Uploaded {
    /// Content that goes into the record.
    #[must_use]
    pub fn inline(data: Bytes) -> Self {
        Self {
            size: data.len() as u64,
            content_hash: *blake3_of(&data),
            chunking: Chunking::Fixed { len: CHUNK_LEN_DEFAULT as u32 },
            content: Content::Inline(data),
            lease: None,
        }
    }
}

fn blake3_of(data: &[u8]) -> Box<[u8; 32]> {
    // The blob id of bytes is their BLAKE3.
    Box::new(BlobId::of(data).0)
}

/// What went wrong in a pipeline, in the words of whoever supplied it where there are any.
pub(super) fn pipeline_failure(error: PipelineError) -> Failure {
    let kind = error.kind();
    match error {
        PipelineError::Supply(source) => match source.downcast::<Failure>() {
            Ok(failure) => *failure,
            Err(source) => Failure::new(kind, source.to_string()),
        },
        PipelineError::Read(source) => {
            let kind = io_kind(&source);
            Failure::new(kind, format!("cannot read the source: {source}"))
        }
        PipelineError::Chunk { index, source } => Failure::new(kind, format!("{source} chunk={index}")),
        other => Failure::new(kind, other.to_string()),
    }
}

impl Vault {
    /// Sends content to the node. Reads until the end of `source`, on threads of its own.
    pub(crate) async fn upload(
        &self,
        key: SealedKey,
        mut source: Box<dyn Read + Send>,
        options: &ContentOptions,
        meter: &Arc<Meter>,
    ) -> Result<Uploaded, Failure> {
        let chunk_len = match options.cutting {
            Cutting::Fixed { len } => u64::from(len),
            // Where it is cut is known only as it is read.
            Cutting::ContentDefined { .. } => INLINE_FILE_LEN_MAX as u64,
        };
        let begun = tokio::task::spawn_blocking(move || {
            let mut start = Vec::new();
            (&mut source).take(chunk_len.max(INLINE_FILE_LEN_MAX as u64) + 1).read_to_end(&mut start)?;
            Ok::<_, std::io::Error>((start, source))
        });
        let (start, source) = begun
            .await
            .map_err(|e| Failure::new(Kind::Bug, e.to_string()))?
            .map_err(|e| pipeline_failure(PipelineError::Read(e)))?;
        if start.len() <= INLINE_FILE_LEN_MAX {
            meter.advance(start.len() as u64);
            return Ok(Uploaded::inline(start.into()));
        }
        let sealing = SealOptions {
            cutting: options.cutting.clone(),
            compression: options.compression,
            width: options.width,
        };
        let chunks = if start.len() as u64 <= chunk_len {
            seal_one(self.blobs.clone(), options.compression, start)
        } else {
            let whole = Cursor::new(start).chain(source);
            pump(seal_stream(&self.blobs, whole, &sealing).map_err(pipeline_failure)?)
        };
        let lease = Lease {
            token: Self::new_token(),
            namespace: self.files,
            key: record_key(key.as_bytes())?,
            deadline_ms: self.lease_deadline_ms(),
        };
        let token = lease.token;
        match self.upload_chunks(chunks, lease, meter).await {
            Ok((summary, content, deadline_ms)) => Ok(Uploaded {
                size: summary.size,
                content_hash: summary.content_hash,
                chunking: options.cutting.chunking(),
                content,
                lease: Some((token, deadline_ms)),
            }),
            Err(failure) => {
                // What was stored for nothing goes at once rather than at the lease's deadline. If this
                // fails too, the deadline does it.
                let _ = self.remote.release(token).await;
                Err(failure)
            }
        }
    }

    async fn upload_chunks(
        &self,
        (mut sealed, sealing): Chunks,
        lease: Lease,
        meter: &Arc<Meter>,
    ) -> Result<(Summary, Content, u64), Failure> {
        let (sender, answers) = self.remote.put_blobs(&lease).await?;
        let stored = tokio::spawn(count_answers(answers));
        let mut out = Upload { vault: self, sender, lease, sent: 0, meter };
        let mut tree = TreeBuilder::new(self.blobs.clone());
        let sending = async {
            let mut batch = Vec::with_capacity(ASK_CHUNKS);
            while sealed.recv_many(&mut batch, ASK_CHUNKS).await > 0 {
                for chunk in out.send_missing(&mut batch).await? {
                    let pages = tree.push(chunk.entry).map_err(seal_failure)?;
                    out.send_pages(pages).await?;
                }
            }
            let summary = sealing.await.map_err(|e| Failure::new(Kind::Bug, e.to_string()))??;
            let (content, pages) = tree.finish().map_err(seal_failure)?;
            out.send_pages(pages).await?;
            Ok::<_, Failure>((summary, content))
        };
        let sent = sending.await;
        let (expected, deadline_ms) = (out.sent, out.lease.deadline_ms);
        drop(out);
        // If the node ended the stream, its answer says why; the sending side only knows that it ended.
        let answered = stored.await.map_err(|e| Failure::new(Kind::Bug, e.to_string()))?;
        match (sent, answered) {
            (Err(failure), Ok(_)) | (Err(_) | Ok(_), Err(failure)) => Err(failure),
            (Ok(_), Ok(count)) if count != expected => {
                Err(Failure::new(Kind::Closed, "the node did not store all that was sent; try again"))
            }
            (Ok((summary, content)), Ok(_)) => Ok((summary, content, deadline_ms)),
        }
    }
}

/// Sealed chunks as they come, and in the end what they were made of.
type Chunks = (mpsc::Receiver<SealedChunk>, JoinHandle<Result<Summary, Failure>>);

/// Seals content of one chunk, with memory for no more than that.
fn seal_one(sealer: BlobSealer, compression: Compression, plain: Vec<u8>) -> Chunks {
    let (sender, receiver) = mpsc::channel(1);
    let thread = tokio::task::spawn_blocking(move || {
        let seal = || ChunkSealer::new(sealer, compression, plain.len())?.seal(&plain);
        let (entry, bytes) = seal().map_err(seal_failure)?;
        // Whoever does not want it any more knows why.
        let _ = sender.blocking_send(SealedChunk { index: 0, entry, bytes });
        Ok(Summary { size: plain.len() as u64, chunks: 1, content_hash: *blake3_of(&plain) })
    });
    (receiver, thread)
}

/// Runs a pipeline's blocking iterator on a thread of its own. The channel is short: what waits in it is
/// memory.
fn pump(mut stream: SealStream) -> Chunks {
    let (sender, receiver) = mpsc::channel(ASK_CHUNKS);
    let thread = tokio::task::spawn_blocking(move || {
        for chunk in &mut stream {
            let chunk = chunk.map_err(pipeline_failure)?;
            if sender.blocking_send(chunk).is_err() {
                break;
            }
        }
        stream.summary().ok_or_else(|| Failure::new(Kind::Closed, "sealing was stopped"))
    });
    (receiver, thread)
}

/// Waits for the answers to all blobs of a stream and counts them.
async fn count_answers(mut answers: BlobAnswers) -> Result<u64, Failure> {
    let mut count = 0;
    while answers.next().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

struct Upload<'a> {
    vault: &'a Vault,
    sender: BlobSender,
    lease: Lease,
    sent: u64,
    meter: &'a Arc<Meter>,
}

impl Upload<'_> {
    /// Asks which chunks are there already and sends the others. Hands the chunks back, in order.
    async fn send_missing(&mut self, batch: &mut Vec<SealedChunk>) -> Result<Vec<SealedChunk>, Failure> {
        self.renew();
        let ids: Vec<BlobId> = batch.iter().map(|chunk| chunk.entry.blob).collect();
        let present = self.vault.remote.lease(&self.lease, &ids).await?;
        let mut done = Vec::with_capacity(batch.len());
        for (mut chunk, present) in batch.drain(..).zip(present) {
            // The blob's memory goes back to the pipeline as soon as the network is done with it.
            let bytes = std::mem::take(&mut chunk.bytes);
            if !present {
                self.send(chunk.entry.blob, bytes).await?;
            }
            self.meter.advance(chunk.entry.plain_len.into());
            done.push(chunk);
        }
        Ok(done)
    }

    async fn send_pages(&mut self, pages: Vec<SealedPage>) -> Result<(), Failure> {
        for page in pages {
            self.send(page.blob, page.bytes).await?;
        }
        Ok(())
    }

    async fn send(&mut self, id: BlobId, bytes: Bytes) -> Result<(), Failure> {
        let len = bytes.len() as u64;
        self.sender.send(id, bytes).await?;
        self.sent += 1;
        self.meter.sent(len);
        Ok(())
    }

    fn renew(&mut self) {
        if self.lease.deadline_ms < self.vault.now_ms() + LEASE_RENEW_MS {
            self.lease.deadline_ms = self.vault.lease_deadline_ms();
            self.sender.renew(&self.lease);
        }
    }
}
