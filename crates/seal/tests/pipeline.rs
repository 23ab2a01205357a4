//! Whole files through the sealing and opening pipelines, and what happens when something goes wrong on the way.

use std::io::Read;

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::head::{Attributes, FileId, FileKind};
use larder_format::manifest::{Content, Manifest};
use larder_format::rng::{Rng, SeededRng};
use larder_seal::chunk::BlobSealer;
use larder_seal::compress::Compression;
use larder_seal::cut::Gear;
use larder_seal::keys::VaultRoot;
use larder_seal::manifest::{Draft, Previous};
use larder_seal::pipeline::open::{OpenJob, Reading, SupplyError, open_stream};
use larder_seal::pipeline::seal::{Cutting, SealOptions, SealedChunk, Summary, seal_stream};
use larder_seal::pipeline::single::{ChunkOpener, ChunkSealer};
use larder_seal::pipeline::{PipelineError, Width};
use larder_seal::tree::TreeBuilder;

const LEN: u32 = 64 * 1024;

fn root() -> VaultRoot {
    VaultRoot::generate(&mut SeededRng::new(1))
}

/// Half noise, half text, so that both ways through compression are taken.
fn data(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    SeededRng::new(len as u64).fill(&mut out);
    for (i, part) in out.chunks_mut(50_000).enumerate() {
        if i % 2 == 1 {
            part.iter_mut().for_each(|b| *b = b'a' + (*b & 7));
        }
    }
    out
}

fn options(content_defined: bool) -> SealOptions {
    let cutting = if content_defined {
        Cutting::ContentDefined { average: LEN, gear: Gear::new(&root()) }
    } else {
        Cutting::Fixed { len: LEN }
    };
    SealOptions { cutting, compression: Compression::default(), width: Width { workers: 3, window: 6 } }
}

fn seal(data: &[u8], options: &SealOptions) -> (Vec<SealedChunk>, Summary) {
    let source = std::io::Cursor::new(data.to_vec());
    let mut stream = seal_stream(&BlobSealer::new(&root(), 0), source, options).unwrap();
    let chunks = stream.by_ref().map(Result::unwrap).collect();
    (chunks, stream.summary().unwrap())
}

fn jobs(chunks: &[SealedChunk]) -> Vec<OpenJob> {
    let mut offset = 0;
    let job = |chunk: &SealedChunk| {
        let job = OpenJob { offset, entry: chunk.entry, sealed: chunk.bytes.clone() };
        offset += u64::from(chunk.entry.plain_len);
        job
    };
    chunks.iter().map(job).collect()
}

fn reading(summary: &Summary, options: &SealOptions) -> Reading {
    Reading::Whole {
        chunking: options.cutting.chunking(),
        size: summary.size,
        content_hash: summary.content_hash,
    }
}

fn open(jobs: Vec<OpenJob>, reading: Reading) -> (Vec<u8>, Option<PipelineError>) {
    let opener = BlobSealer::new(&root(), 0).opener();
    let supply = jobs.into_iter().map(Ok::<_, SupplyError>);
    let mut plain = Vec::new();
    for opened in open_stream(opener, supply, reading, Width { workers: 3, window: 6 }).unwrap() {
        match opened {
            Ok(chunk) => plain.extend_from_slice(&chunk.bytes),
            Err(e) => return (plain, Some(e)),
        }
    }
    (plain, None)
}

#[test]
fn files_of_every_length_come_back_whole() {
    let len = LEN as usize;
    for size in [0, 1, len - 1, len, len + 1, 2 * len, 7 * len, 20 * len + 12_345] {
        for content_defined in [false, true] {
            let data = data(size);
            let options = options(content_defined);
            let (chunks, summary) = seal(&data, &options);
            assert_eq!(summary.size, size as u64);
            assert_eq!(summary.chunks, chunks.len() as u64);
            assert_eq!(summary.content_hash, *blake3::hash(&data).as_bytes(), "as b3sum prints it");
            assert!(chunks.iter().enumerate().all(|(i, c)| c.index == i as u64));
            let (plain, failed) = open(jobs(&chunks), reading(&summary, &options));
            assert!(failed.is_none(), "size={size} {failed:?}");
            assert!(plain == data, "size={size} content_defined={content_defined}");
        }
    }
}

