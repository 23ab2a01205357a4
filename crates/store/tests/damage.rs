//! Damage: every byte of every file of a small store is flipped, one at a time; every sector is wiped, one at
//! a time; files vanish. What comes back is right, repaired or a typed error: never wrong, never silently
//! missing.

#[path = "../examples/crashpoints/model.rs"]
#[allow(dead_code)]
mod model;
#[path = "../examples/crashpoints/workload.rs"]
#[allow(dead_code)]
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::rng::SeededRng;
use larder_store::api::{BlobStore, Next, RecordStore, StoreError, Want};
use larder_store::disk::sim::{Loss, SimDisk};
use larder_store::log::LogStore;

use model::{KEYS, Model, TOKENS, at, blob, key, slot, token};
use workload::{Run, config, steps};

type Files = BTreeMap<String, Vec<u8>>;

/// What damaged files came to.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    right: u64,
    errors: u64,
}

/// A store of a few segments, killed, and what it must hold.
fn store(seed: u64) -> (Files, Model) {
    let mut run = Run::new(SimDisk::new());
    run.play(&steps(seed, 40)).unwrap();
    let files = run.disk.crash(Loss::Nothing).contents();
    (files, run.history.last().unwrap().clone())
}

fn open(files: &Files) -> Result<LogStore, StoreError> {
    LogStore::open_on(Arc::new(SimDisk::with_contents(files)), config(), &mut SeededRng::new(5))
}

/// Stores with several sealed segments, live leases and removals.
fn rich_stores(count: usize) -> Vec<(Files, Model)> {
    let rich = |(files, want): &(Files, Model)| {
        let sidecars = files.keys().filter(|name| name.ends_with(".idx")).count();
        sidecars >= 2 && want.records.len() >= 3 && !want.leases.is_empty() && !want.floors.is_empty()
    };
    (0..400).map(store).filter(rich).take(count).collect()
}

fn leased(want: &Model) -> BTreeSet<u8> {
    want.leases.values().flat_map(|lease| lease.blobs.iter().copied()).collect()
}

/// An answer is right, or an error that says so. `Ok(true)`: right.
fn judge<T: PartialEq + std::fmt::Debug>(got: Result<T, StoreError>, want: &T) -> Result<bool, String> {
    match got {
        Ok(got) if got == *want => Ok(true),
        Ok(got) => Err(format!("want {want:?}, got {got:?}")),
        Err(error) if error.kind() == Kind::Damaged => Ok(false),
        Err(error) => Err(format!("want {want:?}, got another error: {error}")),
    }
}

/// Asks for everything; answers whether all of it was right.
fn ask(files: &Files, want: &Model) -> Result<bool, String> {
    let store = match open(files) {
        Ok(store) => store,
        Err(error) if error.kind() == Kind::Damaged => return Ok(false),
        Err(error) => return Err(format!("not opened: {error}")),
    };
    let mut all = true;
    for number in 0..KEYS {
        let key = key(number);
        let record = want.records.get(&number);
        let state = record.and_then(|record| slot(record).state);
        all &= judge(store.read(at(&key), Want::All).map(|(state, _)| state), &state)
            .map_err(|what| format!("key {number}: {what}"))?;
        let (mut floor, mut promised) = (0, None);
        let updated = store.update(at(&key), &mut |current| {
            floor = current.floor().round;
            promised = current.ballots().map(|ballots| ballots.promised.round);
            Ok(Next::Keep)
        });
        let seen = updated.map(|_| (floor, promised));
        // A lost removal cannot be seen from a key that is there: its own state says more than the floor.
        let hidden = store.has_unaccepted_damage() && record.is_some();
        let floor = if hidden { floor } else { want.floors.get(&model::group(number)).copied().unwrap_or(0) };
        all &= judge(seen, &(floor, record.and_then(|record| record.promised)))
            .map_err(|what| format!("floor and ballots of key {number}: {what}"))?;
    }
    for number in leased(want) {
        let (id, bytes) = blob(number);
        all &= judge(store.get(id), &Some(bytes)).map_err(|what| format!("blob {number}: {what}"))?;
    }
    if !store.has_unaccepted_damage() {
        for number in 0..TOKENS {
            let got = (
                store.lease_info(token(number)).map(|info| info.deadline_ms),
                store.is_released(token(number)),
            );
            let lease = want.leases.get(&number).map(|lease| lease.deadline_ms);
            if got != (lease, want.spent.contains(&number)) {
                return Err(format!("lease {number}: got {got:?}"));
            }
        }
        if store.time().ms() != want.time_ms {
            return Err(format!("time: got {:?}", store.time()));
        }
        // Nothing is refused because of damage that was put right.
        store.collect(10).map_err(|e| format!("collect: {e}"))?;
    }
    Ok(all)
}

