//! Coordinated omission: a server that stalls for a while delays everything that was due meanwhile, and an open loop says
//! so, while a closed one sees a handful of slow requests.

mod server;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use larder_format::clock::SystemClock;
use larder_load::pace::Arrivals;
use larder_load::plan::Plan;
use larder_load::report::PhaseReport;
use larder_load::target::Target;
use server::{Manner, in_one_of_six, start};

fn phase(plan: &Plan) -> PhaseReport {
    let stop = Arc::new(AtomicBool::new(false));
    larder_load::run::run(plan, Arc::new(SystemClock::new()), stop, &mut |_| {}).unwrap().phases.remove(0)
}

/// Two seconds of load on a server that stalls for 600 ms in the middle.
fn plan() -> Plan {
    let address = start(Manner::Stalls(500, 600));
    Plan {
        connections: 4,
        keys: 100,
        fill: false,
        duration: Duration::from_secs(2),
        warmup: Duration::ZERO,
        ..Plan::new(Target::parse(&format!("redis://{address}")).unwrap())
    }
}

#[test]
fn a_stall_shows_in_an_open_loop_and_hides_in_a_closed_one() {
    for arrivals in [Arrivals::Even, Arrivals::Poisson] {
        in_one_of_six(|| {
            // 600 of 2,000 requests were due while it stalled, and waited 300 ms on average.
            let open = phase(&Plan { rate: Some(1_000.0), arrivals, ..plan() });
            assert_eq!(open.errors, 0, "{:?}", open.samples);
            assert!((1_850..=2_150).contains(&open.requests), "{}", open.requests);
            assert!(open.all.p90_us > 300_000.0, "{:?}", open.all);
            assert!(open.all.p99_us > 500_000.0, "{:?}", open.all);
            (open.all.p50_us < 100_000.0).then_some(()).ok_or(format!("{:?}", open.all))
        });
    }
    in_one_of_six(|| {
        // Four of many thousands.
        let closed = phase(&plan());
        assert!(closed.all.max_us > 500_000.0, "{closed:?}");
        let hides = closed.requests > 2_000 && closed.all.p99_us < 300_000.0;
        hides.then_some(()).ok_or(format!("{closed:?}"))
    });
}

#[test]
fn what_a_slow_server_leaves_undone_is_counted_with_the_time_it_waited() {
    in_one_of_six(|| {
        // It stalls until long after the end.
        let address = start(Manner::Stalls(200, 60_000));
        let plan = Plan {
            target: Target::parse(&format!("redis://{address}")).unwrap(),
            rate: Some(1_000.0),
            duration: Duration::from_secs(1),
            timeout: Duration::from_secs(2),
            keep: true,
            ..plan()
        };
        let phase = phase(&plan);
        let undone = phase.faults["unsent"] + phase.faults["timed_out"];
        assert!(undone >= 750, "{:?}", phase.faults);
        assert!(phase.all.p50_us > 1_000_000.0, "{:?}", phase.all);
        (undone <= 850).then_some(()).ok_or(format!("{:?}", phase.faults))
    });
}
