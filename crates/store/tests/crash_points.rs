//! 20,000 crash points drawn at random. `examples/crashpoints` looks at all of them.

#![allow(clippy::print_stdout, reason = "counts are for whoever runs it with --nocapture")]

#[path = "../examples/crashpoints/explore.rs"]
#[allow(dead_code, reason = "the exhaustive program uses all of it")]
mod explore;
#[path = "../examples/crashpoints/model.rs"]
mod model;
#[path = "../examples/crashpoints/workload.rs"]
mod workload;

use larder_format::rng::SeededRng;
use larder_store::disk::sim::{Fault, Loss};

/// States looked at, over all threads.
const STATES: u64 = 20_000;

/// Workloads they are drawn from.
const WORKLOADS: u64 = 60;

/// Steps of each.
const STEPS: usize = 40;

#[test]
fn what_random_steps_seldom_reach_is_right_too() {
    for (what, script) in workload::scripts() {
        assert_eq!(explore::follow(&script), Ok(()), "{what}");
    }
}

#[test]
fn a_start_removes_nothing_for_a_reason_that_a_second_crash_takes_back() {
    let (mut starts, mut states) = (0, 0);
    for seed in 0..WORKLOADS / 4 {
        for call in 0..explore::calls(seed, STEPS) {
            if !explore::start_removes(seed, STEPS, call) {
                continue;
            }
            starts += 1;
            for inner in 0..40 {
                for loss in [Loss::Everything, Loss::Random(call * 40 + inner)] {
                    let again = Some((inner, Fault::Kill, loss));
                    let (fault, loss) = (Fault::Kill, Loss::Nothing);
                    let point = explore::Point { seed, steps: STEPS, call, fault, loss, again };
                    assert_eq!(explore::look(&point), Ok(()));
                    states += 1;
                }
            }
        }
    }
    println!("{starts} starts remove a segment; {states} states");
    assert!(starts > 20, "{starts}");
}

#[test]
fn no_crash_loses_what_was_acknowledged_or_leaves_anything_half_done() {
    let workloads: Vec<(u64, usize, u64)> =
        (0..WORKLOADS).map(|seed| (seed, STEPS, explore::calls(seed, STEPS))).collect();
    let threads = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let workloads = &workloads;
                scope.spawn(move || {
                    let mut rng = SeededRng::new(worker);
                    (0..STATES / threads)
                        .map(|_| explore::random_point(&mut rng, workloads))
                        .filter_map(|point| explore::look(&point).err())
                        .take(3)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