/// Tries many damaged versions of a store on all cores.
fn try_all(cases: &[(String, Files)], want: &Model) -> Tally {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let part = cases.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = cases
            .chunks(part)
            .map(|cases| {
                scope.spawn(move || {
                    let mut tally = Tally::default();
                    for (what, files) in cases {
                        match ask(files, want) {
                            Ok(true) => tally.right += 1,
                            Ok(false) => tally.errors += 1,
                            Err(wrong) => panic!("{what}: {wrong}"),
                        }
                    }
                    tally
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .fold(Tally::default(), |a, b| Tally { right: a.right + b.right, errors: a.errors + b.errors })
    })
}

/// Files in which damage matters: not the reserve, not segments that wait to be used again.
fn matters(name: &str) -> bool {
    name != "reserve" && !name.ends_with(".free")
}

#[test]
fn a_flipped_byte_anywhere_is_repaired_or_a_typed_error() {
    let (files, want) = rich_stores(1).remove(0);
    assert_eq!(ask(&files, &want), Ok(true), "undamaged");
    let mut total = Tally::default();
    for (name, bytes) in files.iter().filter(|(name, _)| matters(name)) {
        for start in (0..bytes.len()).step_by(2048) {
            let cases: Vec<(String, Files)> = (start..bytes.len().min(start + 2048))
                .map(|offset| {
                    let mut damaged = files.clone();
                    damaged.get_mut(name).unwrap()[offset] ^= 1 << (offset % 8);
                    (format!("{name} offset {offset}"), damaged)
                })
                .collect();
            let tally = try_all(&cases, &want);
            total.right += tally.right;
            total.errors += tally.errors;
        }
    }
    println!("{total:?}");
    // Only bytes of values that are needed may end in an error.
    let values: u64 = want.records.values().map(|record| u64::from(record.len)).sum::<u64>()
        + leased(&want).iter().map(|number| blob(*number).1.len() as u64).sum::<u64>();
    assert!(total.errors <= values, "{total:?}, but needed values have only {values} bytes");
    assert!(total.errors > 0, "a damaged value must be an error");
}

#[test]
fn a_wiped_sector_anywhere_is_a_typed_error_or_does_not_matter() {
    for (seed, (files, want)) in rich_stores(4).into_iter().enumerate() {
        let mut cases = Vec::new();
        for (name, bytes) in files.iter().filter(|(name, _)| matters(name)) {
            for start in (0..bytes.len()).step_by(512) {
                let mut damaged = files.clone();
                let end = bytes.len().min(start + 512);
                damaged.get_mut(name).unwrap()[start..end].fill(0);
                cases.push((format!("seed {seed} {name} sector at {start}"), damaged));
            }
        }
        println!("{:?}", try_all(&cases, &want));
    }
}

#[test]
fn a_missing_file_is_a_typed_error_or_made_anew() {
    for (seed, (files, want)) in rich_stores(4).into_iter().enumerate() {
        let without = |name: &String| {
            let mut damaged = files.clone();
            damaged.remove(name);
            (format!("seed {seed} without {name}"), damaged)
        };
        let cases: Vec<_> = files.keys().filter(|name| matters(name)).map(without).collect();
        println!("{:?}", try_all(&cases, &want));
    }
}
