//! Damage: every byte of every file of a small store is flipped, one at a time; every sector is wiped, one at
//! a time; files vanish. What comes back is right, repaired or a typed error: never wrong, never silently
//! missing.

#![allow(clippy::print_stdout, reason = "counts are for whoever runs it with --nocapture")]
#![allow(unused_must_use, reason = "tickets resolve when the test pumps")]

#[path = "../examples/crashpoints/model.rs"]
#[allow(dead_code, reason = "every test file uses a part of it")]
mod model;
#[path = "../examples/crashpoints/workload.rs"]
#[allow(dead_code, reason = "every test file uses a part of it")]
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use larder_format::clock::Hlc;
use larder_format::error::Kind;
use larder_format::rng::SeededRng;
use larder_store::api::{BlobStore, Next, RecordStore, StoreError, Want};
use larder_store::disk::sim::{Fault, Loss, SimDisk};
use larder_store::log::LogStore;

use model::{KEYS, Model, TOKENS, at, blob, key, slot, token};
use workload::{Run, Step, config, steps};

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
    open_on(&SimDisk::with_contents(files))
}

fn open_on(disk: &SimDisk) -> Result<LogStore, StoreError> {
    LogStore::open_on(Arc::new(disk.clone()), config(), &mut SeededRng::new(5))
}

/// Stores with several sealed segments, live leases and removals.
fn rich_stores(count: usize) -> Vec<(Files, Model)> {
    let rich = |(files, want): &(Files, Model)| {
        let sidecars = files.keys().filter(|name| name.ends_with(".idx")).count();
        sidecars >= 2 && want.records.len() >= 3 && !want.leases.is_empty() && !want.floors.is_empty()
    };
    let stores: Vec<_> = (0..400).map(store).filter(rich).take(count).collect();
    assert_eq!(stores.len(), count, "there are not so many");
    stores
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
    ask_on(&SimDisk::with_contents(files), want)
}

