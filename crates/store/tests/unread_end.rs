//! A log that ends where the disk cannot read: it is opened only after somebody gave that end up, in so many words.
//! What can be read stays, the file itself is kept, and a crash in the middle leaves one or the other.

#![allow(clippy::print_stdout, reason = "counts are for whoever runs it with --nocapture")]

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
use larder_format::rng::SeededRng;
use larder_store::api::{RecordStore, StoreError, Want};
use larder_store::disk::Disk;
use larder_store::disk::sim::{Fault, Loss, SimDisk};
use larder_store::log::{EndLoss, LogStore};

use model::{KEYS, Model, at, dump, key};
use workload::{Run, config, steps};

const BLOCK: u64 = 4096;

/// A disk of which one block at the end of the log cannot be read, and what the store went through.
struct Case {
    disk: SimDisk,
    history: Vec<Model>,
    what: String,
}

fn open(disk: &SimDisk) -> Result<LogStore, StoreError> {
    disk.unlock();
    LogStore::open_on(Arc::new(disk.clone()), config(), &mut SeededRng::new(5))
}

fn look(disk: &SimDisk) -> Result<Option<EndLoss>, StoreError> {
    disk.unlock();
    LogStore::end_loss_on(disk)
}

fn give_up(disk: &SimDisk) -> Result<Option<EndLoss>, StoreError> {
    disk.unlock();
    LogStore::give_up_end_on(Arc::new(disk.clone()), config(), &mut SeededRng::new(5))
}

/// A copy of a disk, broken in the same places.
fn copy(disk: &SimDisk) -> SimDisk {
    disk.crash(Loss::Nothing)
}

/// Disks that are refused, of several workloads: every block of the last segments, with and without the marks that say what
/// was durable.
fn cases(seeds: std::ops::Range<u64>) -> Vec<Case> {
    let mut out = Vec::new();
    for seed in seeds {
        let mut run = Run::new(SimDisk::new());
        run.play(&steps(seed, 40)).unwrap();
        let files = run.disk.crash(Loss::Nothing).contents();
        let segments: Vec<&String> = files.keys().filter(|name| name.ends_with(".seg")).collect();
        for name in segments.iter().rev().take(2) {
            for start in (0..files[*name].len() as u64).step_by(4096) {
                for missing in ["none", "marks"] {
                    let mut files = files.clone();
                    files.retain(|name, _| !name.ends_with(missing));
                    let disk = SimDisk::with_contents(&files);
                    disk.spoil(name, start..start + BLOCK);
                    if matches!(open(&copy(&disk)), Err(StoreError::EndUnread { .. })) {
                        let what = format!("seed {seed} {name} block at {start} without {missing}");
                        out.push(Case { disk, history: run.history.clone(), what });
                    }
                }
            }
        }
    }
    out
}

/// What the files hold, the last bit of it: their names may differ.
fn is_kept(before: &SimDisk, after: &SimDisk, loss: &EndLoss) -> bool {
    let (before, after) = (before.contents(), after.contents());
    loss.files.iter().all(|file| {
        let was = &before[&file.name];
        [&file.name, &file.kept_as].iter().any(|name| after.get(*name) == Some(was))
    })
}

/// The store is open, whole as far as it was not lost, and can be gone on with.
fn serves(disk: &SimDisk, case: &Case, loss: &EndLoss) {
    let store = open(disk).unwrap_or_else(|error| panic!("{}: {error}", case.what));
    assert!(!store.has_unaccepted_damage(), "{}: {:?}", case.what, store.open_report());
    let mut all = BTreeMap::new();
    for number in 0..KEYS {
        match store.read(at(&key(number)), Want::All) {
            Ok((state, _)) => drop(all.insert(number, state)),
            // Its value is what could not be read.
            Err(error) => assert_eq!(error.kind(), Kind::Damaged, "{}: {error}", case.what),
        }
    }
    if loss.lost.is_empty() {
        let found: Vec<_> = case.history.iter().map(|model| (dump(&store, model), model)).collect();
        // What could not be read may have been a value of the part that stays.
        let is_right = |(found, model): &(Result<Model, StoreError>, &Model)| match found {
            Ok(found) => found == *model,
            Err(error) => error.kind() == Kind::Damaged,
        };
        assert!(found.iter().any(is_right), "{}: no state that was ever there", case.what);
    }
    store.collect(100).unwrap();
    let later = store.time().ms() + 1_000;
    drop(store.raise_time(Hlc::from_ms(later)).unwrap());
    store.close().unwrap();
    let again = open(disk).unwrap();
    assert_eq!(again.time().ms(), later, "{}", case.what);
    for (number, state) in all {
        assert_eq!(again.read(at(&key(number)), Want::All).unwrap().0, state, "{}", case.what);
    }
}

