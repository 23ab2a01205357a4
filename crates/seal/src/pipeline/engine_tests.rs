//! Order, bounds, failure and cancellation of the parallel map.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::*;

/// Gives 0, 1, 2 … and counts how many it gave; may fail or panic at one of them.
struct Numbers {
    next: u64,
    end: u64,
    fail_at: Option<u64>,
    panic_at: Option<u64>,
    taken: Arc<AtomicUsize>,
    _alive: Arc<()>,
}

impl Source<Doubler> for Numbers {
    type Item = u64;
    fn take(&mut self, _: &mut Doubler) -> Result<Option<u64>, PipelineError> {
        if self.next == self.end {
            return Ok(None);
        }
        if self.fail_at == Some(self.next) {
            return Err(PipelineError::Read(std::io::Error::other("unplugged")));
        }
        assert_ne!(self.panic_at, Some(self.next), "planted");
        self.taken.fetch_add(1, Ordering::SeqCst);
        self.next += 1;
        Ok(Some(self.next - 1))
    }
}

/// Doubles, slower for some numbers than for others, so that results overtake each other.
struct Doubler {
    panic_at: Option<u64>,
}

impl Worker for Doubler {
    type Item = u64;
    type Output = u64;
    fn work(&mut self, index: u64, item: u64) -> Result<u64, PipelineError> {
        assert_eq!(index, item);
        assert_ne!(self.panic_at, Some(item), "planted");
        let mut spin = 0u64;
        for i in 0..(item * 7919 % 13) * 2_000 {
            spin = std::hint::black_box(spin ^ i);
        }
        Ok(2 * item)
    }
}

struct Setup {
    stream: Ordered<u64>,
    taken: Arc<AtomicUsize>,
    alive: std::sync::Weak<()>,
}

fn setup(workers: usize, window: usize, end: u64, plant: impl Fn(&mut Numbers, &mut Doubler)) -> Setup {
    let alive = Arc::new(());
    let weak = Arc::downgrade(&alive);
    let taken = Arc::new(AtomicUsize::new(0));
    let mut source =
        Numbers { next: 0, end, fail_at: None, panic_at: None, taken: Arc::clone(&taken), _alive: alive };
    let mut doublers: Vec<_> = (0..workers).map(|_| Doubler { panic_at: None }).collect();
    doublers.iter_mut().for_each(|doubler| plant(&mut source, doubler));
    let stream = start(source, doublers, Width { workers, window }).unwrap();
    Setup { stream, taken, alive: weak }
}

fn drain(stream: &mut Ordered<u64>) -> (Vec<u64>, Option<PipelineError>) {
    let mut good = Vec::new();
    while let Some(result) = stream.next() {
        match result {
            Ok(value) => good.push(value),
            Err(e) => return (good, Some(e)),
        }
    }
    (good, None)
}

/// Waits for threads to end, on a channel that nothing is sent to.
fn eventually(condition: impl Fn() -> bool) -> bool {
    let (_keep, never) = bounded::<()>(0);
    for _ in 0..24_000 {
        if condition() {
            return true;
        }
        let _ = never.recv_timeout(Duration::from_millis(5));
    }
    false
}

#[test]
fn results_come_in_order_whatever_the_width() {
    for (workers, window) in [(1, 1), (1, 4), (2, 2), (2, 4), (8, 8), (8, 32)] {
        for end in [0, 1, 2, 7, 500] {
            let mut setup = setup(workers, window, end, |_, _| {});
            let (good, failed) = drain(&mut setup.stream);
            assert!(failed.is_none());
            assert_eq!(good, (0..end).map(|i| 2 * i).collect::<Vec<_>>());
            assert!(setup.stream.next().is_none(), "it stays ended");
            assert!(eventually(|| setup.alive.strong_count() == 0), "the source is released");
        }
    }
}

#[test]
fn no_more_than_the_window_is_taken_ahead() {
    let mut setup = setup(4, 6, 1_000, |_, _| {});
    for delivered in 0..50 {
        assert!(setup.taken.load(Ordering::SeqCst) <= delivered + 6);
        let _ = setup.stream.next();
        thread::yield_now();
    }
    // With nobody asking, the source comes to rest at exactly the window.
    assert!(eventually(|| setup.taken.load(Ordering::SeqCst) == 56));
}

#[test]
fn an_error_comes_out_at_its_place_and_ends_the_stream() {
    let mut setup = setup(3, 6, 100, |source, _| source.fail_at = Some(41));
    let (good, failed) = drain(&mut setup.stream);
    assert_eq!(good.len(), 41);
    assert!(matches!(failed, Some(PipelineError::Read(_))));
    assert!(setup.stream.next().is_none());
}

#[test]
fn a_panic_in_the_source_is_an_error_and_not_a_hang() {
    let mut setup = setup(3, 6, 100, |source, _| source.panic_at = Some(17));
    let (good, failed) = drain(&mut setup.stream);
    assert_eq!(good.len(), 17);
    assert!(matches!(failed, Some(PipelineError::Panicked)));
}

#[test]
fn a_panic_in_a_worker_is_an_error_and_not_a_hang() {
    for workers in [1, 2, 5] {
        let mut setup = setup(workers, 10, 100, |_, doubler| doubler.panic_at = Some(23));
        let (good, failed) = drain(&mut setup.stream);
        assert_eq!(good.len(), 23);
        assert!(matches!(failed, Some(PipelineError::Panicked)));
        assert!(eventually(|| setup.alive.strong_count() == 0));
    }
}

#[test]
fn dropping_the_stream_ends_the_threads_and_releases_the_source() {
    for delivered in [0, 1, 10] {
        let mut setup = setup(3, 6, u64::MAX, |_, _| {});
        for _ in 0..delivered {
            assert!(setup.stream.next().unwrap().is_ok());
        }
        let Setup { stream, alive, taken } = setup;
        drop(stream);
        assert!(eventually(|| alive.strong_count() == 0));
        assert!(taken.load(Ordering::SeqCst) <= delivered + 6 + 3);
    }
}