fn ask_on(disk: &SimDisk, want: &Model) -> Result<bool, String> {
    let store = match open_on(disk) {
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
        all &= judge(store.get(id).map(|(found, _)| found), &Some(bytes))
            .map_err(|what| format!("blob {number}: {what}"))?;
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

/// What is acknowledged while a sector cannot be read is there when it can be again.
fn go_on_without(disk: &SimDisk, what: &str) {
    disk.unlock();
    let Ok(store) = open_on(disk) else { return };
    let later = store.time().ms() + 1_000;
    store.raise_time(Hlc::from_ms(later)).unwrap();
    store.close().unwrap();
    let again = open(&disk.contents()).unwrap();
    assert_eq!(again.time().ms(), later, "{what}");
}

/// A wiped sector reads as zeros; a broken one does not read at all.
#[test]
fn a_sector_that_cannot_be_read_costs_what_is_in_it_and_not_the_start() {
    let (mut right, mut errors, mut refused) = (0, 0, 0);
    for (seed, (files, want)) in rich_stores(4).into_iter().enumerate() {
        let last = files.keys().rfind(|name| name.ends_with(".seg")).unwrap();
        let heads = |name: &str| name == "STORE" || name == "marks";
        for (name, bytes) in files.iter().filter(|(name, _)| matters(name) && !heads(name)) {
            for start in (0..bytes.len() as u64).step_by(4096) {
                // Without lists segments are read as well; without marks it is open what was durable at the end.
                for missing in ["none", ".idx", "marks"] {
                    let mut files = files.clone();
                    files.retain(|name, _| !name.ends_with(missing));
                    let disk = SimDisk::with_contents(&files);
                    disk.spoil(name, start..start + 4096);
                    let asked = ask_on(&disk, &want);
                    go_on_without(&disk, &format!("seed {seed} {name} block at {start} without {missing}"));
                    match asked {
                        Ok(true) => right += 1,
                        Ok(false) => errors += 1,
                        Err(what) if name == last && what.contains("reading the end of the log") => {
                            refused += 1;
                            // The start that was refused has changed nothing: once the disk reads the sector again, all
                            // of it is there.
                            assert_eq!(ask(&disk.contents(), &want), Ok(true), "seed {seed} {name} {start}");
                        }
                        Err(what) => panic!("seed {seed} {name} block at {start} without {missing}: {what}"),
                    }
                }
            }
        }
    }
    println!("right {right}, errors {errors}, refused {refused}");
    assert!(errors > 20 && right > 20, "right {right}, errors {errors}");
    assert!((1..40).contains(&refused), "{refused}: only where the log ends");
}

#[test]
fn a_log_is_not_gone_on_with_where_its_end_cannot_be_read() {
    let disk = SimDisk::new();
    let store = open_on(&disk).unwrap();
    store.raise_time(Hlc::from_ms(5)).unwrap();
    store.pump().unwrap();
    (6..40).for_each(|ms| drop(store.raise_time(Hlc::from_ms(ms)).unwrap()));
    // Written, and killed before it was synced: frames that nobody was told of follow those that are durable.
    disk.fail_at(disk.calls() + 1, Fault::Kill);
    assert!(store.pump().is_err());
    let files = disk.crash(Loss::Nothing).contents();
    for block in [0, 4096] {
        let disk = SimDisk::with_contents(&files);
        disk.spoil("00000001.seg", block..block + 4096);
        go_on_without(&disk, "what was acknowledged meanwhile");
        disk.unlock();
        let refused = open_on(&disk).map(|_| ());
        assert!(matches!(refused, Err(StoreError::EndUnread { .. })), "block at {block}: {refused:?}");
        assert!(open(&disk.contents()).unwrap().time() >= Hlc::from_ms(5));
    }
}

#[test]
fn a_missing_file_is_a_typed_error_or_made_anew() {
    for (seed, (files, want)) in rich_stores(40).into_iter().enumerate() {
        let without = |name: &String| {
            let mut damaged = files.clone();
            damaged.remove(name);
            (format!("seed {seed} without {name}"), damaged)
        };
        let cases: Vec<_> = files.keys().filter(|name| matters(name)).map(without).collect();
        println!("{:?}", try_all(&cases, &want));
    }
}

/// Two stores with the same history up to their last frame: the second's last frame put in the place of the
/// first's is whole, in its place, under the right salt and with the right number, but never followed what
/// is before it.
fn spliced() -> (Files, Files) {
    let history = |first_len: u16| {
        let mut run = Run::new(SimDisk::new());
        run.play(&[
            Step::Put { key: 0, len: first_len, ballots: false },
            Step::Pump,
            Step::Put { key: 1, len: 100, ballots: false },
        ])
        .unwrap();
        run.disk.crash(Loss::Nothing).contents()
    };
    (history(96), history(95))
}

/// What reading key 1 gives when its frame comes from another history.
fn read_spliced() -> Result<Option<larder_format::record::RecordState>, StoreError> {
    let (mut ours, other) = spliced();
    let name = "00000001.seg";
    let (a, b) = (&ours[name], &other[name]);
    assert_eq!(a.len(), b.len());
    // The last frame of both: 64 bytes of header and what follows, found from the end by its magic.
    let last = (0..a.len() - 1).rev().step_by(1).find(|at| at % 8 == 0 && a[*at..*at + 2] == *b"LF").unwrap();
    assert_ne!(a[last..], b[last..], "only the chain tells them apart");
    let tail = b[last..].to_vec();
    ours.get_mut(name).unwrap().truncate(last);
    ours.get_mut(name).unwrap().extend(tail);
    let store = open(&ours)?;
    store.read(at(&key(1)), Want::All).map(|(state, _)| state)
}

#[test]
fn a_frame_of_another_history_is_refused() {
    let read = read_spliced();
    assert!(matches!(read, Err(StoreError::Damaged { .. })), "{read:?}");
}

/// A sidecar whose list says something else, under a stamp that is whole.
fn ask_with_false_sidecar() -> Result<bool, String> {
    let (files, want) = rich_stores(1).remove(0);
    let mut wrong = Ok(true);
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".idx")) {
        for offset in (4096..bytes.len()).step_by(3) {
            let mut damaged = files.clone();
            damaged.get_mut(name).unwrap()[offset] ^= 0x10;
            let asked = std::panic::catch_unwind(|| ask(&damaged, &want)).unwrap_or(Err("panicked".into()));
            wrong = wrong.and_then(|all| Ok(all && asked?));
        }
    }
    wrong
}

