//! What the one-acceptor path costs: nanoseconds per decision on a warm record, without storage.

use bytes::Bytes;
use larder_format::clock::{Clock, Hlc, HlcState, SystemClock};
use larder_format::operation::{Condition, Lifetime, Operation, Put};
use larder_format::record::{Expiry, RecordState};
use larder_mesh::single::{Context, Current, Next, apply};

/// Decisions timed per round.
const ROUND: u32 = 2_000_000;

/// Nanoseconds per decision.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// A get that shows 256 bytes.
    pub get_ns: f64,
    /// A put of 256 bytes over a value, with an expiry.
    pub put_ns: f64,
}

/// Measures, in the median of five interleaved rounds.
///
/// # Panics
/// If the rules refuse what must be allowed.
#[must_use]
pub fn measure() -> Cost {
    let clock = SystemClock::new();
    let put = Operation::Put(Put {
        condition: Condition::Any,
        lifetime: Lifetime::Until(Expiry::at_ms(1 << 40)),
        takes: None,
        tokens: Vec::new(),
        not_after_ms: None,
        head: Bytes::new(),
        body: Bytes::from(vec![7; 256]),
    });
    let mut time = HlcState::resume(Hlc::from_ms(1 << 30));
    let mut state: Option<RecordState> = None;
    let (mut gets, mut puts) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        for (operation, times) in [(&put, &mut puts), (&Operation::Get, &mut gets)] {
            let start = clock.monotonic();
            for _ in 0..ROUND {
                let ctx = Context::at(time.tick(1 << 30));
                let current = state.as_ref().map_or(Current::Absent, Current::State);
                let applied = apply(current, std::hint::black_box(operation), None, &ctx)
                    .expect("the whole state is at hand");
                if let Next::Store(next) = std::hint::black_box(applied).next {
                    state = Some(next);
                }
            }
            times.push((clock.monotonic() - start).as_nanos() as f64 / f64::from(ROUND));
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    Cost { get_ns: median(&mut gets), put_ns: median(&mut puts) }
}
