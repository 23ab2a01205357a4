//! The pipelines' memory does not grow with the file. One test, so that nothing else runs in this process.

#![allow(clippy::print_stdout, reason = "the figure behind the claim, shown with --nocapture")]

use std::io::Read;

use bytes::Bytes;
use larder_format::rng::{Rng, SeededRng};
use larder_seal::chunk::BlobSealer;
use larder_seal::compress::Compression;
use larder_seal::keys::VaultRoot;
use larder_seal::pipeline::Width;
use larder_seal::pipeline::open::{OpenJob, Reading, SupplyError, open_stream};
use larder_seal::pipeline::seal::{SealOptions, seal_stream};
use larder_seal::pipeline::single::ChunkSealer;

const MIB: usize = 1 << 20;
/// Far more than may be in flight.
const FILE_MIB: usize = 384;
const WIDTH: Width = Width { workers: 2, window: 4 };
/// Two buffers for each worker, one for each chunk in flight and as many again kept for reuse, compressors'
/// contexts, and slack for the allocator: still a twelfth of the file.
const GROWTH_MIB_MAX: usize = 32;

/// Endless bytes that do not compress and cost little to make.
struct Noise {
    block: Vec<u8>,
    left: usize,
}

impl Read for Noise {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let len = out.len().min(self.left).min(self.block.len());
        out[..len].copy_from_slice(&self.block[..len]);
        self.left -= len;
        // No two chunks are alike.
        self.block[0] = self.block[0].wrapping_add(1);
        self.block[1] = self.block[1].wrapping_add(u8::from(self.block[0] == 0));
        Ok(len)
    }
}

fn resident_mib() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib / 1024)
}

#[test]
fn memory_is_constant_whatever_the_file() {
    let Some(before) = resident_mib() else { return };
    let root = VaultRoot::generate(&mut SeededRng::new(1));
    let sealer = BlobSealer::new(&root, 0);
    let mut block = vec![0; MIB];
    SeededRng::new(2).fill(&mut block);
    let mut peak = before;

    let source = Noise { block: block.clone(), left: FILE_MIB * MIB };
    let options = SealOptions { width: WIDTH, ..SealOptions::default() };
    let mut stream = seal_stream(&sealer, source, &options).unwrap();
    for chunk in stream.by_ref() {
        assert_eq!(chunk.unwrap().bytes.len(), MIB + 50);
        peak = peak.max(resident_mib().unwrap());
    }
    assert_eq!(stream.summary().unwrap().size, (FILE_MIB * MIB) as u64);
    let sealing = peak - before;

    let mut single = ChunkSealer::new(sealer.clone(), Compression::Off, MIB).unwrap();
    let (entry, sealed) = single.seal(&block).unwrap();
    // Each chunk arrives in memory of its own, as from a network.
    let supply = (0..FILE_MIB as u64).map(move |i| {
        let sealed = Bytes::copy_from_slice(&sealed);
        Ok::<_, SupplyError>(OpenJob { offset: i * MIB as u64, entry, sealed })
    });
    for opened in open_stream(sealer.opener(), supply, Reading::Part, WIDTH).unwrap() {
        assert_eq!(opened.unwrap().bytes.len(), MIB);
        peak = peak.max(resident_mib().unwrap());
    }
    println!(
        "resident growth: sealing {sealing} MiB, both {} MiB, for a file of {FILE_MIB} MiB",
        peak - before
    );
    assert!(peak - before <= GROWTH_MIB_MAX, "grew by {} MiB", peak - before);
}
