//! The file pipeline against the sum of its parts, on all cores, in one run.
//!
//! Every part (and the pipeline) goes over the same bytes once per round, rounds are interleaved, medians are
//! printed. A part runs on as many threads as there are cores, each with its own buffers, 1 MiB at a time. The sum
//! of the parts' times is what a pipeline without any loss would take; `ratio` is that sum divided by the
//! pipeline's time. `cargo bench -p larder-seal`; `LARDER_BENCH_MIB` (default 512) sets how much,
//! `LARDER_BENCH_ROUNDS` (default 5) how often; a last line is JSON.

#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use std::io::Cursor;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use larder_format::clock::{Clock, SystemClock};
use larder_format::pages::CHUNK_LEN_DEFAULT;
use larder_format::rng::{Rng, SeededRng};
use larder_seal::chunk::BlobSealer;
use larder_seal::compress::{Compression, Compressor, Decompressor};
use larder_seal::content_hash::Subtree;
use larder_seal::keys::VaultRoot;
use larder_seal::pipeline::Width;
use larder_seal::pipeline::open::{OpenJob, Reading, SupplyError, open_stream};
use larder_seal::pipeline::seal::{SealOptions, SealedChunk, Summary, seal_stream};

const CHUNK: usize = CHUNK_LEN_DEFAULT;

/// A source that shares the data instead of owning it.
#[derive(Clone)]
struct Data(Arc<Vec<u8>>);

