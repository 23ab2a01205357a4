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
use larder_seal::pipeline::{PipelineError, Width};
use larder_wire::answer::Failure;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::sealers::Sealers;
use crate::meter::Meter;
use crate::remote::Lease;
use crate::transfer::pass;
use crate::vault::{Vault, io_kind, record_key, seal_failure};

/// Chunks that are asked about at once: one question for several mebibytes costs nothing, and few enough are
/// held meanwhile.
pub(super) const ASK_CHUNKS: usize = 4;

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
            pass(self.transfers().up.as_ref(), start.len() as u64).await;
            meter.sent(start.len() as u64);
            return Ok(Uploaded::inline(start.into()));
        }
        let sealing = SealOptions {
            cutting: options.cutting.clone(),
            compression: options.compression,
            width: options.width,
        };
        let chunks = if start.len() as u64 <= chunk_len {
            seal_one(self.sealers.clone(), self.blobs.clone(), options.compression, start)
        } else {
            let whole = Cursor::new(start).chain(source);
            pump(seal_stream(&self.blobs, whole, &sealing).map_err(pipeline_failure)?)
        };
        let lease = Lease {
            token: Self::new_token(),
            namespace: self.files,
            key: record_key(key.as_bytes())?,
            deadline_ms: self.upload_deadline_ms(),
        };
        let token = lease.token;
        self.attempts().begin(key, token);
        match self.upload_chunks(chunks, lease, meter).await {
            Ok((summary, content, deadline_ms)) => Ok(Uploaded {
                size: summary.size,
                content_hash: summary.content_hash,
                chunking: options.cutting.chunking(),
                content,
                lease: Some((token, deadline_ms)),
            }),
            // What was sent stays for the next try.
            Err(failure) if matches!(failure.kind, Kind::Closed | Kind::Unknown) => Err(failure),
            Err(failure) => {
                self.give_up(token).await;
                Err(failure)
            }
        }
    }
}

/// Sealed chunks as they come, and in the end what they were made of.
pub(super) type Chunks = (mpsc::Receiver<SealedChunk>, JoinHandle<Result<Summary, Failure>>);

/// Seals content of one chunk.
fn seal_one(sealers: Arc<Sealers>, sealer: BlobSealer, compression: Compression, plain: Vec<u8>) -> Chunks {
    let (sender, receiver) = mpsc::channel(1);
    let thread = tokio::task::spawn_blocking(move || {
        let sealed = sealers.with(&sealer, compression, plain.len(), |own| own.seal(&plain));
        let (entry, bytes) = sealed.map_err(seal_failure)?;
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