#[test]
fn the_same_file_seals_to_the_same_blobs_whatever_the_width() {
    let data = data(9 * LEN as usize + 5);
    let ids = |workers| {
        let width = Width { workers, window: 2 * workers };
        let (chunks, summary) = seal(&data, &SealOptions { width, ..options(false) });
        (chunks.iter().map(|c| c.entry).collect::<Vec<_>>(), summary)
    };
    assert_eq!(ids(1), ids(5));
}

#[test]
fn a_damaged_chunk_is_an_error_at_its_place() {
    let options = options(false);
    let (chunks, summary) = seal(&data(8 * LEN as usize), &options);
    let mut jobs = jobs(&chunks);
    let mut bad = jobs[5].sealed.to_vec();
    bad[100] ^= 1;
    jobs[5].sealed = Bytes::from(bad);
    let (plain, failed) = open(jobs, reading(&summary, &options));
    assert_eq!(plain.len(), 5 * LEN as usize);
    let failed = failed.unwrap();
    assert!(matches!(failed, PipelineError::Chunk { index: 5, .. }), "{failed:?}");
    assert_eq!(failed.kind(), Kind::Damaged);
}

#[test]
fn chunks_in_another_order_or_missing_are_never_taken_for_the_file() {
    for content_defined in [false, true] {
        let options = options(content_defined);
        let (chunks, summary) = seal(&data(8 * LEN as usize), &options);
        let whole = reading(&summary, &options);
        let swapped = {
            let mut chunks = chunks.clone();
            chunks.swap(1, 2);
            jobs(&chunks)
        };
        let missing_last = jobs(&chunks[..chunks.len() - 1]);
        let missing_first = jobs(&chunks)[1..].to_vec();
        let twice = jobs(&[&chunks[..], &chunks[..1]].concat());
        for wrong in [swapped, missing_last, missing_first, twice, Vec::new()] {
            let (_, failed) = open(wrong, whole);
            assert!(failed.is_some_and(|e| e.kind() == Kind::Damaged));
        }
    }
}

#[test]
fn a_wrong_offset_or_size_is_named() {
    let options = options(true);
    let (chunks, summary) = seal(&data(4 * LEN as usize), &options);
    let mut shifted = jobs(&chunks);
    shifted[1].offset += 1;
    let (plain, failed) = open(shifted, reading(&summary, &options));
    assert_eq!(plain.len(), chunks[0].entry.plain_len as usize);
    assert!(matches!(failed, Some(PipelineError::Content { what: "chunk offset" })), "{failed:?}");
    let longer = Summary { size: summary.size + 1, ..summary };
    let (_, failed) = open(jobs(&chunks), reading(&longer, &options));
    assert!(matches!(failed, Some(PipelineError::Content { what: "size" })), "{failed:?}");
}

#[test]
fn blobs_swapped_between_entries_do_not_open() {
    let options = options(false);
    let (chunks, summary) = seal(&data(4 * LEN as usize), &options);
    let mut jobs = jobs(&chunks);
    let sealed = jobs[1].sealed.clone();
    jobs[1].sealed = std::mem::replace(&mut jobs[3].sealed, sealed);
    let (_, failed) = open(jobs, reading(&summary, &options));
    assert!(matches!(failed, Some(PipelineError::Chunk { index: 1, .. })));
}

#[test]
fn a_supplier_that_fails_is_passed_on() {
    let opener = BlobSealer::new(&root(), 0).opener();
    let supply = std::iter::once(Err::<OpenJob, SupplyError>("the node went away".into()));
    let mut stream = open_stream(opener, supply, Reading::Part, Width::default()).unwrap();
    match stream.next().unwrap().unwrap_err() {
        PipelineError::Supply(e) => assert_eq!(e.to_string(), "the node went away"),
        other => panic!("{other:?}"),
    }
    assert!(stream.next().is_none());
}

/// Reads well for a while, then fails.
struct Failing(u64);