#[test]
fn an_end_that_cannot_be_read_is_given_up_on_demand_and_kept_aside() {
    let (mut known, mut open_question) = (0, 0);
    for case in cases(0..40) {
        let whole = case.disk.contents();
        let loss = look(&case.disk).unwrap().unwrap_or_else(|| panic!("{}: nothing is lost", case.what));
        assert_eq!(case.disk.contents(), whole, "{}: looking changes nothing", case.what);
        assert!(!loss.files.is_empty(), "{}", case.what);
        // It never happens by itself: starting goes on being refused.
        assert!(open(&case.disk).is_err(), "{}", case.what);
        let disk = copy(&case.disk);
        assert_eq!(
            give_up(&disk).unwrap(),
            Some(loss.clone()),
            "{}: what was said is what is done",
            case.what
        );
        let before = SimDisk::with_contents(&whole);
        assert!(is_kept(&before, &disk, &loss), "{}: {loss:?}", case.what);
        serves(&disk, &case, &loss);
        *(if loss.lost.is_empty() { &mut open_question } else { &mut known }) += 1;
        assert_eq!(look(&disk).unwrap(), None, "{}: once is enough", case.what);
        assert_eq!(give_up(&disk).unwrap(), None, "{}", case.what);
    }
    println!("{known} lose what was durable, {open_question} may");
    assert!(known > 5 && open_question > 5, "{known} {open_question}");
}

#[test]
fn an_end_that_can_be_read_is_not_given_up() {
    let mut run = Run::new(SimDisk::new());
    run.play(&steps(3, 40)).unwrap();
    let disk = run.disk.crash(Loss::Nothing);
    let files = disk.contents();
    assert_eq!(look(&disk).unwrap(), None);
    assert_eq!(give_up(&disk).unwrap(), None);
    assert_eq!(disk.contents(), files);
    // Nor is a folder without a store.
    let empty = SimDisk::new();
    assert_eq!(give_up(&empty).unwrap(), None);
    assert!(empty.list().unwrap().is_empty());
}

/// Every call of giving up fails in several ways, and the machine loses some of what was not synced.
#[test]
fn a_crash_while_an_end_is_given_up_leaves_what_can_be_read_and_what_cannot() {
    let (mut states, mut finished) = (0, 0);
    for case in cases(0..12).into_iter().step_by(29) {
        let loss = look(&case.disk).unwrap().unwrap();
        let probe = copy(&case.disk);
        give_up(&probe).unwrap();
        for call in 0..probe.calls() {
            for fault in
                [Fault::Kill, Fault::Torn { piece_len: 512, seed: call }, Fault::Error, Fault::NoSpace]
            {
                for lost in [
                    Loss::Nothing,
                    Loss::Everything,
                    Loss::KeepOnly(1),
                    Loss::KeepOnly(2),
                    Loss::Random(call),
                ] {
                    let disk = copy(&case.disk);
                    disk.fail_at(call, fault);
                    let outcome = give_up(&disk);
                    let disk = disk.crash(lost);
                    let what = format!("{} call {call} {fault:?} {lost:?}", case.what);
                    states += 1;
                    if outcome.is_ok() {
                        finished += 1;
                    }
                    // Whoever starts the node next either finds it refused still, or done.
                    let done = match open(&disk) {
                        // What is lost may not be accepted yet; that is asked for as with any other damage.
                        Ok(_) => true,
                        Err(StoreError::EndUnread { .. }) => false,
                        Err(error) => panic!("{what}: {error}"),
                    };
                    if !done {
                        assert!(give_up(&disk).unwrap_or_else(|e| panic!("{what}: {e}")).is_some(), "{what}");
                    }
                    assert!(is_kept(&case.disk, &disk, &loss), "{what}");
                    let store = open(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
                    if store.has_unaccepted_damage() {
                        store.accept_damage().unwrap();
                    }
                    store.close().unwrap();
                    serves(&disk, &Case { disk: disk.clone(), history: case.history.clone(), what }, &loss);
                }
            }
        }
    }
    println!("{states} states, {finished} of them finished");
    assert!(states > 500 && finished > 0, "{states} {finished}");
}

#[test]
fn a_long_stretch_that_cannot_be_read_does_not_take_a_try_for_each_block() {
    let mut run = Run::new(SimDisk::new());
    run.play(&steps(3, 10)).unwrap();
    let mut files = run.disk.crash(Loss::Nothing).contents();
    let name = files.keys().rfind(|name| name.ends_with(".seg")).unwrap().clone();
    let len = 64 << 20;
    files.get_mut(&name).unwrap().resize(len, 0);
    let disk = SimDisk::with_contents(&files);
    disk.spoil(&name, BLOCK..len as u64);
    assert!(matches!(open(&disk), Err(StoreError::EndUnread { .. })));
    let calls = disk.calls();
    assert!(calls < 2_000, "{calls} calls for {} blocks", len / 4096);
    let loss = give_up(&disk).unwrap().unwrap();
    assert_eq!(loss.files[0].unread_bytes, Some(len as u64 - BLOCK));
    assert!(disk.calls() - calls < 4_000, "{} calls", disk.calls() - calls);
    drop(open(&disk).unwrap());
}
