//! What one opening found, the next ones find too: loss that nobody accepted is not forgotten, what was cut
//! off does not come back, and what was accepted stays accepted.

#![allow(clippy::print_stdout, reason = "counts are for whoever runs it with --nocapture")]
#![allow(unused_must_use, reason = "tickets resolve when the test pumps")]

#[path = "../examples/crashpoints/model.rs"]
#[allow(dead_code, reason = "every test file uses a part of it")]
mod model;
#[path = "../examples/crashpoints/workload.rs"]
#[allow(dead_code, reason = "every test file uses a part of it")]
mod workload;

use std::collections::BTreeMap;
use std::sync::Arc;

use larder_format::clock::Hlc;
use larder_format::error::Kind;
use larder_format::record::RecordState;
use larder_format::rng::{Rng, SeededRng};
use larder_format::segment::BLOCK_LEN;
use larder_store::api::{BlobStore, RecordStore, Want};
use larder_store::disk::sim::{Fault, Loss, SimDisk};
use larder_store::log::LogStore;

use model::{BLOBS, KEYS, at, blob, key};
use workload::{Run, config, steps};

type Files = BTreeMap<String, Vec<u8>>;

/// What is known of everything: a state, "absent", or (`Err`) that it may be lost.
type Answers = Vec<Result<Option<RecordState>, ()>>;

fn answers(store: &LogStore) -> Answers {
    let ask = |number| match store.read(at(&key(number)), Want::All) {
        Ok((state, _)) => Ok(state),
        Err(error) if error.kind() == Kind::Damaged => Err(()),
        Err(error) => panic!("{error}"),
    };
    (0..KEYS).map(ask).collect()
}

/// Which blobs are there.
fn blobs(store: &LogStore) -> Vec<bool> {
    (0..BLOBS).map(|number| store.get(blob(number).0).is_ok_and(|(found, _)| found.is_some())).collect()
}

fn open(disk: &SimDisk) -> Option<LogStore> {
    disk.unlock();
    LogStore::open_on(Arc::new(disk.clone()), config(), &mut SeededRng::new(5)).ok()
}

/// Writes until the log has begun new segments, changing nothing else.
fn roll(store: &LogStore) {
    let high = store.time().ms();
    for later in 1..=400 {
        store.raise_time(Hlc::from_ms(high + later)).unwrap();
    }
    store.pump().unwrap();
}

/// A store that some fault stopped, with several segments.
fn stopped(seed: u64) -> Option<SimDisk> {
    let mut run = Run::new(SimDisk::new());
    run.play(&steps(seed, 40)).unwrap();
    let calls = run.disk.calls();
    let mut run = Run::new(SimDisk::new());
    run.disk.fail_at(calls / 2 + seed * 7 % (calls / 2), Fault::Kill);
    run.play(&steps(seed, 40));
    let disk = run.disk.crash(Loss::Nothing);
    (disk.contents().keys().filter(|name| name.ends_with(".seg")).count() >= 3).then_some(disk)
}

/// Damages files, each in one way.
fn damages(files: &Files, rng: &mut SeededRng) -> Vec<(String, Files)> {
    let segments: Vec<&String> = files.keys().filter(|name| name.ends_with(".seg")).collect();
    let mut out = Vec::new();
    for name in &segments {
        let mut missing = files.clone();
        missing.remove(*name);
        missing.remove(&name.replace(".seg", ".idx"));
        out.push((format!("{name} missing"), missing));
        let mut headless = files.clone();
        let bytes = headless.get_mut(*name).unwrap();
        let head = bytes.len().min(BLOCK_LEN);
        bytes[..head].fill(0);
        out.push((format!("{name} headless"), headless));
    }
    let last_two = &segments[segments.len() - 2..];
    let mut without: Files = files.clone();
    last_two.iter().for_each(|name| drop(without.remove(*name)));
    out.push(("the last two missing".into(), without));
    for name in last_two.iter().flat_map(|name| [name; 6]) {
        let mut wiped = files.clone();
        let bytes = wiped.get_mut(*name).unwrap();
        let start =
            BLOCK_LEN + 64 * rng.below((bytes.len().saturating_sub(BLOCK_LEN) as u64 / 64).max(1)) as usize;
        let end = bytes.len().min(start + 512 * (1 + rng.below(12) as usize));
        if start < end {
            bytes[start..end].fill(0);
            wiped.remove(&name.replace(".seg", ".idx"));
            out.push((format!("{name} wiped {start}..{end}"), wiped));
        }
    }
    out
}

/// Opens what was damaged again and again, with new segments in between. Answers whether anything was lost.
fn check(files: &Files, accept: bool) -> Result<bool, String> {
    let disk = SimDisk::with_contents(files);
    let Some(mut store) = open(&disk) else { return Ok(false) };
    let lost = store.open_report().lost.clone();
    let expected = if accept { Vec::new() } else { lost.clone() };
    if accept {
        store.accept_damage().unwrap();
    }
    let (first, held) = (answers(&store), blobs(&store));
    for round in 1..=3 {
        roll(&store);
        if expected.is_empty() {
            while store.compact(1 << 20).unwrap().more {}
        } else {
            assert_eq!(store.collect(10).unwrap_err().kind(), Kind::Damaged);
        }
        store.close().unwrap();
        store = open(&disk).ok_or(format!("round {round}: cannot be opened again"))?;
        let found = store.open_report().lost.clone();
        if !covers(&found, &expected) {
            return Err(format!("round {round}: lost {expected:?}, then {found:?}"));
        }
        // Where a missing segment ends may be known less well once the one after it was freed.
        let grown = !covers(&expected, &found);
        let now = answers(&store);
        let same = |(first, now): (&Result<_, _>, &Result<_, _>)| first == now || (grown && now.is_err());
        if !first.iter().zip(&now).all(same) || blobs(&store) != held || (accept && grown) {
            return Err(format!("round {round}: {first:?} {held:?}, then {now:?} {:?}", blobs(&store)));
        }
    }
    Ok(!lost.is_empty())
}

/// Whether every number lost in `some` is lost in `all`.
fn covers(all: &[(u64, u64)], some: &[(u64, u64)]) -> bool {
    let lost = |number| all.iter().any(|(from, through)| (*from..=*through).contains(&number));
    some.iter().all(|(from, through)| (*from..=*through).all(lost))
}

#[test]
fn what_was_found_once_is_found_again() {
    let mut rng = SeededRng::new(1);
    let (mut looked, mut lossy, mut wrong) = (0, 0, Vec::new());
    for (seed, disk) in (0..200).filter_map(|seed| Some((seed, stopped(seed)?))) {
        for (what, files) in damages(&disk.contents(), &mut rng) {
            for accept in [false, true] {
                looked += 1;
                match check(&files, accept) {
                    Ok(lost) => lossy += u32::from(lost),
                    Err(error) => wrong.push(format!("seed {seed} {what} accept={accept}: {error}")),
                }
            }
        }
    }
    println!("{looked} looked at, something was lost in {lossy}");
    assert!(lossy > 500, "{lossy} of {looked}");
    assert!(wrong.is_empty(), "{} of {looked}\n{}", wrong.len(), wrong[..wrong.len().min(8)].join("\n"));
}
