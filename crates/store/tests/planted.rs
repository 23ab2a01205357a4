//! Every bug planted on purpose is noticed: by a script (0 states), by crash points within 20,000 states, or by
//! a check of its own.

#![allow(clippy::print_stdout, reason = "counts are for whoever runs it with --nocapture")]
#![allow(unused_must_use, reason = "tickets resolve when the test pumps")]

#[path = "../examples/crashpoints/explore.rs"]
#[allow(dead_code, reason = "every test file uses a part of it")]
mod explore;
#[path = "../examples/crashpoints/model.rs"]
mod model;
#[path = "../examples/crashpoints/workload.rs"]
mod workload;

use larder_format::rng::SeededRng;
use larder_store::planted::{BUGS, plant};

/// States within which a bug must be noticed.
const STATES_MAX: u64 = 20_000;

/// Bugs that crashes cannot show; `tests/damage.rs` has the checks that do.
const BY_DAMAGE: &[&str] = &["chain not checked", "sidecar trusted without checksum"];

fn noticed_after(bug: &'static str) -> Option<u64> {
    let workloads: Vec<(u64, usize, u64)> =
        (0..60).map(|seed| (seed, 40, explore::calls(seed, 40))).collect();
    plant(bug);
    let mut rng = SeededRng::new(1);
    let found = workload::scripts().iter().any(|(_, script)| explore::follow(script).is_err()).then_some(0);
    let found = found.or_else(|| {
        (1..=STATES_MAX).find(|_| explore::look(&explore::random_point(&mut rng, &workloads)).is_err())
    });
    plant("");
    found
}

#[test]
fn every_planted_bug_is_noticed() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for bug in BUGS.iter().filter(|bug| !BY_DAMAGE.contains(bug)) {
        let found = std::thread::spawn(|| noticed_after(bug)).join().unwrap();
        println!("{bug}: noticed after {found:?} states");
        if found.is_none() {
            missed.push(bug);
        }
    }
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}