impl AsRef<[u8]> for Data {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn noise(len: usize) -> Data {
    let mut out = vec![0; len];
    SeededRng::new(7).fill(&mut out);
    Data(Arc::new(out))
}

/// Words of a vocabulary of 4,000, short and common ones more often, as in prose or source code.
fn text(len: usize) -> Data {
    let mut rng = SeededRng::new(8);
    let words: Vec<String> = (0..4_000)
        .map(|i| (0..2 + (i % 9)).map(|_| char::from(b'a' + rng.below(26) as u8)).collect())
        .collect();
    let mut out = Vec::with_capacity(len + 16);
    while out.len() < len {
        let bound = 1 + rng.below(4_000);
        out.extend_from_slice(words[rng.below(bound) as usize].as_bytes());
        out.push(if rng.below(12) == 0 { b'\n' } else { b' ' });
    }
    out.truncate(len);
    Data(Arc::new(out))
}

/// Runs `work` over all chunks on every core, chunk i on thread i modulo cores, and says how long it took.
fn on_all_cores<W: FnMut(usize, &[u8])>(
    clock: &SystemClock,
    data: &Data,
    make: impl Fn() -> W + Sync,
) -> Duration {
    let cores = Width::default().workers;
    let begin = clock.monotonic();
    thread::scope(|scope| {
        for core in 0..cores {
            let make = &make;
            scope.spawn(move || {
                let mut work = make();
                for (i, chunk) in data.0.chunks(CHUNK).enumerate() {
                    if i % cores == core {
                        work(i, chunk);
                    }
                }
            });
        }
    });
    clock.monotonic() - begin
}

fn aes_key() -> aws_lc_rs::aead::LessSafeKey {
    let key = aws_lc_rs::aead::UnboundKey::new(&aws_lc_rs::aead::AES_256_GCM, &[7; 32]).expect("32 bytes");
    aws_lc_rs::aead::LessSafeKey::new(key)
}

fn encrypt(clock: &SystemClock, data: &Data) -> Duration {
    on_all_cores(clock, data, || {
        let (key, mut out, mut tag) = (aes_key(), vec![0; CHUNK], [0; 16]);
        move |_, chunk: &[u8]| {
            let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key([0; 12]);
            let aad = aws_lc_rs::aead::Aad::empty();
            key.seal_out_of_place_scatter(nonce, aad, chunk, &mut out[..chunk.len()], &[], &mut tag)
                .expect("lengths fit");
        }
    })
}

fn hash(clock: &SystemClock, data: &Data) -> Duration {
    on_all_cores(clock, data, || {
        |i, chunk: &[u8]| {
            std::hint::black_box(Subtree::of((i * CHUNK) as u64, chunk));
        }
    })
}

fn copy(clock: &SystemClock, data: &Data) -> Duration {
    on_all_cores(clock, data, || {
        let mut out = vec![0; CHUNK];
        move |_, chunk: &[u8]| std::hint::black_box(&mut out)[..chunk.len()].copy_from_slice(chunk)
    })
}

fn compress(clock: &SystemClock, data: &Data) -> Duration {
    on_all_cores(clock, data, || {
        let mut out = vec![0; CHUNK];
        let mut compressor = Compressor::new(Compression::default()).expect("zstd starts");
        move |_, chunk: &[u8]| {
            std::hint::black_box(compressor.compress(chunk, &mut out));
        }
    })
}

fn decompress(clock: &SystemClock, data: &Data, frames: &[Option<Vec<u8>>]) -> Duration {
    on_all_cores(clock, data, || {
        let mut out = vec![0; CHUNK];
        let mut decompressor = Decompressor::new().expect("zstd starts");
        move |i, chunk: &[u8]| {
            if let Some(frame) = &frames[i] {
                decompressor.decompress(frame, &mut out[..chunk.len()]).expect("our own frame");
            }
        }
    })
}

fn seal(
    clock: &SystemClock,
    sealer: &BlobSealer,
    data: &Data,
    keep: bool,
) -> (Duration, Vec<SealedChunk>, Summary) {
    let begin = clock.monotonic();
    let options = SealOptions::default();
    let mut stream = seal_stream(sealer, Cursor::new(data.clone()), &options).expect("threads start");
    let mut kept = Vec::new();
    for chunk in stream.by_ref() {
        let chunk = chunk.expect("memory can be read");
        if keep {
            kept.push(chunk);
        }
    }
    let took = clock.monotonic() - begin;
    (took, kept, stream.summary().expect("all was read"))
}

fn open(clock: &SystemClock, sealer: &BlobSealer, chunks: &[SealedChunk], summary: &Summary) -> Duration {
    let jobs: Vec<_> = chunks
        .iter()
        .map(|c| OpenJob { offset: c.index * CHUNK as u64, entry: c.entry, sealed: c.bytes.clone() })
        .collect();
    let reading = Reading::Whole {
        chunking: SealOptions::default().cutting.chunking(),
        size: summary.size,
        content_hash: summary.content_hash,
    };
    let begin = clock.monotonic();
    let supply = jobs.into_iter().map(Ok::<_, SupplyError>);
    for opened in open_stream(sealer.opener(), supply, reading, Width::default()).expect("threads start") {
        opened.expect("what was sealed opens");
    }
    clock.monotonic() - begin
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// One input: parts and pipelines, round by round.
fn measure(name: &str, data: &Data, rounds: usize) -> String {
    let clock = SystemClock::new();
    let sealer = BlobSealer::new(&VaultRoot::generate(&mut SeededRng::new(1)), 0);
    let (_, chunks, summary) = seal(&clock, &sealer, data, true);
    let stored = Data(Arc::new(chunks.iter().flat_map(|c| c.bytes.iter().copied()).collect()));
    let mut compressor = Compressor::new(Compression::default()).expect("zstd starts");
    let mut room = vec![0; CHUNK];
    let frames: Vec<_> = data
        .0
        .chunks(CHUNK)
        .map(|chunk| compressor.compress(chunk, &mut room).map(|len| room[..len].to_vec()))
        .collect();
    let mut times: [Vec<Duration>; 9] = Default::default();
    for _ in 0..rounds {
        let round = [
            copy(&clock, data),
            hash(&clock, data),
            compress(&clock, data),
            hash(&clock, &stored),
            encrypt(&clock, &stored),
            hash(&clock, &stored),
            seal(&clock, &sealer, data, false).0,
            decompress(&clock, data, &frames),
            open(&clock, &sealer, &chunks, &summary),
        ];
        times.iter_mut().zip(round).for_each(|(all, one)| all.push(one));
    }
    let [copy, content, zstd, keyed, aes, id, sealing, unzstd, opening] = times.map(median);
    let rate = |time: Duration| data.0.len() as f64 / time.as_secs_f64() / 1e9;
    let stored_part = stored.0.len() as f64 / data.0.len() as f64;
    println!(
        "{name}: {} MiB, stored {:.0} %, GB/s of plain bytes on all cores",
        data.0.len() >> 20,
        100.0 * stored_part
    );
    let parts = [("read (copy)", copy), ("content hash", content), ("zstd 1", zstd), ("chunk key", keyed)];
    for (part, time) in parts.into_iter().chain([("aes-256-gcm", aes), ("blob id", id), ("unzstd", unzstd)]) {
        println!("  {part:<14} {:>7.2}", rate(time));
    }
    let seal_sum = copy + content + zstd + keyed + aes + id;
    let open_sum = aes + unzstd + content;
    let (seal_ratio, open_ratio) = (ratio(seal_sum, sealing), ratio(open_sum, opening));
    println!(
        "  sealing        {:>7.2}   sum of parts {:.2}   ratio {seal_ratio:.2}",
        rate(sealing),
        rate(seal_sum)
    );
    println!(
        "  opening        {:>7.2}   sum of parts {:.2}   ratio {open_ratio:.2}",
        rate(opening),
        rate(open_sum)
    );
    format!(
        r#""{name}":{{"seal_gb_s":{:.3},"seal_ratio":{seal_ratio:.3},"open_gb_s":{:.3},"open_ratio":{open_ratio:.3}}}"#,
        rate(sealing),
        rate(opening)
    )
}

fn ratio(sum: Duration, whole: Duration) -> f64 {
    sum.as_secs_f64() / whole.as_secs_f64()
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default).max(1)
}

fn main() {
    let len = setting("LARDER_BENCH_MIB", 512) << 20;
    let rounds = setting("LARDER_BENCH_ROUNDS", 5);
    let random = measure("random", &noise(len), rounds);
    let text = measure("text", &text(len), rounds);
    println!("{{{random},{text}}}");
}