impl Read for Failing {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::PermissionDenied));
        }
        self.0 -= 1;
        let len = out.len().min(10_000);
        out[..len].fill(7);
        Ok(len)
    }
}

#[test]
fn a_source_that_fails_gives_no_summary() {
    for content_defined in [false, true] {
        let sealer = BlobSealer::new(&root(), 0);
        let mut stream = seal_stream(&sealer, Failing(200), &options(content_defined)).unwrap();
        let failed = stream.by_ref().find_map(Result::err).unwrap();
        assert!(matches!(failed, PipelineError::Read(_)));
        assert_eq!(failed.kind(), Kind::Denied);
        assert!(stream.next().is_none());
        assert!(stream.summary().is_none());
    }
}

#[test]
fn a_stream_cut_short_gives_no_summary() {
    let mut stream = seal_stream(&BlobSealer::new(&root(), 0), Failing(u64::MAX), &options(false)).unwrap();
    assert!(stream.next().unwrap().is_ok());
    assert!(stream.summary().is_none());
}

#[test]
fn a_caller_that_keeps_every_chunk_is_not_stopped() {
    // More chunks than buffers exist: the pool grows instead of waiting for what is never given back.
    let (chunks, _) = seal(&data(200 * LEN as usize), &options(false));
    assert_eq!(chunks.len(), 200);
    assert!(chunks.windows(2).all(|two| two[0].bytes.as_ptr() != two[1].bytes.as_ptr()));
}

#[test]
fn bad_lengths_are_refused_at_once() {
    for len in [0, 1 << 15, 100_000, 1 << 23] {
        let options = SealOptions { cutting: Cutting::Fixed { len }, ..SealOptions::default() };
        let refused = seal_stream(&BlobSealer::new(&root(), 0), std::io::empty(), &options);
        assert!(refused.is_err(), "len={len}");
    }
}

#[test]
fn chunk_by_chunk_gives_the_same_blobs_as_the_pipeline() {
    let data = data(3 * LEN as usize + 99);
    let (chunks, _) = seal(&data, &options(false));
    let sealer = BlobSealer::new(&root(), 0);
    let mut single = ChunkSealer::new(sealer.clone(), Compression::default(), LEN as usize).unwrap();
    let mut opener = ChunkOpener::new(sealer.opener()).unwrap();
    for (plain, chunk) in data.chunks(LEN as usize).zip(&chunks) {
        let (entry, bytes) = single.seal(plain).unwrap();
        assert_eq!((entry, &bytes), (chunk.entry, &chunk.bytes));
        let mut out = vec![0; plain.len()];
        opener.open(&entry, &bytes, &mut out).unwrap();
        assert_eq!(out, plain);
    }
}

#[test]
fn a_manifest_made_from_the_pipeline_reads_back() {
    let root = root();
    let data = data(60 * LEN as usize + 1);
    let (chunks, summary) = seal(&data, &options(false));
    let mut tree = TreeBuilder::new(BlobSealer::new(&root, 0));
    for chunk in &chunks {
        tree.push(chunk.entry).unwrap();
    }
    let (content, pages) = tree.finish().unwrap();
    assert!(matches!(content, Content::Pages { level: 0, .. }));
    assert_eq!(pages.len(), 1);
    let draft = Draft {
        file: FileId([1; 16]),
        kind: FileKind::File,
        revision: 1,
        previous: Previous::default(),
        size: summary.size,
        content_hash: summary.content_hash,
        chunking: options(false).cutting.chunking(),
        content,
    };
    let manifest = draft.sign(&Attributes::default(), root.id(), &root.signer());
    let manifest = Manifest::decode(manifest.encode()).unwrap();
    let (plain, failed) = open(jobs(&chunks), Reading::whole(&manifest));
    assert!(failed.is_none());
    assert!(plain == data);
}

#[test]
fn what_is_meant_to_be_shared_between_threads_can_be() {
    fn shared<T: Send + Sync>() {}
    shared::<BlobSealer>();
    shared::<larder_seal::record::RecordSealer>();
    shared::<larder_seal::record::RecordOpener>();
    shared::<larder_seal::names::NameKeys>();
    shared::<larder_seal::keys::Signer>();
    shared::<VaultRoot>();
}
