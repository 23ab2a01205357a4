//! 20,000 crash points drawn at random. `examples/crashpoints` looks at all of them.

#[path = "../examples/crashpoints/explore.rs"]
#[allow(dead_code, reason = "the exhaustive program uses all of it")]
mod explore;
#[path = "../examples/crashpoints/model.rs"]
mod model;
#[path = "../examples/crashpoints/workload.rs"]
mod workload;

use larder_format::rng::SeededRng;

/// States looked at, over all threads.
const STATES: u64 = 20_000;

/// Workloads they are drawn from.
const WORKLOADS: u64 = 60;

/// Steps of each.
const STEPS: usize = 40;

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
