//! Crash points: one I/O call of a workload fails in one way, the machine loses some subset of what was not
//! synced, and the store must come back with everything that was acknowledged, nothing half done, and in a
//! state that the workload went through.

use std::panic::AssertUnwindSafe;

use larder_format::rng::{Rng, SeededRng};
use larder_store::disk::sim::{Fault, Loss, SimDisk};

use crate::model::{Model, dump};
use crate::workload::{Run, Step, Stop, steps};

/// One state to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) seed: u64,
    pub(crate) steps: usize,
    pub(crate) call: u64,
    pub(crate) fault: Fault,
    pub(crate) loss: Loss,
    /// A second fault while recovering from the first: at this call of the recovery.
    pub(crate) again: Option<(u64, Fault, Loss)>,
}

/// Faults tried at each call.
pub(crate) const FAULTS: [Fault; 6] = [
    Fault::Kill,
    Fault::Torn { piece_len: 512, seed: 1 },
    Fault::Torn { piece_len: 512, seed: 2 },
    Fault::Torn { piece_len: 4096, seed: 3 },
    Fault::Error,
    Fault::NoSpace,
];

/// Subsets of `unsynced` changes to lose: all of them when there are few, else none, all, each alone lost,
/// each alone kept, and some at random.
pub(crate) fn losses(unsynced: usize, salt: u64) -> Vec<Loss> {
    let mut out = vec![Loss::Nothing, Loss::Everything];
    if unsynced <= 4 {
        out.extend((1..(1u64 << unsynced).saturating_sub(1)).map(Loss::KeepOnly));
    } else {
        for at in 0..unsynced.min(63) {
            out.push(Loss::KeepOnly(1 << at));
            out.push(Loss::KeepOnly(!(1 << at)));
        }
    }
    out.extend((0..3).map(|i| Loss::Random(salt * 3 + i)));
    out
}

/// How many calls a workload makes when nothing fails.
pub(crate) fn calls(seed: u64, count: usize) -> u64 {
    let mut run = Run::new(SimDisk::new());
    if let Err(stop) = run.play(&steps(seed, count)) {
        panic!("workload {seed} fails without a fault: {stop:?}");
    }
    run.disk.calls()
}

/// Runs a workload up to its fault. Answers the run, or what was wrong before the crash.
fn until_fault(point: &Point) -> Result<Run, String> {
    let mut run = Run::new(SimDisk::new());
    run.disk.fail_at(point.call, point.fault);
    let script: Vec<Step> = steps(point.seed, point.steps);
    match run.play(&script) {
        Err(Stop::Wrong(what)) => Err(what),
        Ok(()) | Err(Stop::Store(_)) => Ok(run),
    }
}

/// Whether the start after a kill at this call removes a segment: that must not come before what says that it
/// is freed is durable.
pub(crate) fn start_removes(seed: u64, count: usize, call: u64) -> bool {
    let point = Point { seed, steps: count, call, fault: Fault::Kill, loss: Loss::Nothing, again: None };
    let Ok(run) = until_fault(&point) else { return false };
    let disk = run.disk.crash(Loss::Nothing);
    let segments = |disk: &SimDisk| disk.contents().into_keys().filter(|name| name.ends_with(".seg")).count();
    let before = segments(&disk);
    Run::new(disk.clone()).open().is_ok() && segments(&disk) < before
}

/// Subsets to lose after this fault.
pub(crate) fn losses_at(seed: u64, count: usize, call: u64, fault: Fault) -> Vec<Loss> {
    let point = Point { seed, steps: count, call, fault, loss: Loss::Nothing, again: None };
    until_fault(&point).map_or(vec![Loss::Nothing], |run| losses(run.disk.unsynced(), call))
}

/// Looks at one state. Answers what is wrong with it.
pub(crate) fn look(point: &Point) -> Result<(), String> {
    std::panic::catch_unwind(AssertUnwindSafe(|| look_inside(point)))
        .unwrap_or_else(|_| Err("panicked".into()))
        .map_err(|what| format!("{what}\n  at {point:?}"))
}

