//! An ordered parallel map: workers take items from one source and results come out in the source's order.
//!
//! Guarantees: at most a window of items between taking and delivery; the first failure (an error or a panic, in
//! the source or in a worker) comes out at its place and ends the stream; the stream never waits for a thread
//! that is gone; dropping it lets every worker end at its next step. Threads are not joined on drop: one may be
//! waiting in a read that nobody can interrupt.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{PipelineError, Width};

/// Where items come from.
pub(super) trait Source<W>: Send + 'static {
    type Item;
    /// The next item, taken into the worker's own memory; `None` at the end.
    fn take(&mut self, worker: &mut W) -> Result<Option<Self::Item>, PipelineError>;
}

/// What is done with an item.
pub(super) trait Worker: Send + 'static {
    type Item;
    type Output: Send + 'static;
    fn work(&mut self, index: u64, item: Self::Item) -> Result<Self::Output, PipelineError>;
}

/// The source, what it gave so far, and whether it may be asked again.
struct Supply<S> {
    /// `None` after the end or a failure, so that whatever the source holds is released at once.
    source: Option<S>,
    taken: u64,
}

struct Shared<S> {
    supply: Mutex<Supply<S>>,
    cancelled: Arc<AtomicBool>,
}

type Delivery<T> = (u64, Result<T, PipelineError>);

/// Results in order.
pub(super) struct Ordered<T> {
    /// `None` once the stream has ended; dropping both ends tells the workers.
    channels: Option<(Receiver<Delivery<T>>, Sender<()>)>,
    waiting: BTreeMap<u64, Result<T, PipelineError>>,
    next: u64,
    cancelled: Arc<AtomicBool>,
}

/// Starts one thread per worker.
///
/// # Errors
/// [`PipelineError::Threads`].
pub(super) fn start<S, W>(
    source: S,
    workers: Vec<W>,
    width: Width,
) -> Result<Ordered<W::Output>, PipelineError>
where
    W: Worker,
    S: Source<W, Item = W::Item>,
{
    assert!(width.window >= workers.len(), "a worker without a permit would wait for ever at the end");
    let (results_in, results_out) = bounded(width.window);
    let (permits_in, permits_out) = bounded(width.window);
    for _ in 0..width.window {
        permits_in.send(()).expect("the channel has room for every permit");
    }
    let cancelled = Arc::new(AtomicBool::new(false));
    let supply = Mutex::new(Supply { source: Some(source), taken: 0 });
    let shared = Arc::new(Shared { supply, cancelled: Arc::clone(&cancelled) });
    for worker in workers {
        let (shared, permits, results) = (Arc::clone(&shared), permits_out.clone(), results_in.clone());
        let run = move || run(&shared, worker, &permits, &results);
        if let Err(e) = thread::Builder::new().name("larder-seal".to_owned()).spawn(run) {
            cancelled.store(true, Ordering::Relaxed);
            return Err(PipelineError::Threads(e));
        }
    }
    Ok(Ordered { channels: Some((results_out, permits_in)), waiting: BTreeMap::new(), next: 0, cancelled })
}

fn run<S, W>(shared: &Shared<S>, mut worker: W, permits: &Receiver<()>, results: &Sender<Delivery<W::Output>>)
where
    W: Worker,
    S: Source<W, Item = W::Item>,
{
    while permits.recv().is_ok() && !shared.cancelled.load(Ordering::Relaxed) {
        let (index, item) = match take(shared, &mut worker) {
            Ok(Some(taken)) => taken,
            Ok(None) => return,
            Err(failed) => {
                // The receiver may be gone; then nobody wants to know.
                let _ = results.send((failed.0, Err(failed.1)));
                return;
            }
        };
        let done = catch_unwind(AssertUnwindSafe(|| worker.work(index, item)));
        let failed = !matches!(done, Ok(Ok(_)));
        let sent = results.send((index, done.unwrap_or(Err(PipelineError::Panicked))));
        if failed || sent.is_err() {
            return;
        }
    }
}

type Taken<T> = Result<Option<(u64, T)>, (u64, PipelineError)>;

fn take<S, W>(shared: &Shared<S>, worker: &mut W) -> Taken<W::Item>
where
    W: Worker,
    S: Source<W, Item = W::Item>,
{
    let mut supply = shared.supply.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(source) = supply.source.as_mut() else { return Ok(None) };
    let taken =
        catch_unwind(AssertUnwindSafe(|| source.take(worker))).unwrap_or(Err(PipelineError::Panicked));
    let index = supply.taken;
    match taken {
        Ok(Some(item)) => {
            supply.taken += 1;
            Ok(Some((index, item)))
        }
        ended => {
            supply.source = None;
            ended.map(|_| None).map_err(|e| (index, e))
        }
    }
}

impl<T> Ordered<T> {
    /// The next result in order; `None` at the end and after a failure. Waits for it.
    pub(super) fn next(&mut self) -> Option<Result<T, PipelineError>> {
        let (results, permits) = self.channels.as_ref()?;
        let result = loop {
            if let Some(result) = self.waiting.remove(&self.next) {
                break Some(result);
            }
            match results.recv() {
                Ok((index, result)) => {
                    self.waiting.insert(index, result);
                }
                // All workers are gone. With nothing waiting that is the end; else one died without a word.
                Err(_) if self.waiting.is_empty() => break None,
                Err(_) => break Some(Err(PipelineError::Panicked)),
            }
        };
        if let Some(Ok(_)) = &result {
            self.next += 1;
            // Nobody to permit anything to, if all workers have ended: then the rest is waiting here already.
            let _ = permits.send(());
        } else {
            self.stop();
        }
        result
    }

    fn stop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.channels = None;
        self.waiting.clear();
    }
}

impl<T> Drop for Ordered<T> {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
