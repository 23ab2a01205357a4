//! A server that answers with other than what was stored is caught, whatever way it does so; an honest one is not
//! accused, whatever the load.

mod server;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use larder_format::clock::SystemClock;
use larder_format::error::Kind;
use larder_load::LoadError;
use larder_load::keys::Distribution;
use larder_load::plan::{Credentials, Plan};
use larder_load::report::{PhaseReport, Report};
use larder_load::target::Target;
use server::{Manner, start};

fn plan(manner: Manner) -> Plan {
    let address = start(manner);
    Plan {
        connections: 8,
        keys: 50,
        reads_percent: 60,
        value_len: (64, 300),
        // A number of them, however long they take.
        requests: Some(8_000),
        warmup: Duration::ZERO,
        timeout: Duration::from_secs(60),
        ..Plan::new(Target::parse(&format!("redis://{address}")).unwrap())
    }
}

fn run(plan: &Plan) -> Result<Report, LoadError> {
    larder_load::run::run(plan, Arc::new(SystemClock::new()), Arc::new(AtomicBool::new(false)), &mut |_| {})
}

fn phase(plan: &Plan) -> PhaseReport {
    run(plan).unwrap().phases.remove(0)
}

/// The only faults of a run, by kind.
fn kinds(phase: &PhaseReport) -> Vec<&str> {
    phase.faults.iter().filter(|(_, count)| **count > 0).map(|(kind, _)| kind.as_str()).collect()
}

#[test]
fn an_honest_server_is_never_accused() {
    let honest = plan(Manner::Honest);
    let plans = [
        honest.clone(),
        Plan { pipeline: 16, keys: 3, ..honest.clone() },
        Plan { distribution: Distribution::Zipfian { skew: 1.2 }, pipeline: 4, ..honest.clone() },
        Plan { ttl: Some(Duration::from_millis(30)), keys: 1_000, requests: Some(20_000), ..honest.clone() },
        Plan { fill: false, keys: 20_000, ..honest.clone() },
        Plan { rate: Some(2_000.0), keys: 5, requests: Some(1_200), ..honest.clone() },
        Plan { value_len: (100_000, 400_000), pipeline: 3, requests: Some(500), ..honest.clone() },
    ];
    for plan in plans {
        let phase = phase(&plan);
        assert_eq!((phase.errors, kinds(&phase)), (0, vec![]), "{plan:?} {:?}", phase.samples);
        assert!(phase.verified > 50 && phase.writes.count > 50, "{plan:?} {phase:?}");
        let expected_absent = plan.ttl.is_some() || !plan.fill;
        assert_eq!(phase.absent > 0, expected_absent, "{plan:?} {}", phase.absent);
    }
}

#[test]
fn every_lie_is_caught_under_its_name() {
    for (manner, kind) in [
        (Manner::OtherKey(200), "wrong"),
        (Manner::Torn(200), "torn"),
        (Manner::Flipped(200), "torn"),
        (Manner::Forgetful(200), "missing"),
    ] {
        let phase = phase(&plan(manner));
        assert_eq!(kinds(&phase), [kind], "{manner:?} {:?}", phase.samples);
        assert_eq!(phase.false_answers, phase.errors, "{manner:?}");
        assert!(phase.verified > 1_000.min(phase.reads.count / 2), "{manner:?}: the others are right");
        assert!(phase.samples[0].starts_with("key "), "{:?}", phase.samples);
    }
}

#[test]
fn an_older_value_is_caught_where_writes_do_not_overlap() {
    let stale = Plan { keys: 2_000, ..plan(Manner::Stale(20)) };
    let phase = phase(&stale);
    assert_eq!(kinds(&phase), ["stale"], "{:?}", phase.samples);
}