fn look_inside(point: &Point) -> Result<(), String> {
    let run = until_fault(point)?;
    let acknowledged = run.acknowledged();
    let mut disk = run.disk.crash(point.loss);
    if let Some((call, fault, loss)) = point.again {
        disk.fail_at(call, fault);
        let mut second = Run::new(disk.clone());
        if let Err(Stop::Wrong(what)) = second.open() {
            return Err(what);
        }
        disk = disk.crash(loss);
    }
    check(disk, &run.history, acknowledged)
}

/// Opens what a crash left and compares it with what the workload went through.
fn check(disk: SimDisk, history: &[Model], acknowledged: usize) -> Result<(), String> {
    let mut after = Run::new(disk);
    after.open().map_err(|stop| format!("cannot be opened: {stop:?}"))?;
    let store = after.store.as_ref().expect("just opened");
    if !store.open_report().lost.is_empty() {
        return Err(format!("a crash was taken for damage: {:?}", store.open_report()));
    }
    let matches = |model: &Model| dump(store, model).is_ok_and(|found| found == *model);
    let Some(reached) = (acknowledged..history.len()).rev().find(|at| matches(&history[*at])) else {
        let earlier = (0..acknowledged).rev().find(|at| matches(&history[*at]));
        let found = dump(store, &history[acknowledged]);
        return Err(format!(
            "acknowledged {acknowledged} of {} changes, found {earlier:?}\n  want {:?}\n  have {found:?}",
            history.len() - 1,
            history[acknowledged],
        ));
    };
    after.history = vec![history[reached].clone()];
    go_on(after)
}

/// The store must be usable: change, compact, close, open, compare.
fn go_on(mut run: Run) -> Result<(), String> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |stop: Stop| format!("{what}: {stop:?}")
    };
    run.set_next_version(1_000_000);
    run.resume(&[
        Step::Put { key: 0, len: 2_000, ballots: false },
        Step::Remove { key: 1 },
        Step::Compact { budget: 1 << 20, beside: None },
        Step::Put { key: 2, len: 10, ballots: true },
        Step::Collect,
        Step::Compact { budget: 1 << 20, beside: None },
        Step::Reopen,
    ])
    .map_err(failed("not usable after recovery"))?;
    let expected = run.history.last().expect("never empty").clone();
    let store = run.store.as_ref().expect("just opened");
    let found = dump(store, &expected).map_err(|e| format!("after going on: {e}"))?;
    if found != expected {
        return Err(format!("after going on\n  want {expected:?}\n  have {found:?}"));
    }
    Ok(())
}

/// Runs steps that must not fail, and compares. Answers what is wrong.
pub(crate) fn follow(script: &[Step]) -> Result<(), String> {
    std::panic::catch_unwind(|| {
        let mut run = Run::new(SimDisk::new());
        run.play(script).map_err(|stop| format!("{stop:?}"))?;
        let (last, disk) = (run.history.len() - 1, run.disk.crash(Loss::Nothing));
        check(disk, &run.history, last)
    })
    .unwrap_or_else(|_| Err("panicked".into()))
}

/// A point drawn at random: any workload, call, fault, loss, and at times a second fault.
pub(crate) fn random_point(rng: &mut SeededRng, workloads: &[(u64, usize, u64)]) -> Point {
    let (seed, count, calls) = workloads[rng.below(workloads.len() as u64) as usize];
    let call = rng.below(calls + 1);
    let fault = FAULTS[rng.below(FAULTS.len() as u64) as usize];
    let loss = |rng: &mut SeededRng| match rng.below(4) {
        0 => Loss::Nothing,
        1 => Loss::Everything,
        2 => Loss::KeepOnly(rng.u64()),
        _ => Loss::Random(rng.u64()),
    };
    let first = loss(rng);
    let again = (rng.below(3) == 0).then(|| {
        let fault = [Fault::Kill, Fault::Torn { piece_len: 512, seed: rng.u64() }, Fault::Error];
        (rng.below(40), fault[rng.below(3) as usize], loss(rng))
    });
    Point { seed, steps: count, call, fault, loss: first, again }
}