#[test]
fn a_sidecar_is_believed_only_if_its_checksum_holds() {
    assert_eq!(ask_with_false_sidecar(), Ok(true));
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_that_only_damage_shows_are_noticed() {
    larder_store::planted::plant("chain not checked");
    assert!(read_spliced().is_ok(), "without the chain the frame passes");
    larder_store::planted::plant("sidecar trusted without checksum");
    assert_ne!(ask_with_false_sidecar(), Ok(true), "a false list makes wrong answers");
    larder_store::planted::plant("");
}

#[test]
fn accepting_a_loss_makes_the_store_usable_and_lasts() {
    let (files, _) = rich_stores(1).remove(0);
    let name = files.keys().rfind(|name| name.ends_with(".seg")).unwrap().clone();
    let mut damaged = files.clone();
    let bytes = damaged.get_mut(&name).unwrap();
    let end = bytes.len().min(4096 + 256);
    bytes[4096..end].fill(0xa5);
    let disk = SimDisk::with_contents(&damaged);
    let open = |disk: &SimDisk| {
        disk.unlock();
        LogStore::open_on(Arc::new(disk.clone()), config(), &mut SeededRng::new(5)).unwrap()
    };
    let store = open(&disk);
    assert!(store.has_unaccepted_damage(), "{:?}", store.open_report());
    let unknown = larder_format::record::Key::new(&b"never written"[..]).unwrap();
    assert!(matches!(store.read(at(&unknown), Want::All), Err(StoreError::Damaged { .. })));
    assert!(store.collect(1).is_err() && store.compact(1).is_err());
    store.accept_damage().unwrap();
    assert_eq!(store.read(at(&unknown), Want::All).unwrap().0, None);
    let mut floor = 0;
    drop(store.update(at(&unknown), &mut |current| {
        floor = current.floor().round;
        Ok(Next::Keep)
    }));
    assert!(floor > 0, "floors rise, so that no version is used twice");
    store.collect(100).unwrap();
    drop(store);
    let store = open(&disk);
    assert!(!store.has_unaccepted_damage(), "{:?}", store.open_report());
    assert_eq!(store.read(at(&unknown), Want::All).unwrap().0, None);
}

/// A store in which one byte of a leased blob in a sealed segment is damaged.
fn with_damaged_blob() -> (Model, u8, LogStore) {
    for (files, want) in rich_stores(20) {
        let last = files.keys().rfind(|name| name.ends_with(".seg")).unwrap().clone();
        let sealed: Vec<_> =
            files.iter().filter(|(name, _)| name.ends_with(".seg") && **name != last).collect();
        for number in leased(&want) {
            let (id, bytes) = blob(number);
            for (name, file) in &sealed {
                let Some(at) = file.windows(64).position(|window| *window == bytes[..64]) else { continue };
                let mut damaged = files.clone();
                damaged.get_mut(*name).unwrap()[at + 100] ^= 1;
                // Compaction may have left an older copy behind, which nobody needs.
                if open(&damaged).unwrap().get(id).is_err() {
                    return (want, number, open(&damaged).unwrap());
                }
            }
        }
    }
    panic!("no store has a leased blob in a sealed segment");
}

#[test]
fn scrub_names_exactly_what_is_damaged_and_putting_it_again_heals_it() {
    let (want, number, store) = with_damaged_blob();
    let mut found = Vec::new();
    loop {
        let report = store.scrub(3_000).unwrap();
        found.extend(report.damaged);
        if report.finished {
            break;
        }
    }
    let (id, bytes) = blob(number);
    assert_eq!(found.iter().filter_map(|item| item.blob).collect::<Vec<_>>(), vec![id]);
    assert!(matches!(store.get(id), Err(StoreError::Damaged { .. })));
    let free = (0..TOKENS).find(|number| !want.spent.contains(number)).unwrap();
    store.put(id, bytes.clone(), &model::grant(free, want.time_ms + 1_000)).unwrap();
    store.pump().unwrap();
    assert_eq!(store.get(id).unwrap().0, Some(bytes));
}
