//! Lanes: threads that serve a door's connections, each with a reactor of its own, as many as there are processors.
//!
//! A connection stays on its lane: what arrives for it, its answer and its time-outs need no other thread. On the node's
//! common runtime, the thread that waits for the network wakes another for a part of what it found, and with answers that
//! take microseconds that costs more than the answers.

use std::pin::Pin;
use std::thread;

use tokio::runtime;
use tokio::sync::mpsc;

/// Most lanes. Beyond it, what the system does for the network is the limit, not what is done here.
const LANES_MAX: usize = 32;

/// A connection's whole life.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Lanes, open until this is dropped; what is under way on them then is cut off.
pub(crate) struct Lanes {
    // As many as there are connections at a time, which the door caps.
    lanes: Vec<mpsc::UnboundedSender<Work>>,
    next: usize,
}

impl Lanes {
    /// One for each processor; threads are called `name`.
    ///
    /// # Errors
    /// What the system says when it refuses a thread or a descriptor.
    pub(crate) fn open(name: &str) -> std::io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, usize::from).min(LANES_MAX);
        let lanes = (0..count).map(|_| lane(name)).collect::<std::io::Result<_>>()?;
        Ok(Self { lanes, next: 0 })
    }

    /// Serves a connection on the next lane. Its socket must become tokio's in there, not before.
    pub(crate) fn run(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.next = (self.next + 1) % self.lanes.len();
        // A lane ends after its sender only.
        let _ = self.lanes[self.next].send(Box::pin(work));
    }
}

fn lane(name: &str) -> std::io::Result<mpsc::UnboundedSender<Work>> {
    // Before it sleeps it lets others have the processor once. Where all processors are busy, whoever has been waiting for
    // this one (a client on the same machine) then makes more work, which is found without a sleep and without somebody who has
    // to wake it; otherwise lanes that always find something would keep others out for whole ticks of the scheduler. Where none is
    // busy, it costs one call to the system.
    let runtime =
        runtime::Builder::new_current_thread().enable_all().on_thread_park(thread::yield_now).build()?;
    let (sender, mut arriving) = mpsc::unbounded_channel::<Work>();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        runtime.block_on(async {
            while let Some(work) = arriving.recv().await {
                tokio::spawn(work);
            }
        });
    })?;
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_spread_and_cut_off_at_the_end() {
        let mut lanes = Lanes::open("larder-test").unwrap();
        let count = lanes.lanes.len();
        let (sender, mut receiver) = mpsc::unbounded_channel();
        for _ in 0..2 * count {
            let sender = sender.clone();
            lanes.run(async move {
                let _ = sender.send(thread::current().id());
                std::future::pending::<()>().await;
            });
        }
        let mut seen = Vec::new();
        for _ in 0..2 * count {
            seen.push(receiver.recv().await.unwrap());
        }
        for id in &seen {
            assert_eq!(seen.iter().filter(|other| *other == id).count(), 2);
        }
        drop((sender, lanes));
        assert_eq!(receiver.recv().await, None, "whoever never ends holds nothing any more");
    }
}
