//! What the memory table costs: nanoseconds for a get, a put and an overwrite, bytes for each key as the cap counts them and
//! as the system does, and how a million values that end together go away.
//!
//! `cargo run --release -p larder-store --example memory_engine -- --keys 1000000 --value-len 256`
//!
//! | option | meaning |
//! |---|---|
//! | `--keys N` | values, of keys of 16 bytes; a million |
//! | `--value-len L` | bytes of each; 256 |
//! | `--threads T` | threads that get and overwrite at once in the last figures; 2 |
//! | `--no-end` | values without an end, and no sweep |

#![allow(clippy::print_stdout, reason = "its figures are what it is for")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use larder_format::clock::{Clock, Hlc, SystemClock};
use larder_format::ids::NamespaceId;
use larder_format::record::{Expiry, Version};
use larder_format::rng::{Rng, SeededRng};
use larder_store::api::RecordStore;
use larder_store::memory::{Look, MemoryConfig, MemoryTable};

const NS: NamespaceId = NamespaceId(0x7261_772d_6d65_6d00);

/// The moment of all writes. Values end within the second that begins a minute later.
const NOW_MS: u64 = 1_790_000_000_000;
const END_MS: u64 = NOW_MS + 60_000;

/// Sweeps after which nothing is left to give back.
const ROUNDS_AFTER: u32 = 64;