#[test]
fn values_that_end_too_late_or_too_early_are_caught() {
    let ttl = Some(Duration::from_millis(300));
    let duration = Duration::from_millis(2_500);
    let long = Plan { ttl, requests: None, duration, reads_percent: 99, ..plan(Manner::NeverExpires) };
    let late = phase(&Plan { keys: 20_000, ..long });
    assert_eq!(kinds(&late), ["outlived"], "{:?}", late.samples);
    let ttl = Some(Duration::from_millis(400));
    let early = Plan { ttl, requests: None, duration, reads_percent: 95, ..plan(Manner::ExpiresEarly) };
    let early = phase(&Plan { keys: 500, ..early });
    assert_eq!(kinds(&early), ["missing"], "{:?}", early.samples);
}

#[test]
fn what_a_server_refuses_drops_or_garbles_is_counted_and_the_rest_goes_on() {
    for (manner, expected) in [
        (Manner::Refusing(500), &["refused"][..]),
        (Manner::Closing(500), &["lost"][..]),
        (Manner::Garbled(500), &["garbled", "lost"][..]),
    ] {
        let phase = phase(&Plan { fill: false, ..plan(manner) });
        assert_eq!(kinds(&phase), expected, "{manner:?} {:?}", phase.samples);
        assert!(phase.requests > 1_000 && phase.false_answers == 0, "{manner:?} {phase:?}");
    }
    let timeout = Duration::from_millis(800);
    let silent = Plan { fill: false, requests: Some(216), timeout, ..plan(Manner::Silent(200)) };
    let silent = phase(&silent);
    assert_eq!(kinds(&silent), ["timed_out"]);
    assert!(silent.all.max_us >= 800_000.0, "the time waited counts");
}

#[test]
fn a_run_that_cannot_begin_says_why() {
    let refused = run(&plan(Manner::Refusing(1))).unwrap_err();
    assert!(refused.kind() == Kind::Full && refused.to_string().contains("OOM no room"), "{refused}");
    let garbled = run(&plan(Manner::Garbled(1))).unwrap_err();
    assert!(matches!(garbled, LoadError::NotTheProtocol(_)), "{garbled}");
    let silent = Plan { timeout: Duration::from_millis(800), ..plan(Manner::Silent(0)) };
    let silent = run(&silent).unwrap_err();
    assert!(matches!(silent, LoadError::Silent { .. }), "{silent}");
    let mut closed = plan(Manner::Honest);
    closed.target.port = 1;
    assert_eq!(run(&closed).unwrap_err().kind(), Kind::Closed);

    let who = |secret: &str| Credentials { user: Some("id".to_owned()), secret: Some(secret.to_owned()) };
    let honest = plan(Manner::Honest);
    let wrong = run(&Plan { credentials: who("hunter2"), ..honest.clone() }).unwrap_err();
    assert_eq!(wrong.kind(), Kind::Denied, "{wrong}");
    assert!(!format!("{wrong}{:?}", who("hunter2")).contains("hunter2"));
    assert_eq!(phase(&Plan { credentials: who("right"), ..honest }).errors, 0);
}

#[test]
fn a_number_of_requests_is_that_number_and_keys_are_deleted_unless_kept() {
    let honest = Plan { connections: 7, threads: 3, ..plan(Manner::Honest) };
    let counted = run(&Plan { requests: Some(10_001), keep: true, ..honest.clone() }).unwrap();
    assert_eq!((counted.phases[0].requests, counted.keys_left_behind), (10_001, true));
    let paced = phase(&Plan { requests: Some(501), rate: Some(1_000.0), keep: true, ..honest.clone() });
    assert_eq!((paced.requests, paced.errors), (501, 0), "{paced:?}");
    // The values of that run are not this run's: it does not fill, and must find them foreign.
    let found = phase(&Plan { fill: false, reads_percent: 100, keep: true, ..honest.clone() });
    assert_eq!(kinds(&found), ["wrong"]);
    assert!(!run(&honest).unwrap().keys_left_behind);
    let nothing = phase(&Plan { fill: false, reads_percent: 100, ..honest });
    assert_eq!((nothing.errors, nothing.absent), (0, nothing.requests));
}