struct Options {
    keys: u64,
    value_len: usize,
    threads: u64,
    has_end: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options { keys: 1_000_000, value_len: 256, threads: 2, has_end: true };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number =
            || args.next().and_then(|n| n.parse::<u64>().ok()).ok_or(format!("{arg} wants a number"));
        match arg.as_str() {
            "--keys" => options.keys = number()?,
            "--value-len" => options.value_len = number()? as usize,
            "--threads" => options.threads = number()?,
            "--no-end" => options.has_end = false,
            other => return Err(format!("unknown option {other}")),
        }
    }
    Ok(options)
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Time that this thread has had a processor: what others on the machine do does not count.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A key of 16 bytes, as Redis' load generator makes them.
fn key(n: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let mut rest = n;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

struct Bench {
    table: MemoryTable,
    clock: SystemClock,
    options: Options,
    value: Vec<u8>,
}

impl Bench {
    fn put(&self, n: u64, version: u64) {
        let key = key(n);
        let expiry = if self.options.has_end { Expiry::at_ms(END_MS + n % 1_000) } else { Expiry::NEVER };
        let version = Version::from_u64((NOW_MS << 16) + version);
        self.table.lock_one(NS, &key).put(&key, &[&self.value], version, expiry).expect("there is no cap");
    }

    fn get(&self, n: u64) -> usize {
        let key = key(n);
        match self.table.lock_one(NS, &key).look(&key) {
            Look::Plain(seen) => seen.value.len(),
            _ => 0,
        }
    }

    /// Runs something so many times; prints nanoseconds of a processor for each.
    fn time(&self, what: &str, times: u64, mut each: impl FnMut(u64)) {
        let start = cpu();
        for n in 0..times {
            each(n);
        }
        let took = cpu().saturating_sub(start);
        println!("{what:<28} {:>7.1} ns", took.as_nanos() as f64 / times as f64);
    }

    fn figures(&self, before: u64) {
        let keys = self.options.keys;
        self.time("put, new", keys, |n| self.put(n, 1));
        let usage = self.table.usage();
        let per_key = |bytes: u64| bytes as f64 / keys as f64;
        println!(
            "bytes per key                {:>7.1} accounted, {:.1} resident ({} of key and value)",
            per_key(usage.accounted_bytes),
            per_key(resident().saturating_sub(before)),
            16 + self.options.value_len
        );
        let mut rng = SeededRng::new(1);
        let mut found = 0;
        let (mut drawn, mut last) = (SeededRng::new(1), 0);
        self.time("(drawing and writing a key)", 2_000_000, |_| last ^= key(drawn.below(keys))[15]);
        std::hint::black_box(last);
        self.time("get, any key", 2_000_000, |_| found += self.get(rng.below(keys)));
        assert_eq!(found, 2_000_000 * self.options.value_len, "every key is there");
        self.time("get, one of 1,000 keys", 4_000_000, |_| found += self.get(rng.below(keys.min(1_000))));
        self.time("put over, any key", 2_000_000, |n| self.put(rng.below(keys), n));
        self.time("put over, one of 1,000 keys", 4_000_000, |n| self.put(rng.below(keys.min(1_000)), n));
        let each = 2_000_000;
        let start = self.clock.monotonic();
        std::thread::scope(|scope| {
            for thread in 0..self.options.threads {
                scope.spawn(move || {
                    let mut rng = SeededRng::new(thread);
                    for n in 0..each {
                        if n % 10 == 0 {
                            self.put(rng.below(keys), n);
                        } else {
                            self.get(rng.below(keys));
                        }
                    }
                });
            }
        });
        let took = self.clock.monotonic().saturating_sub(start).as_secs_f64();
        let rate = (each * self.options.threads) as f64 / took / 1e6;
        println!("{} threads, a tenth puts      {rate:>7.1} million a second", self.options.threads);
    }

    /// The sweeps that follow, which find nothing to remove and give empty pages back, twenty a second.
    fn give_back(&self) {
        let (start, mut slowest) = (cpu(), Duration::ZERO);
        for _ in 0..ROUNDS_AFTER {
            let began = cpu();
            self.table.sweep(Hlc::from_ms(END_MS + 1_500), 128);
            slowest = slowest.max(cpu().saturating_sub(began));
        }
        println!(
            "{ROUNDS_AFTER} sweeps that gave pages back: {:.3} s of a processor, the longest {:.1} ms",
            cpu().saturating_sub(start).as_secs_f64(),
            slowest.as_secs_f64() * 1e3
        );
    }

    /// All values end within one second; somebody else reads meanwhile and notes how long each read took.
    fn sweep(&self) {
        let done = AtomicBool::new(false);
        let (longest, reads) = (AtomicU64::new(0), AtomicU64::new(0));
        let over_100us = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut rng = SeededRng::new(9);
                while !done.load(Ordering::Acquire) {
                    let start = self.clock.monotonic();
                    self.get(rng.below(self.options.keys));
                    let took = (self.clock.monotonic().saturating_sub(start)).as_nanos() as u64;
                    longest.fetch_max(took, Ordering::Relaxed);
                    over_100us.fetch_add(u64::from(took > 100_000), Ordering::Relaxed);
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
            let (start, start_cpu) = (self.clock.monotonic(), cpu());
            let (mut removed, mut slowest, mut calls, mut slow) = (0, Duration::ZERO, 0, 0);
            loop {
                let began = cpu();
                // A single portion for each call: what one lock is held for, at most.
                let swept = self.table.sweep(Hlc::from_ms(END_MS + 1_500), 128);
                let portion = cpu().saturating_sub(began);
                slowest = slowest.max(portion);
                slow += u64::from(portion > Duration::from_millis(1));
                (removed, calls) = (removed + swept.removed, calls + 1);
                if !swept.more {
                    break;
                }
            }
            let took = self.clock.monotonic().saturating_sub(start);
            done.store(true, Ordering::Release);
            let busy = cpu().saturating_sub(start_cpu).as_secs_f64();
            println!("sweep of {removed} values, each portion by itself");
            println!("  {:.3} s, {busy:.3} s of a processor, {calls} portions", took.as_secs_f64());
            println!(
                "  longest portion (one lock)  {:>6.0} µs of a processor, {slow} above 1 ms",
                slowest.as_secs_f64() * 1e6
            );
        });
        println!(
            "meanwhile {} reads, the longest {:.0} µs, {} above 100 µs",
            reads.into_inner(),
            longest.into_inner() as f64 / 1e3,
            over_100us.into_inner()
        );
    }
}

fn main() -> Result<(), String> {
    let options = options()?;
    let before = resident();
    let bench = Bench {
        table: MemoryTable::new(MemoryConfig { cap_bytes: 0, hash_seed: 3 }),
        clock: SystemClock::new(),
        value: vec![7; options.value_len],
        options,
    };
    println!(
        "{} keys of 16 bytes, values of {} bytes; an empty table holds {} KiB",
        bench.options.keys,
        bench.options.value_len,
        resident().saturating_sub(before) >> 10
    );
    bench.figures(before);
    if bench.options.has_end {
        bench.sweep();
        bench.give_back();
        println!(
            "afterwards                   {:>7.1} MiB resident more than before",
            resident().saturating_sub(before) as f64 / f64::from(1 << 20)
        );
    }
    Ok(())
}
